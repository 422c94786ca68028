"""Messages from the panel in the browser, and the answers to them.

Each message is answered by exactly one reply, also when it cannot be followed: the panel sends the
next one only then, so nothing ever queues up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EventError, ParameterError
from . import pictures, source
from .coefficients import FORMS, HIGHEST_ORDER
from .explorer import TABS, UNITS, Explorer

_log = logging.getLogger(__name__)
_EXPECTED = (EventError, OSError, ImportError, MemoryError)
#: Mistakes of ours or of a library: the log gets the traceback, and the panel stays alive.
_UNEXPECTED = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError),
    *(RuntimeError, TypeError, ValueError),
)
_INTERRUPTED = "interrupted: the image is the one before"


@dataclass
class Reply:
    """An answer: plain values, and named arrays that travel as bytes."""

    content: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def buffers(self) -> list[Any]:
        """The arrays' bytes in the order of their names."""
        return [np.ascontiguousarray(array).data.cast("B") for array in self.arrays.values()]


class Session:
    """One panel: an explorer, and how the panel shows it.

    Parameters
    ----------
    explorer : Explorer or None
    problem : str
        Why there is no explorer.
    target : Path
        Proposed name of the EMD file; the picture's differs in its suffix.
    orders : int
        Highest order of the aberrations that have controls.
    """

    def __init__(
        self,
        explorer: Explorer | None,
        problem: str = "",
        target: Path = Path("interactive_ssb.h5"),
        orders: int = 3,
    ) -> None:
        self.explorer = explorer
        self.problem = problem
        self.target = target
        self.orders = orders
        self.form = FORMS[0]
        self.colormap = pictures.COLORMAPS[0]
        self.n_frames = 0
        self._written: set[Path] = set()
        self._sent_power: np.ndarray | None = None
        self._said = ""

    def answer(self, message: Mapping[str, Any]) -> Reply:
        """Follow a message and return the reply, whatever happens."""
        reply = Reply({"view": message.get("view"), "seq": message.get("seq")})
        start = time.perf_counter()
        try:
            self._follow(message, reply)
        except KeyboardInterrupt:
            reply.content["problem"] = _INTERRUPTED
        except _EXPECTED as error:
            reply.content["problem"] = _one_line(error)
        except _UNEXPECTED as error:
            _log.exception("the panel's message %r failed", message.get("kind"))
            reply.content["problem"] = f"{type(error).__name__}: {_one_line(error)}"
        if "problem" in reply.content and self.explorer is not None:
            reply.content |= self._state(self.explorer)
        reply.content["answer_milliseconds"] = 1e3 * (time.perf_counter() - start)
        return reply

    def _follow(self, message: Mapping[str, Any], reply: Reply) -> None:
        if self.explorer is None:
            raise ParameterError(self.problem)
        self._said = ""
        kind = message.get("kind")
        if kind not in self._ACTIONS:
            raise ParameterError(f"the panel sent {kind!r}, which means nothing")
        self._ACTIONS[kind](self, self.explorer, message)
        self._draw(self.explorer, reply, whole=kind == "ready")
        reply.content["said"] = self._said or _remark(self.explorer, reply.content["sigma"])

    def _change(self, explorer: Explorer, message: Mapping[str, Any]) -> None:
        explorer.change(bool(message.get("commit", True)), **message["changes"])

    def _show(self, explorer: Explorer, message: Mapping[str, Any]) -> None:
        if "tab" in message:
            explorer.open_tab(message["tab"])
        if "low" in message:
            explorer.set_contrast(message["low"], message["high"])
        if "hold" in message:
            explorer.hold_contrast(bool(message["hold"]))
        if "line" in message:
            explorer.set_line(message["line"])
        if "colormap" in message:
            pictures.lookup_table(message["colormap"])
            self.colormap = message["colormap"]
        if "form" in message or "orders" in message:
            form, orders = message.get("form", self.form), message.get("orders", self.orders)
            explorer.controls(orders, form)
            self.form, self.orders = form, orders

    def _pick(self, explorer: Explorer, message: Mapping[str, Any]) -> None:
        explorer.pick(message["slot"], message["row"], message["column"])

    def _save(self, explorer: Explorer, message: Mapping[str, Any]) -> None:
        path = Path(message["path"]).expanduser()
        explorer.save(path, path.absolute() in self._written)
        self._wrote(path)

    def _export(self, explorer: Explorer, message: Mapping[str, Any]) -> None:
        path = Path(message["path"]).expanduser()
        explorer.save_picture(path, self.colormap, path.absolute() in self._written)
        self._wrote(path)

    def _wrote(self, path: Path) -> None:
        self._written.add(path.absolute())
        self._said = f"wrote {path.absolute()}"

    # ruff: noqa: RUF012
    _ACTIONS: Any = {
        "ready": lambda self, explorer, message: None,
        "change": _change,
        "show": _show,
        "pick": _pick,
        "save": _save,
        "export": _export,
        "strongest": lambda self, explorer, message: explorer.pick_strongest(),
        "undo": lambda self, explorer, message: explorer.history.undo(),
        "redo": lambda self, explorer, message: explorer.history.redo(),
        "reset": lambda self, explorer, message: explorer.reset(*message.get("names", ())),
    }

    def _draw(self, explorer: Explorer, reply: Reply, whole: bool) -> None:
        image = explorer.image()
        picture = explorer.picture(image)
        self.n_frames += 1
        reply.arrays["image"] = picture.data
        reply.content |= {"image": self._described(explorer, picture)}
        self._draw_trotters(explorer, reply)
        profile = explorer.profile(image)
        if profile is not None:
            reply.arrays["profile"] = profile.values
            reply.content["profile"] = {"line": explorer.line, "length": profile.length}
        if whole or explorer.power() is not self._sent_power:
            self._draw_spectrum(explorer, reply)
        reply.arrays["colors"] = np.frombuffer(pictures.lookup_table(self.colormap), np.uint8)
        if whole:
            reply.arrays["hues"] = np.frombuffer(pictures.hue_table(), np.uint8)
            reply.content["fixed"] = self._fixed(explorer)
        reply.content |= self._state(explorer)
        reply.content["arrays"] = list(reply.arrays)
        reply.content["sigma"] = float(image.std())

    def _described(self, explorer: Explorer, picture: pictures.Picture) -> dict[str, Any]:
        shape, step = picture.data.shape, explorer.ssb.geometry.scan_step
        fourier = explorer.tab == "FFT"
        pixel = [1 / (n * s) if fourier else s for n, s in zip(shape, step, strict=True)]
        return {
            "shape": shape,
            "low": picture.low,
            "high": picture.high,
            "unit": UNITS[explorer.tab],
            "pixel": pixel,
            "fourier": fourier,
            "aperture": explorer.ssb.geometry.aperture_radius,
        }

    def _draw_trotters(self, explorer: Explorer, reply: Reply) -> None:
        view = explorer.trotters()
        reply.arrays["trotters"] = view.levels
        reply.content["trotters"] = {
            "side": view.levels.shape[1],
            "q": view.q.tolist(),
            "frequencies": view.frequencies.tolist(),
            "spacing": view.spacing.tolist(),
            "flatness": view.flatness.tolist(),
            "center": view.center,
            "radius": view.radius,
        }

    def _draw_spectrum(self, explorer: Explorer, reply: Reply) -> None:
        spectrum = explorer.spectrum()
        self._sent_power = explorer.power()
        reply.arrays["spectrum"] = spectrum.data
        geometry = explorer.ssb.geometry
        shape = source.scan_shape(explorer.ssb)
        field_of_view = [n * s for n, s in zip(shape, geometry.scan_step, strict=True)]
        reply.content["spectrum"] = {
            "shape": spectrum.data.shape,
            "first": spectrum.first,
            "bin": spectrum.bin,
            # radius of the aperture in frequency indices along rows and columns
            "aperture": [geometry.aperture_radius * length for length in field_of_view],
        }

    def _fixed(self, explorer: Explorer) -> dict[str, Any]:
        """Return what does not change while the panel is open."""
        ssb = explorer.ssb
        geometry, shape, dose = ssb.geometry, source.scan_shape(ssb), ssb.dose
        return {
            "tabs": TABS,
            "colormaps": pictures.COLORMAPS,
            "highest_order": HIGHEST_ORDER,
            "target": str(self.target),
            "scan": shape,
            "step": geometry.scan_step,
            "energy": geometry.energy,
            "semiangle": geometry.semiangle,
            "per_pattern": dose.per_pattern,
            "per_area": dose.per_area,
        }

    def _state(self, explorer: Explorer) -> dict[str, Any]:
        """Return where every control stands."""
        settings, history = explorer.settings, explorer.history
        shown = explorer.controls(self.orders, self.form)
        others = {n: getattr(settings, n) for n in ("sideband", "weighting", "triple_overlap")}
        others |= {n: getattr(settings, n) for n in ("rotation", "transpose", "detector_size")}
        return {
            "controls": [asdict(c) | {"value": explorer.value(c.name)} for c in shown],
            "settings": others,
            "form": self.form,
            "orders": self.orders,
            "tab": explorer.tab,
            "contrast": explorer.percentiles[explorer.tab],
            "held": explorer.tab in explorer.held,
            "colormap": self.colormap,
            "can_undo": history.can_undo,
            "can_redo": history.can_redo,
            "milliseconds": 1e3 * explorer.seconds,
            "call": explorer.python_call(),
            "notes": explorer.notes,
        }


def _remark(explorer: Explorer, sigma: float) -> str:
    """Say why there is nothing to see, if there is not."""
    if sigma > 0 or explorer.settings.weighting != "snr":
        return ""
    if explorer.tab == "amplitude":
        return "least squares finds a phase alone; the sum of one sideband shows absorption too"
    return "least squares finds nothing above the noise; the sum shows the noise as well"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__
