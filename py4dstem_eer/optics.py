"""Electron optics: wavelength, aberrations, aperture, and the geometry of a scan."""

from __future__ import annotations

import cmath
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from .compiled import scalar_function
from .errors import CalibrationError, ParameterError

#: Polar aberration symbols [Å, rad] in py4DSTEM's order.
POLAR_SYMBOLS = (
    *("C10", "C12", "phi12"),
    *("C21", "phi21", "C23", "phi23"),
    *("C30", "C32", "phi32", "C34", "phi34"),
    *("C41", "phi41", "C43", "phi43", "C45", "phi45"),
    *("C50", "C52", "phi52", "C54", "phi54", "C56", "phi56"),
)

#: Other names of aberrations; `defocus` is minus C10.
POLAR_ALIASES = {
    "defocus": "C10",
    "astigmatism": "C12",
    "astigmatism_angle": "phi12",
    "coma": "C21",
    "coma_angle": "phi21",
    "Cs": "C30",
    "C5": "C50",
}

_ORDERS = tuple((int(s[1]), int(s[2])) for s in POLAR_SYMBOLS if s.startswith("C"))
#: Shape of the table of polynomial coefficients that `chi` evaluates.
CHI_TABLE_SHAPE = (7, 7)

_PLANCK = 6.62607015e-34
_ELECTRON_MASS = 9.1093837015e-31
_ELEMENTARY_CHARGE = 1.602176634e-19
_SPEED_OF_LIGHT = 299792458.0
_LOWEST_ENERGY_EV = 1e3


def parse_energy(energy: float) -> float:
    """Return the beam energy [eV] if it is a plausible one.

    Raises
    ------
    CalibrationError
        If it is missing, not finite, or so small that it must be meant in keV.
    """
    if not _is_finite(energy) or energy <= 0:
        raise CalibrationError(f"energy is {energy!r}; give the beam energy in eV, e.g. 80e3")
    if energy < _LOWEST_ENERGY_EV:
        raise CalibrationError(
            f"energy is {energy:g} eV; it looks like keV, did you mean {energy * 1e3:g}?"
        )
    return float(energy)


def parse_semiangle(semiangle: float) -> float:
    """Return the convergence semi-angle [mrad] if it is a plausible one."""
    if not _is_finite(semiangle) or not 0 < semiangle < 500:
        raise CalibrationError(
            f"semiangle_cutoff is {semiangle!r}; give the convergence semi-angle in mrad, e.g. 25"
        )
    return float(semiangle)


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def wavelength(energy: float) -> float:
    """Return the relativistic electron wavelength [Å] at beam energy `energy` [eV]."""
    joule = parse_energy(energy) * _ELEMENTARY_CHARGE
    rest = _ELECTRON_MASS * _SPEED_OF_LIGHT**2
    return 1e10 * _PLANCK * _SPEED_OF_LIGHT / math.sqrt(joule * (2 * rest + joule))


@dataclass(frozen=True)
class Aberrations:
    """Aberration coefficients in polar form.

    Attributes
    ----------
    polar : mapping of str to float
        The 25 symbols of `POLAR_SYMBOLS`: magnitudes [Å], angles [rad].
    """

    polar: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(POLAR_SYMBOLS, 0.0))

    @classmethod
    def parse(cls, coefficients: Mapping[str, float]) -> Aberrations:
        """Build from symbols or aliases; what is not named is zero.

        Raises
        ------
        ParameterError
            If a name is unknown (the message lists similar ones), one aberration comes under two
            names, or a value is not finite.
        """
        polar = dict.fromkeys(POLAR_SYMBOLS, 0.0)
        given: dict[str, str] = {}
        for name, value in coefficients.items():
            symbol = POLAR_ALIASES.get(name, name)
            if symbol in given:
                raise ParameterError(f"{given[symbol]} and {name} are the same aberration")
            given[symbol] = name
            if symbol not in polar:
                raise ParameterError(_unknown_aberration(name))
            if not _is_finite(value):
                raise ParameterError(f"aberration {name} is {value!r}; it must be a finite number")
            polar[symbol] = -float(value) if name == "defocus" else float(value)
        return cls(polar)

    def chi_table(self, wavelength: float) -> np.ndarray:
        """Return the coefficients with which `chi` evaluates the phase error as a polynomial.

        Each term θ^(m+1) cos n(φ − φ_mn) is |w|^(m+1−n) Re[e^(−i n φ_mn) w^n] with w = θ e^(iφ),
        and m + 1 − n is even: so all 14 aberrations are one polynomial of degree 6 in w's parts.

        Parameters
        ----------
        wavelength : float
            Electron wavelength [Å].

        Returns
        -------
        table : (7, 7) float64
            Coefficient of wx^a wy^b at [a, b] [rad / rad^(a + b)].
        """
        table = np.zeros(CHI_TABLE_SHAPE)
        for m, n in _ORDERS:
            amplitude = 2 * math.pi / wavelength * self.polar[f"C{m}{n}"] / (m + 1)
            angle = n * self.polar.get(f"phi{m}{n}", 0.0)
            table += amplitude * _term(m, n, angle)
        return table


def _term(m: int, n: int, angle: float) -> np.ndarray:
    """Return |w|^(m+1−n) Re[e^(−i angle) w^n] as coefficients of wx^a wy^b."""
    coefficients = np.zeros(CHI_TABLE_SHAPE)
    half = (m + 1 - n) // 2
    for p in range(n + 1):
        turned = (1j**p * math.comb(n, p) * cmath.exp(-1j * angle)).real
        for q in range(half + 1):
            coefficients[m + 1 - p - 2 * q, p + 2 * q] += turned * math.comb(half, q)
    return coefficients


def _unknown_aberration(name: str) -> str:
    close = difflib.get_close_matches(name, [*POLAR_SYMBOLS, *POLAR_ALIASES], n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(POLAR_SYMBOLS)}"
    return f"{name} not a recognized parameter; {hint}"


@scalar_function
def chi(wx, wy, table):
    """Return the aberration phase error χ [rad] at scattering angle (wx, wy) [rad].

    The polynomial of `Aberrations.chi_table`, by Horner's rule.
    """
    total = 0.0
    for step in range(7):
        a = 6 - step
        row = 0.0
        for b in range(6 - a, -1, -1):
            row = row * wy + table[a, b]
        total = total * wx + row
    return total


@dataclass(frozen=True)
class Geometry:
    """How scan, detector and beam relate; everything a phase method must know beside the events.

    Attributes
    ----------
    energy : float
        Beam energy [eV].
    semiangle : float
        Convergence semi-angle [mrad].
    scan_step : (float, float)
        Distance of scan positions along (row, column) [Å].
    rotation : float
        Angle between the scan and the detector [rad].
    transpose : bool
        Whether the detector's rows and columns are swapped against the scan's.
    """

    energy: float
    semiangle: float
    scan_step: tuple[float, float]
    rotation: float = 0.0
    transpose: bool = False

    def __post_init__(self) -> None:
        parse_energy(self.energy)
        parse_semiangle(self.semiangle)
        if not all(_is_finite(s) and s > 0 for s in self.scan_step):
            raise CalibrationError(
                f"the scan step is {self.scan_step} Å; set the real-space pixel size, "
                "e.g. cube.calibration.set_R_pixel_size(0.3), or force_scan_sampling"
            )

    @property
    def wavelength(self) -> float:
        """Electron wavelength [Å]."""
        return wavelength(self.energy)

    @property
    def aperture_radius(self) -> float:
        """Radius of the probe-forming aperture, α/λ [Å⁻¹]."""
        return self.semiangle * 1e-3 / self.wavelength
