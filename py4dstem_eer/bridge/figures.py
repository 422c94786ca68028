"""Pictures of results, in py4DSTEM's look."""

from __future__ import annotations

from typing import Any

import numpy as np
from emdfile import Array
from matplotlib.colors import LogNorm
from matplotlib.patches import Circle, Rectangle
from py4DSTEM.visualize.vis_special import Complex2RGB

from ..methods.bright_field import Disk

_PERCENTILES = (0.5, 99.5)
#: Below this part of its brightest, a pattern is black.
_DYNAMIC_RANGE = 1e-3
#: The least height of a picture in parts of its width, and the reverse.
_FLATTEST = 1 / 5


def complex_colours(images: np.ndarray) -> np.ndarray:
    """Return complex numbers as py4DSTEM's colours: phase is hue, magnitude lightness, (…, 3)."""
    return np.asarray(Complex2RGB(images, power=1))


def draw_pattern(axis: Any, pattern: np.ndarray, disk: Disk | None = None) -> None:
    """Draw a diffraction pattern on a logarithmic scale, with the disk's rim."""
    high = float(np.percentile(pattern, 99.9)) or 1.0
    low = max(high * _DYNAMIC_RANGE, float(np.percentile(pattern, 1)))
    scale = LogNorm(min(low, 0.5 * high), high, clip=True)
    axis.imshow(pattern, cmap="turbo", norm=scale)
    axis.set_xlabel("detector column [px]")
    axis.set_ylabel("detector row [px]")
    if disk is not None:
        axis.add_patch(Circle(disk.center[::-1], disk.radius, fill=False, color="w", lw=1))


def draw_trotters(axis: Any, images: np.ndarray) -> None:
    """Draw trotters side by side: hue is the phase, brightness the magnitude of each."""
    axis.imshow(Complex2RGB(_tiled(images), power=1))
    axis.set_title(f"G(k, Q) of the {len(images)} strongest Q")
    axis.set_axis_off()


def draw_image(
    axis: Any, image: Array, title: str, cmap: str = "magma", cbar: bool = True, **options: Any
) -> None:
    """Draw an image over the scan with a scale bar, and a colour bar in its units.

    Further options go to imshow.
    """
    low, high = np.percentile(image.data, _PERCENTILES)
    options = {"vmin": low, "vmax": high, **options}
    shown = axis.imshow(image.data, cmap=cmap, **options)
    units = "" if image.units in ("", "1") else f" [{image.units}]"
    axis.set_title(title)
    axis.set_xticks([])
    axis.set_yticks([])
    if cbar:
        axis.figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.03, label=units.strip())
    draw_scale_bar(axis, image)
    keep_readable(axis)


def keep_readable(axis: Any) -> None:
    """Stretch the picture of a scan of few rows or columns, so that something is to be seen."""
    width, height = (abs(end - start) for start, end in (axis.get_xlim(), axis.get_ylim()))
    ratio = height / width
    readable = min(max(ratio, _FLATTEST), 1 / _FLATTEST)
    if readable != ratio:
        axis.set_aspect(readable / ratio)


def draw_scale_bar(axis: Any, image: Array) -> None:
    """Draw a scale bar of a round length, about a fifth of the width of an image or a stack."""
    height, width = image.data.shape[-2:]
    step = float(image.dims[1][1] - image.dims[1][0]) if width > 1 else 1.0
    units = image.dim_units[1]
    length, label = _round_length(step * width / 5, units)
    x, y, thickness = 0.05 * width, 0.93 * height, 0.018 * height
    bar = Rectangle((x, y), length / step, thickness, color="w", ec="k", lw=0.5)
    axis.add_patch(bar)
    text = axis.text(x + length / step / 2, y - 0.01 * height, label, color="w", ha="center")
    text.set_path_effects(_outline())


def _outline() -> list:
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=1.5, foreground="k")]


def _round_length(wanted: float, units: str) -> tuple[float, str]:
    """Return a length of 1, 2 or 5 times a power of ten, and its label."""
    decade = 10.0 ** np.floor(np.log10(wanted))
    length = decade * max(m for m in (1, 2, 5) if m * decade <= wanted * 1.0001)
    if units == "A":
        return length, f"{length / 10:g} nm"
    return length, f"{length:g} {'px' if units == 'pixels' else units}"


def _tiled(images: np.ndarray) -> np.ndarray:
    """Return images side by side in a square, each scaled to its own largest magnitude."""
    side = int(np.ceil(np.sqrt(len(images))))
    height, width = images.shape[1:]
    tiles = np.zeros((side * (height + 1) - 1, side * (width + 1) - 1), complex)
    for j, image in enumerate(images):
        row, column = (height + 1) * (j // side), (width + 1) * (j % side)
        scale = np.abs(image).max() or 1.0
        tiles[row : row + height, column : column + width] = image / scale
    return tiles
