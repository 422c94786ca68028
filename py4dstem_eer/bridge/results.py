"""Results as py4DSTEM's own classes, with units and pixel sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from emdfile import Array, Metadata, Node
from py4DSTEM.data import DiffractionSlice, RealSlice
from py4DSTEM.datacube import DataCube

from .calibration import copied

_PARAMETERS = "parameters"


def real_slice(
    data: np.ndarray,
    name: str,
    units: str,
    step: tuple[float, float] | None,
    labels: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> RealSlice:
    """Return an image, or a stack of images, over the scan.

    Parameters
    ----------
    data : (Rx, Ry) or (n, Rx, Ry)
    name : str
        Name in the EMD tree.
    units : str
        Unit of the values, e.g. "rad".
    step : (float, float) or None
        Scan step along (row, column) [Å]; None for an uncalibrated scan.
    labels : sequence of str, optional
        Names of the images of a stack.
    parameters : mapping, optional
        How the result was made; kept as metadata "parameters".
    """
    result = RealSlice(data=data, name=name, slicelabels=_labels(labels))
    return _described(result, units, step, "A", ("Rx", "Ry"), parameters)


def diffraction_slice(
    data: np.ndarray,
    name: str,
    units: str,
    pixel: tuple[float, float] | None,
    labels: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    origin: tuple[float, float] = (0.0, 0.0),
) -> DiffractionSlice:
    """Return an image, or a stack of images, over the detector or over scan frequencies.

    Parameters are those of `real_slice`, with `pixel` [Å⁻¹] in the place of `step`, and `origin`,
    the coordinates of the first pixel [Å⁻¹].
    """
    result = DiffractionSlice(data=data, name=name, slicelabels=_labels(labels))
    parameters = {"origin": origin, **(parameters or {})}
    return _described(result, units, pixel, "A^-1", ("Qx", "Qy"), parameters)


def _labels(labels: Sequence[str] | None) -> list[str] | None:
    return None if labels is None else list(labels)


def _described(
    result: Array,
    units: str,
    size: tuple[float, float] | None,
    size_units: str,
    axes: tuple[str, str],
    parameters: Mapping[str, Any] | None,
) -> Any:
    # py4DSTEM's slices ignore the units they are constructed with
    result.units = units
    origin = (parameters or {}).get("origin", (0.0, 0.0))
    for axis in range(2):
        step, unit = (1, "pixels") if size is None else (size[axis], size_units)
        result.set_dim(axis, [origin[axis], origin[axis] + step], units=unit, name=axes[axis])
    calibration = result.calibration
    if size is not None:
        space = "R" if axes[0] == "Rx" else "Q"
        getattr(calibration, f"set_{space}_pixel_size")(size[0])
        getattr(calibration, f"set_{space}_pixel_units")(size_units)
    # stock classes forget units and axes when they are read back: keep them here too
    shown = "pixels" if size is None else size_units
    axes_data = {"units": units, "pixel_size": size, "pixel_units": shown}
    result.metadata = Metadata(name=_PARAMETERS, data={**axes_data, **(parameters or {})})
    return result


def retract(cube: DataCube, owner: str, names: Iterable[str]) -> None:
    """Take earlier results out of a cube's tree.

    Parameters
    ----------
    cube : DataCube
    owner : str
        What the results are named after.
    names : iterable of str
        The rest of their names, after an underscore; results that are not there are no error.
    """
    for name in names:
        stale = cube._branch._dict.get(f"{owner}_{name}")
        if stale is not None:
            stale.cut(root_metadata=False)
            stale.calibration = copied(cube.calibration)  # for whoever holds it


def restore_units(node: Node) -> None:
    """Give units and axes back to the results in a tree that was read from a file."""
    for child in node._branch._dict.values():
        restore_units(child)
    kept = node.metadata.get(_PARAMETERS)
    if not isinstance(node, (RealSlice, DiffractionSlice)) or kept is None:
        return
    parameters = kept._params
    if "units" not in parameters or "pixel_units" not in parameters:
        return
    axes = ("Rx", "Ry") if isinstance(node, RealSlice) else ("Qx", "Qy")
    size = parameters["pixel_size"]
    node.units = parameters["units"]
    origin = parameters.get("origin", (0.0, 0.0))
    for axis in range(2):
        step, unit = (1, "pixels") if size is None else (size[axis], parameters["pixel_units"])
        first = float(origin[axis])
        node.set_dim(axis, [first, first + float(step)], units=unit, name=axes[axis])
