"""Electron-event 4D-STEM data as a first-class citizen of py4DSTEM.

Importing this package registers it: `py4DSTEM.import_file` opens event files as a lazy sparse
`DataCube`, and `py4DSTEM.process.phase` gains `EventSSB`, `EventDPC` and `InteractiveSSB`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .events import EventStore
from .memory import set_dense_budget
from .readers import open_events
from .registration import register, unregister

if TYPE_CHECKING:
    from .bridge.cube import SparseDataCube
    from .bridge.dpc import EventDPC
    from .bridge.ssb import EventSSB
    from .explore.panel import InteractiveSSB

__version__ = "0.1.0"

__all__ = [
    "EventDPC",
    "EventSSB",
    "EventStore",
    "InteractiveSSB",
    "SparseDataCube",
    "open_events",
    "register",
    "set_dense_budget",
    "unregister",
]

# these import py4DSTEM, which takes seconds: only when they are used
_LAZY = {
    "SparseDataCube": ".bridge.cube",
    "EventDPC": ".bridge.dpc",
    "EventSSB": ".bridge.ssb",
    "InteractiveSSB": ".explore.panel",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name], __name__), name)
    globals()[name] = value
    return value


register()
