"""What a Falcon file with many pages says at some places of it.

Each page says where the next is, so that to count them is to read the whole way through the file,
once for every frame; from a disk that takes longer than anybody waits for a description. In the
middle of the file the table of a page is found by its first bytes, which all frames share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import MissingOptionError
from .falcon_container import Pages, gather_pages
from .falcon_frames import Frames, find_frames
from .falcon_source import FalconSource
from .falcon_tags import ENTRY
from .falcon_walk import Chain, Run
from .frame_order import without_flyback
from .options import ReaderOptions
from .samples import Estimate, Sample, rounded

#: Files of about so many pages are walked through.
FEW_PAGES = 2**13

_PLACES, _PAGES_PER_PLACE = 8, 32
# a table is looked for in so many bytes from a place on; few pages are longer
_BLOCK, _MOST_BYTES = 2**18, 2**23
# what all tables begin with: the number of entries, and the tag, kind and count of the first
_COMMON = 8 + ENTRY.fields["value"][1]  # type: ignore[index]
# numbers of pages may differ from what their distances tell by this part, and by more if these vary
_TOLERANCE, _ERRORS = 0.02, 4

# what metadata say of the frames that were looked at alone
_OF_FRAMES_SEEN = ("format", "keep_flyback", "skipped_frames")

#: Opens frames with options, given what the file says.
Open = Callable[[Frames, Mapping[str, Any], ReaderOptions], FalconSource]
#: Returns the metadata of pages, given whether the first is an image.
Describe = Callable[[Pages, bool], dict[str, Any]]

#: Successive pages, and where in the file their tables are, (n,) int64.
_Found = tuple[Run, np.ndarray]


@dataclass(frozen=True, eq=False)
class _Seen:
    """Pages at some places of a file, and how many there are in all."""

    pages: Pages
    n_pages: Estimate


def take_sample(
    path: Path, options: ReaderOptions, describe: Describe, open_frames: Open
) -> Sample | None:
    """Look at frames at some places of a file, evenly spread; None if it has few pages.

    Damaged frames are left out, and counted in the facts.

    Raises
    ------
    FormatError, CorruptFileError, ParameterError
        As when the file is opened, where what was looked at shows it.
    """
    seen = _look(path)
    if seen is None:
        return None
    frames, has_final_image = find_frames(seen.pages)
    facts = {"version": frames.compression, "has_final_image": has_final_image}
    facts.update(describe(seen.pages, has_final_image))
    n_positions = len(frames) // (options.frames_per_position or 1)
    # successive frames are as good as those of a position, wherever positions begin
    column = replace(
        options, scan_shape=(n_positions, 1), skip_frames=0, keep_flyback=True, errors="skip"
    )
    source = open_frames(frames, facts, column)
    sample = Sample(
        min(1.0, len(seen.pages.numbers) / seen.n_pages.value),
        _facts(source.metadata),
        _electrons(source),
        detector_shape=source.detector_shape,
        count_dtype=source.count_dtype,
    )
    return _judged(sample, path, seen.n_pages, options)


def _look(path: Path) -> _Seen | None:
    """Return pages from the beginning and from further places, or None if there are few."""
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        first = _pages_from(file, size, None)
        if not _many(first[1], size):
            return None
        found = [first, *_further(file, size, first)]
        pages = gather_pages(path, file, (run for run, _ in found))
    per_place = np.array([_distance(where) for where in (first[1][1:], *(w for _, w in found[1:]))])
    if 2 * per_place.mean() < _mean_bytes(pages):
        return None  # tables that lie together are walked through in a moment
    return _Seen(pages, _extrapolated(per_place, size - int(first[1][1]), len(pages.numbers)))


def _pages_from(file: BinaryIO, size: int, at: int | None) -> _Found:
    buffer, places, where = Chain(file, size, at).beginning(_PAGES_PER_PLACE)
    return (buffer, places), where


def _many(where: np.ndarray, size: int) -> bool:
    """Return whether a file has many pages, if they go on at the distances of the first."""
    # from the second on, as the first may be an image
    return _whole(where) and size / _distance(where[1:]) > FEW_PAGES


def _whole(where: np.ndarray) -> bool:
    """Return whether tables can be those of successive pages, as many as were asked for."""
    return len(where) == _PAGES_PER_PLACE and bool((np.diff(where) > 0).all())


def _distance(where: np.ndarray) -> float:
    return float(where[-1] - where[0]) / (len(where) - 1)


def _mean_bytes(pages: Pages) -> float:
    return float(pages.sizes[pages.strip_ptr[1] :].sum()) / (len(pages.numbers) - 1)


def _further(file: BinaryIO, size: int, first: _Found) -> Iterator[_Found]:
    """Iterate over pages at further places."""
    (buffer, places), where = first
    begin = buffer[places[1] : places[1] + _COMMON].tobytes()
    for place in np.linspace(0, size, _PLACES, endpoint=False).astype(np.int64)[1:].tolist():
        found = _pages_after(file, size, begin, max(place, int(where[-1]) + 1))
        if found is not None:
            where = found[1]
            yield found


def _pages_after(file: BinaryIO, size: int, begin: bytes, place: int) -> _Found | None:
    """Return the next pages after a place, or None if none are found."""
    block = b""
    for at in range(place, min(size, place + _MOST_BYTES), _BLOCK):
        file.seek(at)
        tail = block[1 - len(begin) :]
        block = tail + file.read(_BLOCK)
        hit = block.find(begin)
        while hit >= 0:
            found = _pages_from(file, size, at - len(tail) + hit)
            if _whole(found[1]):  # such bytes in the data of a frame lead nowhere
                return found
            hit = block.find(begin, hit + 1)
    return None


def _extrapolated(per_place: np.ndarray, n_bytes: int, seen: int) -> Estimate:
    """Return the number of pages in so many bytes, given their mean distance at each place."""
    number = 1 + n_bytes / per_place.mean()
    if len(per_place) < 2:
        return Estimate(number, np.inf, seen)
    spread = float(per_place.std(ddof=1) / per_place.mean() / np.sqrt(len(per_place)))
    return Estimate(number, number * max(_TOLERANCE, _ERRORS * spread), seen)


def _electrons(source: FalconSource) -> np.ndarray:
    electrons = source.events_per_pattern()
    return np.zeros(0, np.int64) if electrons is None else electrons


def _facts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the metadata of the frames seen say of all."""
    facts = {name: value for name, value in metadata.items() if name not in _OF_FRAMES_SEEN}
    faulty = metadata.get("skipped_frames", 0)
    return {**({"faulty frames seen": faulty} if faulty else {}), **facts}


