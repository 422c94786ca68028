"""NCEM 4D Camera events, counted by stempy: HDF5 with one list of pixels per camera frame."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CorruptFileError, EventError, EventWarning, ParameterError
from . import gatan, hdf5
from .hdf5_superblock import missing_bytes, superblock_position
from .options import ReaderOptions
from .stamps import stamp_of
from .stempy_frames import Frames, H5pyFrames, HeapFrames, Table, check_allocated, read_table
from .stempy_header import FRAMES, POSITIONS, Header, read_header
from .stempy_layout import Arrangement, arrange
from .stempy_source import StempySource

NAME = "stempy"
USES = frozenset(
    {"scan_shape", "skip_frames", "frames_per_position", "keep_flyback", "errors", "dm"}
)
EXTENSIONS: frozenset[str] = frozenset()

#: Group of /metadata where our own writer keeps what stempy has no place for.
OWN_GROUP = "py4dstem_eer"


def recognises(path: Path) -> bool:
    """Return whether the file is HDF5 with the two datasets of stempy, or what is left of one."""
    if superblock_position(path) is None:
        return False
    try:
        with hdf5.opened(path) as file:
            if FRAMES in file and POSITIONS in file:
                return True
        return missing_bytes(path) > 0 and _mentions_events(path)
    except (EventError, OSError):
        return _mentions_events(path)


def open_source(path: Path, options: ReaderOptions, route: str | None = None) -> StempySource:
    """Open a stempy file for reading.

    Parameters
    ----------
    path : Path
    options : ReaderOptions
    route : {"heap", "h5py"}, optional
        For tests. Default: the heap where the file allows, otherwise h5py.

    Raises
    ------
    FormatError
        If it is no stempy file.
    ParameterError
        If the options do not fit it, or it cannot be read by `route`.
    CorruptFileError, EventRangeError
        If it is damaged, as far as can be told without reading events; with errors="skip", only
        if nothing of it can be told.
    """
    stamp = stamp_of(path)
    with hdf5.opened(path) as file:
        header = read_header(file, path)
        check_allocated(file, path)
        arrangement = arrange(header, options)
        frames = _frames(file, header, arrangement, route)
        described = _described(file, options.skips_errors)
    metadata = {
        "format": NAME,
        "version": header.version,
        "frames_per_position": arrangement.frames_per_position,
        "keep_flyback": bool(options.keep_flyback),
        **described,
    }
    if options.dm is not None:
        metadata.update(gatan.read_calibration(options.dm))
    source = StempySource(header, arrangement, frames, metadata, stamp)
    source.check(options.skips_errors)
    return source


def _mentions_events(path: Path) -> bool:
    """Return whether the name of stempy's group is near the start, where HDF5 keeps it."""
    try:
        with path.open("rb") as file:
            return FRAMES.split("/")[0].encode() in file.read(2**20)
    except OSError:
        return False


def _frames(file: Any, header: Header, arrangement: Arrangement, route: str | None) -> Frames:
    if route not in (None, "heap", "h5py"):
        raise ParameterError(f'route is {route!r}; it must be "heap" or "h5py"')
    n_pixels, numbers = math.prod(header.detector_shape), arrangement.numbers
    table = read_table(file, header.path)
    if table is not None:
        table = table.taking(numbers)
        _check_total(table, header)
        if table.direct and route != "h5py":
            return HeapFrames(header.path, table, n_pixels)
    if table is None and missing_bytes(header.path):
        raise CorruptFileError(
            f"{header.path} is truncated, and compressed such that no frame, from frame 0 on, can "
            "be told from a missing one"
        )
    if route == "heap":
        raise ParameterError(f"{header.path} can only be read through h5py")
    return H5pyFrames(header.path, table, header.n_frames, numbers, n_pixels)


def _check_total(table: Table, header: Header) -> None:
    """Raise if there are more events than the file has room for, before asking for memory."""
    lengths, file_bytes = table.references[:, 0], header.path.stat().st_size
    possible = lengths[table.faults(header.path) == 0]
    n_events = int(possible.sum(dtype=np.int64))
    if table.item_bytes * n_events > file_bytes:
        raise CorruptFileError(
            f"{header.path} promises {n_events} events in a file of {file_bytes} bytes; the "
            f"longest list, of {possible.max()}, is that of frame {int(np.argmax(lengths))}"
        )


def _described(file: Any, skip: bool) -> dict[str, Any]:
    """Return /metadata and /user as nested dicts, and the quantities that our writer kept."""
    found: dict[str, Any] = {}
    for name in ("metadata", "user"):
        try:
            if name in file:
                found[name] = hdf5.attributes(file[name])
        except hdf5.DAMAGE as error:
            if not skip:
                raise
            warnings.warn(f"{name} of the file is lost: {error}", EventWarning, stacklevel=5)
    own = found.get("metadata", {}).pop(OWN_GROUP, {})
    return {**{name: items for name, items in found.items() if items}, **own}
