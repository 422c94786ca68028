"""File formats: bytes to `EventStore` and plain metadata with units."""

from __future__ import annotations

import difflib
import importlib
import os
from pathlib import Path
from typing import Any, cast

from ..derived_sources import asked
from ..errors import FormatError, ParameterError
from ..events import EventStore
from ..streams import StreamedEventStore, loaded
from .options import ReaderOptions
from .packed import packing_hint
from .plugins import load_plugin, plugin_names, plugin_recognises, usable_plugins
from .protocol import Reader

#: Where each format is read, loaded on use. Content is asked in this order.
FORMATS: dict[str, str] = {
    "stempy": "py4dstem_eer.readers.stempy",
    "falcon": "py4dstem_eer.readers.falcon",
    "merlin": "py4dstem_eer.readers.merlin",
    "tpx3": "py4dstem_eer.readers.tpx3",
    "raw_csr": "py4dstem_eer.readers.raw_csr",
    "emd": "py4dstem_eer.readers.emd",
}

#: Format name that means: find out which.
ANY_FORMAT = "eer"
_RESERVED = (ANY_FORMAT, *FORMATS)


def format_names() -> tuple[str, ...]:
    """Return the names of all formats, those of plug-ins last; imports none of them."""
    return (*FORMATS, *plugin_names(_RESERVED))


def load_reader(name: str) -> Reader:
    """Return the module that reads the format called `name`.

    Raises
    ------
    ParameterError
        If there is no such format.
    PluginError
        If another package adds it, and does not do what it must.
    """
    if name in FORMATS:
        return cast(Reader, importlib.import_module(FORMATS[name]))
    if name not in format_names():
        close = difflib.get_close_matches(str(name), format_names(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        known = ", ".join((ANY_FORMAT, *format_names()))
        raise ParameterError(f"unknown format {name!r}{hint} (known: {known})")
    return load_plugin(name, _RESERVED)


def detect(path: str | os.PathLike[str]) -> str | None:
    """Return the name of the event format of a file, or None if it is of none.

    The content decides, and built-in formats are asked before those of plug-ins; an extension
    counts only where it belongs to one format alone.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    path = _existing(path)
    if not path.is_file():
        return None
    for name in FORMATS:
        if load_reader(name).recognises(path):
            return name
    asked = {}
    for name, reader in usable_plugins(_RESERVED):
        if plugin_recognises(name, reader, path):
            return name
        asked[name] = reader
    for name, reader in {**{name: load_reader(name) for name in FORMATS}, **asked}.items():
        if path.suffix.lower() in reader.EXTENSIONS:
            return name
    return None


def open_events(
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    mem: str = "RAM",
    **options: Any,
) -> EventStore:
    """Open a file of electron events.

    Parameters
    ----------
    path : path
    format : str, optional
        One of `format_names`. Default, and "eer": find out from the content.
    mem : {"RAM", "MEMMAP"}
        Load the events, or leave them in the file and stream scan rows.
    **options
        Fields of `ReaderOptions`: scan_shape, skip_frames, frames_per_position, keep_flyback,
        superres, errors, and those of one format.

    Returns
    -------
    EventStore, canonical, with what the file says beside the events in `metadata`

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ParameterError
        If an option is unknown, or has a value that makes no sense for this file.
    FormatError
        If the file is of no known format.
    CorruptFileError, EventRangeError
        If the file is truncated or inconsistent, and errors="skip" is not given.
    """
    if mem not in ("RAM", "MEMMAP"):
        raise ParameterError(f'mem is {mem!r}; it must be "RAM" or "MEMMAP"')
    path = existing_file(path)
    reader = load_reader(_detected(path) if format in (None, ANY_FORMAT) else cast(str, format))
    parsed = ReaderOptions.parse(reader.NAME, reader.USES, options)
    source = reader.open_source(path, parsed)
    store = loaded(source) if mem == "RAM" else StreamedEventStore(source)
    store.files = (path, *parsed.files, *(asked(source, "files") or ()))
    return store


def _existing(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise ParameterError(f"expected the path of a file, got {path!r}")
    found = Path(path)
    if not found.exists():
        raise FileNotFoundError(f"there is no file {os.fspath(path)!r}")
    return found.absolute()  # a stream outlives a change of directory


def existing_file(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a file that holds something.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If it is a directory, or empty.
    """
    path = _existing(path)
    if path.is_dir():
        raise FormatError(f"{path} is a directory; give the path of one file of events")
    if path.stat().st_size == 0:
        raise FormatError(f"{path} is empty; it holds no events")
    return path


def _detected(path: Path) -> str:
    name = detect(path)
    if name is None:
        hint = packing_hint(path)
        if hint:
            raise FormatError(f"{path} is no electron-event file that can be read{hint}")
        with path.open("rb") as file:
            start = file.read(16)
        raise FormatError(
            f"{path} is no electron-event file that can be read: it starts with {start!r} and its "
            f"content fits none of the formats tried ({', '.join(format_names())}); if it is one "
            'of them, name it, format="...", and the error will say what is missing'
        )
    return name
