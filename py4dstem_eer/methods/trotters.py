"""Single scan frequencies: how strong they are, and what their disk overlaps look like.

G(k, Q) of one scan frequency Q, seen over the detector, is a pair of overlap regions: a trotter. In
it, aberrations are seen directly, as phases that vary; with the right ones undone it is flat.
"""

from __future__ import annotations

import cmath
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..device import kernel
from ..errors import ParameterError
from ..optics import Aberrations, chi
from .aperture_grid import ApertureGrid
from .overlap_runs import LEFT, RIGHT, TRIPLE, OverlapRuns
from .ssb import OverlapStore
from .ssb_sums import GAMMA_THRESHOLD


@dataclass(frozen=True)
class Trotters:
    """G(k, Q) of some scan frequencies.

    Attributes
    ----------
    images : (n, m, m) complex64
        On the small detector, zero outside overlaps [electrons].
    frequencies : (n, 2) int64
        Indices of Q along the scan's (rows, columns), signed as of `numpy.fft.fftfreq`.
    q : (n, 2) float64
        Q [Å⁻¹].
    """

    images: np.ndarray
    frequencies: np.ndarray
    q: np.ndarray


@kernel
def _sum_power(item, lanes, row_ptr, first, length, start, g_re, g_im, unit, power):
    """Add up a row; `lanes` items share it, each with the columns that are its own."""
    i, lane = item // lanes, item % lanes
    for r in range(row_ptr[i], row_ptr[i + 1]):
        for j in range((lane - first[r]) % lanes, length[r], lanes):
            re, im = unit[r] * g_re[start[r] + j], unit[r] * g_im[start[r] + j]
            power[i, first[r] + j] += re * re + im * im


