"""The overview of a scan as py4DSTEM's slices, in the cube's tree and in one picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from emdfile import Array, Metadata
from py4DSTEM.datacube import VirtualDiffraction

from ..methods.overview import DARK_FIELD_FROM, Overview
from .calibration import scan_step
from .dpc_figures import draw_field, settle
from .figures import draw_image, draw_pattern
from .results import real_slice


def attach_overview(
    cube: Any, found: Overview, force_scan_sampling: float | None = None
) -> dict[str, Array]:
    """Hang mean pattern, bright field, dark field, rings and quadrants in a cube's tree.

    Parameters
    ----------
    cube : DataCube
    found : Overview
    force_scan_sampling : float, optional
        Scan step [Å], instead of the calibration.

    Returns
    -------
    results : dict of str to Array
        `dp_mean` (Qx, Qy) as of `get_dp_mean`; `bright_field`, `dark_field` (Rx, Ry), `rings`
        (n_radii, Rx, Ry) and `quadrants` (4, Rx, Ry) [electrons].
    """
    mean = VirtualDiffraction(data=found.pattern_sum / found.dose.size, name="dp_mean")
    step = scan_step(cube.calibration, force_scan_sampling)
    grid, disk = found.radial.grid, found.disk
    geometry = {
        "center": disk.center,
        "bf_radius": disk.radius,
        "ring_width": grid.bin_width,
        "hot_pixels_left_out": found.n_hot,
        "detector_units": "pixels",
    }
    mean.metadata = Metadata(name="parameters", data=geometry)
    radii = [
        f"{low:.2f}-{high:.2f} px" for low, high in zip(grid.edges, grid.edges[1:], strict=False)
    ]
    stacks = {
        "bright_field": (found.bright_field(), None),
        "dark_field": (found.dark_field(), None),
        "rings": (np.ascontiguousarray(np.moveaxis(found.radial.rings(), 2, 0)), radii),
        "quadrants": (found.radial.sectors(0, disk.radius), ["+x", "+y", "-x", "-y"]),
    }
    results: dict[str, Array] = {"dp_mean": mean}
    for name, (data, labels) in stacks.items():
        parameters = {**geometry, "dark_field_from": DARK_FIELD_FROM * disk.radius}
        results[name] = real_slice(data, name, "electrons", step, labels, parameters)
    for result in results.values():
        cube.attach(result)
    return results


def draw_overview(results: dict[str, Array], found: Overview, dpc: Any) -> Any:
    """Draw mean pattern, bright and dark field, centre of mass, phase and dose; return the figure.

    Parameters
    ----------
    results : dict
        Of `attach_overview`.
    found : Overview
    dpc : EventDPC
        After `reconstruct`.
    """
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(15, 9), layout="constrained")
    axes = figure.subplots(2, 3)
    draw_pattern(axes[0, 0], results["dp_mean"].data, found.disk)
    axes[0, 0].set_title("Mean pattern, bright-field disk")
    draw_image(axes[0, 1], results["bright_field"], "Bright field", cmap="gray")
    draw_image(axes[0, 2], results["dark_field"], "Annular dark field", cmap="gray")
    draw_field(axes[1, 0], dpc.com)
    draw_image(axes[1, 1], dpc.object_phase, "DPC phase")
    draw_image(axes[1, 2], dpc.dose, "Dose", cmap="gray")
    settle(figure)
    return figure
