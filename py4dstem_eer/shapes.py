"""Shapes of scans and detectors, and indices into scans, checked at the door."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .detector import PixelMap, Shape2D
from .errors import ParameterError

ScanSlices = tuple[slice, slice]


def parse_shape(shape: Any, name: str) -> Shape2D:
    """Return `shape` as two non-negative integers.

    Raises
    ------
    ParameterError
        If it is anything else.
    """
    try:
        first, second = (int(n) for n in shape)
        whole = all(int(n) == n for n in shape)
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or first < 0 or second < 0:
        raise ParameterError(f"{name} is {shape!r}; give two whole numbers (rows, columns)")
    return first, second


def folded_shape(n_patterns: int, scan_shape: Any) -> Shape2D:
    """Return `scan_shape` as two integers.

    Raises
    ------
    ParameterError
        If it is not the shape of a scan of so many patterns.
    """
    shape = parse_shape(scan_shape, "scan_shape")
    if math.prod(shape) != n_patterns:
        raise ParameterError(f"{n_patterns} patterns do not fill a scan of {shape}")
    return shape


def check_chosen(rows: np.ndarray, columns: np.ndarray, scan_shape: Shape2D) -> None:
    """Raise IndexError unless there are such scan rows and columns; negative numbers are none."""
    axes = zip(("rows", "columns"), (rows, columns), scan_shape, strict=True)
    for name, chosen, length in axes:
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < length:
            raise IndexError(f"scan {name} {chosen.min()} to {chosen.max()} are chosen of {length}")


def parse_scan_slices(key: Any, scan_shape: Shape2D) -> ScanSlices:
    """Return an index of the scan as two slices; an integer becomes a slice of length one."""
    parts = key if isinstance(key, tuple) else (key,)
    if len(parts) > 2:
        raise ParameterError(f"a scan has two axes, got {len(parts)} indices: {key!r}")
    parts = (*parts, *(slice(None),) * (2 - len(parts)))
    return as_slice(parts[0], scan_shape[0]), as_slice(parts[1], scan_shape[1])


def as_slice(part: Any, length: int) -> slice:
    """Return an index of one scan axis as a slice; an integer becomes a slice of length one."""
    if isinstance(part, slice):
        return part
    if not isinstance(part, (int, np.integer)):
        raise ParameterError(f"index the scan with integers or slices, not {part!r}")
    if not -length <= part < length:
        raise IndexError(f"scan index {part} is out of range for {length} positions")
    start = int(part) % length
    return slice(start, start + 1)


def check_map_fits(pixel_map: PixelMap, detector_shape: Shape2D) -> None:
    """Raise ParameterError unless the map is for a detector of this shape."""
    if pixel_map.source_shape != tuple(detector_shape):
        raise ParameterError(
            f"the map is for a detector of {pixel_map.source_shape}, this one is {detector_shape}"
        )
