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


def pieces(indptr: np.ndarray, indices: np.ndarray, counts: np.ndarray | None) -> Iterator[Lists]:
    """Split lists between patterns, into pieces of about equal numbers of entries."""
    size = max(_FEWEST_ENTRIES, int(_PART * len(indices)))
    n_pieces, last = max(1, len(indices) // size), len(indptr) - 1
    # whole numbers: to compare with others, numpy would make a copy of indptr
    shares = np.linspace(0, len(indices), n_pieces + 1).astype(np.int64)[1:-1]
    inner = np.searchsorted(indptr, shares)
    bounds = [0, *np.unique(inner[(inner > 0) & (inner < last)]).tolist(), last]
    for start, stop in pairwise(bounds):
        entries = slice(indptr[start], indptr[stop])
        part = None if counts is None else counts[entries]
        yield indptr[start : stop + 1] - indptr[start], indices[entries], part


def joined(parts: Iterable[tuple[int, Lists]], n_entries: int) -> Lists:
    """Return the lists of all parts as one.

    They are put together as they come: to keep all parts until the end would take twice the memory.

    Parameters
    ----------
    parts : iterable of (int, lists)
        At least one: of how many entries it is made, and its lists, which are no longer than that.
    n_entries : int
        Of how many entries all parts are made, or fewer.
    """
    following = iter(parts)
    n_done, (indptr, first, first_counts) = next(following)
    lengths = [np.diff(indptr)]
    indices = _Growing(first.dtype, n_entries)
    indices.add(first, len(first), n_done)
    counts = None
    if first_counts is not None:
        counts = _Growing(first_counts.dtype, n_entries)
        counts.add(first_counts, len(first), n_done)
    for n_of_part, (indptr, more, more_counts) in following:
        lengths.append(np.diff(indptr))
        if counts is None and more_counts is not None:
            counts = _Growing(np.dtype(np.uint8), n_entries)
            counts.add(1, len(indices), n_done)
        n_done += n_of_part
        if counts is not None:
            counts.add(1 if more_counts is None else more_counts, len(more), n_done)
        indices.add(more, len(more), n_done)
    starts = pattern_starts(np.concatenate(lengths))
    return starts, indices.finished(), None if counts is None else counts.finished()


class _Growing:
    """An array filled part by part, with about as much room as the parts so far let expect.

    To grow it with every part would move it as often, and leave holes in memory.

    Parameters
    ----------
    dtype : dtype
    n_entries : int
        Of how many entries all parts are made: there are no more values.
    """

    def __init__(self, dtype: np.dtype, n_entries: int) -> None:
        self._array = np.empty(0, dtype)
        self._n_entries = n_entries
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, values: np.ndarray | int, n_values: int, n_done: int) -> None:
        """Append values, or one of them so many times, with which so many entries are done."""
        dtype = np.promote_types(self._array.dtype, np.min_scalar_type(values))
        self._array = self._array.astype(dtype, copy=False)
        end = self._n + n_values
        if end > len(self._array):
            expected = math.ceil(_SPARE * end * self._n_entries / max(n_done, 1))
            self._grow(max(end, min(expected, self._n_entries)))
        self._array[self._n : end] = values
        self._n = end

    def _grow(self, n_values: int) -> None:
        if self._n == 0:  # other than resizing, this does not touch the new memory
            self._array = np.empty(n_values, self._array.dtype)
        else:
            self._array.resize(n_values, refcheck=False)

    def finished(self) -> np.ndarray:
        """Return the array, without the room that is left over; it must not be used further."""
        self._array.resize(self._n, refcheck=False)
        return self._array
