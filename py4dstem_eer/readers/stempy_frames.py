"""The two routes to the frames of a stempy file: straight from the heap, and through h5py."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import CorruptFileError
from . import global_heap, hdf5, heap_kernels
from .stempy_header import FRAMES

#: Gives a place for a number of indices, to be filled at once.
Room = Callable[[int], np.ndarray]
#: read(first, last, room) -> lengths int64, fault codes uint8 of these frames.
Read = Callable[[int, int, Room], tuple[np.ndarray, np.ndarray]]

_NO_EVENTS = np.zeros(0, np.uint32)


class Frames(Protocol):
    """Frames in the order of the scan; those with a fault can be dropped."""

    #: Electrons in each frame (m,) uint32, or None if only reading tells.
    lengths: np.ndarray | None
    #: Bytes of the tables in memory.
    nbytes: int
    #: Fault codes (m,) uint8 that are known without reading events.
    faults: np.ndarray

    def drop(self, bad: np.ndarray) -> None:
        """Make the frames empty whose numbers in the order of the scan are given."""

    def session(self) -> AbstractContextManager[Read]:
        """Open the file and give the function that reads."""


@dataclass(frozen=True, eq=False)
class Table:
    """The references of all frames in a file.

    Attributes
    ----------
    references : (n_frames, 4) uint32
    base : int
        What their addresses count from [bytes].
    item_bytes : int
        Size of an event in the file.
    direct : bool
        Whether the heap is of the kind that `global_heap` reads.
    """

    references: np.ndarray
    base: int
    item_bytes: int
    direct: bool

    def taking(self, numbers: np.ndarray | None) -> Table:
        """Return the table of the frames with these numbers, in this order."""
        references = self.references if numbers is None else self.references[numbers]
        return dataclasses.replace(self, references=references)

    def faults(self, path: Path) -> np.ndarray:
        """Return the fault codes (n_frames,) uint8 that can be told without reading events."""
        file_bytes = path.stat().st_size
        return global_heap.reference_faults(self.references, self.base, file_bytes, self.item_bytes)

    def drop(self, bad: np.ndarray) -> None:
        """Make frames empty."""
        self.references[bad] = 0


class HeapFrames:
    """Frames read by `global_heap`.

    Parameters
    ----------
    path : Path
    table : Table
        Of the frames to use, in the order to use them.
    n_pixels : int
        Of the detector.
    """

    def __init__(self, path: Path, table: Table, n_pixels: int) -> None:
        self._path, self._table, self._n_pixels = path, table, n_pixels
        self.lengths: np.ndarray | None = table.references[:, 0]
        self.nbytes = table.references.nbytes
        self.faults = table.faults(path)

    def drop(self, bad: np.ndarray) -> None:
        """Make frames empty."""
        self._table.drop(bad)

    @contextlib.contextmanager
    def session(self) -> Iterator[Read]:
        """Open the file and give the function that reads."""
        with self._path.open("rb", buffering=0) as file:
            file_bytes = self._path.stat().st_size
            gatherer = global_heap.HeapGatherer(file.fileno(), self._table.base, file_bytes)

            def read(first: int, last: int, room: Room) -> tuple[np.ndarray, np.ndarray]:
                references = self._table.references[first:last]
                lengths = references[:, 0].astype(np.int64)
                out = room(int(lengths.sum()))
                return lengths, gatherer.gather(references, out, self._n_pixels)

            yield read


class H5pyFrames:
    """Frames read by h5py: slower and with more memory, for every storage that HDF5 knows.

    Parameters
    ----------
    path : Path
    table : Table, optional
        Of the frames to use, where it can be read.
    n_frames : int
        In the file.
    numbers : (m,) int64, optional
        Which of them to use, in this order; None for all.
    n_pixels : int
        Of the detector.
    """

    def __init__(
        self,
        path: Path,
        table: Table | None,
        n_frames: int,
        numbers: np.ndarray | None,
        n_pixels: int,
    ) -> None:
        self._path, self._table, self._n_pixels = path, table, n_pixels
        self._numbers = np.arange(n_frames) if numbers is None else numbers
        self._dropped = np.zeros(len(self._numbers), bool)
        self.lengths: np.ndarray | None = None if table is None else table.references[:, 0]
        self.nbytes = self._dropped.nbytes + self._numbers.nbytes
        self.faults = self._dropped.view(np.uint8) if table is None else table.faults(path)

    def drop(self, bad: np.ndarray) -> None:
        """Make frames empty."""
        self._dropped[bad] = True
        if self._table is not None:
            self._table.drop(bad)

    @contextlib.contextmanager
    def session(self) -> Iterator[Read]:
        """Open the file and give the function that reads."""
        with hdf5.opened(self._path) as file:
            dataset = file[FRAMES]

            def read(first: int, last: int, room: Room) -> tuple[np.ndarray, np.ndarray]:
                lists, faults = self._lists(dataset, first, last)
                lengths = np.array([len(events) for events in lists], np.int64)
                joined = np.concatenate(lists) if lists else _NO_EVENTS
                room(len(joined))[:] = joined
                return lengths, faults

            yield read

    def _lists(self, dataset: Any, first: int, last: int) -> tuple[list[np.ndarray], np.ndarray]:
        wanted = ~self._dropped[first:last]
        fetched = iter(_fetch(dataset, self._numbers[first:last][wanted]))
        faults = np.zeros(last - first, np.uint8)
        lists = []
        for k in range(last - first):
            events = next(fetched) if wanted[k] else _NO_EVENTS
            if events is None:
                faults[k], events = heap_kernels.NO_OBJECT, _NO_EVENTS
            elif len(events) and not 0 <= events.min() <= events.max() < self._n_pixels:
                faults[k] = heap_kernels.OUT_OF_RANGE
            lists.append(events)
        return lists, faults


def read_table(file: Any, path: Path) -> Table | None:
    """Return the references of all frames, or None if only HDF5 can get at them."""
    import h5py

    frames = file[FRAMES]
    sizes = file.id.get_create_plist().get_sizes()
    raw = hdf5.raw_elements(frames, path, 8 + sizes[0])
    if raw is None:
        return None
    item = np.dtype(h5py.check_vlen_dtype(frames.dtype))
    direct = sizes == (8, 8) and item in (np.dtype("<u4"), np.dtype("<i4"))
    references = global_heap.decode_references(raw)
    return Table(references, file.userblock_size, item.itemsize, direct)


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
    room = file_bytes * (1 if frames.chunks is None else hdf5.BEST_COMPRESSION)
    if n_frames * 12 > room:  # the least that a reference takes
        raise CorruptFileError(
            f"{path}: its header promises {n_frames} frames, more than a file of {file_bytes} "
            "bytes can hold"
        )


def _fetch(dataset: Any, numbers: np.ndarray) -> list[Any]:
    """Return the lists of these frames, None for those that HDF5 cannot read."""
    ordered = np.sort(numbers)
    # no frame is touched that was not asked for: it may be known to be bad
    runs = np.split(ordered, np.flatnonzero(np.diff(ordered) != 1) + 1)
    found: dict[int, Any] = {}
    for run in runs if len(ordered) else []:
        found.update(zip(run.tolist(), _fetch_run(dataset, run), strict=True))
    return [found[number] for number in numbers.tolist()]


def _fetch_run(dataset: Any, run: np.ndarray) -> Any:
    try:
        return dataset[int(run[0]) : int(run[-1]) + 1]
    except hdf5.DAMAGE:  # find out which of them it is
        return [_fetch_one(dataset, int(number)) for number in run]


def _fetch_one(dataset: Any, number: int) -> Any:
    try:
        return dataset[number]
    except hdf5.DAMAGE:
        return None
