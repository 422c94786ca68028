"""Files that must stay as they are while events are streamed from them."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import CorruptFileError


def stamp_of(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is changed."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def check_unchanged(path: Path, stamp: tuple[int, ...]) -> None:
    """Raise unless a file is what it was when its stamp was taken.

    Raises
    ------
    FileNotFoundError
        If it is not there any more.
    CorruptFileError
        If it has changed.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} was deleted or moved after it had been opened")
    if stamp_of(path) != stamp:
        raise CorruptFileError(f"{path} has changed since it was opened; open it again")
