"""What pieces of a Timepix3 file say of all of it: how long it lasts, how many lines it marks."""

from __future__ import annotations

import numpy as np

from . import tpx3_time as time
from .samples import Estimate
from .tpx3_index import Index
from .tpx3_packets import TICKS_PER_SECOND, TICKS_PER_STEP

#: Lines that a piece must last at least, to tell how many fit into the file.
_LINES_PER_PIECE = 2
#: By which numbers may differ from what the pieces say: a part, and times the standard error.
_TOLERANCE, _ERRORS = 0.05, 3


def ticks(piece: Index) -> int:
    """Return how long the hits of a piece took [ticks]."""
    if len(piece.blocks) == 0:
        return 0
    return TICKS_PER_STEP * (int(piece.blocks[:, time.B_LAST].max()) - piece.first_hit)


def duration(pieces: list[Index], part: float) -> Estimate:
    """Return how long the hits of the file took [s]."""
    hits = sum(piece.n_hits for piece in pieces)
    return _extrapolated([ticks(piece) / TICKS_PER_SECOND for piece in pieces], part, hits)


def marked_lines(pieces: list[Index], mark: str, part: float) -> Estimate:
    """Return how many lines begin in the file.

    The number of edges seen is wrong by those near the ends of the pieces; how many line periods
    the pieces last tells more.
    """
    periods = [np.diff(piece.edges[mark]) for piece in pieces]
    seen = sum(len(piece.edges[mark]) for piece in pieces)
    period = float(np.median(np.concatenate(periods))) if any(map(len, periods)) else 0.0
    lasting = [ticks(piece) for piece in pieces]
    if not period or np.median(lasting) < _LINES_PER_PIECE * period:
        return Estimate(seen / part, np.inf, seen)
    lines = [
        long / period if len(piece.edges[mark]) else 0.0
        for long, piece in zip(lasting, pieces, strict=True)
    ]
    return _extrapolated(lines, part, sum(piece.n_hits for piece in pieces))


def _extrapolated(values: list[float], part: float, seen: int) -> Estimate:
    total, n = sum(values) / part, len(values)
    spread = float(np.std(values, ddof=1)) * np.sqrt(n) / part if n > 1 else 0.0
    return Estimate(total, max(_TOLERANCE * total, _ERRORS * spread), seen)
