"""Compiled operations on event lists: put in canonical order, merge, gather, check.

Event lists are CSR arrays: pattern p owns entries indptr[p] to indptr[p + 1] of `indices` (flat
detector index) and, where any pixel was hit more than once, of `counts`. Canonical lists ascend
strictly inside each pattern.
"""

from __future__ import annotations

import numpy as np

from .compiled import scalar_function
from .device import kernel
from .errors import EventRangeError

#: Narrowest dtype in which dense patterns are given to others, as cameras' images have it.
PATTERN_DTYPE = np.dtype(np.uint16)
_UNSIGNED = (np.uint8, np.uint16, np.uint32)


def index_dtype(n_pixels: int) -> np.dtype:
    """Return the smallest dtype for flat indices of a detector with `n_pixels` pixels."""
    return np.dtype(np.uint16 if n_pixels <= 2**16 else np.uint32)


def count_dtype(largest: int) -> np.dtype:
    """Return the smallest unsigned dtype that holds `largest`."""
    for dtype in _UNSIGNED:
        if largest <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise EventRangeError(
        f"a pixel counts {largest} electrons in one pattern; at most {np.iinfo(np.uint32).max} "
        "can be kept"
    )


def ascending(indptr: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return for every pattern whether its indices ascend strictly, (patterns,) bool."""
    result = np.empty(len(indptr) - 1, np.bool_)
    _ascending.on_cpu(len(result), indptr, indices, result)
    return result


def canonical(
    indptr: np.ndarray, indices: np.ndarray, counts: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Sort each pattern and merge repeated pixels into counts; what is canonical is left alone.

    Parameters
    ----------
    indptr : (patterns + 1,) int64
    indices : (entries,) uint16 or uint32
    counts : (entries,) unsigned integer, optional
        Electrons per entry; one each when missing.

    Returns
    -------
    indptr, indices, counts
        `counts` is None if every entry is one electron.
    """
    ordered = ascending(indptr, indices)
    if not ordered.all():
        merged_lists = _merged_in_order(indptr, indices) if counts is None else None
        if merged_lists is not None:
            return merged_lists
        sums = sum_dtype(counts)
        weights = np.ones(len(indices), sums) if counts is None else counts.astype(sums)
        merged = indices.copy()
        lengths = np.empty(len(ordered), np.int64)
        _sort_and_merge.on_cpu(len(ordered), indptr, merged, weights, ordered, lengths)
        indptr, indices, counts = compacted(indptr, lengths, merged, weights)
    return indptr, indices, smallest_counts(counts)


def _merged_in_order(
    indptr: np.ndarray, indices: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None] | None:
    """Merge repeated pixels of patterns that are in order, or return None if any is not.

    Measured first, then written: nothing is allocated beside the result.
    """
    n_patterns = len(indptr) - 1
    new_indptr = np.zeros(n_patterns + 1, np.int64)
    longest = np.empty(n_patterns, np.int64)
    _count_runs.on_cpu(n_patterns, indptr, indices, new_indptr[1:], longest)
    if (new_indptr < 0).any():
        return None
    np.cumsum(new_indptr, out=new_indptr)
    merged = np.empty(new_indptr[-1], indices.dtype)
    counts = np.empty(new_indptr[-1], count_dtype(int(longest.max(initial=0))))
    _write_runs.on_cpu(n_patterns, indptr, indices, new_indptr, merged, counts)
    return new_indptr, merged, counts


def smallest_counts(counts: np.ndarray | None) -> np.ndarray | None:
    """Return `counts` in the smallest dtype, or None if all are one."""
    if counts is None or counts.size == 0 or (counts.max() == 1 and counts.min() == 1):
        return None
    return counts.astype(count_dtype(int(counts.max())), copy=False)


def sum_dtype(counts: np.ndarray | None) -> type[np.unsignedinteger]:
    """Return a dtype that holds the sum of any of the `counts`."""
    too_large = counts is not None and float(counts.sum(dtype=np.float64)) > np.iinfo(np.uint32).max
    return np.uint64 if too_large else np.uint32


def electrons_per_pattern(indptr: np.ndarray, counts: np.ndarray | None) -> np.ndarray:
    """Return the number of electrons of every pattern, (patterns,) int64."""
    if counts is None:
        return np.diff(indptr)
    sums = np.empty(len(indptr) - 1, np.int64)
    _sum_counts.on_cpu(len(sums), indptr, counts, sums)
    return sums


def gathered(
    indptr: np.ndarray, indices: np.ndarray, counts: np.ndarray | None, patterns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return the lists of the chosen `patterns`, in that order.

    Raises
    ------
    IndexError
        If there is no such pattern; negative numbers are none.
    """
    if len(patterns) and not 0 <= patterns.min() <= patterns.max() < len(indptr) - 1:
        raise IndexError(
            f"patterns {patterns.min()} to {patterns.max()} are chosen of {len(indptr) - 1}"
        )
    new_indptr = np.zeros(len(patterns) + 1, np.int64)
    _measure_patterns.on_cpu(len(patterns), indptr, patterns, new_indptr[1:])
    np.cumsum(new_indptr, out=new_indptr)
    new_indices = np.empty(new_indptr[-1], indices.dtype)
    _copy_patterns.on_cpu(len(patterns), indptr, indices, patterns, new_indptr, new_indices)
    if counts is None:
        return new_indptr, new_indices, None
    new_counts = np.empty(new_indptr[-1], counts.dtype)
    _copy_patterns.on_cpu(len(patterns), indptr, counts, patterns, new_indptr, new_counts)
    return new_indptr, new_indices, smallest_counts(new_counts)


def pattern_starts(lengths: np.ndarray) -> np.ndarray:
    """Return where lists of these lengths begin, and the last one ends: their `indptr`."""
    indptr = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return indptr


def compacted(indptr, lengths, indices, counts):
    """Return the lists without what lies behind the first `lengths` entries of every pattern."""
    new_indptr = pattern_starts(lengths)
    if new_indptr[-1] == indptr[-1]:
        return new_indptr, indices, counts
    new_indices = np.empty(new_indptr[-1], indices.dtype)
    _copy_starts.on_cpu(len(lengths), indptr, indices, new_indptr, new_indices)
    new_counts = np.empty(new_indptr[-1], counts.dtype)
    _copy_starts.on_cpu(len(lengths), indptr, counts, new_indptr, new_counts)
    return new_indptr, new_indices, new_counts


@kernel
def _sum_counts(p, indptr, counts, sums):
    total = 0
    for count in counts[indptr[p] : indptr[p + 1]]:
        total += np.int64(count)
    sums[p] = total


@kernel
def _ascending(p, indptr, indices, result):
    first, last = indptr[p], indptr[p + 1]
    # from views, as loops whose index might be negative are not vectorised: 15 times faster
    before, after = indices[first : max(first, last - 1)], indices[first + 1 : last]
    falls = np.uint32(0)
    for e in range(len(after)):
        falls |= np.uint32(after[e] <= before[e])
    result[p] = falls == 0


@kernel
def _count_runs(p, indptr, indices, lengths, longest):
    """Count the different indices of a pattern, -1 if it is not in order, and the most repeats."""
    runs = 0
    run = 0
    longest[p] = 0
    for e in range(indptr[p], indptr[p + 1]):
        if e > indptr[p] and indices[e] < indices[e - 1]:
            lengths[p] = -1
            return
        repeats = e > indptr[p] and indices[e] == indices[e - 1]
        run = run + 1 if repeats else 1
        runs += not repeats
        longest[p] = max(longest[p], run)
    lengths[p] = runs


@kernel
def _write_runs(p, indptr, indices, new_indptr, out, counts):
    at = new_indptr[p] - 1
    for e in range(indptr[p], indptr[p + 1]):
        if e == indptr[p] or indices[e] != indices[e - 1]:
            at += 1
            out[at] = indices[e]
            counts[at] = 0
        counts[at] += 1


@kernel
def _measure_patterns(j, indptr, patterns, lengths):
    lengths[j] = indptr[patterns[j] + 1] - indptr[patterns[j]]


@kernel
def _copy_patterns(j, indptr, values, patterns, new_indptr, out):
    start = indptr[patterns[j]]
    for e in range(new_indptr[j + 1] - new_indptr[j]):
        out[new_indptr[j] + e] = values[start + e]


@kernel
def _copy_starts(p, indptr, values, new_indptr, out):
    for e in range(new_indptr[p + 1] - new_indptr[p]):
        out[new_indptr[p] + e] = values[indptr[p] + e]


@scalar_function
def merge_sorted(start, stop, indices, counts):
    """Merge equal neighbours of a sorted pattern in place and return the new length."""
    if start == stop:
        return 0
    last = start
    for e in range(start + 1, stop):
        if indices[e] == indices[last]:
            counts[last] += counts[e]
        else:
            last += 1
            indices[last] = indices[e]
            counts[last] = counts[e]
    return last - start + 1


@scalar_function
def _insertion_sort(start, stop, indices, counts):
    for e in range(start + 1, stop):
        index, count = indices[e], counts[e]
        at = e
        while at > start and indices[at - 1] > index:
            indices[at] = indices[at - 1]
            counts[at] = counts[at - 1]
            at -= 1
        indices[at] = index
        counts[at] = count


@scalar_function
def _radix_pass(shift, keys, values, sorted_keys, sorted_values):
    """Sort stably by the 8 bits above `shift`."""
    starts = np.zeros(257, np.int64)
    for key in keys:
        starts[((key >> shift) & 255) + 1] += 1
    for digit in range(256):
        starts[digit + 1] += starts[digit]
    for e in range(len(keys)):
        digit = (keys[e] >> shift) & 255
        sorted_keys[starts[digit]] = keys[e]
        sorted_values[starts[digit]] = values[e]
        starts[digit] += 1


@scalar_function
def sort_pattern(start, stop, indices, counts):
    """Sort one pattern in place: linear in its events, as detector indices have few bits."""
    if stop - start <= 32:
        _insertion_sort(start, stop, indices, counts)
        return
    keys, values = indices[start:stop], counts[start:stop]
    other_keys, other_values = np.empty_like(keys), np.empty_like(values)
    largest = keys.max()
    shift = np.uint32(0)
    while shift < 32 and (largest >> shift) > 0:
        _radix_pass(shift, keys, values, other_keys, other_values)
        _radix_pass(shift + np.uint32(8), other_keys, other_values, keys, values)
        shift += np.uint32(16)


@kernel
def _sort_and_merge(p, indptr, indices, counts, ascending, lengths):
    start, stop = indptr[p], indptr[p + 1]
    if ascending[p]:
        lengths[p] = stop - start
    else:
        if not _in_order(start, stop, indices):
            sort_pattern(start, stop, indices, counts)
        lengths[p] = merge_sorted(start, stop, indices, counts)


@scalar_function
def _in_order(start, stop, indices):
    """Return whether no index is smaller than the one before; pixels may repeat."""
    for e in range(start + 1, stop):  # noqa: SIM110, a generator would not compile
        if indices[e] < indices[e - 1]:
            return False
    return True
