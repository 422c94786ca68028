"""Rings and sectors: against masks and dense sums, on every device, however the rows are split."""

import numpy as np
import pytest
from conftest import SIMULATOR
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_com import Blocks

from py4dstem_eer import EventStore
from py4dstem_eer.errors import ParameterError
from py4dstem_eer.methods.com import centre_of_mass
from py4dstem_eer.methods.radial import PolarGrid, radial_stack
from py4dstem_eer.methods.virtual_images import virtual_image
from py4dstem_eer.simulate import simulate_events

SHAPE = (5, 4, 13, 18)
CENTER = (5.3, 8.6)
EXAMPLES = 4 if SIMULATOR else 25


def counts(seed=0, mean=0.6):
    data = np.random.default_rng(seed).poisson(mean, SHAPE)
    data[2, 1] = 0
    return data


def distance(center=CENTER):
    rows, columns = np.indices(SHAPE[2:])
    return np.hypot(rows - center[0], columns - center[1])


def slow_stack(data, grid):
    """The definition, one pixel at a time."""
    stack = np.zeros((*SHAPE[:2], grid.n_radii, grid.n_sectors), int)
    for row, column in np.ndindex(SHAPE[2:]):
        y, x = row - grid.center[0], column - grid.center[1]
        ring = int(np.hypot(y, x) // grid.bin_width)
        angle = (np.arctan2(x, y) - grid.angle + np.pi / grid.n_sectors) % (2 * np.pi)
        sector = int(angle // (2 * np.pi / grid.n_sectors)) % grid.n_sectors
        if ring < grid.n_radii:
            stack[:, :, ring, sector] += data[:, :, row, column]
    return stack


@pytest.mark.parametrize(
    "grid",
    [
        PolarGrid(CENTER, 1.0, 20),
        PolarGrid(CENTER, 2.3, 4, 4),
        PolarGrid((-3.0, 25.2), 3.1, 9, 3, 0.4),
        PolarGrid((6.0, 9.0), 0.7, 5, 7, -2.0),
    ],
    ids=str,
)
def test_equals_the_definition(device, grid):
    data = counts()
    stack = radial_stack(EventStore.from_dense(data), grid, device=device)
    assert stack.counts.dtype == np.uint32
    np.testing.assert_array_equal(stack.counts, slow_stack(data, grid))
    np.testing.assert_array_equal(stack.rings(), slow_stack(data, grid).sum(3))
    assert stack.rings().dtype == np.uint32
    assert not stack.counts[2, 1].any()


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    inner=st.integers(0, 9),
    width=st.integers(1, 9),
    bin_width=st.floats(0.4, 2.5),
    sectors=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_a_sum_of_rings_is_the_virtual_image_of_an_annulus(inner, width, bin_width, sectors, seed):
    store = EventStore.from_dense(counts(seed))
    grid = PolarGrid.covering(SHAPE[2:], CENTER, bin_width, sectors)
    inner = min(inner, grid.n_radii - 1)
    low, high = (bin_width * min(n, grid.n_radii) for n in (inner, inner + width))
    for edge in (low, high):  # of a pixel on an edge, rounding decides
        assume(np.abs(distance() - edge).min() > 1e-9)
    mask = (distance() >= low) & (distance() < high)
    image = radial_stack(store, grid).annulus(low, high)
    np.testing.assert_array_equal(image, virtual_image(store, mask))


@settings(max_examples=EXAMPLES, deadline=None)
@given(cuts=st.sets(st.integers(0, SHAPE[0])), factor=st.integers(1, 300))
def test_splits_change_nothing_and_counts_scale(cuts, factor):
    grid = PolarGrid(CENTER, 1.5, 8, 4)
    once = radial_stack(EventStore.from_dense(counts()), grid)
    more = radial_stack(Blocks(EventStore.from_dense(factor * counts()), cuts), grid)
    np.testing.assert_array_equal(more.counts, factor * once.counts)


def test_a_covering_grid_holds_every_electron_and_no_empty_last_ring():
    data = counts()
    for center in (CENTER, (0, 0), (-7, 30.5)):
        grid = PolarGrid.covering(SHAPE[2:], center, 1.7)
        rings = radial_stack(EventStore.from_dense(np.ones_like(data)), grid).rings()
        np.testing.assert_array_equal(rings.sum(2), SHAPE[2] * SHAPE[3])
        assert (rings[..., -1] > 0).all()


def test_masked_pixels_take_no_part(device):
    data, mask = counts(), np.random.default_rng(1).random(SHAPE[2:]) > 0.4
    grid = PolarGrid(CENTER, 1.5, 8, 4)
    for given_mask in (mask, mask.astype(int)):
        stack = radial_stack(EventStore.from_dense(data), grid, given_mask, device)
        np.testing.assert_array_equal(stack.counts, slow_stack(data * mask, grid))


def test_radii_are_rounded_to_edges():
    grid = PolarGrid(CENTER, 1.5, 8)
    np.testing.assert_allclose(grid.edges, 1.5 * np.arange(9))
    assert grid.rings(1.4, 3.1) == slice(1, 2)
    assert grid.rings(0, np.inf) == slice(0, 8)
    assert grid.rings(-5, 1e9) == slice(0, 8)
    for inner, outer in ((3, 3), (4, 3), (1.4, 1.6), (12, 20), (np.nan, 3), (0, np.nan)):
        with pytest.raises(ParameterError, match=r"ring|radii"):
            grid.rings(inner, outer)


class TestSectors:
    def test_four_are_the_directions_of_rows_and_columns(self):
        data = np.zeros((1, 4, 13, 18), int)
        for position, (dr, dc) in enumerate([(4, 1), (1, 5), (-4, -1), (0, -6)]):
            data[0, position, 6 + dr, 9 + dc] = position + 1
        stack = radial_stack(EventStore.from_dense(data), PolarGrid((6, 9), 1.0, 12, 4))
        sectors = stack.sectors(0, 12)
        np.testing.assert_array_equal(sectors[:, 0], np.diag([1, 2, 3, 4]))
        signal = stack.sector_dpc(0, 12)
        np.testing.assert_allclose(signal[0, 0], [1, 0, -1, 0], atol=1e-12)
        np.testing.assert_allclose(signal[1, 0], [0, 1, 0, -1], atol=1e-12)

    def test_quadrant_signal_is_the_quotient_of_differences(self):
        stack = radial_stack(EventStore.from_dense(counts()), PolarGrid(CENTER, 1.0, 12, 4))
        a, b, c, d = stack.sectors(2, 9).astype(float)
        signal = stack.sector_dpc(2, 9)
        with np.errstate(invalid="ignore"):
            expected = np.stack([(a - c), (b - d)]) / (a + b + c + d)
        np.testing.assert_allclose(signal, expected, atol=1e-12)
        assert np.isnan(signal[:, 2, 1]).all()
        assert np.isfinite(signal).sum() == 2 * (SHAPE[0] * SHAPE[1] - 1)

    def test_quadrants_see_what_the_centre_of_mass_sees(self):
        x, y = np.meshgrid(np.arange(20), np.arange(18), indexing="ij")
        phase = 3 * np.sin(2 * np.pi * x / 20) * np.cos(2 * np.pi * y / 18)
        events, truth = simulate_events(
            phase,
            0.5,
            electrons_per_pattern=3000,
            detector_shape=(60, 64),
            flyback=False,
            window=48,
        )
        grid = PolarGrid.covering((60, 64), truth.disk_center, truth.disk_radius / 4, 4)
        signal = radial_stack(events, grid).sector_dpc(0, np.inf)
        com, _ = centre_of_mass(events)
        for axis in range(2):
            assert np.corrcoef(signal[axis].ravel(), com[axis].ravel())[0, 1] > 0.9

    def test_fewer_than_three_tell_no_direction(self):
        for n in (1, 2):
            stack = radial_stack(EventStore.from_dense(counts()), PolarGrid(CENTER, 1.0, 12, n))
            with pytest.raises(ParameterError, match=f"{n} sectors"):
                stack.sector_dpc(0, 5)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (((np.nan, 0), 1.0, 5), "center"),
        (((1, 2, 3), 1.0, 5), "center"),
        ((CENTER, 0.0, 5), "bin_width"),
        ((CENTER, np.inf, 5), "bin_width"),
        ((CENTER, 1.0, 0), "n_radii"),
        ((CENTER, 1.0, 2.5), "n_radii"),
        ((CENTER, 1.0, 5, 0), "n_sectors"),
        ((CENTER, 1.0, 5, 4, np.nan), "angle"),
    ],
)
def test_wrong_grids(arguments, match):
    with pytest.raises(ParameterError, match=match):
        PolarGrid(*arguments)


def test_wrong_masks():
    store = EventStore.from_dense(counts())
    for mask in (np.ones((18, 13)), np.full((13, 18), 0.5)):
        with pytest.raises(ParameterError, match="mask"):
            radial_stack(store, PolarGrid(CENTER, 1.0, 5), mask)
