"""One sweep: the same as every reduction alone, and no pattern is read twice but the sample."""

import numpy as np
import pytest
from conftest import SIMULATOR
from hypothesis import given, settings
from hypothesis import strategies as st
from test_com import Blocks

from py4dstem_eer import EventStore, open_events
from py4dstem_eer.errors import EventWarning, ParameterError
from py4dstem_eer.methods.bright_field import find_disk
from py4dstem_eer.methods.com import centre_of_mass
from py4dstem_eer.methods.overview import disk_grid, overview
from py4dstem_eer.methods.radial import radial_stack
from py4dstem_eer.methods.reductions import pattern_sum
from py4dstem_eer.methods.virtual_images import virtual_image
from py4dstem_eer.writers.stempy import write_stempy

SHAPE = (9, 6, 24, 29)
CENTER, RADIUS = (11.2, 14.6), 6.0
DISK = {"center": CENTER, "bf_radius": RADIUS}
EXAMPLES = 3 if SIMULATOR else 15


def counts(mean=0.8, seed=0, hot=()):
    rows, columns = np.indices(SHAPE[2:])
    distance = np.hypot(rows - CENTER[0], columns - CENTER[1])
    data = np.random.default_rng(seed).poisson(np.broadcast_to((distance < 6) * mean + 0.02, SHAPE))
    data[4, 3] = 0
    for pixel in hot:
        data[:, :, pixel[0], pixel[1]] += 30
    return data


def assert_same(one, other, factor=1):
    np.testing.assert_array_equal(one.pattern_sum, factor * other.pattern_sum)
    np.testing.assert_allclose(one.com, other.com, rtol=1e-13)
    np.testing.assert_array_equal(one.dose, factor * other.dose)
    np.testing.assert_array_equal(one.radial.counts, factor * other.radial.counts)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_each_reduction_alone(device, several, masked):
    data = counts() if several else np.minimum(counts(), 1)
    store = EventStore.from_dense(data)
    mask = np.random.default_rng(1).random(SHAPE[2:]) > 0.2 if masked else None
    found = overview(store, mask, **DISK, device=device)
    np.testing.assert_array_equal(found.pattern_sum, pattern_sum(store))
    com, weight = centre_of_mass(store, mask)
    np.testing.assert_allclose(found.com, com, rtol=1e-12)
    np.testing.assert_array_equal(found.dose, weight)
    grid = disk_grid(SHAPE[2:], found.disk)
    np.testing.assert_array_equal(found.radial.counts, radial_stack(store, grid, mask).counts)
    assert np.isnan(found.com[:, 4, 3]).all()


def test_images_are_those_of_the_virtual_detectors():
    store = EventStore.from_dense(counts())
    found = overview(store, **DISK)
    rows, columns = np.indices(SHAPE[2:])
    distance = np.hypot(rows - CENTER[0], columns - CENTER[1])
    bright = virtual_image(store, distance < RADIUS)
    np.testing.assert_array_equal(found.bright_field(), bright)
    np.testing.assert_array_equal(
        found.dark_field(), virtual_image(store, distance >= 1.125 * RADIUS)
    )
    ring = virtual_image(store, (distance >= 1.5 * RADIUS) & (distance < 2 * RADIUS))
    np.testing.assert_array_equal(found.dark_field(1.5 * RADIUS, 2 * RADIUS), ring)
    assert found.quadrant_dpc().shape == (2, *SHAPE[:2])
    filled = overview(store, center=CENTER, bf_radius=100.0)
    assert not filled.dark_field().any()


def test_the_disk_is_measured():
    store = EventStore.from_dense(counts(20))
    disk = overview(store).disk
    assert disk == find_disk(pattern_sum(store))
    np.testing.assert_allclose([*disk.center, disk.radius], [*CENTER, RADIUS], atol=0.3)
    assert overview(store, center=(10.0, 13.0)).disk.center == (10.0, 13.0)
    assert overview(store, bf_radius=5.0).disk.radius == 5.0


@settings(max_examples=EXAMPLES, deadline=None)
@given(cuts=st.sets(st.integers(0, SHAPE[0])), factor=st.sampled_from([1, 2, 300]))
def test_splits_change_nothing_and_counts_scale(cuts, factor):
    once = overview(EventStore.from_dense(counts()), **DISK)
    more = overview(Blocks(EventStore.from_dense(factor * counts()), cuts), **DISK)
    assert_same(more, once, factor)


def test_hot_pixels_take_no_part_unless_kept():
    pixels = [(2, 3), (12, 14)]
    clean = counts()
    for row, column in pixels:
        clean[:, :, row, column] = 0
    store = EventStore.from_dense(counts(hot=pixels))
    with pytest.warns(EventWarning, match="2 hot pixels"):
        found = overview(store, **DISK)
    expected = overview(EventStore.from_dense(clean), **DISK)
    np.testing.assert_allclose(found.com, expected.com)
    np.testing.assert_array_equal(found.radial.counts, expected.radial.counts)
    np.testing.assert_array_equal(found.pattern_sum, pattern_sum(store))  # the camera's, as it is
    assert found.n_hot == 2
    assert [tuple(p) for p in np.argwhere(~found.mask)] == pixels
    kept = overview(store, **DISK, keep_hot_pixels=True)
    np.testing.assert_array_equal(kept.dose, counts(hot=pixels).sum((2, 3)))


def test_a_file_is_read_once(tmp_path):
    write_stempy(tmp_path / "scan.h5", EventStore.from_dense(counts()))
    streamed = open_events(tmp_path / "scan.h5", mem="MEMMAP")
    rows = []
    read = streamed.read_rows
    streamed.read_rows = lambda start, stop: rows.append((start, stop)) or read(start, stop)
    found = overview(streamed, **DISK)
    assert_same(found, overview(EventStore.from_dense(counts()), **DISK))
    assert [r for r in rows if r[1] - r[0] > 1] == [(0, SHAPE[0])]
    assert len(rows) <= 1 + SHAPE[0]  # so few electrons that the sample is the scan


def test_grids_stay_small_and_their_edge_is_the_rim():
    from py4dstem_eer.methods.bright_field import Disk

    for shape, radius, rings in (
        ((576, 576), 140.0, 16),
        ((576, 576), 20.0, 2),
        ((64, 64), 9.3, 8),
    ):
        grid = disk_grid(shape, Disk((shape[0] / 2, shape[1] / 2), radius))
        assert grid.n_sectors == 4
        assert np.isclose(grid.edges, radius).any()
        assert grid.n_radii <= 64
        assert radius / grid.bin_width >= rings


@pytest.mark.parametrize(
    ("data", "options", "match"),
    [
        (np.zeros((0, 3, 8, 8), int), {}, "empty"),
        (np.zeros((3, 3, 8, 8), int), {}, "disk"),
        (None, {"bf_radius": -1.0}, "bf_radius"),
        (None, {"bf_radius": "6"}, "bf_radius is '6'"),
        (None, {"center": ("4", 4)}, "center"),
        (None, {"center": 4}, "center is 4"),
        (None, {"center": (np.nan, 1)}, "center"),
        (None, {"mask": np.ones((3, 3))}, "mask"),
    ],
)
def test_wrong_input(data, options, match):
    store = EventStore.from_dense(counts() if data is None else data)
    with pytest.raises(ParameterError, match=match):
        overview(store, **options)
