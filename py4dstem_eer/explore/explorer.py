"""The state of the interactive panel, without widgets."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..bridge.ssb import EventSSB
from ..errors import ParameterError
from ..methods.ssb import SIDEBANDS
from ..optics import POLAR_ALIASES, POLAR_SYMBOLS

_PERCENTILES = (0.5, 99.5)


class Explorer:
    """Aberrations and sideband that are being tried, and the image that they give.

    Parameters
    ----------
    ssb : EventSSB
        Preprocessed.
    """

    def __init__(self, ssb: EventSSB) -> None:
        self.ssb = ssb
        self.sideband = "both"
        self.aberrations = {"defocus": 0.0}
        #: Duration of the last redraw [s].
        self.seconds = 0.0
        for symbol, value in ssb.polar_parameters.items():
            if value:
                self.set_aberration(symbol, value)

    def set_aberration(self, name: str, value: float) -> None:
        """Set one coefficient [Å, rad]; the others stay."""
        if name not in POLAR_SYMBOLS and name not in POLAR_ALIASES:
            raise ParameterError(f"{name} not a recognized parameter")
        if not np.isfinite(value):
            raise ParameterError(f"{name} is {value}; it must be a finite number")
        name = POLAR_ALIASES.get(name, name) if name != "defocus" else name
        if name == "C10":
            name, value = "defocus", -value
        self.aberrations[name] = float(value)

    def set_sideband(self, sideband: str) -> None:
        """Choose "both", "left" or "right"."""
        if sideband not in SIDEBANDS:
            raise ParameterError(f"sideband is {sideband!r}; it must be one of {SIDEBANDS}")
        self.sideband = sideband

    def redraw(self) -> np.ndarray:
        """Return the phase for the current parameters, (Rx, Ry) [rad]."""
        start = time.perf_counter()
        self.ssb.reconstruct(self.sideband, polar_parameters=self.aberrations)
        self.seconds = time.perf_counter() - start
        return self.ssb.object_phase.data

    def png(self, phase: np.ndarray) -> bytes:
        """Return the phase as a PNG image, contrast between its extreme percentiles."""
        from matplotlib import colormaps, image

        low, high = np.percentile(phase, _PERCENTILES)
        scaled = np.clip((phase - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1)
        buffer = io.BytesIO()
        image.imsave(buffer, colormaps["magma"](scaled), format="png")
        return buffer.getvalue()

    def python_call(self) -> str:
        """Return the Python call that reproduces the image."""
        used: Mapping[str, Any] = {k: v for k, v in self.aberrations.items() if v}
        arguments = [f"sideband={self.sideband!r}"]
        arguments += [f"{name}={value!r}" for name, value in (used or {"defocus": 0.0}).items()]
        return f"ssb.reconstruct({', '.join(arguments)})"
