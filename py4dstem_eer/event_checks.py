"""Arrays of events, checked before compiled loops rely on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .detector import Shape2D
from .errors import EventRangeError
from .event_lists import ascending, count_dtype
from .event_pieces import Lists


def as_indices(indices: Any, dtype: np.dtype) -> np.ndarray:
    """Return `indices` as `dtype`, and refuse those that it cannot hold."""
    indices = np.asarray(indices)
    if indices.size and not np.can_cast(indices.dtype, dtype):
        low, high = indices.min(), indices.max()
        if indices.dtype.kind not in "iu" or low < 0 or high > np.iinfo(dtype).max:
            raise EventRangeError(
                f"the indices are {indices.dtype} from {low} to {high}; "
                f"flat detector indices of this detector fit {dtype}"
            )
    return np.ascontiguousarray(indices, dtype)


def as_counts(counts: Any) -> np.ndarray:
    """Return `counts` as unsigned integers, and refuse what are none."""
    counts = np.ascontiguousarray(counts)
    negative = counts.dtype.kind == "i" and counts.min(initial=0) < 0
    if counts.dtype.kind not in "ui" or negative:
        raise EventRangeError(f"the counts are {counts.dtype}; give whole positive numbers")
    if counts.dtype not in (np.uint8, np.uint16, np.uint32):
        counts = counts.astype(count_dtype(int(counts.max(initial=1))))
    return counts


def read_only(array: np.ndarray) -> np.ndarray:
    """Return an array that nobody can change; one that is seen elsewhere as a view."""
    array = array if array.flags.owndata else array.view()
    array.flags.writeable = False
    return array


def check_fit(lists: Lists, n_patterns: int) -> None:
    """Check that the arrays of event lists fit each other.

    Raises
    ------
    EventRangeError
        If not.
    """
    indptr, indices, counts = lists
    if len(indptr) != n_patterns + 1 or indptr[0] != 0 or indptr[-1] != len(indices):
        ends = f" from {indptr[0]} to {indptr[-1]}" if len(indptr) else ""
        raise EventRangeError(
            f"indptr of length {len(indptr)}{ends} does not fit {n_patterns} patterns and "
            f"{len(indices)} entries"
        )
    if counts is not None and len(counts) != len(indices):
        raise EventRangeError(f"{len(counts)} counts for {len(indices)} indices")


def check_starts(indptr: np.ndarray, columns: int, first_row: int = 0) -> None:
    """Check that no list ends before it begins; parameters and errors as for `check_lists`."""
    backwards = indptr[1:] < indptr[:-1]  # a difference might overflow
    if backwards.any():
        _fail(int(np.argmax(backwards)), columns, first_row, "its list has a negative length")


def check_lists(lists: Lists, columns: int, detector_shape: Shape2D, first_row: int = 0) -> None:
    """Check that event lists are canonical, and lie on the detector.

    Parameters
    ----------
    lists : (indptr, indices, counts)
    columns : int
        Patterns of a scan row.
    detector_shape : (int, int)
    first_row : int
        Scan row of the first pattern, for messages.

    Raises
    ------
    EventRangeError
        Naming the first scan position whose events are not.
    """
    indptr, indices, counts = lists

    def fail(pattern: int, what: str) -> None:
        _fail(pattern, columns, first_row, what)

    check_starts(indptr, columns, first_row)
    n_pixels = detector_shape[0] * detector_shape[1]
    if indices.size and indices.max() >= n_pixels:
        entry = int(np.argmax(indices >= n_pixels))
        pattern = int(np.searchsorted(indptr, entry, "right")) - 1
        fail(pattern, f"index {indices[entry]} lies outside {detector_shape}")
    ordered = ascending(indptr, indices)
    if not ordered.all():
        fail(int(np.argmin(ordered)), "its indices are unsorted or repeated")
    if counts is not None and counts.size and counts.min() == 0:
        entry = int(np.argmin(counts))
        fail(int(np.searchsorted(indptr, entry, "right")) - 1, "an entry has a count of zero")


def _fail(pattern: int, columns: int, first_row: int, what: str) -> None:
    rx, ry = first_row + pattern // columns, pattern % columns
    raise EventRangeError(f"scan position ({rx}, {ry}): {what}")
