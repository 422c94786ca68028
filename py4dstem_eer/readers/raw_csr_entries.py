"""Entries of a raw CSR data set as they are in its files, checked and turned into counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import event_lists
from ..errors import EventRangeError, FormatError

_LARGEST_COUNT = int(np.iinfo(np.uint32).max)


class Entries(NamedTuple):
    """The entries of successive frames.

    Attributes
    ----------
    lengths : (n,) int64
        Of each frame.
    indices : (sum of lengths,) integer
    values : (sum of lengths,) integer or float
    """

    lengths: np.ndarray
    indices: np.ndarray
    values: np.ndarray

    def owner(self, entry: int) -> int:
        """Return to which of the frames an entry belongs."""
        return int(np.searchsorted(np.cumsum(self.lengths), entry, "right"))


def wrong_entries(entries: Entries, n_pixels: int) -> np.ndarray | None:
    """Return which entries lie outside the detector, or are no counts; None if all are good."""
    outside, uncounted = _outside(entries.indices, n_pixels), _uncounted(entries.values)
    if outside is None or uncounted is None:
        return uncounted if outside is None else outside
    return outside | uncounted


def refuse_wrong(entries: Entries, n_pixels: int, where: str, first_frame: int) -> None:
    """Raise EventRangeError or FormatError, naming the first frame with a wrong entry."""
    wrong = wrong_entries(entries, n_pixels)
    if wrong is None:
        return
    entry = int(np.argmax(wrong))
    index, value = entries.indices[entry], entries.values[entry]
    frame = f"{where}, frame {first_frame + entries.owner(entry)}"
    if not 0 <= index < n_pixels:
        raise EventRangeError(
            f"{frame}: index {index} lies outside the detector of {n_pixels} pixels; the file is "
            'damaged, errors="skip" drops such frames'
        )
    raise FormatError(
        f"{frame}: the data are no electron counts, found {value}; only whole numbers from 0 to "
        f'{_LARGEST_COUNT} can be read as events; errors="skip" drops such frames'
    )


def counts_of(values: np.ndarray) -> np.ndarray | None:
    """Return good values as unsigned integers of the smallest type; None if each is one."""
    if values.size == 0:
        return None
    low, high = int(values.min()), int(values.max())
    if low == high == 1:
        return None
    dtype = event_lists.count_dtype(high)
    return values.view(dtype) if same_bits(values.dtype, dtype) else values.astype(dtype)


def same_bits(dtype: np.dtype, other: np.dtype) -> bool:
    """Return whether non-negative values of an integer type are those of the unsigned `other`."""
    return dtype.kind in "biu" and dtype.isnative and dtype.itemsize == other.itemsize


def _outside(indices: np.ndarray, n_pixels: int) -> np.ndarray | None:
    if indices.size == 0 or (indices.min() >= 0 and indices.max() < n_pixels):
        return None
    return (indices < 0) | (indices >= n_pixels)


def _uncounted(values: np.ndarray) -> np.ndarray | None:
    with np.errstate(invalid="ignore"):  # of a NaN that signals, as random bits may
        in_range = values.size == 0 or (values.min() >= 0 and values.max() <= _LARGEST_COUNT)
        if in_range and values.dtype.kind != "f":
            return None
        # the next number, which is one in every type of float
        good = (values >= 0) & (values < _LARGEST_COUNT + 1) & (values == np.rint(values))
    return None if good.all() else ~good
