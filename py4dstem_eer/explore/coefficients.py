"""The controls for aberrations: names, ranges, and polar against cartesian form."""

from __future__ import annotations

import cmath
import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import ParameterError
from ..optics import POLAR_SYMBOLS, Geometry

#: Turns of phase at the aperture's edge to either side of a slider's middle.
_TURNS = 4
#: No coefficient makes sense beyond so many slider ranges.
_FARTHEST = 1e4
_STEPS_PER_RANGE = 250
#: (m, n) of every aberration: order and symmetry.
ORDERS = tuple((int(s[1]), int(s[2])) for s in POLAR_SYMBOLS if s.startswith("C"))
_NAMES = {
    (1, 0): "defocus",
    (1, 2): "astigmatism",
    (2, 1): "coma",
    (2, 3): "3-fold astig.",
    (3, 0): "spherical",
    (3, 2): "star",
    (3, 4): "4-fold astig.",
    (4, 1): "coma",
    (4, 3): "three-lobe",
    (4, 5): "5-fold astig.",
    (5, 0): "spherical",
    (5, 2): "star",
    (5, 4): "rosette",
    (5, 6): "6-fold astig.",
}
FORMS = ("polar", "cartesian")
HIGHEST_ORDER = max(m for m, _ in ORDERS)


@dataclass(frozen=True)
class Control:
    """One number that can be turned.

    Attributes
    ----------
    name : str
        "defocus", a symbol of py4DSTEM, or a cartesian part such as "C12a".
    label : str
    order : int
    unit : {"Å", "rad"}
    reach : float
        The slider goes from −reach to reach.
    limit : float
        Farthest value that is taken.
    step : float
    """

    name: str
    label: str
    order: int
    unit: str
    reach: float
    limit: float
    step: float


def controls(geometry: Geometry, orders: int = 3, form: str = "polar") -> tuple[Control, ...]:
    """Return the controls for all aberrations up to an order.

    Parameters
    ----------
    geometry : Geometry
        Of it depends what a coefficient does: a slider changes the phase at the aperture's edge by
        four turns to either side.
    orders : int
        Highest order, 1 to 5.
    form : {"polar", "cartesian"}
        Magnitude and angle, or C cos(nφ) and C sin(nφ) under the names "Cmna" and "Cmnb".
    """
    if form not in FORMS:
        raise ParameterError(f"form is {form!r}; it must be one of {FORMS}")
    if isinstance(orders, bool) or orders not in range(1, HIGHEST_ORDER + 1):
        raise ParameterError(f"orders is {orders!r}; give a whole number from 1 to {HIGHEST_ORDER}")
    found: list[Control] = []
    for m, n in ORDERS:
        if m <= orders:
            found += _controls_of(m, n, _reach(m, geometry), form)
    return tuple(found)


def _reach(m: int, geometry: Geometry) -> float:
    """Return the coefficient [Å] that turns the phase at the aperture's edge by `_TURNS`."""
    angle = geometry.semiangle * 1e-3
    return round_up(_TURNS * (m + 1) * geometry.wavelength / angle ** (m + 1))


def round_up(value: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten."""
    decade: float = 10.0 ** math.floor(math.log10(value))
    return next(m * decade for m in (1, 2, 5, 10) if m * decade >= value * (1 - 1e-9))


def _controls_of(m: int, n: int, reach: float, form: str) -> list[Control]:
    symbol, label = f"C{m}{n}", _NAMES[m, n]
    length = ("Å", reach, reach * _FARTHEST, reach / _STEPS_PER_RANGE)
    if n == 0:
        return [Control("defocus" if m == 1 else symbol, label, m, *length)]
    if form == "cartesian":
        return [Control(f"{symbol}{part}", label, m, *length) for part in "ab"]
    half_period = math.pi / n
    angle = ("rad", half_period, 100 * math.pi, half_period / 100)
    return [Control(symbol, label, m, *length), Control(f"phi{m}{n}", "angle", m, *angle)]


def value_of(name: str, polar: Mapping[str, float]) -> float:
    """Return what a control shows.

    Parameters
    ----------
    name : str
        Of a `Control`.
    polar : mapping
        All 25 symbols [Å, rad].
    """
    if name == "defocus":
        return 0.0 - polar["C10"]  # no minus zero
    if name in polar:
        return polar[name]
    symbol, n = _cartesian(name)
    part = cmath.rect(polar[symbol], n * polar["phi" + symbol[1:]])
    return part.real if name.endswith("a") else part.imag


def with_value(polar: Mapping[str, float], name: str, value: float) -> dict[str, float]:
    """Return the coefficients after one control was turned; its cartesian partner stays."""
    changed = dict(polar)
    if name == "defocus":
        changed["C10"] = 0.0 - value
    elif name in polar:
        changed[name] = value
    else:
        symbol, n = _cartesian(name)
        a, b = (value_of(symbol + part, polar) for part in "ab")
        a, b = (value, b) if name.endswith("a") else (a, value)
        changed[symbol] = math.hypot(a, b)
        if a or b:  # without a magnitude the angle stays as it was
            changed["phi" + symbol[1:]] = math.atan2(b, a) / n
    return changed


def _cartesian(name: str) -> tuple[str, int]:
    """Return symbol and symmetry n of a cartesian part."""
    symbol = name[:-1]
    if name[-1:] not in ("a", "b") or symbol not in POLAR_SYMBOLS or symbol[2:] in ("", "0"):
        raise ParameterError(f"{name} not a recognized parameter")
    return symbol, int(symbol[2])
