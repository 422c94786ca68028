"""Which frames belong to which scan position, in files that hold nothing but frames in order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..detector import Shape2D
from ..errors import MissingOptionError, ParameterError
from .options import ReaderOptions


@dataclass(frozen=True)
class FrameOrder:
    """Frames that follow the scan, row by row.

    Attributes
    ----------
    scan_shape : (int, int)
        Rows, and the columns that are kept.
    columns : int
        Columns that have frames, the first of them kept.
    first : int
        Number of the first frame that belongs to the scan.
    frames_per_position : int
    """

    scan_shape: Shape2D
    columns: int
    first: int
    frames_per_position: int

    @property
    def n_positions(self) -> int:
        """Scan positions that are kept."""
        return math.prod(self.scan_shape)

    def positions(self, start: int, stop: int) -> range:
        """Return the scan positions of scan rows start to stop, bounded as slices are."""
        rows = range(self.scan_shape[0])[start:stop]
        first = rows.start * self.scan_shape[1]
        return range(first, first + len(rows) * self.scan_shape[1])

    def numbers(self, start: int, stop: int) -> np.ndarray:
        """Return the numbers of the frames of positions start to stop, int64."""
        row, column = np.divmod(np.arange(start, stop), self.scan_shape[1])
        begins = self.first + (row * self.columns + column) * self.frames_per_position
        return (begins[:, None] + np.arange(self.frames_per_position)).ravel()


def in_order(path: Path, n_frames: int, options: ReaderOptions, cut: bool = False) -> FrameOrder:
    """Return where the frames of the scan are that the options describe.

    Parameters
    ----------
    path : Path
        For the messages.
    n_frames : int
        In the file.
    options : ReaderOptions
    cut : bool
        The file is known to lack frames at its end; fewer than the scan takes will do.

    Raises
    ------
    MissingOptionError
        If there is no scan shape.
    ParameterError
        If the frames do not fill it exactly.
    """
    per_position = options.frames_per_position or 1
    left = n_frames - options.skip_frames
    if options.scan_shape is None:
        raise MissingOptionError(
            f"{path} holds {n_frames} frames and does not say what shape the scan has; give "
            f"scan_shape=(rows, columns){_suggestion(left // per_position)}"
        )
    needed = math.prod(options.scan_shape) * per_position
    if left != needed and not (cut and left < needed):
        raise ParameterError(_misfit(path, left, needed, options))
    kept = options.scan_shape if options.keep_flyback else without_flyback(options.scan_shape)
    return FrameOrder(kept, options.scan_shape[1], options.skip_frames, per_position)


def without_flyback(scan_shape: Shape2D) -> Shape2D:
    """Return the shape of a scan without its last column.

    Raises
    ------
    ParameterError
        If it has no other.
    """
    if scan_shape[1] < 2:
        raise ParameterError(
            f"keep_flyback=False drops the last scan column, and a scan of {scan_shape} has no "
            "other; leave it out"
        )
    return scan_shape[0], scan_shape[1] - 1


def _misfit(path: Path, left: int, needed: int, options: ReaderOptions) -> str:
    if left < 0:
        n_frames = left + options.skip_frames
        return f"{path} holds {n_frames} frames, skip_frames={options.skip_frames}; give less"
    after = f" after skipping {options.skip_frames}" if options.skip_frames else ""
    per_position = options.frames_per_position or 1
    message = (
        f"{path}: {left} frames{after} do not fill a scan of {options.scan_shape} with "
        f"{per_position} per position, which takes {needed}"
    )
    positions = needed // per_position
    if left > 0 and left % positions == 0:
        return f"{message}; frames_per_position={left // positions} would fit"
    if left > needed:
        return (
            f"{message}; {left - needed} are too many: skip_frames={left - needed} "
            "leaves out as many more at the start; to leave them out at the end, open a scan of "
            "one row and reshape: "
            f"events[:, :{positions}].reshaped({options.scan_shape})"
        )
    return f"{message}; {needed - left} are missing: give scan_shape=(rows, columns) that fits"


def _suggestion(n_positions: int) -> str:
    """Return shapes that a number of positions would fill, in words."""
    if n_positions < 1:
        return ""
    rows = next(r for r in range(math.isqrt(n_positions), 0, -1) if n_positions % r == 0)
    fitting = f", for example {(rows, n_positions // rows)}"
    side = math.isqrt(n_positions)
    if side**2 == n_positions:
        return fitting
    return f"{fitting}, or {(side, side)} and skip_frames={n_positions - side**2}"
