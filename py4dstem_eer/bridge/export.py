"""A cube into a file of any format that can be written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..writers import EMD, check_keeps, load_writer, target_format

if TYPE_CHECKING:
    from .cube import SparseDataCube


def export(
    cube: SparseDataCube,
    path: str | os.PathLike[str],
    format: str | None = None,
    shared: str = "stempy",
) -> str:
    """Write a cube, streaming scan rows, and return the name of the format.

    Parameters are those of `SparseDataCube.export`; `shared` is the format of .h5 files.
    """
    format = target_format(path, format, shared)
    if not cube.events.in_memory:
        check_keeps(path, format, cube.events.files)
    if format == EMD:
        from .files import save

        save(path, cube, mode="o")
    else:
        load_writer(format)(path, cube.events, {**cube.events.metadata, **_calibration(cube)})
    return format


def _calibration(cube: SparseDataCube) -> dict[str, Any]:
    """Return the calibration of a cube in the words of a file's metadata."""
    calibration = cube.calibration
    found: dict[str, Any] = {}
    for space in ("R", "Q"):
        units = getattr(calibration, f"get_{space}_pixel_units")()
        if units != "pixels":
            size = float(getattr(calibration, f"get_{space}_pixel_size")())
            found[f"{space}_pixel_size"] = (size, units)
    rotation = calibration.get_QR_rotation()
    if rotation is not None:
        found["QR_rotation"] = (float(rotation), "rad")
        found["QR_flip"] = bool(calibration.get_QR_flip())
    return found
