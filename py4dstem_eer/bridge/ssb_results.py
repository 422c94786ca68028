"""What `EventSSB` found, as py4DSTEM's slices with units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from emdfile import Array
from py4DSTEM.data import DiffractionSlice, RealSlice

from ..errors import ParameterError
from ..methods import ssb, trotters
from ..methods.bright_field import Disk
from ..methods.phase_images import phase_of, wrapped
from ..methods.rotation import RelativeRotation
from ..methods.trotter_rotation import TrotterRotation
from ..optics import Aberrations, Geometry
from .results import diffraction_slice, real_slice, retract
from .ssb_prepared import Dose, Prepared

_N_TROTTERS = 9
#: Names of all that `EventSSB` hangs in the cube's tree, after its own name.
RESULTS = (
    "bright_field", "trotters", "power_spectrum", "double_overlap", "object_phase",
    "object_amplitude",
)  # fmt: skip


class SSBResults:
    """The part of `EventSSB` that holds results and hangs them in the cube's tree."""

    def __init__(self, datacube: Any, name: str, aberrations: Aberrations) -> None:
        self._datacube = datacube
        self.name = name
        self._aberrations = aberrations
        self._prepared: Prepared | None = None
        #: Of the sum, or made from the phase of least squares when it is asked for.
        self._object: np.ndarray | None = None
        self._phase: np.ndarray | None = None
        self._phase_sigma: float | None = None
        self._results: dict[str, Array] = {}

    def _ready(self) -> Prepared:
        if self._prepared is None:
            raise ParameterError("call preprocess() first")
        return self._prepared

    def _result(self, name: str) -> Any:
        if name not in self._results:
            raise ParameterError("call preprocess() and reconstruct() first")
        return self._results[name]

    def _publish(self, name: str, result: Array) -> None:
        self._results[name] = result
        self._datacube.attach(result)

    def _publish_prepared(self) -> None:
        """Make what needs no reconstruction, and hang it into the cube's tree, alone."""
        step, image = self.geometry.scan_step, self._ready().bright_field
        bright = real_slice(
            image, f"{self.name}_bright_field", "electrons", step, None, self._parameters()
        )
        n = min(_N_TROTTERS, trotters.count_frequencies(self._ready().store))
        retract(self._datacube, self.name, RESULTS)
        self._results = {}
        self._publish("bright_field", bright)
        self._publish("trotters", self.trotters(n))
        self._publish(
            "power_spectrum",
            self._over_frequencies(
                trotters.power_spectrum(self._ready().store), "power_spectrum", "electrons^2"
            ),
        )
        self._publish(
            "double_overlap",
            self._over_frequencies(
                trotters.double_overlap(self._ready().store), "double_overlap", "1"
            ),
        )

    def _publish_object(self, **settings: Any) -> None:
        """Make the results of a reconstruction and hang them into the cube's tree."""
        parameters = {
            **self._parameters(),
            "aberrations": dict(self._aberrations.polar),
            **settings,
        }
        phase, amplitude = self._phase_and_amplitude()
        for name, image, units in (
            ("object_phase", phase, "rad"),
            ("object_amplitude", amplitude, "1"),
        ):
            step = self.geometry.scan_step
            self._publish(
                name, real_slice(image, f"{self.name}_{name}", units, step, None, parameters)
            )

    def _phase_and_amplitude(self) -> tuple[np.ndarray, np.ndarray]:
        if self._phase is not None:
            return wrapped(self._phase), np.ones_like(self._phase)
        return phase_of(self.object), np.abs(self.object)

    def _parameters(self) -> dict[str, Any]:
        geometry = self.geometry
        return {
            "energy": geometry.energy,
            "semiangle_cutoff": geometry.semiangle,
            "rotation_deg": math.degrees(geometry.rotation),
            "transpose": geometry.transpose,
            "electrons": self.dose.electrons,
            "electrons_per_pattern": self.dose.per_pattern,
            "electrons_per_A2": self.dose.per_area,
        }

    def _over_frequencies(self, plane: np.ndarray, name: str, units: str) -> DiffractionSlice:
        """Return a quantity over scan frequencies, Q = 0 in the middle, with its axes [Å⁻¹]."""
        steps = self.geometry.scan_step
        pixel = (1 / (plane.shape[0] * steps[0]), 1 / (plane.shape[1] * steps[1]))
        origin = (-(plane.shape[0] // 2) * pixel[0], -(plane.shape[1] // 2) * pixel[1])
        shifted = np.fft.fftshift(plane)
        return diffraction_slice(
            shifted, f"{self.name}_{name}", units, pixel, None, self._parameters(), origin
        )

    @property
    def geometry(self) -> Geometry:
        """Energy, semi-angle, scan step, rotation and transpose in use."""
        return self._ready().store.geometry

    @property
    def rotation(self) -> RelativeRotation:
        """Rotation and transpose in use, with uncertainty and whether the data can tell."""
        return self._ready().rotation

    @property
    def rotation_check(self) -> TrotterRotation | None:
        """What the disk overlaps say about rotation and transpose; None if both were given."""
        return self._ready().rotation_check

    @property
    def polar_parameters(self) -> dict[str, float]:
        """Aberrations in use, all 25 symbols [Å, rad]."""
        return dict(self._aberrations.polar)

    @property
    def disk(self) -> Disk:
        """Centre and radius of the bright-field disk in use [detector px]."""
        return self._ready().disk

    @property
    def dose(self) -> Dose:
        """Electrons in all, per pattern, and per Å²."""
        electrons = float(self._ready().pattern_sum.sum())
        per_pattern = electrons / math.prod(self._ready().store.runs.scan_shape)
        return Dose(electrons, per_pattern, per_pattern / math.prod(self.geometry.scan_step))

    @property
    def object(self) -> np.ndarray:
        """The object, (Rx, Ry) complex64, as in py4DSTEM; of least squares, exp(iφ)."""
        if self._object is None and self._phase is not None:
            self._object = np.exp(1j * self._phase).astype(np.complex64)
        if self._object is None:
            raise ParameterError("call preprocess() and reconstruct() first")
        return self._object

    @property
    def object_phase(self) -> RealSlice:
        """Phase of the object, (Rx, Ry) [rad]."""
        return self._result("object_phase")

    @property
    def object_amplitude(self) -> RealSlice:
        """Amplitude of the object, (Rx, Ry) [1], in py4DSTEM's convention, a → 2 − a.

        Least squares finds a phase alone: with it the amplitude is 1.
        With both sidebands the sum is 1 + iφ for a real φ: the amplitude repeats the phase and says
        nothing of its own. A single sideband, "left" or "right", shows absorption too.
        """
        return self._result("object_amplitude")

    @property
    def phase_sigma(self) -> float:
        """Standard error of every pixel of the phase from counting noise [rad]; of "snr" only."""
        if self._phase_sigma is None:
            raise ParameterError('phase_sigma belongs to reconstruct(weighting="snr")')
        return self._phase_sigma

    @property
    def bright_field(self) -> RealSlice:
        """Electrons on the aperture's pixels at every scan position, (Rx, Ry)."""
        return self._result("bright_field")

    @property
    def double_overlap(self) -> DiffractionSlice:
        """Part of the aperture's pixels in a double overlap at every scan frequency, (Rx, Ry) [1].

        Arranged as `power_spectrum`. It is what the sum of a weak phase object in focus passes.
        """
        return self._result("double_overlap")

    @property
    def double_overlap_fraction(self) -> float:
        """Part of all entries of G(k, Q) of the aperture that lie in a double overlap [1]."""
        return float(self.double_overlap.data.mean())

    @property
    def probe_fourier(self) -> np.ndarray:
        """The probe in the aperture plane, centred, on the small detector, complex64."""
        prepared = self._ready()
        return ssb.aperture_function(prepared.store, prepared.grid, self._aberrations)

    def power_spectrum(self) -> DiffractionSlice:
        """Return Σ|G(k, Q)|² over the overlaps of every scan frequency Q.

        Returns
        -------
        power : DiffractionSlice, (Rx, Ry) float32
            Q = 0 in the middle, at [Rx // 2, Ry // 2]: pixel (i, j) is the frequency
            (i − Rx // 2, j − Ry // 2) of `trotters`. Zero at Q = 0 and where no disks overlap
            [electrons²]; the axes are Q [Å⁻¹].
        """
        return self._result("power_spectrum")

    def trotters(
        self,
        n: int = _N_TROTTERS,
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
            frequencies = trotters.strongest_frequencies(prepared.store, n)
        aberrations = self._aberrations if corrected else None
        found = trotters.trotters(prepared.store, prepared.grid, frequencies, aberrations)
        parameters = {"frequencies": found.frequencies, "Q": found.q, "corrected": corrected}
        labels = [f"Q = ({x:.4f}, {y:.4f}) A^-1" for x, y in found.q]
        row, column = (p / self.geometry.wavelength for p in prepared.grid.pixel)
        name = f"{self.name}_trotters"
        return diffraction_slice(found.images, name, "electrons", (row, column), labels, parameters)

    def visualize(self, fig: Any = None, cbar: bool = True, **kwargs: Any) -> Any:
        """Show phase, trotters, mean pattern, power spectrum, double overlap, and bright field.

        The amplitude takes the place of the bright field where a single sideband was used: with
        both it says nothing beyond the phase.

        Parameters
        ----------
        fig : matplotlib Figure, optional
            Figure to draw on.
        cbar : bool
            Draw colour bars.
        **kwargs
            `figsize`, and what matplotlib's imshow takes, for the phase: `cmap`, `vmin`, `vmax`.

        Returns
        -------
        self
        """
        from .ssb_figures import draw_ssb

        draw_ssb(self, fig, cbar, kwargs)
        return self
