"""Phase integration: against py4DSTEM's DPC, and against specimens whose phase is known."""

import os

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from py4dstem_eer import progress
from py4dstem_eer.device import get_device
from py4dstem_eer.errors import ParameterError
from py4dstem_eer.methods.dpc import Descent, Filters, integrate_direct, integrate_iterative
from py4dstem_eer.methods.dpc_filters import blur, butterworth, gaussian_transfer

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
DEVICES = ["cpu", "gpu"] if SIMULATED else ["cpu"]
STEP = (0.31, 0.31)


def specimen(shape=(64, 51), step=STEP, wedge=0.0, seed=0):
    """Phase [rad] of atoms on a wedge that bends, and its exact gradient / 2π [Å⁻¹]."""
    rng = np.random.default_rng(seed)
    length = [n * s for n, s in zip(shape, step, strict=True)]
    x = (step[0] * np.arange(shape[0]))[:, None] / length[0]
    y = (step[1] * np.arange(shape[1]))[None, :] / length[1]
    phase = wedge * (1.3 * x + 0.7 * y + 0.8 * x**2 - 0.5 * x * y)
    slope = np.zeros((2, *shape))
    slope[0] = wedge * (1.3 + 1.6 * x - 0.5 * y) / length[0]
    slope[1] = wedge * (0.7 - 0.5 * x + 0 * y) / length[1]
    for a in np.arange(-2, length[0] + 2, 2.1):
        for b in np.arange(-2, length[1] + 2, 2.4):
            height, width = rng.uniform(0.1, 0.4), 0.45
            dx, dy = x * length[0] - a, y * length[1] - b
            atom = height * np.exp(-(dx**2 + dy**2) / (2 * width**2))
            phase = phase + atom
            slope -= np.stack([dx * atom, dy * atom]) / width**2
    return phase, slope / (2 * np.pi)


def py4dstem_phase(com, step, padding_factor=2, **options):
    """py4DSTEM's result on the same field; its phase is ours / 2π."""
    if SIMULATED:
        pytest.skip("py4DSTEM cannot be imported under the CUDA simulator")
    from py4DSTEM.process.phase import DPC

    dpc = DPC(verbose=False)
    zeros = np.zeros_like(com[0])
    dpc.preprocess(
        force_com_measured=(com[0], com[1]),
        force_com_shifts=(zeros, zeros),
        force_com_rotation=0,
        force_com_transpose=False,
        padding_factor=padding_factor,
        plot_rotation=False,
        plot_center_of_mass=False,
    )
    # DPC takes its scan step from a cube only
    dpc._scan_sampling = step
    kx = np.fft.fftfreq(dpc._padded_object_phase.shape[0], step[0])[:, None]
    ky = np.fft.fftfreq(dpc._padded_object_phase.shape[1], step[1])[None, :]
    squared = kx**2 + ky**2
    squared[0, 0] = np.inf
    dpc._kx_op, dpc._ky_op = -0.25j * kx / squared, -0.25j * ky / squared
    return dpc.reconstruct(progress_bar=False, reset=True, **options)


def error_of(found, phase):
    difference = found - phase
    return np.std(difference)


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(64, 51), (33, 48)])
def test_direct_gives_the_phase_in_radians(shape, device):
    phase, com = specimen(shape)
    result = integrate_direct(com, STEP, device=device)
    assert error_of(result.phase, phase) < 0.03 * phase.std()
    assert abs(result.phase.mean()) < 1e-12
    assert result.error < 0.1


@pytest.mark.parametrize("step", [(0.2, 0.35), (0.35, 0.2)])
def test_the_two_axes_have_their_own_step(step):
    phase, com = specimen((60, 45), step)
    assert error_of(integrate_direct(com, step).phase, phase) < 0.04 * phase.std()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("boundary", ["mirror", "periodic", "zero"])
def test_one_wave_is_integrated_exactly(axis, boundary):
    n, k = 32, 3
    q = k / (n * 0.5)
    x = 0.5 * (np.arange(n) + (0.5 if boundary == "mirror" else 0))
    phase = np.cos(2 * np.pi * q * x)
    slope = -q * np.sin(2 * np.pi * q * x)
    com = np.zeros((2, n, n))
    com[axis] = slope[:, None] if axis == 0 else slope[None, :]
    expected = np.broadcast_to(phase[:, None] if axis == 0 else phase[None, :], (n, n))
    factor = 1 if boundary == "zero" else 2  # of 1: periodic again
    result = integrate_direct(com, (0.5, 0.5), boundary=boundary, padding_factor=factor)
    np.testing.assert_allclose(result.phase, expected, atol=1e-2 if boundary == "mirror" else 1e-9)


