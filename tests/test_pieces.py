"""Event lists in pieces, joined: as if never parted."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from py4dstem_eer import EventStore, event_pieces, event_tally
from py4dstem_eer.detector import PixelMap, bin_map, transpose_map
from py4dstem_eer.event_pieces import joined, pieces
from py4dstem_eer.methods import pixel_order


def dense_of(store):
    return np.array(
        [[store.pattern(rx, ry) for ry in range(store.shape[1])] for rx in range(store.shape[0])]
    )


def lists_of(store):
    return store.indptr, store.indices, store.counts


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(event_pieces, "_FEWEST_ENTRIES", 3)
    monkeypatch.setattr(event_tally, "_FEWEST_ENTRIES", 3)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 3), st.sampled_from([1, 3, 300, 70000]))
def test_any_scan_is_binned_in_any_pieces(data, factor, largest):
    rows = data.draw(st.integers(factor, 70))
    elements = st.one_of(st.just(0), st.integers(0, largest))
    dense = data.draw(hnp.arrays(np.uint32, (rows, 3, 2, 3), elements=elements, fill=st.just(0)))
    binned = EventStore.from_dense(dense).binned_scan(factor)
    binned.validate()
    groups, columns = rows // factor, 3 // factor
    cut = dense[: groups * factor, : columns * factor]
    expected = cut.reshape(groups, factor, columns, factor, 2, 3).sum((1, 3))
    np.testing.assert_array_equal(dense_of(binned), expected)


def test_counts_that_come_late_and_grow():
    dense = np.zeros((64, 1, 1, 2), np.uint32)
    dense[:, 0, 0, 1] = 1
    dense[40, 0, 0, 0] = 2
    dense[60, 0, 0, 0] = 70000
    store = EventStore.from_dense(dense)
    rows = (lists_of(store[row]) for row in range(64))
    row_by_row = joined(((len(row[1]), row) for row in rows), len(store.indices))
    again = EventStore((64, 1), (1, 2), *row_by_row)
    np.testing.assert_array_equal(dense_of(again), dense)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint16, st.tuples(*[st.integers(1, 6)] * 4), fill=st.just(0)))
def test_pieces_part_lists_between_patterns(dense):
    store = EventStore.from_dense(dense)
    parts = list(pieces(*lists_of(store)))
    n_entries = [len(indices) for _, indices, _ in parts]
    assert len(parts) <= max(1, sum(n_entries) // 3)
    assert all(indptr[0] == 0 and indptr[-1] == len(indices) for indptr, indices, _ in parts)
    numbered = zip(n_entries, parts, strict=True)
    for whole, again in zip(lists_of(store), joined(numbered, sum(n_entries)), strict=True):
        np.testing.assert_array_equal(again, whole)


def test_lists_without_patterns_are_one_piece():
    nothing = EventStore.from_dense(np.zeros((0, 3, 4, 5), np.uint8))
    assert len(list(pieces(*lists_of(nothing)))) == 1


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from([1, 300, 70000]))
def test_maps_by_sorting_in_pieces(data, largest):
    shape = tuple(data.draw(st.integers(1, 6)) for _ in range(4))
    elements = st.one_of(st.just(0), st.integers(0, largest))
    dense = data.draw(hnp.arrays(np.uint32, shape, elements=elements, fill=st.just(0)))
    store = EventStore.from_dense(dense)
    somewhere = data.draw(hnp.arrays(np.int32, shape[2:], elements=st.integers(-1, 3)))
    for pixel_map in (
        transpose_map(shape[2:]),
        bin_map(shape[2:], min(shape[2:])),
        PixelMap(somewhere.ravel(), shape[2:], (2, 2)),
    ):
        with pytest.MonkeyPatch.context() as patch:
            by_counting = store.mapped(pixel_map)
            patch.setattr(event_tally, "_PIXELS_PER_ENTRY", 0)
            by_sorting = store.mapped(pixel_map)
        by_sorting.validate()
        np.testing.assert_array_equal(dense_of(by_sorting), dense_of(by_counting))
        assert by_sorting.count_dtype == by_counting.count_dtype


@pytest.mark.parametrize("bright", [0, 40, 248])
@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.binned_scan(2),
        lambda store: store.mapped(transpose_map(store.detector_shape)),
        lambda store: pixel_order.scan_transposed(store, transpose_map(store.detector_shape)),
    ],
)
def test_uneven_lists_take_no_more_room_than_they_have(bright, change):
    """The parts so far say little of the rest where the beam was blanked."""
    lengths = np.zeros(256, np.int64)
    lengths[bright : bright + 8] = 60000
    indptr = np.concatenate(([0], np.cumsum(lengths)))
    indices = np.tile(np.random.default_rng(0).permutation(260 * 250)[:60000], 8).astype(np.uint16)
    store = EventStore.from_lists((16, 16), (260, 250), indptr, indices)
    change(store)  # compiles
    tracemalloc.start()
    result = change(store)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.n_events == 480000
    assert peak <= 6 * store.nbytes
