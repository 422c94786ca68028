"""Sums of patterns that are shifted onto a common origin."""

from __future__ import annotations

import numpy as np

from ..device import get_device, kernel
from ..events import EventStore
from ..progress import track
from .reductions import reduce_patterns


@kernel
def _add_shifted(i, bounds, indptr, indices, counts, weights, shift_x, shift_y, shape, sums):
    rows, columns = shape[0], shape[1]
    for p in range(bounds[i], bounds[i + 1]):
        for e in range(indptr[p], indptr[p + 1]):
            r = (indices[e] // columns + shift_x[p]) % rows
            c = (indices[e] % columns + shift_y[p]) % columns
            count = counts[e] if len(counts) > 0 else 1
            sums[i, r * columns + c] += weights[p] * count


def shifted_sum(
    events: EventStore, weights: np.ndarray, shift: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return the sum of all patterns, weighted, and each shifted by whole pixels.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    weights : (Rx, Ry) bool, real or complex
    shift : ((Rx, Ry), (Rx, Ry)) int
        Shift along detector (rows, columns) [px], with periodic edges.

    Returns
    -------
    pattern : (Qx, Qy) float64 or complex128
        [electrons]
    """
    dtype = np.dtype(np.complex128 if np.iscomplexobj(weights) else np.float64)
    total: np.ndarray = np.zeros(events.detector_shape[0] * events.detector_shape[1], dtype)
    shape = np.array(events.detector_shape, np.int64)
    for first, block in track(events.blocks(), "Sum of patterns"):
        rows = slice(first, first + block.scan_shape[0])
        extra = tuple(a[rows].ravel() for a in (weights.astype(dtype), *shift))
        cpu = get_device("cpu")
        total += reduce_patterns(block, _add_shifted, (*extra, shape), dtype, cpu).sum(0)
    return total.reshape(events.detector_shape)
