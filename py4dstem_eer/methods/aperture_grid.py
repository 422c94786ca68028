"""The small detector of single-sideband ptychography: the pixels inside the aperture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..detector import PixelMap, Shape2D, centred_map, select_map
from ..errors import ParameterError
from ..optics import Geometry
from .bright_field import Disk

#: Rim pixels that are covered less hold more noise than signal.
_LEAST_COVERAGE = 0.02


@dataclass(frozen=True)
class ApertureGrid:
    """The detector pixels inside the aperture.

    Attributes
    ----------
    square : PixelMap
        From the camera to the whole small detector.
    pixels : (n,) int64
        Flat indices, in the small detector, of the pixels inside the aperture.
    wx, wy : (n,) float64
        Their scattering angles along (row, column) [rad].
    coverage : (n,) float64
        Part of each pixel that the aperture covers.
    pixel : (float, float)
        Side of a pixel of the small detector [rad].
    """

    square: PixelMap
    pixels: np.ndarray
    wx: np.ndarray
    wy: np.ndarray
    coverage: np.ndarray
    pixel: tuple[float, float]

    @property
    def shape(self) -> Shape2D:
        """Shape of the small detector."""
        return self.square.target_shape

    @property
    def pixel_map(self) -> PixelMap:
        """From the camera to the pixels inside the aperture, in their order."""
        return self.square.then(select_map(self.shape, self.pixels))


def aperture_grid(
    detector_shape: Shape2D,
    disk: Disk,
    camera_pixel: float,
    geometry: Geometry,
    detector_size: int | None,
    rim: bool = False,
) -> ApertureGrid:
    """Lay the small detector over the camera and find its pixels inside the aperture.

    Parameters
    ----------
    detector_shape : (int, int)
        Shape of the camera.
    disk : Disk
        Bright-field disk [camera px]. It fills the small detector.
    camera_pixel : float
        Side of a camera pixel [Å⁻¹].
    geometry : Geometry
    detector_size : int or None
        Side of the small detector; None keeps the camera's own pixels.
    rim : bool
        Take in the pixels that the aperture covers in part, rather than those whose middle is in.

    Raises
    ------
    ParameterError
        If no pixel lies inside the aperture.
    """
    if detector_size is None:
        pixels_per_bin, square = 1.0, _identity_map(detector_shape)
        rows = np.arange(detector_shape[0]) - disk.center[0]
        columns = np.arange(detector_shape[1]) - disk.center[1]
    else:
        if isinstance(detector_size, bool) or not isinstance(detector_size, (int, np.integer)):
            raise ParameterError(f"detector_size is {detector_size!r}; give an integer or None")
        pixels_per_bin = 2 * disk.radius / max(int(detector_size), 1)
        square = centred_map(detector_shape, disk.center, pixels_per_bin, detector_size)
        rows = columns = np.arange(detector_size) - (detector_size - 1) / 2
    pixel = pixels_per_bin * camera_pixel * geometry.wavelength
    wx, wy = np.meshgrid(rows * pixel, columns * pixel, indexing="ij")
    aperture = geometry.semiangle * 1e-3
    coverage = np.clip(0.5 + (aperture - np.hypot(wx, wy)) / pixel, 0, 1)
    inside = coverage > _LEAST_COVERAGE if rim else np.hypot(wx, wy) < aperture
    pixels = np.flatnonzero(inside)
    if len(pixels) == 0:
        raise ParameterError(
            f"no detector pixel lies inside the aperture of {geometry.semiangle:g} mrad: a pixel "
            f"is {pixel * 1e3:g} mrad wide; use a larger detector_size, or check the calibration"
        )
    return ApertureGrid(square, pixels, wx[inside], wy[inside], coverage[inside], (pixel, pixel))


def _identity_map(shape: Shape2D) -> PixelMap:
    return PixelMap(np.arange(shape[0] * shape[1], dtype=np.int32), shape, shape)
