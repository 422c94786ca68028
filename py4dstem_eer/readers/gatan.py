"""Calibration from the Gatan .dm3 or .dm4 file that was recorded together with a scan."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CalibrationError, CorruptFileError, EventWarning, FormatError

NCEMPY_INSTALL_LINE = "python -m pip install ncempy"

#: Å per unit of length, as Digital Micrograph and its users write them.
ANGSTROM_PER = {
    "nm": 10.0,
    "Å": 1.0,
    "A": 1.0,
    "Angstrom": 1.0,
    "pm": 0.01,
    "um": 1e4,
    "µm": 1e4,
    "μm": 1e4,
    "mm": 1e7,
    "m": 1e10,
}

_SCALE = re.compile(r"(\.ImageList\.\d+)\.ImageData\.Calibrations\.Dimension\.(\d+)\.Scale$")
_VOLTAGE = re.compile(r"\.Microscope Info\.Voltage$")
_CAMERA_LENGTHS = (
    re.compile(r"\.Microscope Info\.STEM Camera Length$"),
    re.compile(r"\.Microscope Info\.Camera Length$"),
)
# what ncempy raises on damaged files, depending on where the damage is
_DAMAGE = (
    OSError, ValueError, LookupError, TypeError, RuntimeError, AssertionError, ArithmeticError,
    MemoryError, AttributeError,
)  # fmt: skip


def read_calibration(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read voltage, scan step and camera length from a Gatan file.

    Parameters
    ----------
    path : path of a .dm3 or .dm4 file

    Returns
    -------
    calibration : dict
        What the file has of ``"energy": (value, "eV")``, ``"scan_step": ((row, col), "A")`` and
        ``"camera_length": (value, "mm")``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If ncempy is not installed.
    FormatError
        If it is no Digital Micrograph file.
    CorruptFileError
        If it is damaged.
    CalibrationError
        If it has neither a voltage nor a scan step, or an impossible value.

    Warns
    -----
    EventWarning
        If it has only one of the two.
    """
    path = Path(path)
    tags = _read_tags(path)
    energy, step, length = _energy(tags, path), _scan_step(tags, path), _camera_length(tags)
    missing = [name for name, value in (("voltage", energy), ("scan step", step)) if value is None]
    if len(missing) == 2:
        raise CalibrationError(
            f"{path} has neither a microscope voltage nor an image with a pixel size in units of "
            "length; is it the file recorded with the scan?"
        )
    if missing:
        warnings.warn(f"{path} has no {missing[0]}", EventWarning, stacklevel=2)
    found = {"energy": energy, "scan_step": step, "camera_length": length}
    return {name: value for name, value in found.items() if value is not None}


def _read_tags(path: Path) -> Mapping[str, Any]:
    _check_signature(path)
    try:
        from ncempy.io import dm
    except ImportError as error:
        raise ImportError(
            f"reading a Gatan file (dm=...) needs ncempy: {NCEMPY_INSTALL_LINE}"
        ) from error
    try:
        # not into memory: a companion may hold the images of a whole scan
        with dm.fileDM(path, on_memory=False) as file:
            return dict(file.allTags)
    except _DAMAGE as error:
        raise CorruptFileError(
            f"{path} is a Gatan file but damaged or truncated: {str(error) or repr(error)}"
        ) from error


def _check_signature(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"there is no Gatan file {os.fspath(path)!r} (option dm)")
    if path.is_dir():
        raise FormatError(f"dm={os.fspath(path)!r} is a directory; give a .dm3 or .dm4 file")
    with path.open("rb") as file:
        start = file.read(16)
    version = int.from_bytes(start[:4], "big")
    order_at = {3: 8, 4: 12}.get(version)
    if order_at is None or len(start) < 16:
        raise FormatError(f"{path} is no Gatan .dm3 or .dm4 file: it starts with {start[:8]!r}")
    if int.from_bytes(start[order_at : order_at + 4], "big") != 1:
        raise FormatError(f"{path} is a big-endian Gatan file, which cannot be read")


def _energy(tags: Mapping[str, Any], path: Path) -> tuple[float, str] | None:
    volts = _first(tags, _VOLTAGE)
    if volts is None:
        return None
    if not (math.isfinite(volts) and volts > 0):
        raise CalibrationError(
            f"{path} says that the voltage was {volts:g} V; correct it, or leave out dm= and set "
            "the energy yourself"
        )
    return volts, "eV"


def _camera_length(tags: Mapping[str, Any]) -> tuple[float, str] | None:
    for pattern in _CAMERA_LENGTHS:
        length = _first(tags, pattern)
        if length is not None and math.isfinite(length) and length > 0:
            return length, "mm"
    return None


def _scan_step(tags: Mapping[str, Any], path: Path) -> tuple[tuple[float, float], str] | None:
    """Return the pixel size of the first image whose two axes are lengths."""
    images: dict[str, dict[int, float]] = {}
    for name in tags:
        match = _SCALE.match(name)
        unit = str(tags.get(name[: -len("Scale")] + "Units", "")).strip()
        if match and unit in ANGSTROM_PER:
            axes = images.setdefault(match[1], {})
            axes[int(match[2])] = _number(tags[name]) * ANGSTROM_PER[unit]
    for axes in images.values():
        if 1 in axes and 2 in axes:
            step = (axes[2], axes[1])  # the first axis of the file runs along a row
            if not all(math.isfinite(s) and s > 0 for s in step):
                raise CalibrationError(f"{path} says that the scan step was {step} Å")
            return step, "A"
    return None


def _first(tags: Mapping[str, Any], pattern: re.Pattern[str]) -> float | None:
    values = (_number(value) for name, value in tags.items() if pattern.search(name))
    return next((value for value in values if not math.isnan(value)), None)


def _number(value: Any) -> float:
    """Return a tag's value as a number, nan if it is none; single precision reads as printed."""
    try:
        return float(str(value))
    except ValueError:
        return math.nan
