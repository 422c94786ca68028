"""Atoms, and the phase that they give to a fast electron."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft

from ..errors import ParameterError
from ..optics import parse_energy, wavelength
from ..shapes import parse_shape

BOHR_RADIUS = 0.529177210903
"""Bohr radius [Å]."""

_REST_ENERGY_EV = 510998.95
#: Standard deviation of an atom's thermal vibration along one axis [Å].
THERMAL_DISPLACEMENT = 0.10
_ATOMS_PER_PRODUCT = 4096


@dataclass(frozen=True)
class Grid:
    """A periodic image.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns.
    pixel : float
        Side of a pixel [Å].
    """

    shape: tuple[int, int]
    pixel: float

    @classmethod
    def parse(cls, shape: tuple[int, int], pixel: float) -> Grid:
        """Build from what a user gave.

        Raises
        ------
        ParameterError
            If the image is empty, or the pixel has no positive size.
        """
        rows, columns = parse_shape(shape, "shape")
        if rows == 0 or columns == 0:
            raise ParameterError(f"shape is {shape}; the image needs at least one pixel")
        if not (math.isfinite(pixel) and pixel > 0):
            raise ParameterError(f"pixel is {pixel}; give the pixel size in Å, e.g. 0.32")
        return cls((rows, columns), float(pixel))

    @property
    def size(self) -> np.ndarray:
        """Length of the sides (rows, columns) [Å]."""
        return np.array(self.shape) * self.pixel


def scattering_factor(q: np.ndarray, atomic_number: int) -> np.ndarray:
    """Return the Born scattering factor [Å] of a Wentzel-Yukawa atom at frequency `q` [Å⁻¹].

    f(q) = 2 Z / (a₀ (4π²q² + 1/a²)) with the Thomas-Fermi radius a = 0.885 a₀ Z^(−1/3).

    References
    ----------
    .. [1] Kirkland, Advanced Computing in Electron Microscopy, 2nd ed. (Springer 2010), chapter 5
       (Wentzel-Yukawa atom; Born approximation, Eq. 5.16; Thomas-Fermi radius).
    """
    radius = 0.885 * BOHR_RADIUS * atomic_number ** (-1 / 3)
    return 2 * atomic_number / (BOHR_RADIUS * (4 * np.pi**2 * q**2 + 1 / radius**2))


def interaction_strength(energy: float) -> float:
    """Return γλ [Å] with which a scattering factor [Å] turns into a phase [rad Å²].

    Parameters
    ----------
    energy : float
        Beam energy [eV].
    """
    return (1 + parse_energy(energy) / _REST_ENERGY_EV) * wavelength(energy)


def projected_phase(grid: Grid, energy: float, atoms: dict[int, np.ndarray]) -> np.ndarray:
    """Return the phase that atoms give to the electron wave, on a periodic image.

    Every atom is placed exactly, between the pixels too: the structure factor is summed at each
    frequency of the image, as a product of two matrices of plane waves. Frequencies beyond the
    largest circle that the image's sampling holds are left out.

    Parameters
    ----------
    grid : Grid
    energy : float
        Beam energy [eV].
    atoms : mapping of int to (n, 2) float64
        Positions (row, column) [Å] by atomic number.

    Returns
    -------
    phase : (rows, columns) float32 [rad]
    """
    qx = scipy.fft.fftfreq(grid.shape[0], grid.pixel)[:, None]
    qy = scipy.fft.rfftfreq(grid.shape[1], grid.pixel)[None, :]
    q = np.hypot(qx, qy)
    spectrum = np.zeros(q.shape, np.complex128)
    for atomic_number, positions in atoms.items():
        spectrum += scattering_factor(q, atomic_number) * _structure_factor(qx, qy, positions)
    spectrum *= interaction_strength(energy) / grid.pixel**2
    spectrum *= np.exp(-2 * (np.pi * THERMAL_DISPLACEMENT * q) ** 2)
    spectrum[q > 0.5 / grid.pixel] = 0
    return scipy.fft.irfft2(spectrum, s=grid.shape).astype(np.float32)


def _structure_factor(qx: np.ndarray, qy: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return Σ exp(−2πi q·r) over `positions` [Å] at rows qx (m, 1) and columns qy (1, n)."""
    total = np.zeros((qx.shape[0], qy.shape[1]), np.complex128)
    for start in range(0, len(positions), _ATOMS_PER_PRODUCT):
        rows, columns = positions[start : start + _ATOMS_PER_PRODUCT].T
        total += np.exp(-2j * np.pi * qx * rows) @ np.exp(-2j * np.pi * columns[:, None] * qy)
    return total
