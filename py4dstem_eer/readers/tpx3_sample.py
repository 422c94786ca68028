"""What a Timepix3 file too large to be walked through in a moment says in pieces spread over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingOptionError
from . import tpx3_time as time
from .options import ReaderOptions
from .protocol import Sample, about
from .tpx3_index import Index, build_index
from .tpx3_packets import TICKS_PER_SECOND, TICKS_PER_STEP
from .tpx3_scan import kept_columns
from .tpx3_source import Tpx3Source

#: Files up to so many bytes are looked through.
SMALL = 2**27
_PIECES, _PIECE_BYTES = 8, 2**22


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
    pieces = [build_index(path, skip=True, span=span) for span in spans]
    part = sum(end - begin for begin, end in spans) / size
    counts, missing = [np.zeros(0, np.int64)], None
    try:
        counts += [_counted(piece, options, open_index) for piece in pieces]
    except MissingOptionError as error:
        missing = MissingOptionError(f"judged by a piece of the file: {error}")
    facts, found = _estimated(pieces, part), np.concatenate(counts)
    return Sample(part, facts, found, _n_patterns(options), missing)


def _n_patterns(options: ReaderOptions) -> int | None:
    shape = options.scan_shape
    return None if shape is None else shape[0] * kept_columns(shape, options)


def _estimated(pieces: list[Index], part: float) -> dict[str, Any]:
    hits = sum(piece.n_hits for piece in pieces)
    marks = {mark: sum(len(p.edges[mark]) for p in pieces) for mark in pieces[0].edges}
    seen = {mark: about(n / part, n) for mark, n in marks.items() if n}
    faults = sum(sum(piece.faults.values()) for piece in pieces)
    seconds = sum(_duration(piece) for piece in pieces)
    return {
        "chips seen": sorted({chip for piece in pieces for chip in piece.chips}),
        "hits": about(hits / part, hits),
        "hits per second": about(hits / seconds, hits) if seconds else "unknown",
        "clock_edges": seen or "none seen",
        **({"faulty packets seen": faults} if faults else {}),
    }


def _duration(piece: Index) -> float:
    """Return how long the hits of a piece took [s]."""
    if len(piece.blocks) == 0:
        return 0.0
    steps = int(piece.blocks[:, time.B_LAST].max()) - piece.first_hit
    return steps * TICKS_PER_STEP / TICKS_PER_SECOND


def _counted(piece: Index, options: ReaderOptions, open_index: Open) -> np.ndarray:
    """Return the events of the patterns of those lines that are whole in a piece."""
    edges = _of_whole_lines(piece.edges, options)
    n_lines = len(edges.get(options.line_start or "", ())) - (options.line_end is None)
    marked = any(len(times) for times in piece.edges.values())
    wanted = [edges[mark] for mark in (options.line_start, options.line_end) if mark is not None]
    if options.line_start is None or not marked or (n_lines < 1 and any(map(len, wanted))):
        return np.zeros(0, np.int64)
    shape = None if options.scan_shape is None else (max(1, n_lines), options.scan_shape[1])
    alone = replace(options, scan_shape=shape, skip_frames=0, errors="skip")
    return open_index(replace(piece, edges=edges), alone).events_per_pattern()


def _of_whole_lines(edges: dict[str, np.ndarray], options: ReaderOptions) -> dict[str, np.ndarray]:
    """Return the edges without the end of a line before the first start, and the start after."""
    start, end = options.line_start, options.line_end
    if start is None or end is None or not (len(edges[start]) and len(edges[end])):
        return edges
    begun = edges[end][edges[end] > edges[start][0]]
    ended = edges[start][edges[start] < (begun[-1] if len(begun) else 0)]
    return {**edges, start: ended, end: begun}
