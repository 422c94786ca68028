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

import numba
import numpy as np

from ..detector import Shape2D
from ..optics import Geometry
from .aperture_grid import ApertureGrid

#: Which disks overlap the aperture in a run.
RIGHT, LEFT, TRIPLE = 0, 1, 2
_RUNS_PER_PIXEL = 10


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

    def whole_plane(self, half: np.ndarray) -> np.ndarray:
        """Complete a quantity that is the same at Q and −Q, to (Rx, Ry) in the order of fft2.

        Parameters
        ----------
        half : (Rx or rows, Ry // 2 + 1)
            Without the reversed row, its row's values serve for both halves.
        """
        n_rows = self.scan_shape[0]
        mirrored = half[:n_rows][::-1, 1 : self.n_regular][:, ::-1]
        whole = np.concatenate([half[:n_rows], np.roll(mirrored, 1, axis=0)], axis=1)
        if len(half) > n_rows:
            whole[n_rows // 2, half.shape[1] :] = half[n_rows, 1 : self.n_regular][::-1]
        return whole


def overlap_runs(
    scan_shape: Shape2D, grid: ApertureGrid, geometry: Geometry, reach: float = 0.0
) -> OverlapRuns:
    """Find all runs for a scan and an aperture.

    Parameters
    ----------
    scan_shape : (int, int)
    grid : ApertureGrid
    geometry : Geometry
    reach : float
        How far beyond the aperture's edge a shifted disk still counts [rad].
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
    row_ptr, table = _find_runs(*arguments)
    pixel, side, first, length = (np.ascontiguousarray(column) for column in table.T)
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _put(runs, at, pixel, side, lo, hi):
    if hi <= lo:
        return at
    runs[at, 0], runs[at, 1], runs[at, 2], runs[at, 3] = pixel, side, lo, hi - lo
    return at + 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _put_pixel(runs, at, pixel, minus, plus, lowest):
    """Split the intervals of both disks into right, left and triple overlaps."""
    m0, m1 = max(minus[0], lowest), max(minus[1], lowest)
    p0, p1 = max(plus[0], lowest), max(plus[1], lowest)
    if m1 <= m0:
        return _put(runs, at, pixel, LEFT, p0, p1)
    if p1 <= p0:
        return _put(runs, at, pixel, RIGHT, m0, m1)
    at = _put(runs, at, pixel, RIGHT, m0, min(m1, p0))
    at = _put(runs, at, pixel, RIGHT, max(m0, p1), m1)
    at = _put(runs, at, pixel, LEFT, p0, min(p1, m0))
    at = _put(runs, at, pixel, LEFT, max(p0, m1), p1)
    return _put(runs, at, pixel, TRIPLE, max(m0, p0), min(m1, p1))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _put_highest(runs, at, pixel, wx, kx, ky, limit, wy, column):
    """Add the column of the highest frequency, whose sign breaks the row."""
    minus = (kx - wx) ** 2 + (ky - wy) ** 2 < limit
    plus = (kx + wx) ** 2 + (ky + wy) ** 2 < limit
    if minus or plus:
        side = TRIPLE if minus and plus else RIGHT if minus else LEFT
        at = _put(runs, at, pixel, side, column, column + 1)
    return at


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _find_row_runs(i, row_wx, column_wy, n_regular, n_scan_rows, kx, ky, limit, runs):
    """Write the runs of one row into `runs` and return their number."""
    at = 0
    is_reversed = i == n_scan_rows
    sign = -1 if is_reversed else 1
    # Q = 0 carries no phase; column 0 of the reversed row is the row itself
    lowest = 1 if is_reversed or row_wx[i] == 0 else 0
    for p in range(len(kx)):
        minus = _interval(kx[p] - row_wx[i], ky[p], limit, -sign, column_wy, n_regular)
        plus = _interval(kx[p] + row_wx[i], ky[p], limit, sign, column_wy, n_regular)
        at = _put_pixel(runs, at, p, minus, plus, lowest)
        if len(column_wy) > n_regular and not is_reversed:
            wy = column_wy[n_regular]
            at = _put_highest(runs, at, p, row_wx[i], kx[p], ky[p], limit, wy, n_regular)
    return at


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _find_runs(row_wx, column_wy, n_regular, n_scan_rows, kx, ky, limit):
    """Return the start of every row's runs, and the table of all runs: found twice, kept once."""
    n_rows = len(row_wx)
    row_ptr = np.zeros(n_rows + 1, np.int64)
    runs = np.empty((len(kx) * _RUNS_PER_PIXEL, 4), np.int32)
    for i in range(n_rows):
        n_runs = _find_row_runs(i, row_wx, column_wy, n_regular, n_scan_rows, kx, ky, limit, runs)
        row_ptr[i + 1] = row_ptr[i] + n_runs
    table = np.empty((row_ptr[n_rows], 4), np.int32)
    for i in range(n_rows):
        n_runs = _find_row_runs(i, row_wx, column_wy, n_regular, n_scan_rows, kx, ky, limit, runs)
        for r in range(n_runs):
            for field in range(4):
                table[row_ptr[i] + r, field] = runs[r, field]
    return row_ptr, table
