"""The rotation that the overlaps show, against the simulated one; noise must show none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from py4dstem_eer.methods import reductions
from py4dstem_eer.methods.aperture_grid import aperture_grid
from py4dstem_eer.methods.bright_field import Disk
from py4dstem_eer.methods.com import centre_of_mass
from py4dstem_eer.methods.rotation import RelativeRotation
from py4dstem_eer.methods.trotter_rotation import check_rotation
from py4dstem_eer.optics import Geometry
from py4dstem_eer.simulate import crystal_phase, simulate_events

STEP = 0.32


def scan(phase, rotation=0.4, transpose=True, **aberrations):
    events, truth = simulate_events(
        phase,
        STEP,
        detector_shape=(60, 66),
        disk_radius=20.0,
        electrons_per_pattern=1000,
        rotation=rotation,
        transpose=transpose,
        aberrations=aberrations,
        flyback=False,
    )
    disk, blind = Disk(truth.disk_center, truth.disk_radius), Geometry(80e3, 25.0, (STEP, STEP))
    grid = aperture_grid(events.detector_shape, disk, truth.reciprocal_pixel, blind, 16)
    com = centre_of_mass(events)[0]
    return events, com - com.mean(axis=(1, 2), keepdims=True), grid, blind


def check(found, events, com, grid, geometry, device="cpu"):
    stack = reductions.binned_stack(events, grid.pixel_map, np.dtype(np.uint8), device)
    return check_rotation(found, com, stack, grid, geometry, device)


@pytest.mark.parametrize(
    ("rotation", "transpose", "aberrations"),
    [(0.4, True, {}), (-1.2, False, {"defocus": 100.0}), (0.9, False, {"C12": 40.0, "C21": 4e3})],
)
def test_overlaps_show_rotation_and_transpose(rotation, transpose, aberrations):
    given = scan(crystal_phase((40, 44), STEP), rotation, transpose, **aberrations)
    right = check(RelativeRotation(math.degrees(rotation), transpose), *given)
    assert right.angle_deg == pytest.approx(math.degrees(rotation), abs=4)
    assert right.transpose is transpose
    assert right.decided
    assert right.agrees
    for wrong in (
        (math.degrees(rotation) + 40, transpose),
        (math.degrees(rotation), not transpose),
    ):
        assert not check(RelativeRotation(*wrong), *given).agrees
    opposite = check(RelativeRotation(math.degrees(rotation) + 180, transpose), *given)
    assert opposite.agrees
    assert opposite.evidence == pytest.approx(right.evidence)


@pytest.mark.parametrize("seed", range(4))
def test_noise_shows_nothing(seed):
    geometry = Geometry(80e3, 25.0, (STEP, STEP))
    grid = aperture_grid(
        (60, 66), Disk((30, 31), 20.0), geometry.aperture_radius / 20, geometry, 16
    )
    rng = np.random.default_rng(seed)
    stack = rng.poisson(2.0, (36 * 40, len(grid.pixels))).astype(np.uint8)
    com = np.stack([stack @ grid.wx, stack @ grid.wy]).reshape(2, 36, 40)
    found = check_rotation(RelativeRotation(20.0, False), com, stack, grid, geometry)
    assert not found.decided
    assert found.agrees


def test_a_scan_without_useful_frequencies_decides_nothing():
    geometry = Geometry(80e3, 25.0, (0.01, 0.01))
    grid = aperture_grid(
        (60, 66), Disk((30, 31), 20.0), geometry.aperture_radius / 20, geometry, 16
    )
    stack = np.ones((16, len(grid.pixels)), np.uint8)
    found = check_rotation(RelativeRotation(20.0, False), np.ones((2, 4, 4)), stack, grid, geometry)
    assert not found.decided
    assert found.agrees


def test_devices_agree(device):
    given = scan(crystal_phase((16, 14), STEP))
    found = RelativeRotation(0.0, False)
    here, there = check(found, *given), check(found, *given, device)
    assert there.angle_deg == here.angle_deg
    assert there.evidence == pytest.approx(here.evidence, rel=1e-3)
