"""Dense patterns as event lists: exactly where they are counts, or cut at a threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .errors import ParameterError
from .event_lists import count_dtype, index_dtype, smallest_counts
from .parameters import parse_real

#: Most electrons that one pixel of one pattern can hold.
LARGEST_COUNT = 2**32 - 1
# dense values that are looked at in one go
_BYTES_PER_CHUNK = 2**24

#: Lengths (patterns,) int64, indices, and counts of every entry or None.
Lists = tuple[np.ndarray, np.ndarray, "np.ndarray | None"]


def parse_threshold(threshold: Any) -> float | None:
    """Return the threshold as a number.

    Raises
    ------
    ParameterError
        If it is not a positive, finite number, or None.
    """
    return None if threshold is None else parse_real(threshold, "threshold", above=0)


def row_lists(array: Any, row: int, threshold: float | None = None) -> Lists:
    """Return the events of one scan row, reading a few patterns at a time.

    Parameters
    ----------
    array : (Rx, Ry, Qx, Qy) array-like
        Indexed with four slices, e.g. a memory map.
    row : int
    threshold : float, optional
        Every pixel with at least this value is one electron, all others none. Default: every value
        is a number of electrons.

    Raises
    ------
    ParameterError
        Without a threshold, if a value is no whole number from 0 to `LARGEST_COUNT`; the message
        names the first such position, pixel and value.
    """
    parts = []
    for first, patterns in _chunks(array, row):
        flat = patterns.reshape(len(patterns), -1)
        try:
            parts.append(_counted(flat) if threshold is None else _cut(flat, threshold))
        except _NotACountError as error:
            raise _refusal(array, (row, first + error.pattern), error) from None
    lengths, indices, counts = _concatenated(parts, array.shape[2:])
    return lengths, indices, smallest_counts(counts)


def joined(rows: Sequence[Lists], detector_shape: tuple[int, ...]) -> Lists:
    """Return indptr, indices and counts of successive scan rows."""
    lengths, indices, counts = _concatenated(rows, detector_shape)
    indptr = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    return indptr, indices, counts


def _concatenated(parts: Sequence[Lists], detector_shape: tuple[int, ...]) -> Lists:
    nothing = np.zeros(0, index_dtype(math.prod(detector_shape)))
    no_lists: Lists = (np.zeros(0, np.int64), nothing, None)
    lengths, indices, counts = zip(*(parts or [no_lists]), strict=True)
    if all(part is None for part in counts):
        return np.concatenate(lengths), np.concatenate(indices), None
    given = [
        np.ones(len(entries), np.uint8) if part is None else part
        for entries, part in zip(indices, counts, strict=True)
    ]
    return np.concatenate(lengths), np.concatenate(indices), np.concatenate(given)


def _chunks(array: Any, row: int) -> Iterator[tuple[int, np.ndarray]]:
    """Iterate over (first column, patterns) of a scan row."""
    pattern_bytes = math.prod(array.shape[2:]) * np.dtype(array.dtype).itemsize
    step = max(1, _BYTES_PER_CHUNK // max(1, pattern_bytes))
    for first in range(0, array.shape[1], step):
        last = min(first + step, array.shape[1])
        part = np.asarray(array[row : row + 1, first:last, :, :])
        yield first, part.reshape(last - first, *array.shape[2:])


class _NotACountError(Exception):
    """A value is no number of electrons."""

    def __init__(self, pattern: int, pixel: int, value: Any) -> None:
        super().__init__()
        self.pattern, self.pixel, self.value = pattern, pixel, value


def _refusal(array: Any, position: tuple[int, int], error: _NotACountError) -> ParameterError:
    pixel = tuple(int(n) for n in divmod(error.pixel, array.shape[3]))
    return ParameterError(
        f"the dense data are no electron counts: scan position {position}, pixel {pixel} is "
        f"{error.value}, not a whole number from 0 to {LARGEST_COUNT}; give a threshold to take "
        "every pixel from that value on for one electron"
    )


def _counted(flat: np.ndarray) -> Lists:
    """Return the lists of patterns (n, pixels) that hold numbers of electrons."""
    if flat.dtype.kind not in "biuf":
        raise ParameterError(f"the dense data are no electron counts, but {flat.dtype}")
    entries = np.flatnonzero(flat)
    values = flat.reshape(-1)[entries]
    if flat.dtype.kind != "b":
        _check_counts(values, entries, flat.shape[1])
    counts = values.astype(count_dtype(int(values.max(initial=0))))
    return (*_positions(flat.shape, entries), counts)


def _check_counts(values: np.ndarray, entries: np.ndarray, n_pixels: int) -> None:
    wrong = (values < 0) | (values > LARGEST_COUNT)
    if values.dtype.kind == "f":
        wrong |= np.rint(values) != values  # of NaN too
    if wrong.any():
        at = int(np.argmax(wrong))
        pattern, pixel = divmod(int(entries[at]), n_pixels)
        raise _NotACountError(pattern, pixel, values[at])


def _cut(flat: np.ndarray, threshold: float) -> Lists:
    """Return the lists of patterns (n, pixels) where a pixel is one electron, or none."""
    if flat.dtype.kind not in "biuf":
        raise ParameterError(f"{flat.dtype} values cannot be compared with a threshold")
    return (*_positions(flat.shape, np.flatnonzero(flat >= threshold)), None)


def _positions(shape: tuple[int, ...], entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return lengths and indices of entries that are numbered through all patterns."""
    n_patterns, n_pixels = shape
    bounds = np.searchsorted(entries, np.arange(n_patterns + 1) * n_pixels)
    lengths = np.diff(bounds).astype(np.int64)
    starts = np.repeat(np.arange(n_patterns) * n_pixels, lengths)
    return lengths, (entries - starts).astype(index_dtype(n_pixels))
