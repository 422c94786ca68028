"""A cube's calibration in the words of a file's metadata, and back.

Files of events that are no EMD files keep of it what is a number:

====================  ======================================================
R_pixel_size          scan step, in a unit of length
Q_pixel_size          detector pixel, in A^-1 or mrad
QR_rotation, QR_flip  rotation [rad], and whether the axes are exchanged
origin                where the unscattered beam hits, one for all positions
origin_mean           the mean of those of all positions
ellipse_axes          half axes of the elliptic distortion
ellipse_theta         its angle [rad]
probe_semiangle       radius of the unscattered disk
====================  ======================================================
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from py4DSTEM.data import Calibration

from ..errors import CalibrationError, EventWarning

_SPACES = ("R", "Q")
#: Names in the metadata: those of py4DSTEM, and the unit.
_NUMBERS = {
    "origin": (("qx0", "qy0"), "pixels"),
    "origin_mean": (("qx0_mean", "qy0_mean"), "pixels"),
    "ellipse_axes": (("a", "b"), "pixels"),
    "ellipse_theta": (("theta",), "rad"),
    "probe_semiangle": (("probe_semiangle",), "pixels"),
    "QR_rotation": (("QR_rotation",), "rad"),
}
_OF_PIXELS = {f"{space}_pixel_{what}" for space in _SPACES for what in ("size", "units")}
_DERIVED = {"qx0_shift", "qy0_shift", "QR_rotation_degrees"}
#: All names that a calibration may have in the metadata.
NAMES = frozenset({*_NUMBERS, "R_pixel_size", "Q_pixel_size", "QR_flip"})
#: Scan steps along rows and columns that differ more cannot be told by one number [relative].
_STEP_TOLERANCE = 0.01


def as_metadata(calibration: Calibration, format: str) -> dict[str, Any]:
    """Return what a file keeps of a calibration.

    Parameters
    ----------
    calibration : Calibration
    format : str
        Name of the file's format, for the warning.

    Warns
    -----
    EventWarning
        If some of it is no number, such as the origin of every position; names what it is.
    """
    found = {**dict(_pixel_sizes(calibration)), **dict(_numbers(calibration))}
    if "QR_rotation" in found or calibration.get_QR_flip():
        found["QR_flip"] = bool(calibration.get_QR_flip())
    kept = {name for item in found for name in _NUMBERS.get(item, ((), ""))[0]}
    left_out = [
        name
        for name, value in calibration._params.items()
        if value is not None and name not in kept | _OF_PIXELS | _DERIVED | {"QR_flip"}
        if not name.startswith("_")  # where it is in its tree
    ]
    if left_out:
        warnings.warn(
            f"{format} files have no place for {', '.join(sorted(left_out))} of the calibration, "
            "which are left out; EMD files keep them",
            EventWarning,
            stacklevel=4,
        )
    return found


def _pixel_sizes(calibration: Calibration) -> Iterator[tuple[str, Any]]:
    for space in _SPACES:
        units = getattr(calibration, f"get_{space}_pixel_units")()
        if units != "pixels":
            size = float(getattr(calibration, f"get_{space}_pixel_size")())
            yield f"{space}_pixel_size", (size, units)


def _numbers(calibration: Calibration) -> Iterator[tuple[str, Any]]:
    for item, (names, unit) in _NUMBERS.items():
        values = [calibration._params.get(name) for name in names]
        if all(value is not None and np.ndim(value) == 0 for value in values):
            numbers = tuple(map(float, values))
            yield item, (numbers if len(numbers) > 1 else numbers[0], unit)


def calibrate_from(calibration: Calibration, metadata: Mapping[str, Any]) -> None:
    """Set what a file's metadata say about the calibration.

    Raises
    ------
    CalibrationError
        If they say something that cannot be.

    Warns
    -----
    EventWarning
        If the scan steps along rows and columns differ.
    """
    for name in ("scan_step", *sorted(NAMES)):  # sorted, the origin itself is set before its mean
        if name not in metadata:
            continue
        try:
            _set(calibration, name, metadata[name])
        except (TypeError, ValueError, LookupError, AssertionError) as error:
            raise CalibrationError(
                f"the file's metadata say {name} = {metadata[name]!r}, which cannot be: {error}"
            ) from error


def _set(calibration: Calibration, name: str, value: Any) -> None:
    """Set one item, with the effects on what is calibrated by it."""
    if name == "QR_flip":
        calibration.set_QR_flip(bool(value))
    elif name == "scan_step":
        _set_step(calibration, *value)
    elif name in _NUMBERS:
        numbers = [float(number) for number in np.ravel(value[0])]
        for parameter, number in zip(_NUMBERS[name][0], numbers, strict=True):
            getattr(calibration, f"set_{parameter}")(number)
    else:
        getattr(calibration, f"set_{name}")(float(value[0]))
        getattr(calibration, f"set_{name.replace('size', 'units')}")(str(value[1]))


def _set_step(calibration: Calibration, steps: Any, units: str) -> None:
    row_step, column_step = map(float, steps)
    if abs(row_step - column_step) > _STEP_TOLERANCE * row_step:
        warnings.warn(
            f"the scan steps differ along rows and columns, {row_step} and {column_step} "
            f"{units}; py4DSTEM's calibration has room for one: the first is used",
            EventWarning,
            stacklevel=6,
        )
    calibration.set_R_pixel_size(row_step)
    calibration.set_R_pixel_units(units)
