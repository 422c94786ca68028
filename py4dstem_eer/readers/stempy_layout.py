"""Which frames of a stempy file belong to which scan position, in all versions of the layout.

====  ==========================================================================================
v0    no version, detector shape may be missing (then it is the 4D Camera's 576 x 576); as v1
v1    no version; one list per position, repeated pixels are counts
v2    version 2 or none; one list per frame in any order, `scan_positions` says where it belongs
v3    version 3; the same number of lists for every position, in order
====  ==========================================================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..detector import Shape2D
from ..errors import CorruptFileError, EventRangeError, MissingOptionError, ParameterError
from .frame_order import without_flyback
from .options import ReaderOptions
from .stempy_header import Header


@dataclass(frozen=True, eq=False)
class Arrangement:
    """The frames of a file in the order of the scan.

    Attributes
    ----------
    scan_shape : (int, int)
    numbers : (m,) int64, optional
        Number in the file of each frame that is used; None if all are, in order.
    frame_ptr : (Rx * Ry + 1,) int64, optional
        Position p owns numbers[frame_ptr[p]:frame_ptr[p + 1]]; None if all own the same number.
    frames_per_position : int
        That number, or the largest.
    misplaced : (k,) int64
        Numbers of frames dropped because their scan position does not exist.
    """

    scan_shape: Shape2D
    numbers: np.ndarray | None
    frame_ptr: np.ndarray | None
    frames_per_position: int
    misplaced: np.ndarray

    def first_frames(self, positions: np.ndarray) -> np.ndarray:
        """Return where in `numbers` the frames of each position begin."""
        if self.frame_ptr is None:
            return positions * self.frames_per_position
        return self.frame_ptr[positions]

    @property
    def n_without_frames(self) -> int | None:
        """Scan positions that own no frame; None if all own the same number."""
        if self.frame_ptr is None:
            return None
        return int(np.count_nonzero(np.diff(self.frame_ptr) == 0))

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return sum(table.nbytes for table in (self.numbers, self.frame_ptr) if table is not None)


def arrange(header: Header, options: ReaderOptions) -> Arrangement:
    """Find the frames of every scan position.

    Raises
    ------
    ParameterError
        If the options do not fit the file.
    CorruptFileError, EventRangeError
        If the tables of the file do not fit each other.
    """
    if header.positions is None:
        return _arrange_in_order(header, options)
    return _arrange_by_table(header, options)


def _arrange_in_order(header: Header, options: ReaderOptions) -> Arrangement:
    scan_shape = _chosen_scan(header, options)
    frames = options.frames_per_position or header.frames_per_position
    n_used = header.n_frames - options.skip_frames
    if n_used != math.prod(scan_shape) * frames:
        raise _misfit(header, options, scan_shape, frames)
    numbers = None
    if options.skip_frames or not options.keep_flyback:
        numbers = np.arange(options.skip_frames, header.n_frames)
    if not options.keep_flyback:
        kept = without_flyback(scan_shape)
        numbers = numbers.reshape(*scan_shape, frames)[:, :-1].ravel()  # type: ignore[union-attr]
        scan_shape = kept
    return Arrangement(scan_shape, numbers, None, frames, np.zeros(0, np.int64))


def _chosen_scan(header: Header, options: ReaderOptions) -> Shape2D:
    if options.scan_shape is not None:
        return options.scan_shape
    if header.scan_shape is None:
        raise MissingOptionError(
            f"{header.path} does not say what shape its scan of {header.n_positions} positions "
            "has; give scan_shape=(rows, columns)"
        )
    if math.prod(header.scan_shape) != header.n_positions and header.positions is None:
        raise CorruptFileError(
            f"{header.path}: a scan of {header.scan_shape} and a list of {header.n_positions} "
            "scan positions do not fit; if you know the scan, give scan_shape=(rows, columns)"
        )
    return header.scan_shape


def _misfit(
    header: Header, options: ReaderOptions, scan_shape: Shape2D, frames: int
) -> ParameterError | CorruptFileError:
    left = header.n_frames - options.skip_frames
    positions = math.prod(scan_shape)
    after = f" after skipping {options.skip_frames}" if options.skip_frames else ""
    hint = "give scan_shape=(rows, columns) that fits"
    if positions and left > 0 and left % positions == 0:
        hint = f"{left // positions} frames per position would: frames_per_position="
        hint += str(left // positions)
    message = (
        f"{header.path}: {left} frames{after} do not fill a scan of {scan_shape} with {frames} "
        f"per position, which takes {positions * frames}; {hint}"
    )
    given = options.scan_shape or options.skip_frames or options.frames_per_position
    return ParameterError(message) if given else CorruptFileError(message)


def _arrange_by_table(header: Header, options: ReaderOptions) -> Arrangement:
    if options.frames_per_position is not None:
        raise ParameterError(
            f"{header.path} says for each frame where it belongs, so that "
            f"frames_per_position={options.frames_per_position} has no meaning; leave it out"
        )
    scan_shape = _chosen_scan(header, options)
    if header.scan_shape is not None and math.prod(scan_shape) != math.prod(header.scan_shape):
        raise ParameterError(
            f"scan_shape {scan_shape} has {math.prod(scan_shape)} positions, {header.path} has "
            f"{math.prod(header.scan_shape)}, {header.scan_shape}"
        )
    table = header.positions[options.skip_frames :]  # type: ignore[index]
    outside = (table < 0) | (table >= math.prod(scan_shape))
    misplaced = np.flatnonzero(outside) + options.skip_frames
    if len(misplaced) and not options.skips_errors:
        frame = int(misplaced[0])
        raise EventRangeError(
            f"{header.path}, frame {frame}: its scan position {table[frame - options.skip_frames]} "
            f'is not in a scan of {scan_shape}; errors="skip" drops such frames'
        )
    if not options.keep_flyback:
        outside |= table % scan_shape[1] == scan_shape[1] - 1
        table = table - table // scan_shape[1]
        scan_shape = without_flyback(scan_shape)
    return _sorted_by_position(scan_shape, table, outside, options.skip_frames, misplaced)


def _sorted_by_position(
    scan_shape: Shape2D, table: np.ndarray, dropped: np.ndarray, skipped: int, misplaced: np.ndarray
) -> Arrangement:
    used = np.flatnonzero(~dropped)
    # stable, so that what is read does not depend on the sorting algorithm
    used = used[np.argsort(table[used], kind="stable")]
    per_position = np.bincount(table[used], minlength=math.prod(scan_shape))
    frame_ptr = np.concatenate(([0], np.cumsum(per_position))).astype(np.int64)
    most = int(per_position.max()) if len(per_position) else 0
    return Arrangement(scan_shape, used + skipped, frame_ptr, most, misplaced)
