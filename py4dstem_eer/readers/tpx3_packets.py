"""The 64-bit words of a Timepix3 stream: chunk headers, hits, clock edges; all on signed integers.

Times are whole numbers of two units: steps of 1.5625 ns, the finest of a hit, and ticks of
25/96 ns, the finest of a clock edge; six ticks are a step.
"""

from __future__ import annotations

from ..compiled import scalar_function

TICKS_PER_STEP = 6
TICKS_PER_SECOND = 3_840_000_000
SIDE = 256  # pixels of a chip, per axis

MAGIC = b"TPX3"
_MAGIC_WORD = 0x33585054

# the first four bits of a packet
HIT, SUMMED_HIT, EDGE, HEARTBEAT, SHUTTER, CONTROL = 0xB, 0xA, 0x6, 0x4, 0x5, 0x7

#: Times of hits are known modulo 2**34 steps (26.8 s), edges and heartbeats 2**36, shutters 2**38.
HIT_BITS, EDGE_BITS, SHUTTER_BITS = 34, 36, 38

#: Chips of the largest assembly, 2 × 2.
MOST_CHIPS = 4
#: Where the pixel (y, x) of each chip lies in 512 × 512: row sign * y + ..., column sign * x + ...
#: (sign, row of pixel (0, 0), column of pixel (0, 0)).
QUAD = ((1, 0, 256), (-1, 511, 511), (-1, 511, 255), (1, 0, 0))


@scalar_function
def is_header(word):
    """Return whether a word can start a chunk."""
    return (word & 0xFFFFFFFF) == _MAGIC_WORD and ((word >> 48) & 7) == 0


@scalar_function
def chunk_words(header):
    """Return how many words follow a chunk header."""
    return (header >> 51) & 0x1FFF


@scalar_function
def chunk_chip(header):
    """Return the number of the chip that a chunk is from."""
    return (header >> 32) & 0xFF


@scalar_function
def kind(word):
    """Return the first four bits of a packet."""
    return (word >> 60) & 0xF


@scalar_function
def hit_time(word):
    """Return the time of a hit in steps, modulo 2**34: SPIDR time, ToA, less FToA."""
    return ((word & 0xFFFF) << 18 | ((word >> 30) & 0x3FFF) << 4) - ((word >> 16) & 0xF)


@scalar_function
def hit_pixel(word):
    """Return the row (y) and column (x) of a hit on its chip."""
    address = (word >> 44) & 0xFFFF
    row = ((address >> 3) & 0x3F) << 2 | (address & 3)
    column = (address >> 9) << 1 | ((address >> 2) & 1)
    return row, column


@scalar_function
def hit_charge(word):
    """Return the time over threshold of a hit, in 25 ns."""
    return (word >> 20) & 0x3FF


@scalar_function
def edge_mark(word):
    """Return which of LINE_MARKS an edge is; -1 if it is none."""
    which = (word >> 56) & 0xF
    fine = (word >> 5) & 0xF
    if fine < 1 or fine > 12:
        return -1
    if which == 0xF:
        return 0
    if which == 0xA:
        return 1
    if which == 0xE:
        return 2
    return 3 if which == 0xB else -1


@scalar_function
def edge_ticks(word):
    """Return the time of an edge in ticks, modulo 2**36 steps."""
    return ((word >> 9) & 0x7FFFFFFFF) * 12 + ((word >> 5) & 0xF) - 1


@scalar_function
def nearest(value, bits, reference):
    """Return the time next to `reference` that equals `value` modulo 2**bits."""
    half = 1 << (bits - 1)
    return reference - half + ((value - reference + half) & ((1 << bits) - 1))
