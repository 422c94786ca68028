"""Trotters with the circles of their apertures, in the frame of the detector."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..bridge.ssb import EventSSB
from ..optics import Geometry
from .pictures import flatness, trotter_levels
from .source import disk_on_detector, scan_shape


@dataclass(frozen=True)
class TrotterView:
    """Trotters as the screen shows them.

    Attributes
    ----------
    levels : (n, m, m, 2) uint8
        See `pictures.trotter_levels`; the present aberrations are undone.
    frequencies : (n, 2) int64
        Signed indices of Q along the scan's (row, column).
    q : (n, 2) float64
        Q along the detector's (row, column), in units of the aperture's radius.
    spacing : (n,) float64
        1 / |Q| [Å].
    flatness : (n,) float64
        1 if all of a trotter has one phase.
    center : (float, float)
        Of the aperture (row, column), as part of the image's side.
    radius : float
        Of the aperture, as part of the image's side.
    """

    levels: np.ndarray
    frequencies: np.ndarray
    q: np.ndarray
    spacing: np.ndarray
    flatness: np.ndarray
    center: tuple[float, float]
    radius: float


def trotter_view(ssb: EventSSB, frequencies: np.ndarray) -> TrotterView:
    """Return trotters with the aberrations of `ssb` undone.

    Parameters
    ----------
    ssb : EventSSB
        Preprocessed.
    frequencies : (n, 2) int
        Signed indices of scan frequencies.
    """
    images = np.asarray(ssb.trotters(frequencies=frequencies, corrected=True).data)
    disk = disk_on_detector(ssb)
    first = np.maximum(np.floor(np.array(disk.center) - disk.radius).astype(int), 0)
    last = np.ceil(np.array(disk.center) + disk.radius).astype(int) + 1
    cut = images[:, first[0] : last[0], first[1] : last[1]]
    side = max(cut.shape[1:])
    square = np.pad(cut, [(0, 0), *((0, side - n) for n in cut.shape[1:])])
    center = (np.array(disk.center) - first + 0.5) / side
    geometry = ssb.geometry
    q = frequencies / (np.array(scan_shape(ssb)) * np.array(geometry.scan_step))
    return TrotterView(
        trotter_levels(square),
        frequencies,
        detector_frame(q, geometry) / geometry.aperture_radius,
        1 / np.hypot(*q.T),
        flatness(cut),
        (float(center[0]), float(center[1])),
        disk.radius / side,
    )


def detector_frame(q: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Turn vectors (n, 2) from the frame of the scan into that of the detector."""
    cos, sin = math.cos(geometry.rotation), math.sin(geometry.rotation)
    rows, columns = q[:, 0] * cos + q[:, 1] * sin, q[:, 1] * cos - q[:, 0] * sin
    pair = (columns, rows) if geometry.transpose else (rows, columns)
    return np.stack(pair, axis=1)
