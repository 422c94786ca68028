"""The descent to a DPC phase: forward model, update and filters as in py4DSTEM's `DPC`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..device import Device
from ..parameters import parse_flag, parse_real, parse_whole
from ..progress import track
from .dpc_filters import Filters, blur, butterworth, gaussian_transfer
from .dpc_fourier import (
    frequencies,
    inverse_square,
    padded_rfft2,
    padded_shape,
    without_nyquist,
)

#: py4DSTEM's update multiplies by k/(4k²) where the exact integral has k/(2πk²).
_PY4DSTEM_GAIN = math.pi / 2


@dataclass(frozen=True)
class Descent:
    """How `integrate_iterative` goes down; names and meaning as in py4DSTEM's `DPC`.

    Attributes
    ----------
    max_iter : int
    step_size : float
        In py4DSTEM's measure: the paper's μ is π/2 times this.
    stopping_criterion : float
        Stop when the step size falls below.
    backtrack : bool
        Undo a step that raises the error, and try half of it.
    padding_factor : float
        The scan is padded to this many times its size against wrap-around.
    """

    max_iter: int = 64
    step_size: float = 0.5
    stopping_criterion: float = 1e-6
    backtrack: bool = True
    padding_factor: float = 2.0

    def __post_init__(self) -> None:
        parse_whole(self.max_iter, "max_iter", at_least=1)
        parse_flag(self.backtrack, "backtrack")
        for name in ("step_size", "stopping_criterion"):
            parse_real(getattr(self, name), name, above=0)
        padded_shape((1, 1), self.padding_factor)


@dataclass(frozen=True)
class State:
    """Where a descent stands, so that it can go on as if it had never stopped.

    Attributes
    ----------
    start : padded shape float32
        The phase that was last found to lower the error [rad].
    update : padded shape float32
        Its integrated residual.
    phase : padded shape float32
        What is to be judged next: `start` after a step along `update`, filtered.
    step_size : float
    errors : list of float
        Part of the squared field that each phase left, before its update.
    overshot : bool
        Whether the last step raised the error, so that it is undone when the descent goes on.
    """

    start: np.ndarray
    update: np.ndarray
    phase: np.ndarray
    step_size: float
    errors: list[float]
    overshot: bool


class Problem:
    """One iterative integration, on its device and in float32 as py4DSTEM's."""

    def __init__(
        self,
        com: np.ndarray,
        step: tuple[float, float],
        regularisation: tuple[float, float],
        descent: Descent,
        filters: Filters,
        where: Device,
    ) -> None:
        xp = where.xp
        self.descent, self.step, self.where = descent, step, where
        self.scan_shape = com.shape[1:]
        self.shape = padded_shape(self.scan_shape, descent.padding_factor)
        self.com = where.asarray(com.astype(np.float32))
        qx, qy = frequencies(self.shape, step, xp)
        inverse = _PY4DSTEM_GAIN * inverse_square(qx, qy, *regularisation)
        nx, ny = without_nyquist(qx, self.shape[0], 0), without_nyquist(qy, self.shape[1], 1)
        self.operators = [(-1j * n * inverse).astype(xp.complex64) for n in (nx, ny)]
        self.envelope = _as_float32(butterworth(qx, qy, filters, xp))
        self.gaussian = _as_float32(gaussian_transfer(self.shape, filters, step[0], xp))

    def solve(
        self, state: State | None = None, images: dict[int, np.ndarray] | None = None
    ) -> tuple[np.ndarray, float, State]:
        """Return phase [rad], its error, and the state from which to go on.

        Parameters
        ----------
        state : State, optional
            Where to go on from; its step size is not used.
        images : dict of int to (Rx, Ry), optional
            Gets the phase [rad] after each iteration, by number: errors[n] is that before image n.
            A step that is undone leaves the next one its number.
        """
        descent, size = self.descent, self.descent.step_size
        start, update, phase = self.arrays(state)
        errors = [] if state is None else list(state.errors)
        for _ in track(range(descent.max_iter), "Reconstructing phase"):
            residual, error = self.residual(phase)
            undone = bool(errors) and error > errors[-1] and descent.backtrack
            if undone:
                size /= 2
            else:
                errors.append(error)
                start, update = phase, self.integrated(residual)
            if size < descent.stopping_criterion:
                break
            phase = self.constrained(start + np.float32(size) * update)
            if images is not None:
                images[len(errors) - 1] = self.image(phase)
        last_error = self.residual(phase)[1]
        overshot = descent.backtrack and last_error > errors[-1]
        kept = [self.where.asnumpy(array) for array in (start, update, phase)]
        state = State(kept[0], kept[1], kept[2], size, errors, overshot)
        if overshot:
            phase, last_error = start, errors[-1]
            if images is not None:
                images[len(errors) - 1] = self.image(phase)
        return self.image(phase), last_error, state

    def arrays(self, state: State | None) -> tuple[Any, Any, Any]:
        """Return start, update and phase of a state on the device; zeros at the beginning."""
        if state is None:
            return (self.where.xp.zeros(self.shape, np.float32),) * 3
        start, update, phase = map(self.where.asarray, (state.start, state.update, state.phase))
        return start, update, phase

    def image(self, phase: Any) -> np.ndarray:
        """Return the part of a padded phase that was scanned."""
        inside = phase[: self.scan_shape[0], : self.scan_shape[1]]
        return np.array(self.where.asnumpy(inside), order="C")

    def residual(self, phase: Any) -> tuple[tuple[Any, Any], float]:
        """Return what the phase does not explain of the field, and its relative square."""
        inside = (phase[:, : self.scan_shape[1]], phase[: self.scan_shape[0]])
        parts = [self.com[axis] - self.slope(inside[axis], axis) for axis in range(2)]
        squared = sum(float((part**2).sum()) for part in parts)
        norm = float((self.com**2).sum())
        return (parts[0], parts[1]), squared / norm if norm > 0 else 0.0

    def slope(self, phase: Any, axis: int) -> Any:
        """Return ∂φ/2π [Å⁻¹] inside the scan by central differences; the padding wraps around."""
        n, padded = self.scan_shape[axis], self.shape[axis]
        phase = phase.swapaxes(0, axis)
        ring = self.where.xp.concatenate([phase[-1:], phase[:n], phase[n % padded :][:1]])
        scale = np.float32(1 / (4 * math.pi * self.step[axis]))
        return (scale * (ring[2:] - ring[:-2])).swapaxes(0, axis)

    def integrated(self, residual: tuple[Any, Any]) -> Any:
        """Return the update: the residual, zero in the padding, integrated."""
        spectra = [padded_rfft2(part, self.shape, self.where) for part in residual]
        total = spectra[0] * self.operators[0] + spectra[1] * self.operators[1]
        return self.where.fft.irfft2(total, self.shape, **self.where.fft_options())

    def constrained(self, phase: Any) -> Any:
        """Return the phase after py4DSTEM's filters."""
        phase = blur(phase, self.gaussian, self.where)
        if self.envelope is None:
            return phase
        options = self.where.fft_options()
        spectrum = self.where.fft.rfft2(phase, **options) * self.envelope
        return self.where.fft.irfft2(spectrum, self.shape, **options)


def _as_float32(array: Any | None) -> Any | None:
    return None if array is None else array.astype(np.float32)
