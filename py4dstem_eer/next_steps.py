"""What to type next, as `py4dstem-eer info` says it."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .command_options import as_typed
from .errors import MissingOptionError
from .readers import load_reader
from .readers.options import ReaderOptions

#: In the place of values that only the user knows.
_PLACEHOLDERS = {"scan_shape": ("ROWS", "COLUMNS")}
_WITH_VALUES = "   (with your values)"


def info_again(file: Path, error: MissingOptionError, options: Mapping[str, Any]) -> str:
    """Return the command with the options that are missing.

    Parameters
    ----------
    file : Path
    error : MissingOptionError
        With the options that are needed; otherwise the first that its message names is taken, and
        those after it for hints.
    options : mapping
        That were typed.
    """
    needed = {k: v for k, v in error.needed.items() if v is not ... or k not in options}
    if not error.needed:
        named = dict.fromkeys(re.findall(r"(\w+)=", str(error)))
        wanted = [n for n in named if n in ReaderOptions.__dataclass_fields__ and n not in options]
        needed = dict.fromkeys(wanted[:1], ...)
    if not needed:
        return "py4dstem-eer info --help"
    kept = {name: value for name, value in options.items() if name not in needed}
    return " ".join((*_info(file, kept), *map(_asked, needed.items())))


def other_shape(file: Path, options: Mapping[str, Any]) -> str:
    """Return the command for another scan shape than that typed."""
    kept = {name: value for name, value in options.items() if name != "scan_shape"}
    return " ".join((*_info(file, kept), _asked(("scan_shape", ...)))) + _WITH_VALUES


def guess(file: Path, n_positions: int, options: Mapping[str, Any]) -> str | None:
    """Return a command with a scan shape that so many positions suggest, or None.

    That is a square, or one with a column of flyback more.
    """
    side = math.isqrt(max(0, n_positions))
    if side < 2 or n_positions not in (side**2, side * (side + 1)):
        return None
    command = " ".join((*_info(file, options), as_typed("scan_shape", (side, n_positions // side))))
    if n_positions == side**2:
        return f"{command}   (a guess, as {n_positions} is {side} x {side}; give the real one)"
    flyback = "" if "keep_flyback" in options else f" {as_typed('keep_flyback', False)}"
    return (
        f"{command}{flyback}   (a guess, as {n_positions} is {side} x {side} and a column of "
        "flyback; give the real one)"
    )


def reconstruct(file: Path, name: str, known: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Return a command for a phase, with what the file does not say itself.

    Parameters
    ----------
    file : Path
    name : str
        Of the format.
    known : mapping
        Metadata.
    options : mapping
        That were typed.
    """
    words = ["py4dstem-eer ssb", shlex.quote(str(file)), *_typed(options), "--semiangle-cutoff 25"]
    if "energy" not in known:
        words.append("--energy 80e3")
    if not {"scan_step", "R_pixel_size"} & set(known):
        words.append("--force-scan-sampling 0.3")
    hint = (
        "; --no-flyback drops the last scan column" if _may_fly_back(name, known, options) else ""
    )
    return f"{' '.join(words)}   (with your values{hint})"


def _may_fly_back(name: str, known: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Return whether the last scan column may be one of flyback.

    Events that were written again say in their metadata what was dropped, or that they come from
    dense patterns.
    """
    if "keep_flyback" not in load_reader(name).USES or "keep_flyback" in options:
        return False
    dropped = known.get("keep_flyback") is False or known.get("flyback_column") is False
    return not dropped and "converted_from" not in known


def _info(file: Path, options: Mapping[str, Any]) -> list[str]:
    return ["py4dstem-eer info", shlex.quote(str(file)), *_typed(options)]


def _typed(options: Mapping[str, Any]) -> list[str]:
    return [as_typed(name, value) for name, value in options.items() if name != "mem"]


def _asked(option: tuple[str, Any]) -> str:
    name, value = option
    return as_typed(name, _PLACEHOLDERS.get(name, "VALUE") if value is ... else value)
