"""What `py4dstem-eer info` says about a file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from .command_options import as_typed
from .errors import FormatError, MissingOptionError
from .event_lists import index_dtype
from .memory import GIB
from .readers import ANY_FORMAT, detect, existing_file, load_reader, open_events
from .readers.options import ReaderOptions
from .readers.protocol import Sample, about
from .streams import StreamedEventStore
from .summary import Electrons, count_electrons, histogram

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
        opened = open_events(file, **{**options, "format": name, "mem": "MEMMAP"})
    except MissingOptionError as error:
        return _as_text([*head, *_without_options(file, name, error, options)])
    events = cast(StreamedEventStore, opened)
    electrons = count_electrons(events, file.stat().st_size)
    return _as_text(
        [
            *head,
            *_described(events, electrons, name),
            ("next", _next(file, name, events.metadata, options)),
        ]
    )


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
        raise FormatError(
            f"{file} is no electron-event file; name its --format if it is one. If py4DSTEM opens "
            f"it: py4dstem-eer convert {_quoted(file)} OUT.h5 makes events of dense patterns"
        )
    return found


def _described(events: StreamedEventStore, electrons: Electrons, name: str) -> Iterator[Line]:
    rx, ry, qx, qy = events.shape
    metadata = dict(events.metadata)
    # events in an EMD file bring along what their first file said
    own = metadata.pop("format", name) == name
    version = metadata.pop("version", None)
    yield "format", name if version is None or not own else f"{name}, version {version}"
    yield "scan", f"{rx} x {ry} positions (rows x columns)"
    yield "detector", f"{qx} x {qy} pixels (rows x columns)"
    yield from _counted(events, electrons)
    yield from _dose(electrons, metadata)
    dense = rx * ry * qx * qy * events.count_dtype.itemsize / GIB
    yield "dense", f"{dense:.3g} GiB as {events.count_dtype}"
    if electrons.total is not None:
        n_bytes = index_dtype(qx * qy).itemsize * electrons.total + 8 * events.n_patterns
        yield "sparse", f"about {n_bytes / GIB:.3g} GiB"
    yield from _flattened(metadata)


def _counted(events: StreamedEventStore, electrons: Electrons) -> Iterator[Line]:
    looked_at = electrons.per_pattern
    if len(looked_at) == 0:
        yield "electrons", "unknown: only reading tells, and a scan row is too large for a glance"
        return
    about = "" if electrons.exact else "about "
    yield "electrons", f"{about}{electrons.total:,}; {looked_at.mean():.1f} per pattern"
    missing = events.missing_patterns()
    empty = f"{np.count_nonzero(looked_at == 0):,} empty"
    if missing is not None:
        empty += f", {missing:,} of them without a frame" if missing else ", each has its frame"
    part = f"{events.n_patterns:,}"
    if len(looked_at) < events.n_patterns:
        part = f"{len(looked_at):,} of {part} looked at"
    yield "patterns", f"{part}; {empty}"
    yield "electrons per pattern", histogram(looked_at)


def _dose(electrons: Electrons, metadata: Mapping[str, Any]) -> Iterator[Line]:
    """Say how many electrons fall on an area of the specimen, if the scan step is known."""
    step, units = metadata.get("scan_step", metadata.get("R_pixel_size", (None, None)))
    if step is None or units not in _ANGSTROM_PER_UNIT or len(electrons.per_pattern) == 0:
        return
    rows, columns = np.broadcast_to(np.array(step, float) * _ANGSTROM_PER_UNIT[units], 2)
    dose = electrons.per_pattern.mean() / (rows * columns)
    yield "dose", f"{dose:,.4g} electrons/Å² (scan step {rows:.4g} Å)"


def _estimated(file: Path, name: str, sample: Sample, options: Mapping[str, Any]) -> Iterator[Line]:
    yield "format", name
    yield (
        "looked at",
        f"{100 * sample.part:.2g} % of the file, evenly spread; the rest is estimated",
    )
    looked_at = sample.per_pattern
    if len(looked_at):
        mean = float(looked_at.mean())
        total = (
            ""
            if sample.n_patterns is None
            else f"{about(mean * sample.n_patterns, int(looked_at.sum()))}; "
        )
        yield "electrons", f"{total}about {mean:.1f} per pattern"
        empty = np.count_nonzero(looked_at == 0)
        yield "patterns", f"{len(looked_at):,} looked at; {empty:,} empty"
        yield "electrons per pattern", histogram(looked_at)
    yield from _flattened(sample.facts)
    if sample.missing is not None:
        yield from _asked_for(file, sample.missing, options)
    else:
        yield "next", _next(file, name, sample.facts, options)


def _without_options(
    file: Path, name: str, error: MissingOptionError, options: Mapping[str, Any]
) -> Iterator[Line]:
    yield "format", name
    peek = getattr(load_reader(name), "peek", None)
    if peek is not None:
        yield from _flattened({k: v for k, v in peek(file).items() if k != "format"})
    yield from _asked_for(file, error, options)


def _asked_for(file: Path, error: MissingOptionError, options: Mapping[str, Any]) -> Iterator[Line]:
    yield "missing", error
    command = ["py4dstem-eer info", _quoted(file), *_typed(options)]
    named = dict.fromkeys(re.findall(r"(\w+)=", str(error)))
    wanted = [n for n in named if n in ReaderOptions.__dataclass_fields__ and n not in options]
    if wanted:  # the first is the one; others are hints
        values = ("ROWS", "COLUMNS") if wanted[0] == "scan_shape" else "VALUE"
        command.append(as_typed(wanted[0], values))
    yield "next", " ".join(command)


def _next(file: Path, name: str, known: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Return a command for what the file does not say itself."""
    words = ["py4dstem-eer ssb", _quoted(file), *_typed(options), "--semiangle-cutoff 25"]
    if "energy" not in known:
        words.append("--energy 80e3")
    if not {"scan_step", "R_pixel_size"} & set(known):
        words.append("--force-scan-sampling 0.3")
    hint = "with your values"
    if "keep_flyback" in load_reader(name).USES and "keep_flyback" not in options:
        hint += "; --no-flyback drops the last scan column"
    return f"{' '.join(words)}   ({hint})"


def _typed(options: Mapping[str, Any]) -> list[str]:
    return [as_typed(name, value) for name, value in options.items() if name != "mem"]


def _quoted(file: Path) -> str:
    return shlex.quote(str(file))


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
