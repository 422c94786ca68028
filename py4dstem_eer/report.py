"""What `py4dstem-eer info` says about a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .event_lists import index_dtype
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
        ("sparse", f"about {index_dtype(qx * qy).itemsize * n_events / GIB:.3g} GiB"),
        *_flattened({k: v for k, v in events.metadata.items() if k != "format"}),
        ("next", _next_command(file, events.metadata)),
    ]
    return "\n".join(f"{name + ':':<22} {value}" for name, value in lines)


def _next_command(file: Path, metadata: Mapping[str, Any]) -> str:
    """Return a command for what the file does not say itself."""
    command = f'py4dstem-eer ssb "{file}" --semiangle-cutoff 25'
    if "energy" not in metadata:
        command += " --energy 80e3"
    if not {"scan_step", "R_pixel_size"} & set(metadata):
        command += " --force-scan-sampling 0.3"
    return f"{command}   (with your values; --no-flyback drops the last scan column)"


def _flattened(metadata: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in metadata.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        elif isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str):
            number = f"{value[0]:g}" if isinstance(value[0], float) else value[0]
            yield prefix + name, f"{number} {value[1]}"
        else:
            yield prefix + name, str(value)
