"""Coordinate maps of the detector: crop, bin, centre, rotate and mask as one lookup table.

Events carry pixel coordinates, so every one of these operations is a relabelling of pixels: exact,
without interpolation, and Poisson statistics stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .errors import ParameterError

Shape2D = tuple[int, int]

#: Marks a pixel whose events are dropped.
DROPPED = -1


@dataclass(frozen=True, eq=False)
class PixelMap:
    """Where each detector pixel goes.

    Attributes
    ----------
    lut : (Qx * Qy,) int32
        Flat index in the target for each flat index of the source, or `DROPPED`.
    source_shape, target_shape : (int, int)
        Detector shapes (rows, columns).
    """

    lut: np.ndarray
    source_shape: Shape2D
    target_shape: Shape2D

    @classmethod
    def from_coordinates(
        cls, rows: np.ndarray, columns: np.ndarray, target_shape: Shape2D
    ) -> PixelMap:
        """Build from the target (row, column) of every source pixel; outside is dropped.

        Parameters
        ----------
        rows, columns : broadcastable to (Qx, Qy), int
        target_shape : (int, int)
        """
        rows, columns = np.broadcast_arrays(rows, columns)
        inside = (rows >= 0) & (rows < target_shape[0])
        inside &= (columns >= 0) & (columns < target_shape[1])
        flat = np.where(inside, rows * target_shape[1] + columns, DROPPED)
        return cls(flat.astype(np.int32).ravel(), (rows.shape[0], rows.shape[1]), target_shape)

    @cached_property
    def keeps_order(self) -> bool:
        """Whether kept pixels stay in order and none coincide, so that mapped lists stay sorted."""
        kept = self.lut[self.lut != DROPPED]
        return bool(np.all(kept[1:] > kept[:-1]))

    @cached_property
    def unsigned_lut(self) -> np.ndarray:
        """The table with one more target pixel, the last, for what is dropped, (Qx * Qy,).

        In the smallest dtype: half the table, and no branch, in the loops over events.
        """
        n_target = self.target_shape[0] * self.target_shape[1]
        dtype = np.uint16 if n_target < 2**16 else np.uint32
        return np.where(self.lut == DROPPED, n_target, self.lut).astype(dtype)

    @cached_property
    def short_lut(self) -> tuple[np.ndarray, np.uint64]:
        """The shortest table for pixels counted in groups, and the shift that gives the group.

        Pixel i goes to ``table[i >> shift]``, as in `unsigned_lut`. To bin by a power of two sends
        runs of as many pixels to one place: a table of one entry a run stays in a core's cache.
        """
        table, shift = self.unsigned_lut, 0
        while len(table) > 1 and len(table) % 2 == 0 and np.array_equal(table[::2], table[1::2]):
            table, shift = np.ascontiguousarray(table[::2]), shift + 1
        return table, np.uint64(shift)

    def then(self, other: PixelMap) -> PixelMap:
        """Return the map that applies this one first and `other` afterwards."""
        if other.source_shape != self.target_shape:
            raise ParameterError(
                f"cannot chain a map onto {self.target_shape} with one of {other.source_shape}"
            )
        padded = np.append(other.lut, np.int32(DROPPED))  # index -1 finds DROPPED
        return PixelMap(padded[self.lut], self.source_shape, other.target_shape)


def crop_map(shape: Shape2D, roi: Sequence[int], what: str = "detector") -> PixelMap:
    """Return the map that keeps rows roi[0]:roi[1] and columns roi[2]:roi[3], as numpy slices.

    `what` the shape is of is named in errors.

    Raises
    ------
    ParameterError
        If `roi` has not four entries or selects nothing.
    """
    bounds = (int, np.integer, type(None))
    if np.ndim(roi) != 1 or len(roi) != 4 or not all(isinstance(b, bounds) for b in roi):
        raise ParameterError(f"the region is {roi!r}; give (row_min, row_max, col_min, col_max)")
    r0, r1, _ = slice(roi[0], roi[1]).indices(shape[0])
    c0, c1, _ = slice(roi[2], roi[3]).indices(shape[1])
    if r1 <= r0 or c1 <= c0:
        raise ParameterError(f"the region {tuple(roi)} selects nothing of a {shape} {what}")
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return PixelMap.from_coordinates(rows - r0, columns - c0, (r1 - r0, c1 - c0))


def binned_shape(shape: Shape2D, factor: Any, what: str = "detector") -> Shape2D:
    """Return the shape of what is binned by an integer.

    Raises
    ------
    ParameterError
        If `factor` is not a positive integer, or larger than `what` the shape is of.
    """
    whole = isinstance(factor, (int, np.integer)) and not isinstance(factor, bool)
    if not whole or factor < 1:
        raise ParameterError(f"the bin factor is {factor!r}; it must be a positive integer")
    if factor > min(shape):
        raise ParameterError(f"the bin factor {factor} is larger than the {shape} {what}")
    return shape[0] // int(factor), shape[1] // int(factor)


def bin_map(shape: Shape2D, factor: int) -> PixelMap:
    """Return the map that bins by an integer; rows and columns left over at the end are dropped.

    Raises
    ------
    ParameterError
        If `factor` is not a positive integer, or larger than the detector.
    """
    target = binned_shape(shape, factor)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return PixelMap.from_coordinates(rows // factor, columns // factor, target)


def centred_map(
    shape: Shape2D,
    center: tuple[float, float],
    pixels_per_bin: float,
    size: int,
    rotation: float = 0.0,
) -> PixelMap:
    """Return the map onto a square detector whose middle is `center`.

    A pixel (r, c) goes to i = floor((r − r0)/b + size/2), likewise for columns; the target pixel i
    stands for the position (i − (size − 1)/2)·b relative to the centre.

    Parameters
    ----------
    shape : (int, int)
        Detector shape.
    center : (float, float)
        Position (row, col) that becomes the middle [px, pixel centres at integers].
    pixels_per_bin : float
        Side b of a target pixel [source px], any positive number.
    size : int
        Side of the target [target px].
    rotation : float
        Angle by which the target's axes are turned against the source's [rad]: a pixel at (r, c)
        from the centre is at (r cos ϑ + c sin ϑ, c cos ϑ − r sin ϑ) on the target.
    """
    if not (math.isfinite(pixels_per_bin) and pixels_per_bin > 0):
        raise ParameterError(f"the bin size is {pixels_per_bin} px; it must be positive")
    if not isinstance(size, (int, np.integer)) or size < 1:
        raise ParameterError(f"detector_size is {size!r}; it must be a positive integer or None")
    if not all(math.isfinite(c) for c in center):
        raise ParameterError(f"the centre is {center}; give a finite (row, col) [px]")
    if not math.isfinite(rotation):
        raise ParameterError(f"the rotation is {rotation}; give a finite angle [rad]")
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    rows, columns = rows - center[0], columns - center[1]
    cos, sin = math.cos(rotation), math.sin(rotation)
    turned = (rows * cos + columns * sin, columns * cos - rows * sin)
    return PixelMap.from_coordinates(
        np.floor(turned[0] / pixels_per_bin + size / 2).astype(np.int64),
        np.floor(turned[1] / pixels_per_bin + size / 2).astype(np.int64),
        (int(size), int(size)),
    )


def mask_map(mask: np.ndarray) -> PixelMap:
    """Return the map that drops the pixels where `mask` is False and moves none."""
    lut = np.where(mask.ravel(), np.arange(mask.size), DROPPED)
    shape = (mask.shape[0], mask.shape[1])
    return PixelMap(lut.astype(np.int32), shape, shape)


def transpose_map(shape: Shape2D) -> PixelMap:
    """Return the map that swaps rows and columns."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return PixelMap.from_coordinates(columns, rows, (shape[1], shape[0]))


def select_map(shape: Shape2D, pixels: np.ndarray) -> PixelMap:
    """Return the map onto a list of pixels: flat index `pixels[j]` goes to column j of one row.

    Parameters
    ----------
    shape : (int, int)
    pixels : (n,) int
        Flat detector indices, each at most once.
    """
    lut = np.full(shape[0] * shape[1], DROPPED, np.int32)
    lut[pixels] = np.arange(len(pixels), dtype=np.int32)
    return PixelMap(lut, shape, (1, len(pixels)))