def test_regularisation_is_the_papers_quotient():
    n, k, step = 32, 3, 0.5
    q = k / (n * step)
    com = np.zeros((2, n, 5))
    com[0] = -q * np.sin(2 * np.pi * q * step * (np.arange(n) + 0.5))[:, None]
    plain = integrate_direct(com, (step, step), boundary="periodic").phase
    for high, low in ((0.02, 0.0), (0.0, 3.0), (0.01, 5.0)):
        damped = integrate_direct(com, (step, step), low, high, boundary="periodic").phase
        expected = q**2 / (high + q**2 + low * q**4)
        np.testing.assert_allclose(damped, expected * plain, atol=1e-12)
        mirrored = integrate_direct(com, (step, step), low, high).phase
        np.testing.assert_allclose(mirrored, expected * plain, atol=0.05 * np.abs(plain).max())


def test_a_strong_gradient_across_the_field():
    phase, com = specimen(wedge=20)
    iterated = 2 * np.pi * py4dstem_phase(com, STEP).object_phase
    direct = integrate_direct(com, STEP).phase
    padded = integrate_direct(com, STEP, boundary="zero").phase
    edge = np.ones(phase.shape, bool)
    edge[4:-4, 4:-4] = False

    def edge_error(found):
        difference = found - phase
        return np.sqrt(np.mean((difference - difference.mean())[edge] ** 2))

    assert edge_error(direct) < 0.5 * edge_error(iterated)
    assert edge_error(direct) < 0.01 * edge_error(padded)
    assert error_of(direct, phase) < 0.5 * error_of(iterated, phase)


@pytest.mark.parametrize("high_pass", [0.0, 1e-6])
def test_a_tilted_plane_is_exact_without_high_pass_and_nearly_so_with_a_tiny_one(high_pass):
    x, y = np.mgrid[:40, :30] * 0.31
    com = np.stack([np.full(x.shape, 0.3), np.full(x.shape, -0.2)])
    plane = 2 * np.pi * (0.3 * x - 0.2 * y)
    found = integrate_direct(com, STEP, high_pass=high_pass).phase
    assert error_of(found, plane) < (1e-10 if high_pass == 0 else 0.03)


@pytest.mark.parametrize(
    ("shape", "wedge", "noise", "padding_factor", "options"),
    [
        ((40, 33), 0, 0, 2, {"max_iter": 12}),
        ((40, 33), 0, 0, 1, {"max_iter": 12, "step_size": 0.3}),
        ((31, 44), 3, 0, 1.4, {"max_iter": 20, "gaussian_filter_sigma": 0.4}),
        ((31, 44), 0, 0.002, 2, {"max_iter": 9, "q_lowpass": 0.9, "q_highpass": 0.05}),
        ((32, 32), 0, 0.002, 2, {"max_iter": 9, "q_lowpass": 0.7, "butterworth_order": 4}),
        ((32, 35), 2, 0.002, 2, {"max_iter": 9, "q_lowpass": 0.7, "gaussian_filter_sigma": 0.3}),
    ],
)
def test_iterative_equals_py4dstem(shape, wedge, noise, padding_factor, options):
    _, com = specimen(shape, wedge=wedge)
    com += noise * np.random.default_rng(0).normal(size=com.shape)
    theirs = py4dstem_phase(com, STEP, padding_factor, **options)
    descent = {k: options[k] for k in ("max_iter", "step_size") if k in options}
    filters = {k: v for k, v in options.items() if k not in descent}
    ours = integrate_iterative(
        com,
        STEP,
        descent=Descent(padding_factor=padding_factor, **descent),
        filters=Filters(**filters),
    )
    np.testing.assert_allclose(ours.error_iterations, theirs.error_iterations, rtol=1e-4)
    expected = 2 * np.pi * theirs.object_phase
    np.testing.assert_allclose(ours.phase, expected, atol=2e-3 * np.ptp(expected))
    assert correlation(ours.phase, expected) > 0.99999


def test_iterative_agrees_with_py4dstem_to_the_end_of_its_iterations_on_noisy_data():
    _, com = specimen(wedge=5)
    com += 0.01 * np.random.default_rng(0).normal(size=com.shape)
    theirs = py4dstem_phase(com, STEP)
    ours = integrate_iterative(com, STEP)
    assert correlation(ours.phase, theirs.object_phase) > 0.999
    assert ours.error <= theirs.error_iterations[-1] * (1 + 1e-6)


