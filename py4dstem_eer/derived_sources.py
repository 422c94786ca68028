"""What is made of the events of a file as they are read: mapped, selected, folded, binned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .detector import DROPPED, PixelMap, Shape2D, binned_shape
from .event_lists import count_dtype
from .events import EventStore

if TYPE_CHECKING:
    from .streams import EventSource, StreamedEventStore

    Source: TypeAlias = EventSource | StreamedEventStore

#: Taken for the events of a scan row whose source does not tell: a block for each row.
_UNKNOWN = 2**23


def asked(source: Source, method: str) -> Any:
    """Return the answer of a method that the source may have, or None."""
    answer = getattr(source, method, None)
    return None if answer is None else answer()


def most_events_per_row(source: Source) -> np.ndarray:
    """Return about how many events are read for each scan row, to size blocks by."""
    for method in ("entries_per_row", "events_per_row"):
        per_row = asked(source, method)
        if per_row is not None:
            return per_row
    return np.full(source.scan_shape[0], _UNKNOWN)


def _sum_dtype(source: Source, n: int) -> np.dtype:
    """Return the smallest dtype that holds the sum of any n pixels of a source."""
    largest = n * int(np.iinfo(source.count_dtype).max)
    return count_dtype(min(largest, int(np.iinfo(np.uint32).max)))


class Derived:
    """A source made of another one; subclasses say what is different."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.scan_shape = source.scan_shape
        self.detector_shape = source.detector_shape
        self.metadata = source.metadata
        self.count_dtype = source.count_dtype

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return self.source.nbytes

    def events_per_row(self) -> np.ndarray | None:
        """Return None: only reading tells."""
        return None

    def entries_per_row(self) -> np.ndarray:
        """Return about how many entries are read for every scan row, (Rx,)."""
        return most_events_per_row(self.source)


class Mapped(Derived):
    """A source whose events go through a pixel map as they are read."""

    def __init__(self, source: Source, pixel_map: PixelMap) -> None:
        super().__init__(source)
        self.pixel_map = pixel_map
        self.detector_shape = pixel_map.target_shape
        kept = pixel_map.lut[pixel_map.lut != DROPPED]
        self.count_dtype = _sum_dtype(source, int(np.bincount(kept, minlength=1).max()))

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return self.source.nbytes + self.pixel_map.lut.nbytes

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return scan rows start to stop, in memory."""
        return self.source.read_rows(start, stop).mapped(self.pixel_map)


class Selection(Derived):
    """A source of some scan rows and columns of another."""

    def __init__(self, source: Source, rows: np.ndarray, columns: np.ndarray) -> None:
        super().__init__(source)
        self.rows = rows
        self.columns = columns
        self.scan_shape = (len(rows), len(columns))

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return scan rows start to stop, in memory."""
        rows = self.rows[start:stop]
        if len(rows) == 0:
            return self.source.read_rows(0, 0).select(rows, self.columns)
        first = int(rows.min())
        return self.source.read_rows(first, int(rows.max()) + 1).select(rows - first, self.columns)

    def events_per_row(self) -> np.ndarray | None:
        """Return the electrons of every scan row, (Rx,), or None if only reading tells."""
        per_pattern = self.events_per_pattern()
        return None if per_pattern is None else per_pattern.reshape(self.scan_shape).sum(axis=1)

    def events_per_pattern(self) -> np.ndarray | None:
        """Return the electrons of every pattern, (Rx * Ry,), or None if only reading tells."""
        everywhere = asked(self.source, "events_per_pattern")
        if everywhere is None:
            return None
        return everywhere.reshape(self.source.scan_shape)[np.ix_(self.rows, self.columns)].ravel()

    def entries_per_row(self) -> np.ndarray:
        """Return how many entries are read for every scan row, those of skipped rows included."""
        ends = np.r_[0, np.cumsum(most_events_per_row(self.source))]
        before = np.r_[self.rows[:1], self.rows[:-1]]
        upwards = ends[self.rows + 1] - ends[np.minimum(before + 1, self.rows)]
        downwards = ends[np.maximum(before, self.rows + 1)] - ends[self.rows]
        return np.where(self.rows >= before, upwards, downwards)


class Reshaped(Derived):
    """A source of the same patterns, in the same order, as a scan of another shape.

    Rows of which the end is not asked for are kept for the next read, as that will want it: a line
    of all patterns is read once, whatever it is folded into. They go when their end is asked for.
    """

    def __init__(self, source: Source, scan_shape: Shape2D) -> None:
        super().__init__(source)
        self.scan_shape = scan_shape
        self._kept: tuple[int, EventStore] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held in memory, with the rows that are kept for the next read."""
        kept = self._kept
        return self.source.nbytes + (0 if kept is None else kept[1].nbytes)

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return scan rows start to stop, in memory."""
        first, end = start * self.scan_shape[1], stop * self.scan_shape[1]
        length = max(1, self.source.scan_shape[1])
        row, rows = self._read(first // length, -(-end // length))
        # another thread may read something else meanwhile: then either may be read again
        self._kept = (row, rows) if end < row * length + rows.n_patterns else None
        patterns = rows.reshaped((rows.n_patterns, 1))
        part = patterns.read_rows(first - row * length, end - row * length)
        return part.reshaped((stop - start, self.scan_shape[1]))

    def _read(self, start: int, stop: int) -> tuple[int, EventStore]:
        """Return rows of the source that hold start to stop, and the first one's number."""
        kept = self._kept  # another thread may replace it at any time
        if kept is not None and kept[0] <= start and stop <= kept[0] + kept[1].scan_shape[0]:
            return kept
        return start, self.source.read_rows(start, stop)

    def events_per_row(self) -> np.ndarray | None:
        """Return the electrons of every scan row, (Rx,), or None if only reading tells."""
        per_pattern = self.events_per_pattern()
        return None if per_pattern is None else per_pattern.reshape(self.scan_shape).sum(axis=1)

    def events_per_pattern(self) -> np.ndarray | None:
        """Return the electrons of every pattern, (Rx * Ry,), or None if only reading tells."""
        return asked(self.source, "events_per_pattern")

    def entries_per_row(self) -> np.ndarray:
        """Return about how many entries each scan row holds, (Rx,)."""
        ends = np.r_[0, np.cumsum(most_events_per_row(self.source))]
        columns = self.scan_shape[1] / max(1, self.source.scan_shape[1])
        bounds = np.arange(self.scan_shape[0] + 1) * columns
        return np.diff(np.interp(bounds, np.arange(len(ends)), ends))


class BinnedScan(Derived):
    """A source of the sums of factor × factor neighbouring patterns of another."""

    def __init__(self, source: Source, factor: int) -> None:
        super().__init__(source)
        self.scan_shape = binned_shape(source.scan_shape, factor, "scan")
        self.factor = int(factor)
        self.count_dtype = _sum_dtype(source, self.factor**2)

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return scan rows start to stop, in memory."""
        rows = self.source.read_rows(start * self.factor, stop * self.factor)
        if start == stop:
            return rows.select(np.arange(0), np.arange(self.scan_shape[1]))
        return rows.binned_scan(self.factor)

    def entries_per_row(self) -> np.ndarray:
        """Return about how many entries are read for every scan row, (Rx,)."""
        per_row = most_events_per_row(self.source)[: self.scan_shape[0] * self.factor]
        return per_row.reshape(self.scan_shape[0], self.factor).sum(axis=1)
