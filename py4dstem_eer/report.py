"""What `py4dstem-eer info` says about a file."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from . import next_steps
from .detector import Shape2D
from .errors import FormatError, MissingOptionError
from .event_lists import PATTERN_DTYPE, index_dtype
from .readers import ANY_FORMAT, detect, existing_file, load_reader, open_events
from .readers.options import ReaderOptions
from .readers.packed import packing_hint
from .readers.samples import Sample
from .streams import StreamedEventStore
from .summary import Electrons, count_electrons, histogram, in_bytes

_LONGEST_VALUE = 120
_ANGSTROM_PER_UNIT = {"A": 1.0, "Å": 1.0, "nm": 10.0, "pm": 0.01, "m": 1e10}

Line = tuple[str, Any]


def describe(file: Path, **options: Any) -> str:
    """Return a description of an event file, without loading its events.

    The tables of the file tell where they can; otherwise some scan rows are read.

    Parameters
    ----------
    file : Path
    **options
        Options of `open_events`.

    Returns
    -------
    text : str
        Several lines. Where an option is missing that only the user knows, what can be said without
        it, and which it is.

    Raises
    ------
    FileNotFoundError, FormatError
        If there is no such file, or it is none of events.
    """
    name = format_of(file, options.get("format"))
    head = [("file", f"{file} ({file.stat().st_size / 1e6:.1f} MB)")]
    sample = _sampled(file, name, options)
    if sample is not None:
        return _as_text([*head, *_estimated(file, name, sample, options)])
    try:
        events = _opened(file, name, options)
    except MissingOptionError as error:
        return _as_text([*head, *_without_options(file, name, error, options)])
    electrons = count_electrons(events, file.stat().st_size)
    rx, ry, _, _ = events.shape
    scan = ("scan", f"{rx} x {ry} positions (rows x columns)")
    step = next_steps.reconstruct(file, name, events.metadata, options)
    return _as_text([*head, *_described(events, electrons, name, scan), ("next", step)])


def _opened(file: Path, name: str, options: Mapping[str, Any]) -> StreamedEventStore:
    opened = open_events(file, **{**options, "format": name, "mem": "MEMMAP"})
    return cast(StreamedEventStore, opened)


def _sampled(file: Path, name: str, options: Mapping[str, Any]) -> Sample | None:
    """Return what a part of a file says, if it is too large to be opened in a moment."""
    reader = load_reader(name)
    take = getattr(reader, "sample", None)
    given = {k: v for k, v in options.items() if k not in ("format", "mem")}
    return None if take is None else take(file, ReaderOptions.parse(name, reader.USES, given))


def format_of(file: Path, name: str | None = None) -> str:
    """Return the format of a file of events, for a command that reads it.

    Parameters
    ----------
    file : Path
    name : str, optional
        What the user calls it. Default, and "eer": find out.

    Raises
    ------
    FileNotFoundError, FormatError
        If there is no such file, or it is none of events.
    """
    existing_file(file)
    found = name if name not in (None, ANY_FORMAT) else detect(file)
    if found is None:
        hint = packing_hint(file)
        if hint:
            raise FormatError(f"{file} is no electron-event file that can be read{hint}")
        quoted = shlex.quote(str(file))
        raise FormatError(
            f"{file} is no electron-event file; name its --format if it is one. If py4DSTEM opens "
            f"it: py4dstem-eer convert {quoted} OUT.h5 makes events of dense patterns"
        )
    return found


def _described(
    events: StreamedEventStore, electrons: Electrons, name: str, scan: Line, each: str = "pattern"
) -> Iterator[Line]:
    qx, qy = events.detector_shape
    metadata = dict(events.metadata)
    # events in an EMD file bring along what their first file said
    own = metadata.pop("format", name) == name
    version = metadata.pop("version", None)
    yield "format", name if version is None or not own else f"{name}, version {version}"
    yield scan
    yield "detector", _pixels((qx, qy))
    yield from _counted(events, electrons, each)
    known = len(electrons.per_pattern) > 0
    yield from _dose(electrons.per_pattern.mean() if known else None, metadata, each)
    yield from _memory((events.n_patterns, qx * qy), events.count_dtype, electrons.total)
    yield from _flattened(metadata)


def _pixels(shape: Shape2D) -> str:
    return f"{shape[0]} x {shape[1]} pixels (rows x columns)"


def _counted(events: StreamedEventStore, electrons: Electrons, each: str) -> Iterator[Line]:
    looked_at = electrons.per_pattern
    if len(looked_at) == 0:
        yield "electrons", "unknown: only reading tells, and a scan row is too large for a glance"
        return
    about = "" if electrons.exact else "about "
    yield "electrons", f"{about}{electrons.total:,}; {looked_at.mean():.1f} per {each}"
    missing = events.missing_patterns()
    empty = f"{np.count_nonzero(looked_at == 0):,} empty"
    if missing is not None and each == "pattern":
        empty += f", {missing:,} of them without a frame" if missing else ", each has its frame"
    part = f"{events.n_patterns:,}"
    if len(looked_at) < events.n_patterns:
        part = f"{len(looked_at):,} of {part} looked at"
    yield f"{each}s", f"{part}; {empty}"
    yield f"electrons per {each}", histogram(looked_at)


def _dose(mean: float | None, metadata: Mapping[str, Any], each: str) -> Iterator[Line]:
    """Say how many electrons fall on an area of the specimen, if the scan step is known."""
    if mean is None:
        return
    # the calibration comes before what was acquired, which may have been binned since
    steps = (metadata[name] for name in ("R_pixel_size", "scan_step") if name in metadata)
    step, units = next((s for s in steps if s[1] in _ANGSTROM_PER_UNIT), (None, None))
    if units is None:
        yield "dose", f"{mean:.4g} electrons per {each}; electrons/Å² need the scan step"
        return
    rows, columns = np.broadcast_to(np.array(step, float) * _ANGSTROM_PER_UNIT[units], 2)
    yield "dose", f"{mean / (rows * columns):,.4g} electrons/Å² (scan step {rows:.4g} Å)"


def _memory(
    shape: tuple[int | None, int], dtype: np.dtype, electrons: int | None
) -> Iterator[Line]:
    """Say what (patterns, pixels) take in memory, dense and as events."""
    n_patterns, n_pixels = shape
    if n_patterns is not None:
        dtype = np.promote_types(dtype, PATTERN_DTYPE)
        yield "dense", f"{in_bytes(n_patterns * n_pixels * dtype.itemsize)} as {dtype}"
    if electrons is not None:
        n_bytes = index_dtype(n_pixels).itemsize * electrons + 8 * (n_patterns or 0)
        more = "" if n_patterns is not None else ", and 8 B for every position"
        yield "sparse", f"about {in_bytes(n_bytes)}{more}"


def _estimated(file: Path, name: str, sample: Sample, options: Mapping[str, Any]) -> Iterator[Line]:
    yield "format", name
    yield (
        "looked at",
        f"{100 * sample.part:.2g} % of the file, evenly spread; the rest is estimated",
    )
    if sample.doubt:
        yield "doubtful", sample.doubt
    shape = sample.scan_shape
    about = "" if "scan_shape" in options else "about "
    scan = "unknown" if shape is None else f"{about}{shape[0]} x {shape[1]} positions"
    yield "scan", scan if shape is None else f"{scan} (rows x columns)"
    if sample.detector_shape is not None:
        yield "detector", f"{_pixels(sample.detector_shape)}, as far as seen"
    yield from _guessed(sample)
    yield from _flattened(sample.facts)
    if sample.missing is not None:
        yield "missing", sample.missing
        again = next_steps.info_again(file, sample.missing, options)
        yield "next", next_steps.guess(file, sample.n_positions or 0, options) or again
    elif sample.doubt:
        yield "next", next_steps.other_shape(file, options)
    else:
        yield "next", next_steps.reconstruct(file, name, sample.facts, options)


def _guessed(sample: Sample) -> Iterator[Line]:
    """Say what the electrons seen tell of all."""
    looked_at, total = sample.per_pattern, sample.n_electrons
    mean = sample.mean
    if mean is None and len(looked_at):
        mean = float(looked_at.mean())
    words = [] if total is None else [f"about {total:,}"]
    words += [] if mean is None else [f"about {mean:.1f} per pattern"]
    yield "electrons", "; ".join(words) or "unknown: no whole line lies in what was looked at"
    shape = sample.scan_shape
    n_patterns = sample.n_positions if shape is None else math.prod(shape)
    if len(looked_at):
        # by the clock, the pieces may last longer than the scan
        of = "" if n_patterns is None or n_patterns < len(looked_at) else f" of {n_patterns:,}"
        empty = np.count_nonzero(looked_at == 0)
        yield "patterns", f"{len(looked_at):,}{of} looked at; {empty:,} empty"
        yield "electrons per pattern", histogram(looked_at)
    yield from _dose(mean, sample.facts, "pattern")
    if n_patterns is None:
        yield "dense", "unknown without the scan shape"
    if sample.detector_shape is not None and sample.count_dtype is not None:
        n_pixels = math.prod(sample.detector_shape)
        yield from _memory((n_patterns, n_pixels), sample.count_dtype, total)


def _without_options(
    file: Path, name: str, error: MissingOptionError, options: Mapping[str, Any]
) -> Iterator[Line]:
    """Say what the file tells by itself, and of frames without a scan, one after another."""
    step = next_steps.info_again(file, error, options)
    if error.in_one_column is not None:
        events = StreamedEventStore(error.in_one_column())
        yield from _as_column(events, name, file.stat().st_size)
        if not _left_over(events, error, options):
            step = next_steps.guess(file, events.n_patterns, options) or step
    else:
        yield "format", name
        yield from _flattened(error.facts)
    yield "missing", error
    yield "next", step


def _left_over(
    events: StreamedEventStore, error: MissingOptionError, options: Mapping[str, Any]
) -> bool:
    """Return whether frames are left over, which says that so many per position are wrong."""
    n_frames = error.facts.get("frames", events.n_patterns) - options.get("skip_frames", 0)
    return bool(n_frames % events.metadata.get("frames_per_position", 1))


def _as_column(events: StreamedEventStore, name: str, file_bytes: int) -> Iterator[Line]:
    """Describe patterns of which the scan is not known."""
    each = "frame" if events.metadata.get("frames_per_position", 1) == 1 else "position"
    scan = ("scan", f"unknown; {events.n_patterns} {each}s")
    yield from _described(events, count_electrons(events, file_bytes), name, scan, each)


def _flattened(metadata: Mapping[str, Any], prefix: str = "") -> Iterator[Line]:
    for name, value in metadata.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        elif isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str):
            number = f"{value[0]:g}" if isinstance(value[0], float) else value[0]
            yield prefix + name, _short(f"{number} {value[1]}")
        else:
            yield prefix + name, _short(str(value))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _as_text(lines: list[Line]) -> str:
    return "\n".join(f"{name + ':':<22} {value}" for name, value in lines)
