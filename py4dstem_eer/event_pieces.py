"""Event lists worked on in pieces, which needs little memory besides the result."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from .event_lists import count_dtype, pattern_starts

Lists = tuple[np.ndarray, np.ndarray, np.ndarray | None]

#: Pieces have this part of all entries, or this many if that is more.
_PART, _FEWEST_ENTRIES = 1 / 128, 2**14
#: Room beyond what the pieces so far let expect.
_SPARE = 1.01


def pieces(indptr: np.ndarray, indices: np.ndarray, counts: np.ndarray | None) -> Iterator[Lists]:
    """Split lists between patterns, into pieces of about equal numbers of entries."""
    for start, stop in pairwise(piece_bounds(indptr).tolist()):
        entries = slice(indptr[start], indptr[stop])
        part = None if counts is None else counts[entries]
        yield indptr[start : stop + 1] - indptr[start], indices[entries], part


def piece_bounds(ends: np.ndarray) -> np.ndarray:
    """Return the bounds of pieces of lists, of about equal numbers of entries.

    Parameters
    ----------
    ends : (n + 1,) int64
        Where the entries of each list begin, and where those of the last one end.

    Returns
    -------
    bounds : (pieces + 1,) int64
        Piece i is of the lists bounds[i] to bounds[i + 1].
    """
    n_entries = int(ends[-1] - ends[0])
    return equal_parts(ends, n_entries // max(_FEWEST_ENTRIES, int(_PART * n_entries)))


def equal_parts(ends: np.ndarray, n_parts: int) -> np.ndarray:
    """Return the bounds of so many parts of lists, or fewer; parameters as of `piece_bounds`."""
    # whole numbers: to compare with others, numpy would make a copy of the ends
    shares = np.linspace(ends[0], ends[-1], max(1, n_parts) + 1).astype(np.int64)[1:-1]
    inner, last = np.unique(np.searchsorted(ends, shares)), len(ends) - 1
    return np.r_[0, inner[(inner > 0) & (inner < last)], last]


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
    n_of_part, lists = next(following)
    result = JoinedLists(lists[1].dtype, n_entries)
    result.add(lists, n_of_part)
    for n_of_part, lists in following:
        result.add(lists, n_of_part)
    return result.finished()


class JoinedLists:
    """Lists put together part by part; see `joined`.

    Parameters
    ----------
    dtype : dtype
        Of the indices.
    n_entries : int
        Of how many entries all parts are made, or fewer.
    """

    def __init__(self, dtype: np.dtype, n_entries: int) -> None:
        self._lengths: list[np.ndarray] = [np.zeros(0, np.int64)]
        self._indices = _Growing(dtype, n_entries)
        self._counts: _Growing | None = None
        self._n_entries = n_entries
        self._n_done = 0

    def add(self, lists: Lists, n_of_part: int) -> None:
        """Append lists, which are made of so many entries."""
        indptr, indices, counts = lists
        largest = 1 if counts is None else np.iinfo(counts.dtype).max
        room, room_for_counts = self.room(np.diff(indptr), largest, n_of_part)
        room[:] = indices
        if room_for_counts is not None:
            room_for_counts[:] = 1 if counts is None else counts

    def room(
        self, lengths: np.ndarray, largest: int, n_of_part: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return room for the entries of lists, to be filled before anything else is done.

        Parameters
        ----------
        lengths : (n,) int64
            Of the lists.
        largest : int
            No count is larger.
        n_of_part : int
            Of how many entries the lists are made.

        Returns
        -------
        indices : (lengths.sum(),)
        counts : (lengths.sum(),) or None
            None if every entry is one electron, so far.
        """
        n, before = int(lengths.sum()), self._n_done
        self._n_done += n_of_part
        self._lengths.append(lengths)
        if self._counts is None and largest > 1:
            self._counts = _Growing(count_dtype(largest), self._n_entries)
            self._counts.room(self._counts.dtype, len(self._indices), before)[:] = 1
        indices = self._indices.room(self._indices.dtype, n, self._n_done)
        if self._counts is None:
            return indices, None
        return indices, self._counts.room(count_dtype(largest), n, self._n_done)

    def finished(self) -> Lists:
        """Return the lists; nothing can be added afterwards."""
        starts = pattern_starts(np.concatenate(self._lengths))
        counts = None if self._counts is None else self._counts.finished()
        return starts, self._indices.finished(), counts


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

    @property
    def dtype(self) -> np.dtype:
        """Of the values, so far."""
        return self._array.dtype

    def room(self, dtype: np.dtype, n_values: int, n_done: int) -> np.ndarray:
        """Return room for more values of a dtype, with which so many entries are done."""
        dtype = np.promote_types(self._array.dtype, dtype)
        self._array = self._array.astype(dtype, copy=False)
        start, end = self._n, self._n + n_values
        if end > len(self._array):
            expected = math.ceil(_SPARE * end * self._n_entries / max(n_done, 1))
            self._grow(max(end, min(expected, self._n_entries)))
        self._n = end
        return self._array[start:end]

    def _grow(self, n_values: int) -> None:
        if self._n == 0:  # other than resizing, this does not touch the new memory
            self._array = np.empty(n_values, self._array.dtype)
        else:
            self._array.resize(n_values, refcheck=False)

    def finished(self) -> np.ndarray:
        """Return the array, without the room that is left over; it must not be used further."""
        self._array.resize(self._n, refcheck=False)
        return self._array
