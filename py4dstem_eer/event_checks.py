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
    if counts.dtype.kind not in "ui" or (counts.size and counts.min() < 0):
        raise EventRangeError(f"the counts are {counts.dtype}; give whole positive numbers")
    if counts.dtype not in (np.uint8, np.uint16, np.uint32):
        counts = counts.astype(count_dtype(int(counts.max(initial=1))))
    return counts


def read_only(array: np.ndarray) -> np.ndarray:
    """Return an array that nobody can change; one that is seen elsewhere as a view."""
    array = array if array.flags.owndata else array.view()
    array.flags.writeable = False
    return array


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
        rx, ry = first_row + pattern // columns, pattern % columns
        raise EventRangeError(f"scan position ({rx}, {ry}): {what}")

    if np.any(np.diff(indptr) < 0):
        fail(int(np.argmax(np.diff(indptr) < 0)), "its list has a negative length")
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
