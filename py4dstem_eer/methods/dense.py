"""Events as a dense array."""

from __future__ import annotations

import numpy as np

from ..device import get_device, kernel
from ..events import EventStore
from ..progress import track
from .blocks import lists_on

#: Dtypes that compiled loops can write.
_COMPILED = tuple(np.dtype(code) for code in "bBhHiIlLqQfdFD")


@kernel
def _scatter(p, indptr, indices, counts, dense):
    for e in range(indptr[p], indptr[p + 1]):
        dense[p, indices[e]] = counts[e] if len(counts) > 0 else 1


def dense_array(events: EventStore, dtype: np.dtype) -> np.ndarray:
    """Return all patterns as a new array (Rx, Ry, Qx, Qy) of `dtype` [electrons]."""
    direct = dtype if dtype in _COMPILED else events.count_dtype
    dense = np.zeros(events.shape, direct)
    for first, block in track(events.blocks(), "Dense array"):
        n_pixels = events.detector_shape[0] * events.detector_shape[1]
        part = dense[first : first + block.scan_shape[0]].reshape(block.n_patterns, n_pixels)
        _scatter.on_cpu(block.n_patterns, *lists_on(block, get_device("cpu")), part)
    return dense.astype(dtype, copy=False)
