"""The bright-field disk is found to a fraction of a pixel, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from py4dstem_eer.errors import EventWarning, ParameterError
from py4dstem_eer.methods.bright_field import Disk, find_disk, remove_hot_pixels


def disk_pattern(shape, center, radius, electrons, seed=0, background=0.02, oversample=8):
    fine = (np.arange(oversample) + 0.5) / oversample - 0.5
    rows = (np.arange(shape[0])[:, None] + fine).ravel() - center[0]
    columns = (np.arange(shape[1])[:, None] + fine).ravel() - center[1]
    inside = np.hypot(rows[:, None], columns[None, :]) < radius
    mean = inside.reshape(shape[0], oversample, shape[1], oversample).mean((1, 3)) + background
    return np.random.default_rng(seed).poisson(mean / mean.sum() * electrons)


@pytest.mark.parametrize(
    ("shape", "center", "radius", "electrons", "tolerance"),
    [
        ((300, 280), (151.3, 129.6), 70.2, 5e6, 0.05),
        ((300, 280), (151.3, 129.6), 70.2, 4e4, 0.3),
        ((64, 72), (30.2, 40.7), 9.3, 1e5, 0.15),
        ((65, 40), (44.9, 19.2), 14.0, 1e5, 0.15),
        ((20, 24), (9.6, 11.2), 6.4, 4e4, 0.15),
    ],
)
def test_centre_and_radius_are_found_in_spite_of_hot_pixels(
    shape, center, radius, electrons, tolerance
):
    pattern = disk_pattern(shape, center, radius, electrons)
    pattern[3, 5] = pattern[-2, -4] = 50 * pattern.max()
    disk = find_disk(pattern)
    np.testing.assert_allclose(disk.center, center, atol=tolerance)
    assert disk.radius == pytest.approx(radius, abs=tolerance)
    scaled = find_disk(pattern / 65536)
    np.testing.assert_allclose(scaled.center, disk.center, atol=1e-6)


def test_a_cut_disk_keeps_its_centre_and_warns_how_much_is_lost():
    pattern = disk_pattern((120, 130), (40.0, 118.0), 30.0, 1e6)
    with pytest.warns(EventWarning, match=r"cut by the detector edge: 2\d\.\d% of it is lost"):
        disk = find_disk(pattern)
    np.testing.assert_allclose(disk.center, (40, 118), atol=0.5)
    assert disk.radius == pytest.approx(30, abs=0.5)


def test_lost_fraction_is_the_area_outside():
    assert Disk((50, 50), 20).lost_fraction((101, 101)) == 0
    assert Disk((-0.5, 50), 20).lost_fraction((101, 101)) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "pattern",
    [
        np.zeros((20, 20)),
        np.full((20, 20), np.nan),
        np.full((30, 40), 100.0),
        np.random.default_rng(0).poisson(1.0, (60, 60)),
        np.eye(1, 900, 411).reshape(30, 30),
    ],
    ids=["empty", "nan", "flat", "noise", "one pixel"],
)
def test_no_disk_is_an_error(pattern):
    with pytest.raises(ParameterError, match="no bright-field disk"):
        find_disk(pattern)


def test_hot_pixels_go_and_the_disk_stays():
    pattern = disk_pattern((80, 80), (40, 40), 20, 1e6).astype(float)
    hot = pattern.copy()
    hot[10, 12] += 1e5
    cleaned = remove_hot_pixels(hot)
    assert cleaned[10, 12] < 50
    assert np.mean(cleaned != pattern) < 0.01
