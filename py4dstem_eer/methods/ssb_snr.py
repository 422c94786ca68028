"""Single-sideband ptychography by least squares: quantitative, and weighted by the noise.

For a weak phase object the transform of the data is G(k, Q) = i I₀ F(Q) γ̄(k, Q), with F the
transform of the phase, I₀ the electrons of a fully covered pixel in a pattern, and γ̄ the mean of
γ = A*(k) A(k − Q) − A(k) A*(k + Q) over the pixel. Counts are Poisson: the variance of G is
N I₀ c(k) for N positions and a pixel covered to the part c. So each scan frequency has

* its least-squares estimate F̂ = −i Σ G γ̄*/c ÷ (I₀ S), S = Σ |γ̄|²/c, free of any parameter;
* its variance v = N / (I₀ S);
* its misfit r, the reduced χ² of G against the model: Σ|G|²/c − |Σ G γ̄*/c|²/S over N I₀ (n − 1).
  Where it exceeds one, the object does more than the model says: v is inflated by 1 + 3 (r − 1).

A Wiener factor σ²/(σ² + v) holds back what is mostly noise; σ² is |F̂|² − v where that is plain, and
otherwise its mean over the neighbours, each value weighted by 1/v², as it deserves.

All overlaps are used, triple ones included. The part of a pixel that lies in two disks is taken as
the smaller of the parts that lie in each, which is exact where their edges run alike: in the thin
crescents of small Q, which carry the coarse features of the phase.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..optics import Aberrations, Geometry
from .aperture_grid import ApertureGrid
from .chance_passing import passing_noise
from .ssb import OverlapStore, evaluated_chi, prepare
from .ssb_snr_sums import N_FIXED, N_SUMS, add_fixed_sums, add_least_squares
from .ssb_sums_gpu import TWO_LINES, find_two_lines, sum_least_squares
from .ssb_wiener import (
    N_FIELDS,
    PLAIN_SIGNAL,
    REACH,
    estimate_coefficients,
    item_width,
    neighbour_weights,
    shrink_coefficients,
    smooth_along_columns,
    smooth_along_rows,
)


@dataclass(frozen=True)
class WeightedStore:
    """All that the least-squares phase needs.

    Attributes
    ----------
    overlaps : OverlapStore
        The entries of all pixels that the aperture touches.
    grid : ApertureGrid
        These pixels, with the rim.
    fixed : (3, Rx, Ry // 2 + 1) float32
        What no aberration changes, on the device: Σ |γ̄|²/c over the entries in one shifted disk
        only, Σ |G|²/c [electrons²], and the number of entries of every scan frequency.
    """

    overlaps: OverlapStore
    grid: ApertureGrid
    fixed: Any

    @property
    def edge(self) -> tuple[float, float]:
        """Radius of the aperture [rad], and one over the width of a pixel [1/rad]."""
        return self.overlaps.geometry.semiangle * 1e-3, 1 / self.grid.pixel[0]


@dataclass(frozen=True)
class PhaseEstimate:
    """A quantitative phase.

    Attributes
    ----------
    phase : (Rx, Ry) float32
        [rad], mean zero
    sigma : float
        Standard error of every pixel of `phase` from counting noise [rad]: the root mean square,
        over the pixels, of the scatter that repeated scans would show. Its root mean square over
        such scans is within 10 % of that, from 40 to 4000 electrons per pattern, and within 20 %
        in vacuum. What the factors add that follow the noise is counted (`chance_passing`). One
        value is itself known to the extent that many coefficients carry it: of scans of 40 × 40
        positions to 2 - 30 %, but to no better than half where there is nothing but vacuum.
    """

    phase: np.ndarray
    sigma: float


def prepare_snr(
    stack: Any,
    grid: ApertureGrid,
    scan_shape: tuple[int, int],
    total: float,
    geometry: Geometry,
    device: str = "cpu",
    precision: str = "full",
) -> WeightedStore:
    """Gather the entries of all pixels that the aperture touches; parameters as for `prepare`.

    `grid` must have been made with ``rim=True``.
    """
    reach = grid.pixel[0] / 2
    store = prepare(stack, grid, scan_shape, total, geometry, device, reach, precision)
    where, tables, n_rows = store.device, store.tables, scan_shape[0]
    fixed = where.xp.zeros((N_FIXED, n_rows, scan_shape[1] // 2 + 1), np.float32)
    weighted = WeightedStore(store, grid, fixed)
    arguments = (where.lanes, *tables.runs, *store.entries, tables.kx, tables.ky)
    of_pixels = (where.asarray(grid.coverage), tables.row_wx, tables.column_wy, *weighted.edge)
    add_fixed_sums.launch(where, where.lanes * n_rows, *arguments, *of_pixels, fixed)
    return weighted


def estimate_phase(weighted: WeightedStore, aberrations: Aberrations) -> PhaseEstimate:
    """Return the phase for one set of aberrations.

    Parameters
    ----------
    weighted : WeightedStore
        From `prepare_snr`.
    aberrations : Aberrations
        In the scan's frame.
    """
    where, scan_shape = weighted.overlaps.device, weighted.overlaps.runs.scan_shape
    spectrum, noise = _coefficients(weighted, _sums(weighted, aberrations))
    phase = where.fft.irfft2(spectrum, s=scan_shape, **where.fft_options())
    # what chance adds has the right mean; of a few coefficients it may come out negative
    variance = float(where.asnumpy(noise.sum(axis=1)).max())
    sigma = math.sqrt(variance) / math.prod(scan_shape)
    return PhaseEstimate(where.asnumpy(phase).astype(np.float32, copy=False), sigma)


def _coefficients(weighted: WeightedStore, sums: Any) -> tuple[Any, Any]:
    """Return F̂ times its Wiener factor, (Rx, Ry // 2 + 1), and parts of its variance, (2, n)."""
    store, where, xp = weighted.overlaps, weighted.overlaps.device, weighted.overlaps.device.xp
    n_rows, n_columns = store.runs.scan_shape
    n_positions, shape = n_rows * n_columns, sums.shape[1:]
    width = item_width(where, shape[1])
    n_items = n_rows * -(-shape[1] // width)
    per_pixel = store.total / n_positions / float(weighted.grid.coverage.sum())  # I₀
    scales = (np.float32(per_pixel), np.float32(n_positions))
    weights = neighbour_weights()
    own, on_device = weights[REACH] * weights[REACH], where.asarray(weights)
    fields = xp.empty((N_FIELDS, *shape), np.float32)
    given = (width, sums, weighted.fixed, sums[2].max().reshape(1), *scales)
    estimate_coefficients.launch(where, n_items, *given, fields)
    smooth, smoothed = xp.empty((2, *shape), np.float32), xp.empty((2, *shape), np.float32)
    smooth_along_columns.launch(where, n_items, width, fields, on_device, smooth)
    smooth_along_rows.launch(where, n_items, width, smooth, on_device, n_columns, smoothed)
    spectrum, noise = xp.empty(shape, np.complex64), xp.empty((2, n_items), np.float64)
    passing = where.asarray(passing_noise(PLAIN_SIGNAL))
    arguments = (width, fields, smoothed, own, passing, n_columns, spectrum, noise)
    shrink_coefficients.launch(where, n_items, *arguments)
    return spectrum, noise


def _sums(weighted: WeightedStore, aberrations: Aberrations) -> Any:
    """Return Σ G γ̄*/c (real, imaginary) and Σ |γ̄|²/c, (3, Rx, Ry // 2 + 1) float32."""
    store = weighted.overlaps
    where, runs, tables = store.device, store.runs, store.tables
    n_rows = runs.scan_shape[0]  # without the reversed one, which repeats what these hold
    table, chi_k = evaluated_chi(store, aberrations)
    sums = where.xp.zeros((N_SUMS, n_rows, runs.scan_shape[1] // 2 + 1), np.float32)
    sums[2] = weighted.fixed[0]
    coverage = where.asarray(weighted.grid.coverage)
    row_ptr, pixel, side, *of_run = tables.runs
    kx, ky, *frequencies = tables.angles
    if where.name == "gpu":
        lines = where.resident(where.xp.empty((len(runs.pixel), TWO_LINES), np.float32))
        first, length, _ = of_run
        arguments = (tables.row, pixel, first, length, store.unit, *tables.angles, chi_k, table)
        find_two_lines.launch(where, len(runs.pixel), *arguments, n_rows, runs.n_regular, lines)
        arguments = (tables.lanes, row_ptr, pixel, side, *of_run, lines, coverage)
        entries = (store.g_re, store.g_im, *weighted.edge)
        sum_least_squares.launch(where, tables.lanes * n_rows, *arguments, *entries, sums)
    else:
        arguments = (*tables.runs, *store.entries, kx, ky, coverage, chi_k, table, *frequencies)
        add_least_squares.launch(where, n_rows, *arguments, runs.n_regular, *weighted.edge, sums)
    sums[:, 0, 0] = 0  # Q = 0 carries no phase
    return sums
