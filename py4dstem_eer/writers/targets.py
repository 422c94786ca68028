"""Where files may be written: into folders that are there, and over nothing that is being read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import ParameterError


def check_writable(target: str | os.PathLike[str]) -> None:
    """Refuse a path at which no file can be written, before anything is computed for it.

    Raises
    ------
    ParameterError
        If it is a directory.
    FileNotFoundError
        If its directory does not exist.
    PermissionError
        If nothing may be written there.
    """
    whole = Path(os.path.realpath(target))
    if whole.is_dir():
        raise ParameterError(f"cannot write to {target}: it is a directory; give a file name")
    if not whole.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: there is no directory {whole.parent}")
    if not os.access(whole.parent, os.W_OK):
        raise PermissionError(
            f"cannot write {target}: no permission to write into {whole.parent}; give another path"
        )


def check_not_read(read: Iterable[Path], replaced: Iterable[Path]) -> None:
    """Refuse to replace or delete a file that is being read.

    Parameters
    ----------
    read, replaced : iterable of path
        Files are the same whatever leads to them: a link, or other capitals where these mean
        nothing.

    Raises
    ------
    ParameterError
        If one is in both.
    """
    files = list(read)
    for target in replaced:
        for file in files:
            if same_file(file, target):
                known = "" if Path(target) == file else f", the same file as {file},"
                raise ParameterError(
                    f"{target}{known} would be replaced or deleted, and the data are read from it; "
                    "write to another name"
                )


def same_file(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> bool:
    """Return whether two paths lead to one file that is there."""
    try:
        return os.path.samefile(a, b)
    except (OSError, ValueError):  # one is not there, or is no path
        return False
