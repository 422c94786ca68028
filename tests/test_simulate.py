"""The forward model: statistics, geometry, and that the slow reference recovers the object."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import reference
import scipy.stats

from py4dstem_eer import progress
from py4dstem_eer.detector import centred_map
from py4dstem_eer.errors import CalibrationError, EventError, ParameterError
from py4dstem_eer.simulate import (
    band_limited,
    crystal_phase,
    nanotube_phase,
    simulate_events,
    single_atoms_phase,
)
from py4dstem_eer.simulate.atoms import (
    THERMAL_DISPLACEMENT,
    Grid,
    interaction_strength,
    projected_phase,
    scattering_factor,
)
from py4dstem_eer.simulate.forward import FLYBACK_DOSE

SCAN = (24, 20)
PIXEL = 0.32
CAMERA = {"detector_shape": (61, 70), "disk_center": (29.3, 36.1), "disk_radius": 15.0}


def simulate(phase=None, **options):
    phase = np.zeros(SCAN, np.float32) if phase is None else phase
    return simulate_events(phase, PIXEL, **{**CAMERA, "flyback": False, "seed": 1, **options})


def dense(store):
    rows, columns = store.scan_shape
    return np.array([[store.pattern(i, j) for j in range(columns)] for i in range(rows)])


# --- electrons


def test_number_of_electrons_is_poisson():
    events, _ = simulate(electrons_per_pattern=30)
    events.validate()
    n = dense(events).sum(axis=(2, 3)).ravel()
    assert n.mean() == pytest.approx(30, abs=5 * np.sqrt(30 / n.size))
    assert n.var() == pytest.approx(30, rel=5 * np.sqrt(2 / n.size))


def test_disk_has_the_centre_and_radius_that_were_asked_for():
    events, truth = simulate(electrons_per_pattern=1000)
    mean = dense(events).sum(axis=(0, 1))
    row, column = reference.centre_of_mass(mean[None, None])[:, 0, 0]
    n = mean.sum()
    error = 5 * 15.0 / 2 / np.sqrt(n)
    assert (row, column) == (pytest.approx(29.3, abs=error), pytest.approx(36.1, abs=error))
    rows, columns = np.indices(mean.shape)
    second = ((rows - row) ** 2 + (columns - column) ** 2) * mean
    blur = 1 / 6  # a camera pixel's own extent
    assert np.sqrt(2 * (second.sum() / n - blur)) == pytest.approx(15.0, rel=2e-3)
    assert truth.disk_center == (29.3, 36.1)
    assert truth.disk_radius == 15.0
    assert truth.reciprocal_pixel == pytest.approx(0.025 / reference.wavelength(80e3) / 15.0)


def test_vacuum_is_a_uniform_disk():
    events, truth = simulate(electrons_per_pattern=3000)
    mean = dense(events).sum(axis=(0, 1)).astype(float)
    inside = reference.annulus(mean.shape, truth.disk_center, 0, 15.0 - 1)
    outside = reference.annulus(mean.shape, truth.disk_center, 15.0 + 1, 999)
    expected = mean.sum() / (np.pi * 15.0**2)
    misfit = (mean[inside] - expected) / np.sqrt(expected)
    assert mean[outside].sum() < 1e-5 * mean.sum()
    assert np.mean(misfit**2) == pytest.approx(1, abs=6 * np.sqrt(2 / inside.sum()))
    assert abs(misfit.mean()) < 0.3


def test_electrons_follow_the_pattern():
    """Counts of one strong pattern against the squared modulus computed here."""
    phase, window, n = crystal_phase(SCAN, seed=1), 32, 400_000
    radius = 0.025 / reference.wavelength(80e3) * window * PIXEL  # [frequency pixels]
    # 6 × 6 camera pixels per frequency pixel; camera pixels 0 to 5 are frequency −16
    events, _ = simulate(
        phase,
        scan_shape=(1, 1),
        detector_shape=(192, 192),
        disk_center=(98.5, 98.5),
        disk_radius=6 * radius,
        electrons_per_pattern=n,
        window=window,
    )
    counts = events.pattern(0, 0).reshape(32, 6, 32, 6).sum(axis=(1, 3))
    q = np.fft.fftfreq(window, 1 / window)
    probe = np.fft.ifft2(np.hypot(q[:, None], q) <= radius)
    around = q.astype(int)
    wave = probe * np.exp(1j * phase[np.ix_(around % SCAN[0], around % SCAN[1])])
    expected = np.fft.fftshift(np.abs(np.fft.fft2(wave)) ** 2)
    # away from the edge, where the model knows partly covered frequency pixels
    clear = np.fft.fftshift(np.abs(np.hypot(q[:, None], q) - radius) > 1.5)
    assert reference.correlation(counts[clear], expected[clear]) > 0.99


def test_seed_decides_the_events():
    phase = crystal_phase(SCAN)
    first, _ = simulate(phase, electrons_per_pattern=20)
    again, _ = simulate(phase, electrons_per_pattern=20)
    other, _ = simulate(phase, electrons_per_pattern=20, seed=2)
    np.testing.assert_array_equal(first.indices, again.indices)
    np.testing.assert_array_equal(first.indptr, again.indptr)
    assert not np.array_equal(first.indptr, other.indptr)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
def test_number_of_threads_does_not_matter():
    phase = crystal_phase(SCAN)
    several, _ = simulate(phase, electrons_per_pattern=50)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        single, _ = simulate(phase, electrons_per_pattern=50)
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(single.indptr, several.indptr)
    np.testing.assert_array_equal(single.indices, several.indices)


def test_patterns_are_independent():
    """No correlation of the electrons' places between neighbouring vacuum patterns."""
    events, _ = simulate(electrons_per_pattern=200)
    com = reference.centre_of_mass(dense(events))[0]
    r = scipy.stats.pearsonr(com[:, :-1].ravel(), com[:, 1:].ravel())
    assert abs(r.statistic) < 5 / np.sqrt(com.size)


