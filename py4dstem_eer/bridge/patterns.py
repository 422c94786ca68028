"""What the phase methods read from a cube, whether it holds events or a dense array."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from py4DSTEM.datacube import DataCube
from scipy import sparse

from ..detector import DROPPED, PixelMap
from ..device import get_device
from ..errors import ParameterError
from ..events import EventStore
from ..methods import com, reductions
from ..methods.hot_pixels import sample_pattern
from ..progress import track
from .cube import SparseDataCube

#: Scan rows of a dense cube that hot pixels are looked for in.
_SAMPLED_ROWS = 32


class Patterns(Protocol):
    """Diffraction patterns of a scan, reduced on request."""

    scan_shape: tuple[int, int]
    detector_shape: tuple[int, int]

    def pattern_sum(self) -> np.ndarray:
        """Return the sum of all patterns, (Qx, Qy) [electrons]."""

    def sample(self) -> np.ndarray:
        """Return the sum of some patterns, (Qx, Qy) [electrons]; zeros if they are no counts."""

    def centre_of_mass(
        self, mask: np.ndarray | None = None, device: str = "cpu"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the centre of mass (2, Rx, Ry) [px] and the intensity (Rx, Ry) it rests on."""

    def stack(self, pixel_map: PixelMap, pattern_sum: np.ndarray, device: str) -> Any:
        """Return all patterns on a small detector, (Rx * Ry, target pixels), on the device."""


def patterns_of(datacube: Any) -> Patterns:
    """Return the patterns of a sparse or dense cube.

    Raises
    ------
    ParameterError
        If it is neither, or has no scan position.
    """
    if isinstance(datacube, SparseDataCube):
        patterns: Patterns = EventPatterns(datacube.events)
    elif isinstance(datacube, DataCube):
        patterns = DensePatterns(datacube.data)
    else:
        raise ParameterError(
            f"datacube is a {type(datacube).__name__}; give a py4DSTEM DataCube, dense or sparse"
        )
    if 0 in patterns.scan_shape:
        raise ParameterError(f"the scan is empty: its shape is {patterns.scan_shape}")
    return patterns


class EventPatterns:
    """Patterns held as events."""

    def __init__(self, events: EventStore) -> None:
        self.events = events
        self.scan_shape = events.scan_shape
        self.detector_shape = events.detector_shape

    def pattern_sum(self) -> np.ndarray:
        """Return the sum of all patterns, (Qx, Qy) [electrons]."""
        return reductions.pattern_sum(self.events)

    def sample(self) -> np.ndarray:
        """Return the sum of some patterns, (Qx, Qy) [electrons]."""
        return sample_pattern(self.events)

    def centre_of_mass(
        self, mask: np.ndarray | None = None, device: str = "cpu"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the centre of mass (2, Rx, Ry) [px] and the intensity (Rx, Ry) it rests on."""
        return com.centre_of_mass(self.events, mask, device)

    def stack(self, pixel_map: PixelMap, pattern_sum: np.ndarray, device: str) -> Any:
        """Return all patterns on a small detector, (Rx * Ry, target pixels)."""
        expected = int(pattern_sum.ravel()[pixel_map.lut != DROPPED].sum())
        for dtype in (np.uint8, np.uint16, np.uint32):
            stack = reductions.binned_stack(self.events, pixel_map, np.dtype(dtype), device)
            # a target pixel that overflows loses a whole turn: the total tells
            if int(stack.sum(dtype=np.int64)) == expected:
                return stack
        raise ParameterError("a bright-field pixel counts more electrons than 2³² − 1")


class DensePatterns:
    """Patterns held as a dense array, of counts or of any intensities."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data
        self.scan_shape = (data.shape[0], data.shape[1])
        self.detector_shape = (data.shape[2], data.shape[3])

    def pattern_sum(self) -> np.ndarray:
        """Return the sum of all patterns, (Qx, Qy) [electrons]."""
        return np.sum(self.data, axis=(0, 1), dtype=np.float64)

    def sample(self) -> np.ndarray:
        """Return the sum of a few scan rows, (Qx, Qy); zeros if the data are no counts."""
        if self.data.dtype.kind not in "iu":
            return np.zeros(self.detector_shape)
        rows = np.unique(np.linspace(0, self.scan_shape[0] - 1, _SAMPLED_ROWS).astype(int))
        return np.sum([np.sum(self.data[row], axis=0, dtype=np.float64) for row in rows], axis=0)

    def centre_of_mass(
        self, mask: np.ndarray | None = None, device: str = "cpu"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the centre of mass (2, Rx, Ry) [px] and the intensity (Rx, Ry) it rests on."""
        return com.centre_of_mass_dense(self.data, mask)

    def stack(self, pixel_map: PixelMap, pattern_sum: np.ndarray, device: str) -> Any:
        """Return all patterns on a small detector, (Rx * Ry, target pixels)."""
        kept = np.flatnonzero(pixel_map.lut != DROPPED)
        n_target = pixel_map.target_shape[0] * pixel_map.target_shape[1]
        binning = sparse.csr_matrix(
            (np.ones(len(kept), np.float32), (kept, pixel_map.lut[kept])),
            shape=(len(pixel_map.lut), n_target),
        )
        stack = np.empty((*self.scan_shape, n_target), np.float32)
        for rx in track(range(self.scan_shape[0]), "Binning patterns"):
            flat = np.asarray(self.data[rx], np.float32).reshape(self.scan_shape[1], -1)
            if not (np.isfinite(flat).all() and flat.min(initial=0) >= 0):
                raise ParameterError(f"scan row {rx} holds intensities that are negative or NaN")
            stack[rx] = flat @ binning
        return get_device(device).asarray(stack.reshape(-1, n_target))
