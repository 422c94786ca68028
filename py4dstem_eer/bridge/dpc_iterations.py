"""Pictures of how the phase of `EventDPC` came about, iteration by iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ParameterError
from ..parameters import parse_whole
from .dpc_figures import Step, add_colour_bar, draw_convergence, draw_phase, prepare_figure, settle


def parse_grid(grid: str | tuple[int, int] | None, n_stored: int) -> tuple[int, int] | None:
    """Return rows and columns of the iterations that are to be shown, or None for the last alone.

    Parameters
    ----------
    grid : "auto", (int, int) or None
        "auto" is py4DSTEM's choice: two rows, of four columns at most; the last iteration alone if
        there is no other.
    n_stored : int
        How many iterations there are.

    Raises
    ------
    ParameterError
        If there are fewer iterations, or the grid is no such thing.
    """
    if grid is None:
        return None
    if n_stored == 0:
        raise ParameterError(
            f"iterations_grid is {grid!r}, but no iterations are stored: "
            "reconstruct(store_iterations=True)"
        )
    if isinstance(grid, str):
        if grid != "auto":
            raise ParameterError(f'iterations_grid is {grid!r}; it must be "auto" or two numbers')
        return None if n_stored == 1 else (2, min(4, n_stored // 2))
    try:
        rows, columns = grid
    except (TypeError, ValueError) as error:
        raise ParameterError(
            f'iterations_grid is {grid!r}; give "auto", or rows and columns'
        ) from error
    rows, columns = (parse_whole(n, "iterations_grid", at_least=1) for n in (rows, columns))
    if rows * columns > n_stored:
        raise ParameterError(
            f"iterations_grid is {grid!r}, for {rows * columns} images; {n_stored} iterations are "
            "stored"
        )
    return rows, columns


def show_iterations(
    images: Mapping[int, np.ndarray],
    grid: tuple[int, int],
    errors: Sequence[float],
    step: Step,
    units: str,
    fig: Any,
    cbar: bool,
    options: Mapping[str, Any],
) -> Any:
    """Draw stored iterations from the first to the last, evenly spaced, and the errors below.

    Parameters
    ----------
    images : mapping of int to (Rx, Ry)
        Phase after each iteration that was stored, by its number.
    grid : (int, int)
        Rows and columns.
    errors : sequence of float
        Of each iteration; drawn if there are any.
    step : (float, float) or None
        Scan step [Å].
    units : str
        Of the phase.
    fig : Figure or None
    cbar : bool
    options : mapping
        `figsize`, `cmap`, `vmin`, `vmax`; others go to imshow.
    """
    rows, columns = grid
    options = dict(options)
    height = 3 * rows + (1 if errors else 0)
    fig = prepare_figure(fig, options.pop("figsize", (3.6 * columns, height)))
    places = fig.add_gridspec(
        rows + bool(errors), columns, height_ratios=[3] * rows + [1] * bool(errors)
    )
    spaced = np.linspace(0, len(images) - 1, rows * columns).round().astype(int)
    for place, n in zip(places, np.array(list(images))[spaced].tolist(), strict=False):
        title = f"Iter: {n} phase"
        shown = draw_phase(fig.add_subplot(place), images[n], step, options, title)
        if cbar:
            add_colour_bar(shown, units)
    if errors:
        draw_convergence(fig.add_subplot(places[rows, :]), errors)
    settle(fig)
    return fig