def test_flyback_column():
    events, truth = simulate(electrons_per_pattern=100, flyback=True)
    assert events.scan_shape == (24, 21)
    assert truth.scan_shape == (24, 20)
    last = dense(events)[:, -1].sum(axis=(1, 2))
    assert last.mean() == pytest.approx(100 * FLYBACK_DOSE, rel=0.3)


def test_part_of_the_specimen_is_scanned():
    phase = crystal_phase((30, 26))
    events, truth = simulate(phase, scan_shape=(5, 7), electrons_per_pattern=5)
    assert events.scan_shape == (5, 7)
    assert truth.visible_phase().shape == (5, 7)
    np.testing.assert_array_equal(truth.phase, phase)


def test_electrons_beside_the_camera_are_lost():
    events, _ = simulate(electrons_per_pattern=200, disk_center=(0.0, 36.1))
    n = dense(events).sum(axis=(2, 3)).mean()
    assert n == pytest.approx(100 * (1 + 2 * 0.5 / 15 * 2 / np.pi), rel=0.05)


def test_metadata_has_units():
    events, truth = simulate(electrons_per_pattern=1)
    assert events.metadata["energy"] == (80e3, "eV")
    assert events.metadata["Q_pixel_size"] == (truth.reciprocal_pixel, "A^-1")


def test_progress_is_reported():
    seen = []
    token = progress._bar.set(lambda items, *_: seen.append(len(items)) or items)
    try:
        simulate(electrons_per_pattern=1)
    finally:
        progress._bar.reset(token)
    assert seen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phase": np.zeros(5)}, "2-D"),
        ({"phase": np.full((4, 4), np.nan)}, "finite"),
        ({"scan_shape": (25, 20)}, "must fit"),
        ({"scan_shape": (0, 20)}, "must fit"),
        ({"electrons_per_pattern": -1}, "electrons_per_pattern"),
        ({"electrons_per_pattern": np.inf}, "electrons_per_pattern"),
        ({"disk_radius": 0}, "disk_radius"),
        ({"window": 33}, "even"),
        ({"seed": -1}, "seed"),
        ({"semiangle": 90}, "too large"),
        ({"aberrations": {"defocus": 3000}}, "larger window"),
        ({"aberrations": {"defokus": 1}}, "defocus"),
        ({"energy": 80}, "keV"),
    ],
)
def test_errors_say_what_was_wrong(options, message):
    with pytest.raises(EventError, match=message):
        simulate(**options)


