"""Which scan frequencies to look at: peaks of the power spectrum."""

from __future__ import annotations

import numpy as np

from ..errors import ParameterError

#: Radius of the neighbourhood in which a click finds its peak, as part of the spectrum's extent.
_CATCH = 0.02
#: Trotters lie so far apart, and from Q = 0, at first, as part of the spectrum's extent.
_APART = 0.1


def well_apart(power: np.ndarray, n: int) -> np.ndarray:
    """Return strong scan frequencies that are not neighbours of each other, one of each ±Q.

    Close to Q = 0 both shifted disks cover the aperture almost wholly and cancel; and the strongest
    frequencies are neighbours, which show the same. So each that is chosen excludes others near it.

    Parameters
    ----------
    power : (Rx, Ry)
        Power spectrum, Q = 0 in the middle, zero where no disks overlap.
    n : int
        How many at most; fewer if there are fewer in all.

    Returns
    -------
    frequencies : (n, 2) int64
        Signed indices (row, column), strongest first.

    Raises
    ------
    ParameterError
        If the power is zero everywhere.
    """
    apart = _APART
    while True:
        found = _choose(power, n, apart)
        if len(found) == n or apart < 1e-3:
            break
        apart /= 2
    if not len(found):
        raise ParameterError("no scan frequency has any power: there is no trotter to show")
    return found


def _choose(power: np.ndarray, n: int, apart: float) -> np.ndarray:
    left = np.array(power)
    middle = np.array(power.shape) // 2
    x, y = _extents(power)
    left[: middle[0]] = 0  # one of each ±Q
    left[middle[0], : middle[1]] = 0
    left[(x**2 + y**2) < apart**2] = 0
    found: list[np.ndarray] = []
    while len(found) < n:
        place = np.unravel_index(left.argmax(), left.shape)
        if not left[place] > 0:
            break
        found.append(np.array(place) - middle)
        here, there = float(x[place[0], 0]), float(y[0, place[1]])
        for sign in (1, -1):
            left[(x - sign * here) ** 2 + (y - sign * there) ** 2 < apart**2] = 0
        left[place] = 0
    return np.array(found, np.int64).reshape(-1, 2)


def _extents(power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return signed indices along rows and columns, in parts of where there is power."""
    middle = np.array(power.shape) // 2
    filled = np.argwhere(power > 0)
    reach = np.abs(filled - middle).max(axis=0).clip(1) if len(filled) else middle.clip(1)
    rows = (np.arange(power.shape[0]) - middle[0]) / reach[0]
    columns = (np.arange(power.shape[1]) - middle[1]) / reach[1]
    return rows[:, None], columns[None, :]


def nearest_peak(power: np.ndarray, row: float, column: float) -> np.ndarray:
    """Return the strongest scan frequency near a place, signed indices (row, column).

    Parameters
    ----------
    power : (Rx, Ry)
        As for `well_apart`.
    row, column : float
        Signed indices.

    Raises
    ------
    ParameterError
        If there is no power near it.
    """
    middle = np.array(power.shape) // 2
    if not np.isfinite([row, column]).all():
        raise ParameterError(f"({row}, {column}) is no scan frequency")
    x, y = _extents(power)
    here = np.clip(np.rint([row, column]).astype(int) + middle, 0, np.array(power.shape) - 1)
    offset = np.hypot(x - x[here[0], 0], y - y[0, here[1]])
    near = np.where(offset <= _CATCH, power, 0)
    near[tuple(here)] = power[tuple(here)]
    place = np.unravel_index(near.argmax(), near.shape)
    if not near[place] > 0:
        raise ParameterError(f"no disks overlap at scan frequency ({row:g}, {column:g})")
    return np.array(place, np.int64) - middle
