"""Numbers that users give, checked at the door."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from .errors import EventError, ParameterError


def parse_real(
    value: Any,
    name: str,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    unit: str = "",
    error: type[EventError] = ParameterError,
) -> float:
    """Return a finite number in its range, and refuse anything else, such as text.

    Parameters
    ----------
    value : any
        What the user gave.
    name : str
        What the user calls it.
    at_least, above : float
        The range of the number, with its end or without.
    unit : str
        Of the number, for the message.
    error : type of EventError

    Raises
    ------
    EventError
        Of the type `error`, with the name, the value and the range.
    """
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < at_least or value <= above:
        wanted = _described(at_least, above) + (f" [{unit}]" if unit else "")
        raise error(f"{name} is {_shown(value)}; it must be {wanted}")
    return float(value)


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, Real) else repr(value)


def _described(at_least: float, above: float) -> str:
    if above == 0:
        return "a positive number"
    if above > -math.inf:
        return f"a number above {above:g}"
    if at_least > -math.inf:
        return f"a finite number, {at_least:g} or above"
    return "a finite number"
