"""Event lists sent through a map of the detector: cropped, binned, centred, turned.

Lists stay as they are where the map keeps the order; onto few pixels they are counted in a dense
scratch pattern, and sorted otherwise. The result is canonical, see `event_lists`.
"""

from __future__ import annotations

import numpy as np

from .compiled import scalar_function
from .detector import DROPPED, PixelMap
from .device import kernel
from .event_lists import (
    compacted,
    count_dtype,
    index_dtype,
    merge_sorted,
    smallest_counts,
    sort_pattern,
    sum_dtype,
)
from .event_pieces import joined, pieces

#: Up to this many target pixels, counting into a dense scratch pattern beats sorting.
_SCRATCH_PIXELS = 8192


def mapped(
    indptr: np.ndarray, indices: np.ndarray, counts: np.ndarray | None, pixel_map: PixelMap
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Relabel every event by `pixel_map`, dropping what it drops; the result is canonical."""
    n_target = pixel_map.target_shape[0] * pixel_map.target_shape[1]
    if pixel_map.keeps_order:
        return _mapped_in_order(indptr, indices, counts, pixel_map)
    if n_target <= _SCRATCH_PIXELS:
        return _mapped_by_counting(indptr, indices, counts, pixel_map)
    parts = (
        (len(piece[1]), _mapped_by_sorting(*piece, pixel_map))
        for piece in pieces(indptr, indices, counts)
    )
    return joined(parts, len(indices))


def _mapped_by_sorting(indptr, indices, counts, pixel_map):
    """Map onto many pixels; takes several times the memory of the lists."""
    n_target = pixel_map.target_shape[0] * pixel_map.target_shape[1]
    out = np.empty(len(indices), index_dtype(n_target))
    lengths = np.empty(len(indptr) - 1, np.int64)
    weights = np.empty(len(indices), sum_dtype(counts))
    lists = (indptr, indices, counts, pixel_map.lut, out, weights)
    _map_by_sorting.on_cpu(len(lengths), *lists, lengths)
    indptr, indices, counts = compacted(indptr, lengths, out, weights)
    return indptr, indices, smallest_counts(counts)


def _mapped_in_order(indptr, indices, counts, pixel_map):
    """Map where kept pixels stay in order: measure, then write what is kept."""
    lut = pixel_map.unsigned_lut
    n_target = pixel_map.target_shape[0] * pixel_map.target_shape[1]
    new_indptr = np.zeros(len(indptr), np.int64)
    _count_kept.on_cpu(len(indptr) - 1, indptr, indices, lut, n_target, new_indptr[1:])
    np.cumsum(new_indptr, out=new_indptr)
    out = np.empty(new_indptr[-1], index_dtype(n_target))
    weights = None if counts is None else np.empty(new_indptr[-1], counts.dtype)
    lists = (indptr, indices, counts, lut, n_target, new_indptr, out, weights)
    _write_kept.on_cpu(len(indptr) - 1, *lists)
    return new_indptr, out, smallest_counts(weights)


def _mapped_by_counting(indptr, indices, counts, pixel_map):
    """Map onto few pixels: count each pattern dense, twice, as that is cheaper than to keep it.

    The first time tells how much room the result needs, the second one fills it.
    """
    lut, shift = pixel_map.short_lut
    n_target = pixel_map.target_shape[0] * pixel_map.target_shape[1]
    n_patterns = len(indptr) - 1
    new_indptr = np.zeros(n_patterns + 1, np.int64)
    largest = np.zeros(n_patterns, sum_dtype(counts))
    lists = (indptr, indices, counts, lut, shift, n_target)
    _count_targets.on_cpu(n_patterns, *lists, new_indptr[1:], largest)
    most = int(largest.max(initial=0))
    np.cumsum(new_indptr, out=new_indptr)
    out = np.empty(new_indptr[-1], index_dtype(n_target))
    nothing = np.empty(0, count_dtype(most))
    weights = np.empty(new_indptr[-1], count_dtype(most)) if most > 1 else nothing
    _write_targets.on_cpu(n_patterns, *lists, new_indptr, out, weights)
    return new_indptr, out, weights if most > 1 else None


@kernel
def _count_kept(p, indptr, indices, lut, n_target, lengths):
    kept = 0
    for e in range(indptr[p], indptr[p + 1]):
        kept += lut[indices[e]] != n_target
    lengths[p] = kept


@kernel
def _write_kept(p, indptr, indices, counts, lut, n_target, new_indptr, out, weights):
    at = new_indptr[p]
    for e in range(indptr[p], indptr[p + 1]):
        target = lut[indices[e]]
        if target != n_target:
            out[at] = target
            if counts is not None:
                weights[at] = counts[e]
            at += 1


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


@scalar_function
def _count_into(scratch, start, stop, indices, counts, lut, shift):
    """Count a pattern's events into target pixels; the last one takes what is dropped."""
    if counts is None:
        for index in indices[start:stop]:  # numba tests numbers of entries for a minus sign
            scratch[lut[index >> shift]] += 1
    else:
        for e in range(start, stop):
            scratch[lut[indices[e] >> shift]] += counts[e]


@kernel
def _count_targets(p, indptr, indices, counts, lut, shift, n_target, lengths, largest):
    scratch = np.zeros(n_target + 1, largest.dtype)
    _count_into(scratch, indptr[p], indptr[p + 1], indices, counts, lut, shift)
    hit = np.uint32(0)
    most = scratch[n_target] * 0
    for count in scratch[:n_target]:
        hit += np.uint32(count > 0)
        most = max(most, count)
    lengths[p] = hit
    largest[p] = most


@kernel
def _write_targets(p, indptr, indices, counts, lut, shift, n_target, new_indptr, out, weights):
    # of the width of the largest count; what is dropped may overflow
    scratch = np.zeros(n_target + 1, weights.dtype)
    _count_into(scratch, indptr[p], indptr[p + 1], indices, counts, lut, shift)
    # which pixels are hit is as good as random: without a branch that costs half
    hit = np.empty(n_target + 1, out.dtype)
    n_hit = np.uint64(0)
    for target in range(n_target):
        hit[n_hit] = target
        n_hit += np.uint64(scratch[target] > 0)
    start, stop = new_indptr[p], new_indptr[p + 1]
    out[start:stop] = hit[: stop - start]
    if len(weights) > 0:
        weights_here = weights[start:stop]
        for k in range(len(weights_here)):
            weights_here[k] = scratch[hit[k]]
