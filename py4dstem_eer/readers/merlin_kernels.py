"""Compiled code that finds the events in the words of Merlin frames; used by `merlin_frames`.

A word has lanes of 1, 8, 16 or 32 bits, one for each pixel. The lanes that are not zero are found
all at once, by arithmetic on the word.
"""

from __future__ import annotations

import numpy as np

from ..compiled import scalar_function
from ..device import kernel
from .merlin_encoding import LOW_PLANE_BITS
from .merlin_header import NUMBER_DIGITS

#: In place of a frame's number.
NO_HEADER, OTHER_GEOMETRY = -1, -2

_ONE = np.uint64(1)
_TWO = np.uint64(2)
_BYTE = np.uint64(8)
_ODD_BITS = np.uint64(0x5555555555555555)
_ODD_PAIRS = np.uint64(0x3333333333333333)
_ODD_NIBBLES = np.uint64(0x0F0F0F0F0F0F0F0F)
_ODD_BYTES = np.uint64(0x00FF00FF00FF00FF)
_ODD_SHORTS = np.uint64(0x0000FFFF0000FFFF)
_EVERY_BYTE = np.uint64(0x0101010101010101)
_LOW_PLANE_BITS = np.uint64(LOW_PLANE_BITS)
_WORD_SHIFT = np.uint64(6)


@scalar_function
def _word(buffer, at):
    """Return 8 bytes as a big-endian number; the compiler makes one load of it."""
    word = np.uint64(0)
    for k in range(8):
        word = (word << _BYTE) | np.uint64(buffer[at + np.uint64(k)])
    return word


@scalar_function
def population(word):
    """Return the number of bits that are set; the compiler makes one instruction of it."""
    word = word - ((word >> _ONE) & _ODD_BITS)
    word = (word & _ODD_PAIRS) + ((word >> np.uint64(2)) & _ODD_PAIRS)
    word = (word + (word >> np.uint64(4))) & _ODD_NIBBLES
    return (word * _EVERY_BYTE) >> np.uint64(56)


@scalar_function
def _lowest(word):
    """Return the position of the lowest bit that is set, 64 if none is."""
    return population(~word & (word - _ONE))


@scalar_function
def _occupied(word, high):
    """Return the word with only the highest bit of those lanes set that are not zero.

    `high` has the highest bit of every lane set.
    """
    return (((word & ~high) + ~high) | word) & high


@scalar_function
def _swapped(word, mask, width):
    return ((word & mask) << np.uint64(width)) | ((word >> np.uint64(width)) & mask)


@scalar_function
def _turned(word, bits):
    """Return the word with its lanes in the opposite order."""
    word = (word << np.uint64(32)) | (word >> np.uint64(32))
    if bits <= 16:
        word = _swapped(word, _ODD_SHORTS, 16)
    if bits <= 8:
        word = _swapped(word, _ODD_BYTES, 8)
    if bits == 1:
        word = _swapped(word, _ODD_NIBBLES, 4)
        word = _swapped(word, _ODD_PAIRS, 2)
        word = _swapped(word, _ODD_BITS, 1)
    return word


@scalar_function
def frame_number(buffer, at, geometry):
    """Return the number in the header at `at`, or what is wrong with the header."""
    if buffer[at] != 77 or buffer[at + 1] != 81 or buffer[at + 2] != 49 or buffer[at + 3] != 44:
        return NO_HEADER
    digit, number = at + 4, 0
    while digit < at + 4 + NUMBER_DIGITS and 48 <= buffer[digit] <= 57:
        number = 10 * number + np.int64(buffer[digit]) - 48
        digit += 1
    if digit == at + 4:
        return NO_HEADER
    for k in range(len(geometry)):
        if buffer[digit + k] != geometry[k]:
            return OTHER_GEOMETRY
    return number


@kernel
def read_numbers(i, buffer, starts, geometry, numbers):
    """Read the number of the frame whose header begins at starts[i]."""
    numbers[i] = frame_number(buffer, starts[i], geometry)


