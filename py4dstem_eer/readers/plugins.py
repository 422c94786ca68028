"""Formats that other packages add by an entry point; `protocol` says what they have to offer."""

from __future__ import annotations

import functools
import importlib.metadata
import sys
import warnings
from collections.abc import Collection, Iterator
from dataclasses import fields
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, cast

from ..errors import EventWarning, PluginError
from .options import ReaderOptions
from .protocol import Reader

GROUP = "py4dstem_eer.formats"


def plugin_names(reserved: Collection[str]) -> tuple[str, ...]:
    """Return the names of the formats that installed packages add, sorted; imports none of them.

    Parameters
    ----------
    reserved : collection of str
        Names that mean something else; a plug-in of such a name is left out, with an EventWarning.
    """
    return tuple(_entry_points(tuple(sys.path), frozenset(reserved)))


def load_plugin(name: str, reserved: Collection[str]) -> Reader:
    """Import and check the module of one of the `plugin_names`.

    Raises
    ------
    PluginError
        If it cannot be imported, or does not offer what a format must.
    """
    entry = _entry_points(tuple(sys.path), frozenset(reserved))[name]
    try:
        module = entry.load()
    except Exception as error:  # another package's code may raise anything
        raise PluginError(f"{_described(entry)} cannot be imported: {error!r}") from error
    wrong = _what_is_wrong(module, name)
    if wrong:
        raise PluginError(f"{_described(entry)} {wrong}; see py4dstem_eer.readers.protocol")
    return cast(Reader, module)


def usable_plugins(reserved: Collection[str]) -> Iterator[tuple[str, Reader]]:
    """Iterate over (name, reader); a plug-in that is broken is left out, with an EventWarning."""
    for name in plugin_names(reserved):
        try:
            yield name, load_plugin(name, reserved)
        except PluginError as error:
            _warn(f"{error}; it is left out")


def plugin_recognises(name: str, reader: Reader, path: Path) -> bool:
    """Return whether a plug-in takes the file for one of its own; one that raises does not."""
    try:
        return bool(reader.recognises(path))
    except Exception as error:  # noqa: BLE001, another package's code may raise anything
        _warn(f"the plug-in for format {name!r} cannot look at {path}: {error!r}; it is left out")
        return False


@functools.lru_cache(maxsize=4)  # looking through all installed packages takes a while
def _entry_points(path: tuple[str, ...], reserved: frozenset[str]) -> dict[str, EntryPoint]:
    """Return the entry points by name, sorted."""
    found: dict[str, EntryPoint] = {}
    points = importlib.metadata.entry_points(group=GROUP)
    for entry in sorted(points, key=lambda e: (e.name, _package(e))):
        if entry.name in reserved:
            _warn(f"{_described(entry)} is left out: the name means something else here")
        elif entry.name in found:
            other = _package(found[entry.name])
            _warn(f"{_described(entry)} is left out: package {other!r} adds one of that name")
        else:
            found[entry.name] = entry
    return found


def _what_is_wrong(module: Any, name: str) -> str:
    """Return what a module lacks to be a reader, or ""."""
    lacking = [item for item in ("NAME", "USES", "EXTENSIONS") if not hasattr(module, item)]
    lacking += [f for f in ("recognises", "open_source") if not callable(getattr(module, f, None))]
    if lacking:
        return f"lacks {', '.join(lacking)}"
    if name != module.NAME:
        return f"has NAME = {module.NAME!r}, another name"
    unknown = set(module.USES) - {field.name for field in fields(ReaderOptions)}
    if unknown:
        return f"uses unknown options, {', '.join(sorted(map(str, unknown)))}"
    if any(not str(e).startswith(".") or str(e) != str(e).lower() for e in module.EXTENSIONS):
        return f"has EXTENSIONS {module.EXTENSIONS!r}; they are lower-case and begin with a dot"
    return ""


def _package(entry: EntryPoint) -> str:
    return "?" if entry.dist is None else entry.dist.name


def _described(entry: EntryPoint) -> str:
    package = f"package {_package(entry)!r}, module {entry.value!r}"
    return f"the plug-in for format {entry.name!r} ({package})"


def _warn(message: str) -> None:
    warnings.warn(message, EventWarning, stacklevel=3)
