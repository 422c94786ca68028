"""Quantum Detectors Merlin frames (.mib and .hdr): Medipix3 counters of 1, 6, 12 or 24 bits."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import EventWarning
from .frame_order import telling_frames
from .merlin_files import Acquisition, open_acquisition
from .merlin_frames import check_ends, read_numbers
from .merlin_header import MAGIC, is_companion, read_start
from .merlin_scan import Scan, arrange
from .merlin_source import MerlinSource
from .options import ReaderOptions

NAME = "merlin"
USES = frozenset({"scan_shape", "skip_frames", "frames_per_position", "keep_flyback", "errors"})
EXTENSIONS = frozenset({".mib"})


def recognises(path: Path) -> bool:
    """Return whether the file begins as a Merlin frame or a Merlin .hdr file does."""
    try:
        start = read_start(path)
    except OSError:
        return False
    return start.startswith(MAGIC) or is_companion(start)


def open_source(path: Path, options: ReaderOptions) -> MerlinSource:
    """Open a Merlin acquisition for reading.

    Parameters
    ----------
    path : Path
        A .mib file or the .hdr file beside it; of several files, any.
    options : ReaderOptions

    Raises
    ------
    FormatError
        If it is no Merlin file, or its frames are encoded in a way that cannot be read.
    ParameterError
        If the options do not fit it, or the scan shape is not known.
    CorruptFileError
        If files are damaged or do not fit together, as far as can be told from some headers.

    Warns
    -----
    EventWarning
        If the acquisition ended before the scan that its .hdr file announces: the lines that are
        complete are read. With errors="skip", if frames are dropped or missing, or come after
        those of the scan.
    """
    acquisition = open_acquisition(path, options.skips_errors)
    facts, source = _described(acquisition), partial(_source, acquisition)
    detector_shape = acquisition.encoding.detector_shape
    with telling_frames(acquisition.n_frames, detector_shape, facts, options, source):
        return source(options)


def _source(acquisition: Acquisition, options: ReaderOptions) -> MerlinSource:
    if options.skips_errors:
        scan = arrange(acquisition, options, read_numbers(acquisition))
    else:
        scan = arrange(acquisition, options)
        check_ends(acquisition)
    metadata = {
        "format": NAME,
        "frames_per_position": scan.order.frames_per_position,
        "keep_flyback": bool(options.keep_flyback),
        **scan.order.left_out,
        **_described(acquisition),
    }
    _tell_what_is_left_out(acquisition, scan, metadata, options)
    return MerlinSource(acquisition, scan, metadata)


def _described(acquisition: Acquisition) -> dict[str, Any]:
    """Return what the first frame and the .hdr file say beside the pixels."""
    companion = acquisition.companion
    return {
        **({} if companion is None else companion.described()),
        **acquisition.header.described(),
        "n_files": len(acquisition.files),
    }


def _tell_what_is_left_out(
    acquisition: Acquisition, scan: Scan, metadata: dict[str, Any], options: ReaderOptions
) -> None:
    """Add to the metadata what is not read of what there should be, and warn about it."""
    told = []
    if scan.announced is not None:
        metadata["announced_scan_shape"] = scan.announced
        metadata["unused_frames"] = scan.left_over
        told.append(
            f"the acquisition ended before the scan of {scan.announced} was complete: the first "
            f"{scan.order.scan_shape[0]} lines are read, and not {scan.left_over} frames after them"
        )
    if options.skips_errors:
        metadata["skipped_frames"] = scan.n_bad
        metadata["missing_frames"] = scan.n_missing
        if scan.n_bad or scan.n_missing:
            told.append(
                f"{scan.n_bad} of {acquisition.n_frames} frames cannot be read and were dropped; "
                f"with those that are missing, {scan.n_missing} have empty patterns"
            )
    if told:
        message = f"{acquisition.path}: {'; '.join(told)}"
        warnings.warn(message, EventWarning, stacklevel=5)
