"""From the sums of least squares to the phase: estimate, doubt, and Wiener factor, in two sweeps.

The formulas are those of `ssb_snr`. Half of the plane of scan frequencies is held; what lies beyond
its edges is its own mirror image. `lanes` items share a row.
"""

from __future__ import annotations

import numpy as np

from ..device import kernel
from .chance_passing import passing_excess

#: How strongly misfit lowers the trust in a scan frequency.
_MISFIT_WEIGHT = np.float32(3)
#: |F̂| beyond this many of its standard errors is signal by itself.
PLAIN_SIGNAL = 3.0
_PLAIN_POWER = np.float32(PLAIN_SIGNAL**2)
#: Scan frequencies whose S is a smaller part of the largest tell nothing.
_LEAST_OVERLAP = np.float32(0.01)
#: Width of the neighbourhood over which weaker signal is averaged, and its reach [frequencies].
NEIGHBOURHOOD, REACH = 2.0, 8
_ONE, _ZERO = np.float32(1), np.float32(0)
#: Planes of `estimate_coefficients`: F̂ (two), v, its inflated form, trust, trust times excess.
N_FIELDS = 6


def neighbour_weights() -> np.ndarray:
    """Return the Gaussian weights of neighbours −REACH … REACH, float32, their sum one."""
    weights = np.exp(-0.5 * (np.arange(-REACH, REACH + 1) / NEIGHBOURHOOD) ** 2)
    return (weights / weights.sum()).astype(np.float32)


@kernel
def estimate_coefficients(item, lanes, planes, largest, per_pixel, n_positions, fields):
    """Find the estimate of one row's coefficients, and how far they can be trusted."""
    i, lane = item // lanes, item % lanes
    best = n_positions / (per_pixel * largest[0])
    for column in range(lane, planes.shape[2], lanes):
        overlap = planes[2, i, column]
        if not overlap > _LEAST_OVERLAP * largest[0]:
            for field in range(fields.shape[0]):
                fields[field, i, column] = _ZERO
            continue
        num_re, num_im = planes[0, i, column], planes[1, i, column]
        re, im = num_im / (per_pixel * overlap), -num_re / (per_pixel * overlap)
        variance = n_positions / (per_pixel * overlap)
        residual = planes[3, i, column] - (num_re * num_re + num_im * num_im) / overlap
        freedom = max(planes[4, i, column] - _ONE, _ONE)
        misfit = residual / (n_positions * per_pixel * freedom)
        doubt = variance * (_ONE + _MISFIT_WEIGHT * max(misfit - _ONE, _ZERO))
        # doubts span many orders: relative to the best, their squares stay in range
        trust = (best / doubt) * (best / doubt)
        fields[0, i, column], fields[1, i, column] = re, im
        fields[2, i, column], fields[3, i, column] = variance, doubt
        fields[4, i, column] = trust
        fields[5, i, column] = trust * (re * re + im * im - doubt)


@kernel
def smooth_along_columns(item, lanes, fields, weights, smooth):
    """Average trust, and trust times excess, of one row over the rows around it, periodically."""
    i, lane = item // lanes, item % lanes
    n_rows = fields.shape[1]
    for column in range(lane, fields.shape[2], lanes):
        total, excess = _ZERO, _ZERO
        for d in range(2 * REACH + 1):
            row = (i + d - REACH) % n_rows
            total += weights[d] * fields[4, row, column]
            excess += weights[d] * fields[5, row, column]
        smooth[0, i, column], smooth[1, i, column] = total, excess


@kernel
def shrink_coefficients(item, lanes, fields, smooth, weights, passing, n_columns, spectrum, noise):
    """Average along the row as well, and multiply its coefficients by σ²/(σ² + v).

    The first plane of `noise` is the variance that passes, the second without what chance adds.
    """
    i, lane = item // lanes, item % lanes
    n_rows = fields.shape[1]
    for column in range(lane, fields.shape[2], lanes):
        re, im = fields[0, i, column], fields[1, i, column]
        variance, doubt = fields[2, i, column], fields[3, i, column]
        if not doubt > _ZERO:
            spectrum[i, column], noise[0, i, column], noise[1, i, column] = 0, _ZERO, _ZERO
            continue
        # without its own share a coefficient's factor does not follow its own noise
        own = weights[REACH] * weights[REACH]
        total, excess = -own * fields[4, i, column], -own * fields[5, i, column]
        for d in range(2 * REACH + 1):
            c, row = (column + d - REACH) % n_columns, i
            if c > n_columns // 2:
                c, row = n_columns - c, (n_rows - i) % n_rows
            total += weights[d] * smooth[0, row, c]
            excess += weights[d] * smooth[1, row, c]
        power = re * re + im * im
        local = max(excess / total, _ZERO) if total > _ZERO else _ZERO
        factor = local / (local + doubt)
        passed, by_chance = factor * factor, 0.0
        if power > _PLAIN_POWER * doubt:
            share = variance / doubt
            by_chance = passing_excess(passing, PLAIN_SIGNAL, power / doubt, share, factor)
            # the factor 1 − v/|F̂|² follows the noise of |F̂|, by which more of that passes
            factor = _ONE - doubt / power
            passed = _ONE + (doubt / power) * (doubt / power)
        spectrum[i, column] = complex(re * factor, im * factor)
        times = _ONE if column == 0 or 2 * column == n_columns else _ONE + _ONE
        noise[0, i, column] = times * (passed + by_chance) * variance
        noise[1, i, column] = times * passed * variance
