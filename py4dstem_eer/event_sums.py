"""Sums of groups of patterns, on their detector or through a map of it: counted, or else sorted."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .detector import DROPPED, PixelMap, Shape2D
from .device import kernel
from .event_lists import (
    canonical,
    compacted,
    gathered,
    index_dtype,
    merge_sorted,
    pattern_starts,
    smallest_counts,
    sort_pattern,
    sum_dtype,
)
from .event_pieces import Lists, joined, piece_bounds
from .event_tally import Groups, tallied


def summed(
    lists: Lists, groups: Groups, shape: Shape2D, pixel_map: PixelMap | None = None
) -> Lists:
    """Return the sum of every group of patterns; canonical.

    Parameters
    ----------
    lists : (indptr, indices, counts)
    groups : Groups
    shape : (int, int)
        Of the detector, that the map leads to if there is one.
    pixel_map : PixelMap, optional
    """
    counted = tallied(lists, groups, shape, pixel_map)
    if counted is not None:
        return counted
    ends = pattern_starts(groups.n_entries(lists[0]))
    # some at a time, as sorting takes several times the memory of what is sorted
    parts = (
        (int(ends[stop] - ends[start]), _sorted_sums(lists, groups.part(start, stop), pixel_map))
        for start, stop in pairwise(piece_bounds(ends).tolist())
    )
    return joined(parts, int(ends[-1]))


def _sorted_sums(lists: Lists, groups: Groups, pixel_map: PixelMap | None) -> Lists:
    """Return the sums of groups by sorting; takes several times the memory of their lists."""
    indptr, indices, counts = _lists_of(groups.patterns(), lists)
    indptr = indptr[:: len(groups.steps)]
    if pixel_map is None:
        return canonical(indptr, indices, counts)
    return _mapped_by_sorting(indptr, indices, counts, pixel_map)


def _lists_of(patterns: np.ndarray, lists: Lists) -> Lists:
    """Return the lists of patterns; without a copy of the entries where they follow each other."""
    indptr, indices, counts = lists
    if len(patterns) == 0 or not np.array_equal(patterns, np.arange(len(patterns)) + patterns[0]):
        return gathered(*lists, patterns)
    start, stop = patterns[0], patterns[-1] + 1
    entries = slice(indptr[start], indptr[stop])
    own_counts = None if counts is None else counts[entries]
    return indptr[start : stop + 1] - indptr[start], indices[entries], own_counts


def _mapped_by_sorting(indptr, indices, counts, pixel_map):
    n_target = pixel_map.target_shape[0] * pixel_map.target_shape[1]
    out = np.empty(len(indices), index_dtype(n_target))
    lengths = np.empty(len(indptr) - 1, np.int64)
    weights = np.empty(len(indices), sum_dtype(counts))
    lists = (indptr, indices, counts, pixel_map.lut, out, weights)
    _map_by_sorting.on_cpu(len(lengths), *lists, lengths)
    indptr, indices, counts = compacted(indptr, lengths, out, weights)
    return indptr, indices, smallest_counts(counts)


@kernel
def _map_by_sorting(p, indptr, indices, counts, lut, out, weights, lengths):
    start = indptr[p]
    at = start
    for e in range(start, indptr[p + 1]):
        target = lut[indices[e]]
        if target != DROPPED:
            out[at] = target
            weights[at] = 1 if counts is None else counts[e]
            at += 1
    sort_pattern(start, at, out, weights)
    lengths[p] = merge_sorted(start, at, out, weights)
