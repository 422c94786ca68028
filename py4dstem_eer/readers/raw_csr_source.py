"""The events of an open raw CSR data set, read by scan rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import event_lists
from ..errors import CorruptFileError, EventRangeError
from ..events import EventStore
from ..progress import track
from .assembly import Assembly
from .glances import kept_positions, span, sums_of_lists
from .raw_csr_arrays import Arrays
from .raw_csr_entries import Entries, counts_of, refuse_wrong, same_bits, wrong_entries
from .raw_csr_layout import Layout
from .raw_csr_sidecar import Sidecar

# entries, and scan positions, that are read in one go
_ENTRIES_PER_READ = 2**20
_POSITIONS_PER_READ = 2**18

Lists = tuple[np.ndarray, np.ndarray, np.ndarray | None]


class RawCsrSource:
    """The events of an open raw CSR data set; `raw_csr.open_source` builds it.

    Rows are given out as maps of the files where types and order allow, so that the files must stay
    as they are meanwhile.
    """

    def __init__(
        self, sidecar: Sidecar, arrays: Arrays, layout: Layout, metadata: dict[str, Any]
    ) -> None:
        self.scan_shape = (layout.scan_shape[0], layout.kept_columns)
        self.detector_shape = sidecar.detector_shape
        self.metadata = metadata
        self.nbytes = 0
        self._where = str(sidecar.path)
        self._arrays, self._layout = arrays, layout
        self._n_pixels = math.prod(sidecar.detector_shape)
        self._dropped: np.ndarray | None = None
        dtype = event_lists.index_dtype(self._n_pixels)
        self._fits = same_bits(arrays.indices.dtype, dtype) and arrays.data.dtype.kind in "biu"

    @property
    def count_dtype(self) -> np.dtype:
        """uint32, as pixels may repeat."""
        return np.dtype(np.uint32)

    def file_bytes(self) -> int:
        """Return the bytes of the arrays; the file that names them is small."""
        return self._arrays.n_bytes

    def files(self) -> tuple[Path, ...]:
        """Return the paths of the arrays."""
        return tuple(self._arrays.stamps)

    def events_per_row(self) -> np.ndarray | None:
        """Return None: an entry may be of any number of electrons."""
        return None

    def entries_per_row(self) -> np.ndarray:
        """Return the entries of every scan row, (Rx,)."""
        rows = np.arange(self.scan_shape[0] + 1) * self._layout.scan_shape[1]
        self._arrays.check_unchanged()
        frames = np.minimum(self._layout.frame(rows), self._arrays.n_frames)
        lengths = np.diff(self._arrays.indptr[frames].astype(np.int64))
        return np.clip(lengths, 0, self._arrays.n_entries)  # damaged ones are dropped when read

    def missing_patterns(self) -> int:
        """Return the number of scan positions that the files have no frame for."""
        (rows, columns), kept = self._layout.scan_shape, self._layout.kept_columns
        n_there = rows * columns - self._layout.n_missing // self._layout.frames_per_position
        row, column = divmod(n_there, columns)
        return (rows - row) * kept - min(column, kept)

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return scan rows start to stop.

        Raises
        ------
        CorruptFileError, EventRangeError, FormatError
            Naming the first frame that cannot be read, or has values that are no counts.
        """
        rows, columns = range(self.scan_shape[0])[start:stop], self._layout.scan_shape[1]
        first, last = rows.start * columns, max(rows.start, rows.stop) * columns
        block = self._read(first, last).reshaped((len(rows), columns))
        return block if columns == self.scan_shape[1] else block[:, : self.scan_shape[1]]

    def read_positions(self, first: int, last: int) -> EventStore:
        """Return the patterns of scan positions first to last, as a scan of one column."""
        positions = self._places(first, last)
        begin, end = span(positions)
        return self._read(begin, end).select(positions - begin, np.zeros(1, np.int64))

    def electrons(self, first: int, last: int) -> np.ndarray:
        """Return the electrons of scan positions first to last, (n,) int64.

        Raises
        ------
        CorruptFileError, EventRangeError, FormatError
            Naming the first frame that cannot be read, or has values that are no counts.
        """
        self._arrays.check_unchanged()
        positions = self._places(first, last)
        begin, end = span(positions)
        entries = self._good_entries(begin, end)
        counts, indptr = counts_of(entries.values), self._indptr(entries.lengths)
        sums = np.diff(indptr) if counts is None else sums_of_lists(indptr, counts)
        return sums[positions - begin]

    def _places(self, first: int, last: int) -> np.ndarray:
        """Return the places of scan positions among all, of columns that are dropped too."""
        return kept_positions(first, last, self.scan_shape[1], self._layout.scan_shape[1])

    def _read(self, first: int, last: int) -> EventStore:
        """Return all positions from first to last, of columns that are dropped too, as a column."""
        self._arrays.check_unchanged()
        lists = self._maps(first, last) or self._copies(first, last)
        # ranges were checked, and order, here or by the assembly
        shape = (last - first, 1)
        return EventStore(shape, self.detector_shape, *lists, self.metadata, trusted=True)

    def drop_bad_frames(self) -> int:
        """Look at all frames of the scan and leave out those that are bad; return their number.

        Raises
        ------
        CorruptFileError
            If those that are left have more entries than there are.
        """
        begin, end = self._layout.frame(0), self._layout.frame(math.prod(self._layout.scan_shape))
        bounds = self._arrays.bounds(begin, end)
        self._dropped = bad = _out_of_order(bounds) | self._arrays.misplaced(bounds)
        n_left = int(np.diff(bounds)[~bad].sum())
        if n_left > self._arrays.n_entries:
            raise CorruptFileError(
                f"{self._where}: frames promise {n_left} entries, there are "
                f"{self._arrays.n_entries}"
            )
        for first, last in self._blocks(0, math.prod(self._layout.scan_shape)):
            entries = self._entries(first, last)
            wrong = wrong_entries(entries, self._n_pixels)
            if wrong is not None:
                owners = np.repeat(np.arange(len(entries.lengths)), entries.lengths)
                bad[first * self._layout.frames_per_position + owners[wrong]] = True
        return int(np.count_nonzero(bad))

    def _maps(self, first: int, last: int) -> Lists | None:
        """Return the lists of scan positions as they are in the files, or None if they differ."""
        if not self._fits or self._dropped is not None:
            return None
        entries = self._good_entries(first, last)
        indptr = self._indptr(entries.lengths)
        indices = entries.indices.view(event_lists.index_dtype(self._n_pixels))
        zeros = entries.values.size > 0 and entries.values.min() == 0
        if zeros or not event_lists.ascending(indptr, indices).all():
            self._fits = False  # the rest is no better
            return None
        return indptr, indices, counts_of(entries.values)

    def _copies(self, first: int, last: int) -> Lists:
        """Return the lists of scan positions in canonical order, in arrays of their own."""
        capacity = max(0, min(self._n_entries(first, last), self._arrays.n_entries))
        assembly = Assembly(last - first, capacity, self.detector_shape)
        for positions in track(self._blocks(first, last), "reading events"):
            entries = self._good_entries(*positions)
            if entries.values.size and entries.values.min() == 0:
                entries = _without_zeros(entries)
            assembly.room(len(entries.indices))[:] = entries.indices
            try:
                lengths = np.diff(self._indptr(entries.lengths))
                assembly.add(lengths, counts_of(entries.values))
            except EventRangeError as error:  # the sum of repeated pixels
                raise EventRangeError(f"{self._where}: {error}") from error
        return assembly.lists()

    def _good_entries(self, first: int, last: int) -> Entries:
        """Return the entries of scan positions, or refuse them."""
        entries = self._entries(first, last)
        refuse_wrong(entries, self._n_pixels, self._where, self._layout.frame(first))
        return entries

    def _entries(self, first: int, last: int) -> Entries:
        """Return the entries of scan positions, without those of frames that were dropped."""
        frame = self._layout.frame(first)
        bounds = self._arrays.bounds(frame, self._layout.frame(last))
        lengths = np.diff(bounds)
        if self._dropped is None:
            self._refuse_misplaced(bounds, frame)
            entries: Any = slice(int(bounds[0]), int(bounds[-1]))
        else:
            skipped = self._layout.first_frame
            lengths[self._dropped[frame - skipped : frame - skipped + len(lengths)]] = 0
            shifts = bounds[:-1] - (np.cumsum(lengths) - lengths)
            entries = np.repeat(shifts, lengths) + np.arange(lengths.sum())
        return Entries(lengths, self._arrays.indices[entries], self._arrays.data[entries])

    def _refuse_misplaced(self, bounds: np.ndarray, first_frame: int) -> None:
        misplaced = self._arrays.misplaced(bounds)
        if misplaced.any():
            frame = int(np.argmax(misplaced))
            raise CorruptFileError(
                f"{self._where}, frame {first_frame + frame}: its entries are from "
                f"{bounds[frame]} to {bounds[frame + 1]}, of {self._arrays.n_entries}; the file is "
                'damaged, errors="skip" drops such frames'
            )

    def _indptr(self, lengths: np.ndarray) -> np.ndarray:
        """Return where each scan position begins, for the lengths of its frames."""
        per_position = lengths.reshape(-1, self._layout.frames_per_position).sum(axis=1)
        return np.concatenate(([0], np.cumsum(per_position, dtype=np.int64)))

    def _n_entries(self, first: int, last: int) -> int:
        frames = np.array([self._layout.frame(first), self._layout.frame(last)])
        begin, end = self._arrays.indptr[np.minimum(frames, self._arrays.n_frames)]
        return int(end) - int(begin)

    def _blocks(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Iterate over runs of scan positions of about the same number of entries."""
        mean = self._n_entries(first, last) / max(1, last - first)
        per_read = int(min(_POSITIONS_PER_READ, _ENTRIES_PER_READ / max(mean, 1))) or 1
        for position in range(first, last, per_read):
            yield position, min(position + per_read, last)


def _out_of_order(bounds: np.ndarray) -> np.ndarray:
    """Return which frames are bounded by a number that is larger than the next one."""
    bad = np.zeros(len(bounds) - 1, bool)
    broken = np.flatnonzero(np.diff(bounds) < 0)
    for frame in (broken - 1, broken, broken + 1):  # either number may be the wrong one
        bad[frame[(frame >= 0) & (frame < len(bad))]] = True
    return bad


def _without_zeros(entries: Entries) -> Entries:
    kept = entries.values != 0
    ends = np.concatenate(([0], np.cumsum(kept)))[np.cumsum(entries.lengths)]
    lengths = np.diff(ends, prepend=0)
    return Entries(lengths, entries.indices[kept], entries.values[kept])
