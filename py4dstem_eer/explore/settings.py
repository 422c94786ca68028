"""What determines the image in the panel, and the way back to what it was before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..bridge.ssb import EventSSB
from ..errors import ParameterError
from ..methods.ssb import SIDEBANDS
from ..optics import POLAR_ALIASES, POLAR_SYMBOLS, Aberrations
from .coefficients import with_value
from .source import preprocessing, reconstruction

WEIGHTINGS = ("sum", "snr")
_DETECTOR_SIZES = range(4, 129)
_DEGREES = 360.0


@dataclass(frozen=True)
class Settings:
    """All that determines the image, beside the data.

    Attributes
    ----------
    polar : mapping of str to float
        All 25 symbols of py4DSTEM [Å, rad].
    sideband, weighting, triple_overlap
        As in `EventSSB.reconstruct`.
    rotation : float
        Between scan and detector [degrees].
    transpose : bool
    detector_size : int or None
        Side of the small detector; None is the camera's own.
    """

    polar: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(POLAR_SYMBOLS, 0.0))
    sideband: str = "both"
    weighting: str = "snr"
    triple_overlap: bool = False
    rotation: float = 0.0
    transpose: bool = False
    detector_size: int | None = 18

    @classmethod
    def of(cls, ssb: EventSSB) -> Settings:
        """Return what a preprocessed `ssb` is set to, as it was reconstructed last, if it was."""
        used = preprocessing(ssb)
        return cls(
            **reconstruction(ssb),
            polar=ssb.polar_parameters,
            rotation=used["force_com_rotation"],
            transpose=used["force_com_transpose"],
            detector_size=used["detector_size"],
        )

    def changed(self, **changes: Any) -> Settings:
        """Return these settings with some of them changed.

        Parameters
        ----------
        **changes
            Attributes of this class but `polar`; and aberrations by any name of py4DSTEM or by
            their cartesian parts, e.g. ``C12a`` [Å, rad]. A single sideband or triple overlaps
            bring the weighting "sum" with them, and "snr" brings both sidebands: it takes all.

        Raises
        ------
        ParameterError
            If a name is unknown, or a value impossible.
        """
        polar, others = dict(self.polar), {}
        for name, value in changes.items():
            if name in _PARSERS:
                others[name] = _PARSERS[name](value)
            else:
                known = name if name == "defocus" else POLAR_ALIASES.get(name, name)
                polar = with_value(polar, known, _finite(name, value))
        Aberrations.parse(polar)
        return replace(self, polar=polar, **_companions(others), **others)

    @property
    def reconstruction(self) -> dict[str, Any]:
        """Keywords of `EventSSB.reconstruct`: the weighting, and those not at their defaults."""
        named: dict[str, Any] = {"weighting": self.weighting}
        for name in ("sideband", "triple_overlap"):
            if getattr(self, name) != getattr(Settings, name):
                named[name] = getattr(self, name)
        defocus = 0.0 - self.polar["C10"]
        # without any aberration, reconstruct would keep those given before
        named["defocus"] = defocus
        named |= {s: v for s, v in self.polar.items() if v and s != "C10"}
        return named

    @property
    def preparation(self) -> dict[str, Any]:
        """Keywords of `EventSSB.preprocess`, which must run again when they change."""
        return {
            "detector_size": self.detector_size,
            "force_com_rotation": self.rotation,
            "force_com_transpose": self.transpose,
        }


def _companions(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must change along with the sidebands or the weighting, if it is not named."""
    single = changes.get("sideband", "both") != "both" or changes.get("triple_overlap", False)
    wanted: dict[str, Any] = {"weighting": "sum"} if single else {}
    if changes.get("weighting") == "snr":
        wanted = {"sideband": "both", "triple_overlap": False}
    return {name: value for name, value in wanted.items() if name not in changes}


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ParameterError(f"{name} is {value!r}; it must be a finite number")
    return float(value)


def _rotation(value: Any) -> float:
    rotation = _finite("rotation", value)
    if abs(rotation) > _DEGREES:
        raise ParameterError(f"rotation is {rotation:g}°; give an angle from −360° to 360°")
    return rotation


def _detector_size(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or value not in _DETECTOR_SIZES:
        raise ParameterError(
            f"detector_size is {value!r}; give a whole number from {_DETECTOR_SIZES[0]} to "
            f"{_DETECTOR_SIZES[-1]}"
        )
    return int(value)


def _one_of(name: str, choices: tuple[Any, ...]) -> Any:
    def parse(value: Any) -> Any:
        if value not in choices:
            raise ParameterError(f"{name} is {value!r}; it must be one of {choices}")
        return value

    return parse


_PARSERS = {
    "sideband": _one_of("sideband", SIDEBANDS),
    "weighting": _one_of("weighting", WEIGHTINGS),
    "triple_overlap": _one_of("triple_overlap", (False, True)),
    "transpose": _one_of("transpose", (False, True)),
    "rotation": _rotation,
    "detector_size": _detector_size,
}


class History:
    """Settings with undo and redo; a drag of a slider is one step.

    Parameters
    ----------
    start : Settings
    """

    def __init__(self, start: Settings) -> None:
        self.start = self.now = start
        self._steady = start
        self._past: list[Settings] = []
        self._future: list[Settings] = []

    def change(self, settings: Settings, commit: bool = True) -> None:
        """Take other settings; without `commit` the change is still under way."""
        self.now = settings
        if commit and settings != self._steady:
            self._past.append(self._steady)
            self._future.clear()
            self._steady = settings

    def refuse(self, last: Settings) -> None:
        """Forget a change that cannot be drawn, and take the settings before it."""
        self.now = self._steady = last
        if self._past and self._past[-1] == last:
            self._past.pop()

    def undo(self) -> None:
        """Go back one step, if there is one."""
        self._step(self._past, self._future)

    def redo(self) -> None:
        """Take back the last `undo`, if there is one."""
        self._step(self._future, self._past)

    def _step(self, source: list[Settings], target: list[Settings]) -> None:
        self.change(self.now)  # what was under way
        if source:
            target.append(self.now)
            self.now = self._steady = source.pop()

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to go back."""
        return bool(self._past) or self.now != self._steady

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone step."""
        return bool(self._future) and self.now == self._steady
