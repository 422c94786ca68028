"""`EventSSB`: single-sideband ptychography for py4DSTEM, straight from the events."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from py4DSTEM.data import DiffractionSlice, RealSlice

from ..detector import DROPPED
from ..device import get_device
from ..errors import CalibrationError, EventWarning, ParameterError
from ..methods import ssb, ssb_snr
from ..methods.aperture_grid import ApertureGrid, aperture_grid
from ..methods.bright_field import Disk, find_disk, warn_if_cut
from ..methods.com import fill_empty
from ..methods.descan import fit_descan
from ..methods.rotation import solve_rotation
from ..methods.trotters import power_spectrum, strongest_frequencies, trotters
from ..optics import Aberrations, Geometry, parse_energy, parse_semiangle, wavelength
from ..progress import shown
from .calibration import reciprocal_pixel, scan_step
from .patterns import patterns_of
from .results import diffraction_slice, real_slice

#: Warn when the measured disk and the calibrated aperture differ by more than this.
_RADIUS_TOLERANCE = 0.1
_WEIGHTINGS = ("sum", "snr")
_NAMED = {"object_phase": "rad", "object_amplitude": "1"}


@dataclass(frozen=True)
class _Prepared:
    """What `preprocess` leaves for `reconstruct`."""

    store: ssb.OverlapStore
    grid: ApertureGrid
    disk: Disk
    pattern_sum: np.ndarray
    camera_pixel: float
    detector_size: int | None


class EventSSB:
    """Single-sideband ptychography from electron events.

    Parameters
    ----------
    energy : float
        Beam energy [eV].
    datacube : SparseDataCube or DataCube
    semiangle_cutoff : float, optional
        Convergence semi-angle [mrad]. Default: from the measured disk and the calibration.
    semiangle_cutoff_pixels : float, optional
        The same in detector pixels.
    polar_parameters : mapping, optional
        Aberrations: py4DSTEM's polar symbols or aliases to values [Å, rad].
    verbose : bool
        Show progress bars.
    device : {"cpu", "gpu"}
    name : str
        Results are named after it in the cube's tree.
    **aberrations
        Aberrations as keywords, e.g. ``defocus=50``, ``C12=20``, ``phi12=0.3``.

    References
    ----------
    .. [1] Pelz et al., IEEE Signal Processing Magazine 39(1), 25 (2022), section IV.
    """

    def __init__(
        self,
        energy: float,
        datacube: Any = None,
        semiangle_cutoff: float | None = None,
        semiangle_cutoff_pixels: float | None = None,
        polar_parameters: Mapping[str, float] | None = None,
        verbose: bool = True,
        device: str = "cpu",
        name: str = "ssb_reconstruction",
        **aberrations: float,
    ) -> None:
        self._energy = parse_energy(energy)
        if semiangle_cutoff is not None:
            parse_semiangle(semiangle_cutoff)
        if semiangle_cutoff_pixels is not None and not semiangle_cutoff_pixels > 0:
            raise CalibrationError(
                f"semiangle_cutoff_pixels is {semiangle_cutoff_pixels}; it must be positive"
            )
        if semiangle_cutoff is not None and semiangle_cutoff_pixels is not None:
            raise ParameterError("give one of semiangle_cutoff and semiangle_cutoff_pixels")
        get_device(device)  # a device that is not there is an error now, not after the loading
        self._datacube = datacube
        self._patterns = patterns_of(datacube)
        self._semiangle = semiangle_cutoff
        self._semiangle_pixels = semiangle_cutoff_pixels
        self._aberrations = Aberrations.parse({**(polar_parameters or {}), **aberrations})
        self._device = device
        self._verbose = verbose
        self.name = name
        self._prepared: _Prepared | None = None
        self._snr: tuple[ssb.OverlapStore, ApertureGrid] | None = None
        self._phase_sigma: float | None = None
        self._object: np.ndarray | None = None
        self._results: dict[str, RealSlice] = {}

    def __repr__(self) -> str:
        text = f"EventSSB(scan {self._patterns.scan_shape}, {self._energy / 1e3:g} keV"
        if self._prepared is None:
            return text + "; call preprocess())"
        g = self.geometry
        set_to = {k: round(v, 4) for k, v in self._aberrations.polar.items() if v}
        return (
            f"{text}, {g.semiangle:.4g} mrad, step {g.scan_step[0]:.4g} Å, rotation "
            f"{math.degrees(g.rotation):.1f}°, transpose {g.transpose}, "
            f"{len(self._prepared.grid.pixels)} bright-field pixels, "
            f"aberrations {set_to or 'none'})"
        )

    def preprocess(
        self,
        detector_size: int | None = 18,
        center: tuple[float, float] | None = None,
        bf_radius: float | None = None,
        force_com_rotation: float | None = None,
        force_com_transpose: bool | None = None,
        force_scan_sampling: float | None = None,
        force_angular_sampling: float | None = None,
        force_reciprocal_sampling: float | None = None,
    ) -> EventSSB:
        """Bin the events onto a small detector and gather the overlap entries of G(k, Q).

        Parameters
        ----------
        detector_size : int or None
            Side of the square detector that the disk is centred on and fills; None keeps the cube's
            own pixels.
        center : (float, float), optional
            Centre of the disk (row, column) [detector px]. Default: measured.
        bf_radius : float, optional
            Radius of the disk [detector px]. Default: measured.
        force_com_rotation : float, optional
            Angle between scan and detector [degrees]. Default: from the centre of mass.
        force_com_transpose : bool, optional
            Whether detector rows and columns are swapped. Default: from the centre of mass.
        force_scan_sampling : float, optional
            Scan step [Å], instead of the calibration.
        force_angular_sampling, force_reciprocal_sampling : float, optional
            Detector pixel [mrad] or [Å⁻¹], instead of the calibration.

        Returns
        -------
        self
        """
        # the cube may have been binned or cropped since
        self._patterns = patterns_of(self._datacube)
        step = scan_step(self._datacube.calibration, force_scan_sampling)
        if step is None:
            raise CalibrationError(
                "Real-space calibrations must be given in 'A': use "
                "cube.calibration.set_R_pixel_size and set_R_pixel_units, or force_scan_sampling"
            )
        pixel = reciprocal_pixel(
            self._datacube.calibration,
            self._energy,
            force_angular_sampling,
            force_reciprocal_sampling,
        )
        with shown(self._verbose):
            pattern_sum = self._patterns.pattern_sum()
            disk = _parse_disk(pattern_sum, center, bf_radius)
            semiangle, pixel = self._aperture(disk, pixel)
            rotation = self._scan_rotation(step, force_com_rotation, force_com_transpose)
            geometry = Geometry(self._energy, semiangle, step, *rotation)
            self._prepared = self._prepare(geometry, disk, pixel, detector_size, pattern_sum)
        self._snr = None
        self._object = None
        self._results = {}
        return self

    def _aperture(self, disk: Disk, pixel: float | None) -> tuple[float, float]:
        """Return semi-angle [mrad] and detector pixel [Å⁻¹]; the disk ties them together."""
        angle_of_unit = 1e3 * wavelength(self._energy)
        given = self._semiangle_pixels
        radius = disk.radius if given is None else given
        if self._semiangle is None:
            if pixel is None:
                raise CalibrationError(
                    "neither the semi-angle nor the detector pixel is known: give semiangle_cutoff "
                    "[mrad], or calibrate the detector"
                )
            return parse_semiangle(radius * pixel * angle_of_unit), pixel
        aperture = self._semiangle / angle_of_unit
        if pixel is None:
            return self._semiangle, aperture / disk.radius
        expected = aperture / pixel
        if abs(disk.radius / expected - 1) > _RADIUS_TOLERANCE:
            warnings.warn(
                f"the bright-field disk has a radius of {disk.radius:.1f} px, but the calibration "
                f"and semiangle_cutoff={self._semiangle:g} mrad say {expected:.1f} px",
                EventWarning,
                stacklevel=3,
            )
        return self._semiangle, pixel

    def _scan_rotation(
        self, step: tuple[float, float], rotation: float | None, transpose: bool | None
    ) -> tuple[float, bool]:
        """Return the rotation [rad] and transpose that were given, or that the data show."""
        if rotation is not None and transpose is not None:
            solved = solve_rotation(np.zeros((2, 3, 3)), rotation, transpose)
        else:
            com, _ = fill_empty(*self._patterns.centre_of_mass())
            com -= fit_descan(com)
            solved = solve_rotation(com, rotation, transpose, step=step, device=self._device)
        return math.radians(solved.angle_deg), solved.transpose

    def _prepare(
        self,
        geometry: Geometry,
        disk: Disk,
        pixel: float,
        detector_size: int | None,
        pattern_sum: np.ndarray,
    ) -> _Prepared:
        grid = aperture_grid(self._patterns.detector_shape, disk, pixel, geometry, detector_size)
        stack = self._patterns.stack(grid.pixel_map, pattern_sum, self._device)
        total = float(pattern_sum.ravel()[grid.square.lut != DROPPED].sum())
        store = ssb.prepare(stack, grid, self._patterns.scan_shape, total, geometry, self._device)
        return _Prepared(store, grid, disk, pattern_sum, pixel, detector_size)

    def reconstruct(
        self,
        sideband: str = "both",
        triple_overlap: bool = False,
        weighting: str = "sum",
        polar_parameters: Mapping[str, float] | None = None,
        **aberrations: float,
    ) -> EventSSB:
        """Reconstruct the object; only the weighting and one inverse FFT are done anew.

        Parameters
        ----------
        sideband : {"both", "left", "right"}
            Which double overlaps are used.
        triple_overlap : bool
            Use the regions where three disks overlap as well.
        weighting : {"sum", "snr"}
            "sum" adds up the detector pixels of a scan frequency, as py4DSTEM does: sharp, with
            a transfer that falls towards small and large frequencies. "snr" is the least-squares
            phase of a weak object from all overlaps, weighted by the counting noise: in radians,
            with even transfer; see `methods.ssb_snr`. It takes no `sideband`.
        polar_parameters, **aberrations
            Aberrations [Å, rad], all others zero. Default: those given before.

        Returns
        -------
        self
        """
        prepared = self._ready()
        if weighting not in _WEIGHTINGS:
            raise ParameterError(f"weighting is {weighting!r}; it must be one of {_WEIGHTINGS}")
        given = {**(polar_parameters or {}), **aberrations}
        if given:
            self._aberrations = Aberrations.parse(given)
        if weighting == "snr":
            self._object = self._least_squares(prepared, sideband)
        else:
            self._phase_sigma = None
            self._object = ssb.reconstruct(
                prepared.store, self._aberrations, sideband, triple_overlap
            )
        self._results = {}
        self._publish(sideband=sideband, triple_overlap=triple_overlap, weighting=weighting)
        return self

    def _least_squares(self, prepared: _Prepared, sideband: str) -> np.ndarray:
        """Return exp(iφ) of the least-squares phase; gathers its own entries the first time."""
        if sideband != "both":
            raise ParameterError('weighting="snr" uses both sidebands: leave sideband="both"')
        if self._snr is None:
            with shown(self._verbose):
                self._snr = self._prepare_snr(prepared)
        estimate = ssb_snr.estimate_phase(*self._snr, self._aberrations)
        self._phase_sigma = estimate.sigma
        return np.exp(1j * estimate.phase).astype(np.complex64)

    def _prepare_snr(self, prepared: _Prepared) -> tuple[ssb.OverlapStore, ApertureGrid]:
        geometry, shape = self.geometry, self._patterns.detector_shape
        size = prepared.detector_size
        grid = aperture_grid(shape, prepared.disk, prepared.camera_pixel, geometry, size, rim=True)
        stack = self._patterns.stack(grid.pixel_map, prepared.pattern_sum, self._device)
        total = float(stack.sum())
        scan_shape = self._patterns.scan_shape
        return ssb_snr.prepare_snr(stack, grid, scan_shape, total, geometry, self._device), grid

    def _publish(self, **settings: Any) -> None:
        """Make the results and hang them into the cube's tree."""
        geometry = self.geometry
        parameters = {
            "energy": geometry.energy,
            "semiangle_cutoff": geometry.semiangle,
            "rotation_deg": math.degrees(geometry.rotation),
            "transpose": geometry.transpose,
            "aberrations": dict(self._aberrations.polar),
            **settings,
        }
        images = (np.angle(self.object), np.abs(self.object))
        for (name, units), image in zip(_NAMED.items(), images, strict=True):
            result = real_slice(
                image, f"{self.name}_{name}", units, geometry.scan_step, None, parameters
            )
            self._results[name] = result
            self._datacube.attach(result)

    def _ready(self) -> _Prepared:
        if self._prepared is None:
            raise ParameterError("call preprocess() first")
        return self._prepared

    def _result(self, name: str) -> RealSlice:
        if name not in self._results:
            raise ParameterError("call preprocess() and reconstruct() first")
        return self._results[name]

    @property
    def geometry(self) -> Geometry:
        """Energy, semi-angle, scan step, rotation and transpose in use."""
        return self._ready().store.geometry

    @property
    def polar_parameters(self) -> dict[str, float]:
        """Aberrations in use, all 25 symbols [Å, rad]."""
        return dict(self._aberrations.polar)

    @property
    def disk(self) -> Disk:
        """Centre and radius of the bright-field disk in use [detector px]."""
        return self._ready().disk

    @property
    def object(self) -> np.ndarray:
        """The object, (Rx, Ry) complex64, as in py4DSTEM."""
        if self._object is None:
            raise ParameterError("call preprocess() and reconstruct() first")
        return self._object

    @property
    def object_phase(self) -> RealSlice:
        """Phase of the object, (Rx, Ry) [rad]."""
        return self._result("object_phase")

    @property
    def object_amplitude(self) -> RealSlice:
        """Amplitude of the object, (Rx, Ry) [1]."""
        return self._result("object_amplitude")

    @property
    def phase_sigma(self) -> float:
        """Standard error of every pixel of the phase from counting noise [rad]; of "snr" only."""
        if self._phase_sigma is None:
            raise ParameterError('phase_sigma belongs to reconstruct(weighting="snr")')
        return self._phase_sigma

    @property
    def probe_fourier(self) -> np.ndarray:
        """The probe in the aperture plane, centred, on the small detector, complex64."""
        prepared = self._ready()
        return ssb.aperture_function(prepared.store, prepared.grid, self._aberrations)

    def trotters(
        self,
        n: int = 9,
        frequencies: Sequence[Sequence[int]] | np.ndarray | None = None,
        corrected: bool = False,
    ) -> DiffractionSlice:
        """Return G(k, Q), the Fourier transform along the scan, at single scan frequencies.

        Parameters
        ----------
        n : int
            How many of the strongest frequencies, one of each ±Q.
        frequencies : (n, 2) int, optional
            Instead of the strongest: indices of Q along the scan's (rows, columns), as in the FFT
            of the scan; negative ones are negative frequencies. See `power_spectrum`.
        corrected : bool
            Undo the aberrations in use: where they are the true ones, both sides of every trotter
            have one phase.

        Returns
        -------
        trotters : DiffractionSlice, (n, m, m) complex64
            On the small detector, strongest first or as asked for; |G| in electrons, zero outside
            overlaps. Labelled with Q; the metadata "parameters" hold `frequencies` (n, 2), the
            signed indices, `Q` (n, 2) [Å⁻¹], and `corrected`.
        """
        prepared = self._ready()
        if frequencies is None:
            frequencies = strongest_frequencies(prepared.store, n)
        aberrations = self._aberrations if corrected else None
        found = trotters(prepared.store, prepared.grid, frequencies, aberrations)
        parameters = {"frequencies": found.frequencies, "Q": found.q, "corrected": corrected}
        labels = [f"Q = ({x:.4f}, {y:.4f}) A^-1" for x, y in found.q]
        pixel = tuple(p / self.geometry.wavelength for p in prepared.grid.pixel)
        return diffraction_slice(
            found.images,
            f"{self.name}_trotters",
            "electrons",
            (pixel[0], pixel[1]),
            labels,
            parameters,
        )

    def power_spectrum(self) -> DiffractionSlice:
        """Return Σ|G(k, Q)|² over the overlaps of every scan frequency Q.

        Returns
        -------
        power : DiffractionSlice, (Rx, Ry) float32
            Q = 0 in the middle, at [Rx // 2, Ry // 2]: pixel (i, j) is the frequency
            (i − Rx // 2, j − Ry // 2) of `trotters`. Zero at Q = 0 and where no disks overlap
            [electrons²]; the axes are Q [Å⁻¹].
        """
        power = np.fft.fftshift(power_spectrum(self._ready().store))
        step = self.geometry.scan_step
        pixel = (1 / (power.shape[0] * step[0]), 1 / (power.shape[1] * step[1]))
        result = diffraction_slice(power, f"{self.name}_power_spectrum", "electrons^2", pixel)
        for axis in range(2):
            origin = -(power.shape[axis] // 2) * pixel[axis]
            name = ("Rx frequency", "Ry frequency")[axis]
            result.set_dim(axis, [origin, origin + pixel[axis]], units="A^-1", name=name)
        return result

    def visualize(self, fig: Any = None) -> EventSSB:
        """Show the disk on the mean pattern, the strongest trotters, phase and amplitude.

        Parameters
        ----------
        fig : matplotlib Figure, optional

        Returns
        -------
        self
        """
        from .figures import draw_ssb

        prepared = self._ready()
        draw_ssb(
            fig,
            prepared.pattern_sum,
            prepared.disk,
            self.trotters(9).data,
            self.object_phase,
            self.object_amplitude,
        )
        return self


def _parse_disk(
    pattern_sum: np.ndarray, center: tuple[float, float] | None, radius: float | None
) -> Disk:
    """Return the disk that the user gave, completed by what is measured."""
    if radius is not None and not (math.isfinite(radius) and radius > 0):
        raise ParameterError(f"bf_radius is {radius}; it must be a positive number of pixels")
    if center is not None and (len(center) != 2 or not np.isfinite(center).all()):
        raise ParameterError(f"center is {center!r}; give (row, column) in detector pixels")
    if center is None or radius is None:
        measured = find_disk(pattern_sum, warn=False)
        center = measured.center if center is None else center
        radius = measured.radius if radius is None else radius
    disk = Disk((float(center[0]), float(center[1])), float(radius))
    warn_if_cut(disk, (pattern_sum.shape[0], pattern_sum.shape[1]))
    return disk
