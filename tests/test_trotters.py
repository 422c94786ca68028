"""Single scan frequencies against the dense transform, on every device there is.

Nothing here imports py4DSTEM, which does not load under numba's CUDA simulator.
"""

from __future__ import annotations

import numpy as np
import pytest
import reference
from test_ssb_method import ENERGY, POLAR, SEMIANGLE, counts, prepared

from py4dstem_eer.errors import ParameterError
from py4dstem_eer.methods import trotters
from py4dstem_eer.optics import Aberrations

STEP = (0.5, 0.5)


def dense_trotters(data, store, grid, rotation, transpose):
    """G, γ, and where disks overlap, of every scan frequency and aperture pixel."""
    lam = reference.wavelength(ENERGY)
    polar = reference.relative_angles(POLAR, rotation, transpose)
    kx, ky = grid.wx / lam, grid.wy / lam
    g = np.fft.fft2(data.astype(float), axes=(0, 1)).reshape(*data.shape[:2], -1)[:, :, grid.pixels]
    qx, qy = reference.scan_frequencies(data.shape[:2], STEP, rotation, transpose)
    qx, qy = qx[..., None], qy[..., None]

    def aperture(x, y):
        return reference.aperture(polar, x, y, lam, SEMIANGLE)

    here, minus, plus = aperture(kx, ky), aperture(kx - qx, ky - qy), aperture(kx + qx, ky + qy)
    gamma = here.conj() * minus - here * plus.conj()
    inside = (np.abs(minus) > 0.5) | (np.abs(plus) > 0.5)
    inside[0, 0] = False
    return g, gamma, inside


def on_aperture(found, grid):
    return found.images.reshape(len(found.images), -1)[:, grid.pixels]


@pytest.mark.parametrize("scan", [(5, 6), (4, 7), (6, 4), (2, 2)])
@pytest.mark.parametrize(("rotation", "transpose"), [(0.0, False), (0.3, True)])
def test_every_frequency_is_that_of_the_dense_transform(scan, rotation, transpose, device):
    data = counts(scan)
    store, grid = prepared(data, device, rotation, transpose)
    g, gamma, inside = dense_trotters(data, store, grid, rotation, transpose)
    frequencies = np.argwhere(inside.any(axis=2))
    found = trotters.trotters(store, grid, frequencies)
    expected = np.where(inside, g, 0)[tuple(frequencies.T)]
    np.testing.assert_allclose(on_aperture(found, grid), expected, rtol=1e-4, atol=1e-3)
    outside = np.ones(grid.shape, bool).ravel()
    outside[grid.pixels] = False
    assert not found.images.reshape(len(frequencies), -1)[:, outside].any()

    aberrations = Aberrations.parse(POLAR)
    corrected = trotters.trotters(store, grid, frequencies, aberrations)
    used = inside & (np.abs(gamma) > 1e-3)
    turned = np.where(used, g * gamma.conj() / np.maximum(np.abs(gamma), 1e-9), 0)
    np.testing.assert_allclose(
        on_aperture(corrected, grid), turned[tuple(frequencies.T)], rtol=1e-4, atol=1e-3
    )

    power = trotters.power_spectrum(store)
    np.testing.assert_allclose(power, (np.abs(g) ** 2 * inside).sum(axis=2), rtol=1e-5)
    fx, fy = np.fft.fftfreq(scan[0], STEP[0]), np.fft.fftfreq(scan[1], STEP[1])
    q = np.stack([fx[frequencies[:, 0]], fy[frequencies[:, 1]]], axis=1)
    np.testing.assert_allclose(found.q, q)
    np.testing.assert_array_equal(found.frequencies % scan, frequencies)


def test_negative_indices_are_negative_frequencies():
    store, grid = prepared(counts((5, 6)), "cpu")
    found = trotters.trotters(store, grid, [(1, 2), (-1, -2)])
    assert found.frequencies.tolist() == [[1, 2], [-1, -2]]
    np.testing.assert_allclose(found.images[1], found.images[0].conj(), rtol=1e-6)
    np.testing.assert_allclose(found.q, [[0.4, 2 / 3], [-0.4, -2 / 3]])


def test_the_strongest_come_first_and_once():
    store, _ = prepared(counts((5, 6)), "cpu")
    frequencies = trotters.strongest_frequencies(store, 12)
    power = trotters.power_spectrum(store)[tuple(frequencies.T)]
    assert (np.diff(power) <= 0).all()
    pairs = {frozenset([tuple(f % (5, 6)), tuple(-f % (5, 6))]) for f in frequencies}
    assert len(pairs) == 12
    assert power[0] == trotters.power_spectrum(store).max()
    with pytest.raises(ParameterError, match="there are"):
        trotters.strongest_frequencies(store, 1000)


@pytest.mark.parametrize(
    ("frequencies", "words"),
    [
        ([(1, 2, 3)], "pairs of whole numbers"),
        ([(1.5, 2)], "pairs of whole numbers"),
        ([], "pairs of whole numbers"),
        ("strong", "pairs of whole numbers"),
        ([(1, 1), (5, 0)], r"\(5, 0\) is not one of a scan of shape \(5, 6\)"),
        ([(0, -7)], r"\(0, -7\)"),
        ([(0, 0)], "no disks overlap"),
    ],
)
def test_frequencies_that_are_none_are_refused(frequencies, words):
    store, grid = prepared(counts((5, 6)), "cpu")
    with pytest.raises(ParameterError, match=words):
        trotters.trotters(store, grid, frequencies)
