"""`EventDPC`: centre-of-mass differential phase contrast for py4DSTEM, straight from the events."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from py4DSTEM.data import Calibration
from py4DSTEM.datacube import DataCube

from ..device import get_device
from ..errors import ParameterError
from ..methods.com import fill_empty
from ..methods.dpc import Descent, Filters, Phase, integrate_direct, integrate_iterative
from ..methods.rotation import solve_rotation
from ..optics import parse_energy
from ..progress import shown
from . import dpc_figures
from .calibration import reciprocal_pixel, scan_step
from .dpc_inputs import descan, given_field, measure, warn_empty, warn_uncalibrated
from .dpc_results import DPCResults, Prepared, from_field, phase_slice

_log = logging.getLogger(__name__)


class EventDPC(DPCResults):
    """Differential phase contrast from the centre of mass of electron events.

    Parameters
    ----------
    datacube : SparseDataCube or DataCube, optional
        Not needed where `preprocess` is given ``force_com_measured``.
    energy : float, optional
        Beam energy [eV]; needed for the electric field, and where the detector is calibrated in
        mrad.
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
        if datacube is not None and not isinstance(datacube, DataCube):
            raise ParameterError(
                f"datacube is a {type(datacube).__name__}; give a py4DSTEM DataCube, dense or "
                "sparse, or none and force_com_measured"
            )
        get_device(device)  # a device that is not there is an error now, not after the loading
        super().__init__(datacube, name)
        self._energy = None if energy is None else parse_energy(energy)
        self._verbose = verbose
        self._device = device
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
        fit_function: str = "plane",
        force_com_rotation: float | None = None,
        force_com_transpose: bool | None = None,
        force_com_shifts: Sequence[Any] | DataCube | None = None,
        force_com_measured: Sequence[np.ndarray] | None = None,
        maximize_divergence: bool = False,
        padding_factor: float = 2,
        *,
        rotation_angles_deg: np.ndarray | None = None,
        vectorized_com_calculation: bool = False,
        force_dose: np.ndarray | None = None,
        robust: bool = False,
        hot_pixels: str = "remove",
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
        force_com_shifts : (CoMx, CoMy) or DataCube, optional
            Descan (Rx, Ry) or numbers [detector px], NaN where unknown, or a scan of the vacuum
            that is measured in the same way, instead of a fit.
        vectorized_com_calculation : bool
            No effect; py4DSTEM knows it.
        force_com_measured : (CoMx, CoMy), optional
            Measured centres of mass (Rx, Ry) [detector px]; NaN marks empty patterns.
        force_dose : (Rx, Ry), optional
            Electrons that `force_com_measured` rests on.
        robust : bool
            Fit the descan again without outliers, as py4DSTEM's `fit_origin` with that name.
        hot_pixels : {"remove", "keep"}
            Leave out camera pixels that stand out from all neighbours, and say so; they are looked
            for in a sample of the counted patterns.
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
            If patterns are empty (they are interpolated), pixels hot, or rotation or transpose
            undecided.
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
        if force_com_measured is not None:
            found = given_field(force_com_measured, force_dose, self._datacube)
        else:
            with shown(self._verbose):
                found = measure(self._datacube, dp_mask, hot_pixels, self._device)
        if isinstance(force_com_shifts, DataCube):
            with shown(self._verbose):
                vacuum = measure(force_com_shifts, dp_mask, hot_pixels, self._device)
            force_com_shifts = tuple(vacuum.com)
        shifts = descan(found.com, found.dose, fit_function, force_com_shifts, robust)
        normalized, n_filled = fill_empty(found.com - shifts, found.dose)
        warn_empty(n_filled, found.dose.size)
        normalized *= 1.0 if pixel is None else pixel
        forced = (force_com_rotation, force_com_transpose, maximize_divergence)
        rotation = solve_rotation(normalized, *forced, device=self._device)
        _log.info("rotation between scan and detector: %s", rotation)
        self._prepared = Prepared(
            measured=found.com,
            normalized=normalized,
            corrected=rotation.apply(normalized),
            dose=found.dose,
            dose_known=found.dose_known,
            n_filled=n_filled,
            n_hot=found.n_hot,
            rotation=rotation,
            step=step,
            pixel=pixel,
            energy=self._energy,
            padding_factor=float(padding_factor),
        )
        self._results, self.error, self.error_iterations = {}, None, []
        for name, result in from_field(self._prepared, self.name).items():
            self._publish(name, result)
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
        progress_bar: bool = True,
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
        progress_bar : bool
            Show the iterations; never where `verbose` is False.

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
        with shown(self._verbose and progress_bar):
            if method == "direct":
                result = integrate_direct(*given, boundary, padding, filters, self._device)
            elif method == "iterative":
                result = integrate_iterative(*given, descent, filters, self._device)
            else:
                raise ParameterError(f'method is {method!r}; it must be "direct" or "iterative"')
        self._accept(result, method=method, low_pass=low_pass, high_pass=high_pass)
        return self

    def visualize(self, fig: Any = None, cbar: bool = True, **kwargs: Any) -> EventDPC:
        """Show the phase, the field as a vector colour map, and what follows from the field.

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
        images = {"object_phase": self.object_phase, **self._results}
        title = None
        if self.error_iterations:
            title = f"Normalized mean squared error: {self.error:.3e}"
        dpc_figures.show_results(images, prepared.step, title, fig, cbar, kwargs)
        return self

    def _accept(self, result: Phase, **settings: Any) -> None:
        self.error, self.error_iterations = result.error, result.error_iterations
        settings["error"] = result.error
        phase = phase_slice(self._ready(), self.name, result.phase, **settings)
        self._publish("object_phase", phase)

    def _fields(self, which: bool | str) -> dict[str, np.ndarray]:
        prepared = self._ready()
        corrected = {"Corrected CoM": prepared.corrected}
        if which != "all":
            return corrected
        return {"CoM": prepared.measured, "Normalized CoM": prepared.normalized, **corrected}
