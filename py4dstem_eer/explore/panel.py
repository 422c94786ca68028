"""`InteractiveSSB`: turn the aberration knobs in Jupyter and watch the phase."""

from __future__ import annotations

import functools
import math
from typing import Any

from ..bridge.ssb import EventSSB
from ..errors import EventError
from .explorer import Explorer

UI_INSTALL_LINE = 'python -m pip install "py4dstem-eer[ui]"'

#: Knobs: aberration, label, range on either side of zero, unit.
KNOBS = (
    ("defocus", "defocus", 500.0, "Å"),
    ("C12", "astigmatism", 300.0, "Å"),
    ("phi12", "angle", math.pi / 2, "rad"),
    ("C21", "coma", 1e4, "Å"),
    ("phi21", "angle", math.pi, "rad"),
    ("C23", "3-fold", 1e4, "Å"),
    ("phi23", "angle", math.pi / 3, "rad"),
    ("C30", "spherical", 1e6, "Å"),
)


class InteractiveSSB:
    """Interactive single-sideband ptychography.

    Parameters
    ----------
    datacube_or_ssb : SparseDataCube, DataCube or EventSSB
        A cube is given to `EventSSB` together with the keywords.
    preprocess : dict, optional
        Keywords for `EventSSB.preprocess`, when a cube is given.
    **keywords
        Keywords for `EventSSB`: energy, semiangle_cutoff, ...

    References
    ----------
    .. [1] Pelz et al., IEEE Signal Processing Magazine 39(1), 25 (2022), Fig. 2.
    """

    def __init__(
        self, datacube_or_ssb: Any, preprocess: dict[str, Any] | None = None, **keywords: Any
    ) -> None:
        if isinstance(datacube_or_ssb, EventSSB):
            self.ssb = datacube_or_ssb
        else:
            self.ssb = EventSSB(datacube=datacube_or_ssb, **keywords)
            self.ssb.preprocess(**(preprocess or {}))
        self.explorer = Explorer(self.ssb)

    def show(self) -> Any:
        """Return the panel, which Jupyter displays.

        Raises
        ------
        ImportError
            If ipywidgets is not installed.
        """
        try:
            import ipywidgets as widgets
        except ImportError as error:
            raise ImportError(f"the panel needs ipywidgets: {UI_INSTALL_LINE}") from error
        return _Panel(self.explorer, widgets).layout


class _Panel:
    """Widgets around an `Explorer`."""

    def __init__(self, explorer: Explorer, widgets: Any) -> None:
        self.explorer = explorer
        self.image = widgets.Image(format="png", width=512)
        self.status = widgets.Label()
        self.call = widgets.Text(description="as Python", layout={"width": "512px"})
        self.sideband = widgets.Dropdown(
            options=("both", "left", "right"), value=explorer.sideband, description="sideband"
        )
        self.sideband.observe(self._switched, "value")
        self.knobs = {knob[0]: self._knob(widgets, *knob) for knob in KNOBS}
        left = widgets.VBox([*self.knobs.values(), self.sideband])
        right = widgets.VBox([self.image, self.status, self.call])
        self.layout = widgets.HBox([left, right])
        self._redraw()

    def _knob(self, widgets: Any, name: str, label: str, limit: float, unit: str) -> Any:
        value = self.explorer.aberrations.get(name, 0.0)
        limit = max(limit, 1.5 * abs(value))  # a slider would clamp what the user brought along
        knob = widgets.FloatSlider(
            value=value,
            min=-limit,
            max=limit,
            step=limit / 250,
            description=f"{label} [{unit}]",
            style={"description_width": "110px"},
        )
        knob.observe(functools.partial(self._turned, name), "value")
        return knob

    def _turned(self, name: str, change: Any) -> None:
        self.explorer.set_aberration(name, change["new"])
        self._redraw()

    def _switched(self, change: Any) -> None:
        self.explorer.set_sideband(change["new"])
        self._redraw()

    def _redraw(self) -> None:
        try:
            phase = self.explorer.redraw()
        except EventError as error:
            self.status.value = str(error)  # the panel stays alive
            return
        self.image.value = self.explorer.png(phase)
        self.call.value = self.explorer.python_call()
        self.status.value = f"{1e3 * self.explorer.seconds:.0f} ms"
