"""`EventDPC`: centre-of-mass differential phase contrast for py4DSTEM, straight from the events."""

from __future__ import annotations

from typing import Any

import numpy as np
from py4DSTEM.datacube import DataCube

from ..errors import ParameterError
from ..methods.dpc import Descent, Filters, Phase, integrate_direct, integrate_iterative
from ..optics import parse_energy
from ..parameters import parse_flag
from ..progress import shown
from .dpc_figures import show_results
from .dpc_iterations import parse_grid, show_iterations
from .dpc_measurement import DPCMeasurement
from .dpc_results import phase_slice
from .dpc_settings import choose_filters, choose_method, continued, first_step


class EventDPC(DPCMeasurement):
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
        energy = None if energy is None else parse_energy(energy)
        super().__init__(datacube, energy, verbose, device, name)

    def __repr__(self) -> str:
        if self._prepared is None:
            return "EventDPC(call preprocess())"
        error = "call reconstruct()" if self.error is None else f"error {self.error:.3e}"
        return (
            f"EventDPC(scan {self._prepared.dose.shape}, rotation {self.rotation_deg:.1f}°, "
            f"transpose {self.transpose}, {error})"
        )

    def reconstruct(
        self,
        method: str | None = None,
        low_pass: float = 0.0,
        high_pass: float = 0.0,
        max_iter: int = 64,
        step_size: float | None = None,
        stopping_criterion: float = 1e-6,
        backtrack: bool = True,
        boundary: str = "mirror",
        gaussian_filter_sigma: float | None = None,
        q_lowpass: float | None = None,
        q_highpass: float | None = None,
        butterworth_order: float = 2,
        progress_bar: bool = True,
        *,
        reset: bool | None = None,
        gaussian_filter: bool = True,
        butterworth_filter: bool = True,
        store_iterations: bool = False,
        device: str | None = None,
        clear_fft_cache: bool | None = None,
    ) -> EventDPC:
        """Reconstruct the phase.

        Parameters
        ----------
        method : {"direct", "iterative"}, optional
            One regularised Fourier integration, or py4DSTEM's iterations. Default: direct, but
            iterative where a setting of the iterations is given, as in notebooks for py4DSTEM.
        low_pass, high_pass : float
            The paper's λ₂ [Å²] and λ₁ [Å⁻²]: the spectrum is divided by λ₁ + q² + λ₂ q⁴.
        max_iter, stopping_criterion, backtrack
            Iterative only, as py4DSTEM's.
        step_size : float, optional
            Iterative only, as py4DSTEM's; the paper's μ is π/2 times this. Default: that with which
            the iterations stopped, in the beginning 0.5.
        boundary : {"mirror", "zero", "periodic"}
            Direct only: what lies outside the scan.
        gaussian_filter_sigma : float, optional
            Gaussian blur of the phase [Å], as py4DSTEM's.
        q_lowpass, q_highpass, butterworth_order : float, optional
            Butterworth filters of the phase [Å⁻¹], as py4DSTEM's.
        progress_bar : bool
            Show the iterations; never where `verbose` is False.
        reset : bool, optional
            Iterative only: begin afresh. Otherwise iterations go on from where the last ones
            stopped, with a warning if None. A direct solution is always afresh.
        gaussian_filter, butterworth_filter : bool
            Whether those filters are applied.
        store_iterations : bool
            Iterative only: keep `object_phase_iterations`.
        device : {"cpu", "gpu"}, optional
            From now on, instead of the device given before.
        clear_fft_cache
            No effect; py4DSTEM knows it.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            If a value is impossible, or would have no effect with the method.

        Warns
        -----
        UserWarning
            If iterations go on and `reset` does not say so.
        """
        prepared = self._ready()
        self._use(device)
        filters = Filters(q_lowpass, q_highpass, butterworth_order, gaussian_filter_sigma)
        filters = choose_filters(filters, gaussian_filter, butterworth_filter)
        iterations: dict[str, Any] = {
            "max_iter": max_iter,
            "step_size": step_size,
            "stopping_criterion": stopping_criterion,
            "backtrack": backtrack,
            "reset": reset,
            "store_iterations": store_iterations,
        }
        chosen = choose_method(method, boundary, **iterations)
        given = (prepared.corrected, prepared.step or (1.0, 1.0), low_pass, high_pass)
        images: dict[int, np.ndarray] = {}
        with shown(parse_flag(progress_bar, "progress_bar") and self._verbose):
            if chosen == "direct":
                padding = prepared.padding_factor
                result = integrate_direct(*given, boundary, padding, filters, self._device)
            else:
                result, images = self._iterate(given, filters, **iterations)
        self._accept(result, images, method=chosen, low_pass=low_pass, high_pass=high_pass)
        return self

    def _iterate(
        self,
        given: tuple[np.ndarray, tuple[float, float], float, float],
        filters: Filters,
        reset: bool | None,
        store_iterations: bool,
        step_size: float | None,
        **settings: Any,
    ) -> tuple[Phase, dict[int, np.ndarray]]:
        """Go on with the iterations, or begin them; returns the phase and the stored ones."""
        state = continued(self._state, reset)
        padding = self._ready().padding_factor
        descent = Descent(
            step_size=first_step(step_size, state), padding_factor=padding, **settings
        )
        images = {} if state is None else dict(self._images)
        if state is not None and state.overshot:
            images.pop(len(state.errors) - 1, None)  # another step takes its number
        kept = images if parse_flag(store_iterations, "store_iterations") else None
        return integrate_iterative(*given, descent, filters, self._device, state, kept), images

    def visualize(
        self,
        fig: Any = None,
        iterations_grid: str | tuple[int, int] | None = None,
        plot_convergence: bool = True,
        cbar: bool = True,
        **kwargs: Any,
    ) -> EventDPC:
        """Show the phase, the field as a vector colour map, and what follows from the field.

        Parameters
        ----------
        fig : matplotlib Figure, optional
            Figure to draw on.
        iterations_grid : "auto" or (int, int), optional
            Show so many rows and columns of the stored iterations instead.
        plot_convergence : bool
            Draw the error against the iterations, where there were any, below the phase.
        cbar : bool
            Draw colour bars.
        **kwargs
            `figsize`, `cmap`, `vmin`, `vmax` (fractions of the pixels, as in py4DSTEM), and what
            matplotlib's imshow takes, for the phase.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            If no or fewer iterations were stored, or nothing is reconstructed.
        """
        phase, step = self.object_phase, self._ready().step
        errors = self.error_iterations if parse_flag(plot_convergence, "plot_convergence") else []
        grid = parse_grid(iterations_grid, len(self._images))
        if grid is not None:
            show_iterations(self._images, grid, errors, step, phase.units, fig, cbar, kwargs)
            return self
        title = None
        if self.error_iterations:
            title = f"Normalized mean squared error: {self.error:.3e}"
        show_results(self._results, step, title, fig, cbar, kwargs, errors)
        return self

    @property
    def object_phase_iterations(self) -> list[np.ndarray]:
        """The phase (Rx, Ry) [rad] after each iteration of ``reconstruct(store_iterations=True)``.

        As in py4DSTEM, those of runs that are continued come one after another, and a run without
        `store_iterations` adds none; `visualize` gives each its number among all iterations.
        """
        return list(self._images.values())

    def _accept(self, result: Phase, images: dict[int, np.ndarray], **settings: Any) -> None:
        self.error, self.error_iterations = result.error, list(result.error_iterations)
        self._state, self._images = result.state, images
        settings["error"] = result.error
        phase = phase_slice(self._ready(), self.name, result.phase, **settings)
        self._publish("object_phase", phase)