def power_spectrum(store: OverlapStore) -> np.ndarray:
    """Return Σ|G|² over the overlaps of every scan frequency.

    Returns
    -------
    power : (Rx, Ry) float32
        In the order of `numpy.fft.fft2`; zero where nothing overlaps, and at Q = 0 [electrons²].
    """
    where, runs, tables = store.device, store.runs, store.tables
    half = where.xp.zeros((runs.n_rows, runs.scan_shape[1] // 2 + 1), np.float32)
    arguments = (tables.row_ptr, tables.first, tables.length, tables.start, *store.entries)
    _sum_power.launch(where, where.lanes * runs.n_rows, where.lanes, *arguments, half)
    return runs.whole_plane(where.asnumpy(half))


@kernel
def _count_double(i, row_ptr, side, first, length, count):
    for r in range(row_ptr[i], row_ptr[i + 1]):
        if side[r] != TRIPLE:
            for j in range(length[r]):
                count[i, first[r] + j] += 1


def double_overlap(store: OverlapStore) -> np.ndarray:
    """Return the part of the aperture's pixels that lie in a double overlap, at every Q.

    It is the transfer of the plain sum for a weak phase object in focus, up to a factor.

    Returns
    -------
    fraction : (Rx, Ry) float32
        In the order of `numpy.fft.fft2` [1].
    """
    runs = store.runs
    half = np.zeros((runs.n_rows, runs.scan_shape[1] // 2 + 1), np.float32)
    _count_double.on_cpu(runs.n_rows, runs.row_ptr, runs.side, runs.first, runs.length, half)
    return runs.whole_plane(half) / np.float32(len(runs.kx))


def count_frequencies(store: OverlapStore) -> int:
    """Return how many scan frequencies, one of each ±Q, have power in their overlaps."""
    return int(np.count_nonzero(_half_power(store)))


def strongest_frequencies(store: OverlapStore, n: int) -> np.ndarray:
    """Return the scan frequencies with the most power in their overlaps, one of each ±Q.

    Parameters
    ----------
    store : OverlapStore
    n : int

    Returns
    -------
    frequencies : (n, 2) int64
        Indices along the scan's (rows, columns), strongest first.

    Raises
    ------
    ParameterError
        If n is no whole number, or there are not so many.
    """
    power = _half_power(store)
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise ParameterError(f"{n!r} trotters were asked for; give a whole number")
    if not 0 < n <= np.count_nonzero(power):
        raise ParameterError(
            f"{n} trotters were asked for; there are {np.count_nonzero(power)} scan frequencies"
        )
    strongest = np.argpartition(-power, n - 1, axis=None)[:n]
    strongest = strongest[np.argsort(-power.ravel()[strongest])]
    return np.stack(np.unravel_index(strongest, power.shape), axis=1)


def _half_power(store: OverlapStore) -> np.ndarray:
    n_rows, n_columns = store.runs.scan_shape
    power = power_spectrum(store)[:, : n_columns // 2 + 1]
    # columns that are their own mirror hold both Q and −Q, which show the same
    for column in {0, store.runs.n_regular} & set(range(power.shape[1])):
        power[n_rows // 2 + 1 :, column] = 0
    return power


def trotters(
    store: OverlapStore,
    grid: ApertureGrid,
    frequencies: Sequence[Sequence[int]] | np.ndarray,
    aberrations: Aberrations | None = None,
) -> Trotters:
    """Return G(k, Q) at chosen scan frequencies.

    Parameters
    ----------
    store : OverlapStore
    grid : ApertureGrid
    frequencies : (n, 2) int
        Indices of Q along the scan's (rows, columns), as in the FFT of the scan; negative ones
        count from its end, as negative frequencies do.
    aberrations : Aberrations, optional
        In the scan's frame. If given, they are undone: entries are multiplied by γ*/|γ|, after
        which both sides of a trotter have one and the same phase if these are the true ones.

    Raises
    ------
    ParameterError
        If an index is not one of the scan, or no disks overlap at a frequency.
    """
    places = _parse_frequencies(frequencies, store.runs.scan_shape)
    table = None if aberrations is None else aberrations.chi_table(store.geometry.wavelength)
    images = np.zeros((len(places), grid.shape[0] * grid.shape[1]), np.complex64)
    overlaps = [_overlaps(store.runs, int(row), int(column)) for row, column in places]
    image = np.repeat(np.arange(len(places)), [len(found[0]) for found in overlaps])
    run, entry, qy, conjugated = map(np.concatenate, zip(*overlaps, strict=True))
    pixel = store.runs.pixel[run]
    images[image, grid.pixels[pixel]] = _values(store, run, entry, qy, conjugated, table)
    shape = np.array(store.runs.scan_shape)
    signed = np.where(places < (shape + 1) // 2, places, places - shape)
    q = signed / (shape * np.array(store.geometry.scan_step))
    return Trotters(images.reshape(-1, *grid.shape), signed, q)


def _parse_frequencies(frequencies: object, scan_shape: tuple[int, int]) -> np.ndarray:
    """Return indices from 0 on, (n, 2) int64."""
    places = np.asarray(frequencies)
    if places.ndim != 2 or places.shape[1] != 2 or places.dtype.kind not in "iu" or not len(places):
        raise ParameterError(
            f"frequencies is {frequencies!r}; give pairs of whole numbers (row, column), the "
            "indices of scan frequencies"
        )
    shape = np.array(scan_shape)
    outside = (places < -shape) | (places >= shape)
    if outside.any():
        first = tuple(int(i) for i in places[outside.any(axis=1)][0])
        raise ParameterError(f"scan frequency {first} is not one of a scan of shape {scan_shape}")
    return places.astype(np.int64) % shape


def _overlaps(runs: OverlapRuns, row: int, column: int) -> tuple[np.ndarray, ...]:
    """Return the runs and entries of one scan frequency, its qy, and whether they are of −Q."""
    stored_row, stored_column, conjugated = _stored_place(runs, row, column)
    first, last = runs.row_ptr[stored_row : stored_row + 2]
    offset = stored_column - runs.first[first:last]
    hit = np.flatnonzero((offset >= 0) & (offset < runs.length[first:last]))
    if len(hit) == 0:
        raise ParameterError(
            f"no disks overlap at scan frequency ({row}, {column}); power_spectrum() shows where"
        )
    run = first + hit
    qy = runs.column_wy[stored_column] * (-1 if stored_row == runs.scan_shape[0] else 1)
    return run, runs.start[run] + offset[hit], np.full(len(hit), qy), np.full(len(hit), conjugated)


def _values(
    store: OverlapStore,
    run: np.ndarray,
    entry: np.ndarray,
    qy: np.ndarray,
    conjugated: np.ndarray,
    table: np.ndarray | None,
) -> np.ndarray:
    """Return G(k, Q) of entries, with the aberrations of a table of χ undone."""
    where, runs = store.device, store.runs
    at = where.asarray(entry)
    parts = (store.g_re[at], store.g_im[at], store.unit[where.asarray(run)])
    re, im, unit = (where.asnumpy(part) for part in parts)
    values = unit * (re + 1j * im).astype(np.complex64)
    if table is not None:
        pixel, row = runs.pixel[run], np.searchsorted(runs.row_ptr, run, "right") - 1
        angles = (runs.kx[pixel], runs.ky[pixel], runs.row_wx[row], qy)
        _undo.on_cpu(len(values), runs.side[run], *angles, table, values)
        values *= np.where(conjugated, np.float32(-1), np.float32(1))  # γ(k, −Q) = −γ*(k, Q)
    return np.where(conjugated, values.conj(), values)


def _stored_place(runs: OverlapRuns, row: int, column: int) -> tuple[int, int, bool]:
    """Return where an entry of the full plane is stored, and whether as its conjugate at −Q."""
    n_rows, n_columns = runs.scan_shape
    if column <= n_columns // 2:
        return row, column, False
    if 2 * row == n_rows:
        return n_rows, n_columns - column, False
    return -row % n_rows, n_columns - column, True


@kernel
def _undo(entry, side, kx, ky, qx, qy, table, values):
    """Multiply an entry by γ*/|γ| at its scan frequency (qx, qy) [rad]; by zero where γ is."""
    here = chi(kx[entry], ky[entry], table)
    gamma = complex(0.0, 0.0)
    if side[entry] != LEFT:
        gamma += cmath.exp(1j * (here - chi(kx[entry] - qx[entry], ky[entry] - qy[entry], table)))
    if side[entry] != RIGHT:
        gamma -= cmath.exp(1j * (chi(kx[entry] + qx[entry], ky[entry] + qy[entry], table) - here))
    size = abs(gamma)
    if size > GAMMA_THRESHOLD:
        values[entry] *= gamma.conjugate() / size
    else:
        values[entry] = 0
