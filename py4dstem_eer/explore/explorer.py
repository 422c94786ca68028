"""The state of the interactive panel, without widgets: what is tried, and the image it gives."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..bridge.dpc import EventDPC
from ..bridge.results import diffraction_slice, real_slice
from ..bridge.ssb import EventSSB
from ..errors import ParameterError
from ..writers.targets import check_not_read
from . import export, pictures, source
from .coefficients import HIGHEST_ORDER, Control, controls, value_of
from .frequencies import nearest_peak, well_apart
from .pictures import Picture, Profile, SpectrumPicture
from .settings import History, Settings
from .trotter_view import TrotterView, trotter_view

T = TypeVar("T")
N_TROTTERS = 9
#: What the tabs show, and percentiles that suit it.
PERCENTILES = {
    "phase": (0.5, 99.5),
    "amplitude": (0.5, 99.5),
    "FFT": (40.0, 99.95),
    "DPC": (0.5, 99.5),
}
TABS = tuple(PERCENTILES)
UNITS = {"phase": "rad", "amplitude": "1", "FFT": "log₁₀ |F|²", "DPC": "rad"}
TITLES = {
    "phase": "SSB phase",
    "amplitude": "SSB amplitude",
    "FFT": "Power spectrum of the phase",
    "DPC": "DPC phase",
}


class Explorer:
    """Aberrations, sidebands and geometry that are being tried, and the image that they give.

    Parameters
    ----------
    ssb : EventSSB
        Preprocessed. The explorer works on its own copy, which shares the data.
    """

    def __init__(self, ssb: EventSSB) -> None:
        self.ssb = copy.copy(ssb)
        self.history = History(Settings.of(ssb))
        self.tab = "phase"
        self.percentiles = dict(PERCENTILES)
        #: Contrast limits that stay while settings change, by tab.
        self.held: dict[str, tuple[float, float]] = {}
        self.line: tuple[float, float, float, float] | None = None
        self.frequencies: np.ndarray | None = None
        #: Duration of the last redraw [s].
        self.seconds = 0.0
        #: What the data seem to say against the settings, one line each.
        self.notes: list[str] = []
        #: Settings drawn last, and whether `ssb` has been left half way since.
        self._drawn: Settings | None = None
        self._broken = False
        self._prepared_for: Any = self.settings.preparation
        self._power: np.ndarray | None = None
        self._dpc: tuple[Any, np.ndarray] | None = None

    @property
    def settings(self) -> Settings:
        """What determines the image."""
        return self.history.now

    def controls(self, orders: int = 3, form: str = "polar") -> tuple[Control, ...]:
        """Return the controls for aberrations, see `coefficients.controls`."""
        return controls(self.ssb.geometry, orders, form)

    def value(self, name: str) -> float:
        """Return what a control shows [Å, rad]."""
        return value_of(name, self.settings.polar)

    def change(self, commit: bool = True, **changes: Any) -> None:
        """Change settings; see `Settings.changed`.

        Parameters
        ----------
        commit : bool
            False while a slider is dragged, so that all of it is one step to undo.
        **changes

        Raises
        ------
        ParameterError
            If a name is unknown, or a value impossible or beyond its control's limit.
        """
        settings = self.settings.changed(**changes)
        for form in ("polar", "cartesian"):
            for control in self.controls(HIGHEST_ORDER, form):
                if control.name in changes and abs(changes[control.name]) > control.limit:
                    raise ParameterError(
                        f"{control.name} is {changes[control.name]:g} {control.unit}; the panel "
                        f"goes to ±{control.limit:g} {control.unit}"
                    )
        self.history.change(settings, commit)

    def reset(self, *names: str) -> None:
        """Put controls or settings back to what they were at first; without names, all of them."""
        start = self.history.start
        if not names:
            self.history.change(start)
            return
        values = {n: getattr(start, n) if n in _OTHERS else value_of(n, start.polar) for n in names}
        self.history.change(self.settings.changed(**values))

    def redraw(self) -> np.ndarray:
        """Return the phase for the present settings, (Rx, Ry) [rad].

        If that fails or is interrupted, the settings go back to those that were drawn last.
        """
        if self._drawn == self.settings and not self._broken:
            return np.asarray(self.ssb.object_phase.data)
        self._broken = True
        start = time.perf_counter()
        try:
            self._prepare()
            self.ssb.reconstruct(**self.settings.reconstruction)
        except BaseException:  # an interrupted kernel too
            if self._drawn is not None:
                self.history.refuse(self._drawn)
            raise
        self._drawn, self._broken = self.settings, False
        self.seconds = time.perf_counter() - start
        return np.asarray(self.ssb.object_phase.data)

    def _prepare(self) -> None:
        """Gather the overlaps anew where rotation, transpose or detector have changed."""
        wanted = self.settings.preparation
        if self._prepared_for == wanted:
            return
        keywords = source.preprocessing(self.ssb) | wanted
        self._prepared_for = None
        _, self.notes = noted(lambda: self.ssb.preprocess(**keywords))
        self._prepared_for, self._power = wanted, None

    def image(self) -> np.ndarray:
        """Return the image of the tab that is open, (Rx, Ry): rad, 1, or log₁₀ of power."""
        phase = self.redraw()
        if self.tab == "amplitude":
            return np.asarray(self.ssb.object_amplitude.data)
        if self.tab == "FFT":
            return pictures.log_power(phase)
        return self._dpc_phase() if self.tab == "DPC" else phase

    def _dpc_phase(self) -> np.ndarray:
        known = source.preprocessing(self.ssb) | self.settings.preparation
        keywords = {name: known[name] for name in _FOR_DPC}
        if self._dpc is None or self._dpc[0] != keywords:
            self._dpc = (keywords, self._integrate(keywords))
        return self._dpc[1]

    def _integrate(self, keywords: dict[str, Any]) -> np.ndarray:
        method = EventDPC(source.datacube(self.ssb), verbose=False, device=source.device(self.ssb))
        _, self.notes = noted(lambda: method.preprocess(**keywords).reconstruct())
        return np.asarray(method.object_phase.data)

    def open_tab(self, tab: str) -> None:
        """Choose what `image` gives: one of `TABS`."""
        if tab not in TABS:
            raise ParameterError(f"tab is {tab!r}; it must be one of {TABS}")
        self.tab = tab

    def set_contrast(self, low: float, high: float) -> None:
        """Set the percentiles between which the open tab's image is shown."""
        self.percentiles[self.tab] = pictures.parse_percentiles(low, high)
        self.held.pop(self.tab, None)

    def hold_contrast(self, hold: bool) -> None:
        """Keep the open tab's present limits, whatever is changed, or let them follow the image."""
        self.held.pop(self.tab, None)
        if hold:
            self.held[self.tab] = pictures.limits(self.image(), *self.percentiles[self.tab])

    def picture(self, image: np.ndarray) -> Picture:
        """Return an image of the open tab in 256 levels, contrast between its percentiles."""
        between = self.held.get(self.tab) or pictures.limits(image, *self.percentiles[self.tab])
        return pictures.scaled(image, *between)

    def set_line(self, line: Sequence[float] | None) -> None:
        """Set the ends (row, column, row, column) of the profile [px], or take it away."""
        if line is None:
            self.line = None
            return
        if len(line) != 4:
            raise ParameterError(f"the profile's line is {line!r}; give row, column, row, column")
        ends = (float(line[0]), float(line[1]), float(line[2]), float(line[3]))
        pictures.line_profile(self.redraw(), ends)  # refuses what leaves the image
        self.line = ends

    def profile(self, image: np.ndarray) -> Profile | None:
        """Return the image along the line, if there is one; a power spectrum has none."""
        if self.line is None or self.tab == "FFT":
            return None
        return pictures.line_profile(image, self.line)

    def power(self) -> np.ndarray:
        """Return the power of all scan frequencies, Q = 0 in the middle, (Rx, Ry)."""
        if self._power is None:
            self._prepare()
            self._power = np.asarray(self.ssb.power_spectrum().data)
        return self._power

    def spectrum(self) -> SpectrumPicture:
        """Return the power spectrum as a picture."""
        return pictures.spectrum_picture(self.power())

    def pick(self, slot: int, row: float, column: float) -> None:
        """Show the strongest scan frequency near (row, column), signed indices, as trotter `slot`.

        Raises
        ------
        ParameterError
            If there is no such slot, or no disks overlap there.
        """
        chosen = self.chosen()
        if not 0 <= slot < len(chosen):
            raise ParameterError(f"there is no trotter {slot}; there are {len(chosen)}")
        chosen[slot] = nearest_peak(self.power(), row, column)
        self.frequencies = chosen

    def pick_strongest(self) -> None:
        """Show the strongest scan frequencies again."""
        self.frequencies = None

    def chosen(self) -> np.ndarray:
        """Return the scan frequencies whose trotters are shown, (n, 2) signed indices."""
        if self.frequencies is None:
            self.frequencies = well_apart(self.power(), N_TROTTERS)
        return np.array(self.frequencies)

    def trotters(self) -> TrotterView:
        """Return the chosen trotters with the present aberrations undone."""
        self._still_overlapping()
        return trotter_view(self.ssb, self.chosen())

    def _still_overlapping(self) -> None:
        """Choose anew where another geometry has left a chosen frequency without overlaps."""
        middle = np.array(self.power().shape) // 2
        rows, columns = (self.chosen() + middle).T
        if not self.power()[rows, columns].all():
            self.pick_strongest()

    def tab_slice(self, image: np.ndarray) -> Any:
        """Return an image of the open tab as a slice with its units."""
        step = self.ssb.geometry.scan_step
        if self.tab == "FFT":
            pixel = (1 / (image.shape[0] * step[0]), 1 / (image.shape[1] * step[1]))
            return diffraction_slice(image, "power", UNITS["FFT"], pixel)
        return real_slice(image, self.tab, UNITS[self.tab], step)

    def save(self, path: Path, overwrite: bool = False) -> None:
        """Write phase, amplitude and all parameters to an EMD file, see `export.save_results`."""
        self._check_keeps(path)
        self.redraw()
        export.save_results(self.ssb, self.settings, path, overwrite)

    def save_picture(self, path: Path, colormap: str = "magma", overwrite: bool = False) -> None:
        """Write the open tab's image as PNG, see `export.save_picture`."""
        self._check_keeps(path)
        image = self.image()
        picture = self.picture(image)
        between = (picture.low, picture.high)
        shown = self.tab_slice(image)
        export.save_picture(path, shown, TITLES[self.tab], between, colormap, overwrite)

    def _check_keeps(self, path: Path) -> None:
        check_not_read(source.datacube(self.ssb).events.files, [path])

    def python_call(self) -> str:
        """Return the Python expression that gives the same image from the same data, `cube`."""
        return export.python_call(self.ssb, self.settings)


_FOR_DPC = (
    *("force_com_rotation", "force_com_transpose"),
    *("force_scan_sampling", "force_reciprocal_sampling"),
)
_OTHERS = tuple(name for name in Settings.__dataclass_fields__ if name != "polar")


def noted(work: Callable[[], T]) -> tuple[T, list[str]]:
    """Return what `work` does, and the warnings that it gave, one line each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = work()
    texts = [
        " ".join(str(w.message).split()) for w in caught if issubclass(w.category, UserWarning)
    ]
    return result, texts
