"""What `EventDPC` is given: cubes, fields, shifts; checked, and what is doubtful reported."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from py4DSTEM.datacube import DataCube

from ..errors import EventWarning, ParameterError
from ..events import EventStore
from ..methods.com import centre_of_mass, centre_of_mass_dense
from ..methods.descan import fit_descan


def is_cube(datacube: Any) -> bool:
    """Return whether patterns can be read from it: a dense or a sparse cube."""
    return isinstance(datacube, DataCube) or isinstance(
        getattr(datacube, "events", None), EventStore
    )


def measure(
    datacube: Any, mask: np.ndarray | None, given: Sequence[Any] | None, device: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the centre of mass (2, Rx, Ry) [px], NaN where empty, and the electrons behind it.

    Parameters
    ----------
    datacube : SparseDataCube, DataCube or None
    mask : (Qx, Qy) or None
    given : (CoMx, CoMy) or None
        Measured before; the weights are then 1 and 0.
    device : {"cpu", "gpu"}

    Raises
    ------
    ParameterError
        If there is nothing to measure, or mask or field do not fit.
    """
    if given is not None:
        return _given_field(given, datacube)
    if datacube is None:
        raise ParameterError(
            "preprocess() needs a datacube or force_com_measured=(CoMx, CoMy); there is neither"
        )
    if 0 in datacube.shape[:2]:
        raise ParameterError(f"the scan is empty: its shape is {datacube.shape[:2]}")
    events = getattr(datacube, "events", None)
    if isinstance(events, EventStore):
        return centre_of_mass(events, mask, device)
    return centre_of_mass_dense(datacube.data, mask)


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
    measured: np.ndarray, dose: np.ndarray, fit_function: str, given: Sequence[Any] | None
) -> np.ndarray:
    """Return the descan [px], fitted or given, broadcastable to (2, Rx, Ry)."""
    if given is None:
        return fit_descan(measured, fit_function, valid=dose > 0)
    shifts = _pair(given, "force_com_shifts")
    if shifts.ndim == 1:
        shifts = shifts[:, None, None]
    if shifts.shape not in ((2, 1, 1), measured.shape):
        raise ParameterError(
            f"force_com_shifts has shape {shifts.shape}; give two numbers, or two arrays of shape "
            f"{measured.shape[1:]}"
        )
    if not np.isfinite(shifts).all():
        raise ParameterError("force_com_shifts holds NaN or infinity")
    return shifts


def _pair(given: Sequence[Any], name: str) -> np.ndarray:
    try:
        first, second = given
        return np.stack([np.asarray(first, np.float64), np.asarray(second, np.float64)])
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{name} must be a pair (CoMx, CoMy): {error}") from error


def warn_empty(n_filled: int, n_positions: int) -> None:
    """Report positions that were interpolated."""
    if n_filled:
        warnings.warn(
            f"{n_filled} of {n_positions} patterns hold no electrons: their centre of mass was "
            "interpolated from their neighbours",
            EventWarning,
            stacklevel=3,
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
