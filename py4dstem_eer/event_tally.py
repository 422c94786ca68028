"""Sums of patterns by counting: one counter for every pixel, one bit for every pixel that was hit.

To sort the events of a pattern takes many steps for each. Here each is counted where it falls, in
any order, and the bits then tell the hit pixels in order, 64 at a time: what is left to do for
pixels that were not hit is a 64th of a step. Where most pixels are hit there are no bits, and all
counters are looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .compiled import scalar_function, set_bits, trailing_zeros
from .detector import PixelMap, Shape2D
from .device import kernel, n_threads
from .event_lists import count_dtype, electrons_per_pattern, index_dtype, pattern_starts
from .event_pieces import JoinedLists, Lists, equal_parts

#: With more pixels for an entry, the bits of those that were not hit take longer than sorting.
_PIXELS_PER_ENTRY = 4096
#: With no more, most are hit.
_FEW_PIXELS_PER_ENTRY = 4
#: Counters take so much memory, or this part of that of the entries if it is more.
_COUNTER_BYTES, _COUNTER_PART = 2**23, 1 / 32
#: So many entries are counted at a time, or this part of all if that is more; each thread counts as
#: many as its cache holds, about.
_FEWEST_ENTRIES, _PART, _MOST_ENTRIES = 2**16, 1 / 64, 2**19
_BITS = 64  # of a word
_AT_ONCE = 4  # pixels
_APART = 128  # bytes, two lines of a cache
_WORD_SHIFT, _BIT_MASK, _ONE = np.uint64(6), np.uint64(63), np.uint64(1)


@dataclass(frozen=True, eq=False)
class Groups:
    """Patterns that are added up: group i is of the patterns firsts[i] + steps.

    Attributes
    ----------
    firsts : (n,) int64
    steps : (k,) int64
    """

    firsts: np.ndarray
    steps: np.ndarray

    @classmethod
    def single(cls, patterns: np.ndarray) -> Groups:
        """Return groups of one pattern each."""
        return cls(patterns, np.zeros(1, np.int64))

    def patterns(self) -> np.ndarray:
        """Return the patterns of all groups, one group after the other, (n * k,) int64."""
        return (self.firsts[:, None] + self.steps).ravel()

    def part(self, start: int, stop: int) -> Groups:
        """Return the groups from start to stop."""
        return Groups(self.firsts[start:stop], self.steps)

    def n_entries(self, indptr: np.ndarray) -> np.ndarray:
        """Return the number of entries of every group, (n,) int64."""
        total = np.zeros(len(self.firsts), np.int64)
        for step in self.steps:
            total += indptr[self.firsts + (step + 1)]
            total -= indptr[self.firsts + step]
        return total


def tallied(
    lists: Lists, groups: Groups, shape: Shape2D, pixel_map: PixelMap | None = None
) -> Lists | None:
    """Return the sum of every group of patterns; canonical.

    Parameters
    ----------
    lists : (indptr, indices, counts)
        Their entries may be in any order, and repeat.
    groups : Groups
    shape : (int, int)
        Of the detector, that the map leads to if there is one.
    pixel_map : PixelMap, optional

    Returns
    -------
    lists, or None
        None where counting takes too much memory, or longer than to sort so few entries.
    """
    indptr, indices, counts = lists
    ends = pattern_starts(groups.n_entries(indptr))
    n_entries, n_pixels = int(ends[-1]), math.prod(shape)
    dtype = indices.dtype if pixel_map is None else index_dtype(n_pixels)
    most = int(electrons_per_pattern(indptr, counts).max(initial=0)) * len(groups.steps)
    pixels_per_entry = n_pixels * len(groups.firsts) / max(n_entries, 1)
    n_parts = max(1, min(n_threads(), len(groups.firsts)))
    counter_bytes = n_parts * n_pixels * _counter_dtype(most).itemsize
    most_bytes = max(_COUNTER_BYTES, _COUNTER_PART * n_entries * dtype.itemsize)
    if pixels_per_entry > _PIXELS_PER_ENTRY or counter_bytes > most_bytes:
        return None
    pieces = equal_parts(ends, n_entries // _entries_at_a_time(n_entries))
    most_entries = int(np.diff(ends[pieces]).max())
    by_bits = pixels_per_entry > _FEW_PIXELS_PER_ENTRY
    tally = _Tally(n_pixels, dtype, _counter_dtype(most), n_parts, most_entries, by_bits)
    table = (None, np.uint64(0)) if pixel_map is None else pixel_map.short_lut
    result = JoinedLists(dtype, n_entries)
    for start, stop in pairwise(pieces.tolist()):
        part = groups.part(start, stop)
        tally.append_sums(lists, part, ends[start : stop + 1], table, result)
    return result.finished()


def _counter_dtype(most: int) -> np.dtype:
    """Return the dtype of counters of so many electrons."""
    wide = most > np.iinfo(np.uint32).max
    # no narrower than needed, but for the number of kernels to compile
    return np.dtype(np.uint64) if wide else max(count_dtype(most), np.dtype(np.uint16))


def _entries_at_a_time(n_entries: int) -> int:
    return min(max(_FEWEST_ENTRIES, int(_PART * n_entries)), _MOST_ENTRIES * n_threads())


class _Tally:
    """What patterns are counted in, for each of several parts that are worked on at once.

    Parameters
    ----------
    n_pixels : int
    index_dtype, counter_dtype : dtype
        Of pixels, and of what they count.
    n_parts : int
    most_entries : int
        That are counted in one go.
    by_bits : bool
        Whether hit pixels are found by their bits, rather than by all counters.
    """

    def __init__(
        self,
        n_pixels: int,
        index_dtype: np.dtype,
        counter_dtype: np.dtype,
        n_parts: int,
        most_entries: int,
        by_bits: bool,
    ) -> None:
        self._n_pixels, self._n_parts = n_pixels, n_parts
        n_words = n_pixels // _BITS + 1
        # one more pixel takes what is dropped
        self._counters = self._for_each_part(n_pixels + 1, counter_dtype)
        self._bits = self._for_each_part(n_words, np.dtype(np.uint64)) if by_bits else None
        noted = (n_words, np.dtype(np.uint32)) if by_bits else (n_pixels, index_dtype)
        self._noted = self._for_each_part(noted[0] + 1, noted[1])
        room = most_entries + _AT_ONCE * n_parts
        self._found = np.empty(room, index_dtype)
        self._weights = np.empty(room, counter_dtype)

    def _for_each_part(self, n: int, dtype: np.dtype) -> np.ndarray:
        """Return n zeros for each part, and so many more that no two share a line of the cache."""
        return np.zeros((self._n_parts, n + _APART // dtype.itemsize), dtype)

    def append_sums(
        self,
        lists: Lists,
        groups: Groups,
        ends: np.ndarray,
        table: tuple[np.ndarray | None, np.uint64],
        result: JoinedLists,
    ) -> None:
        """Append the sums of groups to the result.

        Parameters
        ----------
        lists : (indptr, indices, counts)
        groups : Groups
        ends : (n + 1,) int64
            Where the entries of each group begin and end, if counted group by group.
        table : (array or None, uint64)
            As `PixelMap.short_lut`; None if every pixel is its own target.
        result : JoinedLists
        """
        bounds = equal_parts(ends, self._n_parts)
        n_parts = len(bounds) - 1
        starts = ends[bounds] - ends[0] + _AT_ONCE * np.arange(n_parts + 1)
        lengths = np.zeros(len(groups.firsts), np.int64)
        _tally_part.on_cpu(
            n_parts, bounds, groups.firsts, groups.steps, *lists, *table,
            self._n_pixels, self._counters, self._bits, self._noted,
            starts, self._found, self._weights, lengths,
        )  # fmt: skip
        targets = pattern_starts(lengths)[bounds]
        filled = zip(starts[:-1], starts[:-1] + np.diff(targets), strict=True)
        largest = max(int(self._weights[start:stop].max(initial=0)) for start, stop in filled)
        room = result.room(lengths, largest, int(ends[-1] - ends[0]))
        _copy_part.on_cpu(n_parts, starts, targets, self._found, self._weights, *room)


@scalar_function
def _target(index, table, shift):
    """Return the pixel that an index goes to: itself without a table."""
    if table is None:
        return np.uint64(index)
    return np.uint64(table[index >> shift])


@scalar_function
def _count_list(first, last, indices, counts, table, shift, counters, bits):
    """Count entries into the pixels that a table tells, and set the bits of those, if any."""
    # numba tests numbers of entries for a minus sign, but not those that come from a loop over them
    if counts is None:
        for index in indices[first:last]:
            target = _target(index, table, shift)
            counters[target] += 1
            if bits is not None:
                bits[target >> _WORD_SHIFT] |= _ONE << (target & _BIT_MASK)
    else:
        for e in range(first, last):
            target = _target(indices[e], table, shift)
            counters[target] += counts[e]
            if bits is not None:
                bits[target >> _WORD_SHIFT] |= _ONE << (target & _BIT_MASK)


@scalar_function
def _list_by_bits(counters, bits, noted, found, weights):
    """List the pixels whose bits are set, clear them, and return how many.

    Which words have any is as good as random: they are noted without a branch.
    """
    n_hit = np.uint64(0)
    for k in range(len(bits)):
        noted[n_hit] = k
        n_hit += np.uint64(bits[k] != 0)
    at = np.uint64(0)
    for k in noted[:n_hit]:
        word = bits[k]
        bits[k] = 0
        begin = np.uint64(k) << _WORD_SHIFT
        end = at + set_bits(word)
        # how many there are is hard to guess: some too many are written, then written over
        while word != 0:
            for ahead in range(_AT_ONCE):
                found[at + np.uint64(ahead)] = begin + trailing_zeros(word)
                word &= word - _ONE
            at += np.uint64(_AT_ONCE)
        at = end
    for k in range(at):
        target = found[k]
        weights[k] = counters[target]
        counters[target] = 0
    return np.int64(at)


@scalar_function
def _list_by_counters(counters, noted, found, weights):
    """List the pixels that count something, as `_list_by_bits` does, and clear their counters."""
    n_hit = np.uint64(0)
    for k in range(len(counters)):
        noted[n_hit] = k
        n_hit += np.uint64(counters[k] > 0)
    hit = noted[:n_hit]
    own_found, own_weights = found[:n_hit], weights[:n_hit]
    for k in range(len(hit)):
        own_found[k] = hit[k]
    for k in range(len(hit)):
        own_weights[k] = counters[hit[k]]
    counters[:] = 0
    return np.int64(n_hit)


@kernel
def _tally_part(
    part, bounds, firsts, steps, indptr, indices, counts, table, shift,
    n_pixels, counters, bits, noted, starts, found, weights, lengths,
):  # fmt: skip
    """Sum groups bounds[part] to bounds[part + 1], and put them into the room of their entries."""
    dropped = np.uint64(n_pixels)
    own_counters, own_noted = counters[part], noted[part]
    own_bits = None if bits is None else bits[part, : (dropped >> _WORD_SHIFT) + _ONE]
    at = starts[part]
    for g in range(bounds[part], bounds[part + 1]):
        for step in steps:
            p = firsts[g] + step
            _count_list(
                indptr[p], indptr[p + 1], indices, counts, table, shift, own_counters, own_bits
            )
        own_counters[dropped] = 0
        room = slice(at, starts[part + 1])
        if own_bits is None:
            lengths[g] = _list_by_counters(
                own_counters[:dropped], own_noted, found[room], weights[room]
            )
        else:
            own_bits[dropped >> _WORD_SHIFT] &= ~(_ONE << (dropped & _BIT_MASK))
            lengths[g] = _list_by_bits(
                own_counters, own_bits, own_noted, found[room], weights[room]
            )
        at += lengths[g]


@kernel
def _copy_part(part, starts, targets, found, weights, indices, counts):
    n = targets[part + 1] - targets[part]
    source, target = starts[part], targets[part]
    own = found[source : source + n]
    own_indices = indices[target : target + n]
    for k in range(n):
        own_indices[k] = own[k]
    if counts is not None:
        own_weights = weights[source : source + n]
        own_counts = counts[target : target + n]
        for k in range(n):
            own_counts[k] = own_weights[k]
