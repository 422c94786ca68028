"""Smallest counts, and largest ones that are weighted or shifted."""

from __future__ import annotations

import numpy as np

from ..device import get_device, kernel
from ..events import EventStore
from ..progress import track
from .pixel_order import hits_per_pixel
from .reductions import lists_on, reduce_patterns

_LARGEST = np.iinfo(np.uint32).max


@kernel
def _minimise_patterns(i, bounds, indptr, indices, counts, smallest):
    for p in range(bounds[i], bounds[i + 1]):
        for e in range(indptr[p], indptr[p + 1]):
            count = counts[e] if len(counts) > 0 else 1
            smallest[i, indices[e]] = min(smallest[i, indices[e]], count)


@kernel
def _find_smallest(p, indptr, counts, n_pixels, image):
    smallest = 0
    if indptr[p + 1] - indptr[p] == n_pixels:
        smallest = 1
        if len(counts) > 0:
            smallest = counts[indptr[p]]
            for e in range(indptr[p], indptr[p + 1]):
                smallest = min(smallest, counts[e])
    image[p] = smallest


@kernel
def _maximise_weighted(
    i, bounds, indptr, indices, counts, weights, shift_x, shift_y, shape, largest
):
    rows, columns = shape[0], shape[1]
    for p in range(bounds[i], bounds[i + 1]):
        for e in range(indptr[p], indptr[p + 1]):
            r = (indices[e] // columns + shift_x[p]) % rows
            c = (indices[e] % columns + shift_y[p]) % columns
            count = counts[e] if len(counts) > 0 else 1
            at = r * columns + c
            largest[i, at] = max(largest[i, at], weights[p] * count)


def pattern_min(events: EventStore) -> np.ndarray:
    """Return the smallest count of every detector pixel, (Qx, Qy) uint32 [electrons]."""
    smallest = np.full(events.detector_shape[0] * events.detector_shape[1], _LARGEST, np.uint32)
    cpu = get_device("cpu")
    for _, block in track(events.blocks(), "Minimum of patterns"):
        parts = reduce_patterns(block, _minimise_patterns, (), np.uint32, cpu, _LARGEST)
        np.minimum(smallest, parts.min(0), out=smallest)
    smallest[hits_per_pixel(events) < events.n_patterns] = 0
    return smallest.reshape(events.detector_shape)


def smallest_per_position(events: EventStore) -> np.ndarray:
    """Return the smallest count of every pattern, (Rx, Ry) int64 [electrons]."""
    image = np.empty(events.scan_shape, np.int64)
    n_pixels = events.detector_shape[0] * events.detector_shape[1]
    for first, block in track(events.blocks(), "Minimum per position"):
        indptr, _, counts = lists_on(block, get_device("cpu"))
        part = image[first : first + block.scan_shape[0]].reshape(-1)
        _find_smallest.on_cpu(block.n_patterns, indptr, counts, n_pixels, part)
    return image


def weighted_max(
    events: EventStore,
    weights: np.ndarray,
    shift: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Return the largest value of every pixel over patterns that are weighted, and shifted.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    weights : (Rx, Ry) real
        Finite factor of every pattern.
    shift : ((Rx, Ry), (Rx, Ry)) int, optional
        Shift along detector (rows, columns) [px], with periodic edges. Values then are at least 0.

    Returns
    -------
    pattern : (Qx, Qy) float64
        [electrons]
    """
    shape = events.detector_shape
    largest = np.full(shape[0] * shape[1], -np.inf)
    offsets = shift or (np.zeros(events.scan_shape, np.int64),) * 2
    for first, block in track(events.blocks(), "Maximum of patterns"):
        rows = slice(first, first + block.scan_shape[0])
        extra = tuple(a[rows].ravel() for a in (weights.astype(np.float64), *offsets))
        shaped = (*extra, np.array(shape, np.int64))
        parts = reduce_patterns(
            block, _maximise_weighted, shaped, np.float64, get_device("cpu"), -np.inf
        )
        np.maximum(largest, parts.max(0), out=largest)
    # a pixel that some pattern did not hit has a zero there
    empty = np.ones(largest.size, bool)
    if shift is None and (weights < 0).any():
        empty = hits_per_pixel(events) < events.n_patterns
    return np.where(empty, np.maximum(largest, 0), largest).reshape(shape)
