"""What `EventSSB` is given: disk, rotation, sampling; checked, and what is doubtful reported."""

from __future__ import annotations

import math
import warnings
from numbers import Real
from typing import Any

import numpy as np

from ..errors import EventError, EventWarning, ParameterError
from ..methods.aperture_grid import ApertureGrid
from ..methods.bright_field import Disk, find_disk, warn_if_cut
from ..methods.com import fill_empty
from ..methods.descan import fit_descan
from ..methods.rotation import RelativeRotation, solve_rotation, warn_if_undecided
from ..methods.trotter_rotation import TrotterRotation
from ..optics import Geometry
from ..parameters import parse_real
from .patterns import Patterns

#: Warn when the aperture spans a smaller part of the small detector.
_SMALLEST_SPAN = 0.5
#: Warn when overlaps fill a smaller part of the plane of scan frequencies.
_SMALLEST_CORNER = 0.03


def parse_positive(
    value: Any, name: str, unit: str, error: type[EventError] = ParameterError
) -> float:
    """Return a positive finite number, or say what it is instead."""
    return parse_real(value, name, above=0, unit=unit, error=error)


def check_scan(scan_shape: tuple[int, int], pattern_sum: np.ndarray) -> None:
    """Refuse scans that hold nothing, or that are a line."""
    if min(scan_shape) < 2:
        raise ParameterError(
            f"the scan has shape {scan_shape}; ptychography needs two dimensions: check scan_shape"
        )
    if not pattern_sum.any():
        raise ParameterError("all patterns are empty: there is nothing to reconstruct")


def parse_disk(
    pattern_sum: np.ndarray, center: tuple[float, float] | None, radius: float | None
) -> Disk:
    """Return the disk that the user gave, completed by what is measured.

    Raises
    ------
    ParameterError
        If a number is none, no disk is found, or it is larger than the detector.
    """
    shape = (pattern_sum.shape[0], pattern_sum.shape[1])
    if radius is not None:
        radius = parse_positive(radius, "bf_radius", "pixels")
    if center is not None:
        center = _parse_center(center)
    if center is None or radius is None:
        measured = find_disk(pattern_sum, warn=False)
        center = measured.center if center is None else center
        radius = measured.radius if radius is None else radius
    if 2 * radius > max(shape):
        raise ParameterError(
            f"the bright-field disk is {2 * radius:.1f} px wide, and the detector of {shape} "
            "pixels smaller than that: check bf_radius, or use a shorter camera length"
        )
    disk = Disk(center, radius)
    warn_if_cut(disk, shape)
    return disk


def _parse_center(center: Any) -> tuple[float, float]:
    try:
        row, column = (float(c) for c in center if isinstance(c, Real) and math.isfinite(c))
    except (TypeError, ValueError):
        raise ParameterError(
            f"center is {center!r}; give two numbers (row, column) in detector pixels"
        ) from None
    return row, column


def find_rotation(
    patterns: Patterns,
    step: tuple[float, float],
    rotation: float | None,
    transpose: bool | None,
    device: str,
) -> tuple[RelativeRotation, np.ndarray | None]:
    """Return the rotation that was given, or that the centre of mass shows, and that field.

    Parameters
    ----------
    patterns : Patterns
    step : (float, float)
        Scan step [Å].
    rotation : float or None
        The known angle [deg].
    transpose : bool or None
        The known transpose.
    device : {"cpu", "gpu"}

    Returns
    -------
    rotation : RelativeRotation
    com : (2, Rx, Ry) or None
        [px]; None where nothing had to be measured.
    """
    if rotation is not None and not (isinstance(rotation, Real) and math.isfinite(rotation)):
        raise ParameterError(f"force_com_rotation is {rotation!r}; give an angle in degrees")
    if transpose not in (None, True, False):
        raise ParameterError(f"force_com_transpose is {transpose!r}; give True or False")
    if rotation is not None and transpose is not None:
        return RelativeRotation(float(rotation), bool(transpose)), None
    com, _ = fill_empty(*patterns.centre_of_mass())
    com -= fit_descan(com)
    return solve_rotation(com, rotation, transpose, step=step, device=device, warn=False), com


def settle_rotation(
    found: RelativeRotation, check: TrotterRotation, measured_both: bool
) -> RelativeRotation:
    """Return the rotation to use: the centre of mass's, or what overlaps show where it cannot tell.

    Warns
    -----
    EventWarning
        If neither can tell, or the two contradict each other.
    """
    shown = f"{check.angle_deg:.0f}°, transpose {check.transpose}"
    if found.undecided and check.decided and measured_both:
        return RelativeRotation(check.angle_deg, check.transpose)
    if not check.agrees:
        warnings.warn(
            f"rotation and transpose in doubt: the centre of mass says {found.angle_deg:.0f}°, "
            f"{found.transpose}; the disk overlaps of the strongest scan frequencies say {shown}; "
            "give force_com_rotation and force_com_transpose",
            EventWarning,
            stacklevel=4,
        )
    elif found.undecided:
        warn_if_undecided(found)
    return found


def warn_sampling(geometry: Geometry, grid: ApertureGrid) -> None:
    """Warn, as py4DSTEM does, of a sampling of scan or detector that looks wrong."""
    for message in (_detector_doubt(geometry, grid), _scan_doubt(geometry)):
        if message is not None:
            warnings.warn(message, UserWarning, stacklevel=4)


def _detector_doubt(geometry: Geometry, grid: ApertureGrid) -> str | None:
    width = 2e-3 * geometry.semiangle / grid.pixel[0]
    if width >= _SMALLEST_SPAN * min(grid.shape):
        return None
    return (
        f"the aperture of {geometry.semiangle:g} mrad is {width:.1f} px wide, less than half of "
        f"the detector of {grid.shape} pixels that is used: check semiangle_cutoff, bf_radius and "
        "the detector's calibration, or give detector_size"
    )


def _scan_doubt(geometry: Geometry) -> str | None:
    limit = 2 * geometry.aperture_radius
    steps = geometry.scan_step
    used = math.pi * limit**2 * steps[0] * steps[1]
    if max(steps) * 2 * limit > 1 + 1e-9:
        return (
            f"the scan step of {max(steps):.3g} Å is too coarse for {geometry.semiangle:g} mrad: "
            f"disks overlap up to {limit:.3g} Å⁻¹, the scan reaches {0.5 / max(steps):.3g} Å⁻¹ "
            f"only, and what lies beyond is aliased; take steps of {0.5 / limit:.3g} Å or less"
        )
    if used < _SMALLEST_CORNER:
        return (
            f"the scan step of {max(steps):.3g} Å is very fine for {geometry.semiangle:g} mrad: "
            f"only {used:.2%} of the scan frequencies lie where disks overlap; check the scan "
            f"calibration (steps of {0.5 / limit:.3g} Å would do), or use bin_R"
        )
    return None
