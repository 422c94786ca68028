"""Pixel sizes of a cube in the units that the methods need, with the user's overrides."""

from __future__ import annotations

import numpy as np
from py4DSTEM.data import Calibration

from ..errors import CalibrationError, ParameterError
from ..optics import wavelength
from ..parameters import parse_real

_ANGSTROM_PER_UNIT = {"A": 1.0, "Å": 1.0, "nm": 10.0, "pm": 0.01}


def scan_step(
    calibration: Calibration, force_scan_sampling: float | None = None
) -> tuple[float, float] | None:
    """Return the scan step along (row, column) [Å], or None if it is not calibrated.

    Parameters
    ----------
    calibration : Calibration
        Real-space pixel size in 'pixels', 'A' or 'nm'.
    force_scan_sampling : float, optional
        Overrides the calibration [Å].

    Raises
    ------
    CalibrationError
        If the unit is another one, or the size is not a positive number.
    """
    if force_scan_sampling is not None:
        return (_positive(force_scan_sampling, "force_scan_sampling"),) * 2
    units = calibration.get_R_pixel_units()
    if units == "pixels":
        return None
    if units not in _ANGSTROM_PER_UNIT:
        raise CalibrationError(
            f"Real-space calibrations must be given in 'A', 'nm' or 'pm', not {units}"
        )
    size = calibration.get_R_pixel_size() * _ANGSTROM_PER_UNIT[units]
    return (_positive(size, "the real-space pixel size"),) * 2


def reciprocal_pixel(
    calibration: Calibration,
    energy: float | None,
    force_angular_sampling: float | None = None,
    force_reciprocal_sampling: float | None = None,
) -> float | None:
    """Return the size of a detector pixel [Å⁻¹], or None if it is not calibrated.

    Parameters
    ----------
    calibration : Calibration
        Detector pixel size in 'pixels', 'A^-1' or 'mrad'.
    energy : float or None
        Beam energy [eV]; needed to convert from mrad.
    force_angular_sampling : float, optional
        Overrides the calibration [mrad].
    force_reciprocal_sampling : float, optional
        Overrides the calibration [Å⁻¹].

    Raises
    ------
    ParameterError
        If both overrides are given.
    CalibrationError
        If the unit is another one, or the size is not a positive number.
    """
    if force_angular_sampling is not None and force_reciprocal_sampling is not None:
        raise ParameterError("Only one of angular or reciprocal calibration can be forced.")
    if force_reciprocal_sampling is not None:
        return _positive(force_reciprocal_sampling, "force_reciprocal_sampling")
    if force_angular_sampling is not None:
        return _from_mrad(_positive(force_angular_sampling, "force_angular_sampling"), energy)
    units, size = calibration.get_Q_pixel_units(), calibration.get_Q_pixel_size()
    if units == "pixels":
        return None
    if units == "A^-1":
        return _positive(size, "the detector pixel size")
    if units == "mrad":
        return _from_mrad(_positive(size, "the detector pixel size"), energy)
    raise CalibrationError(
        f"Reciprocal-space calibrations must be given in 'A^-1' or 'mrad', not {units}"
    )


def detector_pixel(calibration: Calibration) -> float:
    """Return the size of a detector pixel in the calibration's own unit.

    Raises
    ------
    CalibrationError
        If it is not a positive number.
    """
    return _positive(calibration.get_Q_pixel_size(), "the detector pixel size")


def copied(calibration: Calibration) -> Calibration:
    """Return a copy that shares no array with the original, under the name that cubes look for."""
    copy = calibration.copy(name="calibration")
    for name, value in copy._params.items():
        copy._params[name] = value.copy() if isinstance(value, np.ndarray) else value
    return copy


def _from_mrad(angle: float, energy: float | None) -> float:
    if energy is None:
        raise CalibrationError("the detector pixel is given in mrad: the energy [eV] is needed too")
    return angle * 1e-3 / wavelength(energy)


def _positive(size: float, name: str) -> float:
    return parse_real(size, name, above=0, error=CalibrationError)
