"""`stem_holography`: amplitude and phase from fringes, as slices in the cube's tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from py4DSTEM.data import RealSlice

from ..errors import ParameterError
from ..events import EventStore
from ..methods.holography import Sideband, demodulate, find_peak, sideband
from ..methods.hot_pixels import find_hot_pixels, sample_pattern, warn_hot
from ..progress import shown
from .calibration import scan_step
from .results import real_slice


@dataclass(frozen=True)
class Hologram:
    """What `stem_holography` returns.

    Attributes
    ----------
    amplitude, phase : RealSlice (Rx, Ry)
        Relative to the reference [1], [rad].
    peak : (int, int)
        Bragg peak in use (u, v) [fringes per detector height, width].
    sideband : Sideband
        Its Fourier pixels, of every pattern.
    """

    amplitude: RealSlice
    phase: RealSlice
    peak: tuple[int, int]
    sideband: Sideband


def stem_holography(
    datacube: Any,
    peak: tuple[int, int] | None = None,
    half_width: int = 2,
    reference: Any = None,
    force_scan_sampling: float | None = None,
    verbose: bool = True,
    device: str = "cpu",
    name: str = "stem_holography",
) -> Hologram:
    """Return amplitude and phase of a STEM hologram, in one pass over the events.

    Parameters
    ----------
    datacube : SparseDataCube
    peak : (int, int), optional
        Bragg peak of the grating (u, v) [fringes per detector height, width]; its sign is that of
        the phase. Default: found in the FFT of a sample's mean pattern, u > 0. Where three beams
        leave the grating and only an outer one passes the specimen, the first peak has the beams
        −1 and +1 both; twice the first peak has one of them against the other alone.
    half_width : int
        Fourier pixels up to this far from the peak are used.
    reference : SparseDataCube or (Rx, Ry) bool, optional
        A vacuum scan, whose fringes are divided out, position by position if its scan has the same
        shape, or by their mean; or the positions of this scan that are in vacuum. Default: the mean
        of the scan.
    force_scan_sampling : float, optional
        Scan step [Å], instead of the calibration.
    verbose : bool
        Show progress bars.
    device : {"cpu", "gpu"}
    name : str
        Results are named after it in the cube's tree.

    Returns
    -------
    hologram : Hologram
        Its slices hang in the cube's tree.

    Warns
    -----
    EventWarning
        If hot pixels were left out of the search for the peak.

    Raises
    ------
    ParameterError
        If there are no fringes, the reference does not fit, or a parameter makes no sense.
    """
    events = _events_of(datacube, "datacube")
    step = scan_step(datacube.calibration, force_scan_sampling)
    with shown(verbose):
        if peak is None:
            peak = _peak_of(events)
        signal = sideband(events, peak, half_width, device)
        image = demodulate(signal, _reference(reference, events, signal, peak, half_width, device))
    peak = (int(peak[0]), int(peak[1]))
    parameters = {"peak": peak, "half_width": half_width, "relative_to": _kind(reference)}
    amplitude = real_slice(np.abs(image), f"{name}_amplitude", "1", step, None, parameters)
    phase = real_slice(np.angle(image), f"{name}_phase", "rad", step, None, parameters)
    for result in (amplitude, phase):
        datacube.attach(result)
    return Hologram(amplitude, phase, peak, signal)


def _events_of(datacube: Any, what: str) -> EventStore:
    events = getattr(datacube, "events", None)
    if not isinstance(events, EventStore):
        raise ParameterError(
            f"{what} is a {type(datacube).__name__}; give a SparseDataCube, e.g. "
            "SparseDataCube.from_dense(datacube)"
        )
    if 0 in events.scan_shape:
        raise ParameterError(f"the scan of {what} is empty: its shape is {events.scan_shape}")
    return events


def _peak_of(events: EventStore) -> tuple[int, int]:
    sample = sample_pattern(events)
    hot = find_hot_pixels(sample)
    warn_hot(hot)
    return find_peak(np.where(hot, 0, sample))


def _reference(
    reference: Any,
    events: EventStore,
    signal: Sideband,
    peak: tuple[int, int],
    half_width: int,
    device: str,
) -> np.ndarray | None:
    if reference is None:
        return None
    if not hasattr(reference, "events"):
        return _vacuum_mean(np.asarray(reference), signal)
    vacuum = _events_of(reference, "reference")
    if vacuum.detector_shape != events.detector_shape:
        raise ParameterError(
            f"the reference has a detector of {vacuum.detector_shape}, the scan one of "
            f"{events.detector_shape}"
        )
    other = sideband(vacuum, peak, half_width, device)
    return other.values if vacuum.scan_shape == events.scan_shape else other.mean


def _vacuum_mean(chosen: np.ndarray, signal: Sideband) -> np.ndarray:
    if chosen.dtype != bool or chosen.shape != signal.values.shape[:2] or not chosen.any():
        raise ParameterError(
            f"the reference is a {chosen.dtype} array of shape {chosen.shape}; give a vacuum scan, "
            f"or booleans of shape {signal.values.shape[:2]} that select vacuum positions"
        )
    mean: np.ndarray = signal.values[chosen].mean(axis=0, dtype=np.complex128)
    return mean


def _kind(reference: Any) -> str:
    if reference is None:
        return "mean of the scan"
    return "vacuum scan" if hasattr(reference, "events") else "vacuum positions"
