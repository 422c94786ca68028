"""Events as a stempy file, version 3, that stempy itself and everything built on it can read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import MemoryBudgetError, ParameterError
from ..events import EventStore
from ..progress import track
from .atomic import atomic_path
from .pattern_blocks import pattern_blocks

VERSION = 3
#: Group of /metadata for what stempy has no place for.
OWN_GROUP = "py4dstem_eer"

# what the file says by its layout, or what described another file
_NOT_KEPT = {"format", "version", "frames_per_position", "keep_flyback"}
# groups of a stempy file that hold nothing but attributes
_OWN_PLACE = ("metadata", "user")
_FRAMES_PER_WRITE = 2**15
_REFERENCE_BYTES = 16
_LARGEST_TABLE = 2**34
# HDF5 keeps no larger attribute in an object header
_LARGEST_ATTRIBUTE = 64_000


def write_stempy(
    path: str | os.PathLike[str],
    events: EventStore,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write events in the layout of stempy 3: a list of pixels for each camera frame.

    A frame has each pixel at most once, so that a position where a pixel has n electrons becomes n
    frames, and every other position as many, most of them empty.

    Parameters
    ----------
    path : path
        Takes the file only once it is whole; until then, what was there stays.
    events : EventStore
        Of any scan and detector shape; a streamed one is read in bounded memory.
    metadata : mapping, optional
        Nested dicts of values and (value, unit) pairs. "metadata" and "user" go to the groups of
        that name, all else to /metadata/py4dstem_eer. Default: those of `events`.

    Raises
    ------
    ParameterError
        If a value of `metadata` cannot be kept in an HDF5 attribute.
    MemoryBudgetError
        If one pixel has so many electrons that the file would consist of empty frames.
    """
    import h5py

    groups = _attribute_groups(events.metadata if metadata is None else metadata)
    frames_per_position = _frames_per_position(events)
    with atomic_path(path) as part, h5py.File(part, "x") as file:
        file.attrs["version"] = VERSION
        frames = _create_tables(file, events, frames_per_position)
        for first, lists in _frame_lists(events, frames_per_position):
            _write_lists(frames, first, lists)
        file.require_group("metadata")
        for group, attributes in groups.items():
            file.require_group(group).attrs.update(attributes)


def _create_tables(file: Any, events: EventStore, frames_per_position: int) -> Any:
    import h5py

    positions = file.create_dataset(
        "electron_events/scan_positions", data=np.arange(events.n_patterns, dtype=np.int64)
    )
    frames = file.create_dataset(
        "electron_events/frames",
        (events.n_patterns * frames_per_position,),
        dtype=h5py.vlen_dtype(np.dtype("<u4")),
    )
    rows, columns = events.scan_shape
    # stempy's Nx is the number of columns of the scan, but of rows of the detector
    positions.attrs.update({"Nx": columns, "Ny": rows})
    frames.attrs.update({"Nx": events.detector_shape[0], "Ny": events.detector_shape[1]})
    return frames


def _write_lists(frames: Any, first: int, lists: np.ndarray) -> None:
    """Write lists from frame `first` on.

    ``frames[a:b] = lists`` would take lists of one event each for one list, and repeat it.
    """
    import h5py

    if len(lists) == 0:
        return
    target = frames.id.get_space()
    target.select_hyperslab((first,), (len(lists),))
    memory = h5py.h5s.create_simple((len(lists),))
    frames.id.write(memory, target, lists.astype(frames.dtype))


def _frames_per_position(events: EventStore) -> int:
    """Return the largest count of any pixel, and at least one."""
    largest = 1
    for _, block in track(events.blocks(), "counting frames"):
        if block.counts is not None and block.counts.size:
            largest = max(largest, int(block.counts.max()))
    table_bytes = _REFERENCE_BYTES * events.n_patterns * largest
    if largest > 1 and table_bytes > _LARGEST_TABLE:
        raise MemoryBudgetError(
            f"a pixel with {largest} electrons would need {largest} frames at each of "
            f"{events.n_patterns} positions, and {table_bytes / 1e9:.0f} GB only to list them; "
            "mask that pixel, or save in another format"
        )
    return largest


def _frame_lists(events: EventStore, frames_per_position: int) -> Iterator[tuple[int, np.ndarray]]:
    """Iterate over (number of the first frame, lists of pixels)."""
    per_write = max(1, _FRAMES_PER_WRITE // frames_per_position)
    for before, block in pattern_blocks(events, "writing events"):
        for first in range(0, block.n_patterns, per_write):
            last = min(first + per_write, block.n_patterns)
            lists = np.empty((last - first, frames_per_position), object)
            for frame in range(frames_per_position):
                lists[:, frame] = _one_frame(block, first, last, frame)
            yield (before + first) * frames_per_position, lists.ravel()


def _one_frame(block: EventStore, first: int, last: int, frame: int) -> np.ndarray:
    """Return the pixels of patterns first to last that have more than `frame` electrons."""
    bounds = block.indptr[first : last + 1]
    pixels = block.indices[bounds[0] : bounds[-1]]
    bounds = bounds - bounds[0]
    if block.counts is not None:
        hit = block.counts[block.indptr[first] : block.indptr[last]] > frame
        pixels, bounds = pixels[hit], np.concatenate(([0], np.cumsum(hit)))[bounds]
    elif frame > 0:
        pixels, bounds = pixels[:0], np.zeros_like(bounds)
    pixels = pixels.astype(np.uint32)
    lists = np.empty(last - first, object)
    for k in range(last - first):
        lists[k] = pixels[bounds[k] : bounds[k + 1]]
    return lists


def _attribute_groups(metadata: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the attributes of each group."""
    groups: dict[str, dict[str, Any]] = {}
    other = {k: v for k, v in metadata.items() if k not in _NOT_KEPT and k not in _OWN_PLACE}
    for place in _OWN_PLACE:
        if isinstance(metadata.get(place), Mapping):
            _collect(groups, place, metadata[place])
        elif place in metadata:
            other[place] = metadata[place]
    if other:
        _collect(groups, f"metadata/{OWN_GROUP}", other)
    return groups


def _collect(groups: dict[str, dict[str, Any]], place: str, tree: Mapping[str, Any]) -> None:
    attributes = groups.setdefault(place, {})
    for name, value in tree.items():
        name = str(name).replace("/", "_")
        if isinstance(value, Mapping):
            _collect(groups, f"{place}/{name}", value)
        elif _is_quantity(value):
            attributes[f"{name} ({value[1]})"] = _attribute(name, value[0])
        elif value is not None:
            attributes[name] = _attribute(name, value)


def _is_quantity(value: Any) -> bool:
    pair = isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str)
    return pair and not isinstance(value[0], str)


def _attribute(name: str, value: Any) -> Any:
    """Return `value` as something that HDF5 keeps in an attribute."""
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    texts = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    array = np.asarray(value, object if texts else None)
    size = sum(len(item) for item in value) if texts else array.nbytes
    if (array.dtype.kind in "OVmM" and not texts) or size > _LARGEST_ATTRIBUTE:
        raise ParameterError(
            f"metadata {name!r} is {type(value).__name__} of {size} bytes, which a stempy file "
            f"cannot keep (numbers and text up to {_LARGEST_ATTRIBUTE} bytes); leave it out: "
            "metadata={...}"
        )
    return list(value) if texts or array.dtype.kind == "U" else array[()]
