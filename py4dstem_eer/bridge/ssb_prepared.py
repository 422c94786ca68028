"""What `EventSSB` measures before it reconstructs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..methods import ssb
from ..methods.aperture_grid import ApertureGrid
from ..methods.bright_field import Disk
from ..methods.rotation import RelativeRotation
from ..methods.trotter_rotation import TrotterRotation


@dataclass(frozen=True)
class Dose:
    """How many electrons a scan took.

    Attributes
    ----------
    electrons : float
        On the whole camera, in all patterns.
    per_pattern : float
    per_area : float
        [electrons / Å²]
    """

    electrons: float
    per_pattern: float
    per_area: float


@dataclass(frozen=True)
class Prepared:
    """What `EventSSB.preprocess` leaves for all that follows.

    Attributes
    ----------
    store : OverlapStore
    grid : ApertureGrid
    disk : Disk
    pattern_sum : (Qx, Qy)
        Sum of all patterns [electrons].
    bright_field : (Rx, Ry)
        Electrons on the aperture's pixels at every scan position.
    camera_pixel : float
        [Å⁻¹]
    detector_size : int or None
    rotation : RelativeRotation
    rotation_check : TrotterRotation or None
        None if rotation and transpose were given.
    """

    store: ssb.OverlapStore
    grid: ApertureGrid
    disk: Disk
    pattern_sum: np.ndarray
    bright_field: np.ndarray
    camera_pixel: float
    detector_size: int | None
    rotation: RelativeRotation
    rotation_check: TrotterRotation | None
