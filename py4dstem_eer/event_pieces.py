"""Event lists worked on in pieces, which needs little memory besides the result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

Lists = tuple[np.ndarray, np.ndarray, np.ndarray | None]

#: Pieces have this part of all entries, or this many if that is more.
_PART, _FEWEST_ENTRIES = 1 / 128, 2**14


def pieces(indptr: np.ndarray, indices: np.ndarray, counts: np.ndarray | None) -> Iterator[Lists]:
    """Split lists between patterns, into pieces of about equal numbers of entries."""
    size = max(_FEWEST_ENTRIES, int(_PART * len(indices)))
    n_pieces = max(1, len(indices) // size)
    shares = np.linspace(0, len(indices), n_pieces + 1)[1:-1]
    inner = np.searchsorted(indptr, shares)
    bounds = [0, *np.unique(inner[(inner > 0) & (inner < len(indptr) - 1)]), len(indptr) - 1]
    for start, stop in pairwise(bounds):
        entries = slice(indptr[start], indptr[stop])
        part = None if counts is None else counts[entries]
        yield indptr[start : stop + 1] - indptr[start], indices[entries], part


def joined(parts: Iterable[Lists]) -> Lists:
    """Return the lists of all parts, of which there is at least one, as one.

    They grow where they lie: to keep all parts until the end would take twice the memory.
    """
    following = iter(parts)
    indptr, indices, counts = next(following)
    lengths = [np.diff(indptr)]
    indices, counts = indices.copy(), None if counts is None else counts.copy()
    for indptr, more, more_counts in following:
        lengths.append(np.diff(indptr))
        counts = _extended_counts(counts, more_counts, len(indices), len(more))
        indices = _extended(indices, more, len(more))
    indptr = np.zeros(sum(len(part) for part in lengths) + 1, np.int64)
    np.cumsum(np.concatenate(lengths), out=indptr[1:])
    return indptr, indices, counts


def _extended_counts(
    counts: np.ndarray | None, more: np.ndarray | None, n_before: int, n_more: int
) -> np.ndarray | None:
    if counts is None and more is None:
        return None
    if counts is None:
        counts = np.ones(n_before, np.uint8)
    if more is None:
        return _extended(counts, 1, n_more)
    counts = counts.astype(np.promote_types(counts.dtype, more.dtype), copy=False)
    return _extended(counts, more, n_more)


def _extended(array: np.ndarray, values: np.ndarray | int, n_values: int) -> np.ndarray:
    array.resize(len(array) + n_values, refcheck=False)
    array[len(array) - n_values :] = values
    return array
