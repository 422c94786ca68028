"""Anything that py4DSTEM opens as a stream of events: some patterns at a time, never the whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from emdfile import Array
from py4DSTEM.io.importfile import import_file as _import_dense
from py4DSTEM.io.parsefiletype import _parse_filetype
from py4DSTEM.io.read import read as _read_emd

from .. import dense_counts
from ..detector import Shape2D
from ..errors import EventError, FormatError, ParameterError
from ..event_lists import count_dtype
from ..events import EventStore
from ..readers.frame_order import without_flyback
from ..readers.options import ReaderOptions
from ..readers.packed import packing_hint
from ..shapes import parse_shape
from ..streams import StreamedEventStore
from .calibration import copied
from .cube import SparseDataCube
from .dense_hdf5 import DenseData, open_arina, open_emd

_USES = ("scan_shape", "keep_flyback")
_EMPAD_ROWS = (130, 128)  # two rows of numbers below each pattern
#: Formats whose files do not say the shape of the scan.
_TOLD_THE_SCAN = ("empad", "mib")
#: Endings of the files in the same folder that py4DSTEM reads too.
_BESIDE = {"gatan_K2_bin": (".bin", ".gtg"), "mib": (".hdr",)}


class DenseSource:
    """The electrons of dense patterns; an `EventSource`.

    Parameters
    ----------
    array : (Rx, Ry, Qx, Qy) array-like
        Indexed with four slices; read a few patterns at a time.
    threshold : float, optional
        As for `EventStore.from_dense`.
    metadata : mapping
    """

    nbytes = 0

    def __init__(self, array: Any, threshold: float | None, metadata: Mapping[str, Any]) -> None:
        self._array = array
        self._threshold = dense_counts.parse_threshold(threshold)
        self.scan_shape = parse_shape(array.shape[:2], "scan_shape")
        self.detector_shape = parse_shape(array.shape[2:], "detector_shape")
        self.metadata = metadata

    @property
    def count_dtype(self) -> np.dtype:
        """Smallest dtype that holds any pixel of a dense pattern."""
        dtype = np.dtype(self._array.dtype)
        if self._threshold is not None or dtype.kind == "b":
            return np.dtype(np.uint8)
        largest = np.iinfo(dtype).max if dtype.kind in "iu" else dense_counts.LARGEST_COUNT
        return count_dtype(min(largest, dense_counts.LARGEST_COUNT))

    def events_per_row(self) -> np.ndarray | None:
        """Return None: only reading tells."""
        return None

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return scan rows start to stop, in memory.

        Raises
        ------
        ParameterError
            Naming the first value that is no number of electrons.
        """
        rows = range(self.scan_shape[0])[start:stop]
        lists = [dense_counts.row_lists(self._array, row, self._threshold) for row in rows]
        return EventStore(
            (len(rows), self.scan_shape[1]),
            self.detector_shape,
            *dense_counts.joined(lists, self.detector_shape),
            metadata=self.metadata,
            trusted=True,
        )


def open_dense(
    path: str | os.PathLike[str],
    filetype: str | None = None,
    *,
    threshold: float | None = None,
    **options: Any,
) -> SparseDataCube:
    """Open a file of dense patterns as a cube of events that are counted as they are streamed.

    Patterns of dm, empad, mib, gatan_K2_bin, arina and EMD files stay on the disk. Those of abTEM
    and of py4DSTEM before 0.14 are loaded whole, as py4DSTEM knows no other way.

    Parameters
    ----------
    path : path
    filetype : str, optional
        py4DSTEM's name of the format. Default: found by py4DSTEM.
    threshold : float, optional
        For data that are no counts: every pixel with at least this value is one electron, all
        others are none. Default: every value must be a whole number of electrons.
    **options
        Of those of `open_events`, scan_shape where the file does not say, and keep_flyback=False;
        and those of py4DSTEM's reader. For EMD files `datapath`.

    Raises
    ------
    FormatError
        If py4DSTEM cannot open it, with its own message.
    ParameterError
        If the options do not fit. While reading, if a value is no number of electrons.
    """
    path = Path(path).absolute()
    words = [name for name in options if name in ReaderOptions.__dataclass_fields__]
    given = ReaderOptions.parse(filetype or "dense", _USES, {n: options.pop(n) for n in words})
    found, kind = _opened(path, filetype, given.scan_shape, options)
    metadata = {**found.metadata, "converted_from": kind}
    if threshold is not None:
        metadata["threshold"] = threshold
    array = _as_scan(found.array, given.scan_shape, path)
    events: EventStore = StreamedEventStore(DenseSource(array, threshold, metadata))
    events.files = (path, *found.files)
    calibration = None if found.calibration is None else copied(found.calibration)
    if not given.keep_flyback:
        events = events[:, : without_flyback(events.scan_shape)[1]]
    return SparseDataCube(events, found.name, calibration)


