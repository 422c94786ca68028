"""The event store, against dense arrays."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from py4dstem_eer import event_lists, streams
from py4dstem_eer.detector import (
    bin_map,
    centred_map,
    crop_map,
    mask_map,
    select_map,
    transpose_map,
)
from py4dstem_eer.errors import EventError, EventRangeError, ParameterError
from py4dstem_eer.events import EventStore
from py4dstem_eer.methods.pixel_repair import with_local_medians
from py4dstem_eer.streams import StreamedEventStore

LARGEST = 2**32 - 1
PROPERTY = settings(deadline=None, max_examples=40)


def dense(store):
    """The whole store as a dense array, pattern by pattern."""
    out = np.zeros(store.shape, np.uint64)
    for rx in range(store.scan_shape[0]):
        for ry in range(store.scan_shape[1]):
            out[rx, ry] = store.pattern(rx, ry)
    return out


def same(store, other):
    assert store.shape == other.shape
    np.testing.assert_array_equal(store.indptr, other.indptr)
    np.testing.assert_array_equal(store.indices, other.indices)
    assert (store.counts is None) == (other.counts is None)
    if store.counts is not None:
        np.testing.assert_array_equal(store.counts, other.counts)


@st.composite
def cubes(draw):
    """Dense cubes of any small shape; mostly zeros and ones, empty patterns, huge counts."""
    shape = draw(st.tuples(*[st.integers(1, 5)] * 2, *[st.integers(1, 9)] * 2))
    values = draw(
        st.sampled_from(
            [st.integers(0, 1), st.integers(0, 300), st.sampled_from([0, 1, LARGEST // 90])]
        )
    )
    data = draw(hnp.arrays(np.uint32, shape, elements=values, fill=st.just(0)))
    for rx, ry in draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=3)):
        data[rx % shape[0], ry % shape[1]] = 0
    return data


# --- from dense and back


@PROPERTY
@given(cubes())
def test_dense_round_trip(data):
    store = EventStore.from_dense(data)
    store.validate()
    np.testing.assert_array_equal(dense(store), data)
    indptr, indices, counts = reference.canonical_csr(data)
    np.testing.assert_array_equal(store.indptr, indptr)
    np.testing.assert_array_equal(store.indices, indices)
    if store.counts is None:
        assert (counts == 1).all()
    else:
        np.testing.assert_array_equal(store.counts, counts.astype(np.uint64))
        assert store.counts.max() > 1
    assert store.n_events == int(data.sum(dtype=np.uint64))
    assert store.shape == data.shape


@pytest.mark.parametrize(
    ("largest", "dtype"),
    [(1, None), (2, np.uint8), (255, np.uint8), (256, np.uint16), (LARGEST, np.uint32)],
)
def test_counts_take_the_smallest_dtype(largest, dtype):
    data = np.zeros((1, 2, 3, 4), np.uint32)
    data[0, 1, 2, 3] = largest
    counts = EventStore.from_dense(data).counts
    assert counts is None if dtype is None else counts.dtype == dtype


@pytest.mark.parametrize(("columns", "dtype"), [(256, np.uint16), (257, np.uint32)])
def test_index_dtype_follows_the_detector(columns, dtype):
    data = np.zeros((1, 1, 256, columns), np.uint8)
    data[0, 0, -1, -1] = 1
    store = EventStore.from_dense(data)
    assert store.indices.dtype == dtype
    assert store.indices[0] == 256 * columns - 1
    np.testing.assert_array_equal(dense(store), data)


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5)])
def test_nothing_at_all(shape):
    store = EventStore.from_dense(np.zeros(shape))
    assert (store.shape, store.n_events) == (shape, 0)
    store.validate()


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float32, np.float64])
def test_dense_of_any_real_dtype(dtype):
    data = (np.arange(24).reshape(2, 1, 3, 4) % 5 == 0).astype(dtype)
    np.testing.assert_array_equal(dense(EventStore.from_dense(data)), data)


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, -1, 1e20, 1j])
def test_dense_must_hold_counts(value):
    data = np.zeros((2, 3, 4, 5), type(value))
    data[1, 2, 3, 4] = value
    with pytest.raises(ParameterError, match="no electron counts"):
        EventStore.from_dense(data)


def test_dense_must_be_4d():
    with pytest.raises(ParameterError, match=r"4-D array, got shape \(3, 4\)"):
        EventStore.from_dense(np.zeros((3, 4)))


# --- canonical form


@st.composite
def shuffled_lists(draw, detector=(300, 301), longest=90):
    """Lists in any order with repeats; long patterns, and indices above 65535."""
    lengths = draw(st.lists(st.integers(0, longest), min_size=1, max_size=6))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    n_pixels = detector[0] * detector[1]
    pool = rng.integers(0, n_pixels, draw(st.integers(1, 60)))
    indices = rng.choice(pool, sum(lengths)).astype(np.uint32)
    counts = draw(st.sampled_from([None, np.uint8, np.uint32]))
    if counts is not None:
        largest = np.iinfo(counts).max // max(len(indices), 1) if counts is np.uint32 else 255
        counts = rng.integers(1, largest, len(indices), dtype=counts, endpoint=True)
    return np.concatenate([[0], np.cumsum(lengths)]), indices, counts


@PROPERTY
@given(shuffled_lists())
def test_canonical(lists):
    indptr, indices, counts = lists
    store = EventStore.from_lists((1, len(indptr) - 1), (300, 301), *lists)
    store.validate()
    for p in range(len(indptr) - 1):
        expected = {}
        for e in range(indptr[p], indptr[p + 1]):
            weight = 1 if counts is None else int(counts[e])
            expected[int(indices[e])] = expected.get(int(indices[e]), 0) + weight
        part = slice(store.indptr[p], store.indptr[p + 1])
        assert store.indices[part].tolist() == sorted(expected)
        found = [1] * len(expected) if store.counts is None else store.counts[part].tolist()
        assert found == [expected[index] for index in sorted(expected)]


def test_a_store_does_not_change_with_the_arrays_it_was_made_from(cube):
    original = EventStore.from_dense(cube)
    lists = [np.array(a) for a in (original.indptr, original.indices, original.counts)]
    for build in (EventStore, EventStore.from_lists):
        store = build(original.scan_shape, original.detector_shape, *lists)
        for array in lists:
            array[:] = 0
        same(store, original)
        for array, kept in zip(lists, (store.indptr, store.indices, store.counts), strict=True):
            array[:] = kept
            with pytest.raises(ValueError, match="read-only"):
                kept[0] = 1


def test_a_store_can_be_pickled_and_copied(cube):
    store = EventStore.from_dense(cube, {"energy": (80e3, "eV")})
    for again in (pickle.loads(pickle.dumps(store)), copy.deepcopy(store)):
        same(again, store)
        assert again.metadata == store.metadata


def test_sums_beyond_32_bits_are_refused():
    lists = ([0, 2], np.array([3, 3], np.uint16), np.array([LARGEST, LARGEST], np.uint32))
    with pytest.raises(EventRangeError, match=f"counts {2 * LARGEST} electrons"):
        EventStore.from_lists((1, 1), (2, 2), *lists)
    full = EventStore.from_dense(np.full((1, 1, 100, 100), LARGEST, np.uint32))
    with pytest.raises(EventRangeError, match=f"counts {10000 * LARGEST} electrons"):
        full.mapped(bin_map((100, 100), 100))
    assert full.mapped(transpose_map((100, 100))).counts.max() == LARGEST
    with pytest.raises(EventRangeError, match="at most"):
        EventStore((1, 1), (2, 2), [0, 1], np.array([3]), np.array([2**32 + 5], np.uint64))


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_binned_scan_sums_neighbours(cube, factor):
    store = EventStore.from_dense(cube)
    rows, columns = (n // factor for n in cube.shape[:2])
    kept = cube[: rows * factor, : columns * factor]
    expected = kept.reshape(rows, factor, columns, factor, *cube.shape[2:]).sum(axis=(1, 3))
    binned = store.binned_scan(factor)
    binned.validate()
    np.testing.assert_array_equal(dense(binned), expected)
    for wrong in (0, 1.5, True, 9):
        with pytest.raises(ParameterError, match="bin factor"):
            store.binned_scan(wrong)


# --- maps


@st.composite
def maps(draw, shape):
    rows, columns = shape
    kind = draw(st.sampled_from(["crop", "bin", "centred", "mask", "transpose", "select"]))
    if kind == "crop":
        r0, c0 = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
        return crop_map(shape, (r0, draw(st.integers(r0 + 1, rows)), c0, columns))
    if kind == "bin":
        return bin_map(shape, draw(st.integers(1, min(shape))))
    if kind == "centred":
        center = (draw(st.floats(0, rows)), draw(st.floats(0, columns)))
        return centred_map(shape, center, draw(st.floats(0.5, 4)), draw(st.integers(1, 6)))
    if kind == "mask":
        return mask_map(draw(hnp.arrays(bool, shape)))
    if kind == "transpose":
        return transpose_map(shape)
    pixels = draw(st.permutations(range(rows * columns)))
    return select_map(shape, np.array(pixels[: draw(st.integers(1, len(pixels)))]))


def map_dense(data, pixel_map):
    target = pixel_map.target_shape
    out = np.zeros((*data.shape[:2], target[0] * target[1]), np.uint64)
    flat = data.reshape(*data.shape[:2], -1)
    for source, goal in enumerate(pixel_map.lut):
        if goal >= 0:
            out[..., goal] += flat[..., source]
    return out.reshape(*data.shape[:2], *target)


@PROPERTY
@given(data=st.data(), cube=cubes())
def test_mapped(data, cube):
    pixel_map = data.draw(maps(cube.shape[2:]))
    store = EventStore.from_dense(cube).mapped(pixel_map)
    store.validate()
    np.testing.assert_array_equal(dense(store), map_dense(cube, pixel_map))


@PROPERTY
@given(data=st.data(), cube=cubes())
def test_composed_map_is_one_map_after_the_other(data, cube):
    first = data.draw(maps(cube.shape[2:]))
    second = data.draw(maps(first.target_shape))
    store = EventStore.from_dense(cube)
    same(store.mapped(first.then(second)), store.mapped(first).mapped(second))


def test_mapped_against_the_reference(cube):
    store = EventStore.from_dense(cube)
    np.testing.assert_array_equal(
        dense(store.mapped(bin_map((9, 7), 2))), reference.binned(cube, 2)
    )
    np.testing.assert_array_equal(
        dense(store.mapped(centred_map((9, 7), (4.2, 2.7), 1.7, 4))),
        reference.centred(cube, (4.2, 2.7), 1.7, 4),
    )


@pytest.mark.parametrize("most", [1, 255, 256, 65535, 65536])
@pytest.mark.parametrize("dropped", [0, 300, 70000])
def test_mapped_by_counting_is_exact_at_the_edges_of_a_dtype(most, dropped):
    data = np.zeros((1, 2, 5, 4), np.uint32)
    data[0, 1, 0, 3], data[0, 1, 1, 2] = most // 2, most - most // 2
    data[0, 0, 3, 0], data[0, 1, 4, 1] = 1, dropped  # row 4 is left over
    store = EventStore.from_dense(data).mapped(bin_map((5, 4), 2))
    np.testing.assert_array_equal(dense(store), reference.binned(data, 2))
    assert store.counts is None if most == 1 else store.counts.max() == most


def test_mapped_by_counting_electrons_one_by_one():
    data = np.zeros((2, 1, 33, 40), np.uint16)
    data[0, 0, :16, :20] = 1
    data[1, 0, 32] = data[1, 0, ::16, ::20] = 1
    store = EventStore.from_dense(data)
    assert store.counts is None
    for factor in (4, 16, 20):
        mapped = store.mapped(bin_map((33, 40), factor))
        np.testing.assert_array_equal(dense(mapped), reference.binned(data, factor))
        mapped.validate()


def test_mapped_by_sorting():
    """Targets with many pixels are sorted instead of counted; short and long patterns."""
    shape = (97, 300)
    data = np.random.default_rng(4).poisson(0.002, (2, 3, *shape)).astype(np.uint8)
    data[0, 1] = 0
    data[1, 1, :3, ::5] = 3
    store = EventStore.from_dense(data)
    np.testing.assert_array_equal(
        dense(store.mapped(transpose_map(shape))), data.transpose(0, 1, 3, 2)
    )
    center, b, size = (50.2, 140.9), 1.3, 150
    np.testing.assert_array_equal(
        dense(store.mapped(centred_map(shape, center, b, size))),
        reference.centred(data, center, b, size),
    )


def test_map_for_another_detector_is_refused(cube):
    with pytest.raises(ParameterError, match=r"detector of \(7, 9\)"):
        EventStore.from_dense(cube).mapped(bin_map((7, 9), 2))


# --- slices of the scan

KEYS = [
    (slice(1, 4), slice(0, 3)),
    (slice(None, None, 2), slice(None, None, -1)),
    (slice(-2, None),),
    (3, slice(None)),
    (slice(None), -1),
    (-1, 0),
    2,
    (slice(4, 2), slice(None)),
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("streamed", [False, True])
def test_slices(key, streamed, cube):
    store = ToySource.store(cube) if streamed else EventStore.from_dense(cube)
    expected = cube[key].reshape(store[key].shape)  # an integer keeps its axis
    np.testing.assert_array_equal(dense(store[key]), expected)
    store[key].validate()


@pytest.mark.parametrize("streamed", [False, True])
def test_select_in_any_order(streamed, cube):
    store = ToySource.store(cube) if streamed else EventStore.from_dense(cube)
    rows, columns = np.array([3, 0, 3]), np.array([2, 1])
    selected = store.select(rows, columns)
    np.testing.assert_array_equal(dense(selected), cube[rows][:, columns])


@pytest.mark.parametrize("key", [5, -6, (0, 4)])
def test_index_out_of_range(key, cube):
    store = EventStore.from_dense(cube)
    with pytest.raises(IndexError, match="out of range"):
        store[key]
    with pytest.raises(IndexError, match="out of range"):
        store.pattern(*(key if isinstance(key, tuple) else (key, 0)))


@pytest.mark.parametrize("key", [(0, 0, 0), 1.5, "a", None])
def test_index_of_another_kind(key, cube):
    with pytest.raises(ParameterError):
        EventStore.from_dense(cube)[key]


@pytest.mark.parametrize("streamed", [False, True])
def test_negative_pattern_indices(streamed, cube):
    store = ToySource.store(cube) if streamed else EventStore.from_dense(cube)
    np.testing.assert_array_equal(store.pattern(-2, -3), cube[-2, -3])


def test_rows_are_views(cube):
    store = EventStore.from_dense(cube)
    part = store.read_rows(1, 3)
    np.testing.assert_array_equal(dense(part), cube[1:3])
    assert np.shares_memory(part.indices, store.indices)
    assert np.shares_memory(part.counts, store.counts)


@pytest.mark.parametrize("streamed", [False, True])
def test_reshaped(streamed, cube):
    store = ToySource.store(cube) if streamed else EventStore.from_dense(cube)
    np.testing.assert_array_equal(dense(store.reshaped((2, 10))), cube.reshape(2, 10, 9, 7))
    with pytest.raises(ParameterError, match="do not fill"):
        store.reshaped((3, 7))


@pytest.mark.parametrize("knows_rows", [False, True])
@pytest.mark.parametrize("shape", [(4, 5), (5, 4), (10, 2), (2, 10), (1, 20), (20, 1)])
@pytest.mark.parametrize("source_shape", [(5, 4), (20, 1), (1, 20), (4, 5)])
@pytest.mark.parametrize("limit", [1, 40, 10**9])
def test_a_streamed_scan_is_folded_as_it_is_read(
    knows_rows, shape, source_shape, limit, cube, monkeypatch
):
    monkeypatch.setattr(streams, "EVENTS_PER_BLOCK", limit)
    streamed = ToySource.store(cube.reshape(*source_shape, 9, 7), knows_rows)
    store = streamed.reshaped(shape)
    assert not store.in_memory
    assert streamed._source.reads == []
    folded = cube.reshape(*shape, 9, 7)
    for first, block in store.blocks():
        np.testing.assert_array_equal(dense(block), folded[first : first + block.scan_shape[0]])
    if limit > 1:
        rows_read = sum(stop - start for start, stop in streamed._source.reads)
        assert rows_read <= source_shape[0] + len(streamed._source.reads)
    last = shape[0] - 1, shape[1] - 1
    np.testing.assert_array_equal(store.pattern(*last), folded[last])
    np.testing.assert_array_equal(dense(store[1:].load()), folded[1:])
    assert store.read_rows(1, 1).shape == (0, shape[1], 9, 7)
    assert store.n_events == cube.sum()
    if knows_rows:
        np.testing.assert_allclose(store.entries_per_row().sum(), cube.sum())


def test_a_line_is_read_once_whatever_it_is_folded_into(cube, monkeypatch):
    monkeypatch.setattr(streams, "EVENTS_PER_BLOCK", 1)
    streamed = ToySource.store(cube.reshape(1, 20, 9, 7))
    for first, block in streamed.reshaped((5, 4)).blocks():
        np.testing.assert_array_equal(dense(block), cube[first : first + 1])
    assert streamed._source.reads == [(0, 1)]


def test_what_is_kept_of_a_line_is_counted_and_goes_with_its_end(cube):
    streamed = ToySource.store(cube.reshape(1, 20, 9, 7))
    store = streamed.reshaped((5, 4))
    derived = (store, store.mapped(bin_map((9, 7), 2)), store.binned_scan(2))
    before = [each.nbytes for each in derived]
    assert before[0] == ToySource.nbytes
    held = EventStore.from_dense(cube).nbytes
    for row in (0, 3, 1):
        store.pattern(row, 2)
        assert [each.nbytes for each in derived] == [n + held for n in before]
    store.pattern(4, 0)
    assert [each.nbytes for each in derived] == before
    np.testing.assert_array_equal(dense(store.load()), cube)
    assert [each.nbytes for each in derived] == before


@pytest.mark.parametrize("shape", [(3, 20), (2, 30), (4, 15), (12, 5)])
def test_nothing_is_kept_when_all_is_read(shape, monkeypatch):
    monkeypatch.setattr(streams, "EVENTS_PER_BLOCK", 40)
    store = ToySource.store(np.ones((3, 20, 1, 2), np.uint8), knows_rows=True).reshaped(shape)
    assert sum(block.n_events for _, block in store.blocks()) == 120
    assert store.nbytes == ToySource.nbytes


@pytest.mark.parametrize(("before", "after"), [((0, 3), (4, 0)), ((2, 0), (0, 3))])
def test_a_scan_of_nothing_is_folded(before, after):
    store = ToySource.store(np.zeros((*before, 2, 3), np.uint8)).reshaped(after)
    assert store.load().shape == (*after, 2, 3)


# --- invariants


def test_immutable(cube):
    store = EventStore.from_dense(cube)
    for array in (store.indptr, store.indices, store.counts):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(AttributeError):
        store.scan_shape = (1, 1)
    with pytest.raises(TypeError):
        store.metadata["a"] = 1


def test_pattern_is_writable_and_new(cube):
    store = EventStore.from_dense(cube)
    store.pattern(0, 0)[:] = 9
    np.testing.assert_array_equal(store.pattern(0, 0), cube[0, 0])


def test_metadata_is_kept(cube):
    store = EventStore.from_dense(cube, {"energy": (80e3, "eV")}).with_metadata(seen=True)
    for kept in (store[1:], store.mapped(bin_map((9, 7), 2)), store.reshaped((4, 5)), store.load()):
        assert dict(kept.metadata) == {"energy": (80e3, "eV"), "seen": True}


def test_sizes_and_text(cube):
    store = EventStore.from_dense(cube)
    entries = np.count_nonzero(cube)
    assert store.nbytes == 8 * 21 + 2 * entries + 2 * entries
    assert store.count_dtype == np.uint16
    assert f"{int(cube.sum()):,} electrons, in memory" in repr(store)


BROKEN = {
    "outside": (([0, 1, 1, 2, 2], [0, 12], None), "(1, 0): index 12 lies outside"),
    "unsorted": (([0, 1, 1, 3, 3], [0, 5, 4], None), "(1, 0): its indices are unsorted"),
    "repeated": (([0, 0, 0, 0, 2], [5, 5], None), "(1, 1): its indices are unsorted or repeated"),
    "no count": (([0, 0, 2, 2, 2], [3, 5], [2, 0]), "(0, 1): an entry has a count of zero"),
    "negative length": (([0, 2, 1, 1, 2], [3, 5], None), "(0, 1): its list has a negative"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_lists_are_refused_with_their_position(name):
    (indptr, indices, counts), message = BROKEN[name]
    counts = counts if counts is None else np.array(counts, np.uint8)
    arguments = ((2, 2), (3, 4), indptr, np.array(indices), counts)
    with pytest.raises(EventRangeError) as error:
        EventStore(*arguments)
    assert f"scan position {message}" in str(error.value)
    store = EventStore(*arguments, trusted=True)
    with pytest.raises(EventRangeError) as error:
        store.validate()
    assert f"scan position {message}" in str(error.value)


@pytest.mark.parametrize(
    ("dtype", "wrong"),
    [(np.int8, -1), (np.int64, -1), (np.uint8, None), (np.uint32, None), (np.uint64, 2**32)],
)
@pytest.mark.parametrize("build", [EventStore, EventStore.from_lists])
def test_counts_of_any_whole_dtype(build, dtype, wrong):
    lists = ((1, 1), (3, 4), [0, 2], np.array([3, 5]))
    np.testing.assert_array_equal(build(*lists, np.array([1, 100], dtype)).counts, [1, 100])
    if wrong is not None:
        with pytest.raises(EventRangeError):
            build(*lists, np.array([1, wrong], dtype))


def test_validate_names_the_position_in_a_stream(cube):
    store = ToySource.store(cube)
    good = store._source.events.read_rows(3, 4)
    indices = good.indices.copy()
    indices[good.indptr[2] : good.indptr[2] + 2] = indices[good.indptr[2]]
    lists = (good.indptr, indices, good.counts)
    bad = EventStore(good.scan_shape, good.detector_shape, *lists, trusted=True)
    store._source.replaced = {3: bad}
    with pytest.raises(EventRangeError, match=r"scan position \(3, 2\)"):
        store.validate()


@pytest.mark.parametrize(
    "lists",
    [
        ([0, 1], [3], None),
        ([1, 1, 1, 1, 1], [3], None),
        ([0, 0, 0, 0, 2], [3], None),
        ([0, 0, 0, 0, 1], [3], [1, 1]),
        ([0, 0, 0, 0, 1], [-1], None),
        ([0, 0, 0, 0, 1], [65536 + 3], None),
        ([0, 0, 0, 0, 1], [1.0], None),
        ([0, 0, 0, 0, 1], [1], [-1]),
        ([0, 0, 0, 0, 1], [1], [1.5]),
        ([0, 0, 0, 0, 2], [1, 1], [1.5, 1.5]),
        ([0, 0, 0, 0, 2], [5, 1], [1]),
        ([0, 10**6, 2, 2, 2], [5, 1], None),
        ([0, -(10**6), 2, 2, 2], [5, 1], None),
        ([0, 2**63 - 1, -10, 2, 2], [5, 1], None),
        ([], [], None),
    ],
)
@pytest.mark.parametrize("build", [EventStore, EventStore.from_lists])
def test_arrays_must_fit(lists, build):
    indptr, indices = np.array(lists[0], np.int64), np.array(lists[1])
    counts = lists[2] if lists[2] is None else np.array(lists[2])
    with pytest.raises(EventRangeError):
        build((2, 2), (3, 4), indptr, indices, counts)


@pytest.mark.parametrize("shape", [(2,), (2, 3, 4), (2, -1), (2.5, 1), (math.inf, 1), "ab", None])
def test_shapes_must_be_two_whole_numbers(shape):
    with pytest.raises(EventError, match="scan_shape"):
        EventStore(shape, (3, 4), [0], np.zeros(0, int))


# --- streamed from a file


class ToySource:
    """A file-backed source: counts what is read, and may know its events per row."""

    nbytes = 123

    def __init__(self, data, knows_rows):
        self.events = EventStore.from_dense(data, {"name": "toy"})
        self.scan_shape, self.detector_shape = data.shape[:2], data.shape[2:]
        self.metadata = self.events.metadata
        self.count_dtype = np.dtype(data.dtype)
        self.per_row = data.sum(axis=(1, 2, 3)) if knows_rows else None
        self.reads = []
        self.replaced = {}

    def read_rows(self, start, stop):
        self.reads.append((start, stop))
        return self.replaced.get(start, self.events.read_rows(start, stop))

    def events_per_row(self):
        return self.per_row

    @classmethod
    def store(cls, data, knows_rows=False):
        return StreamedEventStore(cls(data, knows_rows))


@pytest.fixture(params=[False, True], ids=["unknown rows", "known rows"])
def streamed(request, cube):
    return ToySource.store(cube, request.param)


def test_streamed_gives_the_same(streamed, cube):
    store = EventStore.from_dense(cube)
    same(streamed, store)
    same(streamed.load(), store)
    np.testing.assert_array_equal(dense(streamed), cube)
    assert streamed.n_events == store.n_events
    assert streamed.nbytes == 123
    assert not streamed.in_memory
    assert "streamed from file" in repr(streamed)
    streamed.validate()


@pytest.mark.parametrize("limit", [1, 40, 10**9])
def test_blocks_cover_all_rows_once(streamed, cube, limit, monkeypatch):
    monkeypatch.setattr(streams, "EVENTS_PER_BLOCK", limit)
    rows = []
    for first, block in streamed.blocks():
        np.testing.assert_array_equal(dense(block), cube[first : first + block.scan_shape[0]])
        rows.extend(range(first, first + block.scan_shape[0]))
        many = block.scan_shape[0] > 1
        assert not many or block.n_events <= limit
    assert rows == list(range(5))


def test_one_pattern_reads_one_row(streamed):
    streamed._source.reads.clear()
    streamed.pattern(3, 1)
    assert streamed._source.reads == [(3, 4)]


def test_streamed_maps_and_selections_stay_in_the_file(streamed, cube):
    binned = streamed.mapped(bin_map((9, 7), 2))[1:, ::2].with_metadata(more=1)
    assert not binned.in_memory
    expected = reference.binned(cube, 2)[1:, ::2]
    np.testing.assert_array_equal(dense(binned), expected)
    same(binned.load(), EventStore.from_dense(expected))
    assert binned.pattern(1, 0).dtype == np.uint32
    assert binned.n_events == expected.sum()
    assert dict(binned.metadata) == {"name": "toy", "more": 1}


def test_streamed_scan_without_rows(cube):
    empty = ToySource.store(cube)[2:2]
    assert empty.shape == (0, 4, 9, 7)
    assert empty.n_events == 0
    assert empty.load().n_events == 0


def test_a_streamed_scan_is_binned_as_it_is_read(streamed, cube):
    binned = streamed.binned_scan(2)
    assert not binned.in_memory
    expected = cube[:4, :4].reshape(2, 2, 2, 2, 9, 7).sum(axis=(1, 3))
    np.testing.assert_array_equal(dense(binned), expected)
    same(binned.load(), EventStore.from_dense(expected))
    np.testing.assert_array_equal(dense(binned[1:]), expected[1:])
    assert dense(binned[1:1]).shape[0] == 0
    assert binned.pattern(1, 1).dtype == np.uint32
    for wrong in (0, 1.5, 9):
        with pytest.raises(ParameterError, match="bin factor"):
            streamed.binned_scan(wrong)


def test_metadata_that_are_added_to_a_streamed_store_stay(streamed):
    store = streamed.with_metadata(more=1)
    changed = (store[1:], store.mapped(bin_map((9, 7), 2)), store.binned_scan(2), store.load())
    for made in (*changed, store.reshaped((2, 10)), store.with_metadata(name="new")):
        assert made.metadata["more"] == 1
    assert dict(streamed.metadata) == {"name": "toy"}


@pytest.mark.parametrize(
    "derive",
    [
        lambda store: store[::4],
        lambda store: store[::-4],
        lambda store: store[::4].mapped(bin_map((2, 3), 2)),
        lambda store: store.binned_scan(2),
        lambda store: with_local_medians(store, np.eye(2, 3) > 0, (1, 2)),
        lambda store: store[40:1:-1][::2],
    ],
    ids=["thinned", "backwards", "thinned and binned", "scan binned", "repaired", "twice"],
)
def test_blocks_of_what_is_derived_read_as_much_as_is_asked_for(derive, monkeypatch):
    monkeypatch.setattr(streams, "EVENTS_PER_BLOCK", 120)
    store = ToySource.store(np.ones((48, 2, 2, 3), np.uint8), knows_rows=True)
    blocks = list(derive(store).blocks())
    in_a_block = [12 * (stop - start) for start, stop in store._source.reads]
    assert max(in_a_block) <= 120  # of what is read, rows left out between others included
    assert sum(in_a_block) >= 36 * len(blocks)  # and not row by row


@pytest.mark.parametrize("rows", [[4], [-1], [10**7], [0, 4]])
def test_rows_and_columns_that_are_none_are_refused(rows):
    store = EventStore.from_dense(np.ones((4, 4, 2, 3), np.uint8))
    some, none = np.array([0]), np.array(rows)
    for events in (store, StreamedEventStore(store)):
        for name, chosen in (("rows", (none, some)), ("columns", (some, none))):
            text = f"scan {name} {none.min()} to {none.max()} are chosen of 4"
            with pytest.raises(IndexError, match=text):
                events.select(*chosen)
    with pytest.raises(IndexError, match="of 16"):
        event_lists.gathered(store.indptr, store.indices, store.counts, np.array([0, 16]))