@kernel
def count_events(
    i, buffer, starts, header_bytes, geometry, plane_bytes, low_plane, high, numbers, lengths
):
    """Read the number of a frame and count its pixels that are not zero."""
    numbers[i] = frame_number(buffer, starts[i], geometry)
    lengths[i] = 0
    if numbers[i] < 0:
        return
    at = np.uint64(starts[i] + header_bytes)
    low = np.uint64(low_plane)
    n_words = plane_bytes // 8
    total = np.uint64(0)
    if low_plane == 0 and ~high == 0:
        total = _count_bits(buffer[at : at + np.uint64(8 * n_words)].view(np.uint64))
    elif low_plane == 0:
        for k in range(n_words):
            total += population(_occupied(_word(buffer, at + np.uint64(8 * k)), high))
    else:
        for k in range(n_words):
            word = _word(buffer, at + np.uint64(8 * k))
            word |= _word(buffer, at + low + np.uint64(8 * k))
            total += population(_occupied(word, high))
    if plane_bytes % 8:
        word = _word(buffer, at + np.uint64(8 * n_words)) & _kept(plane_bytes % 8)
        total += population(_occupied(word, high))
    lengths[i] = total


@scalar_function
def _count_bits(words):
    """Return how many bits are set; the compiler takes several words at once."""
    total = np.uint64(0)
    for k in range(len(words)):
        total += population(words[k])
    return total


@scalar_function
def _kept(n_bytes):
    """Return a mask of the first `n_bytes` of a word."""
    return ~np.uint64(0) << np.uint64(64 - 8 * n_bytes)


@kernel
def fill_bits(i, buffer, starts, header_bytes, segments, n_words, ends, lengths, out):
    """Write the detector index of every bit of a frame that is set, in ascending order."""
    words = np.empty(n_words * len(segments), np.uint64)
    places = np.empty(len(words), np.uint64)
    payload = starts[i] + header_bytes
    n_occupied = _find_occupied(buffer, payload, segments, n_words, words, places)
    end = np.uint64(ends[i])
    e = end - np.uint64(lengths[i])
    for k in range(n_occupied):
        word = _turned(words[k], 1) if places[k] & _ONE else words[k]
        e = _write_bits(word, (places[k] >> _ONE) << _WORD_SHIFT, e, end, out)


@scalar_function
def _find_occupied(buffer, payload, segments, n_words, words, places):
    """Write the words that are not zero, and their places, without a branch; return how many.

    A place is twice the number of the word in the order of the detector, and one more where its
    first pixel is in its highest bit.
    """
    n_occupied, number = 0, 0
    for s in range(len(segments)):
        at, step, turned = payload + segments[s, 0], segments[s, 1], segments[s, 2]
        for _ in range(n_words):
            word = _word(buffer, np.uint64(at))
            words[n_occupied], places[n_occupied] = word, np.uint64(number << 1 | turned)
            n_occupied += word != 0
            number += 1
            at += step
    return n_occupied


@scalar_function
def _write_bits(word, base, e, end, out):
    """Write the positions of the bits that are set from out[e] on, and return the next place.

    There is one at least.
    """
    if e + _TWO <= end:
        # the second is written whether there is one or not, which no branch has to predict; what
        # is too much is overwritten by the next word of the frame
        out[e] = base + _lowest(word)
        word &= word - _ONE
        out[e + _ONE] = base + _lowest(word)
        e += _ONE + np.uint64(word != 0)
        word &= word - _ONE
    while word != 0 and e < end:
        out[e] = base + _lowest(word)
        word &= word - _ONE
        e += _ONE
    return e


@kernel
def fill_values(
    i, buffer, starts, header_bytes, segments, n_words, low_plane, bits, high,
    ends, lengths, out, counts,
):  # fmt: skip
    """Write the detector index and the value of every pixel of a frame that is not zero."""
    payload = starts[i] + header_bytes
    e = ends[i] - lengths[i]
    pixel = 0
    for s in range(len(segments)):
        at, step, turned = payload + segments[s, 0], segments[s, 1], segments[s, 2] == 1
        for _ in range(n_words):
            word, below = _word(buffer, np.uint64(at)), np.uint64(0)
            if low_plane > 0:
                below = _word(buffer, np.uint64(at + low_plane))
            at += step
            occupied = _occupied(word | below, high)
            if turned and occupied != 0:
                word = _turned(word, bits)
                occupied = _occupied(word, high)
            while occupied != 0 and e < ends[i]:  # what lies behind the last pixel is not counted
                lane = np.int64(_lowest(occupied)) // bits
                out[e] = pixel + lane
                counts[e] = _value(word, below, bits, lane, low_plane)
                occupied &= occupied - _ONE
                e += 1
            pixel += 64 // bits


@scalar_function
def _value(word, below, bits, lane, low_plane):
    mask, shift = (_ONE << np.uint64(bits)) - _ONE, np.uint64(bits * lane)
    value = (word >> shift) & mask
    if low_plane > 0:
        value = (value << _LOW_PLANE_BITS) + ((below >> shift) & mask)
    return value
