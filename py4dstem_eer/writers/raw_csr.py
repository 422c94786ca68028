"""Events as LiberTEM's raw CSR: a TOML file, and three headerless arrays beside it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .. import event_layout
from ..errors import EventError, ParameterError
from ..events import EventStore
from ..readers.raw_csr_sidecar import OWN_METADATA, OWN_TABLE, read_sidecar
from .atomic import atomic_path
from .pattern_blocks import pattern_blocks

# what the files say by themselves, or what described other files
_NOT_KEPT = {"format", "version", "frames_per_position", "keep_flyback"}
_NOT_KEPT |= {"missing_frames", "unused_frames"}
_NAMES = ("indptr", "indices", "data")
_INDPTR_DTYPE = np.dtype("<i8")
_COPY_ITEMS = 2**22


def write_raw_csr(
    path: str | os.PathLike[str],
    events: EventStore,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write events as LiberTEM's raw CSR, which LiberTEM and this package map without reading.

    Parameters
    ----------
    path : path
        Of the TOML file, usually .toml; the arrays are named after it and lie beside it. It takes
        its place once they are whole; until then, what was there stays, and can be read.
    events : EventStore
        A streamed one is read in bounded memory.
    metadata : mapping, optional
        Nested dicts of values and (value, unit) pairs, kept in a table that LiberTEM ignores.
        Default: those of `events`.

    Raises
    ------
    ParameterError
        If there is no scan position or no detector pixel, or a link leads to another folder.

    References
    ----------
    .. [1] LiberTEM 0.16, ``libertem.io.dataset.raw_csr.RawCSRDataSet``.
    """
    path = Path(path)
    _check(path, events)
    kept = events.metadata if metadata is None else metadata
    text = event_layout.dump_acquisition({k: v for k, v in kept.items() if k not in _NOT_KEPT})
    names, replaced = _free_names(path), own_arrays(path)
    with _removed_on_error(path, names), atomic_path(path) as part, contextlib.ExitStack() as stack:
        parts = [stack.enter_context(atomic_path(path.with_name(name))) for name in names]
        dtypes = _write_arrays(parts, events)
        part.write_text(_toml(events, names, dtypes, text), encoding="utf-8")
    for array in replaced:
        array.unlink(missing_ok=True)


def _check(path: Path, events: EventStore) -> None:
    if 0 in events.shape:
        raise ParameterError(
            f"a raw_csr file has at least one scan position and one detector pixel, not "
            f"{events.shape}"
        )
    real = Path(os.path.realpath(path))
    if real.parent != Path(os.path.realpath(path.parent)):
        raise ParameterError(
            f"{path} is a link to {real}, in another folder than where the arrays would be looked "
            "for; write to that path"
        )


def _free_names(path: Path) -> list[str]:
    """Return names for the arrays that no file has: those in place are read until the end."""
    prefix = path.stem
    while any(path.with_name(f"{prefix}_{name}.dat").exists() for name in _NAMES):
        prefix = f"{path.stem}_{secrets.token_hex(3)}"
    return [f"{prefix}_{name}.dat" for name in _NAMES]


def own_arrays(path: Path) -> list[Path]:
    """Return the arrays of a file that is to be replaced, if they have names that we give."""
    try:
        old = read_sidecar(path)
    except (EventError, OSError):
        return []
    arrays = [array.path for array in (old.indptr, old.indices, old.data)]
    pattern = re.compile(rf"{re.escape(path.stem)}_([0-9a-f]{{6}}_)?({'|'.join(_NAMES)})\.dat")
    return [a for a in arrays if a.parent == path.parent and pattern.fullmatch(a.name)]


@contextlib.contextmanager
def _removed_on_error(path: Path, names: list[str]) -> Iterator[None]:
    """Leave no array behind that the TOML file does not name."""
    try:
        yield
    except BaseException:  # Ctrl-C too
        for name in names:
            path.with_name(name).unlink(missing_ok=True)
        raise


def _write_arrays(paths: list[Path], events: EventStore) -> list[np.dtype]:
    """Write the arrays, streaming scan rows, and return their types."""
    indices_dtype, counts_dtype = _indices_dtype(math.prod(events.detector_shape)), np.dtype("u1")
    n_entries = 0
    with contextlib.ExitStack() as stack:
        indptr, indices, data = (stack.enter_context(part.open("xb+")) for part in paths)
        _append(indptr, np.zeros(1), _INDPTR_DTYPE)
        for _, block in pattern_blocks(events, "writing events"):
            ones = np.ones(len(block.indices), np.uint8)
            counts = ones if block.counts is None else block.counts
            if counts.dtype.itemsize > counts_dtype.itemsize:
                _widen(data, counts_dtype, counts.dtype)
                counts_dtype = counts.dtype
            _append(indptr, block.indptr[1:] + n_entries, _INDPTR_DTYPE)
            _append(indices, block.indices, indices_dtype)
            _append(data, counts, counts_dtype)
            n_entries += len(block.indices)
        if n_entries == 0:  # LiberTEM maps no empty file: one entry that belongs to no frame
            _append(indices, np.zeros(1), indices_dtype)
            _append(data, np.zeros(1), counts_dtype)
    return [_INDPTR_DTYPE, indices_dtype, counts_dtype]


def _indices_dtype(n_pixels: int) -> np.dtype:
    """Return a type that this package maps as it is; for many pixels, one that scipy does, too."""
    if n_pixels <= 2**16:
        return np.dtype("<u2")
    return np.dtype("<i4" if n_pixels <= 2**31 else "<u4")


def _append(file: BinaryIO, values: np.ndarray, dtype: np.dtype) -> None:
    file.write(np.ascontiguousarray(values, dtype.newbyteorder("<")).data)


def _widen(file: BinaryIO, old: np.dtype, new: np.dtype) -> None:
    """Give the items of a file a larger type, from its end on so that none is overwritten."""
    n_items = file.tell() // old.itemsize
    for stop in range(n_items, 0, -_COPY_ITEMS):
        start = max(0, stop - _COPY_ITEMS)
        file.seek(start * old.itemsize)
        values = np.frombuffer(file.read((stop - start) * old.itemsize), old.newbyteorder("<"))
        file.seek(start * new.itemsize)
        _append(file, values, new)
    file.seek(n_items * new.itemsize)


def _toml(events: EventStore, names: list[str], dtypes: list[np.dtype], metadata: str) -> str:
    lines = [
        "# Electron events of a 4D-STEM scan, for LiberTEM and py4dstem_eer",
        "[params]",
        'filetype = "raw_csr"',
        f"nav_shape = {list(events.scan_shape)}",
        f"sig_shape = {list(events.detector_shape)}",
        "",
        "[raw_csr]",
    ]
    for name, file, dtype in zip(_NAMES, names, dtypes, strict=True):
        lines += [
            f"{name}_file = {_quoted(file)}",
            f'{name}_dtype = "{dtype.newbyteorder("<").str}"',
        ]
    lines += ["", f"[{OWN_TABLE}]", f"{OWN_METADATA} = {_quoted(metadata)}", ""]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """Return a TOML string; TOML escapes as JSON does, but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
