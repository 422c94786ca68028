"""Where in (k, Q) disks overlap, as runs along the rows of the scan's Fourier plane.

Along a row of scan frequencies, the disk around k − Q and the one around k + Q each cover an
interval. So for one detector pixel k, the entries of G(k, Q) that carry phase are a few runs of
neighbours, over which χ(k ± Q) is a polynomial in one variable. Nothing has to be looked up, and
the loop over a run is plain arithmetic on contiguous memory.

All coordinates are scattering angles [rad] in the frame of the scan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compiled import scalar_function
from ..detector import Shape2D
from ..device import Device, get_device, kernel
from ..optics import Geometry
from .aperture_grid import ApertureGrid

#: Which disks overlap the aperture in a run.
RIGHT, LEFT, TRIPLE = 0, 1, 2


@dataclass(frozen=True)
class OverlapRuns:
    """The overlap entries of half the plane of scan frequencies.

    Intensities are real, G(k, −Q) = G*(k, Q), so half of the plane is stored, as a real FFT gives
    it. The highest frequency of an even number of rows has no partner of opposite sign in the
    discrete plane; as in `fftfreq` it counts as negative, and the other half of its row is an extra
    row of its own, `reversed`, that reads the same values conjugated.

    Attributes
    ----------
    scan_shape : (int, int)
    row_wx : (rows,) float64
        λ times the scan frequency of each row.
    column_wy : (Ry // 2 + 1,) float64
        λ times the scan frequency of each column.
    n_regular : int
        Columns but the highest frequency of an even number, which counts as negative.
    kx, ky : (pixels,) float64
        Scattering angles of the aperture's pixels.
    limit : float
        Square of the aperture's radius [rad²].
    row_ptr : (rows + 1,) int64
        Start of every row's runs.
    pixel, side, first, length : (runs,) int32
        Detector pixel; `RIGHT`, `LEFT` or `TRIPLE`; first column; number of columns.
    start : (runs + 1,) int64
        First entry of every run.
    """

    scan_shape: Shape2D
    row_wx: np.ndarray
    column_wy: np.ndarray
    n_regular: int
    kx: np.ndarray
    ky: np.ndarray
    limit: float
    row_ptr: np.ndarray
    pixel: np.ndarray
    side: np.ndarray
    first: np.ndarray
    length: np.ndarray
    start: np.ndarray

    @property
    def n_rows(self) -> int:
        """Number of rows: those of the scan, and one more if they are even in number."""
        return len(self.row_wx)

    @property
    def n_entries(self) -> int:
        """Number of stored entries of G(k, Q)."""
        return int(self.start[-1])

    def whole_plane(self, half: Any, xp: Any = np) -> Any:
        """Complete a quantity that is the same at Q and −Q, to (Rx, Ry) in the order of fft2.

        Parameters
        ----------
        half : (Rx or rows, Ry // 2 + 1)
            Without the reversed row, its row's values serve for both halves.
        xp : module
            numpy, or cupy for an array of its own.
        """
        n_rows = self.scan_shape[0]
        mirrored = half[:n_rows][::-1, 1 : self.n_regular][:, ::-1]
        whole = xp.concatenate([half[:n_rows], xp.roll(mirrored, 1, axis=0)], axis=1)
        if len(half) > n_rows:
            whole[n_rows // 2, half.shape[1] :] = half[n_rows, 1 : self.n_regular][::-1]
        return whole


def overlap_runs(
    scan_shape: Shape2D,
    grid: ApertureGrid,
    geometry: Geometry,
    reach: float = 0.0,
    device: str = "cpu",
) -> OverlapRuns:
    """Find all runs for a scan and an aperture.

    Parameters
    ----------
    scan_shape : (int, int)
    grid : ApertureGrid
    geometry : Geometry
    reach : float
        How far beyond the aperture's edge a shifted disk still counts [rad].
    device : {"cpu", "gpu"}
        Where they are looked for; the result is in main memory.
    """
    n_rows, n_columns = scan_shape
    wavelength = geometry.wavelength
    row_wx = np.fft.fftfreq(n_rows, geometry.scan_step[0]) * wavelength
    if n_rows % 2 == 0:
        row_wx = np.append(row_wx, row_wx[n_rows // 2])
    column_wy = np.fft.fftfreq(n_columns, geometry.scan_step[1])[: n_columns // 2 + 1] * wavelength
    n_regular = (n_columns - 1) // 2 + 1
    kx, ky = _scan_frame(grid, geometry)
    limit = (geometry.semiangle * 1e-3 + reach) ** 2
    arguments = (row_wx, column_wy, n_regular, n_rows, kx, ky, limit)
    row_ptr, pixel, side, first, length = _find_runs(arguments, get_device(device))
    start = np.zeros(len(length) + 1, np.int64)
    np.cumsum(length, out=start[1:])
    return OverlapRuns(
        scan_shape, row_wx, column_wy, n_regular, kx, ky, limit,
        row_ptr, pixel, side, first, length, start,
    )  # fmt: skip


def _scan_frame(grid: ApertureGrid, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Turn the pixels' angles from the detector's frame into the scan's."""
    wx, wy = (grid.wy, grid.wx) if geometry.transpose else (grid.wx, grid.wy)
    cos, sin = math.cos(geometry.rotation), math.sin(geometry.rotation)
    return wx * cos - wy * sin, wy * cos + wx * sin


def _find_runs(arguments: tuple, where: Device) -> tuple[np.ndarray, ...]:
    """Return the start of every row's runs, and pixel, side, first and length of all runs."""
    row_wx, column_wy, n_regular, n_rows, kx, ky, limit = arguments
    n_pixels, xp = len(kx), where.xp
    on_device = (where.asarray(a) for a in (row_wx, column_wy, kx, ky))
    given = (*on_device, n_regular, n_rows, limit)
    n_items = len(row_wx) * n_pixels
    offset = xp.zeros(n_items + 1, np.int64)
    _count_runs.launch(where, n_items, *given, offset)
    offset = where.asarray(xp.cumsum(offset))
    fields = tuple(xp.empty(int(offset[-1]), np.int32) for _ in range(4))
    _write_runs.launch(where, n_items, *given, offset, *fields)
    return tuple(where.asnumpy(array) for array in (offset[::n_pixels].copy(), *fields))


@scalar_function
def _interval(wx, ky, limit, sign, column_wy, n_regular):
    """Return the columns where (wx, ky + sign·wy) lies inside the disk, as a half-open range."""
    height = limit - wx * wx
    if height <= 0 or n_regular < 2:
        inside = height > 0 and ky * ky < height
        return (0, 1) if inside else (0, 0)
    step = column_wy[1]
    reach = math.sqrt(height)
    lowest = (-reach - sign * ky) / step
    highest = (reach - sign * ky) / step
    lo = max(0, math.floor(lowest))
    hi = min(n_regular, math.ceil(highest) + 1)
    # the ends are decided by the disk's own inequality, not by the rounding of a square root
    while lo < hi and not (ky + sign * lo * step) ** 2 < height:
        lo += 1
    while hi > lo and not (ky + sign * (hi - 1) * step) ** 2 < height:
        hi -= 1
    return lo, hi


@scalar_function
def _part(which, m0, m1, p0, p1):
    """Return side, begin and end of one of the five parts of two intervals; it may be empty."""
    if which == 0:
        return RIGHT, m0, min(m1, p0) if p1 > p0 else m1
    if which == 1:
        return RIGHT, max(m0, p1), m1 if p1 > p0 else m0
    if which == 2:
        return LEFT, p0, min(p1, m0) if m1 > m0 else p1
    if which == 3:
        return LEFT, max(p0, m1), p1 if m1 > m0 else p0
    return TRIPLE, max(m0, p0), min(m1, p1)


@scalar_function
def _highest_side(wx, kx, ky, limit, wy):
    """Return the side at the column of the highest frequency, whose sign breaks the row; or −1."""
    minus = (kx - wx) ** 2 + (ky - wy) ** 2 < limit
    plus = (kx + wx) ** 2 + (ky + wy) ** 2 < limit
    if minus and plus:
        return TRIPLE
    if minus:
        return RIGHT
    return LEFT if plus else -1


@scalar_function
def _intervals(i, p, row_wx, column_wy, kx, ky, n_regular, n_scan_rows, limit):
    """Return the columns of one row that lie in the disk around k − Q, and around k + Q."""
    is_reversed = i == n_scan_rows
    sign = -1 if is_reversed else 1
    # Q = 0 carries no phase; column 0 of the reversed row is the row itself
    lowest = 1 if is_reversed or row_wx[i] == 0 else 0
    m0, m1 = _interval(kx[p] - row_wx[i], ky[p], limit, -sign, column_wy, n_regular)
    p0, p1 = _interval(kx[p] + row_wx[i], ky[p], limit, sign, column_wy, n_regular)
    return max(m0, lowest), max(m1, lowest), max(p0, lowest), max(p1, lowest)


@kernel
def _count_runs(item, row_wx, column_wy, kx, ky, n_regular, n_scan_rows, limit, number):
    """Count the runs of one row and pixel, at number[item + 1]."""
    i, p = item // len(kx), item % len(kx)
    m0, m1, p0, p1 = _intervals(i, p, row_wx, column_wy, kx, ky, n_regular, n_scan_rows, limit)
    n = 0
    for which in range(5):
        _, lo, hi = _part(which, m0, m1, p0, p1)
        n += 1 if hi > lo else 0
    if len(column_wy) > n_regular and i != n_scan_rows:
        wy = column_wy[n_regular]
        n += 1 if _highest_side(row_wx[i], kx[p], ky[p], limit, wy) >= 0 else 0
    number[item + 1] = n


@kernel
def _write_runs(
    item, row_wx, column_wy, kx, ky, n_regular, n_scan_rows, limit, offset,
    pixel, side, first, length,
):  # fmt: skip
    """Write the runs of one row and pixel from offset[item] on."""
    i, p = item // len(kx), item % len(kx)
    m0, m1, p0, p1 = _intervals(i, p, row_wx, column_wy, kx, ky, n_regular, n_scan_rows, limit)
    at = offset[item]
    for which in range(5):
        where, lo, hi = _part(which, m0, m1, p0, p1)
        if hi > lo:
            pixel[at], side[at], first[at], length[at] = p, where, lo, hi - lo
            at += 1
    if at < offset[item + 1]:
        where = _highest_side(row_wx[i], kx[p], ky[p], limit, column_wy[n_regular])
        pixel[at], side[at], first[at], length[at] = p, where, n_regular, 1
