"""A lattice of Bragg disks: where they are, and how bright."""

from __future__ import annotations

import numpy as np

SCAN = (6, 7)
DETECTOR = (64, 60)
CENTRE = (31.0, 29.0)
DISK_RADIUS = 4.0
LATTICE = ((14.0, 2.0), (-3.0, 13.0))


def disk(row: float, column: float) -> np.ndarray:
    rows, columns = np.indices(DETECTOR, dtype=float)
    return np.clip(DISK_RADIUS + 0.5 - np.hypot(rows - row, columns - column), 0, 1)


def lattice_of_disks(strain: float) -> np.ndarray:
    """Return the expected counts of one pattern; the first lattice vector is strained."""
    pattern = np.full(DETECTOR, 0.02)
    for h, k in np.ndindex(5, 5):
        h, k = h - 2, k - 2
        row = CENTRE[0] + (1 + strain) * (h * LATTICE[0][0] + k * LATTICE[1][0])
        column = CENTRE[1] + h * LATTICE[0][1] + k * LATTICE[1][1]
        pattern += (25.0 if h == k == 0 else 8.0 / (h * h + k * k)) * disk(row, column)
    return pattern
