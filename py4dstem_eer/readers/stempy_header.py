"""The tables at the head of a stempy file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..detector import Shape2D
from ..errors import CorruptFileError, FormatError
from . import hdf5
from .hdf5_superblock import missing_bytes

FRAMES = "electron_events/frames"
POSITIONS = "electron_events/scan_positions"

#: What files without a detector shape were recorded with, the NCEM 4D Camera.
DEFAULT_DETECTOR = (576, 576)
_MOST_PIXELS = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Header:
    """What the tables of a stempy file say.

    Attributes
    ----------
    path : Path
    version : int
        0 to 3.
    scan_shape : (int, int), optional
        Rows and columns, with the flyback column if the file has one.
    detector_shape : (int, int)
    n_frames : int
    positions : (n_frames,) int64, optional
        Scan position of each frame; None if frames are in order, the same number everywhere.
    n_positions : int
    """

    path: Path
    version: int
    scan_shape: Shape2D | None
    detector_shape: Shape2D
    n_frames: int
    positions: np.ndarray | None
    n_positions: int

    @property
    def frames_per_position(self) -> int:
        """Frames of each position, if they are in order and it is the same number everywhere."""
        whole = self.n_positions > 0 and self.n_frames % self.n_positions == 0
        return self.n_frames // self.n_positions if whole else 1


def read_header(file: Any, path: Path) -> Header:
    """Read the tables of an open HDF5 file.

    Raises
    ------
    FormatError
        If it is no stempy file, or the prototype of April 2019.
    CorruptFileError
        If its tables contradict each other.
    """
    frames, positions = _datasets(file, path)
    scan_shape = _shape(positions, path)
    detector_shape = _shape(frames, path)
    version = file.attrs.get("version")
    n_frames, n_positions = frames.shape[0], positions.shape[0]
    table: np.ndarray | None = None
    if version is None or version < 3:
        table = _position_table(positions, n_frames, path)
        if _is_in_order(table, version, scan_shape):
            table = None
        version = version or _version_without_mark(table, detector_shape)
    if detector_shape is not None and not 0 < math.prod(detector_shape) <= _MOST_PIXELS:
        raise CorruptFileError(f"{path}: its detector has an impossible shape, {detector_shape}")
    return Header(
        path,
        int(version),
        None if scan_shape is None else scan_shape[::-1],  # here Nx is the number of columns
        detector_shape or DEFAULT_DETECTOR,
        n_frames,
        table,
        n_positions,
    )


def _datasets(file: Any, path: Path) -> tuple[Any, Any]:
    import h5py

    found = [file.get(name) for name in (FRAMES, POSITIONS)]
    for name, dataset in zip((FRAMES, POSITIONS), found, strict=True):
        if not isinstance(dataset, h5py.Dataset):
            missing = missing_bytes(path)
            if missing:
                raise CorruptFileError(
                    f"{path} is truncated, {missing} bytes are missing: {name} cannot be found, "
                    "so that nothing is left from frame 0 on"
                )
            raise FormatError(f"{path} is no stempy file: it has no dataset {name}")
    frames, positions = found
    base = h5py.check_vlen_dtype(frames.dtype)
    if positions.dtype.names or getattr(base, "names", None):
        raise FormatError(
            f"{path} was written by the stempy prototype of April 2019, which kept x and y of "
            "each event instead of one index; convert it with the stempy of that time"
        )
    if base is None or np.dtype(base).kind not in "iu" or frames.ndim != 1:
        raise FormatError(
            f"{path} is no stempy file: {FRAMES} is {frames.dtype} of shape {frames.shape}, "
            "expected lists of integers in one dimension"
        )
    if positions.dtype.kind not in "iu" or positions.ndim != 1:
        raise CorruptFileError(
            f"{path}: {POSITIONS} is {positions.dtype} of shape {positions.shape}, expected "
            "integers in one dimension"
        )
    return frames, positions


def _shape(dataset: Any, path: Path) -> Shape2D | None:
    values = [dataset.attrs.get(name) for name in ("Nx", "Ny")]
    if values[0] is None or values[1] is None:
        return None
    numbers = [np.asarray(value) for value in values]
    if any(n.dtype.kind not in "iu" or n.size != 1 or int(n.item()) < 0 for n in numbers):
        raise CorruptFileError(f"{path}: {dataset.name} has Nx, Ny = {values}, expected integers")
    return int(numbers[0].item()), int(numbers[1].item())


def _position_table(positions: Any, n_frames: int, path: Path) -> np.ndarray:
    """Return the position of every frame."""
    if len(positions) != n_frames:
        raise CorruptFileError(
            f"{path}: its {n_frames} frames and {len(positions)} scan positions should be the "
            "same number in a file of its version; is it truncated or half written?"
        )
    if positions.nbytes > path.stat().st_size and positions.chunks is None:
        raise CorruptFileError(
            f"{path}: its header promises {n_frames} scan positions, more than the file can hold"
        )
    _check_inside(positions, path)
    if positions.chunks is not None:
        hdf5.check_storage(positions, path)
    return positions[()].astype(np.int64)


def _is_in_order(table: np.ndarray, version: int | None, scan_shape: Shape2D | None) -> bool:
    """Return whether frame k belongs to position k, for all positions of the scan.

    With fewer frames than positions, frames are missing in version 2, and the file is incomplete
    in version 1. Without a mark it is taken for version 1.
    """
    n_scan = math.prod(scan_shape) if scan_shape else len(table)
    complete = len(table) == n_scan or (version is None and len(table) > 0)
    return complete and np.array_equal(table, np.arange(len(table)))


def _check_inside(dataset: Any, path: Path) -> None:
    """Raise if a contiguous dataset lies beyond the end of the file, where only zeros are read."""
    offset = dataset.id.get_offset()
    if offset is not None and offset + dataset.nbytes > path.stat().st_size:
        raise CorruptFileError(f"{path} is truncated: its table {dataset.name} is not complete")


def _version_without_mark(table: np.ndarray | None, detector_shape: Shape2D | None) -> int:
    if table is not None:
        return 2
    return 0 if detector_shape is None else 1
