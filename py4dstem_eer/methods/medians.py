"""Medians over patterns, over the detector, and over all: exact, of sparse counts.

A median is zero unless at least half of the values are not: only the few pixels, or patterns, where
that is so are looked at as dense numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..detector import select_map
from ..events import EventStore
from ..progress import shown, track
from .pixel_order import hits_per_pixel
from .reductions import binned_stack

#: Dense columns of candidate pixels take this part of the events' size, or this many bytes.
_PART_OF_EVENTS, _FEWEST_BYTES = 0.03, 2**19
#: Counts that are sorted at a time.
_PIECE = 2**18


def median_pattern(events: EventStore, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the median of every detector pixel over the scan.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    weights : (Rx, Ry) bool or real, optional
        Booleans choose patterns; numbers multiply them.

    Returns
    -------
    pattern : (Qx, Qy) float64
        [electrons]; NaN if no pattern is chosen.
    """
    chosen = np.ones(events.scan_shape, bool) if weights is None else weights != 0
    factors = None if weights is None or weights.dtype == np.bool_ else weights.ravel()
    n_values = events.n_patterns if factors is not None else int(chosen.sum())
    median = np.zeros(events.detector_shape[0] * events.detector_shape[1])
    if n_values == 0:
        return np.full(events.detector_shape, np.nan)
    candidates = np.flatnonzero(2 * hits_per_pixel(events, chosen) >= n_values)
    for pixels in track(_batches(candidates, events, factors is not None), "Median"):
        with shown(False):
            columns = binned_stack(
                events, select_map(events.detector_shape, pixels), events.count_dtype
            )
        columns = columns[chosen.ravel()] if factors is None else columns * factors[:, None]
        median[pixels] = np.median(columns, axis=0, overwrite_input=True)
    return median.reshape(events.detector_shape)


def _batches(pixels: np.ndarray, events: EventStore, weighted: bool) -> list[np.ndarray]:
    """Split pixels such that their dense columns stay small beside the events."""
    itemsize = 2 * events.count_dtype.itemsize + (8 if weighted else 0)
    room = max(_FEWEST_BYTES, int(_PART_OF_EVENTS * events.nbytes))
    size = max(1, room // (events.n_patterns * itemsize))
    return [pixels[start : start + size] for start in range(0, len(pixels), size)]


def median_per_position(events: EventStore) -> np.ndarray:
    """Return the median count of every pattern, (Rx, Ry) float64 [electrons]."""
    n_pixels = events.detector_shape[0] * events.detector_shape[1]
    median = np.zeros(events.scan_shape)
    for first, block in track(events.blocks(), "Median"):
        entries = np.diff(block.indptr).reshape(block.scan_shape)
        for rx, ry in np.argwhere(2 * entries >= n_pixels):
            median[first + rx, ry] = np.median(block.pattern(rx, ry))
    return median


def median_of_all(events: EventStore) -> float:
    """Return the median count of all pixels of all patterns [electrons]."""
    n_values = events.n_patterns * events.detector_shape[0] * events.detector_shape[1]
    if n_values == 0:
        return np.nan
    occurring: dict[int, int] = {}
    for _, block in track(events.blocks(), "Median"):
        for value, number in _histogram(block):
            occurring[value] = occurring.get(value, 0) + number
    occurring[0] = n_values - sum(occurring.values())
    values = np.sort(np.array(list(occurring)))
    ends = np.cumsum([occurring[int(value)] for value in values])
    middle = np.searchsorted(ends, [(n_values - 1) // 2, n_values // 2], side="right")
    return float(np.mean(values[middle]))


def _histogram(block: EventStore) -> Iterator[tuple[int, int]]:
    """Yield the counts above zero that occur in parts of a block, and how often."""
    if block.counts is None:
        yield 1, len(block.indices)
        return
    for start in range(0, len(block.counts), _PIECE):
        values, numbers = np.unique(block.counts[start : start + _PIECE], return_counts=True)
        yield from ((int(value), int(n)) for value, n in zip(values, numbers, strict=True))
