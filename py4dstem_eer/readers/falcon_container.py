"""The pages of a Falcon file: BigTIFF, one page for every camera frame.

tifffile reads these files too, but makes objects of their pages: 25 to 130 µs for each, 3 to 13 s
for a scan of 100,000 frames. Here a page is its row in a table, 3 µs each. What the file promises
is compared with its size before anything is made of it.

References
----------
.. [1] "The BigTIFF File Format", https://www.awaresystems.be/imaging/tiff/bigtiff.html.
.. [2] TIFF Revision 6.0, Adobe, 1992, p. 13-16.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import CorruptFileError, FormatError

WIDTH, HEIGHT, COMPRESSION = 256, 257, 259
SKIP_BITS, HORIZONTAL_BITS, VERTICAL_BITS = 65007, 65008, 65009
#: Tags of one number that are kept of every page, in the columns of `Pages.numbers`.
NUMBERS = (WIDTH, HEIGHT, COMPRESSION, SKIP_BITS, HORIZONTAL_BITS, VERTICAL_BITS)
#: Compression of the three versions of the event representation.
EVENT_COMPRESSIONS = (65000, 65001, 65002)
#: Fault codes of a page; 0 is none.
NO_STRIPS, OUTSIDE_FILE = 1, 2

_STRIP_OFFSETS, _STRIP_BYTES = 273, 279
_MAGIC = struct.pack("<2sHHH", b"II", 43, 8, 0)
_FIRST_PAGE_AT = len(_MAGIC)
_HEADER_BYTES = _FIRST_PAGE_AT + 8
_ENTRY = np.dtype([("tag", "<u2"), ("kind", "<u2"), ("count", "<u8"), ("value", "<u8")])
#: Of the kinds of values [bytes]: BYTE, ASCII, SHORT, LONG, UNDEFINED, LONG8.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 16: 8}
_NOWHERE = (np.zeros(0, np.uint64),) * 2
_MOST_TAGS = 4096
_MOST_TEXT = 2**24
_PAGES_PER_BATCH = 2**13
# one wrong size may promise the whole file once more; many are no accident
_MOST_PROMISED = 4

#: An entry as Python numbers: tag, kind, count, value.
_Entry = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Pages:
    """The pages of a file, in order.

    Attributes
    ----------
    path : Path
    file_bytes : int
    numbers : (n, 6) int64
        Values of the tags `NUMBERS`; -1 where a page has no such tag.
    strip_ptr : (n + 1,) int64
        Page p owns strips strip_ptr[p] to strip_ptr[p + 1], one stream of bytes.
    offsets, sizes : (strips,) int64
        Of the strips in the file [bytes].
    faults : (n,) uint8
    cut : str
        Why the pages end before the file says so; empty if they do not.
    first_tags : list of (m,) array
        All entries of the first two pages, for `read_text`.
    """

    path: Path
    file_bytes: int
    numbers: np.ndarray
    strip_ptr: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    faults: np.ndarray
    cut: str
    first_tags: list[np.ndarray]

    def column(self, tag: int) -> np.ndarray:
        """Return the values of one of the tags `NUMBERS` in all pages, (n,) int64."""
        return self.numbers[:, NUMBERS.index(tag)]


def is_event_tiff(path: Path) -> bool:
    """Return whether the file is BigTIFF with events in its first or second page."""
    try:
        with path.open("rb", buffering=0) as file:
            chain = _Chain(file, path.stat().st_size)
            pages = list(islice(chain, 2))
    except (OSError, FormatError):
        return False
    return any(_number(np.frombuffer(p, _ENTRY), COMPRESSION) in EVENT_COMPRESSIONS for p in pages)


def read_pages(path: Path) -> Pages:
    """Read the tables of all pages.

    Raises
    ------
    FormatError
        If it is no BigTIFF file.
    CorruptFileError
        If it has no page, or promises more data than it can hold.
    """
    file_bytes = path.stat().st_size
    first_tags: list[np.ndarray] = []
    with path.open("rb", buffering=0) as file:
        chain = _Chain(file, file_bytes)
        strips = _Strips(file, file_bytes)
        numbers = [np.empty((0, len(NUMBERS)), np.int64)]
        tables = iter(chain)
        while batch := list(islice(tables, _PAGES_PER_BATCH)):
            if not first_tags:
                first_tags = [np.frombuffer(page, _ENTRY) for page in batch[:2]]
            numbers.append(_parse(batch, strips))
    pages = Pages(
        path, file_bytes, np.concatenate(numbers), *strips.tables(), chain.cut, first_tags
    )
    _check(pages)
    return pages


def read_text(pages: Pages, page: int, tag: int) -> bytes | None:
    """Return the text of a tag of the first or second page, or None if there is none.

    Raises
    ------
    CorruptFileError
        If it lies outside the file.
    """
    if page >= len(pages.first_tags):
        return None
    for entry in pages.first_tags[page]:
        if entry["tag"] == tag:
            break
    else:
        return None
    size, at = int(entry["count"]), int(entry["value"])
    if _SIZES.get(int(entry["kind"])) != 1 or size > min(_MOST_TEXT, pages.file_bytes):
        raise CorruptFileError(
            f"{pages.path}, page {page}: tag {tag} should be a text, and is {size} values of kind "
            f'{entry["kind"]}; errors="skip" reads the file without it'
        )
    if size <= 8:
        return entry["value"].tobytes()[:size]
    with pages.path.open("rb", buffering=0) as file:
        text = _read_at(file, at, size) if at + size <= pages.file_bytes else b""
    if len(text) < size:
        raise CorruptFileError(
            f"{pages.path}, page {page}: the text of tag {tag}, {size} bytes at {at}, lies beyond "
            f'the end of the file; errors="skip" reads the file without it'
        )
    return text


class _Chain:
    """Iterates over the tables of the pages; afterwards `cut` says why it ended early."""

    def __init__(self, file: BinaryIO, file_bytes: int) -> None:
        header = _read_at(file, 0, _HEADER_BYTES)
        if len(header) < _HEADER_BYTES or header[:_FIRST_PAGE_AT] != _MAGIC:
            raise FormatError(
                f"{file.name} is no Falcon file: it starts with {header[:8]!r}, not as "
                f"little-endian BigTIFF does, {_MAGIC!r}"
            )
        self._file, self._file_bytes = file, file_bytes
        self._next = int.from_bytes(header[_FIRST_PAGE_AT:], "little")
        self.cut = ""

    def __iter__(self) -> Iterator[bytes]:
        seen: set[int] = set()
        size, total, n_tags = 16, 0, b""
        seek, read = self._file.seek, self._file.read  # once, there may be a million pages
        at = self._next
        while at:
            page = b""
            if at < self._file_bytes:
                seek(at)
                page = read(size)
            if page[:8] != n_tags or len(page) != size:  # most are as long as the last
                page = self._reread(at, page)
                size, n_tags = len(page), page[:8]
            total += size
            # pages that overlap would let a small file ask for much memory
            if not self.cut and (at in seen or total > self._file_bytes):
                self.cut = f"the table of page {len(seen)}, at byte {at}, is that of another page"
            if self.cut:
                return
            seen.add(at)
            at = int.from_bytes(page[-8:], "little")
            yield page[8:-8]

    def _reread(self, at: int, page: bytes) -> bytes:
        """Return a table whole, given its beginning, if it is one."""
        n_tags = int.from_bytes(page[:8], "little") if len(page) >= 8 else 0
        size = 16 + n_tags * _ENTRY.itemsize
        if at + size > self._file_bytes or len(page) < 8:
            self.cut = f"the table of a page at byte {at} reaches beyond the end of the file"
        elif not 0 < n_tags <= _MOST_TAGS:
            self.cut = f"the table of a page at byte {at} has {n_tags} entries"
        return page if self.cut else _read_at(self._file, at, size)


class _Strips:
    """Where the data of the pages are, collected page by page."""

    def __init__(self, file: BinaryIO, file_bytes: int) -> None:
        self._file, self._file_bytes = file, file_bytes
        self._counts = [np.zeros(1, np.int64)]
        self._offsets = [np.zeros(0, np.int64)]
        self._sizes = [np.zeros(0, np.int64)]
        self._faults = [np.zeros(0, np.uint8)]
        self._table_bytes = 0

    def add(self, offsets: np.ndarray, sizes: np.ndarray, found: np.ndarray) -> None:
        """Add pages, given the entries (n,) of their two tags and whether they have both."""
        whole = found & (offsets["count"] == sizes["count"])
        single = whole & (offsets["count"] == 1)
        if single.all():
            self._append(np.ones(len(single), np.int64), _inline(offsets), _inline(sizes))
            return
        pages = zip(offsets.tolist(), sizes.tolist(), whole.tolist(), strict=True)
        lists = [self._located(a, b) if sound else _NOWHERE for a, b, sound in pages]
        counts = np.array([len(located[0]) for located in lists])
        joined = [np.concatenate([located[k] for located in lists]) for k in range(2)]
        self._append(counts, joined[0].astype(np.int64), joined[1].astype(np.int64))

    def tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return strip_ptr, offsets, sizes and faults, as in `Pages`."""
        strip_ptr = np.cumsum(np.concatenate(self._counts))
        offsets, sizes = np.concatenate(self._offsets), np.concatenate(self._sizes)
        return strip_ptr, offsets, sizes, np.concatenate(self._faults)

    def _append(self, counts: np.ndarray, offsets: np.ndarray, sizes: np.ndarray) -> None:
        ends = offsets + np.minimum(sizes, self._file_bytes)
        outside = (offsets < 0) | (sizes < 0) | (offsets > self._file_bytes)
        outside |= (sizes > self._file_bytes) | (ends > self._file_bytes)
        faults = np.where(counts == 0, NO_STRIPS, 0).astype(np.uint8)
        page = np.repeat(np.arange(len(counts)), counts)
        faults[page[outside]] = OUTSIDE_FILE
        self._faults.append(faults)
        self._counts.append(counts)
        self._offsets.append(offsets)
        self._sizes.append(sizes)

    def _located(self, offsets: _Entry, sizes: _Entry) -> tuple[np.ndarray, np.ndarray]:
        """Return where the strips of a page are, and their sizes; empty if that cannot be read."""
        starts, lengths = self._values(offsets), self._values(sizes)
        return _NOWHERE if starts is None or lengths is None else (starts, lengths)

    def _values(self, entry: _Entry) -> np.ndarray | None:
        """Return the numbers of an entry, or None if they cannot be read."""
        _, kind, count, at = entry
        size = _SIZES.get(kind, 0) * count
        # lists that overlap would let a small file ask for much memory
        if size == 0 or self._table_bytes + size > self._file_bytes:
            return None
        raw = at.to_bytes(8, "little")[:size]
        if size > 8:
            raw = _read_at(self._file, at, size) if at + size <= self._file_bytes else b""
            self._table_bytes += size
        return np.frombuffer(raw, f"<u{_SIZES[kind]}") if len(raw) == size else None


