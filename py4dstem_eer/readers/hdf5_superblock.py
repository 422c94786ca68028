"""What the first block of an HDF5 file says, read without HDF5."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# where the superblock keeps the size of addresses, and the end of the file, for each version
_SIZES_POSITION = {0: 13, 1: 13, 2: 9, 3: 9}
_END_POSITION = {0: 40, 1: 44, 2: 28, 3: 28}


class Superblock(NamedTuple):
    """The first block of an HDF5 file.

    Attributes
    ----------
    position : int
        Where it begins; all addresses count from here [bytes].
    address_bytes, length_bytes : int
        How many bytes an address, and a length, take in the file.
    end : int or None
        How long the file says that it is [bytes], or None if it does not say.
    """

    position: int
    address_bytes: int
    length_bytes: int
    end: int | None


def read_superblock(path: Path) -> Superblock | None:
    """Return the superblock, or None if the file is not HDF5."""
    start = superblock_position(path)
    if start is None:
        return None
    with path.open("rb") as file:
        file.seek(start)
        block = file.read(64).ljust(64, b"\0")
    version = block[8]
    if version not in _END_POSITION:
        return Superblock(start, 8, 8, None)
    at = _SIZES_POSITION[version]
    end = int.from_bytes(block[_END_POSITION[version] :][:8], "little")
    return Superblock(start, block[at], block[at + 1], end if block[at] == 8 else None)


def superblock_position(path: Path) -> int | None:
    """Return where the HDF5 superblock begins [bytes], or None if the file is not HDF5."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            position = 0
            while position + len(SIGNATURE) <= size:
                file.seek(position)
                if file.read(len(SIGNATURE)) == SIGNATURE:
                    return position
                position = max(512, 2 * position)
    except OSError:
        pass
    return None


def stored_end(path: Path) -> int | None:
    """Return how long the file says that it is [bytes], or None if it does not say."""
    block = read_superblock(path)
    return None if block is None else block.end


def missing_bytes(path: Path) -> int:
    """Return how many bytes a truncated file lacks at its end; 0 if it does not say."""
    return max(0, (stored_end(path) or 0) - path.stat().st_size)
