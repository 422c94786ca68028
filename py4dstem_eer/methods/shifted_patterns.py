"""Sums and maxima of patterns that are weighted, and shifted onto a common origin."""

from __future__ import annotations

import numpy as np

from ..compiled import scalar_function
from ..device import kernel
from ..events import EventStore
from ..progress import track
from .blocks import reduce_patterns
from .com import row_divider, row_of
from .pixel_order import hits_per_pixel

Shift = tuple[np.ndarray, np.ndarray]

#: No pattern is shifted.
_STILL = np.zeros((0, 0), np.int64)


@scalar_function
def _wrapped(p, shift, n):
    """Return the shift of a pattern as one of 0 to n − 1 pixels; there may be none at all."""
    return shift[p] % n if len(shift) > 0 else 0


@scalar_function
def _moved(index, shift_x, shift_y, rows, columns, divider):
    """Return the flat index of a pixel after a shift of 0 to n − 1 pixels with periodic edges."""
    row = np.int64(row_of(index, divider[0], divider[1]))
    column = np.int64(index) - row * columns + shift_y
    row += shift_x
    if row >= rows:
        row -= rows
    if column >= columns:
        column -= columns
    return row * columns + column


@kernel
def _add_shifted(
    i, bounds, indptr, indices, counts, weights, shift_x, shift_y, shape, divider, sums
):
    rows, columns = shape[0], shape[1]
    for p in range(bounds[i], bounds[i + 1]):
        by_x, by_y = _wrapped(p, shift_x, rows), _wrapped(p, shift_y, columns)
        for e in range(indptr[p], indptr[p + 1]):
            at = _moved(indices[e], by_x, by_y, rows, columns, divider)
            sums[i, at] += weights[p] * counts[e] if len(counts) > 0 else weights[p]


@kernel
def _maximise_shifted(
    i, bounds, indptr, indices, counts, weights, shift_x, shift_y, shape, divider, largest
):
    rows, columns = shape[0], shape[1]
    for p in range(bounds[i], bounds[i + 1]):
        by_x, by_y = _wrapped(p, shift_x, rows), _wrapped(p, shift_y, columns)
        for e in range(indptr[p], indptr[p + 1]):
            at = _moved(indices[e], by_x, by_y, rows, columns, divider)
            value = weights[p] * counts[e] if len(counts) > 0 else weights[p]
            largest[i, at] = max(largest[i, at], value)


def shifted_sum(events: EventStore, weights: np.ndarray, shift: Shift) -> np.ndarray:
    """Return the sum of all patterns, weighted, and each shifted by whole pixels.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    weights : (Rx, Ry) bool, real or complex
    shift : ((Rx, Ry), (Rx, Ry)) int
        Shift along detector (rows, columns) [px], with periodic edges.

    Returns
    -------
    pattern : (Qx, Qy) float64 or complex128
        [electrons]
    """
    dtype = np.dtype(np.complex128 if np.iscomplexobj(weights) else np.float64)
    total: np.ndarray = np.zeros(events.detector_shape[0] * events.detector_shape[1], dtype)
    arrays = _prepared(events, weights, shift)
    for first, block in track(events.blocks(), "Sum of patterns"):
        extra = _of_block(block, first, arrays)
        total += reduce_patterns(block, _add_shifted, extra, dtype).sum(0)
    return total.reshape(events.detector_shape)


def weighted_max(events: EventStore, weights: np.ndarray, shift: Shift | None = None) -> np.ndarray:
    """Return the largest value of every pixel over patterns that are weighted, and shifted.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    weights : (Rx, Ry) bool or real
        Finite factor of every pattern.
    shift : ((Rx, Ry), (Rx, Ry)) int, optional
        Shift along detector (rows, columns) [px], with periodic edges. Values then are at least 0.

    Returns
    -------
    pattern : (Qx, Qy) float64
        [electrons]
    """
    largest = np.full(events.detector_shape[0] * events.detector_shape[1], -np.inf)
    arrays = _prepared(events, weights, shift or (_STILL, _STILL))
    for first, block in track(events.blocks(), "Maximum of patterns"):
        extra = _of_block(block, first, arrays)
        parts = reduce_patterns(block, _maximise_shifted, extra, np.float64, -np.inf)
        np.maximum(largest, parts.max(0), out=largest)
    if shift is None and (weights < 0).any():
        # only a pixel that some pattern did not hit has a zero there
        missed = hits_per_pixel(events) < events.n_patterns
        largest[missed] = np.maximum(largest[missed], 0)
    else:
        np.maximum(largest, 0, out=largest)
    return largest.reshape(events.detector_shape)


def _prepared(events: EventStore, weights: np.ndarray, shift: Shift) -> tuple:
    """Return weights and shifts, and what tells rows from columns."""
    shape = np.array(events.detector_shape, np.int64)
    # as they are: what is made for every position may be as large as the events
    if weights.dtype == np.bool_:
        weights = weights.view(np.int8)
    else:
        weights = np.asarray(weights, np.complex128 if np.iscomplexobj(weights) else np.float64)
    return weights, *shift, shape, np.array(row_divider(events.detector_shape))


def _of_block(block: EventStore, first: int, arrays: tuple) -> tuple:
    rows = slice(first, first + block.scan_shape[0])
    return (*(array[rows].ravel() for array in arrays[:3]), *arrays[3:])
