"""Electron events that stay in their file and are read scan rows at a time."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from .derived_sources import BinnedScan, Mapped, Reshaped, Selection, asked, most_events_per_row
from .detector import PixelMap, Shape2D
from .events import EventStore
from .shapes import check_chosen, check_map_fits, folded_shape, parse_scan_slices

#: Scan rows are handed out in blocks of about this many events.
EVENTS_PER_BLOCK = 2**23


class EventSource(Protocol):
    """What a file-backed store reads from; the reader of a format gives one.

    Methods that a source may have, so that a file is described without reading its events:

    ``events_per_pattern()``
        The electrons of every pattern, (Rx * Ry,), exactly, or None if only reading tells.
    ``missing_patterns()``
        The number of scan positions for which the file has no frame, or None if it does not tell.
    ``read_positions(first, last)``
        The patterns of scan positions first to last, of any rows, as a scan of one column: where a
        row is too large to be looked at in a moment.
    ``electrons(first, last)``
        The electrons of scan positions first to last, of any rows, (n,) int64, counted without
        making lists of them, and without what takes long to load.
    ``file_bytes()``
        Bytes of all files that events are read from, where it is not the one opened, or not alone.
    ``files()``
        Paths of the files that are read beside the one opened, and those of options: nothing that
        is made of the events may replace them.

    Any number of threads may read from it at the same time, so that it opens its file for each
    read, or positions nothing that is shared.
    """

    #: Scan rows and columns (Rx, Ry).
    scan_shape: Shape2D
    #: Detector rows and columns (Qx, Qy).
    detector_shape: Shape2D

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the file says beside the events: plain values, nested dicts, (value, unit) pairs."""

    @property
    def nbytes(self) -> int:
        """Bytes that the source itself keeps in memory, such as tables of where patterns begin."""

    @property
    def count_dtype(self) -> np.dtype:
        """Smallest dtype of uint8, uint16 and uint32 that certainly holds any pixel of a pattern.

        Where the tables of the file do not tell, that is uint32.
        """

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return scan rows start to stop, in memory.

        `EventStore.from_lists` takes lists in any order, with pixels that repeat, and checks that
        they lie on the detector.

        Parameters
        ----------
        start, stop : int
            0 <= start <= stop <= Rx.

        Returns
        -------
        EventStore, scan (stop - start, Ry), with the source's detector and metadata

        Raises
        ------
        CorruptFileError, EventRangeError
            If some of it cannot be read, naming the file and the frame.
        """

    def events_per_row(self) -> np.ndarray | None:
        """Return the electrons of every scan row, (Rx,), exactly, or None if only reading tells.

        With it, blocks of rows have about equal numbers of events, and `n_events` costs nothing.
        A source that cannot tell electrons may have a method `entries_per_row`, which returns
        how many entries are read for each scan row, about: they serve for the blocks.
        """


class StreamedEventStore(EventStore):
    """Events that stay in their file; the same interface, scan rows at a time.

    `indptr`, `indices` and `counts` read the whole file each time: use `blocks` or `load`.

    Parameters
    ----------
    source : EventSource
    """

    def __init__(self, source: EventSource) -> None:
        self._describe(source.scan_shape, source.detector_shape, source.metadata)
        self._source = source

    def __repr__(self) -> str:
        known = self._source.events_per_row()
        electrons = "" if known is None else f"{int(known.sum()):,} electrons, "
        return (
            f"{type(self).__name__}(scan {self.scan_shape}, detector {self.detector_shape}, "
            f"{electrons}streamed from file)"
        )

    @property
    def in_memory(self) -> bool:
        """False: the events are streamed."""
        return False

    @property
    def indptr(self) -> np.ndarray:
        """Start of every pattern's entries; reads the whole file."""
        return self.load().indptr

    @property
    def indices(self) -> np.ndarray:
        """Flat detector index of every entry; reads the whole file."""
        return self.load().indices

    @property
    def counts(self) -> np.ndarray | None:
        """Electrons of every entry or None; reads the whole file."""
        return self.load().counts

    @property
    def n_events(self) -> int:
        """Number of electrons; reads the file if its tables do not tell."""
        per_row = self._source.events_per_row()
        if per_row is not None:
            return int(per_row.sum())
        return sum(block.n_events for _, block in self.blocks())

    def events_per_row(self) -> np.ndarray | None:
        """Return the electrons of every scan row, (Rx,), or None if only reading tells."""
        return self._source.events_per_row()

    def events_per_pattern(self) -> np.ndarray | None:
        """Return the electrons of every pattern, (Rx * Ry,), or None if only reading tells."""
        return asked(self._source, "events_per_pattern")

    def entries_per_row(self) -> np.ndarray:
        """Return about how many entries are read for every scan row, (Rx,)."""
        return most_events_per_row(self._source)

    def missing_patterns(self) -> int | None:
        """Return the number of scan positions without a frame, or None if it is not known."""
        return asked(self._source, "missing_patterns")

    def file_bytes(self) -> int | None:
        """Return the bytes of all files of events, or None for those of the one opened."""
        answer = getattr(self._source, "file_bytes", None)
        return None if answer is None else answer()

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return self._source.nbytes

    @property
    def count_dtype(self) -> np.dtype:
        """Smallest dtype that holds every pixel of a dense pattern."""
        return self._source.count_dtype

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return scan rows start to stop, in memory."""
        return self._source.read_rows(start, stop)

    @property
    def read_positions(self) -> Callable[[int, int], EventStore] | None:
        """Returns patterns first to last as a column, in memory; None if only rows can be read."""
        return getattr(self._source, "read_positions", None)

    @property
    def electrons(self) -> Callable[[int, int], np.ndarray] | None:
        """Counts the electrons of patterns first to last; None if they must be read for that."""
        return getattr(self._source, "electrons", None)

    def blocks(self) -> Iterator[tuple[int, EventStore]]:
        """Iterate over (first scan row, events in memory) in blocks of bounded size.

        While the caller works on a block, the next one is read: two are in memory at a time.
        Leaving a loop early waits until the block that is being read is there.
        """
        ranges = self._row_ranges()
        starts = (start for start, _ in ranges)
        return zip(starts, _read_ahead(self.read_rows, ranges), strict=True)

    def _row_ranges(self) -> list[tuple[int, int]]:
        per_row = self.entries_per_row()
        rows = self.scan_shape[0]
        ranges, start, events = [], 0, 0
        for row in range(rows):
            if row > start and events + per_row[row] > EVENTS_PER_BLOCK:
                ranges.append((start, row))
                start, events = row, 0
            events += int(per_row[row])
        return [*ranges, (start, rows)]

    def load(self) -> EventStore:
        """Return the same events in memory."""
        return loaded(self._source).with_metadata(**self.metadata)

    def select(self, rows: np.ndarray, columns: np.ndarray) -> EventStore:
        """Return the events at the crossings of scan `rows` and `columns`, still in the file."""
        check_chosen(rows, columns, self.scan_shape)
        return self.derived(Selection(self._source, rows, columns))

    def pattern(self, rx: int, ry: int, dtype: Any = None) -> np.ndarray:
        """Return one dense diffraction pattern; reads one scan row."""
        row = parse_scan_slices(rx, self.scan_shape)[0].start
        return self.read_rows(row, row + 1).pattern(0, ry, dtype or self.count_dtype)

    def mapped(self, pixel_map: PixelMap) -> EventStore:
        """Return the events on another detector, mapped as they are read."""
        check_map_fits(pixel_map, self.detector_shape)
        return self.derived(Mapped(self._source, pixel_map))

    def reshaped(self, scan_shape: Shape2D) -> EventStore:
        """Return the same patterns, still in the file, as a scan of another shape."""
        return self.derived(Reshaped(self._source, folded_shape(self.n_patterns, scan_shape)))

    def binned_scan(self, factor: int) -> EventStore:
        """Return the sums of factor × factor neighbouring patterns, summed as they are read."""
        return self.derived(BinnedScan(self._source, factor))

    def with_metadata(self, **items: Any) -> EventStore:
        """Return the same events with metadata items added."""
        store = self.derived(self._source)
        store._metadata.update(items)
        return store

    def derived(self, source: EventSource) -> StreamedEventStore:
        """Return a store of a source made of this one's: with its metadata, and of its files."""
        store = StreamedEventStore(source)
        store._metadata = dict(self.metadata)
        store.files = self.files
        return store


