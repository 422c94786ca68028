"""Electron events of a 4D-STEM scan as compressed sparse rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from . import dense_counts, event_lists, event_maps
from .detector import PixelMap, Shape2D, binned_shape
from .errors import ParameterError
from .event_checks import (
    as_counts,
    as_indices,
    check_fit,
    check_lists,
    check_starts,
    read_only,
)
from .event_sums import Groups, summed
from .shapes import (
    as_slice,
    check_chosen,
    check_map_fits,
    folded_shape,
    parse_scan_slices,
    parse_shape,
)


class EventStore:
    """The electron events of one scan, immutable, in memory.

    Pattern p = rx * Ry + ry owns entries ``indptr[p]:indptr[p + 1]`` of `indices`; inside a pattern
    the indices ascend strictly, and `counts` exists only where some pixel was hit more than once.

    Parameters
    ----------
    scan_shape : (int, int)
        Scan rows and columns (Rx, Ry).
    detector_shape : (int, int)
        Detector rows and columns (Qx, Qy).
    indptr : (Rx * Ry + 1,) int64
    indices : (entries,) uint16 or uint32
        Flat detector index, row * Qy + column.
    counts : (entries,) unsigned integer, optional
        Electrons of each entry; one each when missing.
    metadata : mapping, optional
        What the file says beside the events; values with units are (value, unit) pairs.
    trusted : bool
        The lists are known to keep the invariants; only for code that made them so. Compiled
        loops rely on them without checking again.

    Raises
    ------
    EventRangeError
        If the arrays do not fit together, or an event breaks an invariant; see `validate`.
    """

    #: All files that the events were read from, if a reader gave them.
    files: tuple[Path, ...] = ()

    def __init__(
        self,
        scan_shape: Shape2D,
        detector_shape: Shape2D,
        indptr: np.ndarray,
        indices: np.ndarray,
        counts: np.ndarray | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        trusted: bool = False,
    ) -> None:
        self._describe(scan_shape, detector_shape, metadata)
        n_pixels = self.detector_shape[0] * self.detector_shape[1]
        indptr = np.ascontiguousarray(indptr, np.int64)
        check_fit((indptr, indices, counts), self.n_patterns)
        dtype = event_lists.index_dtype(n_pixels)
        if not trusted:  # what the caller can still change must not be what is checked here
            indptr, indices = np.array(indptr), np.array(indices)
            counts = None if counts is None else np.array(counts)
        self._indptr = read_only(indptr)
        self._indices = read_only(as_indices(indices, dtype))
        self._counts = None if counts is None else read_only(as_counts(counts))
        if not trusted:
            self._check_block(first_row=0)

    def _describe(
        self,
        scan_shape: Shape2D,
        detector_shape: Shape2D,
        metadata: Mapping[str, Any] | None,
    ) -> None:
        self._scan_shape = parse_shape(scan_shape, "scan_shape")
        self._detector_shape = parse_shape(detector_shape, "detector_shape")
        self._metadata = dict(metadata or {})

    @classmethod
    def from_lists(
        cls,
        scan_shape: Shape2D,
        detector_shape: Shape2D,
        indptr: np.ndarray,
        indices: np.ndarray,
        counts: np.ndarray | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> EventStore:
        """Build from lists in any order, where pixels may repeat; arguments as for the class."""
        indptr = np.ascontiguousarray(indptr, np.int64)
        n_pixels = math.prod(parse_shape(detector_shape, "detector_shape"))
        indices = as_indices(indices, event_lists.index_dtype(n_pixels))
        counts = None if counts is None else as_counts(counts)
        rows, columns = parse_shape(scan_shape, "scan_shape")
        check_fit((indptr, indices, counts), rows * columns)
        check_starts(indptr, columns)
        lists = event_lists.canonical(indptr, indices, counts)
        return cls(scan_shape, detector_shape, *lists, metadata=metadata)

    @classmethod
    def from_dense(
        cls, array: Any, metadata: Mapping[str, Any] | None = None, threshold: float | None = None
    ) -> EventStore:
        """Build from a dense 4-D array, a few patterns at a time.

        Parameters
        ----------
        array : (Rx, Ry, Qx, Qy) array-like
            Whole, non-negative numbers; a memory map is read once, and never as a whole.
        metadata : mapping, optional
        threshold : float, optional
            For data that are no counts: every pixel with at least this value is one electron, all
            others are none.

        Raises
        ------
        ParameterError
            If the array is not 4-D or, without a threshold, not a count everywhere.
        """
        if getattr(array, "ndim", None) != 4:
            raise ParameterError(f"expected a 4-D array, got shape {np.shape(array)}")
        threshold = dense_counts.parse_threshold(threshold)
        rows = [dense_counts.row_lists(array, rx, threshold) for rx in range(array.shape[0])]
        lists = dense_counts.joined(rows, array.shape[2:])
        return cls(array.shape[:2], array.shape[2:], *lists, metadata, trusted=True)

    @property
    def scan_shape(self) -> Shape2D:
        """Scan rows and columns (Rx, Ry)."""
        return self._scan_shape

    @property
    def detector_shape(self) -> Shape2D:
        """Detector rows and columns (Qx, Qy)."""
        return self._detector_shape

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the dense 4-D array (Rx, Ry, Qx, Qy)."""
        return (*self._scan_shape, *self._detector_shape)

    @property
    def n_patterns(self) -> int:
        """Number of scan positions."""
        return self._scan_shape[0] * self._scan_shape[1]

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the file says beside the events; read-only."""
        return MappingProxyType(self._metadata)

    @property
    def indptr(self) -> np.ndarray:
        """Start of every pattern's entries, (Rx * Ry + 1,) int64."""
        return self._indptr

    @property
    def indices(self) -> np.ndarray:
        """Flat detector index of every entry, (entries,) uint16 or uint32."""
        return self._indices

    @property
    def counts(self) -> np.ndarray | None:
        """Electrons of every entry, or None if each is one."""
        return self._counts

    @property
    def n_events(self) -> int:
        """Number of electrons."""
        return len(self.indices) if self.counts is None else int(self.counts.sum(dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of the event lists in memory."""
        lists = (self._indptr, self._indices, self._counts)
        return sum(array.nbytes for array in lists if array is not None)

    @property
    def count_dtype(self) -> np.dtype:
        """Smallest dtype that holds every pixel of a dense pattern."""
        return np.dtype(np.uint8) if self.counts is None else self.counts.dtype

    @property
    def in_memory(self) -> bool:
        """Whether the events are held in memory, rather than streamed from a file."""
        return True

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(scan {self.scan_shape}, detector {self.detector_shape}, "
            f"{self.n_events:,} electrons, in memory)"
        )

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return scan rows start to stop, in memory."""
        columns = self.scan_shape[1]
        indptr = self._indptr[start * columns : stop * columns + 1]
        entries = slice(int(indptr[0]), int(indptr[-1]))
        counts = None if self._counts is None else self._counts[entries]
        return EventStore(
            (stop - start, columns),
            self.detector_shape,
            indptr - indptr[0],
            self._indices[entries],
            counts,
            self.metadata,
            trusted=True,
        )

    def blocks(self) -> Iterator[tuple[int, EventStore]]:
        """Iterate over (first scan row, events in memory) such that all rows are covered once."""
        yield 0, self

    def load(self) -> EventStore:
        """Return the same events in memory."""
        return self

    def __getitem__(self, key: Any) -> EventStore:
        """Return the events of a part of the scan; an integer selects one row or column."""
        rows, columns = parse_scan_slices(key, self.scan_shape)
        start, stop, step = rows.indices(self.scan_shape[0])
        if self.in_memory and step == 1 and columns == slice(None):
            return self.read_rows(start, max(start, stop))  # shares the lists
        return self.select(
            np.arange(self.scan_shape[0])[rows], np.arange(self.scan_shape[1])[columns]
        )

    def select(self, rows: np.ndarray, columns: np.ndarray) -> EventStore:
        """Return the events at the crossings of scan `rows` and `columns`, in that order.

        Raises
        ------
        IndexError
            If there is no such row or column; negative numbers are none.
        """
        check_chosen(rows, columns, self.scan_shape)
        patterns = (rows[:, None] * self.scan_shape[1] + columns[None, :]).ravel()
        lists = event_lists.gathered(self.indptr, self.indices, self.counts, patterns)
        return EventStore(
            (len(rows), len(columns)), self.detector_shape, *lists, self.metadata, trusted=True
        )

    def pattern(self, rx: int, ry: int, dtype: Any = None) -> np.ndarray:
        """Return one dense diffraction pattern, (Qx, Qy), as a new writable array.

        Parameters
        ----------
        rx, ry : int
        dtype : dtype, optional
            Default: `count_dtype`.
        """
        dense = np.zeros(self.detector_shape, dtype or self.count_dtype)
        row = as_slice(rx, self.scan_shape[0]).start
        column = as_slice(ry, self.scan_shape[1]).start
        p = row * self.scan_shape[1] + column
        entries = slice(self.indptr[p], self.indptr[p + 1])
        dense.ravel()[self.indices[entries]] = 1 if self.counts is None else self.counts[entries]
        return dense

    def mapped(self, pixel_map: PixelMap) -> EventStore:
        """Return the events on another detector: cropped, binned, centred, masked by the map."""
        check_map_fits(pixel_map, self.detector_shape)
        lists = event_maps.mapped(self.indptr, self.indices, self.counts, pixel_map)
        shape = pixel_map.target_shape
        return EventStore(self.scan_shape, shape, *lists, self.metadata, trusted=True)

    def reshaped(self, scan_shape: Shape2D) -> EventStore:
        """Return the same patterns as a scan of another shape."""
        scan_shape = folded_shape(self.n_patterns, scan_shape)
        lists = (self.indptr, self.indices, self.counts)
        shape = self.detector_shape
        return EventStore(scan_shape, shape, *lists, self.metadata, trusted=True)

    def binned_scan(self, factor: int) -> EventStore:
        """Return the sums of factor × factor neighbouring patterns.

        Rows and columns left over at the end are dropped.

        Raises
        ------
        ParameterError
            If `factor` is not a positive integer, or larger than the scan.
        """
        shape = binned_shape(self.scan_shape, factor, "scan")
        steps = np.arange(factor)
        group = (steps[:, None] * self.scan_shape[1] + steps).ravel()
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        corners = (rows * self.scan_shape[1] + columns).ravel() * factor
        given = self.indptr, self.indices, self.counts
        lists = summed(given, Groups(corners, group), self.detector_shape)
        return EventStore(shape, self.detector_shape, *lists, self.metadata, trusted=True)

    def with_metadata(self, **items: Any) -> EventStore:
        """Return the same events with metadata items added."""
        metadata = {**self.metadata, **items}
        lists = (self.indptr, self.indices, self.counts)
        return EventStore(self.scan_shape, self.detector_shape, *lists, metadata, trusted=True)

    def validate(self) -> None:
        """Check every invariant.

        Raises
        ------
        EventRangeError
            Naming the first scan position whose events are out of range, out of order, repeated,
            or have a count of zero.
        """
        for first_row, block in self.blocks():
            block._check_block(first_row)

    def _check_block(self, first_row: int) -> None:
        lists = (self.indptr, self.indices, self.counts)
        check_lists(lists, self.scan_shape[1], self.detector_shape, first_row)
