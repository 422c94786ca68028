"""What a user may say about a file while opening it: the same words for every format."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..detector import Shape2D
from ..errors import ParameterError
from ..parameters import parse_real
from ..shapes import parse_shape

#: Edges of a Timepix3 clock signal that may mark a scan line.
LINE_MARKS = ("tdc1_rise", "tdc1_fall", "tdc2_rise", "tdc2_fall")


@dataclass(frozen=True)
class ReaderOptions:
    """Options of `open_events`, checked; `parse` builds them.

    Attributes
    ----------
    scan_shape : (int, int), optional
        Scan rows and columns (Rx, Ry), where the file does not say or is wrong.
    skip_frames : int
        Frames at the start of the file that belong to no scan position.
    frames_per_position : int, optional
        Consecutive frames of one scan position. Default: what the file says, otherwise 1.
    keep_flyback : bool
        False drops the last scan column.
    superres : int
        Bits of position below a pixel that are kept, per axis.
    defects : path or array, optional
        Mask (True: defect) or gain image (0: defect) of the sensor, or a .npy or TIFF file of one;
        electrons on defect pixels are dropped. A gain weights nothing: counts stay whole numbers.
    errors : {"raise", "skip"}
        What happens with frames that cannot be read, are missing at the end of the scan, or come
        after it: "skip" drops them, or leaves their positions empty, and warns with their number.
    dm : path, optional
        Gatan .dm3 or .dm4 file recorded with the scan, for its calibration.
    dwell_time : float, optional
        Time on each scan position [s].
    line_start, line_end : {"tdc1_rise", "tdc1_fall", "tdc2_rise", "tdc2_fall", None}
        Clock edges that mark a scan line; with another start alone, the end is the other edge of
        the same signal. Without an end, lines are marked at their start only; without a start not
        at all, and positions follow from the time alone.
    scan_start : float, optional
        When a scan without line marks starts, after the shutter opens or else the first hit [s].
    cluster_radius : int
        Hits this near [px] along both axes, and in time, are one electron; 0: hits are events.
    cluster_time : float, optional
        Time between such hits at most [s]. Default: 100 ns.
    """

    scan_shape: Shape2D | None = None
    skip_frames: int = 0
    frames_per_position: int | None = None
    keep_flyback: bool = True
    superres: int = 0
    defects: str | os.PathLike[str] | np.ndarray | None = None
    errors: str = "raise"
    dm: str | os.PathLike[str] | None = None
    dwell_time: float | None = None
    line_start: str | None = "tdc1_rise"
    line_end: str | None = "tdc1_fall"
    scan_start: float | None = None
    cluster_radius: int = 0
    cluster_time: float | None = None

    def __post_init__(self) -> None:
        """Check every value, and convert it where two types mean the same."""
        if self.scan_shape is not None:
            object.__setattr__(self, "scan_shape", _parse_scan(self.scan_shape))
        object.__setattr__(self, "skip_frames", _parse_whole("skip_frames", self.skip_frames, 0))
        object.__setattr__(self, "superres", _parse_whole("superres", self.superres, 0))
        if self.frames_per_position is not None:
            frames = _parse_whole("frames_per_position", self.frames_per_position, 1)
            object.__setattr__(self, "frames_per_position", frames)
        if not isinstance(self.keep_flyback, (bool, np.bool_)):
            raise ParameterError(f"keep_flyback is {self.keep_flyback!r}; give True or False")
        _parse_choice("errors", self.errors, ("raise", "skip"))
        _parse_choice("line_start", self.line_start, (*LINE_MARKS, None))
        _parse_choice("line_end", self.line_end, (*LINE_MARKS, None))
        _parse_path("dm", self.dm)
        if not isinstance(self.defects, np.ndarray):
            _parse_path("defects", self.defects)
        for name in ("dwell_time", "cluster_time", "scan_start"):
            if getattr(self, name) is not None:
                above = -math.inf if name == "scan_start" else 0
                parse_real(getattr(self, name), name, above=above, unit="s")
        radius = _parse_whole("cluster_radius", self.cluster_radius, 0)
        object.__setattr__(self, "cluster_radius", radius)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are read beside the one that is opened."""
        given = [path for path in (self.dm, self.defects) if isinstance(path, (str, os.PathLike))]
        return tuple(Path(path).absolute() for path in given)

    @property
    def skips_errors(self) -> bool:
        """Whether bad frames are dropped, rather than an error."""
        return self.errors == "skip"

    @classmethod
    def parse(
        cls, format_name: str, used: Collection[str], given: Mapping[str, Any]
    ) -> ReaderOptions:
        """Return the options that a user gave for a file of one format.

        Parameters
        ----------
        format_name : str
            For the messages.
        used : collection of str
            Names of the options that have a meaning for this format.
        given : mapping
            Names and values, as the user typed them.

        Raises
        ------
        ParameterError
            If a name is unknown, a value makes no sense, or an option that this format has no use
            for is given another value than its default.
        """
        known = {field.name: field.default for field in fields(cls)}
        for name in given:
            if name not in known:
                raise ParameterError(_unknown(name, format_name, used))
        options = cls(**_with_other_edge(given))
        for name in given:
            if name not in used and np.any(getattr(options, name) != known[name]):
                raise ParameterError(
                    f"{name}={given[name]!r} means nothing for {format_name} files; "
                    f"leave it out (they take {', '.join(sorted(used))})"
                )
        return options


def _with_other_edge(given: Mapping[str, Any]) -> dict[str, Any]:
    """Add the end of lines whose start alone was given: the other edge of the same signal."""
    start = given.get("line_start")
    if "line_end" in given or not isinstance(start, str) or start not in LINE_MARKS:
        return dict(given)
    signal, edge = start.split("_")
    return {**given, "line_end": f"{signal}_{'fall' if edge == 'rise' else 'rise'}"}


def _unknown(name: str, format_name: str, used: Collection[str]) -> str:
    close = difflib.get_close_matches(name, used, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"unknown option {name!r}; {hint}{format_name} files take {', '.join(sorted(used))}"


def _parse_scan(shape: Any) -> Shape2D:
    rows, columns = parse_shape(shape, "scan_shape")
    if rows == 0 or columns == 0:
        raise ParameterError(f"scan_shape is {shape!r}; a scan has at least one row and column")
    return rows, columns


def _parse_whole(name: str, value: Any, smallest: int) -> int:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < smallest:
        raise ParameterError(f"{name} is {value!r}; give a whole number of at least {smallest}")
    return int(value)


def _parse_choice(name: str, value: Any, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        raise ParameterError(
            f"{name} is {value!r}; it must be one of {', '.join(map(str, choices))}"
        )


def _parse_path(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, (str, os.PathLike)):
        raise ParameterError(f"{name} is {value!r}; give the path of a file")
