"""`EventDPC`: centre-of-mass differential phase contrast for py4DSTEM, straight from the events."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from py4DSTEM.data import Calibration, RealSlice

from ..device import get_device
from ..errors import ParameterError
from ..methods.com import fill_empty
from ..methods.dpc import Descent, Filters, Phase, integrate_direct, integrate_iterative
from ..methods.rotation import RelativeRotation, solve_rotation
from ..optics import parse_energy
from ..progress import shown
from . import dpc_figures
from .calibration import reciprocal_pixel, scan_step
from .dpc_inputs import descan, is_cube, measure, warn_empty, warn_uncalibrated
from .results import real_slice

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Prepared:
    """What `preprocess` leaves for `reconstruct`."""

    measured: np.ndarray  # (2, Rx, Ry) [px], NaN where a pattern is empty
    normalized: np.ndarray  # (2, Rx, Ry) [Å⁻¹ or px], descan removed
    corrected: np.ndarray  # (2, Rx, Ry) [Å⁻¹ or px], in the frame of the scan
    dose: np.ndarray  # (Rx, Ry) electrons behind each position
    n_filled: int
    rotation: RelativeRotation
    step: tuple[float, float] | None
    pixel: float | None
    padding_factor: float


class EventDPC:
    """Differential phase contrast from the centre of mass of electron events.

    Parameters
    ----------
    datacube : SparseDataCube or DataCube, optional
        Not needed where `preprocess` is given ``force_com_measured``.
    energy : float, optional
        Beam energy [eV]; needed only where the detector is calibrated in mrad.
    verbose : bool
        Show progress bars, and warn about missing calibrations as py4DSTEM does.
    device : {"cpu", "gpu"}
    name : str
        Results are named after it in the cube's tree.

    Attributes
    ----------
    error : float or None
        Part of the squared field that the phase does not explain.
    error_iterations : list of float
        The same before each iteration.

    References
    ----------
    .. [1] Pelz et al., IEEE Signal Process. Mag. 39, 25 (2022), section V.
    """

    def __init__(
        self,
        datacube: Any = None,
        energy: float | None = None,
        verbose: bool = True,
        device: str = "cpu",
        name: str = "dpc_reconstruction",
    ) -> None:
        if datacube is not None and not is_cube(datacube):
            raise ParameterError(
                f"datacube is a {type(datacube).__name__}; give a py4DSTEM DataCube, dense or "
                "sparse, or none and force_com_measured"
            )
        get_device(device)  # a device that is not there is an error now, not after the loading
        self._datacube = datacube
        self._energy = None if energy is None else parse_energy(energy)
        self._verbose = verbose
        self._device = device
        self.name = name
        self._prepared: _Prepared | None = None
        self._com: RealSlice | None = None
        self._object_phase: RealSlice | None = None
        self.error: float | None = None
        self.error_iterations: list[float] = []

    def __repr__(self) -> str:
        if self._prepared is None:
            return "EventDPC(call preprocess())"
        error = "call reconstruct()" if self.error is None else f"error {self.error:.3e}"
        return (
            f"EventDPC(scan {self._prepared.dose.shape}, rotation {self.rotation_deg:.1f}°, "
            f"transpose {self.transpose}, {error})"
        )

    def preprocess(
        self,
        dp_mask: np.ndarray | None = None,
        padding_factor: float = 2,
        rotation_angles_deg: np.ndarray | None = None,
        maximize_divergence: bool = False,
        fit_function: str = "plane",
        force_com_rotation: float | None = None,
        force_com_transpose: bool | None = None,
        force_com_shifts: Sequence[Any] | None = None,
        vectorized_com_calculation: bool = False,
        force_com_measured: Sequence[np.ndarray] | None = None,
        force_scan_sampling: float | None = None,
        force_angular_sampling: float | None = None,
        force_reciprocal_sampling: float | None = None,
        plot_center_of_mass: bool | str = False,
        plot_rotation: bool = False,
    ) -> EventDPC:
        """Measure the centre of mass, remove the descan, and find rotation and transpose.

        Parameters
        ----------
        dp_mask : (Qx, Qy), optional
            Weight of every detector pixel; booleans select.
        padding_factor : float
            Size of the padded scan of the iterative method, against wrap-around.
        rotation_angles_deg : None
            The angle is found in closed form, without a list of trial angles.
        maximize_divergence : bool
            Choose the transpose by the largest divergence instead of the least curl.
        fit_function : {"plane", "parabola", "bezier_two", "constant"}
            Model of the descan.
        force_com_rotation : float, optional
            Angle between scan and detector [degrees]. Default: measured.
        force_com_transpose : bool, optional
            Whether detector rows and columns are swapped. Default: measured.
        force_com_shifts : (CoMx, CoMy), optional
            Descan (Rx, Ry) or numbers [detector px], instead of a fit.
        vectorized_com_calculation : bool
            No effect; py4DSTEM knows it.
        force_com_measured : (CoMx, CoMy), optional
            Measured centres of mass (Rx, Ry) [detector px]; NaN marks empty patterns.
        force_scan_sampling : float, optional
            Scan step [Å], instead of the calibration.
        force_angular_sampling, force_reciprocal_sampling : float, optional
            Detector pixel [mrad] or [Å⁻¹], instead of the calibration.
        plot_center_of_mass : bool, "default" or "all"
            Show the corrected (or the measured, normalized and corrected) field.
        plot_rotation : bool
            Show the curl against the rotation angle.

        Returns
        -------
        self

        Warns
        -----
        EventWarning
            If patterns are empty (they are interpolated), or rotation or transpose undecided.
        UserWarning
            If a calibration is missing; the result is then not quantitative.
        """
        if rotation_angles_deg is not None:
            raise ParameterError(
                "rotation_angles_deg is not used: the rotation is found in closed form; leave it "
                "out, or give force_com_rotation"
            )
        Descent(padding_factor=padding_factor)
        step, pixel = self._sampling(
            force_scan_sampling, force_angular_sampling, force_reciprocal_sampling
        )
        with shown(self._verbose):
            measured, dose = measure(self._datacube, dp_mask, force_com_measured, self._device)
        shifts = descan(measured, dose, fit_function, force_com_shifts)
        normalized, n_filled = fill_empty(measured - shifts, dose)
        warn_empty(n_filled, dose.size)
        normalized *= 1.0 if pixel is None else pixel
        forced = (force_com_rotation, force_com_transpose, maximize_divergence)
        rotation = solve_rotation(normalized, *forced, device=self._device)
        _log.info("rotation between scan and detector: %s", rotation)
        self._prepared = _Prepared(
            *(measured, normalized, rotation.apply(normalized), dose, n_filled),
            *(rotation, step, pixel, float(padding_factor)),
        )
        self._object_phase, self.error, self.error_iterations = None, None, []
        self._com = self._publish_com()
        if plot_rotation:
            dpc_figures.show_rotation(normalized, rotation)
        if plot_center_of_mass:
            dpc_figures.show_fields(self._fields(plot_center_of_mass), step)
        return self

    def _sampling(
        self, scan: float | None, angular: float | None, reciprocal: float | None
    ) -> tuple[tuple[float, float] | None, float | None]:
        """Return scan step [Å] and detector pixel [Å⁻¹], None where there is no calibration."""
        calibration = Calibration() if self._datacube is None else self._datacube.calibration
        step = scan_step(calibration, scan)
        pixel = reciprocal_pixel(calibration, self._energy, angular, reciprocal)
        if self._verbose:
            warn_uncalibrated(step, pixel)
        return step, pixel

    def reconstruct(
        self,
        method: str = "direct",
        low_pass: float = 0.0,
        high_pass: float = 0.0,
        max_iter: int = 64,
        step_size: float = 0.5,
        stopping_criterion: float = 1e-6,
        backtrack: bool = True,
        boundary: str = "mirror",
        gaussian_filter_sigma: float | None = None,
        q_lowpass: float | None = None,
        q_highpass: float | None = None,
        butterworth_order: float = 2,
    ) -> EventDPC:
        """Reconstruct the phase; always afresh, so that settings can be tried one after another.

        Parameters
        ----------
        method : {"direct", "iterative"}
            One regularised Fourier integration, or py4DSTEM's iterations.
        low_pass, high_pass : float
            The paper's λ₂ [Å²] and λ₁ [Å⁻²]: the spectrum is divided by λ₁ + q² + λ₂ q⁴.
        max_iter, step_size, stopping_criterion, backtrack
            Iterative only, as py4DSTEM's; the paper's μ is π/2 times `step_size`.
        boundary : {"mirror", "zero", "periodic"}
            Direct only: what lies outside the scan.
        gaussian_filter_sigma : float, optional
            Gaussian blur of the phase [Å], as py4DSTEM's.
        q_lowpass, q_highpass, butterworth_order : float, optional
            Butterworth filters of the phase [Å⁻¹], as py4DSTEM's.

        Returns
        -------
        self
        """
        prepared = self._ready()
        filters = Filters(q_lowpass, q_highpass, butterworth_order, gaussian_filter_sigma)
        padding = prepared.padding_factor
        descent = Descent(max_iter, step_size, stopping_criterion, backtrack, padding)
        step = prepared.step or (1.0, 1.0)
        given = (prepared.corrected, step, low_pass, high_pass)
        with shown(self._verbose):
            if method == "direct":
                result = integrate_direct(*given, boundary, padding, filters, self._device)
            elif method == "iterative":
                result = integrate_iterative(*given, descent, filters, self._device)
            else:
                raise ParameterError(f'method is {method!r}; it must be "direct" or "iterative"')
        self._accept(result, method=method, low_pass=low_pass, high_pass=high_pass)
        return self

    def visualize(self, fig: Any = None, cbar: bool = True, **kwargs: Any) -> EventDPC:
        """Show the phase, and the centre of mass as a vector colour map.

        Parameters
        ----------
        fig : matplotlib Figure, optional
            Figure to draw on.
        cbar : bool
            Draw colour bars.
        **kwargs
            `figsize`, `cmap`, `vmin`, `vmax` (fractions of the pixels, as in py4DSTEM), and what
            matplotlib's imshow takes, for the phase.

        Returns
        -------
        self
        """
        prepared = self._ready()
        phase = self.object_phase
        title = f"Normalized mean squared error: {self.error:.3e}"
        dpc_figures.show_phase(
            *(phase.data, phase.units, prepared.corrected, prepared.step),
            *(title, fig, cbar, kwargs),
        )
        return self

    def _accept(self, result: Phase, **settings: Any) -> None:
        prepared = self._ready()
        self.error, self.error_iterations = result.error, result.error_iterations
        units = "arbitrary" if prepared.step is None or prepared.pixel is None else "rad"
        parameters = {**self._parameters(), **settings, "error": result.error}
        self._object_phase = real_slice(
            *(result.phase, f"{self.name}_object_phase", units),
            *(prepared.step, None, parameters),
        )
        self._attach(self._object_phase)

    def _publish_com(self) -> RealSlice:
        prepared = self._ready()
        units = "pixels" if prepared.pixel is None else "A^-1"
        com = real_slice(
            *(prepared.corrected, f"{self.name}_com", units),
            *(prepared.step, ("CoMx", "CoMy"), self._parameters()),
        )
        self._attach(com)
        return com

    def _parameters(self) -> dict[str, Any]:
        prepared = self._ready()
        return {
            "rotation_deg": prepared.rotation.angle_deg,
            "rotation_uncertainty_deg": prepared.rotation.uncertainty_deg,
            "transpose": prepared.rotation.transpose,
            "interpolated_positions": prepared.n_filled,
        }

    def _attach(self, result: RealSlice) -> None:
        if self._datacube is not None:
            self._datacube.attach(result)

    def _fields(self, which: bool | str) -> dict[str, np.ndarray]:
        prepared = self._ready()
        corrected = {"Corrected CoM": prepared.corrected}
        if which != "all":
            return corrected
        return {"CoM": prepared.measured, "Normalized CoM": prepared.normalized, **corrected}

    def _ready(self) -> _Prepared:
        if self._prepared is None:
            raise ParameterError("call preprocess() first")
        return self._prepared

    @property
    def rotation(self) -> RelativeRotation:
        """Rotation and transpose in use, with uncertainty and whether the data can tell."""
        return self._ready().rotation

    @property
    def rotation_deg(self) -> float:
        """Angle between scan and detector in py4DSTEM's convention [degrees]."""
        return self.rotation.angle_deg

    @property
    def transpose(self) -> bool:
        """Whether detector rows and columns are swapped."""
        return self.rotation.transpose

    @property
    def n_filled(self) -> int:
        """Number of scan positions without electrons, which were interpolated."""
        return self._ready().n_filled

    @property
    def com(self) -> RealSlice:
        """Centre of mass in the frame of the scan: stack (CoMx, CoMy) [Å⁻¹, or px]."""
        if self._com is None:
            raise ParameterError("call preprocess() first")
        return self._com

    @property
    def object_phase(self) -> RealSlice:
        """Phase of the object, (Rx, Ry) [rad]."""
        if self._object_phase is None:
            raise ParameterError("call preprocess() and reconstruct() first")
        return self._object_phase
