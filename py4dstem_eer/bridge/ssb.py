"""`EventSSB`: single-sideband ptychography for py4DSTEM, straight from the events."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..detector import DROPPED
from ..device import get_device
from ..errors import CalibrationError, EventWarning, ParameterError
from ..methods import ssb, ssb_snr
from ..methods.aperture_grid import aperture_grid
from ..methods.bright_field import Disk
from ..methods.ssb_gather import check_precision
from ..methods.trotter_rotation import check_rotation
from ..optics import Aberrations, Geometry, parse_energy, parse_semiangle, wavelength
from ..progress import shown
from .calibration import reciprocal_pixel, scan_step
from .patterns import patterns_of
from .ssb_inputs import (
    check_scan,
    find_rotation,
    parse_disk,
    parse_positive,
    settle_rotation,
    warn_sampling,
)
from .ssb_prepared import Prepared
from .ssb_results import SSBResults

#: Warn when the measured disk and the calibrated aperture differ by more than this.
_RADIUS_TOLERANCE = 0.1
_WEIGHTINGS = ("sum", "snr")


class EventSSB(SSBResults):
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
        if semiangle_cutoff_pixels is not None:
            parse_positive(
                semiangle_cutoff_pixels, "semiangle_cutoff_pixels", "pixels", CalibrationError
            )
        if semiangle_cutoff is not None and semiangle_cutoff_pixels is not None:
            raise ParameterError("give one of semiangle_cutoff and semiangle_cutoff_pixels")
        get_device(device)  # a device that is not there is an error now, not after the loading
        coefficients = Aberrations.parse({**(polar_parameters or {}), **aberrations})
        super().__init__(datacube, name, coefficients)
        self._patterns = patterns_of(datacube)
        self._semiangle = semiangle_cutoff
        self._semiangle_pixels = semiangle_cutoff_pixels
        self._device = device
        self._verbose = verbose
        self._precision = "full"
        self._snr: ssb_snr.WeightedStore | None = None

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
        precision: str = "full",
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
            Angle between scan and detector [degrees]. Default: from the centre of mass, checked
            against the disk overlaps, see `rotation` and `rotation_check`.
        force_com_transpose : bool, optional
            Whether detector rows and columns are swapped. Default: likewise.
        force_scan_sampling : float, optional
            Scan step [Å], instead of the calibration.
        force_angular_sampling, force_reciprocal_sampling : float, optional
            Detector pixel [mrad] or [Å⁻¹], instead of the calibration.
        precision : {"full", "half"}
            How the entries of G(k, Q) are kept. "half" takes half of the memory: 16-bit fixed point
            with a unit for every run of neighbouring scan frequencies of a pixel. The phase changes
            by less than 1e-5 rad, and 1e-3 of its standard error; see `methods.ssb.prepare`.

        Returns
        -------
        self

        Warns
        -----
        EventWarning
            If the disk is cut or contradicts the calibration, or rotation and transpose are in
            doubt.
        UserWarning
            If the scan step is too coarse or needlessly fine for the aperture, or the disk small
            on the detector that is used.
        """
        check_precision(precision)
        self._precision = precision
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
            check_scan(self._patterns.scan_shape, pattern_sum)
            disk = parse_disk(pattern_sum, center, bf_radius)
            semiangle, pixel = self._aperture(disk, pixel)
            geometry = Geometry(self._energy, semiangle, step)
            given = (force_com_rotation, force_com_transpose)
            self._prepared = self._prepare(geometry, disk, pixel, detector_size, pattern_sum, given)
        self._snr = None
        self._object = self._phase = self._phase_sigma = None
        self._publish_prepared()
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

    def _prepare(
        self,
        geometry: Geometry,
        disk: Disk,
        pixel: float,
        detector_size: int | None,
        pattern_sum: np.ndarray,
        given: tuple[float | None, bool | None],
    ) -> Prepared:
        scan_shape, device = self._patterns.scan_shape, self._device
        grid = aperture_grid(self._patterns.detector_shape, disk, pixel, geometry, detector_size)
        warn_sampling(geometry, grid)
        rotation, com = find_rotation(self._patterns, geometry.scan_step, *given, device)
        n_bytes = math.prod(scan_shape) * len(grid.pixels)
        with get_device(device).holding(
            n_bytes, "the stack of bright-field pixels", ssb.MEMORY_ADVICE
        ):
            stack = self._patterns.stack(grid.pixel_map, pattern_sum, device)
        check = None
        if com is not None:
            check = check_rotation(rotation, com, stack, grid, geometry, device)
            rotation = settle_rotation(rotation, check, given == (None, None))
        angle = math.radians(rotation.angle_deg)
        geometry = replace(geometry, rotation=angle, transpose=rotation.transpose)
        total = float(pattern_sum.ravel()[grid.square.lut != DROPPED].sum())
        precision = self._precision
        store = ssb.prepare(stack, grid, scan_shape, total, geometry, device, precision=precision)
        bright_field = ssb.bright_field_image(stack, scan_shape, device)
        return Prepared(
            store, grid, disk, pattern_sum, bright_field, pixel, detector_size, rotation, check
        )

    def reconstruct(
        self,
        sideband: str = "both",
        triple_overlap: bool = False,
        weighting: str | None = None,
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
        weighting : {"snr", "sum"}, optional
            "snr" is the least-squares phase of a weak object from all overlaps, weighted by the
            counting noise: in radians, with even transfer; see `methods.ssb_snr`. It takes both
            sidebands. "sum" adds up the detector pixels of a scan frequency, as py4DSTEM does:
            sharp, with a transfer that falls towards small and large frequencies. Default: "snr";
            "sum" where a single sideband or triple overlaps are asked for.
        polar_parameters, **aberrations
            Aberrations [Å, rad], all others zero. Default: those given before.

        Returns
        -------
        self
        """
        prepared = self._ready()
        if weighting is None:
            weighting = "snr" if sideband == "both" and not triple_overlap else "sum"
        if weighting not in _WEIGHTINGS:
            raise ParameterError(f"weighting is {weighting!r}; it must be one of {_WEIGHTINGS}")
        given = {**(polar_parameters or {}), **aberrations}
        if given:
            self._aberrations = Aberrations.parse(given)
        if weighting == "snr":
            self._object, self._phase = None, self._least_squares(prepared, sideband)
        else:
            self._phase = self._phase_sigma = None
            self._object = ssb.reconstruct(
                prepared.store, self._aberrations, sideband, triple_overlap
            )
        self._publish_object(sideband=sideband, triple_overlap=triple_overlap, weighting=weighting)
        return self

    def _least_squares(self, prepared: Prepared, sideband: str) -> np.ndarray:
        """Return the least-squares phase [rad]; gathers its own entries the first time."""
        if sideband != "both":
            raise ParameterError('weighting="snr" uses both sidebands: leave sideband="both"')
        if self._snr is None:
            with shown(self._verbose):
                self._snr = self._prepare_snr(prepared)
        estimate = ssb_snr.estimate_phase(self._snr, self._aberrations)
        self._phase_sigma = estimate.sigma
        return estimate.phase

    def _prepare_snr(self, prepared: Prepared) -> ssb_snr.WeightedStore:
        geometry, shape = self.geometry, self._patterns.detector_shape
        size = prepared.detector_size
        grid = aperture_grid(shape, prepared.disk, prepared.camera_pixel, geometry, size, rim=True)
        stack = self._patterns.stack(grid.pixel_map, prepared.pattern_sum, self._device)
        total = float(stack.sum())
        settings = (self._patterns.scan_shape, total, geometry, self._device, self._precision)
        return ssb_snr.prepare_snr(stack, grid, *settings)
