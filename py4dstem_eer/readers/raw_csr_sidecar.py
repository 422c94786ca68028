"""The TOML file of a raw CSR data set."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import event_layout
from ..detector import Shape2D
from ..errors import CorruptFileError, FormatError

#: Larger files are no descriptions; LiberTEM looks into none.
SMALL_BYTES = 2**20
#: Table of a file of ours for what LiberTEM has no place for.
OWN_TABLE, OWN_METADATA = "py4dstem_eer", "metadata_json"

_MOST_PIXELS = 2**32
_MOST_FRAMES = 2**48
_LONGEST_NAME = 64


@dataclass(frozen=True)
class ArrayFile:
    """A headerless array.

    Attributes
    ----------
    name : str
        "indptr", "indices" or "data".
    path : Path
    dtype : np.dtype
    """

    name: str
    path: Path
    dtype: np.dtype


@dataclass(frozen=True)
class Sidecar:
    """What the TOML file says.

    Attributes
    ----------
    path : Path
    scan_shape : (int, int)
        Shapes of more or fewer axes are taken as (all but the last, last).
    detector_shape : (int, int)
    indptr, indices, data : ArrayFile
    metadata : mapping
        What our writer kept beside the events.
    """

    path: Path
    scan_shape: Shape2D
    detector_shape: Shape2D
    indptr: ArrayFile
    indices: ArrayFile
    data: ArrayFile
    metadata: Mapping[str, Any]


def parse_toml(content: bytes, path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises
    ------
    CorruptFileError
        If it is none.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # of text that is no TOML, or no text
        raise CorruptFileError(f"{path} is no TOML file: {error}") from error


def read_sidecar(path: Path) -> Sidecar:
    """Read and check a TOML file; the arrays are not looked at.

    Raises
    ------
    FormatError
        If it describes something else.
    CorruptFileError
        If it is no TOML, or a value is missing or impossible.
    """
    with path.open("rb") as file:
        content = file.read(SMALL_BYTES + 1)
    if len(content) > SMALL_BYTES:
        raise FormatError(f"{path} is larger than {SMALL_BYTES} bytes, and no raw_csr description")
    tables = parse_toml(content, path)
    parameters = _table(tables, "params", path)
    kind = parameters.get("filetype")
    if not isinstance(kind, str) or kind.lower() != "raw_csr":
        raise FormatError(f'{path} has filetype = {kind!r}, not "raw_csr"')
    files = _table(tables, kind, path)
    return Sidecar(
        path,
        _shape(parameters, "nav_shape", _MOST_FRAMES, path),
        _shape(parameters, "sig_shape", _MOST_PIXELS, path),
        _array_file(files, "indptr", path),
        _array_file(files, "indices", path),
        _array_file(files, "data", path),
        _metadata(tables, path),
    )


def _table(tables: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    if not isinstance(tables.get(name), dict):
        raise CorruptFileError(f"{path} lacks the table [{name}]")
    return tables[name]


def _shape(table: Mapping[str, Any], name: str, largest: int, path: Path) -> Shape2D:
    lengths = table.get(name)
    whole = isinstance(lengths, list) and all(type(n) is int and n > 0 for n in lengths)
    if not whole or not lengths or math.prod(lengths) > largest:
        raise CorruptFileError(
            f"{path} has {name} = {_short(lengths)}; expected positive whole numbers, with a "
            f"product of up to {largest}"
        )
    return math.prod(lengths[:-1]), lengths[-1]


def _array_file(table: Mapping[str, Any], name: str, path: Path) -> ArrayFile:
    file, text = table.get(f"{name}_file"), table.get(f"{name}_dtype")
    if not isinstance(file, str) or not file:
        raise CorruptFileError(f"{path} has {name}_file = {_short(file)}; expected a file name")
    dtype = _dtype(text)
    if dtype is None or dtype.kind not in ("biuf" if name == "data" else "iu"):
        kinds = "numbers" if name == "data" else "whole numbers"
        raise CorruptFileError(
            f"{path} has {name}_dtype = {_short(text)}; expected the NumPy name of a type of "
            f"{kinds}"
        )
    return ArrayFile(name, _beside(path, file), dtype)


def _beside(path: Path, file: str) -> Path:
    """Return where a file is that the one at `path` names: if that is a link, beside its target.

    What lies beside the link itself comes first.
    """
    here = path.parent / file
    if not path.is_symlink() or os.path.lexists(here):
        return here
    there = path.resolve().parent / file
    return there if os.path.lexists(there) else here


def _dtype(text: Any) -> np.dtype | None:
    if not isinstance(text, str) or len(text) > _LONGEST_NAME:
        return None
    try:
        return np.dtype(text)
    except (TypeError, ValueError, SyntaxError):
        return None


def _metadata(tables: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    own = tables.get(OWN_TABLE)
    if not isinstance(own, dict) or OWN_METADATA not in own:
        return {}
    try:
        found = event_layout.load_acquisition(own[OWN_METADATA])
    except (ValueError, TypeError, RecursionError) as error:
        raise CorruptFileError(f"{path}: {OWN_TABLE}.{OWN_METADATA} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise CorruptFileError(f"{path}: {OWN_TABLE}.{OWN_METADATA} holds no names and values")
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "..."