def test_backtracking_undoes_a_step_that_raises_the_error():
    _, com = specimen()
    wild = Descent(step_size=3.0, max_iter=20)
    with_it = integrate_iterative(com, STEP, descent=wild)
    assert all(np.diff(with_it.error_iterations) < 0)
    assert with_it.step_size < 3
    without = integrate_iterative(com, STEP, descent=Descent(20, 3.0, backtrack=False))
    assert without.error > 1 > with_it.error
    assert len(without.error_iterations) == 20


@pytest.mark.parametrize("method", [integrate_direct, integrate_iterative])
def test_all_devices_give_the_same(method):
    _, com = specimen((20, 23))
    filters = Filters(q_lowpass=0.8, gaussian_filter_sigma=0.3)
    phases = [method(com, STEP, 0.1, 0.01, filters=filters, device=d).phase for d in DEVICES]
    for phase in phases:
        np.testing.assert_allclose(phase, phases[0], atol=1e-6)


def test_a_last_step_that_raises_the_error_is_not_the_result():
    _, com = specimen((20, 20))
    result = integrate_iterative(com, STEP, descent=Descent(max_iter=2, step_size=50.0))
    assert result.error == pytest.approx(1)
    assert not result.phase.any()


@pytest.mark.parametrize("step_size", [0.5, 3.0])
@pytest.mark.parametrize("padding_factor", [1, 1.5])
def test_iterations_go_on_as_if_they_had_never_stopped(step_size, padding_factor):
    """Also over a step that was undone: the images are those of the way that was gone."""
    _, com = specimen((24, 21), wedge=2)
    settings = {"step_size": step_size, "padding_factor": padding_factor}
    images, parts = {}, {}
    whole = integrate_iterative(com, STEP, descent=Descent(9, **settings), images=images)
    state = None
    for n in (2, 1, 2, 4):
        if state is not None:
            settings["step_size"] = state.step_size
        result = integrate_iterative(
            com, STEP, descent=Descent(n, **settings), state=state, images=parts
        )
        state = result.state
    assert (whole.step_size < step_size) == (step_size == 3)
    assert np.array_equal(result.phase, whole.phase)
    assert (result.error, result.error_iterations) == (whole.error, whole.error_iterations)
    assert list(parts) == list(images) == list(range(len(whole.error_iterations)))
    assert all(np.array_equal(parts[n], images[n]) for n in images)
    assert np.array_equal(images[len(images) - 1], whole.phase)


@pytest.mark.parametrize("n", range(1, 8))
def test_images_of_a_part_of_the_iterations_have_their_numbers(n):
    """Also where the first step that is stored takes the place of one that was undone."""
    _, com = specimen((24, 21), wedge=2)
    whole, part = {}, {}
    integrate_iterative(com, STEP, descent=Descent(9, 3.0), images=whole)
    state = integrate_iterative(com, STEP, descent=Descent(n, 3.0)).state
    rest = Descent(9 - n, state.step_size)
    integrate_iterative(com, STEP, descent=rest, state=state, images=part)
    assert set(part) <= set(whole)
    assert max(part) == max(whole)
    assert all(np.array_equal(part[k], whole[k]) for k in part)


def test_stored_images_are_the_phases_whose_errors_are_kept():
    _, com = specimen((24, 21), wedge=2)
    images = {}
    result = integrate_iterative(com, STEP, descent=Descent(6), images=images)
    assert [(n, image.shape) for n, image in images.items()] == [(n, (24, 21)) for n in range(6)]
    for n, image in images.items():
        shorter = integrate_iterative(com, STEP, descent=Descent(n + 1))
        assert np.array_equal(shorter.phase, image)
    images[5][:] = 0  # what a user does with an image does not disturb the iterations
    again = integrate_iterative(com, STEP, descent=Descent(1), state=result.state)
    assert again.error_iterations[-1] == pytest.approx(result.error)


def test_butterworth_filters_let_the_mean_pass():
    q = np.linspace(0, 1, 8)
    transfer = butterworth(q[:, None], q[None, :], Filters(0.7, 0.2, 3), np)
    assert transfer[0, 0] == 1
    expected = (1 - 1 / (1 + (q[3] / 0.2) ** 6)) / (1 + (q[3] / 0.7) ** 6)
    assert transfer[3, 0] == pytest.approx(expected)
    assert butterworth(q[:, None], q[None, :], Filters(), np) is None


def test_stops_when_the_step_falls_below_the_criterion():
    _, com = specimen((30, 20))
    result = integrate_iterative(com, STEP, descent=Descent(500, 3.0, stopping_criterion=2.9))
    assert result.step_size == 1.5
    assert len(result.error_iterations) == 1


