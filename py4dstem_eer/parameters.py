"""Numbers that users give, checked at the door."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np

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


def parse_whole(value: Any, name: str, *, at_least: int = 0) -> int:
    """Return a whole number in its range, and refuse anything else, True and False included.

    Parameters
    ----------
    value, name
        As `parse_real`.
    at_least : int
        The smallest that is accepted.

    Raises
    ------
    ParameterError
        With the name, the value and the range.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < at_least:
        raise ParameterError(f"{name} is {value!r}; give a whole number, {at_least} or more")
    return int(value)


def parse_flag(value: Any, name: str) -> bool:
    """Return True or False, and refuse anything else, such as text or None.

    Parameters
    ----------
    value, name
        As `parse_real`.

    Raises
    ------
    ParameterError
        With the name and the value.
    """
    if not isinstance(value, (Integral, np.bool_)) or value not in (0, 1):
        raise ParameterError(f"{name} is {value!r}; give True or False")
    return bool(value)


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
