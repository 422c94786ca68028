"""How many electrons the patterns of a file have: by its tables, or by a glance at some of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .event_lists import electrons_per_pattern
from .events import EventStore
from .streams import StreamedEventStore

# files up to so many bytes are read whole, whatever time the first read takes to load kernels
_SMALL = 2**23
# a glance at a larger one takes about this long after its first read [s]; it reads a few MB at each
# of some places, altogether about so many bytes of the file, and no larger scan row
_GLANCE = 0.2
_READ_BYTES, _MOST_BYTES, _LARGEST_ROW = 2**22, 2**25, 2**28
_READS_PER_ROW = 4  # beyond which parts of rows are read
# steps of this part of the scan spread any number of places evenly
_GOLDEN = 0.6180339887498949

_BINS = 8
_BAR_WIDTH = 40
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class Electrons:
    """Electrons of patterns.

    Attributes
    ----------
    per_pattern : (n,) int64
        Electrons of the patterns that are known: all, or some runs of them.
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
    looked_at = _looked_at(events, file_bytes)
    if per_row is not None:
        return Electrons(looked_at, int(per_row.sum()), exact=True)
    if len(looked_at) == 0:
        return Electrons(looked_at, None, exact=False)
    total = round(looked_at.mean() * events.n_patterns)
    return Electrons(looked_at, total, exact=len(looked_at) == events.n_patterns)


def _looked_at(events: StreamedEventStore, file_bytes: int) -> np.ndarray:
    """Return the electrons of all patterns of a small file, or of some spread over the scan."""
    n_rows, n_patterns, finer = events.scan_shape[0], events.n_patterns, events.read_positions
    small = n_patterns == 0 or file_bytes <= _SMALL
    if events.electrons is not None:
        count = events.electrons
        return count(0, n_patterns) if small else _glance(count, n_patterns, file_bytes)
    if small:
        return _electrons(events)
    if finer is not None and file_bytes / n_rows > _READS_PER_ROW * _READ_BYTES:
        return _glance(_counted(finer), n_patterns, file_bytes)
    if file_bytes / n_rows > _LARGEST_ROW:
        return np.zeros(0, np.int64)
    return _glance(_counted(events.read_rows), n_rows, file_bytes)


def _glance(count: Callable[[int, int], np.ndarray], n_units: int, file_bytes: int) -> np.ndarray:
    """Return the electrons of the patterns of some units, rows or positions, spread evenly."""
    found, end = [], float("inf")
    step = min(max(1, _READ_BYTES * n_units // file_bytes), n_units)
    places = range(0, n_units, step)
    most = max(1, _MOST_BYTES * n_units // (file_bytes * step))
    for place in np.argsort(np.arange(len(places)) * _GOLDEN % 1)[:most].tolist():
        start = places[place]
        found.append(count(start, min(start + step, n_units)))
        # the first read may load kernels, which says nothing about how long others take
        end = min(end, time.perf_counter() + _GLANCE)
        if time.perf_counter() > end:
            break
    return np.concatenate(found)


def _counted(read: Callable[[int, int], EventStore]) -> Callable[[int, int], np.ndarray]:
    return lambda start, stop: _electrons(read(start, stop))


def _electrons(events: EventStore) -> np.ndarray:
    """Return the electrons of every pattern."""
    loaded = events.load()
    return electrons_per_pattern(loaded.indptr, loaded.counts)


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


def in_bytes(n_bytes: float) -> str:
    """Return an amount of memory in a unit that suits it."""
    steps = 0
    # 1023.5 would be said as 1024
    while n_bytes >= 1023.5 and steps < len(_UNITS) - 1:
        n_bytes, steps = n_bytes / 1024, steps + 1
    number = f"{n_bytes:,.0f}" if n_bytes >= 100 or steps == 0 else f"{n_bytes:.3g}"
    return f"{number} {_UNITS[steps]}"


def _bar(part: float) -> str:
    whole, eighths = divmod(round(part * _BAR_WIDTH * 8), 8)
    return ("█" * whole + _EIGHTHS[eighths].strip()).ljust(_BAR_WIDTH)
