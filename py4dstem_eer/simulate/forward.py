"""From a phase image to the electron events that a scan of it gives.

The probe ψ(r − R), with ψ the Fourier transform of A(k) = [λ|k| ≤ α]·exp(−iχ(k)), is multiplied by
exp(i phase) on a window around each scan position R. The electrons of a pattern are drawn one by
one from the squared modulus of the product's Fourier transform. Frequencies are then turned and
swapped into the camera's frame as py4DSTEM has it: its `force_com_rotation` [degrees] and
`force_com_transpose` undo `rotation` [rad] and `transpose`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.fft

from ..device import get_device
from ..errors import ParameterError
from ..events import EventStore
from ..optics import Aberrations, Geometry
from ..progress import track
from ..shapes import parse_shape
from .draw import LOST, draw_electrons, exit_waves
from .probe import probe_window
from .specimen import band_limited

#: Flyback patterns get this part of the electrons of the others.
FLYBACK_DOSE = 0.2
_WAVES_PER_BATCH = 64


@dataclass(frozen=True)
class Camera:
    """A camera, and the bright-field disk on it.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns.
    disk_center : (float, float)
        Centre of the disk (row, col) [px, pixel centres at integers].
    disk_radius : float
        Radius of the disk [px].
    """

    shape: tuple[int, int]
    disk_center: tuple[float, float]
    disk_radius: float

    @classmethod
    def parse(
        cls,
        shape: tuple[int, int],
        center: tuple[float, float] | None,
        radius: float | None,
    ) -> Camera:
        """Build from what a user gave; missing values leave the disk a little off-centre."""
        rows, columns = parse_shape(shape, "detector_shape")
        if center is None:
            center = (0.50660 * rows - 0.5, 0.48628 * columns - 0.5)
        radius = 0.243 * min(rows, columns) if radius is None else radius
        if not (math.isfinite(radius) and radius > 0):
            raise ParameterError(f"disk_radius is {radius} px; it must be positive")
        return cls((rows, columns), (float(center[0]), float(center[1])), float(radius))


@dataclass(frozen=True)
class SimulatedScan:
    """What is true about a simulated scan.

    Attributes
    ----------
    phase : (rows, columns) float32
        Phase of the whole specimen [rad]; scan position (i, j) is at its pixel (i, j).
    pixel : float
        Pixel size, and scan step [Å].
    scan_shape : (int, int)
        Scan rows and columns, without the flyback column.
    geometry : Geometry
        Energy, semi-angle, scan step, rotation and transpose.
    aberrations : Aberrations
        The probe's aberrations; angles are in the scan's frame.
    camera : Camera
        Shape of the camera, and where the bright-field disk is on it.
    """

    phase: np.ndarray
    pixel: float
    scan_shape: tuple[int, int]
    geometry: Geometry
    aberrations: Aberrations
    camera: Camera

    @property
    def disk_center(self) -> tuple[float, float]:
        """Centre of the bright-field disk (row, col) [camera px, pixel centres at integers]."""
        return self.camera.disk_center

    @property
    def disk_radius(self) -> float:
        """Radius of the bright-field disk [camera px]."""
        return self.camera.disk_radius

    @property
    def reciprocal_pixel(self) -> float:
        """Size of a camera pixel [Å⁻¹]."""
        return self.geometry.aperture_radius / self.disk_radius

    def visible_phase(self) -> np.ndarray:
        """Return the scanned phase [rad] as far as bright-field methods see it, |Q| ≤ 2α/λ."""
        rows, columns = self.scan_shape
        limit = 2 * self.geometry.aperture_radius
        return band_limited(self.phase, self.pixel, limit)[:rows, :columns]


def simulate_events(
    phase: np.ndarray,
    pixel: float,
    *,
    energy: float = 80e3,
    semiangle: float = 25.0,
    aberrations: Mapping[str, float] | None = None,
    scan_shape: tuple[int, int] | None = None,
    electrons_per_pattern: float = 400.0,
    detector_shape: tuple[int, int] = (576, 576),
    disk_center: tuple[float, float] | None = None,
    disk_radius: float | None = None,
    rotation: float = 0.0,
    transpose: bool = False,
    flyback: bool = True,
    window: int = 96,
    seed: int = 0,
) -> tuple[EventStore, SimulatedScan]:
    """Simulate a counted 4D-STEM scan of a thin phase object.

    Scan position (i, j) is at pixel (i, j) of the phase, which is taken as periodic.

    Parameters
    ----------
    phase : (rows, columns) array
        Phase of the specimen [rad].
    pixel, energy, semiangle : float
        Pixel size and scan step [Å], beam energy [eV], convergence semi-angle [mrad].
    aberrations : mapping of str to float, optional
        py4DSTEM's symbols or aliases; magnitudes [Å], angles [rad] in the scan's frame.
    scan_shape, electrons_per_pattern : (int, int), float
        Default: the whole phase. Mean of the Poisson distribution; some miss the camera.
    detector_shape, disk_center, disk_radius
        Camera shape; bright-field disk (row, col) and radius [px], default 51 %, 49 %, 24 %.
    rotation, transpose, flyback : float, bool, bool
        Angle of scan to camera [rad]; swap the camera's axes; add a column of flyback patterns.
    window : int
        Side of the window that is multiplied by the probe [px]; sets the angular sampling.
    seed : int
        The same seed gives the same events, whatever the number of threads.

    Returns
    -------
    events, truth : EventStore, SimulatedScan

    Raises
    ------
    ParameterError, CalibrationError
        If a parameter makes no sense, or the probe does not fit the window.
    """
    truth = SimulatedScan(
        _parse_phase(phase),
        float(pixel),
        _parse_scan_shape(scan_shape, np.shape(phase)),
        Geometry(energy, semiangle, (pixel, pixel), rotation, transpose),
        Aberrations.parse(aberrations or {}),
        Camera.parse(detector_shape, disk_center, disk_radius),
    )
    return _events(truth, electrons_per_pattern, flyback, window, seed), truth


def _events(
    truth: SimulatedScan, electrons_per_pattern: float, flyback: bool, window: int, seed: int
) -> EventStore:
    if not (math.isfinite(electrons_per_pattern) and electrons_per_pattern >= 0):
        raise ParameterError(f"electrons_per_pattern is {electrons_per_pattern}; give 0 or more")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ParameterError(f"seed is {seed!r}; give a whole number, 0 or more")
    probe = probe_window(truth.geometry, truth.aberrations, window)
    rng = np.random.default_rng(seed)
    positions, dose = _positions(truth.scan_shape, electrons_per_pattern, flyback, rng)
    lengths, indices = _stream(truth, probe, positions, rng.poisson(dose), int(seed))
    return EventStore.from_lists(
        (truth.scan_shape[0], truth.scan_shape[1] + int(flyback)),
        truth.camera.shape,
        np.concatenate([[0], np.cumsum(lengths)]),
        indices,
        metadata=_metadata(truth, flyback),
    )


def _parse_phase(phase: np.ndarray) -> np.ndarray:
    phase = np.asarray(phase, np.float32)
    if phase.ndim != 2 or phase.size == 0 or not np.isfinite(phase).all():
        raise ParameterError(f"the phase must be a finite 2-D image, got shape {phase.shape}")
    return phase


def _parse_scan_shape(
    scan_shape: tuple[int, int] | None, phase_shape: tuple[int, ...]
) -> tuple[int, int]:
    rows, columns = parse_shape(phase_shape if scan_shape is None else scan_shape, "scan_shape")
    if not (0 < rows <= phase_shape[0] and 0 < columns <= phase_shape[1]):
        raise ParameterError(f"scan_shape is {scan_shape}; it must fit the phase {phase_shape}")
    return rows, columns


def _positions(
    scan_shape: tuple[int, int], dose: float, flyback: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return object pixel (n, 2) and mean number of electrons (n,) of every stored pattern."""
    rows, columns = np.indices(scan_shape)
    doses = np.full(scan_shape, dose)
    if flyback:
        # the beam is caught somewhere on its way back along the row
        somewhere = rng.integers(scan_shape[1], size=(scan_shape[0], 1))
        columns = np.concatenate([columns, somewhere], axis=1)
        rows = np.concatenate([rows, rows[:, :1]], axis=1)
        doses = np.pad(doses, ((0, 0), (0, 1)), constant_values=FLYBACK_DOSE * dose)
    return np.stack([rows.ravel(), columns.ravel()], axis=1), doses.ravel()


