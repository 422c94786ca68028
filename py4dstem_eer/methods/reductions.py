"""Sums over events: one pattern per scan, one number per position, a small dense stack.

Every reduction is linear in the counts and runs in O(events), a block of scan rows at a time; how
the rows are split into blocks never changes a result.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..detector import PixelMap
from ..device import Device, Kernel, get_device, kernel
from ..errors import ParameterError
from ..event_lists import electrons_per_pattern
from ..events import EventStore
from ..progress import track
from ..shapes import check_map_fits
from .blocks import filling, has_small_counts, lists_on, parts_of_threads, reduce_patterns
from .scatter import scattered_max, scattered_sum

#: How many electrons a byte counts before it begins again at zero.
_BYTE = 256


@kernel
def _add_patterns(i, bounds, indptr, indices, counts, weights, sums):
    for p in range(bounds[i], bounds[i + 1]):
        weight = weights[p] if len(weights) > 0 else 1
        for e in range(indptr[p], indptr[p + 1]):
            sums[i, indices[e]] += weight * counts[e] if len(counts) > 0 else weight


@kernel
def _tally_patterns(i, bounds, indptr, indices, counts, counted, full, n_full):
    """Count electrons, bytes of them, in bytes, and list the bytes that begin again."""
    n = 0
    first, last = indptr[bounds[i]], indptr[bounds[i + 1]]
    own, own_counts = indices[first:last], counts[first:last]
    for k in range(len(own)):
        index = own[k]
        before = counted[i, index]
        count = np.uint8(before + (own_counts[k] if len(counts) > 0 else np.uint8(1)))
        counted[i, index] = count
        if count < before:
            full[i, n] = index
            n += 1
    n_full[i] = n


@kernel
def _maximise_patterns(i, bounds, indptr, indices, counts, largest):
    for p in range(bounds[i], bounds[i + 1]):
        for e in range(indptr[p], indptr[p + 1]):
            count = counts[e] if len(counts) > 0 else 1
            largest[i, indices[e]] = max(largest[i, indices[e]], count)


@kernel
def _count_events(p, indptr, counts, image):
    total = indptr[p + 1] - indptr[p]
    if len(counts) > 0:
        total = 0
        for count in counts[indptr[p] : indptr[p + 1]]:  # a view, see `event_lists`
            total += np.int64(count)
    image[p] = total


@kernel
def _find_largest(p, indptr, counts, image):
    if len(counts) > 0:
        own = counts[indptr[p] : indptr[p + 1]]
        largest = counts[0] * 0
        for k in range(len(own)):
            largest = max(largest, own[k])
        image[p] = largest
    else:
        image[p] = 1 if indptr[p + 1] > indptr[p] else 0


@kernel
def fill_stack(p, indptr, indices, counts, lut, stack):
    """Count the events of one pattern into the target pixels of a map's `unsigned_lut`."""
    n_target = stack.shape[1]
    first = indptr[p]
    own = indices[first : indptr[p + 1]]
    for k in range(len(own)):
        target = lut[own[k]]
        if target < n_target:
            stack[p, target] += counts[first + k] if len(counts) > 0 else 1


def pattern_sum(
    events: EventStore, weights: np.ndarray | None = None, device: str = "cpu"
) -> np.ndarray:
    """Return the sum of all diffraction patterns, weighted if asked.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    weights : (Rx, Ry), optional
        Factor for every pattern; booleans select patterns.
    device : {"cpu", "gpu"}

    Returns
    -------
    pattern : (Qx, Qy) int64, float64 or complex128
        [electrons]
    """
    where = get_device(device)
    if weights is None:
        total = np.zeros(math.prod(events.detector_shape), np.int64)
        for _, block in track(events.blocks(), "Sum of patterns"):
            total += block_sum(block, where)
        return total.reshape(events.detector_shape)
    weights = _real_space_weights(weights, events.scan_shape)
    dtype = np.result_type(weights.dtype, np.int64)
    total = np.zeros(math.prod(events.detector_shape), dtype)
    for first, block in track(events.blocks(), "Sum of patterns"):
        part = weights[first : first + block.scan_shape[0]].ravel()
        for addend in _weighted_sums(block, part, dtype, where):
            total += addend
    return total.reshape(events.detector_shape)


def pattern_max(events: EventStore, device: str = "cpu") -> np.ndarray:
    """Return the largest count of every detector pixel, (Qx, Qy) uint32 [electrons]."""
    where = get_device(device)
    largest = np.zeros(math.prod(events.detector_shape), np.uint32)
    for _, block in track(events.blocks(), "Maximum of patterns"):
        np.maximum(largest, _block_max(block, where), out=largest)
    return largest.reshape(events.detector_shape)


def electrons_per_position(events: EventStore, device: str = "cpu") -> np.ndarray:
    """Return the number of electrons of every pattern, (Rx, Ry) int64."""
    return _reduce_counts(events, _count_events, np.int64, "Electrons per position", device)


def largest_per_position(events: EventStore, device: str = "cpu") -> np.ndarray:
    """Return the largest count of every pattern, (Rx, Ry) uint32 [electrons]."""
    return _reduce_counts(events, _find_largest, np.uint32, "Maximum per position", device)


