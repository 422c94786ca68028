"""From the sums of least squares to the phase: estimate, doubt, and Wiener factor.

The formulas are those of `ssb_snr`. Half of the plane of scan frequencies is held; what lies beyond
its edges is its own mirror image. An item is `width` neighbouring columns of a row: all of them on
a CPU, whose loops over them become vectors, and one on a GPU, where neighbours read neighbours.
"""

from __future__ import annotations

import numpy as np

from ..compiled import scalar_function
from ..device import Device, kernel
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


def item_width(where: Device, n_columns: int) -> int:
    """Return how many columns an item of these kernels should take."""
    return n_columns if where.name == "cpu" else 1


@scalar_function
def _columns_of(item, width, n_columns):
    """Return row, first and last column (exclusive) of an item."""
    per_row = (n_columns + width - 1) // width
    first = (item % per_row) * width
    return item // per_row, first, min(first + width, n_columns)


@kernel
def estimate_coefficients(item, width, sums, fixed, largest, per_pixel, n_positions, fields):
    """Find the estimate of one row's coefficients, and how far they can be trusted."""
    i, first, last = _columns_of(item, width, fields.shape[2])
    most = largest[0]
    best = n_positions / (per_pixel * most)
    numerator_re, numerator_im = sums[0, i, first:last], sums[1, i, first:last]
    overlaps = sums[2, i, first:last]
    powers, numbers = fixed[1, i, first:last], fixed[2, i, first:last]
    out_re, out_im = fields[0, i, first:last], fields[1, i, first:last]
    out_variance, out_doubt = fields[2, i, first:last], fields[3, i, first:last]
    out_trust, out_excess = fields[4, i, first:last], fields[5, i, first:last]
    for k in range(len(overlaps)):
        num_re, num_im = numerator_re[k], numerator_im[k]
        known = overlaps[k] > _LEAST_OVERLAP * most
        overlap = overlaps[k] if known else most
        re, im = num_im / (per_pixel * overlap), -num_re / (per_pixel * overlap)
        variance = n_positions / (per_pixel * overlap)
        residual = powers[k] - (num_re * num_re + num_im * num_im) / overlap
        freedom = max(numbers[k] - _ONE, _ONE)
        misfit = residual / (n_positions * per_pixel * freedom)
        doubt = variance * (_ONE + _MISFIT_WEIGHT * max(misfit - _ONE, _ZERO))
        # doubts span many orders: relative to the best, their squares stay in range
        trust = (best / doubt) * (best / doubt)
        out_re[k], out_im[k] = re if known else _ZERO, im if known else _ZERO
        out_variance[k], out_doubt[k] = variance if known else _ZERO, doubt if known else _ZERO
        out_trust[k] = trust if known else _ZERO
        out_excess[k] = trust * (re * re + im * im - doubt) if known else _ZERO


@kernel
def smooth_along_columns(item, width, fields, weights, smooth):
    """Average trust, and trust times excess, of one row over the rows around it, periodically."""
    n_rows = fields.shape[1]
    i, first, last = _columns_of(item, width, fields.shape[2])
    for field in range(2):
        total = smooth[field, i, first:last]
        for k in range(len(total)):
            total[k] = _ZERO
        for d in range(2 * REACH + 1):
            values, weight = fields[4 + field, (i + d - REACH) % n_rows, first:last], weights[d]
            for k in range(len(total)):
                total[k] += weight * values[k]


@scalar_function
def _mirrored_average(values, row, column, weights, n_columns):
    """Average (rows, Ry // 2 + 1) along one row, beyond whose ends its mirror image goes on."""
    total = _ZERO
    for d in range(2 * REACH + 1):
        c, r = (column + d - REACH) % n_columns, row
        if c > n_columns // 2:
            c, r = n_columns - c, (values.shape[0] - row) % values.shape[0]
        total += weights[d] * values[r, c]
    return total


@kernel
def smooth_along_rows(item, width, smooth, weights, n_columns, smoothed):
    """Average along one row what is averaged over rows already."""
    n_half = smooth.shape[2]
    i, first, last = _columns_of(item, width, n_half)
    inner_first, inner_last = max(first, REACH), min(last, n_half - REACH)
    for field in range(2):
        total = smoothed[field, i, inner_first : max(inner_first, inner_last)]
        for k in range(len(total)):
            total[k] = _ZERO
        for d in range(2 * REACH + 1):
            values, weight = smooth[field, i, inner_first + d - REACH :], weights[d]
            for k in range(len(total)):
                total[k] += weight * values[k]
        for column in range(first, min(last, REACH)):
            smoothed[field, i, column] = _mirrored_average(
                smooth[field], i, column, weights, n_columns
            )
        for column in range(max(first, REACH, n_half - REACH), last):
            smoothed[field, i, column] = _mirrored_average(
                smooth[field], i, column, weights, n_columns
            )


@kernel
def shrink_coefficients(item, width, fields, smoothed, own, passing, n_columns, spectrum, noise):
    """Multiply one row's coefficients by σ²/(σ² + v), and add up the variance that passes.

    `own` is the share of a coefficient in its own average. The second number of `noise` leaves out
    what chance adds.
    """
    i, first, last = _columns_of(item, width, fields.shape[2])
    with_chance, without = 0.0, 0.0
    for column in range(first, last):
        re, im = fields[0, i, column], fields[1, i, column]
        variance, doubt = fields[2, i, column], fields[3, i, column]
        if not doubt > _ZERO:
            spectrum[i, column] = 0
            continue
        # without its own share a coefficient's factor does not follow its own noise
        total = smoothed[0, i, column] - own * fields[4, i, column]
        excess = smoothed[1, i, column] - own * fields[5, i, column]
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
        times = 1.0 if column == 0 or 2 * column == n_columns else 2.0
        with_chance += times * (passed + by_chance) * variance
        without += times * passed * variance
    noise[0, item], noise[1, item] = with_chance, without
