"""Opening Timepix3 streams, beside tpx3awkward and beside reading the bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..readers import open_events
from .report import Row, installed
from .timing import best_time, single_time

_DWELL = 10_000  # [ns]
_WORDS_PER_CHUNK = 1000


def rows(full: bool) -> Iterator[Row]:
    """Measure a scan of 1024 × 1024 (full) or 256 × 256 positions with 50 hits each."""
    side = 1024 if full else 256
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.tpx3"
        n_packets = write_scan(path, side, 50)
        ours = best_time(lambda: open_events(path, scan_shape=(side, side)), 2)
        floor = best_time(lambda: np.fromfile(path, np.uint64).sum())
        name = f"open tpx3, {side}² x 50 hits"
        yield Row(name, ours, "s", floor=floor)
        if installed("tpx3awkward"):
            theirs = single_time(lambda: _with_tpx3awkward(path))
            yield Row(name, ours, "s", "tpx3awkward", theirs)
        yield Row("  rate", n_packets / ours / 1e6, "M packets/s", target=">= 50 M packets/s")


def write_scan(path: Path, side: int, hits_per_position: int) -> int:
    """Write a scan with line marks, as one chip sends it; return the number of packets."""
    rng = np.random.default_rng(0)
    n_hits = side * hits_per_position
    n_packets = 0
    with path.open("wb") as file:
        for line in range(side):
            start = (line * (side * 5 // 4) + 100) * _DWELL
            times = start + np.sort(rng.integers(0, side * _DWELL, n_hits, np.int64))
            # a chip sends its columns in turn, so that hits come about a microsecond late
            times = times[np.argsort(times + rng.integers(0, 1000, n_hits), kind="stable")]
            marks = [_edge(start, 0xF), _edge(start + side * _DWELL, 0xA)]
            words = np.concatenate((marks[:1], _hits(times, rng), marks[1:]))
            file.write(_chunks(words))
            n_packets += len(words)
    return n_packets


def _hits(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return hit packets at `times` [ns], in a disk on the chip."""
    pixels = rng.normal(128, 30, (2, len(times))).clip(0, 255).astype(np.uint64)
    row, column = pixels
    address = (column >> 1) << 9 | (row >> 2) << 3 | (column & 1) << 2 | (row & 3)
    clock = (times // 25).astype(np.uint64)
    packet = np.uint64(0xB << 60) | address << 44 | (clock & 0x3FFF) << 30
    return packet | np.uint64(10 << 20) | (clock >> 14) & 0xFFFF


def _edge(time: int, kind: int) -> np.uint64:
    return np.uint64(0x6 << 60 | kind << 56 | (time * 8 // 25) << 9 | 1 << 5)


def _chunks(words: np.ndarray) -> bytes:
    parts = []
    for first in range(0, len(words), _WORDS_PER_CHUNK):
        chunk = words[first : first + _WORDS_PER_CHUNK]
        parts += [np.array([8 * len(chunk) << 48 | 0x33585054], np.uint64), chunk]
    return np.concatenate(parts).tobytes()


def _with_tpx3awkward(path: Path) -> None:
    from tpx3awkward.processing.decoding import decode_tpx3_binary

    decode_tpx3_binary(np.fromfile(path, np.uint64))