def _opened(
    path: Path, filetype: str | None, scan_shape: Shape2D | None, options: Mapping[str, Any]
) -> tuple[DenseData, str]:
    kind = filetype
    try:
        kind = kind or _parse_filetype(str(path))
        if kind == "arina" and not options:
            return open_arina(path, scan_shape), kind
        if kind == "emd":
            return open_emd(path, **options), kind
        reader = _READERS.get(kind, _mapped)
        found = reader(path, kind, scan_shape, dict(options))
        return _described(found, path, _BESIDE.get(kind, ())), kind
    except (EventError, ImportError, FileNotFoundError, PermissionError, MemoryError):
        raise
    except Exception as error:  # py4DSTEM raises no more special ones
        may_want = kind in _TOLD_THE_SCAN and scan_shape is None
        hint = "; it may want scan_shape=(rows, columns)" if may_want else packing_hint(path)
        raise FormatError(
            f"{path} is no electron-event file, and py4DSTEM cannot open it either: {error}{hint}"
        ) from error


def _mapped(path: Path, kind: str, scan_shape: Shape2D | None, options: dict[str, Any]) -> Any:
    if kind == "empad" and scan_shape is not None:
        options.setdefault("EMPAD_shape", (*scan_shape, *_EMPAD_ROWS))
    if kind == "mib" and scan_shape is not None:
        options.setdefault("scan", scan_shape)
    return _import_dense(str(path), mem="MEMMAP", filetype=kind, **options)


def _loaded(path: Path, kind: str, scan_shape: Shape2D | None, options: dict[str, Any]) -> Any:
    if kind == "legacy":
        return _read_emd(str(path), **options)
    return _import_dense(str(path), mem="RAM", filetype=kind, **options)


_Reader = Callable[[Path, str, "Shape2D | None", dict[str, Any]], Any]
#: How files are opened that cannot be mapped into memory.
_READERS: dict[str, _Reader] = dict.fromkeys(("abTEM", "legacy", "arina"), _loaded)


def _described(found: Any, path: Path, beside: tuple[str, ...]) -> DenseData:
    if not isinstance(found, Array):
        raise FormatError(f"{path} holds a {type(found).__name__}, and no patterns of a scan")
    files = tuple(file for name in beside for file in path.parent.glob(f"*{name}"))
    return DenseData(found.data, found.name, getattr(found, "calibration", None), {}, files)


def _as_scan(array: Any, scan_shape: Shape2D | None, path: Path) -> Any:
    """Return the patterns in the shape of the scan, without a copy."""
    if len(array.shape) == 4 and scan_shape in (None, tuple(array.shape[:2])):
        return array
    if scan_shape is None:
        raise ParameterError(
            f"{path} holds an array of {tuple(array.shape)}, and does not say the shape of the "
            "scan; give scan_shape=(rows, columns)"
        )
    n_patterns = int(np.prod(array.shape[:-2]))
    if n_patterns != scan_shape[0] * scan_shape[1] or not hasattr(array, "reshape"):
        raise ParameterError(
            f"{path} holds an array of {tuple(array.shape)}, which does not fit a scan of "
            f"{scan_shape}; give another scan_shape=(rows, columns), or none"
        )
    return array.reshape(*scan_shape, *array.shape[-2:])
