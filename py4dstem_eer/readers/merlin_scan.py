"""Which frame of a Merlin acquisition belongs to which scan position."""

from __future__ import annotations

import bisect
import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from ..detector import Shape2D
from ..errors import CorruptFileError, ParameterError
from .frame_order import FrameOrder, in_order
from .merlin_files import Acquisition
from .options import ReaderOptions

_FEW_BYTES = 2**20


@dataclass(frozen=True, eq=False)
class Scan:
    """The places of the frames in the scan.

    The acquisition has one slot for each frame that was to be recorded, in the order of the scan.

    Attributes
    ----------
    order : FrameOrder
        Slots of every scan position.
    slots : (n,) int64, optional
        Frame in each slot, -1 for none; None if frame k is in slot k.
    n_bad : int
        Frames that are there and cannot be read.
    announced : (int, int), optional
        What the scan was to be, if only its first lines are complete.
    left_over : int
        Slots after the last complete line.
    """

    order: FrameOrder
    slots: np.ndarray | None = None
    n_bad: int = 0
    announced: Shape2D | None = None
    left_over: int = 0

    @property
    def n_missing(self) -> int:
        """Slots without a frame."""
        return 0 if self.slots is None else int(np.count_nonzero(self.slots < 0))

    def frames(self, start: int, stop: int) -> np.ndarray:
        """Return the frames of positions start to stop, int64, -1 for none."""
        slots = self.order.numbers(start, stop)
        return slots if self.slots is None else self.slots[slots]


def arrange(
    acquisition: Acquisition, options: ReaderOptions, numbers: np.ndarray | None = None
) -> Scan:
    """Find the frames of every scan position.

    Parameters
    ----------
    acquisition : Acquisition
    options : ReaderOptions
    numbers : (frames,) int64, optional
        Of all frames, negative for those that cannot be used, if bad frames are to be dropped.
        Default: frame k is in slot k.

    Raises
    ------
    ParameterError
        If the options do not fit, or the shape of the scan is not known.
    CorruptFileError
        If the files promise much more than they hold.
    """
    shape = options.scan_shape or _announced(acquisition, options)
    if numbers is None or shape is None:
        return _of_lines(shape, acquisition.n_frames, acquisition, options)
    per_position = options.frames_per_position or 1
    needed = options.skip_frames + math.prod(shape) * per_position
    used, places = _usable(numbers, max(needed, len(numbers)))
    n_slots = int(places[used[-1]]) + 1 if len(used) else 0
    cut = [file.rest > 0 for file in acquisition.files]
    # bad frames at the end were recorded too
    n_after = len(numbers) + cut[-1] - (int(used[-1]) + 1 if len(used) else 0)
    n_beyond = int(np.count_nonzero(places[used] >= needed))
    n_slots = min(n_slots + n_after, needed) + n_beyond
    scan = _of_lines(shape, n_slots, acquisition, options)
    needed = scan.order.first + scan.order.scan_shape[0] * scan.order.columns * per_position
    if len(used) == 0 or 8 * needed > acquisition.n_bytes + _FEW_BYTES:
        raise CorruptFileError(
            f"{acquisition.path} is to have {needed} frames, and {len(used)} of them can be read"
        )
    slots = np.full(needed, -1)
    inside = used[places[used] < needed]
    slots[places[inside]] = inside
    n_bad = len(numbers) - len(used) + sum(cut)
    return dataclasses.replace(scan, slots=slots, n_bad=n_bad)


def _announced(acquisition: Acquisition, options: ReaderOptions) -> Shape2D | None:
    """Return the shape of the scan by the .hdr file."""
    companion, per_position = acquisition.companion, options.frames_per_position or 1
    if companion is None:
        return None
    if companion.scan_shape is not None:
        return companion.scan_shape
    n_frames, per_line = companion.n_frames or 0, companion.frames_per_trigger or 0
    if per_line <= per_position or n_frames < per_line:
        return None
    if per_line % per_position:
        raise ParameterError(
            f"{companion.path} has {per_line} frames in a line, no multiple of "
            f"frames_per_position={per_position}; give scan_shape=(rows, columns)"
        )
    return n_frames // per_line, per_line // per_position


def _of_lines(
    shape: Shape2D | None,
    n_slots: int,
    acquisition: Acquisition,
    options: ReaderOptions,
) -> Scan:
    """Return the scan of this shape; if the file itself announced it, of its complete lines."""
    announced, left_over = None, 0
    if shape is not None and options.scan_shape is None:
        per_line = shape[1] * (options.frames_per_position or 1)
        n_lines, rest = divmod(n_slots - options.skip_frames, per_line)
        if 0 < n_lines < shape[0]:
            announced, left_over = shape, rest
            shape, n_slots = (n_lines, shape[1]), n_slots - rest
    described = dataclasses.replace(options, scan_shape=shape)
    order = in_order(acquisition.path, n_slots, described, stacklevel=7)
    return Scan(order, announced=announced, left_over=left_over)


def _usable(numbers: np.ndarray, n_slots: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames whose numbers can be believed (m,), and the slots of all frames (n,)."""
    # the first frame is number 1, and 0 where it is seen to be
    from_zero = len(numbers) and numbers[0] == 0 and (len(numbers) == 1 or numbers[1] == 1)
    places = numbers - (0 if from_zero else 1)
    inside = np.flatnonzero((places >= 0) & (places < n_slots))
    return inside[_longest_ascent(places[inside])], places


def _longest_ascent(values: np.ndarray) -> np.ndarray:
    """Return where the longest strictly ascending selection of the values is, (m,) int64.

    It leaves out the few frames whose numbers are damaged, whatever they became.
    """
    if np.all(np.diff(values) > 0):
        return np.arange(len(values))
    ends: list[int] = []  # the smallest last value of an ascent of each length, and where it is
    places: list[int] = []
    before = np.full(len(values), -1)
    for k, value in enumerate(values.tolist()):
        length = bisect.bisect_left(ends, value)
        if length:
            before[k] = places[length - 1]
        if length == len(ends):
            ends.append(value)
            places.append(k)
        ends[length], places[length] = value, k
    chosen = [places[-1]]
    while before[chosen[-1]] >= 0:
        chosen.append(int(before[chosen[-1]]))
    return np.array(chosen[::-1], np.int64)
