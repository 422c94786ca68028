"""The two routes to the frames of a stempy file: straight from the heap, and through h5py."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import CorruptFileError
from . import global_heap, hdf5
from .stempy_layout import FRAMES

#: Gives a place for a number of indices, to be filled at once.
Room = Callable[[int], np.ndarray]
#: read(first, last, room) -> lengths int64, fault codes uint8 of these frames.
Read = Callable[[int, int, Room], tuple[np.ndarray, np.ndarray]]

# deflate makes data at most about 1000 times smaller
_BEST_COMPRESSION = 1100


class Frames(Protocol):
    """Frames in the order of the scan; those with a fault can be dropped."""

    #: Electrons in each frame (m,) uint32, or None if only reading tells.
    lengths: np.ndarray | None
    #: Number of frames.
    n_frames: int
    #: Bytes of the tables in memory.
    nbytes: int
    #: Fault codes (m,) uint8 that are known without reading events.
    faults: np.ndarray

    def drop(self, bad: np.ndarray) -> None:
        """Make the frames empty whose numbers in the order of the scan are given."""

    def session(self) -> AbstractContextManager[Read]:
        """Open the file and give the function that reads."""


class HeapFrames:
    """Frames read by `global_heap`.

    Parameters
    ----------
    path : Path
    offset, base : int
        Where the table of references begins, and what addresses count from [bytes].
    n_frames : int
        In the file.
    numbers : (m,) int64, optional
        Which of them to use, in this order.
    n_pixels : int
        Of the detector.
    """

    def __init__(
        self,
        path: Path,
        offset: int,
        base: int,
        n_frames: int,
        numbers: np.ndarray | None,
        n_pixels: int,
    ) -> None:
        self._path, self._base, self._n_pixels = path, base, n_pixels
        self._file_bytes = path.stat().st_size
        references = global_heap.read_references(path, offset, n_frames)
        self._references = references if numbers is None else references[numbers]
        self.n_frames = len(self._references)
        self.lengths: np.ndarray | None = self._references[:, 0]
        self.nbytes = self._references.nbytes
        self.faults = global_heap.reference_faults(self._references, base, self._file_bytes)

    def drop(self, bad: np.ndarray) -> None:
        """Make frames empty."""
        self._references[bad] = 0

    def check_total(self) -> None:
        """Raise CorruptFileError if there are more events than the file has room for."""
        n_events = int(self._references[:, 0].sum(dtype=np.int64))
        if 4 * n_events > self._file_bytes:
            frame = int(np.argmax(self._references[:, 0]))
            raise CorruptFileError(
                f"{self._path} promises {n_events} events in {self._file_bytes} bytes; the "
                f"longest list, of {self._references[frame, 0]}, is that of frame {frame}"
            )

    @contextlib.contextmanager
    def session(self) -> Iterator[Read]:
        """Open the file and give the function that reads."""
        with self._path.open("rb", buffering=0) as file:
            gatherer = global_heap.HeapGatherer(file.fileno(), self._base, self._file_bytes)

            def read(first: int, last: int, room: Room) -> tuple[np.ndarray, np.ndarray]:
                references = self._references[first:last]
                lengths = references[:, 0].astype(np.int64)
                out = room(int(lengths.sum()))
                return lengths, gatherer.gather(references, out, self._n_pixels)

            yield read


class H5pyFrames:
    """Frames read by h5py: slower and with more memory, for every storage that HDF5 knows.

    Parameters as for `HeapFrames`.
    """

    def __init__(
        self, path: Path, n_frames: int, numbers: np.ndarray | None, n_pixels: int
    ) -> None:
        self._path, self._n_pixels = path, n_pixels
        self._numbers = numbers
        self.n_frames = n_frames if numbers is None else len(numbers)
        self._dropped = np.zeros(self.n_frames, bool)
        self.lengths: np.ndarray | None = None
        self.nbytes = self._dropped.nbytes
        self.faults = np.zeros(self.n_frames, np.uint8)

    def drop(self, bad: np.ndarray) -> None:
        """Make frames empty."""
        self._dropped[bad] = True

    @contextlib.contextmanager
    def session(self) -> Iterator[Read]:
        """Open the file and give the function that reads."""
        with hdf5.opened(self._path) as file:
            dataset = file[FRAMES]

            def read(first: int, last: int, room: Room) -> tuple[np.ndarray, np.ndarray]:
                lists, faults = self._lists(dataset, first, last)
                lengths = np.array([len(events) for events in lists], np.int64)
                joined = np.concatenate(lists) if lists else np.zeros(0, np.uint32)
                room(len(joined))[:] = joined
                return lengths, faults

            yield read

    def _lists(self, dataset: Any, first: int, last: int) -> tuple[list[np.ndarray], np.ndarray]:
        numbers = np.arange(first, last) if self._numbers is None else self._numbers[first:last]
        faults = np.zeros(last - first, np.uint8)
        lists = _fetch(dataset, numbers)
        for k, events in enumerate(lists):
            if self._dropped[first + k]:
                lists[k] = np.zeros(0, np.uint32)
            elif events is None:
                faults[k], lists[k] = global_heap.NO_OBJECT, np.zeros(0, np.uint32)
            elif len(events) and not 0 <= events.min() <= events.max() < self._n_pixels:
                faults[k], lists[k] = global_heap.OUT_OF_RANGE, np.zeros(0, np.uint32)
        return lists, faults


@dataclass(frozen=True)
class HeapTable:
    """Where a dataset keeps its references [bytes]."""

    offset: int
    base: int


def heap_table(file: Any) -> HeapTable | None:
    """Return where the frames' references are, or None if only h5py can read them."""
    import h5py

    frames = file[FRAMES]
    offset = frames.id.get_offset() if frames.chunks is None else None
    sizes = file.id.get_create_plist().get_sizes()
    base = np.dtype(h5py.check_vlen_dtype(frames.dtype))
    if offset is None or sizes != (8, 8) or base not in (np.dtype("<u4"), np.dtype("<i4")):
        return None
    return HeapTable(offset, file.userblock_size)


def check_allocated(file: Any, path: Path) -> None:
    """Raise CorruptFileError if the frames were never written, or cannot be in such a file."""
    frames = file[FRAMES]
    n_frames, file_bytes = frames.shape[0], path.stat().st_size
    chunks = 0 if frames.chunks is None else frames.id.get_num_chunks() * frames.chunks[0]
    written = frames.id.get_storage_size() > 0 if frames.chunks is None else chunks >= n_frames
    if n_frames and not written:
        raise CorruptFileError(
            f"{path}: its header promises {n_frames} frames, but not all were written, from frame "
            f"{min(chunks, n_frames)}; was it interrupted?"
        )
    room = file_bytes * (1 if frames.chunks is None else _BEST_COMPRESSION)
    if n_frames * 12 > room:  # the least that a reference takes
        raise CorruptFileError(
            f"{path}: its header promises {n_frames} frames, more than a file of {file_bytes} "
            "bytes can hold"
        )


def _fetch(dataset: Any, numbers: np.ndarray) -> list[Any]:
    """Return the lists of these frames, None for those that HDF5 cannot read."""
    if len(numbers) == 0:
        return []
    low, high = int(numbers.min()), int(numbers.max()) + 1
    try:
        if high - low <= 4 * len(numbers):
            block = dataset[low:high]
            return [block[number - low] for number in numbers]
    except hdf5.DAMAGE:
        pass  # find out which of them it is
    return [_fetch_one(dataset, int(number)) for number in numbers]


def _fetch_one(dataset: Any, number: int) -> Any:
    try:
        return dataset[number]
    except hdf5.DAMAGE:
        return None
