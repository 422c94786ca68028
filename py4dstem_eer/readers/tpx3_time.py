"""One walk through a Timepix3 stream: chunks, clock edges, and what time it is where.

Hits carry a time modulo 26.8 s, edges and heartbeats modulo 107 s. The chips of an assembly share
one clock, so that each packet is taken for the time nearest to the youngest packet before it, of
whatever chip. Packets may come up to `LATEST` after younger ones; one that comes later, or after a
silence of more than 13.4 s, cannot be told from damage and is a fault.

The walk cuts the stream into blocks of hits that span less than 13.4 s and notes the first and
last time in each. That is all that later readings need: the time of a hit follows from that of its
block, and the hits of any span of time are in the blocks that overlap it, however the packets are
shuffled.
"""

from __future__ import annotations

import numpy as np

from ..compiled import scalar_function, serial_function
from . import tpx3_packets as packets

#: How much younger the packets before a packet may be [steps]: 1 s; milliseconds are usual.
LATEST = 640_000_000
_HALF_ROLLOVER = 1 << (packets.HIT_BITS - 1)
_EDGE_MASK = (1 << packets.EDGE_BITS) - 1
_NEVER = 1 << 60

#: Words of a block at most, and words that are looked at together.
BLOCK_WORDS = 2**13
_STRETCH = 64

# what the walk is at, in `state`
AT, LEFT, CHIP, NOW, CLOCK, EPOCH, SHIFT, CHIPS, OPENED, BLOCKS, EDGES = range(11)
_BLOCK_AT, _BLOCK_LEFT, _BLOCK_CHIP, _HITS, _FIRST, _LAST = range(11, 17)
STATE_SIZE = 17
_UNKNOWN, _BY_HITS, _ANCHORED = 0, 1, 2  # CLOCK

#: Columns of the table of blocks: where in the words, how many, those left of the chunk and its
#: chip, hits, first and last time [steps].
BLOCK_COLUMNS = 7
B_AT, B_WORDS, B_LEFT, B_CHIP, B_HITS, B_FIRST, B_LAST = range(BLOCK_COLUMNS)

# why the walk stops
END, FULL, SHIFTED, NO_CHUNK, NO_CHIP, UNKNOWN, SUMMED, LATE, BAD_EDGE, INSIDE = range(10)
N_CODES = 10

FAULTS = {
    NO_CHUNK: "there is no chunk header where the chunk before it ends",
    NO_CHIP: "the chunk is of a chip that no assembly of up to 4 has",
    UNKNOWN: "the packet is of no known kind",
    SUMMED: "the packet is of the integrated-ToT mode, without a time",
    LATE: "the packet is more than 1 s older than one before it, or comes after 13 s of silence",
    BAD_EDGE: "the packet is an edge of no known clock signal",
    INSIDE: "there is a chunk header inside a chunk",
}


def new_state(epoch: int) -> np.ndarray:
    """Return the state at the start of a file, (STATE_SIZE,) int64.

    Parameters
    ----------
    epoch : int
        Start of the rollover in which the first hit is taken to be [steps].
    """
    state = np.zeros(STATE_SIZE, np.int64)
    state[EPOCH], state[OPENED] = epoch, _NEVER
    state[_FIRST], state[_LAST] = _NEVER, -_NEVER
    return state


def opened_at(state: np.ndarray, reference: int) -> int | None:
    """Return when the shutter first opened [steps], near `reference`; None if it did not."""
    if state[OPENED] == _NEVER:
        return None
    return int(packets.nearest(int(state[OPENED]), packets.SHUTTER_BITS, reference))


