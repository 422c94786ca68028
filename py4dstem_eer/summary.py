"""How many electrons the patterns of a file have: by its tables, or by a glance at some rows."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from .event_lists import electrons_per_pattern
from .streams import StreamedEventStore

# a glance takes about this long [s], and reads no larger scan row [bytes of the file]
_GLANCE = 0.3
_LARGEST_ROW = 2**28
# steps of this part of the scan spread any number of rows evenly
_GOLDEN = 0.6180339887498949

_BINS = 8
_BAR_WIDTH = 40
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Electrons:
    """Electrons of patterns.

    Attributes
    ----------
    per_pattern : (n,) int64
        Electrons of the patterns that are known: all, or some whole scan rows.
    total : int or None
        Electrons of all patterns; None if nothing was looked at.
    exact : bool
        Whether `total` is counted, rather than estimated from those that are known.
    """

    per_pattern: np.ndarray
    total: int | None
    exact: bool


def count_electrons(events: StreamedEventStore, file_bytes: int) -> Electrons:
    """Return what can be said in a moment.

    Parameters
    ----------
    events : StreamedEventStore
    file_bytes : int
        Size of the file, which tells how long it takes to read a scan row; where events lie in
        several files, those count.
    """
    all_bytes = events.file_bytes()
    file_bytes = file_bytes if all_bytes is None else all_bytes
    known = events.events_per_pattern()
    if known is not None:
        return Electrons(known, int(known.sum()), exact=True)
    per_row = events.events_per_row()
    looked_at = _glance(events, file_bytes)
    if per_row is not None:
        return Electrons(looked_at, int(per_row.sum()), exact=True)
    if len(looked_at) == 0:
        return Electrons(looked_at, None, exact=False)
    total = round(looked_at.mean() * events.n_patterns)
    return Electrons(looked_at, total, exact=len(looked_at) == events.n_patterns)


def _glance(events: StreamedEventStore, file_bytes: int) -> np.ndarray:
    """Return the electrons of the patterns of some scan rows, spread over the scan."""
    rows, found = events.scan_shape[0], [np.zeros(0, np.int64)]
    if rows == 0 or file_bytes / rows > _LARGEST_ROW:
        return found[0]
    end = time.perf_counter() + _GLANCE
    for row in np.argsort(np.arange(rows) * _GOLDEN % 1).tolist():
        block = events.read_rows(row, row + 1)
        found.append(electrons_per_pattern(block.indptr, block.counts))
        if time.perf_counter() > end:
            break
    return np.concatenate(found)


def histogram(values: np.ndarray) -> str:
    """Return a histogram of whole numbers as lines of text, each after a line break.

    Parameters
    ----------
    values : (n,) int
        At least one.
    """
    low, high = int(values.min()), int(values.max())
    width = -(-(high - low + 1) // _BINS)
    counts = np.bincount((values - low) // width)
    digits, most = len(f"{high:,}"), int(counts.max())
    lines = [f"from {low:,} to {high:,}, median {np.median(values):,.0f}"]
    for k, count in enumerate(counts.tolist()):
        first, last = low + k * width, min(low + (k + 1) * width - 1, high)
        label = f"{first:>{digits},}" if width == 1 else f"{first:>{digits},} - {last:>{digits},}"
        lines.append(f"    {label} {_bar(count / most)} {count:,}")
    return "\n".join(lines)


def _bar(part: float) -> str:
    whole, eighths = divmod(round(part * _BAR_WIDTH * 8), 8)
    return ("█" * whole + _EIGHTHS[eighths].strip()).ljust(_BAR_WIDTH)
