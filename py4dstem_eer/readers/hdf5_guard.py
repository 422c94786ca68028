"""What HDF5 is let read: damage that it would hang on, or crash, is an error before it sees it."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

from .hdf5_superblock import Superblock
from .heap_kernels import HEADER_BYTES

# the number of an object in a heap collection, and its size
_OBJECT = struct.Struct("<H6xQ")
# what HDF5 may ask for at once beyond the end of the file; a table of lists is read in pieces
_MOST_MISSING = 2**24
# the offset that ends a local heap's list of free blocks
_NO_BLOCK = 1


class GuardedFile(io.RawIOBase):
    """What HDF5 reads from: a file with zeros where its end is missing, and no unsound heap.

    HDF5 hangs or reads beyond its buffers on heap collections whose objects do not fill them
    properly, and takes memory without end for a local heap whose free blocks follow one another in
    a circle, so that such heaps are an error before HDF5 sees them. HDF5 takes any size it finds
    for the memory it reads into, if the file is as long as that; where the superblock says so and
    the file is not, that memory must not be filled.

    References
    ----------
    .. [1] HDF5 File Format Specification 3.0, III.D "Local Heaps" and III.E "Global Heap".
    """

    def __init__(self, path: Path, superblock: Superblock, end: int) -> None:
        self._file: BinaryIO = path.open("rb")
        self._true_end = os.fstat(self._file.fileno()).st_size
        self._superblock = superblock
        self._end = end
        self._at = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position [bytes]."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, of which there are some beyond the true end; return it [bytes]."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        self._at = origin + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from the position on; return how many bytes there were.

        Raises
        ------
        OSError
            If HDF5 must not see what is there, or not so much of nothing.
        """
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._end - self._at))
        lacking = self._at + count - self._true_end
        if lacking > _MOST_MISSING:
            raise OSError(f"{lacking} bytes that are asked for lie beyond the end of the file")
        self._file.seek(self._at)
        kept = self._file.readinto(view[:count])  # type: ignore[attr-defined]
        view[kept:count] = bytes(count - kept)
        if view[:4] == b"GCOL":
            self._check_collection(view)
        if view[:4] == b"HEAP":
            self._check_local_heap(bytes(view[8:32]))
        self._at += count
        return count

    def _check_collection(self, view: memoryview) -> None:
        """Raise OSError if the heap collection that begins in `view` is damaged."""
        size = max(len(view), int.from_bytes(view[8:16], "little"))
        sound = size <= max(len(view), self._true_end - self._at)
        if sound:  # HDF5 reads the rest of a larger one later, and must not find it damaged then
            self._file.seek(self._at)
            whole = view if size == len(view) else self._file.read(size)
            sound = is_sound_collection(whole)
        if not sound:
            raise OSError(f"the heap collection at byte {self._at} is damaged")

    def _check_local_heap(self, sizes: bytes) -> None:
        """Raise OSError if the free blocks of the local heap that begins here have no end."""
        of_length, of_address = self._superblock.length_bytes, self._superblock.address_bytes
        address = int.from_bytes(sizes[2 * of_length :][:of_address], "little")
        size = int.from_bytes(sizes[:of_length], "little")
        free = int.from_bytes(sizes[of_length : 2 * of_length], "little")
        if size > self._true_end:
            return  # HDF5 finds out when it reads it
        self._file.seek(min(self._superblock.position + address, self._true_end))
        if not ends(self._file.read(size), free, of_length):
            raise OSError(f"the local heap at byte {self._at} is damaged")


def is_sound_collection(collection: bytes | memoryview) -> bool:
    """Return whether the objects of a global heap collection follow one another to its end.

    One that goes on after these bytes counts as sound.
    """
    if len(collection) < HEADER_BYTES:
        return True
    size = int.from_bytes(collection[8:16], "little")
    if size < HEADER_BYTES:
        return False
    at = HEADER_BYTES
    while size <= len(collection) and at + HEADER_BYTES <= size:
        number, length = _OBJECT.unpack_from(collection, at)
        # number 0 is what is free, its header included
        step = length if number == 0 else HEADER_BYTES + ((length + 7) & ~7)
        if not 0 < step <= size - at:
            return False
        at += step
    return True


def ends(segment: bytes, first: int, of_length: int) -> bool:
    """Return whether a list of free blocks ends, or leads where HDF5 itself stops.

    Parameters
    ----------
    segment : bytes
        Data of a local heap. A free block begins with the offset of the next one, and its size.
    first : int
        Offset of the first free block; 1 for none.
    of_length : int
        Bytes of an offset.
    """
    at = first
    for _ in range(len(segment) // max(1, 2 * of_length) + 1):
        if at <= _NO_BLOCK or at >= len(segment):
            return True
        at = int.from_bytes(segment[at : at + of_length], "little")
    return False
