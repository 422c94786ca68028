"""Scan lines from the clock edges that mark their starts and ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import CorruptFileError, ParameterError
from .options import ReaderOptions
from .tpx3_index import Index

_NO_START, _NO_END = 1, 2
#: In place of the end of the last line, which ends when its columns do.
OPEN = 2**62
_FAULTS = {_NO_START: "has an end but no start", _NO_END: "has a start but no end"}


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines in order of time; all times in ticks.

    Attributes
    ----------
    starts, stops : (lines,) int64
        A line without start or end, if such are let through, has both at the same time.
    skipped : int
        Lines that are empty for that reason, or were left out because the scan has fewer.
    length, period : int
        Median duration, and median time from start to start.
    longest : int
        Longest duration.
    """

    starts: np.ndarray
    stops: np.ndarray
    skipped: int
    length: int
    period: int
    longest: int


def find_lines(index: Index, options: ReaderOptions) -> Lines:
    """Pair the edges that start and end the lines of a scan.

    Raises
    ------
    ParameterError
        If the options contradict each other, or the scan has another number of rows.
    CorruptFileError
        If a line has no start or no end, unless errors="skip".
    """
    if options.line_start == options.line_end:
        raise ParameterError(
            f"line_start and line_end are both {options.line_start}; give two different edges, or "
            "line_end=None where lines are marked at their start only"
        )
    starts, stops, faults = _paired(index, options)
    _refuse(index, faults, options)
    good = faults == 0
    period = int(np.median(np.diff(starts[good]))) if np.count_nonzero(good) > 1 else 0
    lengths = (stops - starts)[good]
    if options.line_end is None:
        lengths = np.full(1, period)
        stops[-1] = OPEN if options.dwell_time is not None else starts[-1] + period
        _check_period(index, period, options)
    n_used, missing, surplus = _rows(index, len(starts), options)
    used = slice(options.skip_frames, options.skip_frames + n_used)
    padding = np.repeat(stops[used][-1:] if n_used else np.zeros(1, np.int64), missing)
    return Lines(
        np.concatenate((starts[used], padding)),
        np.concatenate((stops[used], padding)),
        int(np.count_nonzero(faults[used])) + missing + surplus,
        int(np.median(lengths)) if len(lengths) else 0,
        period,
        int(lengths.max(initial=0)),
    )


def _paired(index: Index, options: ReaderOptions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return starts, stops and faults of all lines; an edge without its partner is a line, too."""
    starts = index.edges[options.line_start or ""]
    if options.line_end is None:
        return starts, np.append(starts[1:], starts[-1]), np.zeros(len(starts), np.uint8)
    ends = index.edges[options.line_end]
    times = np.concatenate((ends, starts))
    begins = np.concatenate((np.zeros(len(ends), bool), np.ones(len(starts), bool)))
    order = np.argsort(times, kind="stable")  # where both are at the same time, a line ends first
    times, begins = times[order], begins[order]
    after_start = np.concatenate(([False], begins[:-1]))
    before_end = np.concatenate((~begins[1:], [False]))
    is_line = begins | ~after_start
    stops = np.where(begins & before_end, np.append(times[1:], 0), times)
    faults = np.where(begins, np.where(before_end, 0, _NO_END), _NO_START)
    return times[is_line], stops[is_line], faults[is_line]


def _refuse(index: Index, faults: np.ndarray, options: ReaderOptions) -> None:
    """Raise for the first line that is not whole, unless such are left empty."""
    bad = np.flatnonzero(faults[options.skip_frames :]) + options.skip_frames
    if len(bad) and not options.skips_errors:
        marks = (mark for mark in (options.line_start, options.line_end) if mark is not None)
        found = ", ".join(f"{len(index.edges[mark])} edges {mark}" for mark in marks)
        raise CorruptFileError(
            f"{index.path}: line {bad[0]} of {len(faults)} {_FAULTS[int(faults[bad[0]])]} "
            f"({found}); the file is truncated or the clock signal was disturbed, "
            'errors="skip" leaves such lines empty'
        )


def _check_period(index: Index, period: int, options: ReaderOptions) -> None:
    if not period and options.dwell_time is None:
        raise ParameterError(
            f"{index.path} marks the start of one line and not its end; give dwell_time=seconds"
        )


def _rows(index: Index, n_found: int, options: ReaderOptions) -> tuple[int, int, int]:
    """Return how many lines are used, how many rows have none, and how many lines are left."""
    left = n_found - options.skip_frames
    if left < 1 and (left < 0 or not options.skips_errors or options.scan_shape is None):
        raise ParameterError(
            f"{index.path} has {n_found} lines, none after skip_frames={options.skip_frames}"
        )
    rows = left if options.scan_shape is None else options.scan_shape[0]
    if rows != left and not options.skips_errors:
        after = f" after skip_frames={options.skip_frames}" if options.skip_frames else ""
        message = f"{index.path} has {left} lines{after}, and a scan of {options.scan_shape} takes "
        if left < rows:
            raise CorruptFileError(
                f"{message}{rows}; the file is truncated, or scan_shape is wrong: give that "
                'of the file, or errors="skip", which leaves the other rows empty'
            )
        raise ParameterError(
            f"{message}only {rows}; skip_frames={left - rows + options.skip_frames} leaves out the "
            f'first lines, errors="skip" the last, and scan_shape=({left}, ...) takes all'
        )
    return min(left, rows), max(0, rows - left), max(0, left - rows)
