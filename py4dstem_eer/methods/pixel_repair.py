"""Bad pixels replaced, in every pattern, by the median of their neighbourhood."""

from __future__ import annotations

import numpy as np

from ..compiled import scalar_function
from ..derived_sources import Derived
from ..device import get_device, kernel
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
def _median(near, slots, columns, window, ascending):
    """Return the median of the pixels of a window, rounded down."""
    n, n_hit = 0, 0
    for row in range(window[0], window[1]):
        for slot in slots[row * columns + window[2] : row * columns + window[3]]:
            n += 1
            n_hit += near[slot] > 0
    if n - n_hit > n // 2:
        return 0
    n = 0
    for row in range(window[0], window[1]):
        for slot in slots[row * columns + window[2] : row * columns + window[3]]:
            _insert(near[slot], n, ascending)
            n += 1
    return (ascending[(n - 1) // 2] + ascending[n // 2]) // 2


@scalar_function
def _repair(start, stop, indices, counts, slots, columns, windows, near):
    """Fill `near` with the counts of a pattern around bad pixels, and replace these in order."""
    near[:] = 0
    for e in range(start, stop):
        slot = slots[indices[e]]
        if slot >= 0:
            near[slot] = counts[e] if len(counts) > 0 else 1
    ascending = np.empty_like(near)
    for j in range(len(windows)):  # each sees those before it as they are now
        near[j] = _median(near, slots, columns, windows[j], ascending)


@kernel
def _measure(p, indptr, indices, counts, slots, columns, windows, n_near, lengths):
    near = np.empty(n_near, np.int64)
    _repair(indptr[p], indptr[p + 1], indices, counts, slots, columns, windows, near)
    n_bad = len(windows)
    length = 0
    for e in range(indptr[p], indptr[p + 1]):
        length += not 0 <= slots[indices[e]] < n_bad
    for value in near[:n_bad]:
        length += value > 0
    lengths[p] = length


@kernel
def _rewrite(
    p, indptr, indices, counts, slots, columns, windows, n_near, pixels, new_indptr, out, new_counts
):
    near = np.empty(n_near, np.int64)
    _repair(indptr[p], indptr[p + 1], indices, counts, slots, columns, windows, near)
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
    around = _Neighbourhoods(mask, reach)
    if isinstance(events, StreamedEventStore):
        return events.derived(_Repaired(events, around))
    return _repaired(events, around)


def _repaired(events: EventStore, bad: _Neighbourhoods) -> EventStore:
    """Return events in memory with new counts in bad pixels."""
    around = (bad.slots, events.detector_shape[1], bad.windows, bad.n_near)
    lists = lists_on(events, get_device("cpu"))
    indptr = np.zeros(events.n_patterns + 1, np.int64)
    _measure.on_cpu(events.n_patterns, *lists, *around, indptr[1:])
    np.cumsum(indptr, out=indptr)
    indices = np.empty(indptr[-1], events.indices.dtype)
    counts = np.empty(0 if events.counts is None else indptr[-1], events.count_dtype)
    _rewrite.on_cpu(events.n_patterns, *lists, *around, bad.pixels, indptr, indices, counts)
    return EventStore(
        events.scan_shape,
        events.detector_shape,
        indptr,
        indices,
        smallest_counts(counts) if counts.size else None,
        events.metadata,
        trusted=True,
    )


class _Neighbourhoods:
    """Bad pixels, and where the counts are kept of all pixels that some window holds.

    Attributes
    ----------
    pixels : (n,) int64
        Flat indices of the bad pixels.
    windows : (n, 4) int64
        First and last row, first and last column around each.
    slots : (Qx * Qy,) int32
        Of every pixel, those of bad pixels first; -1 where it is in no window.
    n_near : int
        Number of slots.
    """

    def __init__(self, mask: np.ndarray, reach: tuple[int, int]) -> None:
        rows, columns = np.nonzero(mask)
        before, after = reach
        top, bottom = np.maximum(rows - before, 0), np.minimum(rows + after, mask.shape[0])
        left, right = np.maximum(columns - before, 0), np.minimum(columns + after, mask.shape[1])
        self.windows = np.stack([top, bottom, left, right], axis=1)
        # sums from the corners of rectangles on: however large they are, and how many
        held = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int32)
        for r, c, step in (
            (top, left, 1),
            (bottom, right, 1),
            (top, right, -1),
            (bottom, left, -1),
        ):
            np.add.at(held, (r, c), step)
        held = held.cumsum(axis=0, out=held).cumsum(axis=1, out=held)[:-1, :-1]
        self.pixels = np.flatnonzero(mask)
        near = np.concatenate((self.pixels, np.flatnonzero((held > 0) & ~mask)))
        self.n_near = len(near)
        self.slots = np.full(mask.size, -1, np.int32)
        self.slots[near] = np.arange(len(near))

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return self.pixels.nbytes + self.windows.nbytes + self.slots.nbytes


class _Repaired(Derived):
    """A source whose bad pixels are replaced as rows are read."""

    def __init__(self, source: StreamedEventStore, bad: _Neighbourhoods) -> None:
        super().__init__(source)
        self.bad = bad

    @property
    def nbytes(self) -> int:
        return self.source.nbytes + self.bad.nbytes

    def read_rows(self, start: int, stop: int) -> EventStore:
        return _repaired(self.source.read_rows(start, stop), self.bad)
