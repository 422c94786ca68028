"""What `py4dstem-eer info` says about a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .memory import GIB
from .readers import detect, open_events


def describe(file: Path, **options: Any) -> str:
    """Return a description of an event file, without loading its events.

    Parameters
    ----------
    file : Path
    **options
        Options of `open_events`.

    Returns
    -------
    text : str
        Several lines.
    """
    events = open_events(file, **{**options, "mem": "MEMMAP"})
    rx, ry, qx, qy = events.shape
    n_events = events.n_events
    per_pattern = n_events / max(events.n_patterns, 1)
    lines = [
        ("file", f"{file} ({file.stat().st_size / 1e6:.1f} MB)"),
        ("format", options.get("format") or detect(file)),
        ("scan", f"{rx} x {ry} positions (rows x columns)"),
        ("detector", f"{qx} x {qy} pixels (rows x columns)"),
        ("electrons", f"{n_events:,}; {per_pattern:.1f} per pattern"),
        ("dense", f"{rx * ry * qx * qy * 2 / GIB:.3g} GiB as uint16"),
        ("sparse", f"{4 * n_events / GIB:.3g} GiB"),
        *_flattened(events.metadata),
        ("next", f"py4dstem-eer ssb {file} --energy 80e3 --semiangle-cutoff 25 ..."),
    ]
    return "\n".join(f"{name + ':':<14}{value}" for name, value in lines)


def _flattened(metadata: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in metadata.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        elif isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str):
            yield prefix + name, f"{value[0]} {value[1]}"
        else:
            yield prefix + name, str(value)
