"""Coordinate maps of the detector, against loops over dense patterns."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from py4dstem_eer.detector import (
    DROPPED,
    PixelMap,
    bin_map,
    centred_map,
    crop_map,
    mask_map,
    select_map,
    transpose_map,
)
from py4dstem_eer.errors import ParameterError

SHAPE = (9, 7)


def apply(pixel_map, pattern):
    """Move every pixel's counts where the map says."""
    out = np.zeros(pixel_map.target_shape[0] * pixel_map.target_shape[1], pattern.dtype)
    for source, target in enumerate(pixel_map.lut):
        if target != DROPPED:
            out[target] += pattern.ravel()[source]
    return out.reshape(pixel_map.target_shape)


@pytest.fixture
def pattern():
    return np.random.default_rng(1).integers(0, 100, SHAPE)


@pytest.mark.parametrize(
    "roi", [(0, 9, 0, 7), (2, 5, 1, 7), (-4, -1, 0, 3), (3, 100, 6, 7), (None, -2, 1, None)]
)
def test_crop_is_a_numpy_slice(roi, pattern):
    expected = pattern[roi[0] : roi[1], roi[2] : roi[3]]
    np.testing.assert_array_equal(apply(crop_map(SHAPE, roi), pattern), expected)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 7])
def test_bin(factor, pattern):
    expected = reference.binned(pattern[None, None], factor)[0, 0]
    np.testing.assert_array_equal(apply(bin_map(SHAPE, factor), pattern), expected)


@settings(deadline=None, max_examples=60)
@given(
    center=st.tuples(st.floats(-3, 12), st.floats(-3, 12)),
    pixels_per_bin=st.floats(0.3, 5),
    size=st.integers(1, 8),
)
def test_centred(center, pixels_per_bin, size):
    pattern = np.arange(1, 1 + np.prod(SHAPE)).reshape(SHAPE)
    expected = reference.centred(pattern[None, None], center, pixels_per_bin, size)[0, 0]
    pixel_map = centred_map(SHAPE, center, pixels_per_bin, size)
    np.testing.assert_array_equal(apply(pixel_map, pattern), expected)


def test_centred_pixel_stands_for_its_place():
    """A target pixel i gathers positions within half a bin of (i − (m − 1)/2)·b."""
    center, b, m = (40.3, 35.8), 5.7, 12
    pixel_map = centred_map((80, 70), center, b, m)
    rows, _ = np.divmod(np.arange(80 * 70), 70)
    kept = pixel_map.lut != DROPPED
    i = pixel_map.lut[kept] // m
    off = rows[kept] - center[0] - (i - (m - 1) / 2) * b
    assert np.abs(off).max() <= b / 2 + 1e-9


def test_mask_moves_nothing(pattern):
    mask = pattern > 40
    np.testing.assert_array_equal(apply(mask_map(mask), pattern), pattern * mask)


def test_transpose(pattern):
    np.testing.assert_array_equal(apply(transpose_map(SHAPE), pattern), pattern.T)


def test_select(pattern):
    pixels = np.array([40, 3, 17])
    selected = apply(select_map(SHAPE, pixels), pattern)
    np.testing.assert_array_equal(selected, pattern.ravel()[pixels][None])


def test_chain(pattern):
    chained = crop_map(SHAPE, (1, 8, 0, 6)).then(transpose_map((7, 6))).then(bin_map((6, 7), 2))
    expected = reference.binned(pattern[1:8, 0:6].T[None, None], 2)[0, 0]
    np.testing.assert_array_equal(apply(chained, pattern), expected)


def test_chain_needs_fitting_shapes():
    with pytest.raises(ParameterError, match="cannot chain"):
        crop_map(SHAPE, (1, 8, 0, 6)).then(bin_map(SHAPE, 2))


