"""What `py4dstem-eer info` says of a Falcon file by frames at some places of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..detector import Shape2D
from ..errors import CorruptFileError, MissingOptionError
from ..event_lists import count_dtype
from .falcon_container import Pages
from .falcon_frames import Frames, find_frames
from .falcon_places import look
from .falcon_source import FalconSource
from .frame_order import without_flyback
from .options import ReaderOptions
from .samples import Estimate, Sample, rounded

#: Opens frames with options, given what the file says.
Open = Callable[[Frames, Mapping[str, Any], ReaderOptions], FalconSource]
#: Returns the metadata of pages, given whether the first is an image.
Describe = Callable[[Pages, bool], dict[str, Any]]

# what metadata say of the frames that were looked at, and not of all
_OF_FRAMES_SEEN = ("format", "keep_flyback", "skipped_frames", "frames_per_position")


def take_sample(
    path: Path, options: ReaderOptions, describe: Describe, open_frames: Open
) -> Sample | None:
    """Return what frames at some places say; None where `falcon_places.look` gives nothing.

    Damaged frames are taken for empty, and counted in the facts.

    Raises
    ------
    FormatError, CorruptFileError, ParameterError
        As when the file is opened, where what was looked at shows it.
    """
    places = look(path)
    if places is None:
        return None
    if places.pages.cut and not options.skips_errors:
        raise CorruptFileError(
            f"{path} is truncated or damaged: {places.pages.cut}; "
            'errors="skip" reads the frames before'
        )
    frames, has_final_image = find_frames(places.pages)
    facts = {"version": frames.compression, "has_final_image": has_final_image}
    facts.update(describe(places.pages, has_final_image))
    alone = replace(
        options, scan_shape=(len(frames), 1), skip_frames=0, frames_per_position=1,
        keep_flyback=True, errors="skip",
    )  # fmt: skip
    source = open_frames(frames, facts, alone)
    electrons = cast(np.ndarray, source.events_per_pattern())  # which it counted to find the bad
    at_places = electrons[places.per_place - has_final_image :]
    per_frame = at_places.reshape(len(places.distances), places.per_place)
    mean, per_position = places.mean(per_frame), options.frames_per_position or 1
    sample = Sample(
        len(frames) / places.n_pages().value,
        {**_facts(source.metadata), "frames_per_position": per_position},
        _positions(per_frame, per_position),
        detector_shape=source.detector_shape,
        count_dtype=count_dtype(per_position),
        mean=mean.value * per_position,
    )
    return _judged(sample, path, places.n_pages(), mean.seen, options)


def _positions(per_frame: np.ndarray, per_position: int) -> np.ndarray:
    """Return the electrons of scan positions, wherever they begin: successive frames are as good.

    Empty if there are not enough at each place.
    """
    n_whole = per_frame.shape[1] // per_position
    if n_whole == 0:
        return np.zeros(0, np.int64)
    grouped = per_frame[:, : n_whole * per_position].reshape(len(per_frame), n_whole, per_position)
    return grouped.sum(axis=2).ravel()


def _facts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: value for name, value in metadata.items() if name not in _OF_FRAMES_SEEN}
    faulty = metadata.get("skipped_frames", 0)
    return {**({"faulty frames seen": faulty} if faulty else {}), **facts}


def _judged(
    sample: Sample, path: Path, n_pages: Estimate, n_seen: int, options: ReaderOptions
) -> Sample:
    """Add what follows from the number of frames, and whether the options fit it.

    The mean is as exact as `n_seen` electrons make it.
    """
    told = _number_told(sample.facts)
    known = told if told is not None and n_pages.fits(told) else None
    words = f"{known:,}, as the file says" if known is not None else str(n_pages)
    if told is not None and known is None:
        words += f", though the file says {told:,}"
    sample = replace(sample, facts={"frames": words, **sample.facts})
    n_frames = n_pages if known is None else Estimate(known, 0, n_pages.seen)
    if _none_left(n_frames, options):
        doubt = f"skip_frames={options.skip_frames} leaves none of the frames: there are {words}"
        sample = replace(sample, doubt=doubt)
    if options.scan_shape is not None:
        return _of_scan(sample, n_frames, n_seen, words, options.scan_shape, options)
    per_position = options.frames_per_position or 1
    n_positions = max(0.0, n_frames.value - options.skip_frames) / per_position
    whole = known is not None and n_positions.is_integer()
    return replace(
        sample,
        n_electrons=_total(sample, n_positions, n_seen),
        n_positions=int(n_positions) if whole else None,
        missing=MissingOptionError(
            f"{path} does not say what shape the scan has; give scan_shape=(rows, columns)",
            {"scan_shape": ...},
        ),
    )


def _of_scan(
    sample: Sample,
    n_frames: Estimate,
    n_seen: int,
    words: str,
    shape: Shape2D,
    options: ReaderOptions,
) -> Sample:
    needed = options.skip_frames + math.prod(shape) * (options.frames_per_position or 1)
    kept = shape if options.keep_flyback else without_flyback(shape)
    part, doubt = 1.0, sample.doubt
    if not n_frames.fits(needed):
        there = max(0.0, n_frames.value - options.skip_frames)
        part = min(1.0, there / (needed - options.skip_frames))
        if not options.skips_errors and not doubt:
            doubt = f"scan_shape={shape} takes {needed:,} frames, and there are {words}"
    total = _total(sample, part * math.prod(kept), n_seen)
    return replace(sample, scan_shape=kept, n_electrons=total, doubt=doubt)


def _none_left(n_frames: Estimate, options: ReaderOptions) -> bool:
    return options.skip_frames >= n_frames.value + n_frames.error


def _number_told(facts: Mapping[str, Any]) -> int | None:
    """Return the number of frames that the metadata tell."""
    for part in ("acquisition", "final_image"):
        number = facts.get(part, {}).get("numberOfFrames")
        if isinstance(number, int):
            return number
    return None


def _total(sample: Sample, n_positions: float, n_seen: int) -> int:
    return rounded((sample.mean or 0.0) * n_positions, n_seen)
