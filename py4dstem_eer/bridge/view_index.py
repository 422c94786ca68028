"""Indices of a 4-D cube, parted into one of the scan and one of the detector."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from ..detector import Shape2D
from ..errors import UnsupportedOperationError

#: The index of a whole axis.
WHOLE_AXIS = slice(None)
_INTEGERS = (int, np.int64)


def is_position(key: Any) -> bool:
    """Return whether `key` is a scan position, perhaps followed by slices of the detector."""
    return (
        type(key) is tuple
        and 2 <= len(key) <= 4
        and type(key[0]) in _INTEGERS
        and type(key[1]) in _INTEGERS
        and all(type(part) is slice for part in key[2:])
    )


def makes_axes(key: Any) -> bool:
    """Return whether `key` holds new axes, None, beside integers, slices and an ellipsis only."""
    parts = key if isinstance(key, tuple) else (key,)
    basic = (int, np.integer, slice, type(None), type(Ellipsis))
    basic_only = all(isinstance(part, basic) for part in parts)
    return basic_only and any(part is None for part in parts)


def split_index(key: Any) -> tuple[tuple, tuple, bool]:
    """Return an index of the 4-D array as one of the scan and one of the detector.

    The third value tells whether an ellipsis that stands for no axis parts the arrays, which
    changes the order of axes in numpy's result.

    Raises
    ------
    IndexError
        If it is no index of a 4-D array, makes new axes, or is a mask over scan and detector.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    dots = [i for i, part in enumerate(parts) if part is Ellipsis]
    if any(part is None for part in parts):
        raise IndexError(f"new axes cannot be combined with arrays, in two steps they can: {key!r}")
    if len(dots) > 1 or any(isinstance(part, (bool, np.bool_, str, bytes)) for part in parts):
        raise IndexError(f"cannot index events with {key!r}")
    width = [_axes_taken(part) for part in parts]
    missing = 4 - sum(width)
    if missing < 0:
        raise IndexError(f"too many indices for a 4-D cube: {key!r}")
    at = dots[0] if dots else len(parts)
    parts[at : at + len(dots)] = [WHOLE_AXIS] * missing
    scan: list = []
    while sum(_axes_taken(part) for part in scan) < 2:
        scan.append(parts.pop(0))
    if sum(_axes_taken(part) for part in scan) != 2:
        raise IndexError(f"a mask must cover the scan or the detector, not both: {key!r}")
    return tuple(scan), tuple(parts), bool(dots) and missing == 0 and has_arrays((*scan, *parts))


def sliced(parts: tuple) -> bool:
    """Return whether all parts of an index are slices."""
    return all(isinstance(part, slice) for part in parts)


def has_arrays(parts: tuple) -> bool:
    """Return whether any part of an index is neither a slice nor an integer."""
    return not all(isinstance(part, (int, np.integer, slice)) for part in parts)


def pairs(parts: tuple, others: tuple) -> bool:
    """Return whether an array among `parts` meets something in `others` that is no slice."""
    return not sliced(others) and has_arrays(parts)


def position(index: Any, length: int) -> int:
    """Return an index of one axis as a number from 0 on."""
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of bounds for {length} scan positions")
    return int(index) % length


def pixel_numbers(shape: Shape2D) -> np.ndarray:
    """Return the flat index of every detector pixel, (Qx, Qy)."""
    return np.arange(shape[0] * shape[1]).reshape(shape)


def refuse_change() -> NoReturn:
    """Raise UnsupportedOperationError: there is nothing that an index could assign to."""
    raise UnsupportedOperationError(
        "events are immutable, nothing can be assigned to them: crop_Q, bin_Q, filter_hot_pixels "
        "and median_filter_masked_pixels replace them; to change values set "
        "cube.data = cube.data * factor, or work on cube.to_dense()"
    )


def _axes_taken(part: Any) -> int:
    if part is Ellipsis:
        return 0
    is_mask = isinstance(part, (np.ndarray, list)) and np.asarray(part).dtype == bool
    return np.ndim(part) if is_mask else 1
