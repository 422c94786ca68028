"""File formats, the other way: `EventStore` to bytes."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ParameterError
from .targets import check_not_read

#: py4DSTEM's own format, that of `py4DSTEM.save`: it keeps calibration and results as well.
EMD = "emd"


class Writer(NamedTuple):
    """Where a format is written, and which extensions ask for it."""

    #: module:function(path, events, metadata), loaded on use.
    function: str
    extensions: tuple[str, ...] = ()
    #: module:function(path) that returns the files which go when the one at `path` is replaced.
    replaced: str | None = None


#: The formats beside EMD; one line for each.
WRITERS: dict[str, Writer] = {
    "stempy": Writer("py4dstem_eer.writers.stempy:write_stempy"),
    "raw_csr": Writer(
        "py4dstem_eer.writers.raw_csr:write_raw_csr",
        (".toml",),
        "py4dstem_eer.writers.raw_csr:own_arrays",
    ),
}
TARGETS = (EMD, *WRITERS)

_EMD_EXTENSIONS = (".emd", ".py4dstem")
# HDF5, so that it may be more than one format
_SHARED_EXTENSIONS = (".h5", ".hdf5")


def target_format(path: str | os.PathLike[str], format: str | None, shared: str) -> str:
    """Return the name of the format to write.

    Parameters
    ----------
    path : path
        Whose extension counts if no format is given.
    format : str or None
        One of `TARGETS`.
    shared : str
        The format of .h5 files, which several have.

    Raises
    ------
    ParameterError
        If there is no such format, or the extension belongs to none, or `path` is no path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ParameterError(f"expected the path of a file to write, got {path!r}")
    if format is not None:
        if format not in TARGETS:
            close = difflib.get_close_matches(str(format), TARGETS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ParameterError(f"cannot write {format!r}{hint} (known: {', '.join(TARGETS)})")
        return format
    extension = Path(path).suffix.lower()
    known = dict.fromkeys(_SHARED_EXTENSIONS, shared) | dict.fromkeys(_EMD_EXTENSIONS, EMD)
    for name, writer in WRITERS.items():
        known |= dict.fromkeys(writer.extensions, name)
    if extension not in known:
        raise ParameterError(
            f"{path}: the extension {extension!r} does not say what to write; name one of "
            f"{', '.join(TARGETS)}, or end in one of {', '.join(known)}"
        )
    return known[extension]


def load_writer(name: str) -> Callable[..., Any]:
    """Return the function (path, events, metadata) that writes a format of `WRITERS`."""
    return _loaded(WRITERS[name].function)


def check_keeps(path: str | os.PathLike[str], format: str, read: Iterable[Path]) -> None:
    """Refuse to write where a file would be replaced or deleted that is being read.

    Parameters
    ----------
    path : path
    format : str
        One of `TARGETS`.
    read : iterable of Path

    Raises
    ------
    ParameterError
        Naming the file.
    """
    beside = WRITERS[format].replaced if format in WRITERS else None
    check_not_read(read, [Path(path), *(_loaded(beside)(Path(path)) if beside else ())])


def _loaded(place: str) -> Callable[..., Any]:
    module, function = place.split(":")
    return getattr(importlib.import_module(module), function)
