"""Events in EMD 1.0 files that this package wrote."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import event_layout as layout
from ..errors import CorruptFileError, EventError, FormatError
from ..event_lists import count_dtype, electrons_per_pattern, index_dtype, smallest_counts
from ..events import EventStore
from .glances import kept_positions, sums_of_lists
from .hdf5 import DAMAGE, check_storage, opened, plain
from .hdf5_superblock import stored_end, superblock_position
from .options import ReaderOptions

NAME = "emd"
USES = frozenset({"keep_flyback"})
EXTENSIONS: frozenset[str] = frozenset()
_BUNDLE = "metadatabundle"
_NEEDED = frozenset(
    {layout.VERSION, layout.SCAN_SHAPE, layout.DETECTOR_SHAPE, layout.LENGTHS, layout.GAPS}
    | {layout.ACQUISITION, layout.ROW_ELECTRONS, layout.LARGEST_COUNT}
)


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
    with _damage_named(f"{path}:{root.name}"):
        for space in ("R", "Q") if hasattr(calibration, "keys") else ():
            size, units = (calibration.get(f"{space}_pixel_{what}") for what in ("size", "units"))
            text = "pixels" if size is None or units is None else str(plain(units[()]))
            if text != "pixels":
                found[f"{space}_pixel_size"] = (float(size[()]), text)
    return found


def group_source(path: Path, group: Any, keep_flyback: bool = True) -> EmdSource:
    """Return a source that reads an open group again whenever events are wanted."""
    tables = _read_tables(group, path)
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
        indptr = tables.indptr[start * columns : stop * columns + 1]
        entries = slice(int(indptr[0]), int(indptr[-1]))
        with self._group() as group:
            counts = _read_counts(group, tables, entries, f"scan rows {start} to {stop - 1}")
        electrons = sums_of_lists(indptr - indptr[0], counts)
        _check_row_electrons(electrons, tables, start, stop)
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
            _read_tables(file[self.group_name], self.path)
        )
        if not same:
            raise CorruptFileError(
                f"{self._tables.where} has other events than when it was opened; read it again"
            )


class Tables:
    """What an event group says beside the events themselves."""

    def __init__(self, group: Any, path: Path) -> None:
        self.where = f"{path}:{group.name}"
        where = self.where
        if group.file.driver != "core":  # what was written to memory is in no file to be damaged
            for name in (_NEEDED | {layout.COUNTS}) & set(group):
                check_storage(group[name], path)
        version = int(group[layout.VERSION][()])
        if version != layout.LAYOUT_VERSION:
            raise FormatError(
                f"{where}: the events have layout version {version}, this package reads "
                f"{layout.LAYOUT_VERSION}; update py4dstem-eer"
            )
        self.scan_shape = _shape(group[layout.SCAN_SHAPE][()])
        self.detector_shape = _shape(group[layout.DETECTOR_SHAPE][()])
        self.has_counts = layout.COUNTS in group
        self.largest_count = int(group[layout.LARGEST_COUNT][()])
        stored = group[layout.CHECKSUMS][()] if layout.CHECKSUMS in group else ()
        self.checksums = tuple(int(n) for n in stored)
        self.row_electrons = group[layout.ROW_ELECTRONS][()].astype(np.int64)
        self.metadata: Mapping[str, Any] = layout.load_acquisition(group[layout.ACQUISITION][()])
        lengths = group[layout.LENGTHS][()].astype(np.int64)
        self.indptr = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=self.indptr[1:])
        self._check(group)

    def _check(self, group: Any) -> None:
        n_patterns = self.scan_shape[0] * self.scan_shape[1]
        n_entries = int(self.indptr[-1])
        sizes = [len(group[name]) for name in (layout.GAPS, layout.COUNTS) if name in group]
        n_electrons = int(self.row_electrons.sum())
        enough = n_electrons >= n_entries if self.has_counts else n_electrons == n_entries
        if not enough or len(self.row_electrons) != self.scan_shape[0]:
            raise CorruptFileError(
                f"{self.where}: {n_electrons} electrons in {len(self.row_electrons)} scan rows do "
                f"not fit {n_entries} entries in a scan of {self.scan_shape}; counts may be missing"
            )
        if len(self.indptr) != n_patterns + 1 or any(size != n_entries for size in sizes):
            raise CorruptFileError(
                f"{self.where}: {len(self.indptr) - 1} patterns with {n_entries} entries do not "
                f"fit a scan of {self.scan_shape} with lists of {sizes} entries"
            )

    def fit(self, other: Tables) -> bool:
        """Return whether both describe the same patterns."""
        return (
            self.scan_shape == other.scan_shape
            and self.detector_shape == other.detector_shape
            and self.has_counts == other.has_counts
            and np.array_equal(self.indptr, other.indptr)
            and np.array_equal(self.row_electrons, other.row_electrons)
            and self.checksums == other.checksums
        )


def read_store(group: Any) -> EventStore:
    """Return all events of a group laid out as in `event_layout`, in memory."""
    tables = _read_tables(group, Path(group.file.filename))
    with _damage_named(tables.where):
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
    indptr = tables.indptr[start * columns : stop * columns + 1]
    entries = slice(int(indptr[0]), int(indptr[-1]))
    indptr = indptr - indptr[0]
    gaps = group[layout.GAPS][entries]
    n_pixels = tables.detector_shape[0] * tables.detector_shape[1]
    indices = np.empty(len(gaps), index_dtype(n_pixels))
    if layout.decode_gaps(indptr, gaps, indices) >= max(n_pixels, 1):
        raise CorruptFileError(
            f"{tables.where}: an event of scan rows {start} to {stop - 1} lies outside the "
            "detector, or comes twice"
        )
    counts = None
    if tables.has_counts:
        counts = _read_counts(group, tables, entries, f"scan rows {start} to {stop - 1}")
    counts = smallest_counts(counts)
    _check_row_electrons(electrons_per_pattern(indptr, counts), tables, start, stop)
    return EventStore(
        (stop - start, columns), tables.detector_shape, indptr, indices, counts, tables.metadata
    )


def _check_row_electrons(electrons: np.ndarray, tables: Tables, start: int, stop: int) -> None:
    per_row = electrons.reshape(stop - start, tables.scan_shape[1]).sum(axis=1)
    if not np.array_equal(per_row, tables.row_electrons[start:stop]):
        raise CorruptFileError(
            f"{tables.where}: scan rows {start} to {stop - 1} have {per_row.sum()} electrons, "
            f"{tables.row_electrons[start:stop].sum()} are listed for them; the list is damaged"
        )


def _read_counts(group: Any, tables: Tables, entries: slice, where: str) -> np.ndarray:
    counts, largest = group[layout.COUNTS][entries], tables.largest_count
    if counts.size and not 1 <= counts.min() <= counts.max() <= largest:
        raise CorruptFileError(f"{tables.where}: counts of {where} are not from 1 to {largest}")
    return counts


def _read_tables(group: Any, path: Path) -> Tables:
    where = f"{path}:{group.name}"
    missing = _NEEDED - set(group)
    if missing:
        raise CorruptFileError(f"{where}: the events lack {', '.join(sorted(missing))}")
    with _damage_named(where):
        return Tables(group, path)


@contextlib.contextmanager
def _damage_named(where: str) -> Iterator[None]:
    """Turn everything that damaged events make h5py raise into a CorruptFileError."""
    try:
        yield
    except EventError:
        raise
    except DAMAGE as error:
        raise CorruptFileError(f"{where}: the events are damaged: {error}") from error


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


def _shape(values: Any) -> tuple[int, int]:
    if np.shape(values) != (2,) or min(values) < 0:
        raise ValueError(f"a shape of two axes is stored as {values!r}")  # _damage_named adds where
    return int(values[0]), int(values[1])
