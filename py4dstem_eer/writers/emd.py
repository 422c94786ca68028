"""Write events into an EMD 1.0 file."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import event_layout as layout
from ..event_lists import electrons_per_pattern, index_dtype
from ..events import EventStore
from ..progress import track

_CHUNK = 2**17
_FILTERS = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}


def write_events(bundle: Any, events: EventStore) -> None:
    """Write events into a new group of an EMD metadata bundle, streaming scan rows.

    Parameters
    ----------
    bundle : h5py.Group
    events : EventStore
    """
    group = bundle.create_group(layout.GROUP_NAME)
    group.attrs["emd_group_type"] = "metadata"
    group.attrs["python_class"] = "Metadata"
    _item(group, layout.VERSION, layout.LAYOUT_VERSION, "number")
    _item(group, layout.SCAN_SHAPE, events.scan_shape, "tuple")
    _item(group, layout.DETECTOR_SHAPE, events.detector_shape, "tuple")
    text = layout.dump_acquisition(events.metadata).encode()
    _item(group, layout.ACQUISITION, text, "string")
    _write_lists(group, events)


def _item(group: Any, name: str, value: Any, kind: str) -> None:
    group.create_dataset(name, data=value).attrs["type"] = kind.encode()


def _write_lists(group: Any, events: EventStore) -> None:
    n_pixels = events.detector_shape[0] * events.detector_shape[1]
    lengths = _growing(group, layout.LENGTHS, np.uint32)
    gaps = _growing(group, layout.GAPS, index_dtype(n_pixels))
    counts, row_electrons, largest = None, [np.zeros(0, np.int64)], 1
    for _, block in track(events.blocks(), "Writing events"):
        buffer = np.empty(len(block.indices), gaps.dtype)
        layout.encode_gaps(block.indptr, block.indices, buffer)
        if counts is None and block.counts is not None:
            counts = _growing(group, layout.COUNTS, np.uint32)
            _append(counts, np.ones(len(gaps), np.uint8))
        if counts is not None:
            ones = np.ones(len(buffer), np.uint8)
            _append(counts, ones if block.counts is None else block.counts)
        _append(gaps, buffer)
        _append(lengths, np.diff(block.indptr))
        row_electrons.append(_electrons_per_row(block))
        largest = max(largest, 1 if block.counts is None else int(block.counts.max(initial=1)))
    _item(group, layout.ROW_ELECTRONS, np.concatenate(row_electrons), "array")
    _item(group, layout.LARGEST_COUNT, largest, "number")


def _growing(group: Any, name: str, dtype: Any) -> Any:
    dataset = group.create_dataset(
        name, shape=(0,), maxshape=(None,), dtype=dtype, chunks=(_CHUNK,), **_FILTERS
    )
    dataset.attrs["type"] = b"array"
    return dataset


def _append(dataset: Any, values: np.ndarray) -> None:
    start = len(dataset)
    dataset.resize(start + len(values), axis=0)
    dataset[start:] = values


def _electrons_per_row(block: EventStore) -> np.ndarray:
    electrons = electrons_per_pattern(block.indptr, block.counts)
    return electrons.reshape(block.scan_shape).sum(axis=1)
