"""The events of an open Timepix3 file, read by scan rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from .. import event_lists
from ..detector import Shape2D
from ..device import n_threads
from ..errors import CorruptFileError
from ..events import EventStore
from ..progress import track
from .assembly import Assembly
from .stamps import check_unchanged
from .tpx3_hits import N_REASONS, Target, Work
from .tpx3_index import Index, Words
from .tpx3_order import sort_pixels
from .tpx3_packets import TICKS_PER_STEP
from .tpx3_time import B_AT, B_FIRST, B_LAST, B_WORDS

_BLOCKS_PER_READ = 256  # of 64 KiB
_PARTS_PER_THREAD = 8
_FOREVER = 2**60  # [ticks]

#: sort(filled, indptr, out) -> tally; see `Work` and `Sorter`.
Sort = Callable[..., np.ndarray]


class Sorter(Protocol):
    """What makes events of hits: `HitSorter` or `ClusterSorter`."""

    detector_shape: Shape2D
    #: Time around a span that is needed for its events, before and after [ticks].
    margins: tuple[int, int]
    #: For the metadata.
    facts: dict[str, Any]

    def sort(self, work: Work) -> np.ndarray:
        """Count events, and sort them in; return how many are in no pattern, and why."""


class Tpx3Source:
    """The events of an open Timepix3 file; `tpx3.open_source` builds it.

    The file is opened for each read and must stay as it is meanwhile.
    """

    def __init__(
        self,
        index: Index,
        target: Target,
        sorter: Sorter,
        metadata: dict[str, Any],
        stamp: tuple[int, ...],
    ) -> None:
        self.scan_shape = target.schedule.kept_shape
        self.detector_shape = sorter.detector_shape
        self.metadata = metadata
        self._index = index
        self._schedule = target.schedule
        self._sorter = sorter
        self._stamp = stamp
        self._latest_before = np.maximum.accumulate(index.blocks[:, B_LAST])
        self._earliest_after = np.minimum.accumulate(index.blocks[::-1, B_FIRST])[::-1]
        self._counts = np.zeros(self.scan_shape[0] * self.scan_shape[1], np.uint32)

    @property
    def nbytes(self) -> int:
        """Bytes of the tables kept in memory."""
        edges = sum(times.nbytes for times in self._index.edges.values())
        return self._index.blocks.nbytes + self._counts.nbytes + edges

    @property
    def count_dtype(self) -> np.dtype:
        """Smallest dtype that holds any pixel, even if all events of a pattern hit it."""
        return event_lists.count_dtype(int(self._counts.max(initial=0)))

    def events_per_pattern(self) -> np.ndarray:
        """Return the electrons of every pattern, (Rx * Ry,)."""
        return self._counts.astype(np.int64)

    def events_per_row(self) -> np.ndarray:
        """Return the electrons of every scan row (Rx,)."""
        return self._counts.reshape(self.scan_shape).sum(axis=1, dtype=np.int64)

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return scan rows start to stop, in memory.

        Raises
        ------
        CorruptFileError
            If the file was changed meanwhile.
        """
        rows = range(self.scan_shape[0])[start:stop]
        columns = self.scan_shape[1]
        counts = self._counts[rows.start * columns : max(rows.start, rows.stop) * columns]
        n_events = int(counts.sum(dtype=np.int64))
        assembly = Assembly(len(counts), n_events, self.detector_shape)
        for first, last, sort in track(self._batches(rows), "reading events"):
            lengths = self._counts[first:last].astype(np.int64)
            indptr = np.concatenate(([0], np.cumsum(lengths)))
            filled = np.zeros(len(lengths), np.uint32)
            out = assembly.room(int(indptr[-1]))
            sort(filled, indptr, out)
            if not np.array_equal(filled, lengths):
                raise CorruptFileError(f"{self._index.path} changed while it was read")
            sort_pixels(indptr, out)
            assembly.add(lengths)
        return EventStore(
            (len(rows), columns),
            self.detector_shape,
            *assembly.lists(),
            metadata=self.metadata,
            trusted=True,  # pixels follow from 16 bits, the assembly sorts and merges
        )

    def count(self) -> np.ndarray:
        """Count the events of every position; return those that are in none, (N_REASONS,)."""
        tally = np.zeros(N_REASONS, np.int64)
        for first, last, sort in track(self._batches(None), "counting events"):
            tally += sort(self._counts[first:last])
        return tally

    def _batches(self, rows: range | None) -> Iterator[tuple[int, int, Sort]]:
        """Iterate over (first, last position, function that sorts their events in).

        Positions are in order and none is left out; None is the whole file, with what comes before
        and after the scan.
        """
        columns = self._schedule.scan_shape[1]
        whole = range(self._schedule.scan_shape[0]) if rows is None else rows
        if len(whole) == 0:
            return
        ends = (whole.start * columns, whole.stop * columns)
        check_unchanged(self._index.path, self._stamp)
        with self._index.path.open("rb", buffering=0) as file:
            words = Words(file)
            every = self._blocks_near(*self._times(ends))
            cuts = self._cuts(every[::_BLOCKS_PER_READ], *ends)
            for positions in itertools.pairwise(cuts):
                yield self._batch(words, positions, rows is None)

    def _batch(
        self, words: Words, positions: tuple[int, int], whole: bool
    ) -> tuple[int, int, Sort]:
        blocks = self._blocks_near(*self._span(positions, whole))
        step = max(1, len(blocks) // (_PARTS_PER_THREAD * n_threads()))
        bounds = self._times(self._cuts(blocks[::step], *positions))
        bounds[[0, -1]] = self._span(positions, whole)
        first, last = map(self._schedule.kept_before, positions)

        def sort(filled: np.ndarray, *place: np.ndarray) -> np.ndarray:
            found, moved = _load(words, blocks)
            return self._sorter.sort(Work(found, moved, bounds, first, filled, *place))

        return first, last, sort

    def _span(self, positions: tuple[int, int], whole: bool) -> tuple[int, int]:
        """Return the time [ticks] of recorded positions; of the whole file, all time."""
        low, high = (self._schedule.time_of(position) for position in positions)
        if whole and positions[0] == 0:
            low = -_FOREVER
        if whole and positions[1] == math.prod(self._schedule.scan_shape):
            high = _FOREVER
        return low, high

    def _times(self, positions: Sequence[int]) -> np.ndarray:
        return np.array([self._schedule.time_of(position) for position in positions], np.int64)

    def _cuts(self, blocks: np.ndarray, first: int, last: int) -> list[int]:
        """Return positions from first to last, about where the `blocks` begin."""
        begins = blocks[:, B_FIRST] * TICKS_PER_STEP
        inside = {self._schedule.position_before(int(time)) for time in begins}
        return [first, *sorted(p for p in inside if first < p < last), last]

    def _blocks_near(self, low: int, high: int) -> np.ndarray:
        """Return those blocks that may have hits of low <= t < high [ticks], or near."""
        before, after = self._sorter.margins
        low, high = (low - before) // TICKS_PER_STEP, (high + after) // TICKS_PER_STEP
        start = int(np.searchsorted(self._latest_before, low, "left"))
        stop = int(np.searchsorted(self._earliest_after, high, "right"))
        blocks = self._index.blocks[start:stop]
        return blocks[(blocks[:, B_LAST] >= low) & (blocks[:, B_FIRST] <= high)]


def _load(words: Words, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read blocks, as few pieces of the file; return their words, and where each block is in them.

    Blocks that are no longer whole are left out.
    """
    sizes = blocks[:, B_WORDS]
    begins = np.cumsum(sizes) - sizes
    apart = np.flatnonzero(blocks[1:, B_AT] != blocks[:-1, B_AT] + 8 * sizes[:-1]) + 1
    firsts = np.concatenate(([0], apart)) if len(blocks) else apart
    totals = np.diff(np.append(begins[firsts], sizes.sum()))
    found = words.read(list(zip(blocks[firsts, B_AT].tolist(), totals.tolist(), strict=True)))
    moved = blocks.copy()
    moved[:, B_AT] = begins
    return found, moved[begins + sizes <= len(found)]
