"""The first half of `EventDPC`: from patterns to a field in the frame of the scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from py4DSTEM.data import Calibration
from py4DSTEM.datacube import DataCube

from ..device import get_device
from ..methods.dpc import Descent, State
from ..parameters import parse_flag
from ..progress import shown
from .calibration import reciprocal_pixel, scan_step
from .dpc_figures import show_prepared
from .dpc_inputs import descan, given_field, measure, warn_uncalibrated
from .dpc_prepared import prepare_field
from .dpc_results import DPCResults, from_field
from .dpc_settings import parse_plots, refuse_angles

Self = TypeVar("Self", bound="DPCMeasurement")


class DPCMeasurement(DPCResults):
    """The part of `EventDPC` that measures."""

    def __init__(
        self, datacube: Any, energy: float | None, verbose: bool, device: str, name: str
    ) -> None:
        super().__init__(datacube, name)
        self._energy, self._verbose, self._device = energy, verbose, device
        self._use(device)
        self._forget()

    def _forget(self) -> None:
        self.error: float | None = None
        self.error_iterations: list[float] = []
        self._images: dict[int, np.ndarray] = {}
        self._state: State | None = None

    def _use(self, device: str | None) -> None:
        if device is not None:
            get_device(device)  # a device that is not there is an error now, not after the loading
            self._device = device

    def preprocess(
        self: Self,
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
        device: str | None = None,
        clear_fft_cache: bool | None = None,
        **kwargs: Any,
    ) -> Self:
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
        vectorized_com_calculation, clear_fft_cache
            No effect; py4DSTEM knows them.
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
        device : {"cpu", "gpu"}, optional
            From now on, instead of the device given before.
        **kwargs
            `figsize`, `cmap` and what else imshow takes, for what is plotted.

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
        refuse_angles(rotation_angles_deg)
        robust = parse_flag(robust, "robust")
        maximize_divergence = parse_flag(maximize_divergence, "maximize_divergence")
        which = parse_plots(plot_center_of_mass, plot_rotation, kwargs)
        Descent(padding_factor=padding_factor)
        self._use(device)
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
        self._prepared = prepare_field(
            found,
            descan(found.com, found.dose, fit_function, force_com_shifts, robust),
            (force_com_rotation, force_com_transpose, maximize_divergence),
            self._device,
            pixel,
            step=step,
            energy=self._energy,
            padding_factor=float(padding_factor),
        )
        self._forget()
        self._retract()
        for name, result in from_field(self._prepared, self.name).items():
            self._publish(name, result)
        show_prepared(self._prepared, which, plot_rotation, kwargs)
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
