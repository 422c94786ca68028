"""Events of scan positions put in order: by position, and by pixel within each.

A key is an event: its scan position in the upper 32 bits and its pixel in the lower. Keys are
sorted by one digit of the pixel after the other, the lowest first, and by position last; each pass
leaves in order what it takes for equal. Many positions are sorted at once, as the digits of a pixel
have more values than a position has events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..compiled import scalar_function
from ..device import kernel
from ..event_lists import count_dtype

POSITION_SHIFT = np.uint64(32)
PIXEL_MASK = np.uint64(2**32 - 1)
_NO_KEY = np.uint64(2**64 - 1)
_ONE = np.uint64(1)
_ONE_MORE = np.uint64(2**32)
_MOST_BITS = 9  # of a digit: as many places as it has values are written to in turn


@dataclass(frozen=True, eq=False)
class Keys:
    """Keys in parts that are worked on at once; no position has keys in two parts.

    Attributes
    ----------
    times : (n,) int64
        Times of hits while keys are made of them [steps]; then it serves for sorting.
    keys : (n,) uint64
    begins : (parts + 1,) int64
        Where the room of each part is.
    sizes : (parts,) int64
        Keys in it.
    """

    times: np.ndarray
    keys: np.ndarray
    begins: np.ndarray
    sizes: np.ndarray

    @classmethod
    def with_room(cls, room: np.ndarray) -> Keys:
        """Return no keys, with room for so many in each part (parts,)."""
        begins = np.concatenate(([0], np.cumsum(room)))
        n = int(begins[-1])
        sizes = np.zeros(len(room), np.int64)
        return cls(np.empty(n, np.int64), np.empty(n, np.uint64), begins, sizes)

    @property
    def table(self) -> tuple[np.ndarray, ...]:
        """Return what is written, as kernels take it."""
        return self.times, self.keys, self.begins, self.sizes

    def merged(self, lengths: np.ndarray, n_pixels: int) -> Entries:
        """Return the keys in order, equal ones as one; they are used up.

        Parameters
        ----------
        lengths : (positions,) int64
            Keys of each position. Changed to those that are different.
        n_pixels : int
            Of the detector.
        """
        bits = max(1, (n_pixels - 1).bit_length())
        n_digits = -(-bits // _MOST_BITS)
        digits = n_digits, -(-bits // n_digits)
        places = (np.cumsum(lengths) - lengths).view(np.uint64)
        room = self.keys, self.times.view(np.uint64)
        most = np.zeros(len(self.sizes), np.uint64)
        offsets = np.cumsum(self.sizes) - self.sizes
        parts = self.begins, self.sizes, offsets
        _merge_part.on_cpu(len(most), *room, *parts, *digits, places, lengths, most)
        return Entries(room[n_digits % 2], self.begins, self.sizes, 1 + int(most.max(initial=0)))


@dataclass(frozen=True, eq=False)
class Entries:
    """Entries of event lists, in parts.

    Attributes
    ----------
    entries : (n,) uint64
        Pixel in the lower 32 bits, one less than its electrons in the upper.
    begins, sizes : (parts + 1,), (parts,) int64
        As in `Keys`.
    most : int
        Electrons of an entry, at most.
    """

    entries: np.ndarray
    begins: np.ndarray
    sizes: np.ndarray
    most: int

    def write(self, out: np.ndarray) -> np.ndarray | None:
        """Write the pixels to `out`; return the electrons of each, None if that is one of all."""
        counts = None if self.most == 1 else np.empty(len(out), count_dtype(self.most))
        offsets = np.cumsum(self.sizes) - self.sizes
        parts = self.begins, self.sizes, offsets
        _write_part.on_cpu(len(offsets), self.entries, *parts, out, counts)
        return counts


@kernel
def _merge_part(
    part, keys, other, begins, sizes, offsets, n_digits, bits, places, lengths, most
):  # fmt: skip
    begin, end = begins[part], begins[part] + sizes[part]
    source, target = keys[begin:end], other[begin:end]
    following = np.empty(1 << bits, np.uint64)
    for digit in range(n_digits):
        _order_by_digit(source, target, np.uint64(digit * bits), following)
        source, target = target, source
    _order_by_position(source, target, places, np.uint64(offsets[part]))
    sizes[part], most[part] = _merge(target, source, lengths)


@scalar_function
def _order_by_digit(source, target, shift, following):
    """Put keys in order of (key >> shift) modulo len(following), a power of two."""
    mask = np.uint64(len(following) - 1)
    following[:] = 0
    for key in source:
        following[(key >> shift) & mask] += _ONE
    total = np.uint64(0)
    for value in range(len(following)):
        following[value], total = total, total + following[value]
    for key in source:
        value = (key >> shift) & mask
        target[following[value]] = key
        following[value] += _ONE


@scalar_function
def _order_by_position(source, target, places, offset):
    """Put keys in order of position; places[p] - offset is where the keys of p begin."""
    size = np.uint64(len(target))
    for key in source:
        position = key >> POSITION_SHIFT
        place = places[position] - offset
        if place < size:
            target[place] = key
        places[position] += _ONE


@scalar_function
def _merge(keys, entries, lengths):
    """Make entries of keys in order; return how many, and the most repeats of one."""
    n_entries = 0
    last, most = _NO_KEY, np.uint64(0)
    for key in keys:
        if key != last:
            entries[n_entries] = key & PIXEL_MASK
            n_entries += 1
            last = key
        else:
            entries[n_entries - 1] += _ONE_MORE
            most = max(most, entries[n_entries - 1] >> POSITION_SHIFT)
            lengths[key >> POSITION_SHIFT] -= 1
    return n_entries, most


@kernel
def _write_part(part, entries, begins, sizes, offsets, out, counts):
    found = entries[begins[part] : begins[part] + sizes[part]]
    place = slice(offsets[part], offsets[part] + sizes[part])
    _copy(found, np.uint64(0), np.uint64(0), out[place])
    if counts is not None:
        _copy(found, POSITION_SHIFT, _ONE, counts[place])


@scalar_function
def _copy(entries, shift, addend, target):
    for k in range(len(target)):
        target[k] = ((entries[k] >> shift) & PIXEL_MASK) + addend
