"""Hits of a Timepix3 stream put into scan positions: counted first, then sorted in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..compiled import scalar_function
from ..detector import Shape2D
from ..device import kernel
from . import tpx3_packets as packets
from .tpx3_gather import gather
from .tpx3_order import PIXEL_MASK, POSITION_SHIFT, Keys
from .tpx3_scan import Schedule

#: Why events are in no pattern, columns of a tally.
BEFORE, FLYBACK, AFTER = range(3)
N_REASONS = 3

# what `places` holds
_PARTS, _COLUMNS, _WIDTH, _KEPT, _FIRST, STRIDE = range(6)


@dataclass(frozen=True, eq=False)
class Target:
    """Where hits go: scan positions and pixels of the assembled detector.

    Attributes
    ----------
    schedule : Schedule
    n_chips : int
        1 or 4.
    """

    schedule: Schedule
    n_chips: int

    @property
    def detector_shape(self) -> Shape2D:
        """Rows and columns of the assembled detector."""
        side = packets.SIDE * (1 if self.n_chips == 1 else 2)
        return side, side

    def tables(self, first: int) -> tuple[np.ndarray, ...]:
        """Return what kernels need, counting kept positions from `first` on."""
        plan = self.schedule
        numbers = (plan.parts, plan.columns, plan.scan_shape[1], plan.kept_columns, first)
        places = np.array([*numbers, self.detector_shape[1]], np.int64)
        return plan.starts, plan.stops, plan.spans, places, self._chips

    @cached_property
    def _chips(self) -> np.ndarray:
        """Sign and flat index of pixel (0, 0) of every chip number, (MOST_CHIPS, 2) int64."""
        stride = self.detector_shape[1]
        if self.n_chips == 1:
            return np.array([(1, 0)] * packets.MOST_CHIPS, np.int64)
        return np.array([(sign, r * stride + c) for sign, r, c in packets.QUAD], np.int64)


@dataclass(frozen=True, eq=False)
class Work:
    """A piece of a file, and where its events are counted.

    Attributes
    ----------
    words : (n,) int64
    blocks : (b, BLOCK_COLUMNS) int64
        B_AT counts words.
    bounds : (parts + 1,) int64
        Spans of time that are worked on at once; a position is in one of them only [steps].
    room : (parts,) int64
        Room that each needs for its hits, and those around.
    first : int
        Kept position that `filled` begins with.
    filled : (positions,) uint32
        Increased by the events of each position.
    """

    words: np.ndarray
    blocks: np.ndarray
    bounds: np.ndarray
    room: np.ndarray
    first: int
    filled: np.ndarray

    @property
    def stream(self) -> tuple[np.ndarray, ...]:
        """Return what is read, as kernels take it."""
        return self.words, self.blocks, self.bounds


class HitSorter:
    """Takes each hit for an event.

    Parameters
    ----------
    target : Target
    """

    margins = (0, 0)

    def __init__(self, target: Target) -> None:
        self.facts: dict[str, Any] = {"events": "hits"}
        self.detector_shape = target.detector_shape
        self._target = target

    def sort(self, work: Work) -> tuple[Keys, np.ndarray]:
        """Count the hits of scan positions.

        Returns
        -------
        keys : Keys
            Of hits that are in a pattern.
        tally : (N_REASONS,) int64
            Hits that are in none.
        """
        tables = self._target.tables(work.first)
        keys = Keys.with_room(work.room)
        tally = np.zeros((len(keys.sizes), N_REASONS), np.int64)
        _sort_part.on_cpu(len(tally), *work.stream, *tables, work.filled, *keys.table, tally)
        return keys, tally.sum(axis=0)


@kernel
def _sort_part(
    part, words, blocks, bounds, starts, stops, spans, places, chips, filled,
    times, keys, begins, sizes, tally,
):  # fmt: skip
    """Put the hits of bounds[part] <= t < bounds[part + 1] into their positions."""
    times, keys = times[begins[part] : begins[part + 1]], keys[begins[part] : begins[part + 1]]
    span = bounds[part], bounds[part + 1]
    n_hits = gather(words, blocks, span, places[STRIDE], chips, times, keys)
    scan = starts, stops, spans, places
    sizes[part] = place(times[:n_hits], keys, *scan, filled, tally[part])


@scalar_function
def place(times, keys, starts, stops, spans, places, filled, lost):
    """Make keys of pixels at times that are about in order; return how many are in a pattern."""
    n_keys = begun = 0
    line, position, reason = np.int64(0), np.int64(-1), BEFORE
    # what holds for one holds for the next few, mostly
    since, until = np.int64(1), np.int64(0)
    for k in range(len(times)):
        time = times[k]
        if time < since or time >= until:
            if position >= 0:
                filled[position] += n_keys - begun
            ticks, begun = time * packets.TICKS_PER_STEP, n_keys
            line = find_line(ticks, line, starts)
            position, reason, since, until = locate(ticks, line, starts, stops, spans, places)
            if position >= len(filled):
                position = np.int64(-1)
        if position < 0:
            lost[reason] += 1
            continue
        keys[n_keys] = np.uint64(position) << POSITION_SHIFT | keys[k] & PIXEL_MASK
        n_keys += 1
    if position >= 0:
        filled[position] += n_keys - begun
    return n_keys


@scalar_function
def steps(ticks):
    """Return the first step at or after a tick."""
    return -(-ticks // packets.TICKS_PER_STEP)


@scalar_function
def find_line(time, line, starts):
    """Return the last line that starts at or before `time`, -1 if none; near `line` mostly."""
    last = len(starts) - 1
    for near in (line, line + 1):
        begun = 0 <= near <= last and starts[near] <= time
        if begun and (near == last or time < starts[near + 1]):
            return near
    return np.int64(np.searchsorted(starts, time, side="right")) - 1


@scalar_function
def locate(time, line, starts, stops, spans, places):
    """Find the kept position of a time [ticks] in a line.

    Returns
    -------
    position : int
        From places[_FIRST] on; -1 if there is none.
    reason : int
        Why not.
    since, until : int
        Span of time for which the same holds [steps].
    """
    if line < 0:
        return np.int64(-1), BEFORE, time // packets.TICKS_PER_STEP, steps(starts[0])
    start, stop, span = starts[line], stops[line], spans[line]
    last = line == len(starts) - 1
    if time >= stop:
        until = time + packets.TICKS_PER_STEP if last else starts[line + 1]
        return np.int64(-1), AFTER if last else FLYBACK, steps(stop), steps(until)
    parts, width = places[_PARTS], places[_WIDTH]
    column = _quotient((time - start) * parts, span)
    since = start + _quotient(column * span + parts - 1, parts)
    until = min(stop, start + _quotient((column + 1) * span + parts - 1, parts))
    position = line * places[_COLUMNS] + column
    if places[_KEPT] < width and position % width >= places[_KEPT]:
        return np.int64(-1), FLYBACK, steps(since), steps(until)
    position = position // width * places[_KEPT] + position % width
    return position - places[_FIRST], FLYBACK, steps(since), steps(until)


@scalar_function
def _quotient(numerator, denominator):
    """Return numerator // denominator of positive numbers: a division of floats, put right."""
    quotient = np.int64(np.float64(numerator) / np.float64(denominator))
    if quotient * denominator > numerator:
        return quotient - 1
    return quotient + 1 if (quotient + 1) * denominator <= numerator else quotient
