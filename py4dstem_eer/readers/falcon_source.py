"""The events of an open Falcon file, read by scan rows."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import event_lists
from ..errors import CorruptFileError, EventWarning
from ..events import EventStore
from ..progress import track
from .assembly import Assembly
from .falcon_frames import FAULTS, Frames, Read
from .falcon_stream import Camera, Code, Electrons, Streams, decode
from .frame_order import FrameOrder
from .stamps import check_unchanged

# bytes of streams that are read in one go, small enough for the processor's cache
_BYTES_PER_READ = 2**22
# frames that tell how the codes of a prototype are to be read
_FRAMES_PER_TRIAL, _MOST_TRIALS = 16, 64


@dataclass(frozen=True, eq=False)
class _Block:
    """Frames of successive scan positions: their numbers, and which of them can be read."""

    numbers: np.ndarray
    usable: np.ndarray

    @property
    def readable(self) -> np.ndarray:
        """Numbers of those that can be read."""
        return self.numbers[self.usable]


class FalconSource:
    """The events of an open Falcon file; `falcon.open_source` builds it.

    The file is opened for each read and must stay as it is meanwhile.
    """

    def __init__(
        self,
        frames: Frames,
        order: FrameOrder,
        camera: Camera,
        metadata: dict[str, Any],
        stamp: tuple[int, ...],
    ) -> None:
        self.scan_shape = order.scan_shape
        self.detector_shape = camera.detector_shape
        self.metadata = metadata
        self._frames = frames
        self._order = order
        self._camera = camera
        self._stamp = stamp
        self._dtype = event_lists.index_dtype(camera.n_pixels << 2 * camera.superres)
        self._electrons: np.ndarray | None = None  # of every position, once all was read

    @property
    def nbytes(self) -> int:
        """Bytes of the tables kept in memory."""
        return self._frames.nbytes

    @property
    def count_dtype(self) -> np.dtype:
        """Smallest dtype that holds any pixel: a frame counts each once at most."""
        return event_lists.count_dtype(self._order.frames_per_position)

    def events_per_pattern(self) -> np.ndarray | None:
        """Return the electrons of every position (Rx * Ry,), or None before the file was read."""
        return self._electrons

    def events_per_row(self) -> np.ndarray | None:
        """Return the electrons of every scan row (Rx,), or None before the file was read."""
        if self._electrons is None:
            return None
        return self._electrons.reshape(self.scan_shape).sum(axis=1)

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return scan rows start to stop, in memory.

        Raises
        ------
        CorruptFileError
            Naming the first frame that cannot be read.
        """
        wanted, columns = self._order.positions(start, stop), self.scan_shape[1]
        return self.read_positions(wanted.start, wanted.stop).reshaped(
            (len(wanted) // columns, columns)
        )

    def read_positions(self, first: int, last: int) -> EventStore:
        """Return the patterns of scan positions first to last, as a scan of one column."""
        assembly = Assembly(last - first, self._capacity(first, last), self.detector_shape)
        check_unchanged(self._frames.path, self._stamp)
        with contextlib.closing(self._decoded(first, last)) as blocks:
            for block, electrons in blocks:
                self._refuse(block.readable, electrons.faults)
                electrons.copy_to(assembly.room(int(electrons.lengths.sum())))
                assembly.add(self._per_position(block, electrons))
        return EventStore(
            (last - first, 1),
            self.detector_shape,
            *assembly.lists(),
            metadata=self.metadata,
            trusted=True,  # the decoder checks ranges, the assembly sorts and merges
        )

    def check(self, skip: bool) -> None:
        """Refuse frames that are seen to be bad, or read all and drop the bad ones.

        Raises
        ------
        CorruptFileError
            If a frame is bad and `skip` is False.
        """
        if skip:
            self._drop_bad_frames()
        else:
            numbers = self._order.numbers(0, self._order.n_positions)
            self._refuse(numbers, self._frames.faults[numbers])

    def _decoded(self, first: int, last: int) -> Generator[tuple[_Block, Electrons], None, None]:
        """Iterate over the frames of scan positions in blocks of bounded size."""
        ranges = self._blocks(first, last)
        blocks = track(map(self._block, ranges), "reading events", len(ranges))
        with self._frames.session() as read:
            # a thread for a single block would only take time to start
            ahead = _read_ahead(read, blocks) if len(ranges) > 1 else _read_each(read, blocks)
            for block, streams in ahead:
                yield block, decode(streams, self._frames.code, self._camera, self._dtype)

    def _block(self, positions: range) -> _Block:
        numbers = self._order.numbers(positions.start, positions.stop)
        usable = numbers < len(self._frames)
        usable[usable] = self._frames.faults[numbers[usable]] == 0
        return _Block(numbers, usable)

    def _per_position(self, block: _Block, electrons: Electrons) -> np.ndarray:
        """Return the number of electrons at each scan position of a block."""
        lengths = np.zeros(len(block.numbers), np.int64)
        lengths[block.usable] = electrons.lengths
        return lengths.reshape(-1, self._order.frames_per_position).sum(axis=1)

    def _drop_bad_frames(self) -> None:
        """Mark frames that cannot be read, count the electrons of the others, and warn."""
        n_bad, n_missing, counted = 0, 0, [np.zeros(0, np.int64)]
        for block, electrons in self._decoded(0, self._order.n_positions):
            self._frames.faults[block.readable] = electrons.faults
            counted.append(self._per_position(block, electrons))
            n_bad += int(np.count_nonzero(~block.usable) + np.count_nonzero(electrons.faults))
            n_missing += int(np.count_nonzero(block.numbers >= len(self._frames)))
        self._electrons = np.concatenate(counted)
        self.metadata["skipped_frames"] = n_bad
        if n_bad:
            warnings.warn(
                f"{self._frames.path}: {n_bad} frames cannot be read and were dropped; {n_missing} "
                "of them are missing at the end of the file",
                EventWarning,
                stacklevel=6,
            )

    def _blocks(self, first: int, last: int) -> list[range]:
        """Return runs of scan positions of about the same number of bytes."""
        mean = self._frames.n_bytes.mean() if len(self._frames) else 0
        per_position = max(1, mean * self._order.frames_per_position)
        step = max(1, int(_BYTES_PER_READ / per_position))
        return [range(p, min(p + step, last)) for p in range(first, last, step)]

    def _capacity(self, first: int, last: int) -> int:
        """Return how many events to expect: a bound, as far as memory for it is no risk."""
        if self._electrons is not None:
            return int(self._electrons[first:last].sum())
        n_bytes = self._frames.n_bytes[self._block(range(first, last)).readable]
        most = self._frames.code.most_electrons(8 * n_bytes, self._camera.n_pixels)
        return int(min(most.clip(0).sum(), n_bytes.sum() // self._dtype.itemsize))

    def _refuse(self, numbers: np.ndarray, faults: np.ndarray) -> None:
        """Raise if any of these frames has a fault."""
        if not faults.any():
            return
        at = int(np.argmax(faults != 0))
        raise CorruptFileError(
            f"{self._frames.path}, frame {numbers[at]} of {len(self._frames)}: "
            f"{FAULTS[int(faults[at])]}; the file is truncated or damaged, "
            'errors="skip" drops such frames'
        )


def _read_each(read: Read, blocks: Iterable[_Block]) -> Iterator[tuple[_Block, Streams]]:
    return ((block, read(block.readable)) for block in blocks)


def _read_ahead(read: Read, blocks: Iterable[_Block]) -> Iterator[tuple[_Block, Streams]]:
    """Iterate over blocks and their streams, reading the next while one is decoded."""
    with ThreadPoolExecutor(1) as pool:
        before: tuple[_Block, Future[Streams]] | None = None
        for block in blocks:
            coming = pool.submit(read, block.readable)
            if before is not None:
                yield before[0], before[1].result()
            before = block, coming
        if before is not None:
            yield before[0], before[1].result()


def settle_waste(frames: Frames) -> tuple[Code, str]:
    """Return the code of a prototype's frames in the variant that fits, and its name.

    Whether numbers that stand for no electron are followed by unused bits is said nowhere; read
    the wrong way, hardly a frame ends at its last pixel.

    Returns
    -------
    code : Code
    variant : {"without waste", "with waste", "either"}
        The last if the two do not differ in any frame looked at.
    """
    codes = (frames.code, replace(frames.code, wasteful=True))
    camera = Camera(frames.shape, 0, np.zeros(0, bool))
    with frames.session() as read:
        for numbers in _trials(np.flatnonzero(frames.faults == 0)):
            streams = read(numbers)
            good = [
                np.count_nonzero(decode(streams, code, camera, np.dtype(np.uint32)).faults == 0)
                for code in codes
            ]
            if good[0] != good[1]:
                return (
                    (codes[1], "with waste") if good[1] > good[0] else (codes[0], "without waste")
                )
    return codes[0], "either"


def _trials(numbers: np.ndarray) -> Iterator[np.ndarray]:
    for trial in range(min(_MOST_TRIALS, -(-len(numbers) // _FRAMES_PER_TRIAL))):
        yield numbers[trial * _FRAMES_PER_TRIAL : (trial + 1) * _FRAMES_PER_TRIAL]
