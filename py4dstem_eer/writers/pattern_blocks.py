"""Events in small blocks of patterns, so that writing needs little memory beside them."""

from __future__ import annotations

from collections.abc import Iterator

from ..event_pieces import pieces
from ..events import EventStore
from ..progress import track


def pattern_blocks(events: EventStore, title: str) -> Iterator[tuple[int, EventStore]]:
    """Iterate over (number of the first pattern, scan of n × 1 patterns in memory)."""
    for row, block in track(events.blocks(), title):
        first = row * events.scan_shape[1]
        for lists in pieces(block.indptr, block.indices, block.counts):
            n = len(lists[0]) - 1
            yield first, EventStore((n, 1), block.detector_shape, *lists, trusted=True)
            first += n
