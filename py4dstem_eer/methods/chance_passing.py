"""How much noise a rule adds that keeps a coefficient by its own size.

A coefficient Y = μ + noise of variance v is multiplied by 1 − d/|Y|² where |Y|² > t² d, v ≤ d, and
elsewhere by a factor f that does not depend on it (`ssb_wiener`). Where |μ| is near the threshold,
noise decides whether it passes, and the result scatters by far more than v: nothing, or all of it.
Propagation of errors looks at the derivative of the result by Y, which knows nothing of the step.

The variance of the result for a given μ is V(μ), an integral over Rice's distribution of |Y|; μ is
not known, |Y| is. So a function U(|Y|) is counted for every coefficient that passed, such that

    E[U(|Y|), where it passes] + f² v P(it does not) = V(μ)   for every μ from zero on,

an integral equation of the first kind. Its mean over the noise is then right whatever the object
is: empty, so that each one that passes does so by chance and counts |Y|², or of strong peaks, that
all pass and count 1 + (d/|Y|²)². V is quadratic in f, and so is U.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from ..compiled import scalar_function

#: Spacing of U's nodes in (|Y| − t √d)/√v, and their number; beyond them passing is certain.
_SPACING, _N_NODES = 0.25, 13
#: v/d of the tables: 2^(−i/2).
_N_RATIOS = 9
#: Weight of U's second differences against relative errors of V.
_SMOOTHNESS = 0.01
_N_TRUE, _N_MEASURED = 60, 4000


@functools.cache
def passing_noise(threshold: float) -> np.ndarray:
    """Return U − 1 − (d/|Y|²)², in units of v, as coefficients of 1, f and f².

    Parameters
    ----------
    threshold : float
        t: a coefficient passes where its size exceeds t √d.

    Returns
    -------
    tables : (ratios, 3, nodes + 2) float32
        For `passing_excess`.
    """
    ratios = 2.0 ** (-0.5 * np.arange(_N_RATIOS))
    tables = np.zeros((_N_RATIOS, 3, _N_NODES + 2), np.float32)
    for table, ratio in zip(tables, ratios, strict=True):
        table[:, :_N_NODES] = _solve(threshold, float(ratio))
    return tables


def _solve(threshold: float, ratio: float) -> np.ndarray:
    """Solve the integral equation for d = 1 and one v; return (3, nodes)."""
    spread = math.sqrt(ratio)
    lowest = max(0.0, threshold - 4 * spread)
    true = np.linspace(lowest, threshold + 4 * spread, _N_TRUE)
    size = np.linspace(0, threshold + 9 * spread, _N_MEASURED)
    density, along = _rice(true, size, ratio)
    passes = size > threshold
    kept = np.where(passes, size - 1 / np.maximum(size, 1), 0)
    rest = np.where(passes, 0, size)
    mean_kept, mean_rest = along @ kept, along @ rest
    certain = density @ np.where(passes, 1 + 1 / np.maximum(size, 1) ** 4, 0)
    variance = (density @ kept**2 - mean_kept**2) / ratio
    wanted = [
        variance - certain,
        -2 * mean_kept * mean_rest / ratio,
        (density @ rest**2 - mean_rest**2) / ratio - density @ ~passes,
    ]
    nodes = (size - threshold)[:, None] / (spread * _SPACING) - np.arange(_N_NODES)
    mean_of_node = density @ (np.maximum(0, 1 - np.abs(nodes)) * passes[:, None])
    bend = np.diff(np.eye(_N_NODES + 2, _N_NODES), 2, axis=0)
    equations = np.vstack([mean_of_node / variance[:, None], _SMOOTHNESS * bend])
    right = np.vstack([np.transpose(wanted) / variance[:, None], np.zeros((_N_NODES, 3))])
    return np.linalg.lstsq(equations, right, rcond=None)[0].T


def _rice(true: np.ndarray, size: np.ndarray, variance: float) -> tuple[np.ndarray, np.ndarray]:
    """Return weights of the sizes |Y| for each |μ|: their density, and times Y's part along μ."""
    from scipy.special import i0e, i1e

    a, r = true[:, None], size[None, :]
    bell = 2 * r / variance * np.exp(-((r - a) ** 2) / variance) * (size[1] - size[0])
    return bell * i0e(2 * a * r / variance), bell * i1e(2 * a * r / variance)


@scalar_function
def passing_excess(tables, threshold, power, ratio, factor):
    """Return U − 1 − (d/|Y|²)² for power = |Y|²/d and ratio = v/d, in units of v."""
    x = (math.sqrt(power) - threshold) / (math.sqrt(ratio) * _SPACING)
    node = int(min(x, _N_NODES))
    x = min(x, _N_NODES) - node
    y = min(-2 * math.log2(ratio), _N_RATIOS - 1.0)
    lower = max(min(int(y), _N_RATIOS - 2), 0)
    y -= lower
    total, weight = 0.0, 1.0
    for term in range(3):
        low = tables[lower, term, node] * (1 - x) + tables[lower, term, node + 1] * x
        high = tables[lower + 1, term, node] * (1 - x) + tables[lower + 1, term, node + 1] * x
        total += weight * (low * (1 - y) + high * y)
        weight *= factor
    return total
