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

import numpy as np

from . import heap_kernels
from .heap_kernels import HEADER_BYTES, NO_OBJECT, OUTSIDE_FILE, UNFINISHED

#: Bytes of a reference, as four 32-bit words: elements, address (low, high), object number.
REFERENCE_BYTES = 16
#: The file is read in pieces of about this size [bytes].
WINDOW_BYTES = 2**23
#: References looked at at a time.
_REFERENCES_PER_BATCH = 2**16

_SMALLEST_COLLECTION = 4096


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
    # in numpy, as `info` asks for nothing else: to load the first compiled code takes half a second
    faults = np.zeros(len(references), np.uint8)
    for start in range(0, len(references), _REFERENCES_PER_BATCH):
        part = slice(start, start + _REFERENCES_PER_BATCH)
        length, low, high, number = references[part].astype(np.int64).T
        address = (high << 32) + low + base
        ends = address + 2 * HEADER_BYTES + item_bytes * length
        outside = (high >= 1 << 30) | (address < 0) | (ends > file_bytes)
        found = np.where((number == 0) | (number >= 1 << 16), NO_OBJECT, 0)
        found[outside] = OUTSIDE_FILE
        faults[part] = np.where(length == 0, 0, found)
    return faults


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
        faults[faults == UNFINISHED] = NO_OBJECT
        return faults

    def _copy(self, groups: np.ndarray, origin: int, end: int, work: tuple) -> None:
        """Read one window of the file and copy what a number of collections hold in it."""
        n_bytes = self._read(origin, min(end, self._file_bytes) - origin)
        heap_kernels.copy_collection.on_cpu(
            len(groups) - 1,
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
        unfinished = faults[order] == UNFINISHED
        if not unfinished.any():
            return
        for g in np.unique(np.searchsorted(groups, np.flatnonzero(unfinished), "right") - 1):
            origin = int(addresses[order[groups[g]]])
            self._read(origin, HEADER_BYTES)
            size = int(self._words[2:4].view(np.uint64)[0])
            self._copy(groups[g : g + 2], origin, origin + size, work)

    def _read(self, origin: int, n_bytes: int) -> int:
        """Read from the file into the buffer; return how many bytes there were."""
        if len(self._words) * 4 < n_bytes:
            self._words = np.empty(-(-n_bytes // 4), np.uint32)
        target = self._words.view(np.uint8).data[:n_bytes]
        done = 0
        while done < n_bytes:
            count = _read_at(self._descriptor, target[done:], origin + done)
            if count == 0:
                break
            done += count
        return done


def _read_at(descriptor: int, target: memoryview, position: int) -> int:
    """Read into `target` from a position in the file; return the number of bytes."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [target], position)
    os.lseek(descriptor, position, os.SEEK_SET)  # Windows knows no positioned reads
    data = os.read(descriptor, len(target))
    target[: len(data)] = data
    return len(data)


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
    if heap_kernels.in_file_order(references, addresses, present):
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
    needed = references[order, 0].astype(np.int64) * 4 + HEADER_BYTES + 7
    sizes = np.add.reduceat(needed, groups[:-1]) + HEADER_BYTES
    ends = addresses[order[groups[:-1]]] + np.maximum(sizes, _SMALLEST_COLLECTION)
    return np.maximum.accumulate(ends)
