"""What a Timepix3 file too large to be walked through in a moment says in pieces spread over it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import event_lists
from ..detector import Shape2D
from ..errors import MissingOptionError
from .options import ReaderOptions
from .samples import Estimate, Sample, about, rounded
from .tpx3_estimates import duration, marked_lines, ticks
from .tpx3_index import Index, build_index
from .tpx3_lines import OPEN
from .tpx3_packets import SIDE, TICKS_PER_SECOND
from .tpx3_scan import has_lines, kept_columns
from .tpx3_source import Tpx3Source

#: Files up to so many bytes are looked through.
SMALL = 2**27
_PIECES, _PIECE_BYTES = 8, 2**22
#: An edge that is not among so many others seen is taken not to be in the file.
_TELLING = 4
_MOST_POSITIONS = 2**16  # of a piece, by the clock
_TOLD = ("dwell_time", "line_period", "line_duration", "synchronised_by")

#: Opens an index with options.
Open = Callable[[Index, ReaderOptions], Tpx3Source]


def take_sample(path: Path, options: ReaderOptions, open_index: Open) -> Sample:
    """Look at pieces of a file, evenly spread; damage in them is left out.

    Raises
    ------
    FormatError, ParameterError
        As when the file is opened, where a piece shows it.
    """
    size = path.stat().st_size
    begins = np.linspace(0, max(0, size - _PIECE_BYTES), _PIECES).astype(np.int64).tolist()
    spans = [(begin, min(size, begin + _PIECE_BYTES)) for begin in begins]
    pieces = _alike([build_index(path, skip=True, span=span) for span in spans])
    part = sum(end - begin for begin, end in spans) / size
    blank = Sample(
        part,
        _estimated(pieces, part),
        np.zeros(0, np.int64),
        _kept(options.scan_shape, options),
        _detector(pieces[0], options),
    )
    try:
        if _by_lines(pieces, options):
            return _of_lines(pieces, options, open_index, blank)
        return _of_clock(pieces, options, open_index, blank)
    except MissingOptionError as error:
        return replace(blank, missing=_judged(error))


def _alike(pieces: list[Index]) -> list[Index]:
    """Return the pieces with the chips of all."""
    chips = tuple(sorted({chip for piece in pieces for chip in piece.chips}))
    return [replace(piece, chips=chips) for piece in pieces]


def _kept(shape: Shape2D | None, options: ReaderOptions) -> Shape2D | None:
    return None if shape is None else (shape[0], kept_columns(shape, options))


def _detector(piece: Index, options: ReaderOptions) -> Shape2D:
    side = SIDE * (1 if len(piece.chips) == 1 else 2) * 2**options.superres
    return side, side


def _judged(error: MissingOptionError) -> MissingOptionError:
    return MissingOptionError(f"judged by pieces of the file: {error}", error.needed)


def _estimated(pieces: list[Index], part: float) -> dict[str, Any]:
    hits = sum(piece.n_hits for piece in pieces)
    seconds = sum(map(ticks, pieces)) / TICKS_PER_SECOND
    seen = {mark: about(len(t) / part, len(t)) for mark, t in _edges(pieces).items() if len(t)}
    faults = sum(sum(piece.faults.values()) for piece in pieces)
    return {
        "chips seen": list(pieces[0].chips),
        "hits": about(hits / part, hits),
        "hits per second": about(hits / seconds, hits) if seconds else "unknown",
        "clock_edges": seen or "none seen",
        **({"faulty packets seen": faults} if faults else {}),
    }


def _edges(pieces: list[Index]) -> dict[str, np.ndarray]:
    return {mark: np.concatenate([p.edges[mark] for p in pieces]) for mark in pieces[0].edges}


def _by_lines(pieces: list[Index], options: ReaderOptions) -> bool:
    """Return whether positions follow from line marks, as far as the pieces tell."""
    if options.line_start is None:
        return False
    edges = _edges(pieces)
    few = 0 < sum(map(len, edges.values())) < _TELLING
    return few or has_lines(replace(pieces[0], edges=edges), options)


def _of_lines(
    pieces: list[Index], options: ReaderOptions, open_index: Open, blank: Sample
) -> Sample:
    """Return what the lines that are whole in a piece say of all."""
    lines = marked_lines(pieces, str(options.line_start), blank.part)
    known = options.scan_shape is not None or options.dwell_time is not None
    # how many columns there are does not matter to the electrons of a line
    columns = options if known else replace(options, scan_shape=(1, 1), keep_flyback=True)
    sources = _whole_lines(pieces, columns, open_index)
    rows, doubt = lines.value, ""
    if options.scan_shape is not None:
        doubt = _misfit(lines, options)
        rows = min(rows, options.scan_shape[0]) if doubt else options.scan_shape[0]
    n_seen = sum(source.scan_shape[0] for source in sources)
    found = replace(blank, facts={**blank.facts, "lines": str(lines)}, doubt=doubt)
    found = _counted(found, pieces, sources, rows / max(1, n_seen))
    if not known:
        facts = {name: fact for name, fact in found.facts.items() if name != "dwell_time"}
        none, missing = found.per_pattern[:0], _columns(lines, pieces)
        return replace(found, facts=facts, per_pattern=none, missing=missing)
    if options.scan_shape is None and sources:
        return replace(found, scan_shape=(round(rows), sources[0].scan_shape[1]))
    return found


def _misfit(lines: Estimate, options: ReaderOptions) -> str:
    rows = (options.scan_shape or (0,))[0] + options.skip_frames
    if lines.fits(rows):
        return ""
    skipped = f" and {options.skip_frames} lines before them" if options.skip_frames else ""
    return (
        f"scan_shape={options.scan_shape} has {rows - options.skip_frames} rows{skipped}, "
        f"but {lines} lines are marked in the file"
    )


def _columns(lines: Estimate, pieces: list[Index]) -> MissingOptionError:
    return _judged(
        MissingOptionError(
            f"{pieces[0].path} does not say into how many positions its lines divide, of which "
            f"{lines} are marked; give scan_shape=(rows, columns), or dwell_time=",
            {"scan_shape": ...},
        )
    )


def _whole_lines(pieces: list[Index], options: ReaderOptions, open_index: Open) -> list[Tpx3Source]:
    """Open the lines of each piece that are whole in it."""
    sources = []
    for piece in pieces:
        edges = _of_whole_lines(piece.edges, options)
        n_lines = len(edges[str(options.line_start)]) - (options.line_end is None)
        if n_lines > 0:
            shape = None if options.scan_shape is None else (n_lines, options.scan_shape[1])
            alone = replace(options, scan_shape=shape, skip_frames=0, errors="skip")
            sources.append(open_index(replace(piece, edges=edges), alone))
    return sources


def _of_whole_lines(edges: dict[str, np.ndarray], options: ReaderOptions) -> dict[str, np.ndarray]:
    """Return the edges without the end of a line before the first start, and the start after."""
    start, end = str(options.line_start), options.line_end
    if end is None:
        return edges
    begun = edges[end][edges[end] > edges[start].min(initial=OPEN)]
    ended = edges[start][edges[start] < begun.max(initial=-OPEN)]
    return {**edges, start: ended, end: begun}


def _of_clock(
    pieces: list[Index], options: ReaderOptions, open_index: Open, blank: Sample
) -> Sample:
    """Return what stretches of time say that last as long as positions, wherever these begin."""
    shape, dwell = options.scan_shape, options.dwell_time
    if shape is None or dwell is None:
        open_index(pieces[0], replace(options, line_start=None))  # says what is missing
        return blank
    sources = []
    for piece in pieces:
        n = min(int(ticks(piece) / TICKS_PER_SECOND / dwell), _MOST_POSITIONS)
        if n > 0:
            alone = replace(
                options, scan_shape=(1, n), skip_frames=0, scan_start=None, line_start=None,
                keep_flyback=True, errors="skip",
            )  # fmt: skip
            sources.append(open_index(replace(piece, opened=None), alone))
    n_seen = sum(source.scan_shape[1] for source in sources)
    kept = math.prod(blank.scan_shape or (0,))
    lasting = (math.prod(shape) + options.skip_frames) * dwell + (options.scan_start or 0)
    doubt = _too_long(lasting, duration(pieces, blank.part), options)
    return _counted(replace(blank, doubt=doubt), pieces, sources, kept / max(1, n_seen))


def _too_long(scan: float, file: Estimate, options: ReaderOptions) -> str:
    """Say so if a scan lasts longer [s] than the file."""
    if scan <= file.value + file.error:
        return ""
    return (
        f"scan_shape={options.scan_shape} with dwell_time={options.dwell_time} s ends after "
        f"{scan:.3g} s, but the hits of the file end after about {file.value:.3g} s"
    )


def _counted(
    blank: Sample, pieces: list[Index], sources: list[Tpx3Source], factor: float
) -> Sample:
    """Add the electrons of sources, which are `factor` times as many in the file."""
    if not sources:
        return blank
    counts = np.concatenate([source.events_per_pattern() for source in sources])
    hits = sum(piece.n_hits for piece in pieces)
    told = sources[0].metadata
    return replace(
        blank,
        facts={**blank.facts, **{name: told[name] for name in _TOLD if name in told}},
        per_pattern=counts,
        count_dtype=event_lists.count_dtype(int(counts.max(initial=0))),
        # no electron without a hit
        n_electrons=rounded(min(float(counts.sum()) * factor, hits / blank.part), hits),
    )
