"""Events in EMD 1.0 files that this package wrote."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import event_layout as layout
from ..errors import CorruptFileError, FormatError
from ..event_lists import count_dtype, electrons_per_pattern, index_dtype, smallest_counts
from ..events import EventStore
from .emd_tables import Tables, damage_named, read_tables
from .glances import kept_positions, sums_of_lists
from .hdf5 import opened, plain
from .hdf5_superblock import stored_end, superblock_position
from .options import ReaderOptions

NAME = "emd"
USES = frozenset({"keep_flyback"})
EXTENSIONS: frozenset[str] = frozenset()
_BUNDLE = "metadatabundle"


def recognises(path: Path) -> bool:
    """Return whether the file has a node that holds events."""
    if superblock_position(path) is None:
        return False
    try:
        with opened(path) as file:
            return next(_event_groups(file), None) is not None
    except (CorruptFileError, FormatError):
        return False


def open_source(path: Path, options: ReaderOptions) -> EmdSource:
    """Open the first node that holds events."""
    with opened(path) as file:
        name = next(_event_groups(file), None)
        if name is None:
            raise FormatError(f"{path} has no node with electron events")
        source = group_source(path, file[name], options.keep_flyback)
        source.metadata = {**source.metadata, **_pixel_sizes(file[name.split("/")[1]], path)}
        return source


def _pixel_sizes(root: Any, path: Path) -> dict[str, Any]:
    """Return the calibration of a tree as metadata."""
    found: dict[str, Any] = {}
    calibration = root.get(f"{_BUNDLE}/calibration")
    with damage_named(f"{path}:{root.name}"):
        for space in ("R", "Q") if hasattr(calibration, "keys") else ():
            size, units = (calibration.get(f"{space}_pixel_{what}") for what in ("size", "units"))
            text = "pixels" if size is None or units is None else str(plain(units[()]))
            if text != "pixels":
                found[f"{space}_pixel_size"] = (float(size[()]), text)
    return found


def group_source(path: Path, group: Any, keep_flyback: bool = True) -> EmdSource:
    """Return a source that reads an open group again whenever events are wanted."""
    tables = read_tables(group, path)
    return EmdSource(path, group.name, tables, keep_flyback)


class EmdSource:
    """The events of one node; an `EventSource`.

    Parameters
    ----------
    path : Path
    group_name : str
        HDF5 path of the group laid out as in `event_layout`.
    tables : Tables
    keep_flyback : bool
        False drops the last scan column.
    """

    def __init__(
        self, path: Path, group_name: str, tables: Tables, keep_flyback: bool = True
    ) -> None:
        self.path = path
        self.group_name = group_name
        self._tables = tables
        self._keep_flyback = keep_flyback
        rows, columns = tables.scan_shape
        self.scan_shape = (rows, columns if keep_flyback else max(columns - 1, 0))
        self.detector_shape = tables.detector_shape
        self.metadata = tables.metadata
        self.nbytes = tables.indptr.nbytes
        self._state = _file_state(path)

    @property
    def count_dtype(self) -> np.dtype:
        """Smallest dtype that holds any pixel of a dense pattern."""
        return count_dtype(self._tables.largest_count)

    def events_per_row(self) -> np.ndarray | None:
        """Return the electrons of every scan row, (Rx,), or None if only reading tells."""
        if self._keep_flyback:
            return self._tables.row_electrons
        per_pattern = self.events_per_pattern()
        return None if per_pattern is None else per_pattern.reshape(self.scan_shape).sum(axis=1)

    def events_per_pattern(self) -> np.ndarray | None:
        """Return the electrons of every pattern, (Rx * Ry,), or None if pixels have counts."""
        if self._tables.has_counts:
            return None
        lengths = np.diff(self._tables.indptr).reshape(self._tables.scan_shape)
        return lengths[:, : self.scan_shape[1]].ravel()

    def electrons(self, first: int, last: int) -> np.ndarray:
        """Return the electrons of scan positions first to last, (n,) int64; the counts tell.

        Raises
        ------
        CorruptFileError
            If the counts are damaged; where the events are is not looked at.
        """
        known = self.events_per_pattern()
        if known is not None:
            return known[first:last]
        tables, kept = self._tables, max(self.scan_shape[1], 1)
        columns = tables.scan_shape[1]
        start, stop = first // kept, -(-last // kept)  # whole rows, whose sums are known
        indptr = tables.lists(start, stop)
        with self._group() as group:
            counts = _read_counts(group, tables, start, stop)
        electrons = sums_of_lists(indptr, counts)
        tables.check_rows(electrons, start, stop)
        return electrons[kept_positions(first, last, kept, columns) - start * columns]

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return scan rows start to stop, in memory."""
        with self._group() as group:
            block = read_rows(group, self._tables, start, stop)
        return block if self._keep_flyback else block[:, : self.scan_shape[1]]

    @contextlib.contextmanager
    def _group(self) -> Iterator[Any]:
        """Open the group, which must hold what it held."""
        state = _file_state(self.path)
        with opened(self.path) as file:
            if state != self._state:
                self._check_unchanged(file)
                self._state = state
            yield file[self.group_name]

    def _check_unchanged(self, file: Any) -> None:
        """Raise CorruptFileError unless a file that was written again holds the same patterns."""
        same = self.group_name in file and self._tables.fit(
            read_tables(file[self.group_name], self.path)
        )
        if not same:
            raise CorruptFileError(
                f"{self._tables.where} has other events than when it was opened; read it again"
            )


