"""Variable-length lists of an HDF5 dataset, gathered straight from the file's global heap.

A contiguous dataset of variable-length lists is a table of references, one of 16 bytes per list:
number of elements (4 bytes), address of a heap collection (8), number of an object in it (4). A
collection begins with "GCOL", a version and its size; its objects follow one another, each with a
header of 16 bytes (number, use count, size) and padded to 8 bytes. Walking the collections in the
order in which they lie in the file reads every byte once, and needs no call per list.

Nothing read from the file is trusted: every address is compared with what is there before it is
used, so that damage becomes a fault code of the list that it hits.

References
----------
.. [1] HDF5 File Format Specification 3.0, III.E "Disk Format: Level 1E - Global Heap".
"""

from __future__ import annotations

import os

import numba
import numpy as np

from ..device import scalar_function

#: Bytes of a reference, as four 32-bit words: elements, address (low, high), object number.
REFERENCE_BYTES = 16
#: The file is read in pieces of about this size [bytes].
WINDOW_BYTES = 2**23

#: Fault codes of a list; 0 is none.
OUTSIDE_FILE, NO_COLLECTION, NO_OBJECT, WRONG_SIZE, OUT_OF_RANGE = 1, 2, 3, 4, 5
_UNFINISHED = 255

FAULTS = {
    OUTSIDE_FILE: "its events lie beyond the end of the file",
    NO_COLLECTION: "there is no heap collection where its reference points",
    NO_OBJECT: "its reference points to an object that is not there",
    WRONG_SIZE: "its length differs from that of the list it refers to",
    OUT_OF_RANGE: "an event lies outside the detector",
}

_njit = numba.njit(parallel=True, cache=True, nogil=True, error_model="numpy")

_HEADER_BYTES = 16  # of a collection, and of an object in it
_SMALLEST_COLLECTION = 4096
_GCOL = 0x4C4F4347  # "GCOL", little-endian


def decode_references(raw: np.ndarray) -> np.ndarray:
    """Return references as (n, 4) uint32.

    Parameters
    ----------
    raw : (n, 8 + size of an address) uint8
        As in the file: 4 bytes of length, the address, 4 of object number.
    """
    if raw.shape[1] == REFERENCE_BYTES:
        return raw.view("<u4")
    references = np.zeros((len(raw), REFERENCE_BYTES), np.uint8)
    references[:, : raw.shape[1] - 4] = raw[:, :-4]
    references[:, 12:] = raw[:, -4:]
    return references.view("<u4")


def reference_faults(
    references: np.ndarray, base: int, file_bytes: int, item_bytes: int = 4
) -> np.ndarray:
    """Return the fault codes (n,) uint8 that can be told without reading the heap.

    Parameters
    ----------
    references : (n, 4) uint32
    base : int
        What addresses count from [bytes].
    file_bytes : int
        Size of the file.
    item_bytes : int
        Size of an element of a list.
    """
    return _reference_faults(references, base, file_bytes, item_bytes)


