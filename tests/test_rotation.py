"""Rotation and transpose: against py4DSTEM's search, and how sure they are."""

import os
import warnings

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from py4dstem_eer.errors import EventWarning, ParameterError
from py4dstem_eer.methods.rotation import (
    UNKNOWN_ANGLE_DEG,
    RelativeRotation,
    solve_rotation,
    squared_curl,
)

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
DEVICES = ["cpu", "gpu"] if SIMULATED else ["cpu"]


def measured_field(angle, transpose, noise, seed=0, shape=(61, 50), phase=None):
    """A gradient field as the detector would see it: `angle`, `transpose` bring it back."""
    rng = np.random.default_rng(seed)
    phase = gaussian_filter(rng.normal(size=shape), 2) if phase is None else phase
    field = np.stack(np.gradient(phase))
    field /= field.std()
    field = RelativeRotation(-angle, False).apply(field)
    if transpose:
        field = field[::-1]
    return field + noise * rng.normal(size=field.shape)


def angle_between(a, b):
    return abs((a - b + 90) % 180 - 90)


def py4dstem_search(com, **options):
    if SIMULATED:
        pytest.skip("py4DSTEM cannot be imported under the CUDA simulator")
    from py4DSTEM.process.phase import DPC

    dpc = DPC(verbose=False)
    dpc.preprocess(
        force_com_measured=(com[0], com[1]),
        force_com_shifts=(np.zeros_like(com[0]), np.zeros_like(com[0])),
        plot_rotation=False,
        plot_center_of_mass=False,
        **options,
    )
    return dpc


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("angle", [-72.3, 0.0, 17.8, 88.0])
def test_finds_what_was_put_in(angle, transpose, device):
    com = measured_field(angle, transpose, noise=0.0, shape=(23, 19))
    found = solve_rotation(com, device=device)
    assert angle_between(found.angle_deg, angle) < 0.5
    assert found.transpose is transpose
    assert not found.undecided
    np.testing.assert_allclose(
        np.abs(found.apply(com)), np.abs(RelativeRotation(angle, transpose).apply(com)), atol=0.05
    )


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("maximize_divergence", [False, True])
@pytest.mark.parametrize(("angle", "transpose"), [(-63.2, False), (28.6, True), (5.0, False)])
def test_agrees_with_py4dstem_within_its_grid(angle, transpose, maximize_divergence, noise):
    com = measured_field(angle, transpose, noise, seed=3, shape=(120, 110))
    theirs = py4dstem_search(com, maximize_divergence=maximize_divergence)
    ours = solve_rotation(com, maximize_divergence=maximize_divergence)
    assert ours.transpose == theirs._rotation_best_transpose
    assert angle_between(ours.angle_deg, np.rad2deg(theirs._rotation_best_rad)) < 1.0
    rotated = RelativeRotation(np.rad2deg(theirs._rotation_best_rad), ours.transpose).apply(com)
    np.testing.assert_allclose(rotated, [theirs._com_x, theirs._com_y], atol=1e-4)


@pytest.mark.parametrize("transpose", [False, True])
def test_forced_values_alone_and_together(transpose):
    com = measured_field(33, transpose, 0.1)
    both = solve_rotation(com, 120.0, not transpose)
    assert both == RelativeRotation(120.0, not transpose)
    rotation_only = solve_rotation(com, force_rotation=33)
    assert (rotation_only.angle_deg, rotation_only.transpose) == (33, transpose)
    assert rotation_only.uncertainty_deg == 0
    theirs = py4dstem_search(com, force_com_rotation=33)
    assert theirs._rotation_best_transpose == rotation_only.transpose
    for forced in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EventWarning)
            found = solve_rotation(com, force_transpose=forced)
        assert found.transpose is forced
        if forced == transpose:
            assert angle_between(found.angle_deg, 33) < 1


def test_the_minimum_is_the_minimum():
    com = measured_field(41, True, 0.5)
    found = solve_rotation(com)
    angles = np.linspace(-90, 90, 721)
    curl = squared_curl(com, angles)
    assert np.unravel_index(curl.argmin(), curl.shape)[0] == int(found.transpose)
    assert angle_between(angles[curl[1].argmin()], found.angle_deg) <= 0.25
    # against the definition, by rotating the field
    x, y = RelativeRotation(angles[100], True).apply(com)
    direct = ((y[2:] - y[:-2])[:, 1:-1] - (x[:, 2:] - x[:, :-2])[1:-1]) ** 2
    np.testing.assert_allclose(curl[1, 100], direct.sum())


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_the_uncertainty_is_the_scatter(noise):
    errors = []
    for seed in range(60):
        angle = -80 + 2.6 * seed
        found = solve_rotation(measured_field(angle, seed % 2 == 0, noise, seed))
        difference = (found.angle_deg - angle + 90) % 180 - 90
        errors.append(difference / found.uncertainty_deg)
    assert 0.7 < np.std(errors) < 1.4


@pytest.mark.parametrize("shape", [(3, 4), (6, 8), (20, 27), (64, 48)])
def test_noise_is_undecided(shape):
    for seed in range(30):
        com = np.random.default_rng(seed).normal(size=(2, *shape))
        with pytest.warns(EventWarning, match="cannot tell the rotation"):
            found = solve_rotation(com)
        assert not found.angle_decided


def test_fringes_tell_the_angle_but_not_the_transpose():
    x, y = np.ogrid[:64, :70]
    com = measured_field(20, False, 0.3, phase=np.sin(0.7 * x + 0.4 * y))
    with pytest.warns(EventWarning, match="cannot tell the transpose"):
        found = solve_rotation(com)
    assert found.angle_decided
    assert not found.transpose_decided


def test_a_constant_field_is_undecided():
    with pytest.warns(EventWarning, match="rotation and transpose"):
        found = solve_rotation(np.ones((2, 30, 20)))
    assert found.uncertainty_deg == UNKNOWN_ANGLE_DEG
    assert np.isfinite(found.angle_deg)


def test_wrong_input():
    with pytest.raises(ParameterError, match="3 × 3"):
        solve_rotation(np.zeros((2, 2, 9)))
    with pytest.raises(ParameterError, match="not finite"):
        solve_rotation(np.full((2, 5, 9), np.nan))
    with pytest.raises(ParameterError, match="force_com_rotation is nan"):
        solve_rotation(np.zeros((2, 5, 9)), np.nan)
    assert solve_rotation(np.zeros((2, 1, 2)), 10, False).angle_deg == 10
