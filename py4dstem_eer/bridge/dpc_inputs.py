"""What `EventDPC` is given: cubes, fields, shifts; checked, and what is doubtful reported."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import EventWarning, ParameterError
from ..methods.com import check_measured, fill_empty, parse_mask
from ..methods.descan import RobustFit, fit_descan
from ..methods.hot_pixels import find_hot_pixels, warn_hot
from .patterns import patterns_of


@dataclass(frozen=True)
class Measured:
    """Centres of mass, and what they rest on.

    Attributes
    ----------
    com : (2, Rx, Ry)
        [px], NaN where a pattern is empty.
    dose : (Rx, Ry)
        Electrons behind each position, times the mask; 1 and 0 where they are not known.
    dose_known : bool
    n_hot : int
        Hot pixels that were left out.
    """

    com: np.ndarray
    dose: np.ndarray
    dose_known: bool = True
    n_hot: int = 0


def measure(
    datacube: Any, mask: np.ndarray | None, hot_pixels: str = "remove", device: str = "cpu"
) -> Measured:
    """Return the centre of mass of every pattern of a cube.

    Parameters
    ----------
    datacube : SparseDataCube, DataCube or None
    mask : (Qx, Qy) or None
        Weight of every detector pixel.
    hot_pixels : {"remove", "keep"}
        Whether hot pixels, looked for in a sample of counted patterns, are left out.
    device : {"cpu", "gpu"}

    Raises
    ------
    ParameterError
        If there is nothing to measure, or the mask does not fit.
    """
    if hot_pixels not in ("remove", "keep"):
        raise ParameterError(f'hot_pixels is {hot_pixels!r}; it must be "remove" or "keep"')
    if datacube is None:
        raise ParameterError(
            "preprocess() needs a datacube or force_com_measured=(CoMx, CoMy); there is neither"
        )
    patterns = patterns_of(datacube)
    detector = patterns.detector_shape
    if mask is not None:
        mask = parse_mask(mask, detector).reshape(detector)
    hot = np.zeros(detector, bool)
    if hot_pixels == "remove":
        sample = patterns.sample()
        hot = find_hot_pixels(sample if mask is None else np.where(mask > 0, sample, 0))
        warn_hot(hot)
    if hot.any():
        mask = np.where(hot, 0, 1 if mask is None else mask)
    return Measured(*patterns.centre_of_mass(mask, device), n_hot=int(hot.sum()))


def given_field(given: Sequence[Any], dose: np.ndarray | None, datacube: Any) -> Measured:
    """Return centres of mass that were measured before; NaN marks empty patterns.

    Parameters
    ----------
    given : (CoMx, CoMy)
        [px]
    dose : (Rx, Ry) or None
        Electrons behind each; those without are empty.
    datacube : DataCube or None
        Whose scan it must fit.

    Raises
    ------
    ParameterError
        If shapes do not fit, or a value is infinite or negative.
    """
    com, weight = _given_field(given, datacube)
    if dose is None:
        return Measured(com, weight, dose_known=False)
    dose = np.asarray(dose, np.float64)
    if dose.shape != weight.shape or not np.isfinite(dose).all() or (dose < 0).any():
        raise ParameterError(
            f"force_dose has shape {dose.shape}; give finite electrons, not negative, of shape "
            f"{weight.shape}"
        )
    return Measured(com, np.where(weight > 0, dose, 0.0))


def _given_field(given: Sequence[Any], datacube: Any) -> tuple[np.ndarray, np.ndarray]:
    field = _pair(given, "force_com_measured")
    if field.ndim != 3 or field.size == 0:
        raise ParameterError(
            f"force_com_measured has shape {field.shape}; give two arrays of shape (Rx, Ry)"
        )
    if datacube is not None and field.shape[1:] != tuple(datacube.shape[:2]):
        raise ParameterError(
            f"force_com_measured has shape {field.shape[1:]}, the scan has {datacube.shape[:2]}"
        )
    if np.isinf(field).any():
        raise ParameterError("force_com_measured holds infinity; use NaN for empty patterns")
    measured = ~np.isnan(field).any(axis=0)
    return np.where(measured, field, np.nan), measured.astype(np.float64)


def descan(
    measured: np.ndarray,
    dose: np.ndarray,
    fit_function: str,
    given: Sequence[Any] | None,
    robust: bool = False,
) -> np.ndarray:
    """Return the descan [px], fitted or given, broadcastable to (2, Rx, Ry)."""
    check_measured(dose)
    if given is None:
        return fit_descan(measured, fit_function, dose > 0, RobustFit() if robust else None)
    shifts = _pair(given, "force_com_shifts")
    if shifts.ndim == 1:
        shifts = shifts[:, None, None]
    if shifts.shape not in ((2, 1, 1), measured.shape):
        raise ParameterError(
            f"force_com_shifts has shape {shifts.shape}; give two numbers, or two arrays of shape "
            f"{measured.shape[1:]}"
        )
    known = ~np.isnan(shifts).any(axis=0)
    if np.isinf(shifts).any() or not known.any():
        raise ParameterError("force_com_shifts holds infinity, or nothing but NaN")
    shifts, n_filled = fill_empty(shifts, known)
    warn_empty(n_filled, known.size, " of force_com_shifts")
    return shifts


def _pair(given: Sequence[Any], name: str) -> np.ndarray:
    try:
        first, second = given
        return np.stack([np.asarray(first, np.float64), np.asarray(second, np.float64)])
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{name} must be a pair (CoMx, CoMy): {error}") from error


def warn_empty(n_filled: int, n_positions: int, of: str = "", stacklevel: int = 3) -> None:
    """Report positions that were interpolated."""
    if n_filled:
        warnings.warn(
            f"{n_filled} of {n_positions} patterns{of} hold no electrons: their centre of mass "
            "was interpolated from their neighbours",
            EventWarning,
            stacklevel=stacklevel,
        )


def warn_uncalibrated(step: tuple[float, float] | None, pixel: float | None) -> None:
    """Warn as py4DSTEM does that a result in pixels is not quantitative."""
    for missing, what in ((step, "real-space"), (pixel, "reciprocal-space")):
        if missing is None:
            warnings.warn(
                f"the reconstruction will not be quantitative: specify {what} calibrations",
                UserWarning,
                stacklevel=4,
            )