class HeapGatherer:
    """Copies lists of 32-bit integers out of one open file; keeps its read buffer between calls.

    Parameters
    ----------
    descriptor : int
        Of the open file.
    base : int
        What addresses count from [bytes].
    file_bytes : int
        Size of the file.
    """

    def __init__(self, descriptor: int, base: int, file_bytes: int) -> None:
        self._descriptor = descriptor
        self._base = base
        self._file_bytes = file_bytes
        self._words = np.empty(0, np.uint32)

    def gather(self, references: np.ndarray, out: np.ndarray, n_pixels: int) -> np.ndarray:
        """Copy lists to `out`, one after the other.

        Parameters
        ----------
        references : (n, 4) uint32
            Free of `reference_faults`.
        out : (sum of lengths,) uint16 or uint32
            Written; undefined for lists with a fault.
        n_pixels : int
            Elements must be smaller.

        Returns
        -------
        faults : (n,) uint8
        """
        starts = np.cumsum(references[:, 0], dtype=np.int64) - references[:, 0]
        addresses = _addresses(references, self._base)
        order = _file_order(references, addresses)
        faults = np.zeros(len(references), np.uint8)
        faults[order] = NO_OBJECT
        groups = _groups(addresses, order)
        ends = _least_ends(references, addresses, order, groups)
        work = (references, addresses, order, starts, out, n_pixels, faults)
        first = 0
        while first < len(groups) - 1:
            origin = int(addresses[order[groups[first]]])
            last = max(first + 1, int(np.searchsorted(ends, origin + WINDOW_BYTES, "right")))
            self._copy(groups[first : last + 1], origin, int(ends[first:last].max()), work)
            first = last
        self._finish(groups, work)
        faults[faults == _UNFINISHED] = NO_OBJECT
        return faults

    def _copy(self, groups: np.ndarray, origin: int, end: int, work: tuple) -> None:
        """Read one window of the file and copy what a number of collections hold in it."""
        n_bytes = self._read(origin, min(end, self._file_bytes) - origin)
        _copy_collections(
            self._words.view(np.uint8),
            self._words,
            n_bytes,
            origin,
            self._file_bytes,
            groups,
            *work,
        )

    def _finish(self, groups: np.ndarray, work: tuple) -> None:
        """Read those collections again that were larger than what was read of them."""
        _, addresses, order, *_, faults = work
        unfinished = faults[order] == _UNFINISHED
        if not unfinished.any():
            return
        for g in np.unique(np.searchsorted(groups, np.flatnonzero(unfinished), "right") - 1):
            origin = int(addresses[order[groups[g]]])
            self._read(origin, _HEADER_BYTES)
            size = int(self._words[2:4].view(np.uint64)[0])
            self._copy(groups[g : g + 2], origin, origin + size, work)

    def _read(self, origin: int, n_bytes: int) -> int:
        """Read from the file into the buffer; return how many bytes there were."""
        if len(self._words) * 4 < n_bytes:
            self._words = np.empty(-(-n_bytes // 4), np.uint32)
        target = self._words.view(np.uint8).data[:n_bytes]
        done = 0
        while done < n_bytes:
            count = os.preadv(self._descriptor, [target[done:]], origin + done)
            if count == 0:
                break
            done += count
        return done


def _addresses(references: np.ndarray, base: int) -> np.ndarray:
    """Return where the collection of each list begins in the file [bytes], (n,) int64."""
    addresses = references[:, 2].astype(np.int64)
    addresses <<= 32
    addresses |= references[:, 1]
    addresses += base
    return addresses


def _file_order(references: np.ndarray, addresses: np.ndarray) -> np.ndarray:
    """Return the numbers of the lists that are not empty, in the order of the heap, (m,) int64."""
    present = np.flatnonzero(references[:, 0])
    if _in_file_order(references, addresses, present):
        return present
    return present[np.lexsort((references[present, 3], addresses[present]))]


def _groups(addresses: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return where in `order` each collection begins, and the end, (collections + 1,) int64."""
    if len(order) == 0:
        return np.zeros(1, np.int64)
    change = np.flatnonzero(np.diff(addresses[order])) + 1
    return np.concatenate(([0], change, [len(order)]))


def _least_ends(
    references: np.ndarray, addresses: np.ndarray, order: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """Return up to where each collection reaches at least [bytes], ascending, (collections,)."""
    if len(order) == 0:
        return np.zeros(0, np.int64)
    needed = references[order, 0].astype(np.int64) * 4 + _HEADER_BYTES + 7
    sizes = np.add.reduceat(needed, groups[:-1]) + _HEADER_BYTES
    ends = addresses[order[groups[:-1]]] + np.maximum(sizes, _SMALLEST_COLLECTION)
    return np.maximum.accumulate(ends)


@scalar_function
def _address(references, r, base):
    """Return the address of a reference in the file, or -1 if no file is so large."""
    high = np.int64(references[r, 2])
    if high >= 1 << 30:
        return np.int64(-1)
    return (high << 32) + np.int64(references[r, 1]) + base


@_njit
def _reference_faults(references, base, file_bytes, item_bytes):
    faults = np.zeros(len(references), np.uint8)
    for r in numba.prange(len(references)):
        length = np.int64(references[r, 0])
        if length == 0:
            continue
        address = _address(references, r, base)
        if address < 0 or address + 2 * _HEADER_BYTES + item_bytes * length > file_bytes:
            faults[r] = OUTSIDE_FILE
        elif not 0 < references[r, 3] < 1 << 16:
            faults[r] = NO_OBJECT
    return faults


@numba.njit(cache=True, nogil=True)
def _in_file_order(references, addresses, present):
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
    if at % 4 == 0:
        for k in range(length):
            value = words[at // 4 + k]
            largest = max(largest, value)
            out[start + k] = value
    else:
        for k in range(length):
            value = np.uint32(_load(buffer, at + 4 * k, 4))
            largest = max(largest, value)
            out[start + k] = value
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
        if faults[order[k]] == NO_OBJECT or faults[order[k]] == _UNFINISHED:
            faults[order[k]] = code


@scalar_function
def _collection_size(buffer, at, n_bytes):
    """Return the size of the collection at `at` [bytes], or -1 if there is none."""
    if at + _HEADER_BYTES > n_bytes or _load(buffer, at, 4) != _GCOL or buffer[at + 4] != 1:
        return np.int64(-1)
    return _load(buffer, at + 8, 8)


@numba.njit(cache=True, nogil=True)
def is_sound_collection(buffer: np.ndarray) -> bool:
    """Return whether the objects of the collection in `buffer` follow one another to its end.

    One that goes on after the buffer (n,) uint8 counts as sound.
    """
    if len(buffer) < _HEADER_BYTES:
        return True
    size = _load(buffer, 8, 8)
    if size < _HEADER_BYTES:
        return False
    at = _HEADER_BYTES
    while size <= len(buffer) and at + _HEADER_BYTES <= size:
        number, length = _load(buffer, at, 2), _load(buffer, at + 8, 8)
        if length < 0 or length > size - at:
            return False
        # number 0 is what is free, its header included
        step = length if number == 0 else _HEADER_BYTES + ((length + 7) & ~7)
        if step <= 0 or step > size - at:
            return False
        at += step
    return True


@_njit
def _copy_collections(
    buffer, words, n_bytes, origin, file_bytes, groups,
    references, addresses, order, starts, out, n_pixels, faults,
):  # fmt: skip
    """Copy the lists order[groups[g]:groups[g + 1]] for every collection g in the buffer."""
    for g in numba.prange(len(groups) - 1):
        first, last = groups[g], groups[g + 1]
        at = addresses[order[first]] - origin
        size = _collection_size(buffer, at, n_bytes)
        if size < _HEADER_BYTES:
            _mark(order, first, last, faults, NO_COLLECTION)
            continue
        # of a collection that the end of the file cuts off, the first objects are still there
        size = min(size, file_bytes - origin - at)
        end = min(at + size, n_bytes)
        at += _HEADER_BYTES
        expected, missing = first, last - first
        while missing > 0 and at + _HEADER_BYTES <= end:
            number, length = _load(buffer, at, 2), _load(buffer, at + 8, 8)
            at += _HEADER_BYTES
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
            _mark(order, first, last, faults, _UNFINISHED)
