"""The Wiener factors of the least-squares phase against plain loops over the whole plane.

The tables of `chance_passing` are taken as they are; `test_ssb_snr` tests them.
"""

from __future__ import annotations

import types

import numpy as np
import pytest

from py4dstem_eer.device import get_device
from py4dstem_eer.methods import ssb_snr
from py4dstem_eer.methods.chance_passing import passing_excess, passing_noise

PER_PIXEL, N_PIXELS = 1.7, 5.5


def whole(half, n_columns):
    """Complete half a plane that is the same at Q and −Q, entry by entry."""
    n_rows = len(half)
    plane = np.empty((n_rows, n_columns))
    for row in range(n_rows):
        for column in range(n_columns):
            mirrored = column > n_columns // 2
            place = (-row % n_rows, n_columns - column) if mirrored else (row, column)
            plane[row, column] = half[place]
    return plane


def average_of_others(half, n_columns):
    """Average over all neighbours up to 8 away but itself, periodically, Gaussian of width 2."""
    reach = range(-8, 9)
    weights = np.exp(-0.5 * (np.array(reach) / 2.0) ** 2)
    weights /= weights.sum()
    plane, total = whole(half, n_columns), np.zeros(half.shape)
    for wr, dr in zip(weights, reach, strict=True):
        for wc, dc in zip(weights, reach, strict=True):
            if (dr, dc) != (0, 0):
                total += wr * wc * np.roll(plane, (-dr, -dc), (0, 1))[:, : half.shape[1]]
    return total


def expected(sums, fixed, n_positions, n_columns):
    """Return the spectrum, and its variance with and without what chance adds, by numpy."""
    overlap = np.where(sums[2] > 0.01 * sums[2].max(), sums[2].astype(float), np.nan)
    estimate = sums[1] / (PER_PIXEL * overlap) - 1j * (sums[0] / (PER_PIXEL * overlap))
    variance = n_positions / (PER_PIXEL * overlap)
    misfit = fixed[1] - (sums[0].astype(float) ** 2 + sums[1].astype(float) ** 2) / overlap
    misfit /= n_positions * PER_PIXEL * np.maximum(fixed[2] - 1, 1)
    doubt = variance * (1 + 3 * np.maximum(misfit - 1, 0))
    power = np.abs(estimate) ** 2
    trust = np.nan_to_num((np.nanmin(variance) / doubt) ** 2)
    excess = average_of_others(trust * np.nan_to_num(power - doubt), n_columns)
    trust = average_of_others(trust, n_columns)
    local = np.maximum(np.divide(excess, trust, out=np.zeros_like(trust), where=trust > 1e-9), 0)
    factor = local / (local + doubt)
    plain = power > 9 * doubt
    tables, by_chance = passing_noise(3.0), np.zeros(power.shape)
    for place in np.argwhere(plain):
        at = tuple(place)
        ratio = variance[at] / doubt[at]
        by_chance[at] = passing_excess(tables, 3.0, power[at] / doubt[at], ratio, factor[at])
    passed = np.where(plain, 1 + (doubt / power) ** 2, factor**2)
    factor = np.where(plain, 1 - doubt / power, factor)
    times = np.full(power.shape, 2.0)
    times[:, [0] if n_columns % 2 else [0, -1]] = 1
    noise = [np.nansum(times * p * variance) for p in (passed + by_chance, passed)]
    assert 0.05 < plain.mean() < 0.9  # both kinds are there
    assert np.isnan(overlap).any()
    return np.nan_to_num(estimate * factor), noise


@pytest.mark.parametrize("scan", [(20, 19), (19, 36), (24, 40), (3, 5), (18, 6)])
def test_factors_are_those_of_plain_loops(scan, device):
    rng, half = np.random.default_rng(3), (scan[0], scan[1] // 2 + 1)
    n_positions = scan[0] * scan[1]
    sums = rng.normal(size=(3, *half)).astype(np.float32)
    sums[2] = rng.uniform(0.5, 4, half)
    sums[:2] *= np.sqrt(n_positions * PER_PIXEL) * rng.uniform(0.5, 5, half)
    sums[:, ::7, 1::3] = 0
    fixed = np.empty((3, *half), np.float32)
    fixed[1] = (sums[0] ** 2 + sums[1] ** 2) / np.maximum(sums[2], 0.1)
    fixed[2] = rng.integers(0, 9, half)
    fixed[1] += n_positions * PER_PIXEL * fixed[2] * rng.uniform(0.5, 1.5, half)
    where = get_device(device)
    weighted = types.SimpleNamespace(
        overlaps=types.SimpleNamespace(
            device=where,
            runs=types.SimpleNamespace(scan_shape=scan),
            total=PER_PIXEL * n_positions * N_PIXELS,
        ),
        grid=types.SimpleNamespace(coverage=np.full(11, 0.5)),
        fixed=where.asarray(fixed),
    )
    spectrum, noise = ssb_snr._coefficients(weighted, where.asarray(sums))
    wanted, wanted_noise = expected(sums, fixed, n_positions, scan[1])
    spectrum, noise = where.asnumpy(spectrum), where.asnumpy(noise)
    np.testing.assert_allclose(spectrum, wanted, atol=1e-4 * np.abs(wanted).max())
    np.testing.assert_allclose(noise.sum(axis=1), wanted_noise, rtol=1e-4)
