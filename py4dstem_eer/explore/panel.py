"""`InteractiveSSB`: turn the aberration knobs in Jupyter and watch the phase."""

from __future__ import annotations

import functools
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..bridge.ssb import EventSSB
from ..errors import EventError
from .explorer import Explorer
from .session import Session

UI_INSTALL_LINE = 'python -m pip install "py4dstem-eer[ui]"'
_SCRIPTS = ("geometry.js", "controls.js", "image.js", "trotters.js", "panel.js")


class InteractiveSSB:
    """Interactive single-sideband ptychography.

    Parameters
    ----------
    datacube_or_ssb : SparseDataCube, DataCube or EventSSB
        A cube is given to `EventSSB` together with the keywords. An `EventSSB` is preprocessed
        first, where it was not; the panel works on its own copy.
    preprocess : dict, optional
        Keywords for `EventSSB.preprocess`.
    orders : int
        Highest order of aberrations with controls, 1 to 5.
    output : path
        Proposed name for the EMD file with the results.
    **keywords
        Keywords for `EventSSB`: energy, semiangle_cutoff, ...

    Attributes
    ----------
    problem : str
        Why there is nothing to show, e.g. no bright-field disk; the panel says it.

    References
    ----------
    .. [1] Pelz et al., IEEE Signal Processing Magazine 39(1), 25 (2022), Fig. 2.
    """

    def __init__(
        self,
        datacube_or_ssb: Any,
        preprocess: dict[str, Any] | None = None,
        orders: int = 3,
        output: str | Path = "interactive_ssb.h5",
        **keywords: Any,
    ) -> None:
        ssb = datacube_or_ssb
        if not isinstance(ssb, EventSSB):
            ssb = EventSSB(datacube=ssb, **keywords)
        self.problem = ""
        self._explorer: Explorer | None = None
        try:
            if ssb._prepared is None or preprocess is not None:
                ssb.preprocess(**(preprocess or {}))
            self._explorer = Explorer(ssb)
        except EventError as error:
            self.problem = str(error)
        self.session = Session(self._explorer, self.problem, Path(output), orders)
        self._widget: Any = None

    @property
    def explorer(self) -> Explorer:
        """Settings and images of the panel."""
        if self._explorer is None:
            raise EventError(self.problem)
        return self._explorer

    @property
    def ssb(self) -> EventSSB:
        """The reconstruction as the panel shows it."""
        return self.explorer.ssb

    def show(self) -> Any:
        """Return the panel, which Jupyter displays; the same one whenever it is called.

        Raises
        ------
        ImportError
            If anywidget is not installed.
        """
        if self._widget is None:
            self._widget = panel_class()(self.session)
        return self._widget

    def refresh(self) -> None:
        """Draw the panel again, after its `explorer` was changed from Python."""
        if self._widget is not None:
            self._widget.answer({"kind": "ready"})

    def note(self, notes: list[str]) -> None:
        """Let the panel say what is doubtful about the data, as long as nothing else is said."""
        if self._explorer is not None:
            self._explorer.notes = notes

    def close(self) -> None:
        """Take the panel from the page; the results stay."""
        if self._widget is not None:
            self._widget.close()
            self._widget = None


def panel_that_says(problem: str) -> Any:
    """Return a panel without data that says why there are none."""
    return panel_class()(Session(None, problem))


@functools.cache
def panel_class() -> type:
    """Return the widget's class; anywidget is imported when it is first needed."""
    try:
        import anywidget
    except ImportError as error:
        raise ImportError(f"the panel needs anywidget: {UI_INSTALL_LINE}") from error

    class Panel(anywidget.AnyWidget):
        """The panel's end in the kernel: hands messages to a session."""

        _esm = front_end()
        _css = _static("panel.css")

        def __init__(self, session: Session) -> None:
            super().__init__()
            self.session = session
            self.on_msg(self._handle)

        def _handle(self, _widget: Any, message: dict[str, Any], _buffers: Any) -> None:
            self.answer(message)

        def answer(self, message: dict[str, Any]) -> None:
            reply = self.session.answer(message)
            self.send({"kind": "reply", **reply.content}, reply.buffers)

    return Panel


def front_end() -> str:
    """Return the panel's ES module: its scripts, one after another."""
    return "\n".join(_static(name) for name in _SCRIPTS)


def _static(name: str) -> str:
    return (files(__package__) / "static" / name).read_text(encoding="utf-8")