def _read_ahead(
    read: Callable[[int, int], EventStore], ranges: list[tuple[int, int]]
) -> Iterator[EventStore]:
    """Iterate over what `read` gives for each of `ranges`, one read ahead of the caller."""
    if len(ranges) == 1:
        yield read(*ranges[0])
        return
    with ThreadPoolExecutor(1, thread_name_prefix="py4dstem_eer_reader") as reader:
        upcoming = reader.submit(read, *ranges[0])
        for following in ranges[1:]:
            block = upcoming.result()
            upcoming = reader.submit(read, *following)
            yield block
        yield upcoming.result()


def loaded(source: EventSource) -> EventStore:
    """Return all events of a source in memory; it is asked for nothing else before it reads them.

    So a source that must count events of a file to describe it need not read the file twice.
    """
    store = _copied(source.read_rows(0, source.scan_shape[0]))
    return store.with_metadata(**source.metadata)


def _copied(store: EventStore) -> EventStore:
    """Return the same events in arrays that are no maps of a file."""
    if not any(_is_mapped(lists) for lists in (store.indptr, store.indices, store.counts)):
        return store
    return EventStore(
        store.scan_shape,
        store.detector_shape,
        np.array(store.indptr),
        np.array(store.indices),
        None if store.counts is None else np.array(store.counts),
        store.metadata,
        trusted=True,
    )


def _is_mapped(array: Any) -> bool:
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    return array is not None
