"""Sparse cubes in EMD files, such that plain py4DSTEM can open them too.

A cube is written as a stock `Node`: where this package is not imported, its tree loads, its results
are stock classes, and its events are the arrays of its metadata "electron_events". Where the
package is registered, `emd_hook` turns the node back into a cube.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from posixpath import basename
from typing import TYPE_CHECKING, Any

from emdfile import Metadata, Node

from ..event_layout import GROUP_NAME
from ..events import EventStore
from ..readers.emd import group_source, read_store
from ..streams import StreamedEventStore
from ..writers.emd import write_events

if TYPE_CHECKING:
    from .cube import SparseDataCube

_BUNDLE = "metadatabundle"
#: Metadata that the events bring along themselves.
_FROM_EVENTS = ("acquisition",)

_stream: ContextVar[bool] = ContextVar("py4dstem_eer_stream", default=False)


@contextlib.contextmanager
def streaming(stream: bool) -> Iterator[None]:
    """Leave the events of cubes that are read inside this block in their file."""
    token = _stream.set(stream)
    try:
        yield
    finally:
        _stream.reset(token)


def holds_events(group: Any) -> bool:
    """Return whether an HDF5 group is a node written by `write_cube`."""
    return f"{_BUNDLE}/{GROUP_NAME}" in group


def write_cube(cube: SparseDataCube, group: Any) -> Any:
    """Write a cube as a new node in `group`, and return the node's group."""
    written = Node.to_h5(cube, group)
    written.attrs["emd_group_type"] = Node._emd_group_type
    written.attrs["python_class"] = Node.__name__
    bundle = written.require_group(_BUNDLE)
    bundle.attrs["emd_group_type"] = _BUNDLE
    write_events(bundle, cube.events)
    return written


def read_cube(cls: type[SparseDataCube], group: Any) -> SparseDataCube:
    """Read the cube that `write_cube` wrote into `group`."""
    bundle = group[_BUNDLE]
    cube = cls(_read_events(bundle[GROUP_NAME]), name=basename(group.name))
    for name in bundle:
        if name != GROUP_NAME and name not in _FROM_EVENTS:
            cube.metadata = Metadata.from_h5(bundle[name])
    return cube


def _read_events(group: Any) -> EventStore:
    path = Path(group.file.filename).absolute()
    events = StreamedEventStore(group_source(path, group)) if _stream.get() else read_store(group)
    events.files = (path,)
    return events