def read_store(group: Any) -> EventStore:
    """Return all events of a group laid out as in `event_layout`, in memory."""
    tables = read_tables(group, Path(group.file.filename))
    with damage_named(tables.where):
        return read_rows(group, tables, 0, tables.scan_shape[0])


def check_whole(path: Path) -> None:
    """Raise CorruptFileError if an HDF5 file is shorter than it says itself."""
    end = stored_end(path)
    missing = 0 if end is None else end - path.stat().st_size
    if missing > 0:
        raise CorruptFileError(f"{path} is truncated: {missing} bytes are missing at its end")


def read_rows(group: Any, tables: Tables, start: int, stop: int) -> EventStore:
    """Return scan rows start to stop of a group laid out as in `event_layout`."""
    columns = tables.scan_shape[1]
    indptr = tables.lists(start, stop)
    gaps = group[layout.GAPS][tables.entries(start, stop)]
    n_pixels = tables.detector_shape[0] * tables.detector_shape[1]
    indices = np.empty(len(gaps), index_dtype(n_pixels))
    if layout.decode_gaps(indptr, gaps, indices) >= max(n_pixels, 1):
        raise CorruptFileError(
            f"{tables.where}: an event of scan rows {start} to {stop - 1} lies outside the "
            "detector, or comes twice"
        )
    counts = None
    if tables.has_counts:
        counts = _read_counts(group, tables, start, stop)
    counts = smallest_counts(counts)
    tables.check_rows(electrons_per_pattern(indptr, counts), start, stop)
    return EventStore(
        (stop - start, columns), tables.detector_shape, indptr, indices, counts, tables.metadata
    )


def _read_counts(group: Any, tables: Tables, start: int, stop: int) -> np.ndarray:
    counts, largest = group[layout.COUNTS][tables.entries(start, stop)], tables.largest_count
    if counts.size and not 1 <= counts.min() <= counts.max() <= largest:
        raise CorruptFileError(
            f"{tables.where}: counts of scan rows {start} to {stop - 1} are not from 1 to {largest}"
        )
    return counts


def _file_state(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file is written."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r} any more to stream events from")
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _event_groups(group: Any) -> Iterator[str]:
    """Walk the EMD tree and yield the HDF5 path of every event group."""
    for name in group:
        child = None
        with contextlib.suppress(KeyError):  # a dangling link is none of ours
            child = group[name]
        if child is None or "emd_group_type" not in child.attrs or not hasattr(child, "keys"):
            continue
        events = f"{_BUNDLE}/{layout.GROUP_NAME}"
        if events in child:
            yield f"{child.name}/{events}"
        yield from _event_groups(child)
