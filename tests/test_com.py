"""Centre of mass: against dense sums, and what must not change it."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from py4dstem_eer.errors import EventError, ParameterError
from py4dstem_eer.events import EventStore
from py4dstem_eer.methods import blocks
from py4dstem_eer.methods.com import centre_of_mass, centre_of_mass_dense, fill_empty

DEVICES = ["cpu", "gpu"] if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" else ["cpu"]
SHAPE = (5, 7, 6, 11)


def counts(mean=0.4, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).poisson(mean, shape)


def slow_com(data, mask=None):
    """The definition, one pattern at a time."""
    mask = np.ones(data.shape[2:]) if mask is None else mask
    com = np.full((2, *data.shape[:2]), np.nan)
    for rx, ry in np.ndindex(data.shape[:2]):
        total = 0.0
        sums = np.zeros(2)
        for (row, col), n in np.ndenumerate(data[rx, ry]):
            total += mask[row, col] * n
            sums += mask[row, col] * n * np.array([row, col])
        if total > 0:
            com[:, rx, ry] = sums / total
    return com


class Blocks(EventStore):
    """A store that hands its rows out in given blocks."""

    def __init__(self, store, cuts):
        super().__init__(
            store.scan_shape, store.detector_shape, store.indptr, store.indices, store.counts
        )
        self.cuts = sorted({0, store.scan_shape[0], *cuts})

    def blocks(self):
        for start, stop in zip(self.cuts[:-1], self.cuts[1:], strict=True):
            yield start, self.read_rows(start, stop)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("largest", [1, 255, 300])
@pytest.mark.parametrize("mask", [None, "bool", "real"])
def test_equals_the_definition(device, largest, mask):
    data = np.minimum(counts(0.1 if largest == 1 else 1.5), largest)
    data[3, 2, 4, 8:] = largest
    rng = np.random.default_rng(1)
    masks = {None: None, "bool": rng.random(SHAPE[2:]) > 0.4, "real": rng.random(SHAPE[2:])}
    com, weight = centre_of_mass(EventStore.from_dense(data), masks[mask], device)
    np.testing.assert_allclose(com, slow_com(data, masks[mask]), atol=1e-12)
    factor = 1 if mask is None else masks[mask]
    np.testing.assert_allclose(weight, (data * factor).sum(axis=(2, 3)), atol=1e-12)
    assert np.array_equal(np.isnan(com[0]), weight == 0)


@pytest.mark.parametrize("usual", [True, False])
def test_counts_on_a_detector_of_any_size(usual, monkeypatch):
    monkeypatch.setattr(blocks, "_USUAL_PIXELS", SHAPE[2] * SHAPE[3] - (not usual))
    data = counts(1.5)
    com, weight = centre_of_mass(EventStore.from_dense(data))
    np.testing.assert_allclose(com, slow_com(data), atol=1e-12)
    np.testing.assert_array_equal(weight, data.sum(axis=(2, 3)))


def test_dense_equals_the_definition():
    data = counts(0.05).astype(np.float32)
    mask = np.random.default_rng(1).random(SHAPE[2:])
    for given_mask in (None, mask):
        np.testing.assert_allclose(
            centre_of_mass_dense(data, given_mask)[0], slow_com(data, given_mask), atol=1e-6
        )


@pytest.mark.parametrize(
    "detector", [(576, 576), (4096, 4096), (1, 70000), (70000, 1), (3838, 3710)]
)
def test_rows_are_exact_on_any_detector(detector):
    n_pixels = detector[0] * detector[1]
    rng = np.random.default_rng(2)
    row_starts = np.arange(detector[0], dtype=np.int64) * detector[1]
    special = np.r_[row_starts, row_starts - 1, n_pixels - 1]
    index = np.unique(np.r_[special[special >= 0], rng.integers(0, n_pixels, 5000)])
    # one event a pattern: the centre of mass is that pixel
    store = EventStore((1, len(index)), detector, np.arange(len(index) + 1), index)
    com, _ = centre_of_mass(store)
    assert np.array_equal(com[0, 0], index // detector[1])
    assert np.array_equal(com[1, 0], index % detector[1])


@settings(max_examples=25, deadline=None)
@given(cuts=st.sets(st.integers(0, SHAPE[0])), masked=st.booleans(), seed=st.integers(0, 9))
def test_any_split_into_blocks_gives_the_same(cuts, masked, seed):
    store = EventStore.from_dense(counts(seed=seed))
    mask = np.random.default_rng(seed).random(SHAPE[2:]) if masked else None
    for whole, split in zip(
        centre_of_mass(store, mask), centre_of_mass(Blocks(store, cuts), mask), strict=True
    ):
        assert np.array_equal(whole, split, equal_nan=True)


@settings(max_examples=25, deadline=None)
@given(factor=st.integers(2, 7), seed=st.integers(0, 99))
def test_multiplied_counts_leave_it_where_it_is(factor, seed):
    data = counts(0.1, seed)
    once, _ = centre_of_mass(EventStore.from_dense(data))
    more, weight = centre_of_mass(EventStore.from_dense(factor * data))
    np.testing.assert_allclose(more, once, atol=1e-12)
    assert np.array_equal(weight, factor * data.sum(axis=(2, 3)))


def test_empty_scan_and_empty_patterns():
    com, weight = centre_of_mass(EventStore.from_dense(np.zeros((3, 2, 4, 5), int)))
    assert np.isnan(com).all()
    assert not weight.any()
    nothing, _ = centre_of_mass(EventStore((0, 4), (5, 6), np.zeros(1, np.int64), np.zeros(0)))
    assert nothing.shape == (2, 0, 4)


@pytest.mark.parametrize(
    "mask",
    [
        np.ones((11, 6)),
        np.full((6, 11), np.nan),
        np.full((6, 11), -1.0),
        np.ones((6, 11), complex),
    ],
)
def test_wrong_masks(mask):
    with pytest.raises(ParameterError, match="mask"):
        centre_of_mass(EventStore.from_dense(counts()), mask)
    with pytest.raises(ParameterError, match="mask"):
        centre_of_mass_dense(counts(), mask)


def test_dense_nan_is_an_error():
    data = counts().astype(float)
    data[2, 3, 1, 1] = np.nan
    with pytest.raises(ParameterError, match=r"\(2, 3\)"):
        centre_of_mass_dense(data)


class TestFillEmpty:
    def test_nothing_to_fill_changes_nothing(self):
        com = np.random.default_rng(0).random((2, 4, 6))
        filled, n = fill_empty(com, np.ones((4, 6)))
        assert n == 0
        assert np.array_equal(filled, com)

    def test_one_gap_is_the_mean_of_its_neighbours_electrons(self):
        com, weight = centre_of_mass(EventStore.from_dense(counts(1)))
        weight[2, 3] = 0
        com[:, 2, 3] = np.nan
        filled, n = fill_empty(com, weight)
        around = np.s_[1:4, 2:5]
        expected = np.nansum(com[:, 1:4, 2:5] * weight[around], (1, 2)) / weight[around].sum()
        assert n == 1
        np.testing.assert_allclose(filled[:, 2, 3], expected)

    @settings(max_examples=60, deadline=None)
    @given(
        shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
        share=st.floats(0, 1),
        seed=st.integers(0, 999),
    )
    def test_always_finite_and_inside_the_measured_range(self, shape, share, seed):
        rng = np.random.default_rng(seed)
        weight = np.where(rng.random(shape) < share, 0.0, rng.integers(1, 50, shape))
        weight[rng.integers(shape[0]), rng.integers(shape[1])] = 3
        com = np.where(weight > 0, rng.normal(size=(2, *shape)), np.nan)
        filled, n = fill_empty(com, weight)
        assert n == np.count_nonzero(weight == 0)
        assert np.array_equal(filled[:, weight > 0], com[:, weight > 0])
        for axis in range(2):
            assert filled[axis].min() >= np.nanmin(com[axis]) - 1e-12
            assert filled[axis].max() <= np.nanmax(com[axis]) + 1e-12

    def test_a_large_gap_is_filled_from_its_own_surroundings(self):
        x = np.broadcast_to(np.arange(64.0)[:, None], (64, 48))
        weight = np.ones((64, 48))
        weight[20:40, 10:30] = 0
        filled, _ = fill_empty(np.stack([np.where(weight > 0, x, np.nan)] * 2), weight)
        assert np.abs(filled[0] - x)[20:40, 10:30].max() < 15

    def test_all_empty_is_an_error(self):
        with pytest.raises(EventError, match="all 12 patterns"):
            fill_empty(np.full((2, 3, 4), np.nan), np.zeros((3, 4)))
