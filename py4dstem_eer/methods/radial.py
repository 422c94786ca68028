"""Radial and sector detectors: every ring and sector of the camera at once, in one pass.

A lookup table sends each pixel to its ring and sector; the events are counted into them. Any
annular detector is then a sum of rings, and any quadrant one of sectors, without the events.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..detector import DROPPED, PixelMap, Shape2D
from ..device import get_device, kernel
from ..errors import ParameterError
from ..events import EventStore
from .reductions import binned_stack, check_mask


@dataclass(frozen=True)
class PolarGrid:
    """Rings of equal width, parted into equal sectors.

    Attributes
    ----------
    center : (float, float)
        (row, column) [detector px, pixel centres at integers].
    bin_width : float
        Width of a ring [px]; ring j covers radii j · width ≤ r < (j + 1) · width.
    n_radii, n_sectors : int
        Pixels beyond the last ring are dropped.
    angle : float
        Direction of the middle of sector 0, from the rows' direction towards the columns' [rad];
        with four sectors, 0 gives the directions (+row, +column, −row, −column).
    """

    center: tuple[float, float]
    bin_width: float
    n_radii: int
    n_sectors: int = 1
    angle: float = 0.0

    def __post_init__(self) -> None:
        if len(self.center) != 2 or not np.isfinite(self.center).all():
            raise ParameterError(f"center is {self.center!r}; give (row, column) in detector px")
        if not 0 < self.bin_width < math.inf or not math.isfinite(self.angle):
            raise ParameterError(
                f"bin_width is {self.bin_width} px, angle {self.angle}; give a positive number of "
                "pixels, and an angle in radians"
            )
        for name in ("n_radii", "n_sectors"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ParameterError(f"{name} is {value!r}; give a positive whole number")

    @classmethod
    def covering(
        cls, shape: Shape2D, center: tuple[float, float], bin_width: float, n_sectors: int = 1
    ) -> PolarGrid:
        """Return a grid whose last ring holds the pixel furthest from the centre."""
        corners = [(r, c) for r in (0, shape[0] - 1) for c in (0, shape[1] - 1)]
        furthest = max(math.dist(center, corner) for corner in corners)
        return cls(center, bin_width, int(furthest / bin_width) + 1, n_sectors)

    @property
    def edges(self) -> np.ndarray:
        """Radii of the rings' edges, (n_radii + 1,) [px]."""
        return self.bin_width * np.arange(self.n_radii + 1)

    @property
    def directions(self) -> np.ndarray:
        """Unit vectors (row, column) through the sectors' middles, (n_sectors, 2)."""
        angles = self.angle + 2 * math.pi * np.arange(self.n_sectors) / self.n_sectors
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def rings(self, inner: float, outer: float) -> slice:
        """Return the rings from `inner` to `outer` [px], each rounded to the nearest edge.

        Raises
        ------
        ParameterError
            If no ring is left.
        """
        if math.isnan(inner) or math.isnan(outer):
            raise ParameterError(f"the detector's radii are {inner} and {outer}")
        first, last = (round(min(max(r / self.bin_width, 0), self.n_radii)) for r in (inner, outer))
        if last <= first:
            raise ParameterError(
                f"no ring lies between {inner} and {outer} px: the rings are {self.bin_width:.4g} "
                f"px wide and end at {self.edges[-1]:.4g} px"
            )
        return slice(first, last)

    def pixel_map(self, shape: Shape2D, mask: np.ndarray | None = None) -> PixelMap:
        """Return the map from a detector of `shape` to (n_radii, n_sectors).

        Parameters
        ----------
        shape : (int, int)
        mask : (Qx, Qy) bool, optional
            Pixels to keep.
        """
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        along_rows, along_columns = rows - self.center[0], columns - self.center[1]
        radius = np.sqrt(along_rows**2 + along_columns**2)
        ring = np.floor(np.minimum(radius / self.bin_width, self.n_radii)).astype(np.int64)
        turn = (np.arctan2(along_columns, along_rows) - self.angle) / (2 * math.pi)
        sector = np.floor(turn * self.n_sectors + 0.5).astype(np.int64) % self.n_sectors
        if mask is not None:
            ring = np.where(mask, ring, DROPPED)
        return PixelMap.from_coordinates(ring, sector, (int(self.n_radii), int(self.n_sectors)))