def _frequency_to_camera(truth: SimulatedScan, window: int) -> tuple[float, np.ndarray]:
    """Return the aperture's radius [1/window] and the map from window frequency to camera.

    Frequencies are rotated by −rotation into the camera's frame, then swapped if transposed.

    Returns
    -------
    radius : float
    affine : (2, 3) float64
        From frequency (row, col) [1/window] to camera position [px]: matrix and offset.
    """
    cos, sin = math.cos(truth.geometry.rotation), math.sin(truth.geometry.rotation)
    matrix = np.array([[cos, sin], [-sin, cos]])
    if truth.geometry.transpose:
        matrix = matrix[::-1]
    radius = truth.geometry.aperture_radius * window * truth.pixel
    scale = truth.disk_radius / radius
    return radius, np.column_stack([matrix * scale, truth.disk_center])


def _stream(
    truth: SimulatedScan,
    probe: np.ndarray,
    positions: np.ndarray,
    n_electrons: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return how many electrons each pattern keeps, and their camera pixels, pattern by pattern."""
    cpu = get_device("cpu")
    n = len(probe)
    transmission = np.exp(1j * np.pad(truth.phase, n // 2, mode="wrap")).astype(np.complex64)
    waves = np.empty((_WAVES_PER_BATCH, n, n), np.complex64)
    scratch = np.empty((_WAVES_PER_BATCH, n * n))
    camera = (*_frequency_to_camera(truth, n), np.array(truth.camera.shape))
    lengths, kept = [], []
    for start in track(range(0, len(positions), _WAVES_PER_BATCH), "Simulating"):
        batch = slice(start, start + _WAVES_PER_BATCH)
        electrons = n_electrons[batch]
        m = len(electrons)
        exit_waves.launch(cpu, m, positions[batch], probe, transmission, waves)
        spectra = scipy.fft.fft2(waves[:m], overwrite_x=True, **cpu.fft_options())
        first = np.concatenate([[0], np.cumsum(electrons)])
        pixels = np.empty(first[-1], np.int32)
        draw_electrons.launch(cpu, m, spectra, first, *camera, seed, start, scratch, pixels)
        hit = pixels != LOST
        lengths.append(np.diff(np.concatenate([[0], np.cumsum(hit)])[first]))
        kept.append(pixels[hit].astype(np.uint32))
    return np.concatenate(lengths), np.concatenate(kept)


def _metadata(truth: SimulatedScan, flyback: bool) -> dict[str, object]:
    return {
        "source": "simulated",
        "energy": (truth.geometry.energy, "eV"),
        "semiangle_cutoff": (truth.geometry.semiangle, "mrad"),
        "R_pixel_size": (truth.pixel, "A"),
        "Q_pixel_size": (truth.reciprocal_pixel, "A^-1"),
        "rotation": (truth.geometry.rotation, "rad"),
        "transpose": truth.geometry.transpose,
        "flyback_column": flyback,
    }
