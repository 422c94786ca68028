"""Events inside an HDF5 group: the layout that EMD files of ours share between reader and writer.

The group is an EMD 1.0 metadata group, so that every EMD reader shows its items as plain arrays:

==================== ====================================================================
scan_shape           (Rx, Ry)
detector_shape       (Qx, Qy)
entries_per_pattern  (Rx * Ry,) stored pixels of every pattern, in scan order
pixel_gaps           flat detector indices; in each pattern the first is the index itself, the
                     others are the distance from the one before (their running sum decodes them)
counts               electrons of every stored pixel; absent if each is one
electrons_per_row    (Rx,) electrons of every scan row
largest_count        largest of `counts`; 1 if there are none
checksums            CRC-32 of `pixel_gaps` and of those `counts` that are above one, as uint32:
                     they tell a file that was written again; absent in earlier files
acquisition_json     what the original file said beside the events
layout_version       1
==================== ====================================================================

Gaps are small numbers: byte-shuffled and deflated they take about half of what indices take.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from .device import kernel

GROUP_NAME = "electron_events"
LAYOUT_VERSION = 1
SCAN_SHAPE, DETECTOR_SHAPE, VERSION = "scan_shape", "detector_shape", "layout_version"
LENGTHS, GAPS, COUNTS = "entries_per_pattern", "pixel_gaps", "counts"
ACQUISITION = "acquisition_json"
ROW_ELECTRONS, LARGEST_COUNT = "electrons_per_row", "largest_count"
CHECKSUMS = "checksums"


def encode_gaps(indptr: np.ndarray, indices: np.ndarray, gaps: np.ndarray) -> None:
    """Write the distances between the sorted indices of every pattern into `gaps`."""
    _encode_pattern.on_cpu(len(indptr) - 1, indptr, indices, gaps)


def decode_gaps(indptr: np.ndarray, gaps: np.ndarray, indices: np.ndarray) -> int:
    """Undo `encode_gaps`; return the largest sum met, which tells damaged data.

    A pixel that comes twice in a pattern is damage too, and counts as a sum beyond any detector.
    """
    largest = np.zeros(len(indptr) - 1, np.int64)
    _decode_pattern.on_cpu(len(largest), indptr, gaps, indices, largest)
    return int(largest.max(initial=0))


@kernel
def _encode_pattern(p, indptr, indices, gaps):
    previous = 0
    for e in range(indptr[p], indptr[p + 1]):
        gaps[e] = indices[e] - previous
        previous = indices[e]


@kernel
def _decode_pattern(p, indptr, gaps, indices, largest):
    index, repeated = np.int64(0), False
    for e in range(indptr[p], indptr[p + 1]):
        repeated |= gaps[e] == 0 and e > indptr[p]
        index += gaps[e]
        indices[e] = index
    largest[p] = np.iinfo(np.int64).max if repeated else index


def dump_acquisition(metadata: Mapping[str, Any]) -> str:
    """Return metadata as JSON; what JSON does not know becomes text."""
    return json.dumps(dict(metadata), default=_jsonable)


def load_acquisition(text: str) -> dict[str, Any]:
    """Undo `dump_acquisition`: [value, "unit"] lists become tuples again."""
    return json.loads(text, object_hook=lambda items: {k: _paired(v) for k, v in items.items()})


def time_text(value: Any) -> str:
    """Return a date, a time or a duration as ISO 8601 has it, durations with NumPy's unit."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.ndarray):  # of times, tolist gives numbers without a unit
        return value.astype(str).tolist() if value.dtype.kind in "mM" else value.tolist()
    if isinstance(value, (np.datetime64, np.timedelta64, datetime.date)):
        return time_text(value)
    if isinstance(value, np.generic):
        return value.item()
    return dict(value) if isinstance(value, Mapping) else str(value)


def _paired(value: Any) -> Any:
    is_pair = isinstance(value, list) and len(value) == 2 and isinstance(value[1], str)
    if not is_pair or isinstance(value[0], str):  # a list of two words is no quantity
        return value
    quantity = tuple(value[0]) if isinstance(value[0], list) else value[0]
    return quantity, value[1]