@pytest.mark.parametrize(
    ("pixel_map", "keeps_order"),
    [
        (crop_map(SHAPE, (2, 5, 1, 7)), True),
        (mask_map(np.eye(9, 7, dtype=bool)), True),
        (mask_map(np.zeros(SHAPE, bool)), True),
        (bin_map(SHAPE, 1), True),
        (bin_map(SHAPE, 2), False),
        (transpose_map(SHAPE), False),
        (select_map(SHAPE, np.array([5, 2])), False),
    ],
)
def test_keeps_order(pixel_map, keeps_order):
    assert pixel_map.keeps_order is keeps_order


@pytest.mark.parametrize(
    ("pixel_map", "shift"),
    [
        (bin_map((32, 48), 16), 4),
        (bin_map((33, 48), 8), 3),
        (bin_map((32, 44), 8), 2),
        (bin_map((32, 47), 8), 0),
        (bin_map((30, 48), 3), 0),
        (bin_map((8, 8), 8), 6),
        (centred_map((9, 7), (4.2, 2.7), 1.7, 4), 0),
        (mask_map(np.zeros((4, 8), bool)), 5),
        (PixelMap(np.array([0, 0, 1, 2] * 2, np.int32), (2, 4), (1, 3)), 0),
    ],
)
def test_short_table(pixel_map, shift):
    table, found = pixel_map.short_lut
    pixels = np.arange(len(pixel_map.lut), dtype=np.uint32)
    np.testing.assert_array_equal(table[pixels >> found], pixel_map.unsigned_lut)
    assert found == shift


def test_coordinates_outside_are_dropped():
    rows, columns = np.ogrid[-1:3, -1:2]
    pixel_map = PixelMap.from_coordinates(rows, columns, (2, 1))
    expected = [[-1, -1, -1], [-1, 0, -1], [-1, 1, -1], [-1, -1, -1]]
    np.testing.assert_array_equal(pixel_map.lut.reshape(4, 3), expected)
    assert pixel_map.lut.dtype == np.int32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: crop_map(SHAPE, (5, 5, 0, 7)), r"selects nothing of a \(.*\) detector"),
        (lambda: crop_map(SHAPE, (0, 5)), "row_min"),
        (lambda: bin_map(SHAPE, 0), "positive integer"),
        (lambda: bin_map(SHAPE, 1.5), "positive integer"),
        (lambda: bin_map(SHAPE, 8), "larger than"),
        (lambda: centred_map(SHAPE, (4, 4), 0.0, 3), "bin size is 0.0"),
        (lambda: centred_map(SHAPE, (4, 4), np.nan, 3), "bin size is nan"),
        (lambda: centred_map(SHAPE, (np.nan, 4), 1.0, 3), "centre"),
        (lambda: centred_map(SHAPE, (4, 4), 1.0, 0), "detector_size"),
        (lambda: centred_map(SHAPE, (4, 4), 1.0, 2.5), "detector_size"),
    ],
)
def test_errors_say_what_was_wrong(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


def test_centred_map_turns_the_axes():
    pattern = np.arange(49).reshape(7, 7)
    quarter = centred_map((7, 7), (3.0, 3.0), 1.0, 7, rotation=np.pi / 2)
    turned = np.empty(49, int)
    turned[quarter.lut] = pattern.ravel()
    # what was along (row, column) = (0, 1) is along (1, 0) of the target
    np.testing.assert_array_equal(turned.reshape(7, 7), np.rot90(pattern, -1))
    for wrong in (np.nan, np.inf):
        with pytest.raises(ParameterError, match="rotation"):
            centred_map((7, 7), (3.0, 3.0), 1.0, 7, rotation=wrong)


def test_mask_centre_bin_and_turn_are_one_map():
    mask = np.random.default_rng(0).random((9, 8)) > 0.3
    steps = (mask_map(mask), centred_map((9, 8), (4.2, 3.7), 1.6, 5, rotation=0.4))
    both = steps[0].then(steps[1])
    lut = np.where(mask.ravel(), steps[1].lut, -1)
    np.testing.assert_array_equal(both.lut, lut)
