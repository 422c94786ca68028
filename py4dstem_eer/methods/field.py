"""What the centre of mass says about the specimen: curl, divergence, electric field.

An electron that passes a projected potential V_p(x, y) = ∫ V dz [V Å] gains the phase σ V_p, and
the mean momentum that it gains across the beam, h · CoM, is h/2π times the phase's gradient:

    2π · CoM = σ ∇V_p = −σ E_p,      E_p = ∫ E dz [V],      E = E_p / thickness [V/Å].

With σ = 2πe / (h v) this is the classical force −eE that acts for the time thickness / v.
"""

from __future__ import annotations

import math

import numpy as np

from ..optics import parse_energy, wavelength
from ..parameters import parse_real

_REST_ENERGY_EV = 510998.95


def interaction_parameter(energy: float) -> float:
    """Return σ, the phase per projected potential [rad / (V Å)], of electrons of `energy` [eV].

    References
    ----------
    .. [1] Kirkland, Advanced Computing in Electron Microscopy, 2nd ed. (2010), Eq. 5.6.
    """
    energy = parse_energy(energy)
    relativistic = (_REST_ENERGY_EV + energy) / (2 * _REST_ENERGY_EV + energy)
    return 2 * math.pi / (wavelength(energy) * energy) * relativistic


def electric_field(com: np.ndarray, energy: float, thickness: float | None = None) -> np.ndarray:
    """Return the electric field that deflects the beam.

    It is the field seen through the probe: convolved with the probe's intensity, and true where the
    specimen is a phase object.

    Parameters
    ----------
    com : (2, Rx, Ry)
        Centre of mass in the frame of the scan, descan removed [Å⁻¹].
    energy : float
        Beam energy [eV].
    thickness : float, optional
        Of the specimen along the beam [Å].

    Returns
    -------
    field : (2, Rx, Ry) float64
        Along scan (row, column): projected through the specimen [V], or its mean [V/Å] with a
        thickness.

    Raises
    ------
    CalibrationError
        If the energy is missing.
    ParameterError
        If the thickness is not a positive number.

    References
    ----------
    .. [1] Müller et al., Nature Communications 5, 5653 (2014), Eq. 3.
    .. [2] Müller-Caspary et al., Ultramicroscopy 178, 62 (2017).
    """
    length = 1.0 if thickness is None else parse_real(thickness, "thickness", above=0, unit="Å")
    scale = -2 * math.pi / (interaction_parameter(energy) * length)
    return scale * np.asarray(com, np.float64)


def curl_and_divergence(
    com: np.ndarray, step: tuple[float, float] = (1.0, 1.0)
) -> tuple[np.ndarray, np.ndarray]:
    """Return ∂x CoM_y − ∂y CoM_x and ∂x CoM_x + ∂y CoM_y; x runs along rows.

    The curl of a phase object's field is noise; 2π times the divergence is the Laplacian of the
    phase, and with Poisson's equation the projected charge density's opposite.

    Parameters
    ----------
    com : (2, Rx, Ry)
        Field [any unit].
    step : (float, float)
        Scan step along (row, column) [any unit].

    Returns
    -------
    curl, divergence : (Rx, Ry) float64
        [unit of the field / unit of the step], by central differences, one-sided at the edges; an
        axis of one position has no slope.
    """
    com = np.asarray(com, np.float64)
    curl = _slope(com[1], step, 0) - _slope(com[0], step, 1)
    return curl, _slope(com[0], step, 0) + _slope(com[1], step, 1)


def _slope(values: np.ndarray, step: tuple[float, float], axis: int) -> np.ndarray:
    if values.shape[axis] < 2:
        return np.zeros_like(values)
    slope: np.ndarray = np.gradient(values, step[axis], axis=axis)
    return slope
