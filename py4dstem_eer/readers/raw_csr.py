"""LiberTEM's raw CSR: a TOML file that describes, and three headerless arrays beside it.

``indptr`` says where the entries of each frame begin, ``indices`` has the flat detector index of
each entry, and ``data`` its electrons. The arrays are mapped into memory, so that opening takes the
same time for files of any size, and rows are given out without a copy where their types and order
allow.

References
----------
.. [1] LiberTEM 0.16, ``libertem.io.dataset.raw_csr.RawCSRDataSet``.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from ..errors import EventWarning
from .options import ReaderOptions
from .raw_csr_arrays import Arrays, map_arrays
from .raw_csr_layout import Layout, lay_out
from .raw_csr_sidecar import SMALL_BYTES, Sidecar, parse_toml, read_sidecar
from .raw_csr_source import RawCsrSource

NAME = "raw_csr"
USES = frozenset({"scan_shape", "skip_frames", "frames_per_position", "keep_flyback", "errors"})
EXTENSIONS: frozenset[str] = frozenset()  # .toml is everybody's

_NAMED = re.compile(rb"filetype[\"']?\s*=\s*[\"']+raw_csr[\"']", re.IGNORECASE)


def recognises(path: Path) -> bool:
    """Return whether the file is TOML with this file type, or what is left of one."""
    try:
        with path.open("rb") as file:
            content = file.read(SMALL_BYTES)
    except OSError:
        return False
    if b"\0" in content or not _NAMED.search(content):
        return False
    try:
        parameters = parse_toml(content, path).get("params")
    except ValueError:
        return True  # damaged
    return isinstance(parameters, dict) and str(parameters.get("filetype")).lower() == NAME


def open_source(path: Path, options: ReaderOptions) -> RawCsrSource:
    """Open the arrays that a TOML file describes.

    Fewer frames than the scan has positions leave the last of those empty, and frames beyond it are
    left out, as LiberTEM has it; both with an EventWarning. Its ``sync_offset`` is `skip_frames`.

    Raises
    ------
    FormatError
        If the file is no TOML of this type.
    FileNotFoundError
        If an array is not where the file says.
    ParameterError
        If the options do not fit the arrays.
    CorruptFileError
        If the arrays do not fit each other.
    """
    sidecar = read_sidecar(path)
    arrays = map_arrays(sidecar, options.skips_errors)
    layout = lay_out(sidecar, arrays, options)
    metadata = {
        **sidecar.metadata,
        "format": NAME,
        "frames_per_position": layout.frames_per_position,
        "keep_flyback": bool(options.keep_flyback),
        **_misfit(sidecar, layout),
    }
    source = RawCsrSource(sidecar, arrays, layout, metadata)
    if options.skips_errors:
        metadata["skipped_frames"] = _drop_bad_frames(source, arrays, path)
    return source


def _misfit(sidecar: Sidecar, layout: Layout) -> dict[str, int]:
    """Return how many frames are missing or left over, after a warning."""
    found = {"missing_frames": layout.n_missing, "unused_frames": layout.n_unused}
    if layout.n_missing:
        _warn(
            f"{sidecar.path}: {layout.n_missing} of {layout.n_frames} frames that a scan of "
            f"{layout.scan_shape} has are missing at its end; they are taken for empty"
        )
    if layout.n_unused:
        _warn(
            f"{sidecar.path}: {layout.n_unused} frames after those of a scan of "
            f"{layout.scan_shape} are left out"
        )
    return {name: number for name, number in found.items() if number}


def _drop_bad_frames(source: RawCsrSource, arrays: Arrays, path: Path) -> int:
    n_bad = source.drop_bad_frames()
    if n_bad:
        _warn(f"{path}: {n_bad} of {arrays.n_frames} frames cannot be read and were dropped")
    return n_bad


def _warn(message: str) -> None:
    warnings.warn(message, EventWarning, stacklevel=5)
