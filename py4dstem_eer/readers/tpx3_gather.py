"""The hits of a span of time, gathered from the blocks of a Timepix3 stream that overlap it."""

from __future__ import annotations

import numpy as np

from ..compiled import scalar_function
from . import tpx3_packets as packets
from .tpx3_time import B_AT, B_CHIP, B_FIRST, B_LAST, B_LEFT, B_WORDS

_MASK = (1 << packets.HIT_BITS) - 1


def room_for_hits(blocks: np.ndarray, bounds: np.ndarray, margins: tuple[int, int]) -> np.ndarray:
    """Return how many hits `gather` needs room for in each span bounds[k] <= t < bounds[k + 1].

    Parameters
    ----------
    blocks : (b, BLOCK_COLUMNS) int64
    bounds : (spans + 1,) int64
        [steps]
    margins : (int, int)
        By which the spans are longer, before and after [steps].
    """
    low, high = bounds[:-1, None] - margins[0], bounds[1:, None] + margins[1]
    overlapping = (blocks[:, B_LAST] >= low) & (blocks[:, B_FIRST] < high)
    return overlapping @ blocks[:, B_WORDS]


@scalar_function
def gather(words, blocks, span, stride, chips, times, marks):
    """Find the hits of span[0] <= t < span[1] [steps]; return how many there are.

    A mark is a hit's pixel in the lower 32 bits and its charge in the upper.
    """
    n_hits = 0
    for b in range(len(blocks)):
        first = blocks[b, B_FIRST]
        if blocks[b, B_LAST] < span[0] or first >= span[1]:
            continue
        at, stop = blocks[b, B_AT], blocks[b, B_AT] + blocks[b, B_WORDS]
        left, chip = blocks[b, B_LEFT], blocks[b, B_CHIP]
        while at < stop:
            if left == 0:
                left, chip = packets.chunk_words(words[at]), packets.chunk_chip(words[at])
                at += 1
                continue
            end = min(stop, at + left)
            if chip < packets.MOST_CHIPS:
                found = words[at : min(end, at + len(times) - n_hits)]
                place = chips[chip, 0], chips[chip, 1], stride
                n_hits += _take(found, first, span, place, times[n_hits:], marks[n_hits:])
            left -= end - at
            at = end
    return n_hits


@scalar_function
def _take(words, first, span, place, times, marks):
    """Take those words that are hits in a span; return how many, which come first in `times`."""
    n_words = len(words)
    if _decode(words, first, span[0], span[1], *place, times, marks) == n_words:
        return n_words
    n_hits = 0
    for k in range(n_words):
        if packets.kind(words[k]) == packets.HIT and span[0] <= times[k] < span[1]:
            times[n_hits], marks[n_hits] = times[k], marks[k]
            n_hits += 1
    return n_hits


@scalar_function
def _decode(words, first, low, high, sign, origin, stride, times, marks):
    """Decode words as if all were hits, without a branch; return how many are, in the span."""
    n_hits = 0
    for k in range(len(words)):
        word = words[k]
        time = first + ((packets.hit_time(word) - first) & _MASK)
        row, column = packets.hit_pixel(word)
        times[k] = time
        marks[k] = packets.hit_charge(word) << 32 | (origin + sign * (row * stride + column))
        n_hits += (packets.kind(word) == packets.HIT) & (low <= time) & (time < high)
    return n_hits