@dataclass(frozen=True)
class RadialStack:
    """Electrons of every scan position in every ring and sector.

    Attributes
    ----------
    counts : (Rx, Ry, n_radii, n_sectors) uint32
        [electrons]
    grid : PolarGrid
    """

    counts: np.ndarray
    grid: PolarGrid

    def rings(self) -> np.ndarray:
        """Return the radial sums, (Rx, Ry, n_radii) uint32 [electrons]."""
        if self.grid.n_sectors == 1:
            return self.counts[..., 0]
        rings = np.empty(self.counts.shape[:3], np.uint32)
        _sum_sectors.on_cpu(
            self._n_positions, self._per_position(), rings.reshape(-1, self.grid.n_radii)
        )
        return rings

    def annulus(self, inner: float, outer: float) -> np.ndarray:
        """Return the image of a virtual annular detector, inner ≤ r < outer.

        Parameters
        ----------
        inner, outer : float
            [px], each rounded to the nearest edge of a ring, see `PolarGrid.rings`. From 0 it is
            bright field, beyond the disk dark field.

        Returns
        -------
        image : (Rx, Ry) int64
            [electrons], exact.
        """
        return self.sectors(inner, outer).sum(axis=0)

    def sectors(self, inner: float, outer: float) -> np.ndarray:
        """Return the images of all sectors of an annulus, (n_sectors, Rx, Ry) int64 [electrons]."""
        rings = self.grid.rings(inner, outer)
        images = np.empty((self.grid.n_sectors, *self.counts.shape[:2]), np.int64)
        out = images.reshape(self.grid.n_sectors, -1)
        _sum_rings.on_cpu(self._n_positions, self._per_position(), rings.start, rings.stop, out)
        return images

    @property
    def _n_positions(self) -> int:
        return self.counts.shape[0] * self.counts.shape[1]

    def _per_position(self) -> np.ndarray:
        return self.counts.reshape(self._n_positions, *self.counts.shape[2:])

    def sector_dpc(self, inner: float, outer: float) -> np.ndarray:
        """Return the differential signal of the sectors of an annulus.

        With four sectors (0 − 2) / sum and (1 − 3) / sum, the classical quadrant detector's; in
        general the mean direction of the electrons.

        Returns
        -------
        signal : (2, Rx, Ry) float64
            Along detector (row, column) [1], from −1 to 1; NaN where no electron was counted.

        Raises
        ------
        ParameterError
            If there are fewer than three sectors.

        References
        ----------
        .. [1] Shibata et al., Nature Physics 8, 611 (2012).
        """
        if self.grid.n_sectors < 3:
            raise ParameterError(f"{self.grid.n_sectors} sectors tell no direction; use 4")
        sectors = self.sectors(inner, outer)
        total = sectors.sum(axis=0)
        signal = np.full((2, *total.shape), np.nan)
        for axis, weights in enumerate(self.grid.directions.T):
            part = np.tensordot(weights, sectors, axes=1)
            np.divide(part, total, out=signal[axis], where=total > 0)
        return signal


@kernel
def _sum_sectors(i, counts, rings):
    """Add the sectors of every ring of position i, in a tenth of the time of NumPy's sum."""
    for ring in range(counts.shape[1]):
        total = np.uint32(0)
        for sector in range(counts.shape[2]):
            total += counts[i, ring, sector]
        rings[i, ring] = total


@kernel
def _sum_rings(i, counts, first, last, sectors):
    """Add rings first to last of every sector of position i."""
    for sector in range(counts.shape[2]):
        total = np.int64(0)
        for ring in range(first, last):
            total += counts[i, ring, sector]
        sectors[sector, i] = total


def radial_stack(
    events: EventStore, grid: PolarGrid, mask: np.ndarray | None = None, device: str = "cpu"
) -> RadialStack:
    """Count the electrons of every scan position in the rings and sectors of a grid.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    grid : PolarGrid
    mask : (Qx, Qy) bool, optional
        Pixels to keep.
    device : {"cpu", "gpu"}

    Returns
    -------
    stack : RadialStack

    Raises
    ------
    ParameterError
        If the mask has another shape than the detector.
    """
    pixel_map = grid.pixel_map(events.detector_shape, parse_selection(mask, events.detector_shape))
    counts = get_device(device).asnumpy(
        binned_stack(events, pixel_map, np.dtype(np.uint32), device)
    )
    return RadialStack(counts.reshape(*events.scan_shape, *pixel_map.target_shape), grid)


def parse_selection(mask: np.ndarray | None, shape: Shape2D) -> np.ndarray | None:
    """Return a mask of booleans, or None."""
    if mask is None:
        return None
    check_mask(mask, shape)
    mask = np.asarray(mask)
    if mask.dtype.kind != "b" and not np.isin(mask, (0, 1)).all():
        raise ParameterError("the mask must select pixels: give booleans, or 0 and 1")
    return mask.astype(bool)
