"""The figure of `EventSSB`, in py4DSTEM's look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from .figures import draw_image, draw_pattern, draw_trotters

if TYPE_CHECKING:
    from .ssb_results import SSBResults


def draw_ssb(
    ssb: SSBResults, fig: Any = None, cbar: bool = True, options: Mapping[str, Any] | None = None
) -> Any:
    """Draw what `EventSSB` found, two rows of three panels; returns the figure.

    Parameters
    ----------
    ssb : EventSSB
        After `reconstruct`.
    fig : matplotlib Figure or None
        None makes a new one.
    cbar : bool
        Draw colour bars.
    options : mapping, optional
        `figsize`; others go to imshow, for the phase.
    """
    import matplotlib.pyplot as plt

    options = dict(options or {})
    figsize = options.pop("figsize", (14, 8.5))
    fig = plt.figure(figsize=figsize) if fig is None else fig
    if isinstance(fig, Figure):  # a part of a figure has no layout of its own
        fig.set_layout_engine("constrained")
    axes = fig.subplots(2, 3)
    draw_image(axes[0, 0], ssb.object_phase, "SSB phase", cbar=cbar, **options)
    draw_trotters(axes[0, 1], ssb._result("trotters").data)
    draw_pattern(axes[0, 2], ssb._ready().pattern_sum, ssb.disk)
    axes[0, 2].set_title("Mean pattern, bright-field disk")
    _draw_power(axes[1, 0], ssb, cbar)
    _draw_overlap(axes[1, 1], ssb, cbar)
    single = ssb.object_phase.metadata["parameters"]["sideband"] != "both"
    if single:
        draw_image(axes[1, 2], ssb.object_amplitude, "SSB amplitude", cmap="gray", cbar=cbar)
    else:
        dose = ssb.dose
        title = f"Bright field\n{dose.per_pattern:.4g} e⁻/pattern, {dose.per_area:.4g} e⁻/Å²"
        draw_image(axes[1, 2], ssb.bright_field, title, cmap="gray", cbar=cbar)
    return fig


def _draw_power(axis: Any, ssb: SSBResults, cbar: bool) -> None:
    power = ssb.power_spectrum()
    logarithm = np.log10(np.where(power.data > 0, power.data, np.nan))
    low, high = np.nanpercentile(logarithm, (2, 99.9))
    _draw_frequencies(
        axis, ssb, logarithm, (low, high), cbar, "inferno", "log₁₀ Σ|G|² [electrons²]"
    )
    axis.set_title("Power spectrum\n(circle: 2α/λ)")


def _draw_overlap(axis: Any, ssb: SSBResults, cbar: bool) -> None:
    data = ssb.double_overlap.data
    _draw_frequencies(axis, ssb, data, (0, data.max()), cbar, "viridis", "part of the aperture")
    axis.set_title(f"Double overlap\n{ssb.double_overlap_fraction:.1%} of all (k, Q)")


def _draw_frequencies(
    axis: Any,
    ssb: SSBResults,
    image: np.ndarray,
    limits: tuple[float, float],
    cbar: bool,
    cmap: str,
    label: str,
) -> None:
    """Draw an image over scan frequencies, cut to where disks overlap, with the limit 2α/λ."""
    limit = 2 * ssb.geometry.aperture_radius
    steps = ssb.geometry.scan_step
    highest = [0.5 / step for step in steps]
    extent = (-highest[1], highest[1], highest[0], -highest[0])
    shown = axis.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1], extent=extent)
    axis.add_patch(Ellipse((0, 0), 2 * limit, 2 * limit, fill=False, color="w", lw=0.8, ls="--"))
    axis.set_facecolor("k")
    axis.set_xlim(-min(highest[1], 1.1 * limit), min(highest[1], 1.1 * limit))
    axis.set_ylim(min(highest[0], 1.1 * limit), -min(highest[0], 1.1 * limit))
    axis.set_xlabel("scan frequency along columns [Å⁻¹]")
    axis.set_ylabel("along rows [Å⁻¹]")
    if cbar:
        axis.figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.03, label=label)
