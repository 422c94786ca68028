"""The options of `open_events` as options of commands: made from `ReaderOptions`, nothing twice."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import shlex
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from .detector import Shape2D
from .readers.options import ReaderOptions

#: What "none" stands for, where None is not the default.
_NONE = object()

_CHOICES = re.compile(r"\{(.+)\}")


def reader_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for every field of `ReaderOptions`, None where it is not given."""
    hints, texts = typing.get_type_hints(ReaderOptions), _documented(ReaderOptions)
    for field in reversed(dataclasses.fields(ReaderOptions)):
        kind, text = texts.get(field.name, ("", ""))
        if field.default is not None and not isinstance(field.default, bool):
            text += f"  [default: {field.default}]"
        declaration, settings = _declared(field.name, hints[field.name], kind)
        if field.default is not None and type(None) in _possible_types(hints[field.name]):
            settings["callback"] = _parse_none
            text += '  "none" is None.'
        command = click.option(declaration, default=None, help=text, **settings)(command)
    return command


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the user typed; None where that is "none"."""
    typed = {name: value for name, value in options.items() if value is not None}
    return {name: None if value is _NONE else value for name, value in typed.items()}


def as_typed(name: str, value: Any) -> str:
    """Return an option as one types it, e.g. ``--scan-shape 64 64`` or ``--no-flyback``."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else _negative(flag)
    values = value if isinstance(value, (tuple, list)) else (value,)
    words = ("none" if word is None else shlex.quote(str(word)) for word in values)
    return " ".join((f"--{flag}", *words))


def _declared(name: str, hint: Any, kind: str) -> tuple[str, dict[str, Any]]:
    """Return how click declares an option of the type `hint`, described in words as `kind`."""
    flag, possible = name.replace("_", "-"), _possible_types(hint)
    if bool in possible:
        return f"--{flag}/{_negative(flag)}", {}
    if Shape2D in possible:
        return f"--{flag}", {"type": int, "nargs": 2}
    choices = _CHOICES.search(kind)
    if choices:
        words = [word.strip(" \"'").replace("None", "none") for word in choices[1].split(",")]
        return f"--{flag}", {"type": click.Choice(words)}
    if any(isinstance(t, type) and issubclass(t, os.PathLike) for t in possible):
        return f"--{flag}", {"type": click.Path(path_type=Path)}
    simple = [t for t in (int, float, str) if t in possible]
    return f"--{flag}", {"type": simple[0]}


def _parse_none(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    return _NONE if value == "none" else value


def _negative(flag: str) -> str:
    return f"--no-{flag.removeprefix('keep-')}"


def _possible_types(hint: Any) -> tuple[Any, ...]:
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    found = typing.get_args(hint) if union else (hint,)
    return tuple(os.PathLike if typing.get_origin(t) is os.PathLike else t for t in found)


def _documented(cls: type) -> dict[str, tuple[str, str]]:
    """Return (type in words, text) of every attribute in a NumPy docstring."""
    _, _, section = (inspect.getdoc(cls) or "").partition("Attributes\n----------\n")
    found: dict[str, tuple[str, str]] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line and not line.startswith(" "):
            listed, _, kind = line.partition(" : ")
            names = [name.strip() for name in listed.split(",")]
            found |= dict.fromkeys(names, (kind, ""))
        for name in names if line.startswith(" ") else ():
            kind, text = found[name]
            found[name] = (kind, f"{text} {line.strip()}".strip())
    return found
