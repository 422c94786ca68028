"""Sums of groups of patterns, counted and sorted, against a sum entry by entry."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from py4dstem_eer import EventStore, event_pieces, event_tally
from py4dstem_eer.detector import PixelMap, bin_map, transpose_map
from py4dstem_eer.event_sums import Groups, summed

SHAPE = (9, 17)  # more pixels than bits in a word, twice
LARGEST = np.iinfo(np.uint32).max


@st.composite
def event_lists(draw):
    """Draw lists in any order, with repeated entries, and patterns without any."""
    lengths = draw(hnp.arrays(np.int64, st.integers(1, 12), elements=st.integers(0, 9)))
    indptr = np.r_[0, np.cumsum(lengths)]
    pixels = st.integers(0, SHAPE[0] * SHAPE[1] - 1)
    indices = draw(hnp.arrays(np.uint16, int(indptr[-1]), elements=pixels))
    dtype = draw(st.sampled_from([None, np.uint8, np.uint16, np.uint32]))
    if dtype is None:
        return indptr, indices.astype(draw(st.sampled_from([np.uint16, np.uint32]))), None
    most = min(np.iinfo(dtype).max, 10**7)
    return indptr, indices, draw(hnp.arrays(dtype, int(indptr[-1]), elements=st.integers(1, most)))


@st.composite
def groups_of(draw, n_patterns):
    """Draw groups as a binned scan has them, in any order; a pattern may be in several."""
    steps = np.array(draw(st.lists(st.integers(0, n_patterns - 1), min_size=1, max_size=4)))
    firsts = st.integers(0, n_patterns - 1 - int(steps.max()))
    return Groups(np.array(draw(st.lists(firsts, max_size=9)), np.int64), steps.astype(np.int64))


@st.composite
def maps(draw):
    target = draw(st.sampled_from([(1, 1), (4, 16), (9, 17), (3, 43)]))  # 64 pixels are one word
    pixels = st.integers(-1, target[0] * target[1] - 1)
    lut = draw(hnp.arrays(np.int32, SHAPE[0] * SHAPE[1], elements=pixels))
    return PixelMap(lut, SHAPE, target)


def one_by_one(lists, groups, pixel_map):
    """Return the sums, dense, (groups, pixels)."""
    indptr, indices, counts = lists
    n_target = SHAPE[0] * SHAPE[1]
    if pixel_map is not None:
        n_target = pixel_map.target_shape[0] * pixel_map.target_shape[1]
    total = np.zeros((len(groups.firsts), n_target), np.int64)
    for g, first in enumerate(groups.firsts):
        for step in groups.steps:
            for e in range(indptr[first + step], indptr[first + step + 1]):
                target = indices[e] if pixel_map is None else pixel_map.lut[indices[e]]
                if target >= 0:
                    total[g, target] += 1 if counts is None else counts[e]
    return total


@pytest.mark.parametrize("pixels_per_entry", [0, 2**40], ids=["sorted", "counted"])
@settings(max_examples=150, deadline=None)
@given(data=st.data(), lists=event_lists())
def test_sums_of_any_groups_on_any_map(pixels_per_entry, data, lists):
    groups = data.draw(groups_of(len(lists[0]) - 1))
    pixel_map = data.draw(st.none() | maps())
    shape = SHAPE if pixel_map is None else pixel_map.target_shape
    few = st.sampled_from([1, 5, 1000])
    n_threads = data.draw(st.integers(1, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_tally, "_PIXELS_PER_ENTRY", pixels_per_entry)
        patch.setattr(event_tally, "_FEWEST_ENTRIES", data.draw(few))
        patch.setattr(event_tally, "n_threads", lambda: n_threads)
        patch.setattr(event_pieces, "_FEWEST_ENTRIES", data.draw(few))
        sums = summed(lists, groups, shape, pixel_map)
    expected = one_by_one(lists, groups, pixel_map)
    indptr, indices, counts = sums
    store = EventStore((len(groups.firsts), 1), shape, *sums)
    store.validate()
    for g, total in enumerate(expected):
        np.testing.assert_array_equal(store.pattern(g, 0, np.int64).ravel(), total)
    most = expected.max(initial=0)
    assert (counts is None) == (most <= 1)
    if counts is not None:
        assert counts.dtype == np.min_scalar_type(most)
    assert indices.dtype == (lists[1].dtype if pixel_map is None else np.uint16)
    assert indptr[-1] == np.count_nonzero(expected)


def test_what_is_dropped_may_be_more_than_32_bits_hold():
    data = np.full((1, 1, 3, 2), LARGEST, np.uint32)
    data[0, 0, :2] = 1
    binned = EventStore.from_dense(data).mapped(bin_map((3, 2), 2))  # row 2 is left over
    assert binned.pattern(0, 0).tolist() == [[4]]
    assert binned.count_dtype == np.uint8


def test_few_events_of_a_large_camera_take_no_memory_for_its_pixels():
    side = 4096
    indices = np.random.default_rng(0).integers(0, side**2, 8 * 50).astype(np.uint32)
    store = EventStore.from_lists((2, 4), (side, side), np.arange(9) * 50, indices)
    turned = transpose_map((side, side))
    store.mapped(turned).mapped(turned), store.binned_scan(2)  # compiles
    tracemalloc.start()
    again = store.mapped(turned).mapped(turned)
    binned = store.binned_scan(2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
    np.testing.assert_array_equal(again.indices, store.indices)
    assert binned.n_events == store.n_events
