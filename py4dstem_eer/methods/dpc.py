"""Phase from the centre of mass: the gradient of the phase [rad/Å] is 2π · CoM [Å⁻¹].

`integrate_direct` solves for the phase at once, `integrate_iterative` descends to it as py4DSTEM's
`DPC` does. Both divide by λ₁ + q² + λ₂ q⁴ in place of q² (Pelz et al. 2022, section V): `high_pass`
is λ₁ [Å⁻²] and damps frequencies below √λ₁, `low_pass` is λ₂ [Å²] and damps those above 1/√λ₂.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..device import Device, get_device
from ..errors import ParameterError
from ..progress import track
from .dpc_filters import Filters, blur, butterworth, gaussian_transfer, parse_regularisation
from .dpc_fourier import (
    frequencies,
    integrate_mirrored,
    integrate_padded,
    inverse_square,
    padded_rfft2,
    without_nyquist,
)

#: py4DSTEM's update multiplies by k/(4k²) where the exact integral has k/(2πk²).
_PY4DSTEM_GAIN = math.pi / 2

_NO_FILTERS = Filters()


@dataclass(frozen=True)
class Phase:
    """A phase image and how well it explains the field.

    Attributes
    ----------
    phase : (Rx, Ry)
        [rad]; a constant is free.
    error : float
        Σ|CoM − ∇φ/2π|² / Σ|CoM|², the gradient by central differences as in py4DSTEM.
    error_iterations : list of float
        The same before each update.
    step_size : float
        Step size at the end.
    """

    phase: np.ndarray
    error: float
    error_iterations: list[float] = field(default_factory=list)
    step_size: float = 1.0


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
        if not isinstance(self.max_iter, (int, np.integer)) or self.max_iter < 1:
            raise ParameterError(f"max_iter is {self.max_iter!r}; give a positive whole number")
        for name in ("step_size", "stopping_criterion"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ParameterError(f"{name} is {value}; it must be a positive number")
        padded_shape((1, 1), self.padding_factor)


def integrate_direct(
    com: np.ndarray,
    step: tuple[float, float],
    low_pass: float = 0.0,
    high_pass: float = 0.0,
    boundary: str = "mirror",
    padding_factor: float = 2.0,
    filters: Filters = _NO_FILTERS,
    device: str = "cpu",
) -> Phase:
    """Return the phase by one regularised Fourier integration.

    A scan is not periodic. With "mirror" the phase is continued evenly, that is the field oddly
    along and evenly across each edge: its cosine series is the least-squares solution with the
    boundary condition that belongs to it, where zeros outside would be wrong data. What a
    quadratic phase explains (a wedge, a bend) is integrated exactly beforehand, unless a high-pass
    is to remove it, so that the mirror image has hardly a kink left at the edge.

    Parameters
    ----------
    com : (2, Rx, Ry)
        Field along (row, column) [Å⁻¹], in the frame of the scan.
    step : (float, float)
        Scan step along (row, column) [Å].
    low_pass, high_pass : float
        λ₂ [Å²] and λ₁ [Å⁻²].
    boundary : {"mirror", "zero", "periodic"}
        What lies outside the scan.
    padding_factor : float
        Size of the padded scan with "zero".
    filters : Filters
        py4DSTEM's filters, applied once.
    device : {"cpu", "gpu"}

    Returns
    -------
    result : Phase
        With a phase (Rx, Ry) float64 of mean 0.

    Raises
    ------
    ParameterError
        If the field is not finite, or a parameter impossible.
    """
    com, step = _parse_field(com), parse_step(step)
    regularisation = parse_regularisation(low_pass, high_pass)
    where = get_device(device)
    smooth, rest = np.zeros(com.shape[1:]), com
    if boundary == "mirror":
        if not (high_pass or filters.q_highpass):
            smooth, rest = _without_quadratic(com, step)
        phase = integrate_mirrored(where.asarray(rest), step, regularisation, filters, where)
    elif boundary in ("zero", "periodic"):
        factor = padding_factor if boundary == "zero" else 1.0
        shape = padded_shape(com.shape[1:], factor)
        phase = integrate_padded(where.asarray(com), shape, step, regularisation, filters, where)
    else:
        raise ParameterError(f'boundary is {boundary!r}; it must be "mirror", "zero" or "periodic"')
    phase = where.asnumpy(phase) + smooth
    phase -= phase.mean()
    return Phase(phase, _unexplained(phase, com, step))


def integrate_iterative(
    com: np.ndarray,
    step: tuple[float, float],
    low_pass: float = 0.0,
    high_pass: float = 0.0,
    descent: Descent | None = None,
    filters: Filters = _NO_FILTERS,
    device: str = "cpu",
) -> Phase:
    """Return the phase by descending with the paper's update, as py4DSTEM's `DPC` does.

    Parameters
    ----------
    com, step, low_pass, high_pass, filters, device
        As `integrate_direct`; the filters are applied after every update.
    descent : Descent, optional
        Iterations, step size, padding.

    Returns
    -------
    result : Phase
        With a phase (Rx, Ry) float32. With the same settings and λ₁ = λ₂ = 0 it is 2π times the
        `object_phase` of `py4DSTEM.process.phase.DPC`, until an error first rises: py4DSTEM then
        stays where it is, here the step is undone and halved.

    Raises
    ------
    ParameterError
        If the field is not finite, or a parameter impossible.

    References
    ----------
    .. [1] Pelz et al., IEEE Signal Process. Mag. 39, 25 (2022), section V.
    """
    com, step = _parse_field(com), parse_step(step)
    regularisation = parse_regularisation(low_pass, high_pass)
    where = get_device(device)
    problem = _Problem(com, step, regularisation, descent or Descent(), filters, where)
    return problem.solve()


class _Problem:
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

    def solve(self) -> Phase:
        descent = self.descent
        size, error, errors = descent.step_size, math.inf, []
        start = update = phase = self.where.xp.zeros(self.shape, np.float32)
        for _ in track(range(descent.max_iter), "Reconstructing phase"):
            residual, new_error = self.residual(phase)
            if new_error > error and descent.backtrack:
                size /= 2
            else:
                error = new_error
                errors.append(error)
                start, update = phase, self.integrated(residual)
            if size < descent.stopping_criterion:
                break
            phase = self.constrained(start + np.float32(size) * update)
        last_error = self.residual(phase)[1]
        if descent.backtrack and last_error > error:
            phase, last_error = start, error
        image = self.where.asnumpy(phase[: self.scan_shape[0], : self.scan_shape[1]])
        return Phase(np.ascontiguousarray(image), last_error, errors, size)

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


def parse_step(step: tuple[float, float]) -> tuple[float, float]:
    """Return the scan step [Å] along (row, column) if it is positive."""
    sx, sy = (float(s) for s in step)
    if not (0 < sx < math.inf and 0 < sy < math.inf):
        raise ParameterError(f"the scan step is {step}; it must be positive along both axes")
    return sx, sy


def padded_shape(shape: tuple[int, ...], padding_factor: float) -> tuple[int, int]:
    """Return the shape of the padded scan, as py4DSTEM rounds it."""
    if not 1 <= padding_factor < math.inf:
        raise ParameterError(f"padding_factor is {padding_factor}; it must be 1 or more")
    rows, columns = np.round(np.array(shape) * padding_factor).astype(int)
    return int(rows), int(columns)


def _parse_field(com: np.ndarray) -> np.ndarray:
    com = np.ascontiguousarray(com, np.float64)
    if com.ndim != 3 or com.shape[0] != 2 or com.size == 0:
        raise ParameterError(f"the field has shape {com.shape}; it must be (2, Rx, Ry)")
    if not np.isfinite(com).all():
        raise ParameterError("the centre of mass is not finite everywhere; fill it first")
    return com


def _without_quadratic(com: np.ndarray, step: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the quadratic phase [rad] whose gradient fits the field best, and what remains."""
    x, y = (s * (np.arange(n) - (n - 1) / 2) for n, s in zip(com.shape[1:], step, strict=True))
    x, y = x[:, None], y[None, :]
    size = com[0].size
    xx, yy = (x**2).sum() * y.size, (y**2).sum() * x.size
    a, b = com[0].mean(), com[1].mean()
    # centred coordinates: the normal equations are diagonal; an axis of one position has no bend
    c = (x * com[0]).sum() / (xx or size)
    d = ((y * com[0]).sum() + (x * com[1]).sum()) / (xx + yy or size)
    e = (y * com[1]).sum() / (yy or size)
    phase = 2 * math.pi * (a * x + b * y + c * x**2 / 2 + d * x * y + e * y**2 / 2)
    return phase, com - np.stack([a + c * x + d * y, b + d * x + e * y])


def _unexplained(phase: np.ndarray, com: np.ndarray, step: tuple[float, float]) -> float:
    squared = 0.0
    for axis in range(2):
        slope = 0.0
        if phase.shape[axis] > 1:
            slope = np.gradient(phase, step[axis], axis=axis) / (2 * math.pi)
        squared += float(((com[axis] - slope) ** 2).sum())
    norm = float((com**2).sum())
    return squared / norm if norm > 0 else 0.0


def _as_float32(array: Any | None) -> Any | None:
    return None if array is None else array.astype(np.float32)
