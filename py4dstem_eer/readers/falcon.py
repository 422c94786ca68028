"""Thermo Fisher Falcon events (.eer): BigTIFF with the run lengths between electrons per frame."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import CorruptFileError, EventWarning, ParameterError
from .defects import read_defects
from .falcon_container import Pages, is_event_tiff, read_pages
from .falcon_frames import Frames, find_frames
from .falcon_metadata import read_metadata
from .falcon_sample import take_sample
from .falcon_source import FalconSource, settle_waste
from .falcon_stream import Camera
from .frame_order import in_order, telling_frames
from .options import ReaderOptions
from .samples import Sample
from .stamps import stamp_of

NAME = "falcon"
USES = frozenset(
    {
        "scan_shape",
        "skip_frames",
        "frames_per_position",
        "keep_flyback",
        "superres",
        "errors",
        "defects",
    }
)
EXTENSIONS = frozenset({".eer"})

_PROTOTYPE = 65000


def recognises(path: Path) -> bool:
    """Return whether the file is BigTIFF with events in its first pages."""
    return is_event_tiff(path)


def open_source(path: Path, options: ReaderOptions) -> FalconSource:
    """Open a Falcon file for reading.

    Parameters
    ----------
    path : Path
    options : ReaderOptions

    Raises
    ------
    FormatError
        If it is no Falcon file.
    ParameterError
        If the options do not fit it; a scan shape must be given.
    CorruptFileError
        If it is damaged, as far as can be told without reading events; with errors="skip", only
        if nothing of it can be told.
    """
    stamp = stamp_of(path)
    pages = read_pages(path)
    frames, has_final_image = find_frames(pages)
    if pages.cut and not options.skips_errors:
        raise CorruptFileError(
            f"{path} is truncated or damaged, from frame {len(frames)} on nothing can be read: "
            f'{pages.cut}; errors="skip" reads the frames before'
        )
    facts = {
        "version": frames.compression,
        "has_final_image": has_final_image,
        **_described(pages, has_final_image, options.skips_errors),
    }
    del pages  # there may be a million, in tables of which the frames keep a part
    source = partial(_source, frames, facts, stamp)
    with telling_frames(len(frames), frames.shape, facts, options, source):
        return source(options)


def sample(path: Path, options: ReaderOptions) -> Sample | None:
    """Return what can be said about a file whose pages cannot be followed in a moment."""
    stamp = stamp_of(path)

    def describe(pages: Pages, has_final_image: bool) -> dict[str, Any]:
        return _described(pages, has_final_image, options.skips_errors)

    def open_frames(frames: Frames, facts: Mapping[str, Any], alone: ReaderOptions) -> FalconSource:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EventWarning)  # faulty frames are among the facts
            return _source(frames, facts, stamp, alone)

    return take_sample(path, options, describe, open_frames)


def _source(
    frames: Frames, facts: Mapping[str, Any], stamp: tuple[int, ...], options: ReaderOptions
) -> FalconSource:
    order = in_order(frames.path, len(frames), options, stacklevel=5)
    camera = _camera(frames, options)
    frames, variant = _settled(frames)
    metadata = {
        "format": NAME,
        **facts,
        **variant,
        "superres": camera.superres,
        "frames_per_position": order.frames_per_position,
        **order.left_out,
        "keep_flyback": bool(options.keep_flyback),
    }
    if options.defects is not None:
        metadata["defects"] = int(camera.defects.sum())
    source = FalconSource(frames, order, camera, metadata, stamp)
    source.check(options.skips_errors)
    return source


def _camera(frames: Frames, options: ReaderOptions) -> Camera:
    if options.superres > frames.code.superres:
        raise ParameterError(
            f"superres is {options.superres}, and {frames.path} has {frames.code.superres} bits of "
            f"position below a pixel; give 0 to {frames.code.superres}"
        )
    return Camera(frames.shape, options.superres, read_defects(options.defects, frames.shape))


def _settled(frames: Frames) -> tuple[Frames, dict[str, Any]]:
    """Return the frames with the code that fits, and what to say about it."""
    bits = {
        "skip_bits": frames.code.skip,
        "horizontal_bits": frames.code.horizontal,
        "vertical_bits": frames.code.vertical,
    }
    if frames.compression != _PROTOTYPE:
        return frames, bits
    code, variant = settle_waste(frames)
    return frames.with_code(code), {**bits, "variant": variant}


def _described(pages: Pages, has_final_image: bool, skip: bool) -> dict[str, Any]:
    try:
        return read_metadata(pages, has_final_image)
    except CorruptFileError as error:
        if not skip:
            raise
        warnings.warn(f"the metadata are lost: {error}", EventWarning, stacklevel=4)
        return {}
