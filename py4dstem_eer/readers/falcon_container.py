"""The pages of a Falcon file: BigTIFF, one page for every camera frame.

tifffile reads these files too, but makes objects of their pages: 25 to 130 µs for each, 3 to 13 s
for a scan of 100,000 frames. Here a page is its row in a table. What the file promises is compared
with its size before anything is made of it.

References
----------
.. [1] "The BigTIFF File Format", https://www.awaresystems.be/imaging/tiff/bigtiff.html.
.. [2] TIFF Revision 6.0, Adobe, 1992, p. 13-16.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import CorruptFileError, FormatError
from .falcon_strips import Strips
from .falcon_tags import (
    COMPRESSION,
    EVENT_COMPRESSIONS,
    NUMBERS,
    SIZES,
    entries_of,
    find_entry,
    number_of,
    parse_tables,
)
from .falcon_walk import PAGES_PER_BATCH, Chain, Run

_MOST_TEXT = 2**24
# one wrong size may promise the whole file once more; many are no accident
_MOST_PROMISED = 4


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
            buffer, places, _ = Chain(file, path.stat().st_size).beginning(2)
    except (OSError, FormatError):
        return False
    entries = [find_entry(entries_of(buffer, place), COMPRESSION) for place in places]
    return any(e is not None and number_of(e) in EVENT_COMPRESSIONS for e in entries)


def read_pages(path: Path) -> Pages:
    """Read the tables of all pages.

    Raises
    ------
    FormatError
        If it is no BigTIFF file.
    CorruptFileError
        If it has no page, or promises more data than it can hold.
    """
    with path.open("rb", buffering=0) as file:
        chain = Chain(file, path.stat().st_size)
        pages = replace(gather_pages(path, file, chain), cut=chain.cut)
    _check(pages)
    return pages


def gather_pages(path: Path, file: BinaryIO, runs: Iterable[Run]) -> Pages:
    """Return the pages whose tables are in some runs, from one or several places of a file.

    Parameters
    ----------
    path : Path
    file : binary file
        Open at `path`.
    runs : iterable of `Run`
        As `Chain` gives them.
    """
    file_bytes = path.stat().st_size
    strips, n_pages = Strips(file, file_bytes), 0
    first_tags: list[np.ndarray] = []
    numbers = [np.empty((0, len(NUMBERS)), np.int64)]
    for buffer, places in runs:
        wanted = places[: 2 - len(first_tags)]
        first_tags.extend(entries_of(buffer, place) for place in wanted)
        found, *where = parse_tables(buffer, places)
        numbers.append(found)
        strips.add(*where)
        n_pages += len(places)
        if n_pages % PAGES_PER_BATCH == 0:
            strips.end_batch()
    strips.end_batch()
    joined = np.concatenate(numbers)
    numbers.clear()  # there may be a million pages
    return Pages(path, file_bytes, joined, *strips.tables(), "", first_tags)


def read_text(pages: Pages, page: int, tag: int) -> bytes | None:
    """Return the text of a tag of the first or second page, or None if there is none.

    Raises
    ------
    CorruptFileError
        If it lies outside the file.
    """
    if page >= len(pages.first_tags):
        return None
    entry = find_entry(pages.first_tags[page], tag)
    if entry is None:
        return None
    size, at = int(entry["count"]), int(entry["value"])
    if SIZES.get(int(entry["kind"])) != 1 or size > min(_MOST_TEXT, pages.file_bytes):
        raise CorruptFileError(
            f"{pages.path}, page {page}: tag {tag} should be a text, and is {size} values of kind "
            f'{entry["kind"]}; errors="skip" reads the file without it'
        )
    if size <= 8:
        return entry["value"].tobytes()[:size]
    with pages.path.open("rb", buffering=0) as file:
        text = b""
        if at + size <= pages.file_bytes:
            file.seek(at)
            text = file.read(size)
    if len(text) < size:
        raise CorruptFileError(
            f"{pages.path}, page {page}: the text of tag {tag}, {size} bytes at {at}, lies beyond "
            f'the end of the file; errors="skip" reads the file without it'
        )
    return text


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
