"""The least-squares phase: its sums against plain numpy, its scale, noise and gain over the sum.

Nothing here imports py4DSTEM, which does not load under numba's CUDA simulator.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import reference

from py4dstem_eer.device import get_device
from py4dstem_eer.events import EventStore
from py4dstem_eer.methods import reductions, ssb, ssb_snr
from py4dstem_eer.methods.aperture_grid import aperture_grid
from py4dstem_eer.methods.bright_field import Disk
from py4dstem_eer.methods.chance_passing import passing_excess, passing_noise
from py4dstem_eer.optics import Aberrations, Geometry
from py4dstem_eer.simulate import (
    band_limited,
    crystal_phase,
    nanotube_phase,
    simulate_events,
    single_atoms_phase,
)

ENERGY, SEMIANGLE, RADIUS, CENTER = 80e3, 25.0, 5.3, (6.7, 7.2)
PIXEL = SEMIANGLE * 1e-3 / reference.wavelength(ENERGY) / RADIUS
POLAR = {"C10": -150.0, "C12": 60.0, "phi12": 0.4, "C21": 2e3, "phi21": 1.0}


def prepared(events, disk, pixel, geometry, size, device="cpu", precision="full"):
    grid = aperture_grid(events.detector_shape, disk, pixel, geometry, size, rim=True)
    stack = reductions.binned_stack(events, grid.pixel_map, np.dtype(np.uint16), device)
    total = float(get_device(device).asnumpy(stack).sum())
    settings = (events.scan_shape, total, geometry, device, precision)
    return ssb_snr.prepare_snr(stack, grid, *settings)


def estimate(events, truth, aberrations=None):
    disk = Disk(truth.disk_center, truth.disk_radius)
    weighted = prepared(events, disk, truth.reciprocal_pixel, truth.geometry, 18)
    used = truth.aberrations if aberrations is None else Aberrations.parse(aberrations)
    return ssb_snr.estimate_phase(weighted, used)


def summed(events, truth):
    disk = Disk(truth.disk_center, truth.disk_radius)
    args = (events.detector_shape, disk, truth.reciprocal_pixel, truth.geometry, 18)
    grid = aperture_grid(*args)
    stack = reductions.binned_stack(events, grid.pixel_map, np.dtype(np.uint16))
    total = float(stack.sum())
    store = ssb.prepare(stack, grid, events.scan_shape, total, truth.geometry)
    return np.angle(ssb.reconstruct(store, truth.aberrations))


def correlation(phase, truth):
    return np.corrcoef(phase.ravel(), truth.visible_phase().ravel())[0, 1]


@pytest.mark.parametrize("scan", [(5, 6), (4, 7)])
def test_sums_are_those_of_plain_numpy(scan, device):
    geometry = Geometry(ENERGY, SEMIANGLE, (0.5, 0.6), 0.3, True)
    data = np.random.default_rng(0).poisson(2.0, (*scan, 14, 15)).astype(np.uint16)
    events = EventStore.from_dense(data)
    weighted = prepared(events, Disk(CENTER, RADIUS), PIXEL, geometry, None, device)
    sums, grid = ssb_snr._sums(weighted, Aberrations.parse(POLAR)), weighted.grid
    lam = reference.wavelength(ENERGY)
    kx, ky, width = grid.wx / lam, grid.wy / lam, grid.pixel[0] / lam
    radius = SEMIANGLE * 1e-3 / lam
    polar = reference.relative_angles(POLAR, 0.3, True)
    g = np.fft.fft2(data.astype(float), axes=(0, 1)).reshape(*scan, -1)[:, :, grid.pixels]
    qx, qy = reference.scan_frequencies(scan, (0.5, 0.6), 0.3, True)

    def covered(x, y):
        return np.clip(0.5 + (radius - np.hypot(x, y)) / width, 0, 1)

    def chi(x, y):
        return reference.chi(polar, x, y, lam)

    c = covered(kx, ky)
    for row in range(scan[0]):
        for column in range(scan[1] // 2 + 1):
            if row == column == 0:
                continue
            q = qx[row, column], qy[row, column]
            f_minus = np.minimum(c, covered(kx - q[0], ky - q[1]))
            f_plus = np.minimum(c, covered(kx + q[0], ky + q[1]))
            gamma = f_minus * np.exp(1j * (chi(kx, ky) - chi(kx - q[0], ky - q[1])))
            gamma -= f_plus * np.exp(1j * (chi(kx + q[0], ky + q[1]) - chi(kx, ky)))
            value = g[row, column]
            used = (f_minus > 0) | (f_plus > 0)
            expected = (
                (value * gamma.conj() / c).sum().real,
                (value * gamma.conj() / c).sum().imag,
                (np.abs(gamma) ** 2 / c).sum(),
                (np.abs(value) ** 2 / c)[used].sum(),
                used.sum(),
            )
            found = [*sums[:, row, column], *weighted.fixed[1:, row, column]]
            np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-3)


def test_phase_and_sigma_are_those_of_the_cpu(device):
    camera = {"detector_shape": (30, 31), "disk_radius": 10.0}
    events, truth = simulate_events(  # some of its coefficients pass by themselves
        crystal_phase((12, 11), 0.32), 0.32, electrons_per_pattern=500, flyback=False, **camera
    )
    disk = Disk(truth.disk_center, truth.disk_radius)
    args = (disk, truth.reciprocal_pixel, truth.geometry, 7)
    here, there, half = (
        ssb_snr.estimate_phase(prepared(events, *args, *where), truth.aberrations)
        for where in (("cpu",), (device,), (device, "half"))
    )
    np.testing.assert_allclose(there.phase, here.phase, atol=1e-5)
    np.testing.assert_allclose(half.phase, here.phase, atol=1e-3 * here.sigma)
    assert there.sigma == pytest.approx(here.sigma, rel=1e-4)
    assert half.sigma == pytest.approx(here.sigma, rel=1e-3)


def particle(shape, step):
    """A crystal's island in vacuum."""
    rows, columns = np.indices(shape)
    inside = np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) < 0.3 * shape[0]
    return (crystal_phase(shape, step) * inside).astype(np.float32)


