"""Phase from the centre of mass: the gradient of the phase [rad/Å] is 2π · CoM [Å⁻¹].

`integrate_direct` solves for the phase at once, `integrate_iterative` descends to it as py4DSTEM's
`DPC` does. Both divide by λ₁ + q² + λ₂ q⁴ in place of q² (Pelz et al. 2022, section V): `high_pass`
is λ₁ [Å⁻²] and damps frequencies below √λ₁, `low_pass` is λ₂ [Å²] and damps those above 1/√λ₂.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..device import get_device
from ..errors import ParameterError
from .dpc_descent import Descent, Problem, State
from .dpc_filters import Filters, parse_regularisation
from .dpc_fourier import integrate_mirrored, integrate_padded, padded_shape

__all__ = ["Descent", "Filters", "Phase", "State", "integrate_direct", "integrate_iterative"]

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
    state : State or None
        Where the iterations stand, to go on from.
    """

    phase: np.ndarray
    error: float
    error_iterations: list[float] = field(default_factory=list)
    step_size: float = 1.0
    state: State | None = None


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
    boundary condition that belongs to it, where zeros outside would be wrong data. A quadratic
    phase (a wedge, a bend) that takes the slope across the edges is integrated exactly beforehand,
    unless a high-pass is to remove it, so that the mirror image has hardly a kink left there.

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
    com, step = _parse_field(com), _parse_step(step)
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
    state: State | None = None,
    images: dict[int, np.ndarray] | None = None,
) -> Phase:
    """Return the phase by descending with the paper's update, as py4DSTEM's `DPC` does.

    Parameters
    ----------
    com, step, low_pass, high_pass, filters, device
        As `integrate_direct`; the filters are applied after every update.
    descent : Descent, optional
        Iterations, step size, padding.
    state : State, optional
        Go on from here, with the errors so far; the step size is that of `descent`.
    images : dict of int to (Rx, Ry), optional
        Gets the phase [rad] after each iteration, by its number, counted from the first one of
        `state`: that of the error in `error_iterations` before it.

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
    com, step = _parse_field(com), _parse_step(step)
    regularisation = parse_regularisation(low_pass, high_pass)
    where = get_device(device)
    problem = Problem(com, step, regularisation, descent or Descent(), filters, where)
    phase, error, state = problem.solve(state, images)
    return Phase(phase, error, state.errors, state.step_size, state)


def _parse_field(com: np.ndarray) -> np.ndarray:
    com = np.ascontiguousarray(com, np.float64)
    if com.ndim != 3 or com.shape[0] != 2 or com.size == 0:
        raise ParameterError(f"the field has shape {com.shape}; it must be (2, Rx, Ry)")
    if not np.isfinite(com).all():
        raise ParameterError("the centre of mass is not finite everywhere; fill it first")
    return com


def _without_quadratic(com: np.ndarray, step: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return a quadratic phase [rad] that takes the slope across the edges, and what remains.

    The field across each edge, extrapolated to it from the last two positions, is what makes the
    mirror image bend there; the quadratic is fitted to that alone, so that a field which needs no
    correction gets none.
    """
    x, y = (s * (np.arange(n) - (n - 1) / 2) for n, s in zip(com.shape[1:], step, strict=True))
    half_x, half_y = (n * s / 2 for n, s in zip(com.shape[1:], step, strict=True))
    left, right = _at_edges(com[0])
    top, bottom = _at_edges(com[1].T)
    a, c = (right + left).mean() / 2, (right - left).mean() / (2 * half_x)
    b, e = (bottom + top).mean() / 2, (bottom - top).mean() / (2 * half_y)
    squares = 2 * (x @ x + y @ y)
    d = (y @ (left + right) + x @ (top + bottom)) / (squares or 1)
    x, y = x[:, None], y[None, :]
    phase = 2 * math.pi * ((a + c / 2 * x) * x + (b + e / 2 * y) * y + d * x * y)
    rest = np.empty_like(com)
    np.subtract(com[0], (a + c * x) + d * y, out=rest[0])
    np.subtract(com[1], d * x + (b + e * y), out=rest[1])
    return phase, rest


def _at_edges(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values half a step before the first row and after the last."""
    second = min(1, len(values) - 1)
    first_edge = 1.5 * values[0] - 0.5 * values[second]
    return first_edge, 1.5 * values[-1] - 0.5 * values[-1 - second]


def _unexplained(phase: np.ndarray, com: np.ndarray, step: tuple[float, float]) -> float:
    squared = 0.0
    for axis in range(2):
        slope = 0.0
        if phase.shape[axis] > 1:
            slope = np.gradient(phase, step[axis], axis=axis) / (2 * math.pi)
        squared += float(((com[axis] - slope) ** 2).sum())
    norm = float((com**2).sum())
    return squared / norm if norm > 0 else 0.0


def _parse_step(step: tuple[float, float]) -> tuple[float, float]:
    """Return the scan step [Å] along (row, column) if it is positive."""
    sx, sy = (float(s) for s in step)
    if not (0 < sx < math.inf and 0 < sy < math.inf):
        raise ParameterError(f"the scan step is {step}; it must be positive along both axes")
    return sx, sy
