"""Events in small blocks of patterns, so that writing needs little memory beside them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from ..events import EventStore
from ..progress import track

#: Entries of a block: this part of all, but not fewer nor more than these.
_PART, _FEWEST, _MOST = 1 / 128, 2**14, 2**20


def pattern_blocks(events: EventStore, title: str) -> Iterator[tuple[int, EventStore]]:
    """Iterate over (number of the first pattern, scan of n × 1 patterns in memory)."""
    columns = events.scan_shape[1]
    for row, block in track(events.blocks(), title):
        if block.n_patterns == 0:
            continue
        listed, indptr = block.reshaped((block.n_patterns, 1)), block.indptr
        size = int(np.clip(_PART * indptr[-1], _FEWEST, _MOST))
        inner = np.searchsorted(indptr, np.arange(size, indptr[-1], size))
        bounds = [0, *np.unique(inner[(inner > 0) & (inner < block.n_patterns)])]
        for start, stop in pairwise([*map(int, bounds), block.n_patterns]):
            yield row * columns + start, listed.read_rows(start, stop)
