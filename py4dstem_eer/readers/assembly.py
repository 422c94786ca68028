"""Event lists put together block by block, in canonical order, without a second copy."""

from __future__ import annotations

import math

import numpy as np

from .. import event_lists
from ..detector import Shape2D


class Assembly:
    """The growing lists of a number of patterns.

    For each block, ask for `room`, fill it, then `add` says how the patterns divide it.

    Parameters
    ----------
    n_patterns : int
    capacity : int
        Expected number of events; right if known, and grown if not.
    detector_shape : (int, int)
    """

    def __init__(self, n_patterns: int, capacity: int, detector_shape: Shape2D) -> None:
        self._indptr = np.zeros(n_patterns + 1, np.int64)
        self._indices = np.empty(capacity, event_lists.index_dtype(math.prod(detector_shape)))
        self._counts: np.ndarray | None = None
        self._patterns = 0
        self._entries = 0

    def room(self, n_events: int) -> np.ndarray:
        """Return the place of the next block's indices, (n_events,) uint16 or uint32."""
        end = self._entries + n_events
        if end > len(self._indices):
            self._grow(max(end, len(self._indices) * 3 // 2))
        return self._indices[self._entries : end]

    def add(self, lengths: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Take over the block in the room.

        Parameters
        ----------
        lengths : (patterns,) int64
            Entries of its patterns, in order.
        weights : (entries,) unsigned integer, optional
            Electrons of each entry; one each when missing.
        """
        indptr = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        block = self._indices[self._entries : self._entries + int(indptr[-1])]
        indptr, indices, counts = event_lists.canonical(indptr, block, weights)
        end = self._entries + len(indices)
        if indices is not block:
            self._indices[self._entries : end] = indices
        if counts is not None:
            self._room_for_counts(counts.dtype)[self._entries : end] = counts
        patterns = slice(self._patterns + 1, self._patterns + len(indptr))
        self._indptr[patterns] = indptr[1:] + self._entries
        self._patterns += len(lengths)
        self._entries = end

    def lists(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return indptr, indices and counts of the patterns added."""
        counts = None if self._counts is None else self._trimmed("_counts")
        return self._indptr, self._trimmed("_indices"), counts

    def _trimmed(self, name: str) -> np.ndarray:
        """Return a list without the room that merged pixels left, or that was not needed."""
        try:
            getattr(self, name).resize(self._entries)  # in place; refused if a room is still held
        except ValueError:
            return getattr(self, name)[: self._entries].copy()
        return getattr(self, name)

    def _grow(self, capacity: int) -> None:
        indices = np.empty(capacity, self._indices.dtype)
        indices[: self._entries] = self._indices[: self._entries]
        self._indices = indices
        if self._counts is not None:
            counts = np.ones(capacity, self._counts.dtype)
            counts[: self._entries] = self._counts[: self._entries]
            self._counts = counts

    def _room_for_counts(self, dtype: np.dtype) -> np.ndarray:
        if self._counts is None:
            self._counts = np.ones(len(self._indices), dtype)
        elif self._counts.dtype.itemsize < dtype.itemsize:
            self._counts = self._counts.astype(dtype)
        return self._counts
