"""The events of an open Merlin acquisition, read by scan rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import event_lists
from ..events import EventStore
from ..progress import track
from .assembly import Assembly
from .merlin_files import Acquisition
from .merlin_frames import BLOCK_BYTES, Decoder, FrameReader, refuse
from .merlin_scan import Scan

#: Frames that are looked at to guess how many events all have.
_SAMPLES = 32
_MARGIN = 1.05
_LARGEST = np.iinfo(np.uint32).max


class MerlinSource:
    """The events of an open acquisition; `merlin.open_source` builds it.

    The files are opened for each read and must stay as they are meanwhile.
    """

    def __init__(self, acquisition: Acquisition, scan: Scan, metadata: dict[str, Any]) -> None:
        self.scan_shape = scan.order.scan_shape
        self.detector_shape = acquisition.encoding.detector_shape
        self.metadata = metadata
        self._acquisition = acquisition
        self._scan = scan
        self._decoder = Decoder(acquisition)
        self._dtype = event_lists.index_dtype(self.detector_shape[0] * self.detector_shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the tables kept in memory."""
        return 0 if self._scan.slots is None else self._scan.slots.nbytes

    @property
    def count_dtype(self) -> np.dtype:
        """Smallest dtype that holds any pixel that a pattern can have."""
        largest = self._acquisition.encoding.largest_count * self._scan.order.frames_per_position
        return event_lists.count_dtype(min(largest, _LARGEST))

    def events_per_row(self) -> None:
        """Return None: only reading tells."""

    def file_bytes(self) -> int:
        """Return the bytes of all files of frames."""
        return self._acquisition.n_bytes

    def files(self) -> tuple[Path, ...]:
        """Return the paths of all files of the acquisition."""
        return self._acquisition.paths

    def missing_patterns(self) -> int:
        """Return the number of scan positions without a frame."""
        frames = self._scan.frames(0, self._scan.order.n_positions)
        per_position = frames.reshape(-1, self._scan.order.frames_per_position)
        return int(np.count_nonzero(np.all(per_position < 0, axis=1)))

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return scan rows start to stop, in memory.

        Raises
        ------
        CorruptFileError
            Naming the first frame that cannot be read.
        """
        wanted, columns = self._scan.order.positions(start, stop), self.scan_shape[1]
        return self.read_positions(wanted.start, wanted.stop).reshaped(
            (len(wanted) // columns, columns)
        )

    def read_positions(self, first: int, last: int) -> EventStore:
        """Return the patterns of scan positions first to last, as a scan of one column."""
        with FrameReader(self._acquisition) as reader:
            capacity = self._capacity(reader, first, last)
            assembly = Assembly(last - first, capacity, self.detector_shape)
            for positions in track(self._blocks(first, last), "reading events"):
                self._add(assembly, reader, self._scan.frames(positions.start, positions.stop))
        return EventStore(
            (last - first, 1),
            self.detector_shape,
            *assembly.lists(),
            metadata=self.metadata,
            trusted=True,  # the decoder knows no other pixels, the assembly merges
        )

    def electrons(self, first: int, last: int) -> np.ndarray:
        """Return the electrons of scan positions first to last, (n,) int64.

        Raises
        ------
        CorruptFileError
            Naming the first frame that cannot be read.
        """
        frames = self._scan.frames(first, last)
        per_read = max(1, BLOCK_BYTES // self._acquisition.frame_bytes)
        found = np.zeros(len(frames), np.int64)
        with FrameReader(self._acquisition) as reader:
            present = np.flatnonzero(frames >= 0)
            for part in np.split(present, range(per_read, len(present), per_read)):
                data, starts = self._bytes_of(reader, frames[part])
                numbers = self._decoder.few_numbers(data, starts)
                if self._scan.slots is None:
                    refuse(self._acquisition, frames[part], numbers)
                found[part] = self._decoder.electrons(data, starts) * (numbers >= 0)
        return found.reshape(-1, self._scan.order.frames_per_position).sum(axis=1)

    def _blocks(self, first: int, last: int) -> list[range]:
        """Return runs of scan positions of about the same number of bytes."""
        order = self._scan.order
        used = order.scan_shape[1] / order.columns
        per_position = self._acquisition.frame_bytes * order.frames_per_position
        step = max(1, int(BLOCK_BYTES * used / per_position))
        return [range(p, min(p + step, last)) for p in range(first, last, step)]

    def _add(self, assembly: Assembly, reader: FrameReader, frames: np.ndarray) -> None:
        """Add the events of whole scan positions."""
        per_read = max(1, BLOCK_BYTES // self._acquisition.frame_bytes)
        per_position = self._scan.order.frames_per_position
        if per_position <= per_read:
            lengths, counts = self._decode(reader, frames, assembly)
        else:  # more than memory is to hold at once
            parts = np.split(frames, range(per_read, len(frames), per_read))
            lengths, counts = self._decode_parts(reader, parts, assembly)
        assembly.add(lengths.reshape(-1, per_position).sum(axis=1), counts)

    def _decode(
        self, reader: FrameReader, frames: np.ndarray, assembly: Assembly
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Decode frames into the room of an assembly; return their lengths (n,), and counts."""
        present = frames >= 0
        lengths = np.zeros(len(frames), np.int64)
        data, starts = self._bytes_of(reader, frames[present])
        lengths[present] = self._checked_lengths(data, starts, frames[present])
        out = assembly.room(int(lengths.sum()))
        return lengths, self._decoder.fill(data, starts, lengths[present], out)

    def _decode_parts(
        self, reader: FrameReader, parts: list[np.ndarray], assembly: Assembly
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Do the same for frames that are too many to be read in one go."""
        lengths, lists, counts = [], [], []
        for frames in parts:
            part = Assembly(len(frames), 0, self.detector_shape)
            found, weights = self._decode(reader, frames, part)
            lengths.append(found)
            lists.append(part.room(int(found.sum())))
            counts += [] if weights is None else [weights]
        assembly.room(sum(map(len, lists)))[:] = np.concatenate(lists)
        return np.concatenate(lengths), np.concatenate(counts) if counts else None

    def _bytes_of(self, reader: FrameReader, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the bytes of ascending frames and those between, and where each begins."""
        if len(frames) == 0:
            return np.zeros(0, np.uint8), frames
        first, last = int(frames[0]), int(frames[-1]) + 1
        return reader.frames(first, last), (frames - first) * self._acquisition.frame_bytes

    def _checked_lengths(
        self, data: np.ndarray, starts: np.ndarray, frames: np.ndarray
    ) -> np.ndarray:
        numbers, lengths = self._decoder.count(data, starts)
        if self._scan.slots is None:
            refuse(self._acquisition, frames, numbers)
        return lengths

    def _capacity(self, reader: FrameReader, first: int, last: int) -> int:
        """Return how many events to expect, by a few frames in the middle of equal parts."""
        if len(self._blocks(first, last)) < 2:
            return 0
        at = first + (2 * np.arange(_SAMPLES) + 1) * (last - first) // (2 * _SAMPLES)
        frames = np.concatenate([self._scan.frames(p, p + 1)[:1] for p in at.tolist()])
        n_events = 0
        for frame in frames[frames >= 0]:
            _, lengths = self._decoder.count(*self._bytes_of(reader, frame[None]))
            n_events += int(lengths[0])
        n_frames = (last - first) * self._scan.order.frames_per_position
        return int(_MARGIN * n_events / len(frames) * n_frames)