def test_pixel_must_be_positive():
    with pytest.raises(CalibrationError, match="scan step"):
        simulate_events(np.zeros(SCAN), 0.0)
    with pytest.raises(ParameterError, match="pixel"):
        nanotube_phase(SCAN, 0.0)


# --- specimens


@pytest.mark.parametrize("make", [nanotube_phase, single_atoms_phase, crystal_phase])
def test_specimens(make):
    phase = make((66, 58), seed=4)
    assert phase.shape == (66, 58)
    assert phase.dtype == np.float32
    assert 0.3 < phase.max() < 1.5
    assert phase.min() > -0.1
    np.testing.assert_array_equal(phase, make((66, 58), seed=4))
    strength = interaction_strength(200e3) / interaction_strength(80e3)
    np.testing.assert_allclose(make((66, 58), energy=200e3, seed=4), strength * phase, atol=1e-5)


def test_nanotube_leaves_vacuum_and_has_a_heavy_wire():
    phase = nanotube_phase((256, 256))
    assert np.mean(np.abs(phase) < 0.02) > 0.3
    on_diagonal = np.diagonal(phase)
    assert on_diagonal.max() > 3 * np.median(phase[phase > 0.02])


def test_one_atom():
    """Phase of one atom: total strength, place, symmetry, and its Fourier transform."""
    grid = Grid.parse((40, 36), PIXEL)
    at = np.array([[20 * PIXEL, 18 * PIXEL]])
    phase = projected_phase(grid, 80e3, {73: at})
    assert np.unravel_index(phase.argmax(), phase.shape) == (20, 18)
    np.testing.assert_allclose(phase[20 - 5 : 20 + 6], phase[20 - 5 : 20 + 6][::-1], atol=1e-6)
    total = interaction_strength(80e3) * scattering_factor(np.zeros(1), 73)[0]
    assert phase.sum() * PIXEL**2 == pytest.approx(total, rel=1e-4)
    spectrum = np.fft.fft2(phase) * PIXEL**2
    q = 5 / (36 * PIXEL)
    damping = np.exp(-2 * (np.pi * THERMAL_DISPLACEMENT * q) ** 2)
    expected = interaction_strength(80e3) * scattering_factor(np.array([q]), 73)[0] * damping
    assert abs(spectrum[0, 5]) == pytest.approx(expected, rel=1e-4)


def test_atoms_between_pixels_and_across_the_border():
    grid = Grid.parse((30, 28), PIXEL)
    phase = projected_phase(grid, 80e3, {6: np.array([[0.1, 0.2]])})
    around = projected_phase(grid, 80e3, {6: np.array([[0.1 + 30 * PIXEL, 0.2 - 28 * PIXEL]])})
    np.testing.assert_allclose(phase, around, atol=1e-6)


def test_scattering_factor_far_out_is_rutherfords():
    q = np.array([20.0])
    rutherford = 2 * 6 / (0.529177 * 4 * np.pi**2 * q**2)
    np.testing.assert_allclose(scattering_factor(q, 6), rutherford, rtol=0.02)


def test_interaction_strength():
    """γλ/(2π a₀ e) is Kirkland's σ; at 100 keV σ is 0.924 rad/(kV Å)."""
    sigma = interaction_strength(100e3) / (2 * np.pi * 0.529177 * 14.3996) * 1e3
    assert sigma == pytest.approx(0.924, rel=1e-3)


