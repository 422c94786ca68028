"""Operations on ranges of scan rows in turn, which need little memory besides the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..events import EventStore
from ..progress import track

_PIECES = 64


def in_pieces(
    events: EventStore, operation: Callable[[EventStore], EventStore], multiple: int = 1
) -> EventStore:
    """Apply an operation to ranges of scan rows, and join what it gives, in memory.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry)
    operation : callable
        From a range of scan rows to what becomes of it; any scan columns and detector.
    multiple : int
        Ranges are of a multiple of so many rows; rows left over at the end are dropped.

    Returns
    -------
    joined : EventStore
    """
    groups = events.scan_shape[0] // multiple
    rows = multiple * max(1, -(-groups // _PIECES))
    starts = range(0, groups * multiple, rows)
    pieces = (
        operation(events.read_rows(start, min(start + rows, groups * multiple)))
        for start in track(starts, "Scan rows")
    )
    return _joined(pieces)


def _joined(pieces: Iterator[EventStore]) -> EventStore:
    """Return one store of the rows of all pieces.

    The lists grow where they lie: to keep all pieces until the end would take twice the memory.
    """
    first = next(pieces)
    n_rows, lengths = first.scan_shape[0], [np.diff(first.indptr)]
    indices = first.indices.copy()
    counts = None if first.counts is None else first.counts.copy()
    for piece in pieces:
        n_rows += piece.scan_shape[0]
        lengths.append(np.diff(piece.indptr))
        counts = _extended_counts(counts, piece, len(indices))
        indices = _extended(indices, piece.indices, len(piece.indices))
    indptr = np.zeros(sum(len(part) for part in lengths) + 1, np.int64)
    np.cumsum(np.concatenate(lengths), out=indptr[1:])
    scan_shape = (n_rows, first.scan_shape[1])
    lists = (indptr, indices, counts)
    return EventStore(scan_shape, first.detector_shape, *lists, first.metadata, trusted=True)


def _extended_counts(
    counts: np.ndarray | None, piece: EventStore, n_before: int
) -> np.ndarray | None:
    if counts is None and piece.counts is None:
        return None
    if counts is None:
        counts = np.ones(n_before, np.uint8)
    counts = counts.astype(np.promote_types(counts.dtype, piece.count_dtype), copy=False)
    return _extended(counts, 1 if piece.counts is None else piece.counts, len(piece.indices))


def _extended(array: np.ndarray, values: np.ndarray | int, n_values: int) -> np.ndarray:
    array.resize(len(array) + n_values, refcheck=False)
    array[len(array) - n_values :] = values
    return array
