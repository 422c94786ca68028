"""Event lists sent through a map of the detector: cropped, binned, centred, turned.

Lists stay as they are where the map keeps the order; otherwise see `event_sums`. The result is
canonical, see `event_lists`.
"""

from __future__ import annotations

import numpy as np

from .detector import PixelMap
from .device import kernel
from .event_lists import index_dtype, smallest_counts
from .event_sums import Groups, summed


def mapped(
    indptr: np.ndarray, indices: np.ndarray, counts: np.ndarray | None, pixel_map: PixelMap
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Relabel every event by `pixel_map`, dropping what it drops; the result is canonical."""
    if pixel_map.keeps_order:
        return _mapped_in_order(indptr, indices, counts, pixel_map)
    patterns = Groups.single(np.arange(len(indptr) - 1))
    return summed((indptr, indices, counts), patterns, pixel_map.target_shape, pixel_map)


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
