"""Compiled code that walks the collections of an HDF5 global heap; used by `global_heap`."""

from __future__ import annotations

import numpy as np

from ..compiled import scalar_function, serial_function
from ..device import kernel

#: Fault codes of a list; 0 is none.
OUTSIDE_FILE, NO_COLLECTION, NO_OBJECT, WRONG_SIZE, OUT_OF_RANGE = 1, 2, 3, 4, 5
UNFINISHED = 255

FAULTS = {
    OUTSIDE_FILE: "its events lie beyond the end of the file",
    NO_COLLECTION: "there is no heap collection where its reference points",
    NO_OBJECT: "its reference points to an object that is not there",
    WRONG_SIZE: "its length differs from that of the list it refers to",
    OUT_OF_RANGE: "an event lies outside the detector",
}

HEADER_BYTES = 16  # of a collection, and of an object in it
_GCOL = 0x4C4F4347  # "GCOL", little-endian


@serial_function
def in_file_order(references, addresses, present):
    """Return whether the lists `present` lie in the heap in that order."""
    for k in range(1, len(present)):
        before, r = present[k - 1], present[k]
        if addresses[r] < addresses[before]:
            return False
        if addresses[r] == addresses[before] and references[r, 3] < references[before, 3]:
            return False
    return True


@scalar_function
def _load(buffer, at, n_bytes):
    """Return a little-endian integer of up to 8 bytes; negative if it does not fit an int64."""
    value = np.int64(0)
    for k in range(n_bytes):
        value |= np.int64(buffer[at + k]) << (8 * k)
    return value


@scalar_function
def _copy_list(buffer, words, at, length, out, start, n_pixels):
    """Copy one list and return its fault code."""
    largest = np.uint32(0)
    copy = out[start : start + length]
    if at % 4 == 0:
        items = words[at // 4 : at // 4 + length]  # views vectorise, see `event_lists`
        for k in range(length):
            largest = max(largest, items[k])
            copy[k] = items[k]
    else:
        for k in range(length):
            value = np.uint32(_load(buffer, at + 4 * k, 4))
            largest = max(largest, value)
            copy[k] = value
    return 0 if largest < n_pixels else OUT_OF_RANGE


@scalar_function
def _find(references, order, first, last, number):
    """Return the first of order[first:last], sorted by object number, not below `number`."""
    while first < last:
        middle = (first + last) // 2
        if references[order[middle], 3] < number:
            first = middle + 1
        else:
            last = middle
    return first


@scalar_function
def _mark(order, first, last, faults, code):
    """Give a fault code to those lists of order[first:last] that were not found."""
    for k in range(first, last):
        if faults[order[k]] == NO_OBJECT or faults[order[k]] == UNFINISHED:
            faults[order[k]] = code


@scalar_function
def _collection_size(buffer, at, n_bytes):
    """Return the size of the collection at `at` [bytes], or -1 if there is none."""
    if at + HEADER_BYTES > n_bytes or _load(buffer, at, 4) != _GCOL or buffer[at + 4] != 1:
        return np.int64(-1)
    return _load(buffer, at + 8, 8)


@kernel
def copy_collection(
    g, buffer, words, n_bytes, origin, file_bytes, groups,
    references, addresses, order, starts, out, n_pixels, faults,
):  # fmt: skip
    """Copy the lists order[groups[g]:groups[g + 1]] of collection g in the buffer."""
    first, last = groups[g], groups[g + 1]
    at = addresses[order[first]] - origin
    size = _collection_size(buffer, at, n_bytes)
    if size < HEADER_BYTES:
        _mark(order, first, last, faults, NO_COLLECTION)
        return
    # of a collection that the end of the file cuts off, the first objects are still there
    size = min(size, file_bytes - origin - at)
    end = min(at + size, n_bytes)
    at += HEADER_BYTES
    expected, missing = first, last - first
    while missing > 0 and at + HEADER_BYTES <= end:
        number, length = _load(buffer, at, 2), _load(buffer, at + 8, 8)
        at += HEADER_BYTES
        if number == 0 or length < 0 or length > end - at:
            break
        # objects mostly follow in the order of their numbers
        if expected == last or references[order[expected], 3] != number:
            expected = _find(references, order, first, last, number)
        while expected < last and references[order[expected], 3] == number:
            r = order[expected]
            faults[r] = WRONG_SIZE
            if length == 4 * np.int64(references[r, 0]):
                faults[r] = _copy_list(buffer, words, at, length // 4, out, starts[r], n_pixels)
            expected += 1
            missing -= 1
        at += (length + 7) & ~7
    if missing > 0 and end < size + addresses[order[first]] - origin:
        _mark(order, first, last, faults, UNFINISHED)