def _parse(batch: list[bytes], strips: _Strips) -> np.ndarray:
    """Return the numbers of some pages, (n, 6) int64, and add their strips."""
    numbers = np.full((len(batch), len(NUMBERS)), -1, np.int64)
    located = np.zeros((2, len(batch)), _ENTRY)
    found = np.zeros((2, len(batch)), bool)
    lengths = np.array([len(page) for page in batch])
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        entries = np.frombuffer(b"".join(batch[k] for k in chosen), _ENTRY)
        entries = entries.reshape(len(chosen), -1)
        for k, tag in enumerate(NUMBERS):
            entry, has = _find(entries, tag)
            has &= entry["count"] == 1
            numbers[chosen, k] = np.where(has, _inline(entry), -1)
        for k, tag in enumerate((_STRIP_OFFSETS, _STRIP_BYTES)):
            located[k, chosen], found[k, chosen] = _find(entries, tag)
    strips.add(located[0], located[1], found.all(axis=0))
    return numbers


def _find(entries: np.ndarray, tag: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the entry of a tag in each page, and whether there is one."""
    hits = entries["tag"] == tag
    pages, column = np.arange(len(entries)), hits.argmax(axis=1)
    return entries[pages, column], hits[pages, column]


def _inline(entries: np.ndarray) -> np.ndarray:
    """Return the single numbers that entries hold, int64; -1 if it is no whole number."""
    values = np.full(len(entries), -1, np.int64)
    for kind, size in _SIZES.items():
        of_kind = entries["kind"] == kind
        if of_kind.any():
            kept = entries["value"][of_kind] & np.uint64(2 ** (8 * size) - 1)
            values[of_kind] = kept.view(np.int64)  # what is too large becomes negative
    return values


def _number(entries: np.ndarray, tag: int) -> int:
    """Return the number of a tag of one page, -1 if there is none."""
    entry, found = _find(entries[None], tag)
    return int(_inline(entry)[0]) if found[0] else -1


def _check(pages: Pages) -> None:
    if len(pages.numbers) == 0:
        raise CorruptFileError(
            f"{pages.path} is truncated or damaged, no frame can be read, from frame 0 on: "
            f"{pages.cut or 'it has no pages'}"
        )
    sound = np.repeat(pages.faults == 0, np.diff(pages.strip_ptr))
    promised = int(pages.sizes[sound].sum())
    if promised > _MOST_PROMISED * pages.file_bytes:
        raise CorruptFileError(
            f"{pages.path}: its {len(pages.numbers)} pages promise {promised} bytes of data in a "
            f"file of {pages.file_bytes} bytes"
        )


def _read_at(file: BinaryIO, position: int, n_bytes: int) -> bytes:
    file.seek(position, os.SEEK_SET)
    return file.read(n_bytes)