@serial_function
def walk(words, state, blocks, edges, tally, skip):
    """Go through words from where `state` is; stop at their end, or where Python must decide.

    Parameters
    ----------
    words : (n,) int64
    state : (STATE_SIZE,) int64
        Changed; at a fault, AT is the faulty word.
    blocks : (b, BLOCK_COLUMNS) int64
        Filled from the row BLOCKS on.
    edges : (e, 2) int64
        Filled from the row EDGES on: index in LINE_MARKS, time [ticks].
    tally : (N_CODES,) int64
        Faulty packets by kind.
    skip : bool
        Whether faulty packets are counted and left out, where the walk can go on.

    Returns
    -------
    code : int
        END, FULL (of a table), SHIFTED (start again in another epoch), or a fault.
    """
    _open_block(state)
    code = END
    while code == END and state[AT] < len(words):
        if state[BLOCKS] + 2 > len(blocks) or state[EDGES] == len(edges):
            code = FULL
        elif state[LEFT] == 0:
            code = _begin_chunk(words[state[AT]], state)
        elif state[CHIP] >= packets.MOST_CHIPS:
            _pass(state, min(state[LEFT], len(words) - state[AT]))
        else:
            if state[AT] - state[_BLOCK_AT] >= BLOCK_WORDS:
                _close_block(state, blocks)
            if _take_hits(words, state):
                code = _take_packet(words[state[AT]], state, blocks, edges)
        if code > SHIFTED and (skip or code == NO_CHUNK):
            tally[code] += 1
            code = _step_over(code, state, blocks)
    _close_block(state, blocks)
    return code


@scalar_function
def _pass(state, n_words):
    state[AT] += n_words
    state[LEFT] -= n_words


@scalar_function
def _open_block(state):
    state[_BLOCK_AT], state[_BLOCK_LEFT] = state[AT], state[LEFT]
    state[_BLOCK_CHIP] = state[CHIP]
    state[_HITS], state[_FIRST], state[_LAST] = 0, _NEVER, -_NEVER


@scalar_function
def _close_block(state, blocks):
    """Note the block that ends here, if it has any hits, and open the next."""
    if state[_HITS] > 0:
        row = blocks[state[BLOCKS]]
        row[B_AT], row[B_WORDS] = state[_BLOCK_AT], state[AT] - state[_BLOCK_AT]
        row[B_LEFT], row[B_CHIP] = state[_BLOCK_LEFT], state[_BLOCK_CHIP]
        row[B_HITS], row[B_FIRST], row[B_LAST] = state[_HITS], state[_FIRST], state[_LAST]
        state[BLOCKS] += 1
    _open_block(state)


@scalar_function
def _begin_chunk(word, state):
    if not packets.is_header(word):
        return NO_CHUNK
    chip = packets.chunk_chip(word)
    state[AT] += 1
    state[LEFT], state[CHIP] = packets.chunk_words(word), chip
    if chip >= packets.MOST_CHIPS:
        return NO_CHIP
    state[CHIPS] |= 1 << chip
    return END


@scalar_function
def _step_over(code, state, blocks):
    """Leave out what is faulty; return END if the walk can go on."""
    if code == NO_CHUNK:
        return NO_CHUNK
    if code == INSIDE:
        state[LEFT] = 0
    elif code != NO_CHIP:
        if code == LATE:  # blocks hold good hits only, so that readings need not judge again
            _close_block(state, blocks)
        _pass(state, 1)
        if code == LATE:
            _open_block(state)
    return END


@scalar_function
def _take_hits(words, state):
    """Go through hits as far as the chunk and block reach; return whether another packet stops."""
    at, now = state[AT], state[NOW]
    stop = min(len(words), at + state[LEFT], state[_BLOCK_AT] + BLOCK_WORDS)
    if state[CLOCK] == _UNKNOWN:
        return at < stop
    n_words = _STRETCH
    while at < stop:
        end = min(stop, at + n_words)
        n_hits, earliest, latest = _survey(words[at:end], now)
        first, last = min(state[_FIRST], earliest), max(state[_LAST], latest)
        plain = n_hits == end - at and last - first < _HALF_ROLLOVER
        if plain and max(now, latest) - earliest <= LATEST:
            state[_FIRST], state[_LAST], now, at = first, last, max(now, latest), end
        elif n_words == 1:
            break
        else:
            n_words = 1  # as far as hits are plain
    state[_HITS] += at - state[AT]
    _pass(state, at - state[AT])
    state[NOW] = now
    return at < stop