def film(shape, step):
    """Single heavy atoms on an amorphous film of the same contrast."""
    noise = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    amorphous = band_limited(noise, step, 0.9)
    return single_atoms_phase(shape, step) + 0.05 / amorphous.std() * amorphous


ABERRATED = {"defocus": 80.0, "C12": 25.0, "phi12": 0.5, "C21": 3e3, "phi21": 0.3}
SCENES = {
    "crystal in focus": (crystal_phase, {}),
    "aberrated crystal": (crystal_phase, ABERRATED),
    "film with atoms": (film, {}),
    "aberrated film": (film, ABERRATED),
    "nanotube": (nanotube_phase, ABERRATED),
    "particle": (particle, {}),
}


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("electrons", [40, 400, 4000])
def test_it_is_truer_than_the_sum(name, electrons):
    specimen, aberrations = SCENES[name]
    events, truth = simulate_events(
        specimen((56, 56), 0.32),
        0.32,
        detector_shape=(120, 124),
        disk_radius=45.0,
        electrons_per_pattern=electrons,
        aberrations=aberrations,
        rotation=0.2,
        flyback=False,
        seed=3,
    )
    weighted = correlation(estimate(events, truth).phase, truth)
    assert weighted > correlation(summed(events, truth), truth) + 0.02
    wrong = estimate(events, truth, {**aberrations, "defocus": 250.0})
    assert weighted > correlation(wrong.phase, truth)


def test_the_scale_is_in_radians():
    events, truth = simulate_events(
        0.2 * crystal_phase((32, 32), 0.32),
        0.32,
        electrons_per_pattern=20000,
        aberrations={"defocus": 60.0},
        flyback=False,
        seed=3,
    )
    # beyond this, overlaps shrink to nothing and the estimate is held back on purpose
    limit = 1.5 * truth.geometry.aperture_radius
    phase = band_limited(estimate(events, truth).phase, 0.32, limit)
    true = band_limited(truth.phase, 0.32, limit)
    scale = np.sum(phase * true) / np.sum((true - true.mean()) ** 2)
    assert scale == pytest.approx(1, abs=0.03)
    assert abs(phase.mean()) < 1e-6


