"""Figures of `EventDPC`, in py4DSTEM's look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from py4DSTEM.data import RealSlice
from py4DSTEM.visualize.overlay import add_scalebar
from py4DSTEM.visualize.vis_special import (
    Complex2RGB,
    add_colorbar_arg,
    return_scaled_histogram_ordering,
)

from ..methods.rotation import RelativeRotation, squared_curl

Step = tuple[float, float] | None
#: Title, colour map, and whether zero is in the middle of it.
_TITLES = {
    "electric_field": ("Electric field", "inferno", False),
    "divergence": ("Divergence", "RdBu_r", True),
    "curl": ("Curl", "RdBu_r", True),
    "dose": ("Dose", "gray", False),
}


def show_results(
    images: Mapping[str, RealSlice],
    step: Step,
    title: str | None,
    fig: Any,
    cbar: bool,
    options: Mapping[str, Any],
) -> Any:
    """Draw phase, field as a vector colour map, and what follows from it; returns the figure.

    Parameters
    ----------
    images : mapping of str to RealSlice
        `object_phase`, `com`, `curl`, `divergence`; `electric_field` and `dose` if known.
    step : (float, float) or None
        Scan step [Å].
    title : str or None
    fig : Figure or None
    cbar : bool
    options : mapping
        `figsize`, `cmap`, `vmin`, `vmax`; others go to imshow, for the phase.
    """
    import matplotlib.pyplot as plt

    options = dict(options)
    figsize = options.pop("figsize", (13, 8))
    fig = plt.figure(figsize=figsize) if fig is None else fig
    if isinstance(fig, Figure):  # a part of a figure has no layout of its own
        fig.set_layout_engine("constrained")
    names = [name for name in _TITLES if name in images]
    axes = fig.subplots(2, 3).ravel()
    _draw_phase(axes[0], images["object_phase"], step, cbar, options)
    draw_field(axes[1], images["com"].data, step, cbar)
    for ax, name in zip(axes[2:], names, strict=False):
        _draw_image(ax, images[name], name, step, cbar)
    for ax in axes[2 + len(names) :]:
        ax.remove()
    if title:
        fig.suptitle(title)
    settle(fig)
    return fig


def settle(fig: Any) -> None:
    """Lay a figure out, so that the first drawing, which a file gets, has room for all labels."""
    # colour bars beside square images have their places only once the images have theirs
    if isinstance(fig, Figure):
        fig.draw_without_rendering()


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
    ax.set_ylabel("Root of\nsummed curl²")
    return fig


def _draw_phase(ax: Any, phase: RealSlice, step: Step, cbar: bool, options: dict[str, Any]) -> None:
    limits = (options.pop("vmin", None), options.pop("vmax", None))
    image, vmin, vmax = return_scaled_histogram_ordering(phase.data, *limits)
    options.setdefault("cmap", "magma")
    options.setdefault("extent", _extent(phase.data.shape, step))
    shown = ax.imshow(image, vmin=vmin, vmax=vmax, **options)
    _label(ax, "Reconstructed object phase", step)
    if cbar:
        ax.figure.colorbar(shown, cax=_beside(ax), label=_math(phase.units))


def _draw_image(ax: Any, image: RealSlice, name: str, step: Step, cbar: bool) -> None:
    title, cmap, signed = _TITLES[name]
    data = image.data if image.data.ndim == 2 else np.hypot(*image.data)
    low, high = np.percentile(data, (0.5, 99.5))
    if signed:
        low, high = -max(-low, high), max(-low, high)
    extent = _extent(data.shape, step)
    shown = ax.imshow(data, cmap=cmap, vmin=low, vmax=high, extent=extent)
    _label(ax, title, step)
    if cbar:
        ax.figure.colorbar(shown, cax=_beside(ax), label=_math(image.units))


def draw_field(ax: Any, com: np.ndarray, step: Step, cbar: bool = True) -> None:
    """Draw a field (2, Rx, Ry) as colours: hue is its direction, brightness its magnitude."""
    ax.imshow(Complex2RGB(com[0] + 1j * com[1]))
    rows, columns = com.shape[1:]
    scale: dict[str, Any] = {"Nx": rows, "Ny": columns, "labelsize": 10, "width": 3}
    if step is not None:
        scale.update(pixelsize=step[1], pixelunits="Å")
    add_scalebar(ax, scale)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title("Centre of mass")
    if cbar:
        add_colorbar_arg(_beside(ax))


def _math(units: str) -> str:
    return units.replace("A^-1", "Å$^{-1}$").replace("A^-2", "Å$^{-2}$").replace("V/A", "V/Å")


def _extent(shape: tuple[int, ...], step: Step) -> list[float]:
    sx, sy = step or (1.0, 1.0)
    return [0, sy * shape[1], sx * shape[0], 0]


def _label(ax: Any, title: str, step: Step) -> None:
    units = "pixels" if step is None else "A"
    ax.set_ylabel(f"x [{units}]")
    ax.set_xlabel(f"y [{units}]")
    ax.set_title(title)


def _beside(ax: Any) -> Any:
    return ax.inset_axes((1.03, 0.0, 0.05, 1.0))
