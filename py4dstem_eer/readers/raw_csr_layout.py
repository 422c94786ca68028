"""Which frames of a raw CSR data set belong to which scan position."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..detector import Shape2D
from ..errors import CorruptFileError, ParameterError
from .options import ReaderOptions
from .raw_csr_arrays import Arrays
from .raw_csr_sidecar import Sidecar

# a scan of which most is missing: more positions than these take are refused
_FREE_POSITIONS = 2**20
_POSITIONS_PER_FRAME = 16
# nor does the user mean a scan that lacks more frames than this
_MOST_MISSING = 2**28


@dataclass(frozen=True)
class Layout:
    """Frames in the order of the scan.

    Attributes
    ----------
    scan_shape : (int, int)
        Rows, and the columns that have frames.
    kept_columns : int
        Columns that are given out, the first of them.
    first_frame : int
    frames_per_position : int
    n_missing, n_unused : int
        Frames that the scan has beyond those in the file, and the other way round.
    """

    scan_shape: Shape2D
    kept_columns: int
    first_frame: int
    frames_per_position: int
    n_missing: int
    n_unused: int

    @property
    def n_frames(self) -> int:
        """Frames of the scan, with those that are missing."""
        return math.prod(self.scan_shape) * self.frames_per_position

    def frame(self, position: Any) -> Any:
        """Return the number of the first frame of a position, or of many."""
        return self.first_frame + position * self.frames_per_position


def lay_out(sidecar: Sidecar, arrays: Arrays, options: ReaderOptions) -> Layout:
    """Find the frames of the scan.

    Raises
    ------
    ParameterError
        If the options leave nothing, or make a scan of which next to nothing is there.
    CorruptFileError
        If frames were cut off, or there are next to none for a scan of that size.
    """
    scan_shape = options.scan_shape or sidecar.scan_shape
    per_position = options.frames_per_position or 1
    wanted = math.prod(scan_shape) * per_position
    there = arrays.n_frames - options.skip_frames
    if options.skip_frames and there <= 0:
        raise ParameterError(
            f"skip_frames={options.skip_frames} leaves none of the {arrays.n_frames} frames of "
            f"{sidecar.path}"
        )
    if not options.keep_flyback and scan_shape[1] < 2:
        raise ParameterError(
            f"keep_flyback=False drops the last scan column, and a scan of {scan_shape} has no "
            "other; leave it out"
        )
    if there < wanted:
        _check_incomplete(sidecar, arrays, options, wanted)
    kept = scan_shape[1] if options.keep_flyback else scan_shape[1] - 1
    missing, unused = max(0, wanted - there), max(0, there - wanted)
    return Layout(scan_shape, kept, options.skip_frames, per_position, missing, unused)


def _check_incomplete(
    sidecar: Sidecar, arrays: Arrays, options: ReaderOptions, wanted: int
) -> None:
    """Raise CorruptFileError unless a scan may have ended early."""
    n_left = arrays.n_entries - int(arrays.indptr[-1])
    if n_left > 0 and not options.skips_errors:
        raise CorruptFileError(
            f"{sidecar.indptr.path}, of {sidecar.path}, lacks frames from {arrays.n_frames} on, "
            f'and {n_left} entries are left without a frame; errors="skip" leaves them out'
        )
    possible = _FREE_POSITIONS + _POSITIONS_PER_FRAME * arrays.n_frames
    if options.scan_shape is None and wanted > possible:
        raise CorruptFileError(
            f"{sidecar.path} promises a scan of {sidecar.scan_shape}, its arrays have "
            f"{arrays.n_frames} frames; give scan_shape=(rows, columns) if that is meant"
        )
    if wanted > _MOST_MISSING + arrays.n_frames:
        raise ParameterError(
            f"{sidecar.path}: a scan of {options.scan_shape} with "
            f"{options.frames_per_position or 1} frames per position takes {wanted} frames, and "
            f"the arrays have {arrays.n_frames}; give scan_shape=(rows, columns) that fits"
        )
