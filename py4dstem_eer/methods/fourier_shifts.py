"""Sum of patterns that are shifted by fractions of a pixel, by one Fourier transform for all."""

from __future__ import annotations

import math

import numpy as np

from ..compiled import scalar_function
from ..device import get_device, kernel
from ..events import EventStore
from ..progress import track
from .blocks import lists_on, parts_of_threads
from .com import row_divider, row_of
from .shifted_patterns import Shift

#: Grid points that an event is spread over in each direction, on a grid twice as fine as the
#: detector: the error is 1e-12 of the sum.
_WIDTH = 14
_BETA = 2.3 * _WIDTH
_FINER = 2


@scalar_function
def _bell(z):
    """Return the exponential of a semicircle, the spreading kernel on −1 ≤ z ≤ 1."""
    return math.exp(_BETA * (math.sqrt(max(1 - z * z, 0.0)) - 1)) if abs(z) <= 1 else 0.0


@scalar_function
def _fill_bell(shift, values):
    """Sample the kernel around a shift on the finer grid, and return the first grid point."""
    start = math.ceil(_FINER * shift - _WIDTH / 2)
    for a in range(_WIDTH):
        values[a] = _bell((start + a - _FINER * shift) * 2 / _WIDTH)
    return start


@kernel
def _spread(i, bounds, indptr, indices, counts, weights, shift_x, shift_y, columns, divider, grids):
    grid = grids[i]
    rows_fine, columns_fine = grid.shape
    along_x, along_y = np.empty(_WIDTH), np.empty(_WIDTH)
    for p in range(bounds[i], bounds[i + 1]):
        start_x, start_y = _fill_bell(shift_x[p], along_x), _fill_bell(shift_y[p], along_y)
        for e in range(indptr[p], indptr[p + 1]):
            row = np.int64(row_of(indices[e], divider[0], divider[1]))
            column = np.int64(indices[e]) - row * columns
            count = weights[p] * counts[e] if len(counts) > 0 else weights[p]
            first = (_FINER * column + start_y) % columns_fine
            x = (_FINER * row + start_x) % rows_fine
            for a in range(_WIDTH):
                part = count * along_x[a]
                y = first
                for b in range(_WIDTH):
                    grid[x, y] += part * along_y[b]
                    y = y + 1 if y + 1 < columns_fine else 0
                x = x + 1 if x + 1 < rows_fine else 0


def fourier_shifted_sum(events: EventStore, weights: np.ndarray, shift: Shift) -> np.ndarray:
    """Return the sum of all patterns, weighted, each shifted by the Fourier shift theorem.

    The transform of all shifted events together is one of points that lie on no grid: they are
    spread with a smooth kernel over a finer grid, whose effect is divided out after the transform
    [1]_. That is O(events), where shifts one by one take a transform for every pattern.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    weights : (Rx, Ry) bool, real or complex
    shift : ((Rx, Ry), (Rx, Ry))
        Shift along detector (rows, columns) [px], with periodic edges.

    Returns
    -------
    pattern : (Qx, Qy) float64 or complex128
        [electrons]

    References
    ----------
    .. [1] Barnett, Magland & af Klinteberg, SIAM J. Sci. Comput. 41, C479 (2019), Eq. 1.8.
    """
    if np.iscomplexobj(weights):
        parts = (fourier_shifted_sum(events, part, shift) for part in (weights.real, weights.imag))
        return next(parts) + 1j * next(parts)
    shape = events.detector_shape
    if 0 in shape:
        return np.zeros(shape)
    grid = np.zeros((_FINER * shape[0], _FINER * shape[1]))
    for first, block in track(events.blocks(), "Sum of patterns"):
        rows = slice(first, first + block.scan_shape[0])
        arrays = [np.asarray(a[rows], np.float64).ravel() for a in (weights, *shift)]
        grid += _block_grid(block, arrays)
    spectrum = np.fft.fft2(grid)
    for axis, n in enumerate(shape):
        wave_numbers = np.rint(np.fft.fftfreq(n) * n).astype(int)
        transform = _kernel_transform(wave_numbers, _FINER * n)
        spectrum = np.take(spectrum, wave_numbers % (_FINER * n), axis)
        spectrum /= transform[:, None] if axis == 0 else transform
    return np.fft.ifft2(spectrum).real


def _block_grid(block: EventStore, arrays: list[np.ndarray]) -> np.ndarray:
    """Return the events of a block, weighted and shifted, on the finer grid."""
    bounds = parts_of_threads(block)
    rows, columns = block.detector_shape
    grids = np.zeros((len(bounds) - 1, _FINER * rows, _FINER * columns))
    divider = np.array(row_divider(block.detector_shape))
    lists = (bounds, *lists_on(block, get_device("cpu")), *arrays)
    _spread.on_cpu(len(bounds) - 1, *lists, columns, divider, grids)
    return grids.sum(0)


def _kernel_transform(wave_numbers: np.ndarray, n_fine: int) -> np.ndarray:
    """Return the kernel's Fourier transform, by Gauss-Legendre quadrature."""
    nodes, factors = np.polynomial.legendre.leggauss(80)
    waves = np.cos(np.pi * _WIDTH / n_fine * np.outer(wave_numbers, nodes))
    return _WIDTH / 2 * waves @ (factors * np.array([_bell(z) for z in nodes]))
