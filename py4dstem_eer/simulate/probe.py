"""The electron probe on the window of the forward model."""

from __future__ import annotations

import numpy as np
import scipy.fft

from ..errors import ParameterError
from ..optics import Aberrations, Geometry, chi

_APERTURE_SUBPIXELS = 8
_LARGEST_PROBE_LOSS = 0.1


def probe_window(geometry: Geometry, aberrations: Aberrations, window: int) -> np.ndarray:
    """Return the probe around the middle of a window, with a total intensity of one.

    The aperture's edge cuts through pixels of the coarse frequency grid; each is as bright as the
    part of its area that lies inside, so that no staircase shows.

    Parameters
    ----------
    geometry : Geometry
    aberrations : Aberrations
    window : int
        Side of the window [scan steps], even.

    Returns
    -------
    probe : (window, window) complex64

    Raises
    ------
    ParameterError
        If the window is odd, or too small for the probe, or the step too large for the aperture.
    """
    if not isinstance(window, (int, np.integer)) or window < 8 or window % 2:
        raise ParameterError(f"window is {window!r}; give an even number of pixels, e.g. 96")
    step = geometry.scan_step[0]
    if geometry.aperture_radius >= 0.5 / step:
        raise ParameterError(
            f"pixels of {step} Å are too large for an aperture of {geometry.semiangle} mrad; "
            f"they must be smaller than {0.5 / geometry.aperture_radius:.3g} Å"
        )
    k = scipy.fft.fftfreq(window, step)
    angle = k * geometry.wavelength
    table = aberrations.chi_table(geometry.wavelength)
    phase_error = chi.py_func(angle[:, None], angle[None, :], table)
    coverage = _disk_coverage(k, 1 / (window * step), geometry.aperture_radius)
    probe = scipy.fft.fftshift(scipy.fft.ifft2(np.sqrt(coverage) * np.exp(-1j * phase_error)))
    probe /= np.linalg.norm(probe)
    _check_fits(probe)
    return probe.astype(np.complex64)


def _disk_coverage(k: np.ndarray, spacing: float, radius: float) -> np.ndarray:
    """Return which part of each frequency pixel (k, k) [Å⁻¹] lies inside the disk."""
    n = _APERTURE_SUBPIXELS
    fine = (k[:, None] + ((np.arange(n) + 0.5) / n - 0.5) * spacing).ravel()
    inside = np.hypot(fine[:, None], fine[None, :]) <= radius
    return inside.reshape(len(k), n, len(k), n).mean(axis=(1, 3))


def _check_fits(probe: np.ndarray) -> None:
    n = len(probe)
    distance = np.hypot(*np.ogrid[-(n // 2) : n - n // 2, -(n // 2) : n - n // 2])
    lost = float((np.abs(probe[distance > 0.45 * n]) ** 2).sum())
    if lost > _LARGEST_PROBE_LOSS:
        raise ParameterError(
            f"{lost:.0%} of the probe reaches the edge of the window of {n} pixels; "
            "use a larger window or smaller aberrations"
        )
