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
def _count_at(index, start, stop, indices, counts):
    """Return the count of one pixel of a pattern, by bisection."""
    low, high = start, stop
    while low < high:
        middle = (low + high) // 2
        if indices[middle] < index:
            low = middle + 1
        else:
            high = middle
    if low == stop or indices[low] != index:
        return 0
    return np.int64(counts[low]) if len(counts) > 0 else 1


@scalar_function
def _insert(value, n, ascending):
    """Put a value into a list of n ascending ones."""
    at = n
    while at > 0 and ascending[at - 1] > value:
        ascending[at] = ascending[at - 1]
        at -= 1
    ascending[at] = value


@scalar_function
def _medians(start, stop, indices, counts, windows, slots, columns, values):
    """Replace bad pixels one after another; each sees those before it as they are now."""
    ascending = np.empty(windows[:, 4].max(), np.int64)
    for j in range(len(windows)):
        n = 0
        for r in range(windows[j, 0], windows[j, 1]):
            for c in range(windows[j, 2], windows[j, 3]):
                slot = slots[r * columns + c]
                if 0 <= slot < j:
                    value = values[slot]
                else:
                    value = _count_at(r * columns + c, start, stop, indices, counts)
                _insert(value, n, ascending)
                n += 1
        values[j] = (ascending[(n - 1) // 2] + ascending[n // 2]) // 2


@kernel
def _measure(p, indptr, indices, counts, windows, slots, columns, lengths):
    values = np.zeros(len(windows), np.int64)
    _medians(indptr[p], indptr[p + 1], indices, counts, windows, slots, columns, values)
    length = 0
    for e in range(indptr[p], indptr[p + 1]):
        length += slots[indices[e]] < 0
    for value in values:
        length += value > 0
    lengths[p] = length


@kernel
def _rewrite(
    p, indptr, indices, counts, windows, slots, columns, pixels, new_indptr, out, new_counts
):
    values = np.zeros(len(windows), np.int64)
    _medians(indptr[p], indptr[p + 1], indices, counts, windows, slots, columns, values)
    at, j, e = new_indptr[p], 0, indptr[p]
    while e < indptr[p + 1] or j < len(pixels):
        from_list = e < indptr[p + 1] and (j == len(pixels) or indices[e] < pixels[j])
        if from_list:
            value = np.int64(counts[e]) if len(counts) > 0 else 1
            index = np.int64(indices[e])
            e += 1
        else:
            value, index = values[j], pixels[j]
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
    slots = np.full(mask.size, -1, np.int64)
    slots[pixels] = np.arange(len(pixels))
    around = (_windows(mask, reach), slots, mask.shape[1])
    lists = lists_on(events, get_device("cpu"))
    lengths = np.empty(events.n_patterns, np.int64)
    _measure.on_cpu(events.n_patterns, *lists, *around, lengths)
    indptr = np.zeros(events.n_patterns + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
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


def _windows(mask: np.ndarray, reach: tuple[int, int]) -> np.ndarray:
    """Return first and last row, first and last column, and size of every window, (n, 5)."""
    rows, columns = np.nonzero(mask)
    before, after = reach
    bounds = [
        np.maximum(rows - before, 0),
        np.minimum(rows + after, mask.shape[0]),
        np.maximum(columns - before, 0),
        np.minimum(columns + after, mask.shape[1]),
    ]
    size = (bounds[1] - bounds[0]) * (bounds[3] - bounds[2])
    return np.stack([*bounds, size], axis=1).astype(np.int64)


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
