"""Pages at some places of a Falcon file, where it takes too long to follow them all.

Each page says where the next is, so that to count them is to read the whole way through the file,
once for every frame; from a cold disk that takes longer than anybody waits for a description. In
the middle of a file the table of a page is found by its first bytes, which all frames share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .falcon_container import Pages, gather_pages
from .falcon_tags import ENTRY
from .falcon_walk import Chain, Run
from .samples import Estimate

#: Files of fewer pages, or whose pages can be followed in so many seconds, are.
FEW_PAGES, MOMENT = 2**10, 0.3

_PLACES, _PAGES_PER_PLACE = 16, 16
# a table is looked for in so many bytes from a place on; few pages are longer
_BLOCK, _MOST_BYTES = 2**18, 2**23
# what all tables begin with, the number of entries and the tag, kind and count of the first; few
# such bytes in the data of frames are looked at
_COMMON, _MOST_HITS = 8 + ENTRY.fields["value"][1], 8  # type: ignore[index]
# the end of a file is followed from so many pages before, if it comes after no more than so many
_PAGES_BEFORE_END, _MOST_BEFORE_END = 32, 2**10
# the number of pages may differ from what distances tell by this part; by more if these vary
_TOLERANCE, _ERRORS, _MOST_TOLERANCE = 0.05, 3, 0.5


@dataclass(frozen=True, eq=False)
class Places:
    """Pages at the beginning and at some places of a file, as many at each.

    Attributes
    ----------
    pages : Pages
        Those of the beginning, then those of the places. `cut` is why the file ends too early, if
        that is seen.
    distances : (places,) float
        Between the tables of pages, on average at each place [bytes].
    n_bytes : int
        Of the file, from the second page on: the first may be that of an image.
    """

    pages: Pages
    distances: np.ndarray
    n_bytes: int

    @property
    def per_place(self) -> int:
        """Pages at each place, and at the beginning."""
        return len(self.pages.numbers) // (1 + len(self.distances))

    def n_pages(self) -> Estimate:
        """Return how many pages there are in the file.

        Places are even in bytes, so that fewer of them are where pages are small: the mean density
        of pages, one over their distance, is that of the file.
        """
        density = 1 / self.distances
        number = float(self.n_bytes * density.mean())
        spread = float(density.std(ddof=1) / density.mean() / np.sqrt(len(density)))
        part = min(max(_TOLERANCE, _ERRORS * spread), _MOST_TOLERANCE)
        return Estimate(number, number * part, len(self.pages.numbers))

    def mean(self, electrons: np.ndarray) -> Estimate:
        """Return the mean over all pages, given electrons at the places, (places, n)."""
        per_byte = electrons.mean(axis=1) / self.distances
        mean = float(per_byte.mean() / (1 / self.distances).mean())
        part = float(per_byte.std(ddof=1) / np.sqrt(len(per_byte)) / (per_byte.mean() or 1))
        # places that differ tell as much as so few electrons that scatter as much
        seen = min(float(electrons.sum()), 1 / max(part, 1e-9) ** 2)
        return Estimate(mean, part * mean, int(seen))


@dataclass(frozen=True, eq=False)
class _Found:
    """Successive pages, where in the file their tables are, and the seconds it took to read them.

    `cut` says why there are not as many as were asked for.
    """

    run: Run
    where: np.ndarray
    cut: str
    seconds: float

    @property
    def whole(self) -> bool:
        """Whether there are as many pages as at every place, in order."""
        return len(self.where) == _PAGES_PER_PLACE and self.ascends

    @property
    def ascends(self) -> bool:
        """Whether each table comes after the one before."""
        return bool((np.diff(self.where) > 0).all())

    @property
    def distance(self) -> float:
        """Between tables, on average [bytes]."""
        return float(self.where[-1] - self.where[0]) / (len(self.where) - 1)


def look(path: Path) -> Places | None:
    """Look at pages at some places of a file, evenly spread.

    None if it has few pages, or if they can be followed in a moment; and if there are none at some
    place, so that those seen tell nothing of the rest.

    Raises
    ------
    FormatError
        If it is no BigTIFF file.
    """
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        first = _pages_from(file, size, None, _PAGES_PER_PLACE)
        if not first.whole:
            return None
        buffer, tables = first.run
        # of the last, as the first may be that of an image, or have texts
        begin = buffer[tables[-1] : tables[-1] + _COMMON].tobytes()
        start = int(first.where[1])
        found = list(_at_places(file, start, size, begin))
        if len(found) < _PLACES or _are_followed(found, size):
            return None
        pages = gather_pages(path, file, [first.run, *(place.run for place in found)])
        distances = np.array([place.distance for place in found])
        cut = _cut_at_end(file, size, begin, distances[-1])
    return Places(replace(pages, cut=cut), distances, size - start)


def _pages_from(file: BinaryIO, size: int, at: int | None, n_pages: int) -> _Found:
    started = time.perf_counter()
    chain = Chain(file, size, at)
    buffer, places, where = chain.beginning(n_pages)
    return _Found((buffer, places), where, chain.cut, time.perf_counter() - started)


def _at_places(file: BinaryIO, start: int, size: int, begin: bytes) -> Iterator[_Found]:
    """Iterate over the pages from the middle of each of equal parts of the file on."""
    for k in range(_PLACES):
        middle, end = (start + (size - start) * n // (2 * _PLACES) for n in (2 * k + 1, 2 * k + 2))
        candidates = _pages_after(file, end, begin, middle, _PAGES_PER_PLACE)
        found = next((pages for pages in candidates if pages.whole), None)
        if found is None:
            return
        yield found


def _pages_after(
    file: BinaryIO, end: int, begin: bytes, place: int, n_pages: int
) -> Iterator[_Found]:
    """Iterate over what may be the next pages from a place on, before another.

    Bytes in the data that look like a table lead nowhere.
    """
    size = os.fstat(file.fileno()).st_size
    block, n_hits = b"", 0
    for at in range(place, min(end, place + _MOST_BYTES), _BLOCK):
        file.seek(at)
        tail = block[1 - len(begin) :]
        block = tail + file.read(min(_BLOCK, end - at))
        hit = block.find(begin)
        while hit >= 0 and n_hits < _MOST_HITS:
            yield _pages_from(file, size, at - len(tail) + hit, n_pages)
            n_hits += 1
            hit = block.find(begin, hit + 1)


def _are_followed(found: list[_Found], size: int) -> bool:
    """Return whether there are few pages, or each takes so little time that it takes a moment."""
    n_pages = size * np.mean([1 / place.distance for place in found])
    each = np.median([place.seconds for place in found]) / _PAGES_PER_PLACE
    return bool(n_pages < FEW_PAGES or n_pages * each < MOMENT)


def _cut_at_end(file: BinaryIO, size: int, begin: bytes, distance: float) -> str:
    """Return why the last pages are not whole, or "" if they are, or are not seen."""
    place = max(0, int(size - _PAGES_BEFORE_END * distance))
    for found in _pages_after(file, size, begin, place, _MOST_BEFORE_END):
        if len(found.where) > 1 and found.ascends:
            return found.cut
    return ""
