"""Event lists worked on in pieces, which needs little memory besides the result."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from .event_lists import pattern_starts

Lists = tuple[np.ndarray, np.ndarray, np.ndarray | None]

#: Pieces have this part of all entries, or this many if that is more.
_PART, _FEWEST_ENTRIES = 1 / 128, 2**14
#: Room beyond what the pieces so far let expect.
_SPARE = 1.01


class Pieces:
    """Lists split between patterns, into pieces of about equal numbers of entries.

    Parameters
    ----------
    indptr, indices, counts
        See `event_lists`.
    """

    def __init__(self, indptr: np.ndarray, indices: np.ndarray, counts: np.ndarray | None) -> None:
        self._lists = indptr, indices, counts
        size = max(_FEWEST_ENTRIES, int(_PART * len(indices)))
        n_pieces, last = max(1, len(indices) // size), len(indptr) - 1
        # whole numbers: to compare with others, numpy would make a copy of indptr
        shares = np.linspace(0, len(indices), n_pieces + 1).astype(np.int64)[1:-1]
        inner = np.searchsorted(indptr, shares)
        self._bounds = [0, *np.unique(inner[(inner > 0) & (inner < last)]).tolist(), last]

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __iter__(self) -> Iterator[Lists]:
        indptr, indices, counts = self._lists
        for start, stop in pairwise(self._bounds):
            entries = slice(indptr[start], indptr[stop])
            part = None if counts is None else counts[entries]
            yield indptr[start : stop + 1] - indptr[start], indices[entries], part


def joined(parts: Iterable[Lists], n_parts: int) -> Lists:
    """Return the lists of all `n_parts` parts, of which there is at least one, as one.

    They are put where they stay: to keep all parts until the end would take twice the memory.
    """
    following = iter(parts)
    indptr, first, first_counts = next(following)
    lengths = [np.diff(indptr)]
    indices = _Growing(first, n_parts)
    counts = None if first_counts is None else _Growing(first_counts, n_parts)
    for k, (indptr, more, more_counts) in enumerate(following, 2):
        lengths.append(np.diff(indptr))
        if counts is None and more_counts is not None:
            counts = _Growing(np.ones(len(indices), np.uint8), n_parts / (k - 1))
        if counts is not None:
            counts.add(1 if more_counts is None else more_counts, len(more), n_parts / k)
        indices.add(more, len(more), n_parts / k)
    starts = pattern_starts(np.concatenate(lengths))
    return starts, indices.finished(), None if counts is None else counts.finished()


class _Growing:
    """An array filled part by part, with about as much room as the parts so far let expect.

    To grow it with every part would move it as often, and leave holes in memory.

    Parameters
    ----------
    values : (n,) array
        The first part.
    n_times : float
        How many times as much is expected altogether.
    """

    def __init__(self, values: np.ndarray, n_times: float) -> None:
        self._array = np.empty(_room(len(values), n_times), values.dtype)
        self._array[: len(values)] = values
        self._n = len(values)

    def __len__(self) -> int:
        return self._n

    def add(self, values: np.ndarray | int, n_values: int, n_times: float) -> None:
        """Append values, or one of them so many times."""
        dtype = np.promote_types(self._array.dtype, np.min_scalar_type(values))
        self._array = self._array.astype(dtype, copy=False)
        end = self._n + n_values
        if end > len(self._array):
            self._array.resize(_room(end, n_times), refcheck=False)
        self._array[self._n : end] = values
        self._n = end

    def finished(self) -> np.ndarray:
        """Return the array, without the room that is left over; it must not be used further."""
        self._array.resize(self._n, refcheck=False)
        return self._array


def _room(n_values: int, n_times: float) -> int:
    return max(n_values, math.ceil(_SPARE * n_values * n_times))