def _reduce_counts(
    events: EventStore, reduction: Kernel, dtype: type, title: str, device: str
) -> np.ndarray:
    where = get_device(device)
    image: np.ndarray = np.empty(events.scan_shape, dtype)
    for first, block in track(events.blocks(), title):
        indptr, _, counts = lists_on(block, where)
        with filling(image, first, block, where) as part:
            reduction.launch(where, block.n_patterns, indptr, counts, part)
    return image


def binned_stack(
    events: EventStore, pixel_map: PixelMap, dtype: np.dtype, device: str = "cpu"
) -> np.ndarray:
    """Return all patterns, dense, on the small detector of `pixel_map`.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry)
    pixel_map : PixelMap
        From the detector to the target pixels.
    dtype : dtype
        Of the stack; the caller knows how many electrons a target pixel can hold.
    device : {"cpu", "gpu"}

    Returns
    -------
    stack : (Rx * Ry, target pixels) of `dtype`
        [electrons], on the device
    """
    check_map_fits(pixel_map, events.detector_shape)
    where = get_device(device)
    n_target = pixel_map.target_shape[0] * pixel_map.target_shape[1]
    stack = where.xp.zeros((events.n_patterns, n_target), dtype)
    lut = where.asarray(pixel_map.unsigned_lut)
    columns = events.scan_shape[1]
    for first, block in track(events.blocks(), "Binning events"):
        part = stack[first * columns : first * columns + block.n_patterns]
        fill_stack.launch(where, block.n_patterns, *lists_on(block, where), lut, part)
    return stack


def check_mask(mask: Any, detector_shape: tuple[int, int]) -> None:
    """Raise ParameterError unless `mask` has the shape of the detector and finite numbers."""
    if np.shape(mask) != tuple(detector_shape):
        raise ParameterError(
            f"the mask has shape {np.shape(mask)}, the detector has {tuple(detector_shape)}"
        )
    values = np.asarray(mask)
    if values.dtype.kind not in "biufc" or not np.isfinite(values).all():
        raise ParameterError(f"the mask ({values.dtype}) holds something else than finite numbers")


def _real_space_weights(weights: np.ndarray, scan_shape: tuple[int, int]) -> np.ndarray:
    if np.shape(weights) != tuple(scan_shape):
        raise ParameterError(f"the mask has shape {np.shape(weights)}, the scan has {scan_shape}")
    if np.asarray(weights).dtype == np.bool_:
        return np.asarray(weights).view(np.int8)
    if np.asarray(weights).dtype.kind in "iu":
        return np.asarray(weights, np.int64)
    return np.asarray(weights, np.complex128 if np.iscomplexobj(weights) else np.float64)


def block_sum(block: EventStore, where: Device) -> np.ndarray:
    """Return the sum of a block's patterns, (Qx * Qy,) int64 [electrons]."""
    if where.name == "gpu":
        total = scattered_sum(lists_on(block, where), math.prod(block.detector_shape), None, where)
        return where.asnumpy(total).astype(np.int64)
    if has_small_counts(block):
        return _tallied_sum(block)
    # no pixel can have more than all electrons; half the accumulator stays in the cache
    dtype = np.uint32 if block.n_events <= np.iinfo(np.uint32).max else np.int64
    no_weights = (np.zeros(0, dtype),)
    return reduce_patterns(block, _add_patterns, no_weights, dtype).sum(0, dtype=np.int64)


def _tallied_sum(block: EventStore) -> np.ndarray:
    """Return the sum of patterns with small counts, in bytes that stay in the cache of a core."""
    bounds = parts_of_threads(block)
    n_parts = len(bounds) - 1
    most = int(electrons_per_pattern(block.indptr[bounds], block.counts).max())  # in a part
    counted = np.zeros((n_parts, math.prod(block.detector_shape)), np.uint8)
    full = np.empty((n_parts, most // _BYTE), np.uint32)
    n_full = np.empty(n_parts, np.int64)
    lists = (bounds, *lists_on(block, get_device("cpu")), counted, full, n_full)
    _tally_patterns.on_cpu(n_parts, *lists)
    total = counted.sum(0, dtype=np.int64)
    for part, n in zip(full, n_full, strict=True):
        np.add.at(total, part[:n], _BYTE)
    return total


def _weighted_sums(
    block: EventStore, weights: np.ndarray, dtype: np.dtype, where: Device
) -> np.ndarray:
    """Return the weighted sums of parts of a block, (n, pixels)."""
    if where.name == "gpu":
        n_pixels = math.prod(block.detector_shape)
        total = where.asnumpy(scattered_sum(lists_on(block, where), n_pixels, weights, where))
        return total.astype(dtype)[None]  # whole numbers are exact in its float64
    return reduce_patterns(block, _add_patterns, (weights,), dtype)


def _block_max(block: EventStore, where: Device) -> np.ndarray:
    if where.name == "gpu":
        lists = lists_on(block, where)
        return where.asnumpy(scattered_max(lists, math.prod(block.detector_shape), where))
    return reduce_patterns(block, _maximise_patterns, (), np.uint32).max(0)