@pytest.mark.parametrize("step", [PIXEL, (PIXEL, 0.5 * PIXEL)])
def test_band_limit(step):
    image = np.random.default_rng(0).random((23, 18))
    limited = band_limited(image, step, 0.8)
    steps = np.broadcast_to(step, 2)
    q = np.hypot(np.fft.fftfreq(23, steps[0])[:, None], np.fft.fftfreq(18, steps[1])[None])
    spectrum = np.fft.fft2(limited)
    assert np.abs(spectrum[q > 0.8]).max() < 1e-10
    np.testing.assert_allclose(spectrum[q <= 0.8], np.fft.fft2(image)[q <= 0.8], atol=1e-10)


# --- the slow reference recovers the object

ABERRATED = {"defocus": 120.0, "C12": 50.0, "phi12": 0.4, "C21": 4000.0, "phi21": -1.0}


def reconstruct(events, truth, rotation=None, transpose=None, polar=None):
    """SSB of the reference on an 18 × 18 detector; its correlation with the truth."""
    size, b = 18, 2 * truth.disk_radius / 18
    data = dense(events.mapped(centred_map(events.detector_shape, truth.disk_center, b, size)))
    k = (np.arange(size) - (size - 1) / 2) * b * truth.reciprocal_pixel
    geometry = truth.geometry
    polar = truth.aberrations.polar if polar is None else polar
    found = reference.ssb(
        data,
        k,
        k,
        geometry.scan_step,
        geometry.energy,
        geometry.semiangle,
        polar,
        geometry.rotation if rotation is None else rotation,
        geometry.transpose if transpose is None else transpose,
    )
    return reference.correlation(np.angle(found), truth.visible_phase())


@pytest.fixture(scope="module")
def specimen():
    return single_atoms_phase(SCAN, PIXEL, seed=3, film_density=0.5)


@pytest.mark.parametrize(
    ("aberrations", "rotation", "transpose"),
    [
        ({}, 0.0, False),
        ({}, 0.5, True),
        (ABERRATED, 0.0, False),
        (ABERRATED, 0.5, False),
        (ABERRATED, -1.3, True),
    ],
)
def test_reference_recovers_the_object(specimen, aberrations, rotation, transpose):
    events, truth = simulate(
        specimen,
        electrons_per_pattern=4000,
        aberrations=aberrations,
        rotation=rotation,
        transpose=transpose,
    )
    right = reconstruct(events, truth)
    assert right > 0.8
    assert reconstruct(events, truth, transpose=not transpose) < right - 0.1
    if rotation:
        assert reconstruct(events, truth, rotation=-rotation) < right - 0.1
    if aberrations:
        flipped = dict(truth.aberrations.polar, C10=-truth.aberrations.polar["C10"])
        assert reconstruct(events, truth, polar=flipped) < right - 0.1
        turned = dict(truth.aberrations.polar, phi21=truth.aberrations.polar["phi21"] + np.pi)
        assert reconstruct(events, truth, polar=turned) < right - 0.02


def test_centre_of_mass_is_the_phase_gradient(specimen):
    """A smooth phase shifts the pattern along its gradient, in the scan's frame."""
    smooth = band_limited(specimen, PIXEL, 0.25)
    smooth *= 0.3 / smooth.std()
    events, truth = simulate(smooth, electrons_per_pattern=4000, rotation=0.5, transpose=True)
    com = reference.centre_of_mass(dense(events)) - np.array(truth.disk_center)[:, None, None]
    com = reference.rotated_com(com * truth.reciprocal_pixel, 0.5, True)
    phase = reference.dpc_direct(com, (PIXEL, PIXEL))
    assert reference.correlation(phase, smooth) > 0.9
    assert np.std(phase) == pytest.approx(np.std(smooth), rel=0.3)
    angle, transpose = reference.rotation_search(
        reference.centre_of_mass(dense(events)) * truth.reciprocal_pixel
    )
    assert transpose
    assert angle == pytest.approx(0.5, abs=0.1)


def test_small_scan_fixture(small_scan):
    events, truth = small_scan
    assert events.shape == (*SCAN, 61, 70)
    assert reconstruct(events, truth) > 0.8
