"""What the event group of an EMD file says beside the events themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import event_layout as layout
from ..errors import CorruptFileError, EventError, FormatError
from .hdf5 import DAMAGE, check_storage

_NEEDED = frozenset(
    {layout.VERSION, layout.SCAN_SHAPE, layout.DETECTOR_SHAPE, layout.LENGTHS, layout.GAPS}
    | {layout.ACQUISITION, layout.ROW_ELECTRONS, layout.LARGEST_COUNT}
)


def read_tables(group: Any, path: Path) -> Tables:
    """Return what a group laid out as in `event_layout` says of its events.

    Raises
    ------
    CorruptFileError
        If something is missing or damaged, or does not fit the rest.
    FormatError
        If a later version of this package wrote it.
    """
    where = f"{path}:{group.name}"
    missing = _NEEDED - set(group)
    if missing:
        raise CorruptFileError(f"{where}: the events lack {', '.join(sorted(missing))}")
    with damage_named(where):
        return Tables(group, path)


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

    def entries(self, start: int, stop: int) -> slice:
        """Return where the entries of scan rows start to stop are."""
        begin, end = self.indptr[[start * self.scan_shape[1], stop * self.scan_shape[1]]]
        return slice(int(begin), int(end))

    def lists(self, start: int, stop: int) -> np.ndarray:
        """Return where each pattern of scan rows start to stop begins in those entries, int64."""
        indptr = self.indptr[start * self.scan_shape[1] : stop * self.scan_shape[1] + 1]
        return indptr - indptr[0]

    def check_rows(self, electrons: np.ndarray, start: int, stop: int) -> None:
        """Raise CorruptFileError unless scan rows start to stop have the electrons listed for them.

        Parameters
        ----------
        electrons : (n,) int64
            Of every pattern of these rows.
        start, stop : int
        """
        per_row = electrons.reshape(stop - start, self.scan_shape[1]).sum(axis=1)
        if not np.array_equal(per_row, self.row_electrons[start:stop]):
            raise CorruptFileError(
                f"{self.where}: scan rows {start} to {stop - 1} have {per_row.sum()} electrons, "
                f"{self.row_electrons[start:stop].sum()} are listed for them; the list is damaged"
            )


@contextlib.contextmanager
def damage_named(where: str) -> Iterator[None]:
    """Turn everything that damaged events make h5py raise into a CorruptFileError."""
    try:
        yield
    except EventError:
        raise
    except DAMAGE as error:
        raise CorruptFileError(f"{where}: the events are damaged: {error}") from error


def _shape(values: Any) -> tuple[int, int]:
    if np.shape(values) != (2,) or min(values) < 0:
        raise ValueError(f"a shape of two axes is stored as {values!r}")  # damage_named adds where
    return int(values[0]), int(values[1])
