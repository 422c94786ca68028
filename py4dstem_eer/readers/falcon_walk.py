"""The chain of the pages of a Falcon file: each table says where the next is.

Where tables lie close together, compiled code follows them through blocks of the file; where there
is much data between them, or they do not follow one another, each is read for itself. Nothing is
mapped into memory: a file cut off meanwhile would kill the process.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from ..compiled import scalar_function
from ..errors import FormatError
from .falcon_tags import ENTRY, load_word
from .read_buffer import ReadBuffer

#: No run of tables goes beyond a multiple of so many pages.
PAGES_PER_BATCH = 2**13

_MAGIC = struct.pack("<2sHHH", b"II", 43, 8, 0)
_FIRST_PAGE_AT = len(_MAGIC)
_HEADER_BYTES = _FIRST_PAGE_AT + 8
_MOST_TAGS = 4096
# a table without entries: how many there are, and where the next is
_EMPTY_TABLE, _ENTRY_BYTES = 16, ENTRY.itemsize
# larger than any table
_BLOCK = 2**18
# of fewer tables in a block, it takes less time to read each for itself
_FEW = 32


#: A buffer (bytes,) uint8, and the places (n,) int64 of whole tables in it.
Run = tuple[np.ndarray, np.ndarray]


class Chain:
    """Iterates over runs of tables; afterwards `cut` says why it ended early.

    The buffer of a run is valid until the next is asked for.

    Parameters
    ----------
    file : binary file
    file_bytes : int
    first : int, optional
        Where the first table is. Default: where the header of the file says.

    Raises
    ------
    FormatError
        If the file is no BigTIFF.
    """

    def __init__(self, file: BinaryIO, file_bytes: int, first: int | None = None) -> None:
        file.seek(0)
        header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or header[:_FIRST_PAGE_AT] != _MAGIC:
            raise FormatError(
                f"{file.name} is no Falcon file: it starts with {header[:8]!r}, not as "
                f"little-endian BigTIFF does, {_MAGIC!r}"
            )
        self._file, self._file_bytes = file, file_bytes
        self._next = int.from_bytes(header[_FIRST_PAGE_AT:], "little") if first is None else first
        # pages that overlap would let a small file ask for much memory
        self._bytes_left = file_bytes
        self._memory = ReadBuffer()
        self._visited = _Visited()
        self.cut = ""

    def __iter__(self) -> Iterator[Run]:
        dense = True
        while self._next and not self.cut:
            room = PAGES_PER_BATCH - self.n_pages % PAGES_PER_BATCH
            buffer, places, starts = self._in_block(room) if dense else self._one_by_one(room)
            dense = not dense or len(places) >= min(room, _FEW)
            n_new = self._visited.add(starts)
            if n_new < len(starts):
                self.cut = self._visited.repeated(starts[n_new])
            if n_new:
                yield buffer, places[:n_new]

    @property
    def n_pages(self) -> int:
        """Pages of the runs so far."""
        return self._visited.n_pages

    def beginning(self, n_pages: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the first tables as a run of up to so many, without compiled code.

        And where they are in the file, (n,) int64.
        """
        return self._one_by_one(n_pages)

    def _in_block(self, room: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the run in the block of the file that begins with the next table."""
        first, places = self._next, np.empty(room, np.int64)
        buffer = self._memory.room(min(_BLOCK, max(0, self._file_bytes - first)), first)
        if len(buffer):
            self._file.seek(first)
            buffer = buffer[: self._file.readinto(memoryview(buffer))]  # type: ignore
            n, following, self._bytes_left = _follow(buffer, first, self._bytes_left, places)
            self._next = following % 2**64
            return buffer, places[:n], first + places[:n]
        # beyond the file, perhaps by more than an int64 holds
        return buffer, places[:0], places[:0]

    def _one_by_one(self, room: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the run of the next tables, each read for itself; `cut` if there are no more."""
        seek, read = self._file.seek, self._file.read  # once, there may be a million pages
        size, n_tags = _EMPTY_TABLE, b""
        tables: list[bytes] = []
        starts: list[int] = []
        at = self._next
        while at and len(tables) < room:
            table = b""
            if at < self._file_bytes:
                seek(at)
                table = read(size)
            if table[:8] != n_tags or len(table) != size:  # most are as long as the last
                table = self._reread(at, table)
                size, n_tags = len(table), table[:8]
            self._bytes_left -= size
            if not self.cut and self._bytes_left < 0:
                self.cut = self._visited.repeated(at, len(tables))
            if self.cut:
                break
            tables.append(table)
            starts.append(at)
            at = int.from_bytes(table[-8:], "little")
        self._next = at
        lengths = np.array([len(table) for table in tables], np.int64)
        buffer = np.frombuffer(b"".join(tables), np.uint8)
        return buffer, np.cumsum(lengths) - lengths, np.array(starts, np.int64)

    def _reread(self, at: int, table: bytes) -> bytes:
        """Return a table whole, given its beginning, if it is one."""
        n_tags = int.from_bytes(table[:8], "little") if len(table) >= 8 else 0
        size = _EMPTY_TABLE + n_tags * _ENTRY_BYTES
        if at + size > self._file_bytes or len(table) < 8:
            self.cut = f"the table of a page at byte {at} reaches beyond the end of the file"
        elif not 0 < n_tags <= _MOST_TAGS:
            self.cut = f"the table of a page at byte {at} has {n_tags} entries"
        if self.cut:
            return table
        self._file.seek(at)
        table = self._file.read(size)
        if len(table) < size:
            self.cut = f"the file became shorter while the table at byte {at} was read"
        return table


class _Visited:
    """Where tables were found, in order, to see one that comes again."""

    def __init__(self) -> None:
        self.n_pages = 0
        self._runs: list[np.ndarray] = []
        self._last = 0
        self._seen: set[int] | None = None

    def add(self, starts: np.ndarray) -> int:
        """Add tables; return how many come before the first that was there already."""
        n_new = self._n_new(starts)
        self.n_pages += n_new
        return n_new

    def repeated(self, at: int, n_more: int = 0) -> str:
        """Say that the table at byte `at`, so many after those added, cannot be that of a page."""
        page = self.n_pages + n_more
        return f"the table of page {page}, at byte {at}, is that of another page"

    def _n_new(self, starts: np.ndarray) -> int:
        if self._seen is None and self._ascends(starts):
            self._runs.append(starts)
            return len(starts)
        if self._seen is None:
            self._seen = {at for run in self._runs for at in run.tolist()}
            self._runs.clear()
        for k, at in enumerate(starts.tolist()):
            if at in self._seen:
                return k
            self._seen.add(at)
        return len(starts)

    def _ascends(self, starts: np.ndarray) -> bool:
        """Return whether tables follow all others and one another: then none can come again."""
        if len(starts) and (starts[0] <= self._last or (starts[1:] <= starts[:-1]).any()):
            return False
        self._last = int(starts[-1]) if len(starts) else self._last
        return True


@scalar_function
def _follow(buffer, base, bytes_left, places):
    """Follow tables from the start of a buffer, which lies at `base` in the file.

    Ends where one is not whole in the buffer or no table at all, where `places` is full, or where
    tables would take more bytes than are left. Returns their number, where the next table is said
    to be, and the bytes that are left.
    """
    n, at = 0, np.int64(base)
    while n < len(places) and base <= at <= base + len(buffer) - 8:
        place = at - base
        n_tags = load_word(buffer, place)
        if n_tags < 1 or n_tags > _MOST_TAGS:
            break
        size = _EMPTY_TABLE + n_tags * _ENTRY_BYTES
        if place + size > len(buffer) or size > bytes_left:
            break
        bytes_left -= size
        places[n] = place
        n += 1
        at = load_word(buffer, place + size - 8)
    return n, at, bytes_left
