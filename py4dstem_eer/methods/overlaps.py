"""Which scan frequencies and detector pixels take part in single-sideband ptychography.

All coordinates here are scattering angles [rad]: wavelength times spatial frequency.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..detector import PixelMap, Shape2D, centred_map, select_map
from ..errors import ParameterError
from ..optics import Geometry
from .bright_field import Disk

NO_MIRROR = -1


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
    pixel : (float, float)
        Side of a pixel of the small detector [rad].
    """

    square: PixelMap
    pixels: np.ndarray
    wx: np.ndarray
    wy: np.ndarray
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
    inside = np.hypot(wx, wy) < geometry.semiangle * 1e-3
    pixels = np.flatnonzero(inside)
    if len(pixels) == 0:
        raise ParameterError(
            f"no detector pixel lies inside the aperture of {geometry.semiangle:g} mrad: a pixel "
            f"is {pixel * 1e3:g} mrad wide; use a larger detector_size, or check the calibration"
        )
    return ApertureGrid(square, pixels, wx[inside], wy[inside], (pixel, pixel))


@dataclass(frozen=True)
class OverlapFrequencies:
    """The scan frequencies Q ≠ 0 at which the disks overlap.

    Intensities are real, G(k, −Q) = G*(k, Q), so half of the plane is stored, as a real FFT gives
    it; `mirror` says where the other half goes.

    Attributes
    ----------
    scan_shape : (int, int)
    source : (n,) int64
        Flat index in the (Rx, Ry // 2 + 1) plane of the real FFT.
    conjugate : (n,) bool
        Whether G is the conjugate of what stands there.
    target : (n,) int64
        Flat index in the full (Rx, Ry) plane.
    mirror : (n,) int64
        Flat index of −Q in the full plane, or `NO_MIRROR` if −Q is an entry of its own.
    wx, wy : (n,) float64
        Scattering angles λQ in the detector's frame [rad].
    """

    scan_shape: Shape2D
    source: np.ndarray
    conjugate: np.ndarray
    target: np.ndarray
    mirror: np.ndarray
    wx: np.ndarray
    wy: np.ndarray

    def __len__(self) -> int:
        return len(self.source)


def overlap_frequencies(scan_shape: Shape2D, geometry: Geometry) -> OverlapFrequencies:
    """Return the scan frequencies with 0 < |Q| < 2α/λ, each once.

    The highest frequency of an even number of scan rows has no partner of opposite sign in the
    discrete plane: as fftfreq, it counts as negative, and both halves of that row are entries of
    their own.
    """
    n_rows, n_columns = scan_shape
    half = n_columns // 2 + 1
    rows, columns = np.meshgrid(np.arange(n_rows), np.arange(half), indexing="ij")
    own = [rows.ravel(), columns.ravel(), rows.ravel() * half + columns.ravel()]
    conjugate = np.zeros(rows.size, bool)
    paired = (columns > 0) & (columns <= (n_columns - 1) // 2) & (2 * rows != n_rows)
    mirror = ((-rows % n_rows) * n_columns + (-columns % n_columns)).ravel()
    mirror[~paired.ravel()] = NO_MIRROR
    if n_rows % 2 == 0:
        extra = np.arange(1, (n_columns - 1) // 2 + 1)
        highest = np.full_like(extra, n_rows // 2)
        own = [
            np.r_[own[0], highest],
            np.r_[own[1], n_columns - extra],
            np.r_[own[2], highest * half + extra],
        ]
        conjugate = np.r_[conjugate, np.ones(len(extra), bool)]
        mirror = np.r_[mirror, np.full(len(extra), NO_MIRROR)]
    wx, wy = _detector_frame(scan_shape, geometry, own[0], own[1])
    distance = np.hypot(wx, wy)
    keep = (distance > 0) & (distance < 2e-3 * geometry.semiangle)
    return OverlapFrequencies(
        scan_shape,
        own[2][keep],
        conjugate[keep],
        (own[0] * n_columns + own[1])[keep],
        mirror[keep],
        wx[keep],
        wy[keep],
    )


def _detector_frame(
    scan_shape: Shape2D, geometry: Geometry, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return λQ of FFT rows and columns, rotated and transposed into the detector's frame."""
    fx = np.fft.fftfreq(scan_shape[0], geometry.scan_step[0])[rows] * geometry.wavelength
    fy = np.fft.fftfreq(scan_shape[1], geometry.scan_step[1])[columns] * geometry.wavelength
    cos, sin = math.cos(-geometry.rotation), math.sin(-geometry.rotation)
    wx, wy = fx * cos - fy * sin, fy * cos + fx * sin
    return (wy, wx) if geometry.transpose else (wx, wy)


def _identity_map(shape: Shape2D) -> PixelMap:
    return PixelMap(np.arange(shape[0] * shape[1], dtype=np.int32), shape, shape)
