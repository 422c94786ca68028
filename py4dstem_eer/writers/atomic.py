"""Output files that are either whole or not there."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from .targets import check_writable


@contextlib.contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `target`, which takes its place once the block has ended well.

    If the block raises or is interrupted, the temporary file is deleted and `target` stays as it
    was.

    Parameters
    ----------
    target : path
        A link is followed, so that the file it points to is the one replaced.

    Raises
    ------
    ParameterError
        If `target` is a directory.
    FileNotFoundError
        If the directory of `target` does not exist.
    PermissionError
        If nothing may be written there.
    """
    check_writable(target)
    whole = Path(os.path.realpath(target))
    # the same directory, as renaming is atomic only inside one file system
    part = whole.with_name(f".{whole.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield part
        os.replace(part, whole)
    finally:
        part.unlink(missing_ok=True)
