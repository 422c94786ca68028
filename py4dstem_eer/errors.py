"""The error types. Each message says what was wrong, the value found, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class EventError(ValueError):
    """Base of all errors that py4dstem_eer raises on wrong input."""


class ParameterError(EventError):
    """A parameter has a value that makes no sense here."""


class MissingOptionError(ParameterError):
    """The file does not say something that only the user knows; the message names the option.

    Parameters
    ----------
    message : str
    needed : mapping, optional
        Options that are needed together, with the values that the file suggests, or ``...``:
        `info` proposes to type them.

    Attributes
    ----------
    facts : mapping
        What the file tells without the option; `info` shows it.
    in_one_column : callable, optional
        Where the shape of the scan is missing: returns the `EventSource` of the patterns, one after
        another, as a scan of one column.
    """

    def __init__(self, message: str = "", needed: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.needed: dict[str, Any] = dict(needed or {})
        self.facts: Mapping[str, Any] = {}
        self.in_one_column: Callable[[], Any] | None = None


class CalibrationError(EventError):
    """A pixel size, unit, energy or angle is missing or impossible."""


class FormatError(EventError):
    """The file is not of a format that can be read."""


class CorruptFileError(EventError):
    """The file is of a known format, but truncated or inconsistent."""


class EventRangeError(EventError):
    """An event lies outside the detector, or an event list breaks its invariants."""


class MemoryBudgetError(EventError):
    """The dense array that was asked for does not fit the memory budget."""


class UnsupportedOperationError(EventError, TypeError):
    """The operation cannot be done on a sparse cube; the message names what to call instead."""


class PluginError(EventError):
    """A package that adds a format does not do what it must."""


class DeviceError(EventError):
    """The device that was asked for is not there."""


class EventWarning(UserWarning):
    """Something about the data is doubtful, and the result is still well defined."""
