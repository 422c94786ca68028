"""Figures of `EventDPC`, in py4DSTEM's look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from py4DSTEM.data import RealSlice
from py4DSTEM.visualize.vis_special import (
    Complex2RGB,
    add_colorbar_arg,
    return_scaled_histogram_ordering,
)

from ..methods.rotation import RelativeRotation, squared_curl
from .dpc_prepared import Prepared
from .figures import draw_scale_bar, keep_readable

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
    errors: Sequence[float] = (),
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
    errors : sequence of float
        Of each iteration; drawn below the phase if there are any.
    """
    options = dict(options)
    fig = prepare_figure(fig, options.pop("figsize", (13, 8)))
    names = [name for name in _TITLES if name in images]
    grid = fig.add_gridspec(2, 3)
    place = grid[0]
    if errors:
        place, below = grid[0].subgridspec(2, 1, height_ratios=[4, 1], hspace=0.1)
        draw_convergence(fig.add_subplot(below), errors)
    phase = images["object_phase"]
    shown = draw_phase(fig.add_subplot(place), phase.data, step, options)
    if cbar:
        add_colour_bar(shown, phase.units)
    draw_field(fig.add_subplot(grid[1]), images["com"], cbar)
    for n, name in enumerate(names, start=2):
        _draw_image(fig.add_subplot(grid[n]), images[name], name, step, cbar)
    if title:
        fig.suptitle(title)
    settle(fig)
    return fig


def settle(fig: Any) -> None:
    """Lay a figure out, so that the first drawing, which a file gets, has room for all labels."""
    # colour bars beside square images have their places only once the images have theirs
    engine = fig.get_layout_engine() if isinstance(fig, Figure) else None
    if engine is not None:
        engine.execute(fig)
        for ax in fig.axes:
            ax.apply_aspect()


def show_prepared(
    prepared: Prepared, which: str, rotation: bool, options: Mapping[str, Any]
) -> None:
    """Draw what `EventDPC.preprocess` is asked to show.

    Parameters
    ----------
    prepared : Prepared
    which : {"", "default", "all"}
        No field, the corrected one, or the measured and the normalized as well.
    rotation : bool
        Draw the curl against the rotation angle.
    options : mapping
        `figsize`, `cmap`; others go to imshow.
    """
    options = dict(options)
    if rotation:
        figsize = options.get("figsize", (8, 2))
        show_rotation(prepared.normalized, prepared.rotation, figsize)
    fields = {"CoM": prepared.measured, "Normalized CoM": prepared.normalized}
    if which:
        shown = fields if which == "all" else {}
        show_fields({**shown, "Corrected CoM": prepared.corrected}, prepared.step, options)


def show_fields(
    fields: Mapping[str, np.ndarray], step: Step, options: Mapping[str, Any] | None = None
) -> Any:
    """Draw the two components of each field (2, Rx, Ry); returns the figure."""
    options = {"cmap": "RdBu_r", "figsize": (8, 4 * len(fields)), **(options or {})}
    fig = prepare_figure(None, options.pop("figsize"))
    axes = fig.subplots(len(fields), 2, squeeze=False)
    for row, (name, field) in zip(axes, fields.items(), strict=True):
        for ax, component, axis in zip(row, field, "xy", strict=True):
            ax.imshow(component, **{"extent": _extent(component.shape, step), **options})
            _label(ax, f"{name}_{axis}", step)
    return fig


def show_rotation(
    com: np.ndarray, rotation: RelativeRotation, figsize: tuple[float, float] = (8, 2)
) -> Any:
    """Draw the curl of the field against the rotation angle; returns the figure."""
    import matplotlib.pyplot as plt

    angles = np.arange(-89.0, 91.0)
    curves = np.sqrt(squared_curl(com, angles))
    fig, ax = plt.subplots(figsize=figsize, layout="constrained")
    for curve, label in zip(curves, ("CoM", "CoM after transpose"), strict=True):
        ax.plot(angles, curve, label=label)
    ax.axvline(rotation.angle_deg, color="k")
    ax.legend(loc="best")
    ax.set_xlabel("Rotation [degrees]")
    ax.set_ylabel("Root of\nsummed curl²")
    return fig


def prepare_figure(fig: Any, figsize: tuple[float, float]) -> Any:
    """Return the figure to draw on, a new one for None, with a layout."""
    import matplotlib.pyplot as plt

    fig = plt.figure(figsize=figsize) if fig is None else fig
    if isinstance(fig, Figure):  # a part of a figure has no layout of its own
        fig.set_layout_engine("constrained")
    return fig


def draw_phase(
    ax: Any,
    phase: np.ndarray,
    step: Step,
    options: Mapping[str, Any],
    title: str = "Reconstructed object phase",
) -> Any:
    """Draw a phase (Rx, Ry) as py4DSTEM does; returns the image."""
    options = {"cmap": "magma", "extent": _extent(phase.shape, step), **options}
    limits = (options.pop("vmin", None), options.pop("vmax", None))
    image, vmin, vmax = return_scaled_histogram_ordering(phase, *limits)
    shown = ax.imshow(image, vmin=vmin, vmax=vmax, **options)
    _label(ax, title, step)
    return shown


def draw_convergence(ax: Any, errors: Sequence[float]) -> None:
    """Draw the error before each iteration."""
    ax.semilogy(np.arange(len(errors)), errors)
    ax.set_xlabel("Iteration number")
    ax.set_ylabel("NMSE error")
    ax.yaxis.tick_right()


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
        add_colour_bar(shown, image.units)


def draw_field(ax: Any, com: RealSlice, cbar: bool = True) -> None:
    """Draw a field (2, Rx, Ry) as colours: hue is its direction, brightness its magnitude."""
    ax.imshow(Complex2RGB(com.data[0] + 1j * com.data[1]))
    draw_scale_bar(ax, com)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title("Centre of mass")
    keep_readable(ax)
    if cbar:
        add_colorbar_arg(_beside(ax))


def add_colour_bar(shown: Any, units: str) -> None:
    """Draw the colour bar of an image beside it."""
    shown.axes.figure.colorbar(shown, cax=_beside(shown.axes), label=_math(units))


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
    keep_readable(ax)


def _beside(ax: Any) -> Any:
    return ax.inset_axes((1.03, 0.0, 0.05, 1.0))
