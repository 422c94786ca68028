"""Which span of time belongs to which scan position of a Timepix3 file."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ..detector import Shape2D
from ..errors import MissingOptionError, ParameterError
from .options import ReaderOptions
from .tpx3_index import Index
from .tpx3_lines import OPEN, Lines, find_lines
from .tpx3_packets import TICKS_PER_SECOND, TICKS_PER_STEP

#: Times are integers of 64 bits [ticks]; products of them with counts must be, too.
_LARGEST = 2**62
_FINEST = 2**16  # denominator of a dwell time in ticks
#: Positions that a file may be said to have by its marks alone: so many, and so many per byte.
_POSITIONS, _POSITIONS_PER_BYTE = 2**18, 1


@dataclass(frozen=True, eq=False)
class Schedule:
    """When the beam is where; all times in ticks.

    Position c of line k begins at starts[k] + c * spans[k] / parts. By line marks a line is a scan
    row; by the clock there is one line with all positions.

    Attributes
    ----------
    scan_shape : (int, int)
        As recorded.
    kept_columns : int
        Of each row, from the first on.
    starts, stops : (lines,) int64
        Hits in starts[k] <= t < stops[k] belong to line k.
    spans : (lines,) int64
    parts : int
    columns : int
        Positions of a line.
    facts : dict
        For the metadata; values with units are (value, unit) pairs.
    skipped_lines : int
        Lines that were left empty, or out.
    """

    scan_shape: Shape2D
    kept_columns: int
    starts: np.ndarray
    stops: np.ndarray
    spans: np.ndarray
    parts: int
    columns: int
    facts: dict[str, Any]
    skipped_lines: int = 0

    @property
    def kept_shape(self) -> Shape2D:
        """Scan rows and columns that are kept."""
        return self.scan_shape[0], self.kept_columns

    @property
    def end(self) -> int:
        """Time when the last line ends."""
        return int(self.stops[-1])

    def kept_before(self, position: int) -> int:
        """Return how many of the first `position` recorded positions are kept."""
        row, column = divmod(position, self.scan_shape[1])
        return row * self.kept_columns + min(column, self.kept_columns)

    def time_of(self, position: int) -> int:
        """Return the first tick of a position; of the one after the last, the end."""
        line, column = divmod(position, self.columns)
        if line == len(self.starts):
            return self.end
        return int(self.starts[line]) - (-column * int(self.spans[line]) // self.parts)

    def position_before(self, time: int) -> int:
        """Return the last position that begins at or before a time; 0 before all."""
        line = int(np.searchsorted(self.starts, time, "right")) - 1
        if line < 0:
            return 0
        column = (time - int(self.starts[line])) * self.parts // max(1, int(self.spans[line]))
        return line * self.columns + min(column, self.columns - 1)


def plan(index: Index, options: ReaderOptions) -> Schedule:
    """Find the scan in a file.

    Raises
    ------
    ParameterError
        If the options do not fit the file, or do not tell enough.
    CorruptFileError
        If a line has no start or no end, unless errors="skip".
    """
    if options.line_start is None or not has_lines(index, options):
        return _by_clock(index, options)
    if options.scan_start is not None:
        raise ParameterError(
            f"scan_start={options.scan_start} is for a scan without line marks, but {index.path} "
            f"has {options.line_start} edges; leave it out, or give line_start=None"
        )
    return _by_lines(index, find_lines(index, options), options)


def has_lines(index: Index, options: ReaderOptions) -> bool:
    """Return whether the file marks lines.

    Raises
    ------
    MissingOptionError
        If it has clock edges, but not those of the options.
    """
    wanted = [mark for mark in (options.line_start, options.line_end) if mark is not None]
    found = {mark: len(times) for mark, times in index.edges.items() if len(times)}
    absent = [mark for mark in wanted if mark not in found]
    if not absent:
        return True
    if found:
        seen = ", ".join(f"{n} of {mark}" for mark, n in found.items())
        raise MissingOptionError(
            f"{index.path} has no edges of {' or '.join(absent)}, but {seen}; say which begin and "
            "end a scan line, line_start= and line_end= (None where lines are marked at their "
            "start only), or line_start=None to go by the clock",
            _likely_marks(found),
        )
    return False


def _likely_marks(found: dict[str, int]) -> dict[str, str | None]:
    """Return the edges that may begin and end scan lines, of those found with their numbers."""
    start = max(found, key=lambda mark: (found[mark], mark.endswith("rise")))
    signal = start.split("_")[0]
    if {f"{signal}_rise", f"{signal}_fall"} <= set(found):
        return {"line_start": f"{signal}_rise", "line_end": f"{signal}_fall"}
    return {"line_start": start, "line_end": None}


def _ticks(seconds: float) -> Fraction:
    """Return a time in ticks, as the decimal number that the user gave."""
    return Fraction(repr(float(seconds))) * TICKS_PER_SECOND


def _dwell(options: ReaderOptions, n_positions: int) -> Fraction:
    """Return dwell_time [ticks], checked."""
    dwell = _ticks(options.dwell_time or 0).limit_denominator(_FINEST)
    if dwell < TICKS_PER_STEP or dwell.numerator * n_positions >= _LARGEST // _FINEST:
        raise ParameterError(
            f"dwell_time is {options.dwell_time} s; it must be at least the 1.5625 ns of the "
            f"clock, and short enough that {n_positions} positions end"
        )
    return dwell


def _by_clock(index: Index, options: ReaderOptions) -> Schedule:
    """Return a scan that runs from a start on without marks."""
    shape = options.scan_shape
    if shape is None or options.dwell_time is None:
        raise MissingOptionError(
            f"{index.path} has no line marks to go by; give scan_shape=(rows, columns) and "
            "dwell_time=seconds, and scan_start=seconds if the scan starts later than the shutter "
            "opens (or the first hit comes)",
            dict.fromkeys(("scan_shape", "dwell_time"), ...),
        )
    n_positions = shape[0] * shape[1]
    dwell = _dwell(options, options.skip_frames + n_positions)
    origin = index.first_hit if index.opened is None else index.opened
    start = origin * TICKS_PER_STEP + _whole(_ticks(options.scan_start or 0), "scan_start")
    start += -(-options.skip_frames * dwell.numerator // dwell.denominator)
    stop = start - (-n_positions * dwell.numerator // dwell.denominator)
    facts = {
        "dwell_time": (float(dwell / TICKS_PER_SECOND), "s"),
        "scan_duration": ((stop - start) / TICKS_PER_SECOND, "s"),
        "synchronised_by": "clock",
    }
    starts, stops, spans = np.array([[start], [stop], [dwell.numerator]], np.int64)
    kept = kept_columns(shape, options)
    return Schedule(shape, kept, starts, stops, spans, dwell.denominator, n_positions, facts)


def _whole(ticks: Fraction, name: str) -> int:
    if abs(ticks) >= _LARGEST // _FINEST:
        raise ParameterError(f"{name} is {float(ticks / TICKS_PER_SECOND)} s, beyond any scan")
    return round(ticks)


def _by_lines(index: Index, lines: Lines, options: ReaderOptions) -> Schedule:
    """Return a scan whose rows are marked."""
    columns = _columns(index, lines, options)
    shape = (len(lines.starts), columns)
    if options.dwell_time is None:
        parts, spans, dwell = columns, lines.stops - lines.starts, Fraction(lines.length, columns)
    else:
        dwell = _dwell(options, columns)
        parts, spans = dwell.denominator, np.full(shape[0], dwell.numerator)
    needed = -(-columns * dwell.numerator // dwell.denominator)
    if lines.length and needed - dwell >= lines.length:
        raise ParameterError(
            f"{index.path}: its lines last {_seconds(lines.length)} s, less than {columns} columns "
            f"of dwell_time={options.dwell_time} s; give scan_shape or dwell_time that fit"
        )
    starts, stops = lines.starts, lines.stops
    if options.dwell_time is not None:
        stops = np.minimum(stops, starts + needed)
        # rows that the file does not have begin and end with its last line
        end = stops[starts < OPEN].max(initial=0)
        starts, stops = np.minimum(starts, end), np.minimum(stops, end)
    facts = {
        "dwell_time": (float(dwell / TICKS_PER_SECOND), "s"),
        "line_period": (_seconds(lines.period), "s"),
        "line_duration": (_seconds(lines.length), "s"),
        "scan_duration": (_seconds(int(stops[-1] - starts[0])), "s"),
        "synchronised_by": f"{options.line_start} to {options.line_end}",
    }
    kept = kept_columns(shape, options)
    return Schedule(shape, kept, starts, stops, spans, parts, columns, facts, lines.skipped)


def _seconds(ticks: int) -> float:
    return ticks / TICKS_PER_SECOND


def _columns(index: Index, lines: Lines, options: ReaderOptions) -> int:
    """Return the scan columns that the user gave, or that the dwell time makes."""
    if options.scan_shape is not None:
        columns = options.scan_shape[1]
        if columns > _LARGEST // (_FINEST * max(1, lines.longest)):
            raise ParameterError(f"scan_shape is {options.scan_shape}: too many columns")
        return columns
    if options.dwell_time is None:
        raise MissingOptionError(
            f"{index.path} does not say into how many positions its {len(lines.starts)} lines of "
            f"{_seconds(lines.length)} s divide; give scan_shape=(rows, columns), or dwell_time=",
            {"scan_shape": ...},
        )
    columns = max(1, round(lines.length / _dwell(options, 1)))
    n_positions = len(lines.starts) * columns
    if n_positions > _POSITIONS + _POSITIONS_PER_BYTE * index.file_bytes:
        raise ParameterError(
            f"{index.path}: dwell_time={options.dwell_time} s makes {columns} columns of its "
            f"{len(lines.starts)} lines of {_seconds(lines.length)} s, far more positions than it "
            "has hits; if that is right, give scan_shape"
        )
    return columns


def kept_columns(shape: Shape2D, options: ReaderOptions) -> int:
    """Return how many columns of a scan are kept, without that of the flyback if it is dropped."""
    if options.keep_flyback:
        return shape[1]
    if shape[1] < 2:
        raise ParameterError(
            f"keep_flyback=False drops the last scan column, and a scan of {shape} has no other; "
            "leave it out"
        )
    return shape[1] - 1
