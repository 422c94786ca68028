"""Write events into an EMD 1.0 file."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from .. import event_layout as layout
from ..event_lists import electrons_per_pattern, index_dtype
from ..event_pieces import pieces
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
    lists = _Lists(group, events)
    row_electrons, largest = [np.zeros(0, np.int64)], 1
    for _, block in track(events.blocks(), "Writing events"):
        for part in pieces(block.indptr, block.indices, block.counts):
            lists.append(*part)
        row_electrons.append(_electrons_per_row(block))
        largest = max(largest, 1 if block.counts is None else int(block.counts.max(initial=1)))
    _item(group, layout.ROW_ELECTRONS, np.concatenate(row_electrons), "array")
    _item(group, layout.LARGEST_COUNT, largest, "number")
    _item(group, layout.CHECKSUMS, lists.checksums, "tuple")


class _Lists:
    """The lists of a group, which grow at their ends."""

    def __init__(self, group: Any, events: EventStore) -> None:
        self._group = group
        self._lengths = _growing(group, layout.LENGTHS, np.uint32)
        n_pixels = events.detector_shape[0] * events.detector_shape[1]
        self._gaps = _growing(group, layout.GAPS, index_dtype(n_pixels))
        self._counts: Any = None
        self.checksums = (0, 0)

    def append(self, indptr: np.ndarray, indices: np.ndarray, counts: np.ndarray | None) -> None:
        gaps = np.empty(len(indices), self._gaps.dtype)
        layout.encode_gaps(indptr, indices, gaps)
        if self._counts is None and counts is not None:
            self._counts = _growing(self._group, layout.COUNTS, np.uint32)
            for start in range(0, len(self._gaps), _CHUNK):
                _append(self._counts, np.ones(min(_CHUNK, len(self._gaps) - start), np.uint8))
        if self._counts is not None:
            _append(self._counts, np.ones(len(gaps), np.uint8) if counts is None else counts)
        _append(self._gaps, gaps)
        _append(self._lengths, np.diff(indptr))
        many = np.zeros(0, np.uint32) if counts is None else counts[counts > 1].astype(np.uint32)
        before = self.checksums
        self.checksums = zlib.crc32(gaps.data, before[0]), zlib.crc32(many.data, before[1])


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
