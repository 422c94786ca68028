"""Bad pixels replaced, in every pattern, by the median of their neighbourhood."""

from __future__ import annotations

import numpy as np

from ..derived_sources import Derived
from ..device import get_device, kernel, scalar_function
from ..event_lists import smallest_counts
from ..events import EventStore
from ..streams import StreamedEventStore
from .blocks import lists_on


@scalar_function
def _insert(value, n, ascending):
    """Put a value into a list of n ascending ones."""
    at = n
    while at > 0 and ascending[at - 1] > value:
        ascending[at] = ascending[at - 1]
        at -= 1
    ascending[at] = value


@scalar_function
def _median(near, window, ascending):
    """Return the median of the slots of a window, rounded down."""
    n = len(window)
    n_hit = 0
    for slot in window:
        n_hit += near[slot] > 0
    if n - n_hit > n // 2:
        return 0
    for k in range(n):
        _insert(near[window[k]], k, ascending)
    return (ascending[(n - 1) // 2] + ascending[n // 2]) // 2


@scalar_function
def _repair(start, stop, indices, counts, slots, windows, bounds, near):
    """Fill `near` with the counts of a pattern around bad pixels, and replace these in order."""
    near[:] = 0
    for e in range(start, stop):
        slot = slots[indices[e]]
        if slot >= 0:
            near[slot] = counts[e] if len(counts) > 0 else 1
    ascending = np.empty_like(near)
    for j in range(len(bounds) - 1):  # each sees those before it as they are now
        near[j] = _median(near, windows[bounds[j] : bounds[j + 1]], ascending)


@kernel
def _measure(p, indptr, indices, counts, slots, windows, bounds, n_near, lengths):
    near = np.empty(n_near, np.int64)
    _repair(indptr[p], indptr[p + 1], indices, counts, slots, windows, bounds, near)
    n_bad = len(bounds) - 1
    length = 0
    for e in range(indptr[p], indptr[p + 1]):
        length += not 0 <= slots[indices[e]] < n_bad
    for value in near[:n_bad]:
        length += value > 0
    lengths[p] = length


@kernel
def _rewrite(
    p, indptr, indices, counts, slots, windows, bounds, n_near, pixels, new_indptr, out, new_counts
):
    near = np.empty(n_near, np.int64)
    _repair(indptr[p], indptr[p + 1], indices, counts, slots, windows, bounds, near)
    at, j, e = new_indptr[p], 0, indptr[p]
    while e < indptr[p + 1] or j < len(pixels):
        from_list = e < indptr[p + 1] and (j == len(pixels) or indices[e] < pixels[j])
        if from_list:
            value = np.int64(counts[e]) if len(counts) > 0 else 1
            index = np.int64(indices[e])
            e += 1
        else:
            value, index = near[j], pixels[j]
            if e < indptr[p + 1] and indices[e] == pixels[j]:
                e += 1
            j += 1
        if value > 0:
            out[at] = index
            if len(new_counts) > 0:
                new_counts[at] = value
            at += 1


def with_local_medians(events: EventStore, mask: np.ndarray, reach: tuple[int, int]) -> EventStore:
    """Return events whose masked pixels have the median count of the pixels around them.

    Masked pixels are replaced in order; the window of a later one holds the new counts of earlier
    ones, as in py4DSTEM. Medians are rounded down to whole electrons.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
        A streamed one stays in its file, and is changed as it is read.
    mask : (Qx, Qy) bool
    reach : (int, int)
        A window is of rows and columns from index − reach[0] to index + reach[1] − 1, as far as
        they are on the detector.

    Returns
    -------
    repaired : EventStore
    """
    if isinstance(events, StreamedEventStore):
        return events.derived(_Repaired(events, mask, reach))
    pixels = np.flatnonzero(mask)
    around = _neighbourhoods(mask, reach)
    lists = lists_on(events, get_device("cpu"))
    indptr = np.zeros(events.n_patterns + 1, np.int64)
    _measure.on_cpu(events.n_patterns, *lists, *around, indptr[1:])
    np.cumsum(indptr, out=indptr)
    indices = np.empty(indptr[-1], events.indices.dtype)
    counts = np.empty(0 if events.counts is None else indptr[-1], events.count_dtype)
    _rewrite.on_cpu(events.n_patterns, *lists, *around, pixels, indptr, indices, counts)
    return EventStore(
        events.scan_shape,
        events.detector_shape,
        indptr,
        indices,
        smallest_counts(counts) if counts.size else None,
        events.metadata,
        trusted=True,
    )


def _neighbourhoods(
    mask: np.ndarray, reach: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return slots for the counts of all pixels that some window holds, bad ones first.

    Returns
    -------
    slots : (Qx * Qy,) int32
        Of every pixel; -1 where it is in no window.
    windows : (n,) int32
        Slots of the pixels of one window after another.
    bounds : (bad pixels + 1,) int64
        The window of bad pixel j is windows[bounds[j]:bounds[j + 1]].
    n_near : int
        Number of slots.
    """
    steps = np.arange(-reach[0], reach[1])
    rows, columns = np.nonzero(mask)
    near_rows = np.repeat(steps, len(steps)) + rows[:, None]
    near_columns = np.tile(steps, len(steps)) + columns[:, None]
    inside = (near_rows >= 0) & (near_rows < mask.shape[0])
    inside &= (near_columns >= 0) & (near_columns < mask.shape[1])
    pixels = near_rows[inside] * mask.shape[1] + near_columns[inside]
    bad = np.flatnonzero(mask)
    near = np.concatenate((bad, np.setdiff1d(pixels, bad)))
    slots = np.full(mask.size, -1, np.int32)
    slots[near] = np.arange(len(near))
    bounds = np.concatenate(([0], np.cumsum(inside.sum(axis=1))))
    return slots, slots[pixels], bounds, len(near)


class _Repaired(Derived):
    """A source whose masked pixels are replaced as rows are read."""

    def __init__(
        self, source: StreamedEventStore, mask: np.ndarray, reach: tuple[int, int]
    ) -> None:
        super().__init__(source)
        self.mask = mask
        self.reach = reach

    @property
    def nbytes(self) -> int:
        return self.source.nbytes + self.mask.nbytes

    def read_rows(self, start: int, stop: int) -> EventStore:
        return with_local_medians(self.source.read_rows(start, stop), self.mask, self.reach)
