"""Pixels of each pattern put in order, in place; repeated pixels stay."""

from __future__ import annotations

import numpy as np

from ..device import kernel, n_threads, scalar_function

_PARTS_PER_THREAD = 8
_SMALL = 24  # up to so many, insertion is fastest


def sort_pixels(indptr: np.ndarray, indices: np.ndarray) -> None:
    """Sort indices[indptr[p]:indptr[p + 1]] of every pattern p.

    Parameters
    ----------
    indptr : (patterns + 1,) int64
    indices : (entries,) uint16 or uint32
        Changed.
    """
    n_patterns = len(indptr) - 1
    n_parts = min(n_patterns, _PARTS_PER_THREAD * n_threads())
    _sort_patterns.on_cpu(n_parts, n_parts, indptr, indices)


@kernel
def _sort_patterns(part, n_parts, indptr, indices):
    n_patterns = len(indptr) - 1
    other = np.empty(0, indices.dtype)
    starts = np.empty((4, 256), np.int64)
    for p in range(n_patterns * part // n_parts, n_patterns * (part + 1) // n_parts):
        keys = indices[indptr[p] : indptr[p + 1]]
        if len(keys) <= _SMALL:
            _insert(keys)
        else:
            if len(other) < len(keys):
                other = np.empty(2 * len(keys), indices.dtype)
            _sort_by_bytes(keys, other[: len(keys)], starts)


@scalar_function
def _insert(keys):
    for e in range(1, len(keys)):
        key = keys[e]
        at = e
        while at > 0 and keys[at - 1] > key:
            keys[at] = keys[at - 1]
            at -= 1
        keys[at] = key


@scalar_function
def _sort_by_bytes(keys, other, starts):
    """Sort by one byte after the other, the lowest first, as often as the largest key needs."""
    largest = keys.max()
    n_passes = 1
    while n_passes < keys.itemsize and largest >> (8 * n_passes):
        n_passes += 1
    starts[:n_passes] = 0
    for key in keys:
        for digit in range(n_passes):
            starts[digit, (key >> (8 * digit)) & 255] += 1
    for digit in range(n_passes):
        total = 0
        for byte in range(256):
            count = starts[digit, byte]
            starts[digit, byte] = total
            total += count
    source, target = keys, other
    for digit in range(n_passes):
        for key in source:
            byte = (key >> (8 * digit)) & 255
            target[starts[digit, byte]] = key
            starts[digit, byte] += 1
        source, target = target, source
    if n_passes % 2:
        keys[:] = other
