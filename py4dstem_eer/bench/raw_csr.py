"""Opening, loading and summing a raw_csr data set, beside LiberTEM."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..methods.com import centre_of_mass
from ..methods.reductions import pattern_sum
from ..readers import open_events
from ..writers.raw_csr import write_raw_csr
from .libertem_peer import LiberTem
from .reductions import random_events
from .report import Row, installed
from .timing import best_time, single_time


def rows(full: bool) -> Iterator[Row]:
    """Measure a data set of 1024 × 1024 (full) or 256 × 256 patterns of 100 events."""
    side = 1024 if full else 256
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.toml"
        events = random_events(side, 100)
        written = best_time(lambda: write_raw_csr(path, events), 1)
        peer = LiberTem(path) if installed("libertem") else None
        theirs = None if peer is None else best_time(peer.opened, 20)
        opened = best_time(lambda: open_events(path, mem="MEMMAP"), 20)
        what = f"raw_csr, {side}² x 100 events"
        yield Row(f"open {what}", opened, "s", "LiberTEM", theirs, target="milliseconds")
        floor = best_time(lambda: _read(path))
        loaded = best_time(lambda: open_events(path))
        yield Row("  into memory", loaded, floor=floor)
        streamed = open_events(path, mem="MEMMAP")
        summed = best_time(lambda: pattern_sum(streamed))
        # theirs take minutes for the large one
        peer = None if full else peer
        theirs = None if peer is None else single_time(peer.sum)
        yield Row("  sum of all patterns, from the file", summed, "s", "LiberTEM", theirs, floor)
        centred = best_time(lambda: centre_of_mass(streamed))
        theirs = None if peer is None else single_time(peer.com)
        yield Row("  centre of mass, from the file", centred, "s", "LiberTEM", theirs, floor)
        yield Row("  write", written)


def _read(path: Path) -> None:
    for array in path.parent.glob("*.dat"):
        np.fromfile(array, np.uint8)