def test_regularised_iterations_start_towards_the_regularised_solution():
    _, com = specimen((32, 32))
    one = Descent(max_iter=1, padding_factor=1, step_size=2 / np.pi)  # the paper's μ = 1
    for low, high in ((0.0, 0.0), (0.5, 0.01)):
        found = integrate_iterative(com, STEP, low, high, one).phase
        expected = integrate_direct(com, STEP, low, high, boundary="periodic").phase
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_iterations_show_their_progress():
    seen = []

    def bar(items, description, total):
        seen.append(description)
        return items

    token = progress._bar.set(bar)
    try:
        integrate_iterative(specimen((20, 20))[1], STEP, descent=Descent(max_iter=2))
    finally:
        progress._bar.reset(token)
    assert seen == ["Reconstructing phase"]


@pytest.mark.parametrize("method", [integrate_direct, integrate_iterative])
def test_filters_blur_the_phase(method):
    _, com = specimen()
    sharp = method(com, STEP).phase
    for filters in (Filters(q_lowpass=0.3), Filters(gaussian_filter_sigma=0.8)):
        soft = method(com, STEP, filters=filters).phase
        assert soft.std() < 0.9 * sharp.std()
    high = method(com, STEP, filters=Filters(q_highpass=0.6)).phase
    assert np.abs(gaussian_filter(high, 4)).max() < np.abs(gaussian_filter(sharp, 4)).max()


@pytest.mark.parametrize("sigma", [0.1, 0.5, 3.0])
def test_the_gaussian_is_scipys(sigma):
    image = np.random.default_rng(0).normal(size=(17, 12))
    filters = Filters(gaussian_filter_sigma=sigma)
    blurred = blur(image, gaussian_transfer(image.shape, filters, 0.5, np), get_device("cpu"))
    np.testing.assert_allclose(blurred, gaussian_filter(image, sigma / 0.5), atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (2, 3)])
@pytest.mark.parametrize("method", [integrate_direct, integrate_iterative])
def test_tiny_scans_and_empty_fields(method, shape):
    com = np.random.default_rng(0).normal(size=(2, *shape))
    for field in (com, np.zeros_like(com)):
        result = method(field, STEP)
        assert result.phase.shape == shape
        assert np.isfinite(result.phase).all()
        assert np.isfinite(result.error)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"low_pass": -1}, "low_pass is -1"),
        ({"low_pass": "1"}, "low_pass is '1'"),
        ({"high_pass": None}, "high_pass is None"),
        ({"high_pass": np.nan}, "high_pass is nan"),
        ({"boundary": "open"}, "'open'"),
        ({"boundary": None}, "boundary is None"),
        ({"boundary": "zero", "padding_factor": 0.5}, "padding_factor is 0.5"),
        ({"device": "tpu"}, "'tpu'"),
        ({"step": (0.0, 1.0)}, "scan step"),
    ],
)
def test_wrong_parameters(arguments, match):
    _, com = specimen((12, 10))
    with pytest.raises(ParameterError, match=match):
        integrate_direct(com, **{"step": STEP, **arguments})


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Descent(step_size=-0.5), "step_size is -0.5"),
        (lambda: Descent(step_size=np.inf), "step_size is inf"),
        (lambda: Descent(step_size="0.5"), "step_size is '0.5'"),
        (lambda: Descent(stopping_criterion=True), "stopping_criterion is True"),
        (lambda: Descent(max_iter=0), "max_iter is 0"),
        (lambda: Descent(max_iter=True), "max_iter is True"),
        (lambda: Descent(backtrack="x"), "backtrack is 'x'"),
        (lambda: Descent(backtrack=None), "backtrack is None"),
        (lambda: Descent(padding_factor="2"), "padding_factor is '2'"),
        (lambda: Filters(butterworth_order="2"), "butterworth_order is '2'"),
        (lambda: Filters(q_highpass="0.1"), "q_highpass is '0.1'"),
        (lambda: Descent(max_iter=2.5), "max_iter is 2.5"),
        (lambda: Descent(padding_factor=0.9), "padding_factor is 0.9"),
        (lambda: Filters(q_lowpass=-1), "q_lowpass is -1"),
        (lambda: Filters(gaussian_filter_sigma=np.nan), "gaussian_filter_sigma is nan"),
        (lambda: Filters(butterworth_order=0), "butterworth_order is 0"),
        (lambda: integrate_direct(np.full((2, 4, 4), np.nan), STEP), "not finite"),
        (lambda: integrate_iterative(np.zeros((4, 4)), STEP), "shape"),
    ],
)
def test_wrong_settings(make, match):
    with pytest.raises(ParameterError, match=match):
        make()