def vacuum(shape, step):
    return np.zeros(shape, np.float32)


@functools.cache
def mean_patterns(specimen):
    """Return what pixels count on average for one electron per pattern, their grid and the truth.

    From one scan of many electrons, whose own noise is henceforth part of the object.
    """
    events, truth = simulate_events(
        specimen((32, 30), 0.32),
        0.32,
        detector_shape=(60, 62),
        disk_radius=22.0,
        electrons_per_pattern=10_000,
        flyback=False,
    )
    disk = Disk(truth.disk_center, truth.disk_radius)
    args = (events.detector_shape, disk, truth.reciprocal_pixel, truth.geometry, 18)
    grid = aperture_grid(*args, rim=True)
    stack = reductions.binned_stack(events, grid.pixel_map, np.dtype(np.uint16))
    return stack / 10_000, grid, truth


def drawn(specimen, electrons, rng, precision="full"):
    """Return the estimate from a scan of the same object with noise of its own."""
    mean, grid, truth = mean_patterns(specimen)
    stack = rng.poisson(electrons * mean).astype(np.uint16)
    settings = (truth.scan_shape, float(stack.sum()), truth.geometry, "cpu", precision)
    weighted = ssb_snr.prepare_snr(stack, grid, *settings)
    return ssb_snr.estimate_phase(weighted, truth.aberrations)


@pytest.mark.parametrize("specimen", [crystal_phase, particle])
def test_half_precision_is_far_below_the_noise(specimen):
    full, half = (drawn(specimen, 400, np.random.default_rng(7), p) for p in ("full", "half"))
    assert np.std(half.phase - full.phase) < 1e-4 * full.sigma
    assert half.sigma == pytest.approx(full.sigma, rel=1e-3)


# in the vacuum a handful of coefficients, which pass by chance, carry much of the noise
@pytest.mark.parametrize(
    ("specimen", "n", "within"), [(crystal_phase, 40, 0.1), (particle, 40, 0.1), (vacuum, 60, 0.2)]
)
@pytest.mark.parametrize("electrons", [40, 100, 400, 4000])
def test_sigma_is_the_scatter_of_repeated_noise(specimen, n, within, electrons):
    rng = np.random.default_rng(7)
    estimates = [drawn(specimen, electrons, rng) for _ in range(n)]
    scatter = np.var([e.phase for e in estimates], axis=0, ddof=1).mean()
    assert np.mean([e.sigma**2 for e in estimates]) ** 0.5 == pytest.approx(
        scatter**0.5, rel=within
    )


@pytest.mark.parametrize(("doubt", "within"), [(1.0, 0.06), (2.0, 0.14), (7.0, 0.2)])
@pytest.mark.parametrize("factor", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("true", [0.0, 1.0, 2.0, 2.7, 3.0, 3.4, 4.0, 6.0])
def test_noise_of_what_passes_by_chance_is_right_on_average(true, factor, doubt, within):
    grid = np.linspace(-6, 6, 241)
    noise = grid[:, None] + 1j * grid  # of variance one
    weight = np.exp(-(np.abs(noise) ** 2)) / np.exp(-(np.abs(noise) ** 2)).sum()
    value = true * doubt**0.5 + noise
    power = np.abs(value) ** 2 / doubt
    passes = power > 9
    result = np.where(passes, 1 - 1 / np.maximum(power, 1), factor) * value
    variance = np.sum(weight * np.abs(result) ** 2) - np.abs(np.sum(weight * result)) ** 2
    tables = passing_noise(3.0)
    told = np.where(passes, 1 + np.maximum(power, 1) ** -2, factor**2)
    told[passes] += [passing_excess(tables, 3.0, p, 1 / doubt, factor) for p in power[passes]]
    assert np.sum(weight * told) == pytest.approx(variance, rel=within, abs=1e-6)


def test_vacuum_is_flat():
    events, truth = simulate_events(
        np.zeros((40, 36), np.float32), 0.32, electrons_per_pattern=200, flyback=False
    )
    weighted = estimate(events, truth)
    assert weighted.phase.std() < 0.6 * summed(events, truth).std()
    assert weighted.phase.shape == (40, 36)
