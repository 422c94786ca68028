"""The events of an open Timepix3 file, read by scan rows."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator, Sequence
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
from .tpx3_gather import room_for_hits
from .tpx3_hits import AFTER, BEFORE, FLYBACK, N_REASONS, Target, Work
from .tpx3_index import Index, Words
from .tpx3_order import Keys
from .tpx3_packets import TICKS_PER_STEP
from .tpx3_time import B_AT, B_FIRST, B_LAST, B_WORDS

_BLOCKS_PER_READ = 64  # of 64 KiB; the keys of more would take new memory for every read
_PARTS_PER_THREAD = 8
#: Parts may read so many times what all together read, as blocks overlap; otherwise there is one.
_MOST_TIMES = 3
_FOREVER = 2**60  # [ticks]
#: Held while the events of a file are counted, so that one thread does it and the others wait. Not
#: one for each source, as a source with a lock could neither be pickled nor copied.
_COUNTING = threading.RLock()


class Sorter(Protocol):
    """What makes events of hits: `HitSorter` or `ClusterSorter`."""

    detector_shape: Shape2D
    #: Time around a span that is needed for its events, before and after [steps].
    margins: tuple[int, int]
    #: For the metadata.
    facts: dict[str, Any]

    def sort(self, work: Work) -> tuple[Keys, np.ndarray]:
        """Count events; return those that are in a pattern, and how many are in none, and why."""


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
        self._facts = metadata
        self._index = index
        self._schedule = target.schedule
        self._sorter = sorter
        self._stamp = stamp
        self._latest_before = np.maximum.accumulate(index.blocks[:, B_LAST])
        self._earliest_after = np.minimum.accumulate(index.blocks[::-1, B_FIRST])[::-1]
        #: Events of every position, and those in none; known when all are counted or read.
        self._known: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def metadata(self) -> dict[str, Any]:
        """What the file says, and how many of its events are in no pattern."""
        _, lost = self._counted()
        return {
            **self._facts,
            "events_before_scan": int(lost[BEFORE]),
            "events_in_flyback": int(lost[FLYBACK]),
            "events_after_scan": int(lost[AFTER]),
        }

    @property
    def nbytes(self) -> int:
        """Bytes of the tables kept in memory."""
        edges = sum(times.nbytes for times in self._index.edges.values())
        return self._index.blocks.nbytes + self._counted()[0].nbytes + edges

    @property
    def count_dtype(self) -> np.dtype:
        """Smallest dtype that holds any pixel, even if all events of a pattern hit it."""
        return event_lists.count_dtype(int(self._counted()[0].max(initial=0)))

    def events_per_pattern(self) -> np.ndarray:
        """Return the electrons of every pattern, (Rx * Ry,)."""
        return self._counted()[0].astype(np.int64)

    def events_per_row(self) -> np.ndarray:
        """Return the electrons of every scan row (Rx,)."""
        return self._counted()[0].reshape(self.scan_shape).sum(axis=1, dtype=np.int64)

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return scan rows start to stop, in memory.

        Raises
        ------
        CorruptFileError
            If the file was changed meanwhile.
        """
        rows = range(self.scan_shape[0])[start:stop]
        counts, lost = self._no_counts(rows)
        assembly = Assembly(len(counts), self._most_events(rows), self.detector_shape)
        for work in track(self._batches(rows, counts), "reading events"):
            keys, tally = self._sorter.sort(work)
            lost += tally
            self._add(assembly, work, keys)
        self._settle(rows, counts, lost)
        return EventStore(
            (len(rows), self.scan_shape[1]),
            self.detector_shape,
            *assembly.lists(),
            metadata=self.metadata,
            trusted=True,  # pixels follow from 16 bits, the assembly sorts and merges
        )

    def _add(self, assembly: Assembly, work: Work, keys: Keys) -> None:
        lengths = work.filled.astype(np.int64)
        entries = keys.merged(lengths, math.prod(self.detector_shape))
        counts = entries.write(assembly.room(int(lengths.sum())))
        assembly.add(lengths, counts)

    def _counted(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the events of every position, and those that are in none, (N_REASONS,)."""
        with _COUNTING:
            if self._known is not None:
                return self._known
            rows = range(self.scan_shape[0])
            counts, lost = self._no_counts(rows)
            for work in track(self._batches(rows, counts), "counting events"):
                lost += self._sorter.sort(work)[1]
            self._settle(rows, counts, lost)
            return counts, lost

    def _no_counts(self, rows: range) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(len(rows) * self.scan_shape[1], np.uint32), np.zeros(N_REASONS, np.int64)

    def _most_events(self, rows: range) -> int:
        """Return how many events rows have, at most."""
        return self._index.n_hits if self._known is None else int(self._counts_of(rows).sum())

    def _counts_of(self, rows: range) -> np.ndarray:
        columns = self.scan_shape[1]
        return self._counted()[0][rows.start * columns : max(rows.start, rows.stop) * columns]

    def _settle(self, rows: range, counts: np.ndarray, lost: np.ndarray) -> None:
        """Take note of what was counted, and raise if it is not what was counted before."""
        check_unchanged(self._index.path, self._stamp)
        if self._known is None and self._are_all(rows):
            self._known = counts, lost
        if not np.array_equal(counts, self._counts_of(rows)):
            raise CorruptFileError(f"{self._index.path} changed while it was read")

    def _are_all(self, rows: range) -> bool:
        return len(rows) == self.scan_shape[0]

    def _batches(self, rows: range, counts: np.ndarray) -> Iterator[Work]:
        """Iterate over pieces of the file; their positions are in order and none is left out.

        For all rows that is the whole file, with what comes before and after the scan.
        """
        if len(rows) == 0:
            return
        columns = self._schedule.scan_shape[1]
        ends = (rows.start * columns, rows.stop * columns)
        check_unchanged(self._index.path, self._stamp)
        with self._index.path.open("rb", buffering=0) as file:
            words = Words(file)
            every = self._blocks_near(*self._times(ends))
            cuts = self._cuts(every[::_BLOCKS_PER_READ], *ends)
            for positions in itertools.pairwise(cuts):
                yield self._work(words, positions, rows, counts)

    def _work(
        self, words: Words, positions: tuple[int, int], rows: range, counts: np.ndarray
    ) -> Work:
        span = self._span(positions, self._are_all(rows))
        blocks = self._blocks_near(*span)
        step = max(1, len(blocks) // (_PARTS_PER_THREAD * n_threads()))
        bounds = self._times(self._cuts(blocks[::step], *positions))
        bounds[[0, -1]] = span
        bounds = -(-bounds // TICKS_PER_STEP)
        room = room_for_hits(blocks, bounds, self._sorter.margins)
        if room.sum() > _MOST_TIMES * blocks[:, B_WORDS].sum():
            bounds = bounds[[0, -1]]
            room = room_for_hits(blocks, bounds, self._sorter.margins)
        first, last = map(self._schedule.kept_before, positions)
        begin = rows.start * self.scan_shape[1]
        found, moved = _load(words, blocks)
        return Work(found, moved, bounds, room, first, counts[first - begin : last - begin])

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
        low, high = low // TICKS_PER_STEP - before, high // TICKS_PER_STEP + after
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
