"""What the panel must know of an `EventSSB` that its public results do not tell."""

from __future__ import annotations

import math
from typing import Any

from ..bridge.ssb import EventSSB
from ..errors import ParameterError
from ..methods.bright_field import Disk


def preprocessing(ssb: EventSSB) -> dict[str, Any]:
    """Return the keywords with which `ssb.preprocess` does the same again, measuring nothing.

    Raises
    ------
    ParameterError
        If it was not preprocessed.
    """
    prepared, geometry = _prepared(ssb), ssb.geometry
    row, column = prepared.disk.center
    return {
        "detector_size": prepared.detector_size,
        "center": (float(row), float(column)),
        "bf_radius": float(prepared.disk.radius),
        "force_com_rotation": _degrees(geometry.rotation),
        "force_com_transpose": geometry.transpose,
        "force_scan_sampling": float(geometry.scan_step[0]),
        "force_reciprocal_sampling": float(prepared.camera_pixel),
    }


def reconstruction(ssb: EventSSB) -> dict[str, Any]:
    """Return sidebands and weighting of the last reconstruction, nothing if there was none."""
    done = ssb._results.get("object_phase")
    if done is None:
        return {}
    used = done.metadata["parameters"]
    return {name: used[name] for name in ("sideband", "triple_overlap", "weighting")}


def _degrees(radians: float) -> float:
    """Return the angle that `math.radians` turns into `radians` exactly, if there is one."""
    near = math.degrees(radians)
    candidates = (near, math.nextafter(near, math.inf), math.nextafter(near, -math.inf))
    return next((c for c in candidates if math.radians(c) == radians), near)


def scan_shape(ssb: EventSSB) -> tuple[int, int]:
    """Return (Rx, Ry)."""
    shape: tuple[int, int] = _prepared(ssb).store.runs.scan_shape
    return shape


def datacube(ssb: EventSSB) -> Any:
    """Return the cube that was reconstructed."""
    return ssb._datacube


def device(ssb: EventSSB) -> str:
    """Return the name of the device that `ssb` runs on."""
    return ssb._device


def _prepared(ssb: EventSSB) -> Any:
    if ssb._prepared is None:
        raise ParameterError("call preprocess() first")
    return ssb._prepared


def disk_on_detector(ssb: EventSSB) -> Disk:
    """Return the aperture on the small detector [px of it]."""
    prepared, geometry = _prepared(ssb), ssb.geometry
    radius = geometry.semiangle * 1e-3 / prepared.grid.pixel[0]
    if prepared.detector_size is None:
        return Disk(prepared.disk.center, radius)
    middle = (prepared.detector_size - 1) / 2
    return Disk((middle, middle), radius)
