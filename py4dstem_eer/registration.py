"""Make this package a part of py4DSTEM, and take it out again.

It stands outside `bridge`, which imports py4DSTEM before any of its modules: so that, whichever of
them is imported first, none is half done when py4DSTEM's import ends and registration needs it.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_HOST = "py4DSTEM"
_MISSING = object()
#: (module, attribute) -> what stood there before.
_replaced: dict[tuple[str, str], Any] = {}


def register() -> None:
    """Add the event classes and readers to py4DSTEM; a second call changes nothing.

    If py4DSTEM is not imported yet, this happens when it is, so that importing this package, and
    the command line's help, do not have to wait for it.
    """
    if _replaced:
        return
    if _HOST in sys.modules:
        try:
            _install()
        except BaseException:  # Ctrl-C too leaves nothing half done
            unregister()
            raise
    elif not any(isinstance(finder, _RegisterAfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RegisterAfterImport())


def unregister() -> None:
    """Put py4DSTEM back exactly as it was."""
    sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, _RegisterAfterImport)]
    if not _replaced:
        return
    from .bridge import emd_hook

    emd_hook.switch(False)
    for (module, name), original in _replaced.items():
        if original is _MISSING:
            delattr(sys.modules[module], name)
        else:
            setattr(sys.modules[module], name, original)
    _replaced.clear()


def _install() -> None:
    from .bridge import emd_hook, files
    from .bridge.cube import SparseDataCube
    from .bridge.dpc import EventDPC
    from .bridge.ssb import EventSSB
    from .explore.panel import InteractiveSSB

    _put("py4DSTEM", SparseDataCube=SparseDataCube)
    _put(
        "py4DSTEM.process.phase",
        EventSSB=EventSSB,
        EventDPC=EventDPC,
        InteractiveSSB=InteractiveSSB,
    )
    for module in ("py4DSTEM", "py4DSTEM.io"):
        _put(module, import_file=files.import_file, read=files.read, save=files.save)
    emd_hook.switch(True)


def _put(module: str, **attributes: Any) -> None:
    place = importlib.import_module(module)
    for name, value in attributes.items():
        _replaced[module, name] = getattr(place, name, _MISSING)
        setattr(place, name, value)


class _RegisterAfterImport(importlib.abc.MetaPathFinder):
    """Waits for the import of py4DSTEM, registers once it has run, and is gone."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _HOST:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


class _RegisteringLoader(importlib.abc.Loader):
    """Loads a module as its own loader does, and registers afterwards."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        register()
