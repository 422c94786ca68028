"""Figures of `EventDPC`, in py4DSTEM's look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from py4DSTEM.visualize.overlay import add_scalebar
from py4DSTEM.visualize.vis_special import (
    Complex2RGB,
    add_colorbar_arg,
    return_scaled_histogram_ordering,
)

from ..methods.rotation import RelativeRotation, squared_curl

Step = tuple[float, float] | None


def show_phase(
    phase: np.ndarray,
    units: str,
    com: np.ndarray,
    step: Step,
    title: str,
    fig: Any,
    cbar: bool,
    options: Mapping[str, Any],
) -> Any:
    """Draw the phase beside the field as a vector colour map; returns the figure.

    Parameters
    ----------
    phase : (Rx, Ry)
    units : str
        Of the phase.
    com : (2, Rx, Ry)
        Field in the frame of the scan.
    step : (float, float) or None
        Scan step [Å].
    title : str
    fig : Figure or None
    cbar : bool
    options : mapping
        `figsize`, `cmap`, `vmin`, `vmax`; others go to imshow.
    """
    import matplotlib.pyplot as plt

    options = dict(options)
    figsize = options.pop("figsize", (10, 5))
    if fig is None:
        fig = plt.figure(figsize=figsize)
    left, right = fig.subplots(1, 2)
    limits = (options.pop("vmin", None), options.pop("vmax", None))
    image, vmin, vmax = return_scaled_histogram_ordering(phase, *limits)
    options.setdefault("cmap", "magma")
    options.setdefault("extent", _extent(phase.shape, step))
    shown = left.imshow(image, vmin=vmin, vmax=vmax, **options)
    _label(left, "Reconstructed object phase", step)
    _draw_field(right, com, step)
    if cbar:
        fig.colorbar(shown, cax=_beside(left), label=units)
        add_colorbar_arg(_beside(right))
    fig.suptitle(title)
    return fig


def show_fields(fields: Mapping[str, np.ndarray], step: Step) -> Any:
    """Draw the two components of each field (2, Rx, Ry); returns the figure."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(
        len(fields), 2, figsize=(8, 4 * len(fields)), squeeze=False, layout="constrained"
    )
    for row, (name, field) in zip(axes, fields.items(), strict=True):
        for ax, component, axis in zip(row, field, "xy", strict=True):
            ax.imshow(component, cmap="RdBu_r", extent=_extent(component.shape, step))
            _label(ax, f"{name}_{axis}", step)
    return fig


def show_rotation(com: np.ndarray, rotation: RelativeRotation) -> Any:
    """Draw the curl of the field against the rotation angle; returns the figure."""
    import matplotlib.pyplot as plt

    angles = np.arange(-89.0, 91.0)
    curves = np.sqrt(squared_curl(com, angles))
    fig, ax = plt.subplots(figsize=(8, 2), layout="constrained")
    for curve, label in zip(curves, ("CoM", "CoM after transpose"), strict=True):
        ax.plot(angles, curve, label=label)
    ax.axvline(rotation.angle_deg, color="k")
    ax.legend(loc="best")
    ax.set_xlabel("Rotation [degrees]")
    ax.set_ylabel("Root of summed squared curl")
    return fig


def _draw_field(ax: Any, com: np.ndarray, step: Step) -> None:
    ax.imshow(Complex2RGB(com[0] + 1j * com[1]))
    rows, columns = com.shape[1:]
    scale: dict[str, Any] = {"Nx": rows, "Ny": columns, "labelsize": 10, "width": 3}
    if step is not None:
        scale.update(pixelsize=step[1], pixelunits="Å")
    add_scalebar(ax, scale)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title("Centre of mass")


def _extent(shape: tuple[int, ...], step: Step) -> list[float]:
    sx, sy = step or (1.0, 1.0)
    return [0, sy * shape[1], sx * shape[0], 0]


def _label(ax: Any, title: str, step: Step) -> None:
    units = "pixels" if step is None else "A"
    ax.set_ylabel(f"x [{units}]")
    ax.set_xlabel(f"y [{units}]")
    ax.set_title(title)


def _beside(ax: Any) -> Any:
    from mpl_toolkits.axes_grid1 import make_axes_locatable

    return make_axes_locatable(ax).append_axes("right", size="5%", pad="2.5%")
