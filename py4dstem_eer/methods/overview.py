"""Everything that one sweep over the events tells: a file is read once.

Rings need a centre before the sweep, and hot pixels must be known. Both are found in a sample of
the scan's rows, under 2 % of a large file. The alternative, keeping patterns binned until the disk
is known, costs a byte or two per bin and position: 2.4 GB for 512 × 512 positions on 96 × 96 bins,
where rings of a sixteenth of the disk's radius, times four sectors, take 0.2 GB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..detector import DROPPED, PixelMap
from ..device import Device, get_device
from ..errors import ParameterError
from ..events import EventStore
from ..parameters import parse_real
from ..progress import track
from .blocks import lists_on
from .bright_field import Disk, find_disk
from .com import NO_MASK, fill_moments, from_moments
from .hot_pixels import find_hot_pixels, sample_pattern, warn_hot
from .radial import PolarGrid, RadialStack, parse_selection
from .reductions import block_sum, fill_stack

#: Rings across the disk's radius: its edge is then an edge between rings.
RINGS_PER_DISK = 16
#: Fewer across a disk that is small on a large detector, so that the stack stays small.
_MOST_RINGS = 64
#: Dark field begins at this part of the disk's radius, clear of the rounding of its rim.
DARK_FIELD_FROM = 1.125


@dataclass(frozen=True)
class Overview:
    """What one sweep tells about a scan (Rx, Ry) on a detector (Qx, Qy).

    Attributes
    ----------
    pattern_sum : (Qx, Qy) int64
        Sum of all patterns [electrons], hot pixels included.
    com : (2, Rx, Ry) float64
        Centre of mass (row, column) [detector px]; NaN where nothing was counted.
    dose : (Rx, Ry) float64
        Electrons of every position, without hot and masked pixels.
    radial : RadialStack
        Electrons in rings around the disk's centre, and in four sectors.
    disk : Disk
        The bright-field disk that the rings are centred on.
    mask : (Qx, Qy) bool
        Pixels that took part.
    n_hot : int
        Hot pixels that were left out.
    """

    pattern_sum: np.ndarray
    com: np.ndarray
    dose: np.ndarray
    radial: RadialStack
    disk: Disk
    mask: np.ndarray
    n_hot: int

    def bright_field(self) -> np.ndarray:
        """Return the electrons inside the disk, (Rx, Ry) int64."""
        return self.radial.annulus(0, self.disk.radius)

    def dark_field(self, inner: float | None = None, outer: float = math.inf) -> np.ndarray:
        """Return the electrons in an annulus [px], by default all outside the disk, (Rx, Ry)."""
        inner = DARK_FIELD_FROM * self.disk.radius if inner is None else inner
        if inner >= self.radial.grid.edges[-1] - self.radial.grid.bin_width / 2:
            return np.zeros(self.dose.shape, np.int64)  # the disk fills the detector
        return self.radial.annulus(inner, outer)

    def quadrant_dpc(self) -> np.ndarray:
        """Return the differential signal of the disk's four quadrants, (2, Rx, Ry) [1]."""
        return self.radial.sector_dpc(0, self.disk.radius)


def overview(
    events: EventStore,
    mask: np.ndarray | None = None,
    center: tuple[float, float] | None = None,
    bf_radius: float | None = None,
    keep_hot_pixels: bool = False,
    device: str = "cpu",
) -> Overview:
    """Return mean pattern, centre of mass, rings, sectors and dose from one sweep over the events.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    mask : (Qx, Qy) bool, optional
        Pixels that take part.
    center : (float, float), optional
        Centre of the disk (row, column) [detector px]. Default: found in a sample of the rows.
    bf_radius : float, optional
        Its radius [detector px]. Default: likewise.
    keep_hot_pixels : bool
        Let hot pixels take part.
    device : {"cpu", "gpu"}

    Returns
    -------
    overview : Overview

    Warns
    -----
    EventWarning
        If hot pixels were left out.

    Raises
    ------
    ParameterError
        If there is no position, no disk stands out (give both center and bf_radius), or the mask
        does not fit.
    """
    if 0 in events.scan_shape:
        raise ParameterError(f"the scan is empty: its shape is {events.scan_shape}")
    kept = parse_selection(mask, events.detector_shape)
    kept = np.ones(events.detector_shape, bool) if kept is None else kept
    sample = np.where(kept, sample_pattern(events), 0)
    hot = np.zeros_like(kept) if keep_hot_pixels else find_hot_pixels(sample)
    warn_hot(hot)
    sample[hot] = 0
    disk = parse_disk(sample, center, bf_radius)
    grid = disk_grid(events.detector_shape, disk)
    pixel_map = grid.pixel_map(events.detector_shape, kept & ~hot)
    pattern, moments, stack = _one_sweep(events, pixel_map, get_device(device))
    com, dose = from_moments(moments)
    radial = RadialStack(stack, grid)
    return Overview(pattern, com, dose, radial, disk, kept & ~hot, int(hot.sum()))


def disk_grid(shape: tuple[int, int], disk: Disk) -> PolarGrid:
    """Return rings in four sectors around the disk, one edge of them its rim."""
    for rings in (RINGS_PER_DISK, RINGS_PER_DISK // 2, RINGS_PER_DISK // 4, 2, 1):
        grid = PolarGrid.covering(shape, disk.center, disk.radius / rings, n_sectors=4)
        if grid.n_radii <= _MOST_RINGS:
            break
    return grid


def parse_disk(
    pattern: np.ndarray, center: tuple[float, float] | None, radius: float | None
) -> Disk:
    """Return the disk that the user gave, completed by what the pattern shows."""
    if radius is not None:
        radius = parse_real(radius, "bf_radius", above=0, unit="px")
    if center is not None and np.shape(center) != (2,):
        raise ParameterError(f"center is {center!r}; give (row, column) in detector pixels")
    if center is not None:
        row, column = center
        center = (parse_real(row, "center[0]"), parse_real(column, "center[1]"))
    if center is None or radius is None:
        measured = find_disk(pattern)
        center = measured.center if center is None else center
        radius = measured.radius if radius is None else radius
    return Disk(center, radius)


def _one_sweep(
    events: EventStore, pixel_map: PixelMap, where: Device
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sum of patterns, Σ 1, Σ row, Σ column of each, and each on the map's target.

    The three kernels run one after the other over a block that is in memory: that is twice as fast
    as one kernel for all, whose loop stalls on its writes.
    """
    pattern = np.zeros(pixel_map.source_shape, np.int64)
    moments = np.empty((3, *events.scan_shape))
    n_target = pixel_map.target_shape[0] * pixel_map.target_shape[1]
    stack = where.xp.zeros((events.n_patterns, n_target), np.uint32)
    lut = where.asarray(pixel_map.unsigned_lut)
    kept = pixel_map.lut != DROPPED
    weights = where.asarray(NO_MASK if kept.all() else kept.astype(np.uint8))
    for first, block in track(events.blocks(), "One sweep over the events"):
        pattern += block_sum(block, where).reshape(pattern.shape)
        fill_moments(moments, first, block, weights, where)
        begin = first * events.scan_shape[1]
        counted = stack[begin : begin + block.n_patterns]
        fill_stack.launch(where, block.n_patterns, *lists_on(block, where), lut, counted)
    return (
        pattern,
        moments,
        where.asnumpy(stack).reshape(*events.scan_shape, *pixel_map.target_shape),
    )
