"""Smallest counts: zero, unless every pattern, or every pixel, was hit."""

from __future__ import annotations

import numpy as np

from ..device import get_device, kernel
from ..events import EventStore
from ..progress import track
from .blocks import lists_on, reduce_patterns
from .pixel_order import hits_per_pixel

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


def pattern_min(events: EventStore) -> np.ndarray:
    """Return the smallest count of every detector pixel, (Qx, Qy) uint32 [electrons]."""
    smallest = np.full(events.detector_shape[0] * events.detector_shape[1], _LARGEST, np.uint32)
    for _, block in track(events.blocks(), "Minimum of patterns"):
        parts = reduce_patterns(block, _minimise_patterns, (), np.uint32, _LARGEST)
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