@scalar_function
def _survey(words, now):
    """Return how many words are hits, and the earliest and latest time as if all were.

    Without a branch; a hit is taken for the time nearest to `now`, which is that nearest to the
    youngest hit before it if all are within `LATEST`.
    """
    n_hits, earliest, latest = 0, _NEVER, -_NEVER
    for k in range(len(words)):  # the compiler takes several at once
        n_hits += packets.kind(words[k]) == packets.HIT
        time = packets.nearest(packets.hit_time(words[k]), packets.HIT_BITS, now)
        earliest, latest = min(earliest, time), max(latest, time)
    return n_hits, earliest, latest


@scalar_function
def _take_packet(word, state, blocks, edges):
    """Take the packet that is no plain hit; return END or what is wrong."""
    what = packets.kind(word)
    if what == packets.HIT:
        return _take_odd_hit(word, state, blocks)
    code = END
    if what == packets.EDGE:
        code = _take_edge(word, state, edges)
    elif what == packets.HEARTBEAT:
        code = _take_heartbeat(word, state)
    elif what == packets.SHUTTER:
        code = _take_shutter(word, state)
    elif what == packets.SUMMED_HIT:
        code = SUMMED
    elif what != packets.CONTROL:
        code = INSIDE if packets.is_header(word) else UNKNOWN
    if code == END:
        _pass(state, 1)
    return code


@scalar_function
def _take_odd_hit(word, state, blocks):
    """Take a hit that is the first of the file, too late, or too far from its block."""
    time = packets.hit_time(word)
    if state[CLOCK] == _UNKNOWN:
        state[CLOCK], state[NOW] = _BY_HITS, time + state[EPOCH]
    elif packets.nearest(time, packets.HIT_BITS, state[NOW]) < state[NOW] - LATEST:
        state[NOW] = packets.nearest(time, packets.HIT_BITS, state[NOW])
        return LATE
    else:
        _close_block(state, blocks)
    return END


@scalar_function
def _take_edge(word, state, edges):
    mark = packets.edge_mark(word)
    if mark < 0:
        return BAD_EDGE
    ticks = packets.edge_ticks(word)
    code = _set_clock(ticks // packets.TICKS_PER_STEP, state)
    if code == END:
        steps = packets.nearest(ticks // packets.TICKS_PER_STEP, packets.EDGE_BITS, state[NOW])
        row = edges[state[EDGES]]
        row[0] = mark
        row[1] = steps * packets.TICKS_PER_STEP + ticks % packets.TICKS_PER_STEP
        state[EDGES] += 1
    return code


@scalar_function
def _take_heartbeat(word, state):
    """The low word tells the time; the high one adds nothing that its order does not tell."""
    which = (word >> 56) & 0xF
    if which == 4:
        return _set_clock(((word >> 16) & 0xFFFFFFFF) << 4, state)
    return END if which == 5 else UNKNOWN


@scalar_function
def _take_shutter(word, state):
    which = (word >> 56) & 0xF
    if which == 0xF:
        state[OPENED] = min(state[OPENED], ((word >> 12) & 0x3FFFFFFFF) << 4)
    return END if which == 0 or which == 0xA or which == 0xC or which == 0xF else UNKNOWN


@scalar_function
def _set_clock(value, state):
    """Take the time of an edge or heartbeat, which are known modulo 2**36 steps."""
    if state[CLOCK] == _UNKNOWN:
        state[CLOCK], state[NOW] = _ANCHORED, value
        return END
    if state[CLOCK] == _BY_HITS:
        # hits before were taken to be in the first rollover; now it shows in which they were
        by_hits = packets.nearest(value, packets.HIT_BITS, state[NOW])
        state[SHIFT] = (value - by_hits) & _EDGE_MASK
        if state[SHIFT]:
            return SHIFTED
        state[CLOCK] = _ANCHORED
    time = packets.nearest(value, packets.EDGE_BITS, state[NOW])
    if time < state[NOW] - LATEST:
        state[NOW] = time
        return LATE
    state[NOW] = max(state[NOW], time)
    return END