def _judged(sample: Sample, path: Path, n_pages: Estimate, options: ReaderOptions) -> Sample:
    """Add what follows from the number of frames, and whether the scan shape fits it."""
    told = _number_told(sample.facts)
    known = told if told is not None and n_pages.fits(told) else None
    words = str(n_pages) if known is None else f"{known:,}, as the file says"
    sample = replace(sample, facts={"frames": words, **sample.facts})
    per_position, shape = options.frames_per_position or 1, options.scan_shape
    n_frames = n_pages.value if known is None else known
    if shape is None:
        n_positions = max(0.0, n_frames - options.skip_frames) / per_position
        exact = known is not None and n_positions == int(n_positions)
        return replace(
            sample,
            n_electrons=_total(sample, n_positions),
            n_positions=int(n_positions) if exact else None,
            missing=MissingOptionError(
                f"{path} does not say what shape the scan of its frames has, {words}; give "
                "scan_shape=(rows, columns)"
            ),
        )
    needed = options.skip_frames + math.prod(shape) * per_position
    fits = needed == known if known is not None else n_pages.fits(needed)
    kept = shape if options.keep_flyback else without_flyback(shape)
    doubt = f"scan_shape={shape} takes {needed} frames, but there are {words}"
    return replace(
        sample,
        scan_shape=kept,
        n_electrons=_total(sample, math.prod(kept)),
        doubt="" if fits else doubt,
    )


def _number_told(facts: Mapping[str, Any]) -> int | None:
    """Return the number of frames that the metadata tell."""
    for part in ("acquisition", "final_image"):
        number = facts.get(part, {}).get("numberOfFrames")
        if isinstance(number, int):
            return number
    return None


def _total(sample: Sample, n_positions: float) -> int | None:
    electrons = sample.per_pattern
    if len(electrons) == 0:
        return None
    return rounded(float(electrons.mean()) * n_positions, int(electrons.sum()))
