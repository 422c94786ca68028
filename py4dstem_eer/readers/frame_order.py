"""Which frames belong to which scan position, in files that hold nothing but frames in order."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..detector import Shape2D
from ..errors import EventWarning, MissingOptionError, ParameterError
from .options import ReaderOptions
from .protocol import EventSource

# a scan of which most is missing: one of more frames than these is refused
_FREE_FRAMES = 2**20
_FRAMES_PER_FRAME = 16


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
    n_unused : int
        Frames after those of the scan, which are left out.
    """

    scan_shape: Shape2D
    columns: int
    first: int
    frames_per_position: int
    n_unused: int = 0

    @property
    def left_out(self) -> dict[str, int]:
        """What metadata say about frames after those of the scan; nothing if there are none."""
        return {"unused_frames": self.n_unused} if self.n_unused else {}

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


def in_order(path: Path, n_frames: int, options: ReaderOptions, stacklevel: int = 4) -> FrameOrder:
    """Return where the frames of the scan are that the options describe.

    With errors="skip", frames after those of the scan are left out, and fewer will do.

    Parameters
    ----------
    path : Path
        For the messages.
    n_frames : int
        In the file.
    options : ReaderOptions
    stacklevel : int
        Of the warning, as `warnings.warn` has it.

    Raises
    ------
    MissingOptionError
        If there is no scan shape.
    ParameterError
        If the frames do not fill it exactly; with errors="skip", if there are none of it, or next
        to none of a very large one.

    Warns
    -----
    EventWarning
        If frames are left out.
    """
    per_position = options.frames_per_position or 1
    left = n_frames - options.skip_frames
    if options.scan_shape is None:
        raise MissingOptionError(
            f"{path} holds {n_frames} frames and does not say what shape the scan has; give "
            f"scan_shape=(rows, columns){_suggestion(left // per_position)}"
        )
    needed = math.prod(options.scan_shape) * per_position
    if left != needed and not (options.skips_errors and _may_be(left, needed)):
        raise ParameterError(_misfit(path, left, needed, options))
    kept = options.scan_shape if options.keep_flyback else without_flyback(options.scan_shape)
    unused = max(0, left - needed)
    if unused:
        warnings.warn(_unused(path, unused, left, options), EventWarning, stacklevel=stacklevel)
    return FrameOrder(kept, options.scan_shape[1], options.skip_frames, per_position, unused)


@contextlib.contextmanager
def telling_frames(
    n_frames: int,
    detector_shape: Shape2D,
    facts: Mapping[str, Any],
    options: ReaderOptions,
    open_with: Callable[[ReaderOptions], EventSource],
) -> Iterator[None]:
    """Let an error for want of a scan shape come with the frames, and with what is known of them.

    Parameters
    ----------
    n_frames : int
        In the file.
    detector_shape : (int, int)
    facts : mapping
        What else the file tells.
    options : ReaderOptions
    open_with : callable
        Opens the frames, given other options.
    """
    try:
        yield
    except MissingOptionError as error:
        rows, columns = detector_shape
        detector = f"{rows} x {columns} pixels (rows x columns)"
        error.facts = {"frames": n_frames, "detector": detector, **facts}
        n_positions, rest = divmod(n_frames - options.skip_frames, options.frames_per_position or 1)
        if n_positions > 0 and options.scan_shape is None:
            skipped = options.skip_frames + rest
            column = replace(
                options, scan_shape=(n_positions, 1), skip_frames=skipped, keep_flyback=True
            )
            error.in_one_column = partial(open_with, column)
        raise


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


def _may_be(left: int, needed: int) -> bool:
    """Return whether so few frames may be what there is of a scan."""
    return left > 0 and needed <= _FREE_FRAMES + _FRAMES_PER_FRAME * left


def _misfit(path: Path, left: int, needed: int, options: ReaderOptions) -> str:
    """Return that the frames do not fill the scan, and what would help."""
    if left < 0:
        n_frames = left + options.skip_frames
        return f"{path} holds {n_frames} frames, skip_frames={options.skip_frames}; give less"
    after = f" after skipping {options.skip_frames}" if options.skip_frames else ""
    per_position = options.frames_per_position or 1
    ways = _too_many(left - needed, options) if left > needed else _missing(left, needed, options)
    return (
        f"{path}: {left} frames{after} do not fill a scan of {options.scan_shape} with "
        f"{per_position} per position, which takes {needed}; "
        f"{_other_number(left, options)}{ways}"
    )


def _other_number(left: int, options: ReaderOptions) -> str:
    """Return the frames per position that would fill the scan, in words, if there are any."""
    per_position, rest = divmod(left, math.prod(options.scan_shape or (1, 1)))
    return f"frames_per_position={per_position} would fit; " if per_position and not rest else ""


def _too_many(surplus: int, options: ReaderOptions) -> str:
    return (
        f"{surplus} are too many: if they are at the start, give "
        f"skip_frames={options.skip_frames + surplus}; if they are at the end, "
        'errors="skip" leaves them out'
    )


def _missing(left: int, needed: int, options: ReaderOptions) -> str:
    columns = (options.scan_shape or (1, 1))[1]
    rows, rest = divmod(left, columns * (options.frames_per_position or 1))
    ways = []
    if not options.skips_errors and _may_be(left, needed):
        ways.append('errors="skip" reads them as empty')
    if rows:
        alone = ', errors="skip"' if rest else ""
        complete = "1 row is" if rows == 1 else f"the first {rows} rows are"
        ways.append(f"{complete} complete, scan_shape=({rows}, {columns}){alone} reads no more")
    ways = ways or ["give scan_shape=(rows, columns) that fits"]
    return f"{needed - left} are missing: {'; '.join(ways)}"


def _unused(path: Path, unused: int, left: int, options: ReaderOptions) -> str:
    return (
        f"{path}: {unused} frames after those of a scan of {options.scan_shape} are left out; "
        f"{_other_number(left, options)}"
    ).rstrip("; ")


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
