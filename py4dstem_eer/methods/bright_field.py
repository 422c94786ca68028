"""Centre and radius of the bright-field disk, from the mean diffraction pattern, to sub-pixel."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize

from ..errors import EventWarning, ParameterError
from .hot_pixels import find_hot_pixels

_SECTORS = 48
_SMALLEST_RADIUS = 1.5
#: Warn when more of the disk than this falls off the detector.
_LOST_FRACTION = 0.005


@dataclass(frozen=True)
class Disk:
    """The bright-field disk.

    Attributes
    ----------
    center : (float, float)
        (row, column) [detector px, pixel centres at integers].
    radius : float
        [detector px]
    """

    center: tuple[float, float]
    radius: float

    def lost_fraction(self, shape: tuple[int, int]) -> float:
        """Return the part of the disk's area that lies outside a detector of this shape."""
        steps = (np.arange(400) + 0.5) / 200 - 1
        inside_disk = steps[:, None] ** 2 + steps[None, :] ** 2 <= 1
        rows = self.center[0] + steps * self.radius
        columns = self.center[1] + steps * self.radius
        on_detector = ((rows > -0.5) & (rows < shape[0] - 0.5))[:, None]
        on_detector = on_detector & ((columns > -0.5) & (columns < shape[1] - 0.5))[None, :]
        return 1 - float((inside_disk & on_detector).sum() / inside_disk.sum())


def find_disk(pattern: np.ndarray, warn: bool = True) -> Disk:
    """Measure the bright-field disk.

    Hot pixels are replaced by their neighbourhood; the disk is the largest connected region above
    half of the plateau; its edge is the half-height crossing of the radial profile in each of 48
    sectors, and a circle is fitted to these crossings with a robust loss. A sector beyond the edge
    of the detector takes no part, so a cut disk keeps its true centre.

    Parameters
    ----------
    pattern : (Qx, Qy)
        Sum or mean of diffraction patterns; a sum of electrons gives the best noise estimate.
    warn : bool
        Warn of a cut disk.

    Returns
    -------
    disk : Disk

    Raises
    ------
    ParameterError
        If there is no electron, or no disk that stands out.

    Warns
    -----
    EventWarning
        If part of the disk falls off the detector.
    """
    if not np.isfinite(pattern).all() or pattern.sum() <= 0:
        raise ParameterError("no bright-field disk: the mean pattern is empty or not finite")
    clean = remove_hot_pixels(np.asarray(pattern, np.float64))
    rough, plateau, smooth = _rough_disk(clean)
    radii, angles = _edge_crossings(smooth, rough, plateau)
    disk = _fit_circle(rough, radii, angles)
    if warn:
        warn_if_cut(disk, (pattern.shape[0], pattern.shape[1]))
    return disk


def warn_if_cut(disk: Disk, shape: tuple[int, int]) -> None:
    """Warn if part of the disk falls off a detector of this shape, and say how much."""
    lost = disk.lost_fraction(shape)
    if lost > _LOST_FRACTION:
        warnings.warn(
            f"the bright-field disk (centre {disk.center[0]:.1f}, {disk.center[1]:.1f}, radius "
            f"{disk.radius:.1f} px) is cut by the detector edge: {lost:.1%} of it is lost",
            EventWarning,
            stacklevel=3,
        )


def remove_hot_pixels(pattern: np.ndarray) -> np.ndarray:
    """Return the pattern with hot pixels set to their local median."""
    hot = find_hot_pixels(pattern)
    if not hot.any():
        return pattern
    return np.where(hot, ndimage.median_filter(pattern, size=5, mode="nearest"), pattern)


def _rough_disk(pattern: np.ndarray) -> tuple[Disk, float, np.ndarray]:
    """Return a first disk, the height of its plateau, and the pattern smoothed just enough."""
    for sigma in (0.0, 0.7, 1.5, 3.0, 6.0):
        smooth = ndimage.gaussian_filter(pattern, sigma) if sigma else pattern
        threshold = _half_plateau(smooth)
        labels, n_regions = ndimage.label(smooth > threshold)
        sizes = np.bincount(labels.ravel())[1:]
        if n_regions and sizes.max() > 0.9 * sizes.sum():
            break
    else:
        raise ParameterError(
            "no bright-field disk: the mean pattern has no region that stands out; give center "
            "and bf_radius"
        )
    region = ndimage.binary_fill_holes(labels == 1 + np.argmax(sizes))
    touched = [region[0].mean(), region[-1].mean(), region[:, 0].mean(), region[:, -1].mean()]
    if min(touched) > 0.5:
        raise ParameterError("no bright-field disk: the mean pattern is bright everywhere")
    radius = float(np.sqrt(region.sum() / np.pi))
    if radius < _SMALLEST_RADIUS:
        raise ParameterError(
            f"no bright-field disk: the bright region has a radius of {radius:.1f} px"
        )
    center = ndimage.center_of_mass(region)
    return Disk((float(center[0]), float(center[1])), radius), 2 * threshold, smooth


def _half_plateau(pattern: np.ndarray) -> float:
    """Return half of the disk's height: the mean of what lies above it, divided by two."""
    threshold = pattern.max() / 2
    for _ in range(50):
        above = pattern[pattern > threshold]
        updated = float(np.median(above)) / 2 if above.size else threshold / 2
        if abs(updated - threshold) <= 1e-6 * threshold:
            break
        threshold = updated
    return threshold


def _edge_crossings(
    pattern: np.ndarray, rough: Disk, plateau: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each sector, the radius where the profile falls through half of the plateau."""
    rows, columns = np.indices(pattern.shape)
    dr, dc = rows - rough.center[0], columns - rough.center[1]
    distance = np.hypot(dr, dc)
    ring = np.abs(distance - rough.radius) < 0.35 * rough.radius + 1.5
    sector = ((np.arctan2(dc, dr)[ring] + np.pi) / (2 * np.pi) * _SECTORS).astype(int) % _SECTORS
    radii = np.full(_SECTORS, np.nan)
    for s in range(_SECTORS):
        mine = sector == s
        radii[s] = _half_crossing(distance[ring][mine], pattern[ring][mine], plateau / 2)
    angles = (np.arange(_SECTORS) + 0.5) / _SECTORS * 2 * np.pi - np.pi
    found = np.isfinite(radii)
    if found.sum() < 6:
        raise ParameterError(
            "no bright-field disk: its edge is not sharp; give center and bf_radius"
        )
    return radii[found], angles[found]


def _half_crossing(distance: np.ndarray, values: np.ndarray, half: float) -> float:
    """Return the radius that best parts values above `half` from those below: an area balance."""
    if distance.size < 3:
        return np.nan
    order = np.argsort(distance)
    distance, values = distance[order], values[order]
    # the sum of (value − half) peaks where values start to fall below half
    peak = int(np.argmax(np.cumsum(values - half)))
    if peak in (0, distance.size - 1):
        return np.nan
    return float((distance[peak] + distance[peak + 1]) / 2)


def _fit_circle(rough: Disk, radii: np.ndarray, angles: np.ndarray) -> Disk:
    rows = rough.center[0] + radii * np.cos(angles)
    columns = rough.center[1] + radii * np.sin(angles)

    def misfit(parameters: np.ndarray) -> np.ndarray:
        return np.hypot(rows - parameters[0], columns - parameters[1]) - parameters[2]

    start = [*rough.center, rough.radius]
    fit = optimize.least_squares(misfit, start, loss="soft_l1", f_scale=0.5)
    return Disk((float(fit.x[0]), float(fit.x[1])), float(fit.x[2]))
