"""The events of an open stempy file, read by scan rows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import event_lists
from ..errors import CorruptFileError, EventRangeError, EventWarning
from ..events import EventStore
from ..progress import track
from . import heap_kernels
from .assembly import Assembly
from .hdf5_superblock import missing_bytes
from .stamps import check_unchanged
from .stempy_frames import Frames
from .stempy_header import Header
from .stempy_layout import Arrangement

# events and frames that are read in one go
_EVENTS_PER_READ = 2**20
_FRAMES_PER_READ = 2**14


class StempySource:
    """The events of an open stempy file; `stempy.open_source` builds it.

    The file is opened for each read and must stay as it is meanwhile.
    """

    def __init__(
        self,
        header: Header,
        arrangement: Arrangement,
        frames: Frames,
        metadata: dict[str, Any],
        stamp: tuple[int, ...],
    ) -> None:
        self.scan_shape = arrangement.scan_shape
        self.detector_shape = header.detector_shape
        self.metadata = metadata
        self._header = header
        self._arrangement = arrangement
        self._frames = frames
        self._stamp = stamp

    @property
    def nbytes(self) -> int:
        """Bytes of the tables kept in memory."""
        return self._frames.nbytes + self._arrangement.nbytes

    @property
    def count_dtype(self) -> np.dtype:
        """Smallest dtype that holds any pixel, even if all electrons of a pattern hit it."""
        per_position = self.events_per_pattern()
        if per_position is None:
            return np.dtype(np.uint32)
        return event_lists.count_dtype(int(per_position.max(initial=0)))

    def events_per_row(self) -> np.ndarray | None:
        """Return the electrons of every scan row (Rx,), or None on the h5py route."""
        return self._electrons(np.arange(self.scan_shape[0] + 1) * self.scan_shape[1])

    def events_per_pattern(self) -> np.ndarray | None:
        """Return the electrons of every pattern, (Rx * Ry,), or None on the h5py route."""
        return self._electrons(np.arange(math.prod(self.scan_shape) + 1))

    def missing_patterns(self) -> int | None:
        """Return the number of scan positions without a frame, or None: files pad with empty ones.

        Only the layout of version 2 leaves missing frames out.
        """
        return self._arrangement.n_without_frames

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return scan rows start to stop, in memory.

        Raises
        ------
        CorruptFileError, EventRangeError
            Naming the first frame that cannot be read.
        """
        rows = range(self.scan_shape[0])[start:stop]
        first, last = rows.start * self.scan_shape[1], rows.stop * self.scan_shape[1]
        last = max(first, last)
        assembly = Assembly(last - first, self._capacity(first, last), self.detector_shape)
        check_unchanged(self._header.path, self._stamp)
        with self._frames.session() as read:
            for positions in track(self._blocks(first, last), "reading events"):
                begins = self._arrangement.first_frames(positions)
                lengths, faults = read(int(begins[0]), int(begins[-1]), assembly.room)
                self._refuse(faults, int(begins[0]))
                assembly.add(_sums(lengths, begins - begins[0]))
        return EventStore(
            (len(rows), self.scan_shape[1]),
            self.detector_shape,
            *assembly.lists(),
            metadata=self.metadata,
            trusted=True,  # the gatherer checks ranges, the assembly sorts and merges
        )

    def check(self, skip: bool) -> None:
        """Refuse frames that are seen to be bad, or look at all and drop the bad ones.

        Raises
        ------
        CorruptFileError
            If a frame is bad and `skip` is False.
        """
        if not skip:
            self._refuse(self._frames.faults, 0)
            self._check_whole()
        else:
            self._frames.drop(np.flatnonzero(self._frames.faults))
        if skip:
            self._drop_bad_frames()

    def _scan(self) -> Iterator[tuple[int, np.ndarray]]:
        """Read everything and iterate over (first frame, fault codes)."""
        scratch = Assembly(0, 0, self.detector_shape)
        with self._frames.session() as read:
            for positions in self._blocks(0, math.prod(self.scan_shape)):
                begins = self._arrangement.first_frames(positions)
                yield int(begins[0]), read(int(begins[0]), int(begins[-1]), scratch.room)[1]

    def _drop_bad_frames(self) -> None:
        n_bad = int(np.count_nonzero(self._frames.faults)) + len(self._arrangement.misplaced)
        for first, faults in self._scan():
            bad = np.flatnonzero(faults)
            self._frames.drop(bad + first)
            n_bad += len(bad)
        self.metadata["skipped_frames"] = n_bad
        missing = missing_bytes(self._header.path)
        if n_bad or missing:
            warnings.warn(
                f"{self._header.path}: {n_bad} of {self._header.n_frames} frames cannot be read "
                f"and were dropped; {missing} bytes are missing at the end of the file",
                EventWarning,
                stacklevel=5,
            )

    def _blocks(self, first: int, last: int) -> list[np.ndarray]:
        """Return runs of scan positions of about the same number of events."""
        per_read = _FRAMES_PER_READ // max(1, self._arrangement.frames_per_position)
        lengths = self._frames.lengths
        if lengths is not None and len(lengths):
            mean = lengths.sum(dtype=np.int64) / math.prod(self.scan_shape)
            per_read = int(_EVENTS_PER_READ / max(mean, 1))
        per_read = max(1, per_read)
        return [np.arange(p, min(p + per_read, last) + 1) for p in range(first, last, per_read)]

    def _electrons(self, bounds: np.ndarray) -> np.ndarray | None:
        """Return the electrons between successive scan positions `bounds`."""
        if self._frames.lengths is None:
            return None
        return _sums(self._frames.lengths, self._arrangement.first_frames(bounds))

    def _capacity(self, first: int, last: int) -> int:
        electrons = self._electrons(np.array([first, last]))
        return 0 if electrons is None else int(electrons[0])

    def _refuse(self, faults: np.ndarray, first_frame: int) -> None:
        """Raise if any frame has a fault."""
        if not faults.any():
            return
        at = int(np.argmax(faults != 0))
        numbers = self._arrangement.numbers
        number = first_frame + at if numbers is None else int(numbers[first_frame + at])
        code = int(faults[at])
        kind = EventRangeError if code == heap_kernels.OUT_OF_RANGE else CorruptFileError
        raise kind(
            f"{self._header.path}, frame {number} of {self._header.n_frames}: "
            f"{heap_kernels.FAULTS[code]} (detector {self.detector_shape}); the file is truncated "
            'or damaged, errors="skip" drops such frames'
        )

    def _check_whole(self) -> None:
        """Raise if the file is truncated, naming the first frame that is lost by it."""
        missing = missing_bytes(self._header.path)
        if not missing:
            return
        for first, faults in self._scan():
            self._refuse(faults, first)
        raise CorruptFileError(
            f"{self._header.path} is truncated, {missing} bytes are missing; all frames up to the "
            f'last, {self._header.n_frames - 1}, can be read: errors="skip" does'
        )


def _sums(lengths: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Return the sums of lengths[begins[k]:begins[k + 1]], (len(begins) - 1,) int64."""
    used = lengths[begins[0] : begins[-1]]
    begins = begins - begins[0]
    width = len(used) // max(1, len(begins) - 1)
    if len(used) == len(begins) - 1 and np.array_equal(begins, np.arange(len(begins))):
        return used.astype(np.int64)
    if width and width * (len(begins) - 1) == len(used) and np.all(np.diff(begins) == width):
        return used.reshape(-1, width).sum(axis=1, dtype=np.int64)
    running = np.concatenate(([0], np.cumsum(used, dtype=np.int64)))
    return running[begins[1:]] - running[begins[:-1]]
