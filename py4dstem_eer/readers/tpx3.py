"""Timepix3 streams (.tpx3) of ASI, SPIDR and Serval: hits with their times, and clock edges.

The file says nothing about the scan; positions follow from the time, in one of two ways. Clock
edges mark the lines: a hit is in column (t - start) / dwell_time of the last line that started, and
hits outside of lines, in flyback, belong to no position; without `dwell_time` each line is divided
into the columns of `scan_shape`. Or there are no marks: positions follow one another from
`scan_start` on. `skip_frames` leaves out lines at the start of the file, or positions where there
are no marks.

One chip gives 256 × 256 pixels, several 512 × 512, arranged as by tpx3awkward.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from ..errors import EventWarning, MissingOptionError, ParameterError
from .options import ReaderOptions
from .samples import Sample
from .stamps import stamp_of
from .tpx3_hits import HitSorter, Target
from .tpx3_index import Index, build_index, starts_with_chunks
from .tpx3_sample import SMALL, take_sample
from .tpx3_scan import Schedule, plan
from .tpx3_source import Sorter, Tpx3Source

NAME = "tpx3"
USES = frozenset(
    {
        "scan_shape",
        "skip_frames",
        "keep_flyback",
        "superres",
        "errors",
        "dwell_time",
        "line_start",
        "line_end",
        "scan_start",
        "cluster_radius",
        "cluster_time",
    }
)
EXTENSIONS = frozenset({".tpx3"})


def recognises(path: Path) -> bool:
    """Return whether the file starts with Timepix3 chunks."""
    try:
        return starts_with_chunks(path)
    except OSError:
        return False


def open_source(path: Path, options: ReaderOptions) -> Tpx3Source:
    """Open a Timepix3 file for reading: walk through it once, for the clock.

    Raises
    ------
    FormatError
        If it is no Timepix3 file, or its hits have no times.
    ParameterError
        If the options do not fit it, or do not tell enough about the scan.
    CorruptFileError
        If it is damaged, or a scan line has no start or end, unless errors="skip".
    """
    stamp = stamp_of(path)
    index = build_index(path, options.skips_errors)
    try:
        return _source(index, options, stamp)
    except MissingOptionError as error:
        error.facts = _clocked(index)
        raise


def sample(path: Path, options: ReaderOptions) -> Sample | None:
    """Return what can be said about a file that is too large to be walked through in a moment."""
    if path.stat().st_size <= SMALL:
        return None
    stamp = stamp_of(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EventWarning)  # of what is cut off around a piece
        return take_sample(path, options, lambda index, alone: _source(index, alone, stamp))


def _source(index: Index, options: ReaderOptions, stamp: tuple[int, ...]) -> Tpx3Source:
    target = Target(plan(index, options), 1 if len(index.chips) == 1 else 4)
    sorter = _sorter(target, options)
    metadata = {
        "format": NAME,
        **_clocked(index),
        **target.schedule.facts,
        "keep_flyback": bool(options.keep_flyback),
        **sorter.facts,
    }
    if options.skips_errors:
        metadata.update(_skipped(index, target.schedule))
    return Tpx3Source(index, target, sorter, metadata, stamp)


def _clocked(index: Index) -> dict[str, Any]:
    """Return what the chips and the clock say."""
    return {
        "chips": list(index.chips),
        "hits": index.n_hits,
        "clock_edges": {mark: len(times) for mark, times in index.edges.items() if len(times)},
    }


def _sorter(target: Target, options: ReaderOptions) -> Sorter:
    if options.cluster_radius:
        from .tpx3_clusters import ClusterSorter

        return ClusterSorter(target, options)
    if options.superres:
        raise ParameterError(
            f"superres={options.superres} needs electrons located between pixels, and hits are "
            "whole pixels; give cluster_radius=1, too, or leave it out"
        )
    return HitSorter(target)


def _skipped(index: Index, schedule: Schedule) -> dict[str, Any]:
    """Return what was left out, and warn of it."""
    n_packets, n_lines = sum(index.faults.values()), schedule.skipped_lines
    if n_packets or n_lines or index.lost_bytes:
        reasons = "; ".join(f"{n} times: {reason}" for reason, n in index.faults.items())
        warnings.warn(
            f"{index.path}: {n_packets} faulty packets were dropped ({reasons or 'none'}), and "
            f"{n_lines} lines without start, end or scan row; {index.lost_bytes} bytes belong "
            "to no chunk or are missing at the end",
            EventWarning,
            stacklevel=6,
        )
    return {
        "skipped_packets": n_packets,
        "skipped_lines": n_lines,
        "skipped_bytes": index.lost_bytes,
    }
