"""The lazy 4-D view: every index and reduction against numpy on the dense array."""

import gc
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from py4dstem_eer import EventStore, set_dense_budget
from py4dstem_eer.bridge import pixel_cache
from py4dstem_eer.bridge.view import EventView
from py4dstem_eer.errors import EventError, MemoryBudgetError, UnsupportedOperationError
from py4dstem_eer.methods.pixel_order import by_pixel
from py4dstem_eer.streams import StreamedEventStore

SHAPE = (4, 3, 5, 6)


class Source:
    """The least that a file-backed store needs."""

    def __init__(self, store):
        self.store = store
        self.scan_shape = store.scan_shape
        self.detector_shape = store.detector_shape
        self.metadata = store.metadata
        self.nbytes = 0
        self.count_dtype = store.count_dtype

    def read_rows(self, start, stop):
        return self.store.read_rows(start, stop)

    def events_per_row(self):
        return None


def counts(shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    data = rng.poisson(0.4, shape).astype(np.uint16)
    data[tuple(n // 2 for n in shape[:2])] = 0
    data[0, 0, 1, 1] = 300
    return data


def view_of(data, streamed=False):
    store = EventStore.from_dense(data)
    return EventView(StreamedEventStore(Source(store)) if streamed else store)


@pytest.fixture(autouse=True)
def default_budget():
    yield
    set_dense_budget(None)


@st.composite
def cubes(draw):
    shape = tuple(draw(st.integers(1, 5)) for _ in range(4))
    largest = draw(st.sampled_from([1, 3, 70000]))
    elements = st.one_of(st.just(0), st.integers(0, largest))
    return draw(hnp.arrays(np.uint32, shape, elements=elements, fill=st.just(0)))


def axis_index(draw, length):
    """An index of one axis, sometimes out of range."""
    kind = draw(st.sampled_from(["int", "slice", "slice", "array", "mask"]))
    if kind == "int":
        return draw(st.integers(-length - 1, length))
    if kind == "slice":
        return draw(st.slices(length))
    if kind == "mask":
        return draw(hnp.arrays(bool, length))
    n = draw(st.sampled_from([0, 1, 2, 2, 2]))
    return np.array(draw(st.lists(st.integers(-length, length - 1), min_size=n, max_size=n)), int)


@st.composite
def indexers(draw, shape):
    """Anything numpy takes, except masks across scan and detector, and new axes."""
    parts = []
    for space in (shape[:2], shape[2:]):
        if draw(st.integers(0, 4)) == 0:
            parts.append(draw(hnp.arrays(bool, space)))
        else:
            parts += [axis_index(draw, length) for length in space]
    cut = draw(st.sampled_from(["no", "no", "tail", "dots"]))
    if cut == "tail":
        parts = parts[: draw(st.integers(1, len(parts)))]
    if cut == "dots":
        at = draw(st.integers(0, len(parts)))
        drop = draw(st.integers(0, 1))
        parts = [*parts[:at], Ellipsis, *parts[at + drop :]]
    return parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)


@settings(max_examples=300, deadline=None)
@given(st.data(), cubes(), st.booleans())
def test_indexing_equals_numpy(data, dense, streamed):
    view = view_of(dense, streamed)
    key = data.draw(indexers(dense.shape))
    try:
        expected = dense[key]
    except IndexError:
        with pytest.raises(IndexError):
            view[key]
        return
    got = view[key]
    assert got.shape == expected.shape
    assert got.dtype.kind == "u"
    assert got.ndim == expected.ndim
    np.testing.assert_array_equal(np.asarray(got), expected)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "key",
    [
        (2, 1),
        (-1, -2, slice(None), slice(None)),
        (2, 1, slice(None, None, -1), slice(1, 4)),
        (2, 1, 3, 4),
        (np.int64(2), np.uint8(1)),
        (slice(1, 3), slice(None, None, -2)),
        (slice(None), slice(None), slice(4, 1, -1), slice(1, None)),
        (Ellipsis, 0, 0),
        (Ellipsis, slice(2, 4)),
        (0, 0, slice(None), [1, 2]),
        (0, slice(None), slice(None), [1, 2]),
        ([0, 1], slice(None), [1, 2]),
        ([0, 3], [1, 2]),
        ([0, 3], [1, 2], [4, 4], [0, 5]),
        ([[0, 3], [1, 1]], 2),
        [0, 2],
        1,
        slice(1, 3),
        (slice(None), slice(None), [1, 1, 3], [0, 0, 2]),
        (slice(None), slice(None), 3, 2),
        (slice(None), slice(None), [[1], [2]], [0, 5, 3]),
        (slice(None), slice(None), slice(2, 2)),
        (slice(2, 2),),
        (np.array(2), np.array(1)),
        (slice(None), 1, [0, 2], [1, 1]),
    ],
    ids=str,
)
def test_indices_that_people_use(key, streamed):
    dense = counts()
    got = view_of(dense, streamed)[key]
    assert got.shape == dense[key].shape
    np.testing.assert_array_equal(np.asarray(got), dense[key])


def test_masks_over_scan_and_detector():
    dense = counts()
    view = view_of(dense)
    scan = dense.sum((2, 3)) > 10
    detector = dense.sum((0, 1)) > 5
    for key in (
        scan,
        (scan, slice(None), slice(1, 3)),
        (slice(None), slice(None), detector),
        (Ellipsis, detector),
        (2, 1, detector),
        (slice(1, 3), slice(None, None, -1), detector),
        (1, slice(None), detector),
        (slice(None), slice(None), detector[:, 0]),
    ):
        np.testing.assert_array_equal(np.asarray(view[key]), dense[key])


@pytest.mark.parametrize(
    "key",
    [
        (4, 0),
        (0, -4),
        (0, 0, 5),
        (slice(None), slice(None), 0, 6),
        [4],
        ([0], [3]),
        (0, 0, 0, 0, 0),
        (Ellipsis, Ellipsis),
        np.ones((3, 4), bool),
        (slice(None), slice(None), np.ones((6, 5), bool)),
        1.0,
        (0, 0, 1.5),
        "a",
        (None, [0, 1]),
        (0, 0, None, True),
        (None, 4),
        True,
        np.False_,
    ],
    ids=str,
)
def test_indices_out_of_range_or_senseless_are_index_errors(key):
    with pytest.raises(IndexError):
        view_of(counts())[key]


def test_slices_stay_lazy_and_patterns_are_fresh():
    view = view_of(counts())
    assert isinstance(view[1:3], EventView)
    assert isinstance(view[:, ::-1, 1:4, ::2], EventView)
    pattern = view[2, 1]
    pattern[:] = 7
    np.testing.assert_array_equal(view[2, 1], counts()[2, 1])
    part = view[2, 1, 1:3]
    part[:] = 9
    np.testing.assert_array_equal(view[2, 1], counts()[2, 1])


def test_attributes_are_those_of_the_dense_array():
    view = view_of(counts())
    assert view.shape == SHAPE
    assert view.ndim == 4
    assert len(view) == SHAPE[0]
    assert view.size == np.prod(SHAPE)
    assert view.dtype == np.uint16
    assert view[0, 0].dtype == view[..., 0, 0].dtype == view.dtype
    assert view.nbytes == 2 * view.size
    assert "4, 3" in repr(view)
    assert "h5py" not in str(type(view))
    np.testing.assert_array_equal(np.stack(list(view)), counts())


@pytest.mark.parametrize("streamed", [False, True])
def test_dtype_holds_every_count_and_is_never_narrower_than_wanted(streamed):
    data = np.zeros(SHAPE, np.int64)
    for largest, wide, narrow in (
        (1, np.uint16, np.uint8),
        (256, np.uint16, np.uint16),
        (70000, np.uint32, np.uint32),
    ):
        data[1, 1, 1, 1] = largest
        events = view_of(data, streamed).events
        for view, dtype in ((EventView(events), wide), (EventView(events, np.uint8), narrow)):
            parts = (view, view[1:], view.copy(), np.transpose(view, (0, 1, 3, 2)), view[1, 1])
            parts += (view[:, :, 1, 1], view[[0, 1], 1], view.max((0, 1)), np.asarray(view))
            for part in parts:
                assert part.dtype == dtype


@pytest.mark.parametrize(
    "key",
    [
        None,
        (None, 1, 2),
        (1, None, slice(1, 3), None),
        (Ellipsis, None),
        (0, -1, None),
        (2, 1, slice(None), None, 3),
        (slice(None), slice(None), 1, 2, None),
    ],
    ids=str,
)
def test_new_axes(key):
    found = view_of(counts())[key]
    assert found.shape == counts()[key].shape
    np.testing.assert_array_equal(found, counts()[key])


REDUCTIONS = ["sum", "mean", "max", "min", "median", "any", "all"]
AXES = [None, 0, 3, -1, (0, 1), (1, 0), (2, 3), (-1, -2), (0, 2), (0, 1, 2), (0, 1, 2, 3), ()]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_equal_numpy(name, axis, streamed):
    for dense in (counts(), counts() + 1):  # pixels that nothing hit, and none such
        view = view_of(dense, streamed)
        for options in ({}, {"keepdims": True}, {"keepdims": False}):
            expected = getattr(np, name)(dense, axis=axis, **options)
            got = getattr(np, name)(view, axis=axis, **options)
            for result in (got, getattr(view, name)(axis, **options)):
                np.testing.assert_allclose(result, expected, rtol=1e-14)
                assert result.dtype == expected.dtype
                assert result.shape == expected.shape


@settings(max_examples=60, deadline=None)
@given(cubes(), st.sampled_from(AXES), st.sampled_from(REDUCTIONS), st.booleans())
def test_reductions_of_random_cubes(dense, axis, name, streamed):
    got = getattr(np, name)(view_of(dense, streamed), axis=axis)
    np.testing.assert_allclose(got, getattr(np, name)(dense, axis=axis), rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(cubes(), st.permutations(range(4)), st.booleans())
def test_axes_can_be_moved(dense, axes, streamed):
    view = view_of(dense, streamed)
    moved = np.transpose(view, axes)
    np.testing.assert_array_equal(np.asarray(moved), dense.transpose(axes))
    lazy = {*axes[:2]} in ({0, 1}, {2, 3})
    assert isinstance(moved, EventView) is lazy
    if lazy:
        moved.events.validate()
    first, second = axes[:2]
    np.testing.assert_array_equal(
        np.asarray(np.moveaxis(view, first, second)), np.moveaxis(dense, first, second)
    )
    np.testing.assert_array_equal(
        np.asarray(np.swapaxes(view, first, second)), dense.swapaxes(first, second)
    )


@pytest.mark.parametrize(
    ("width", "options"),
    [
        (((0, 0), (0, 0), (1, 2), (3, 0)), {"mode": "constant"}),
        (((0, 0), (0, 0), (0, 0), (2, 2)), {"constant_values": 0}),
        (((0, 0), (0, 0), (1, 2), (3, 0)), {"constant_values": 7}),
        (((0, 0), (0, 0), (1, 2), (3, 0)), {"mode": "edge"}),
        (((1, 0), (0, 0), (1, 2), (3, 0)), {}),
        (1, {}),
    ],
)
def test_padding_equals_numpy(width, options):
    dense, view = counts(), view_of(counts())
    padded = np.pad(view, width, **options)
    np.testing.assert_array_equal(np.asarray(padded), np.pad(dense, width, **options))
    edges = np.broadcast_to(width, (4, 2))
    lazy = not edges[:2].any() and options.get("mode") != "edge"
    assert isinstance(padded, EventView) is (lazy and options.get("constant_values") != 7)


# images of single pixels


@pytest.mark.parametrize("streamed", [False, True])
def test_pixel_images_are_served_from_one_sorting(streamed, monkeypatch):
    sorted_once = []
    monkeypatch.setattr(
        pixel_cache, "by_pixel", lambda events: sorted_once.append(1) or by_pixel(events)
    )
    dense = counts((4, 3, 9, 8))
    view = view_of(dense, streamed)
    for qx, qy in np.ndindex(9, 8):
        np.testing.assert_array_equal(view[:, :, qx, qy], dense[:, :, qx, qy])
    np.testing.assert_array_equal(view[..., [1, 8], [1, 1]], dense[..., [1, 8], [1, 1]])
    assert sorted_once == [1]
    set_dense_budget(200)  # of bytes: room for an image, not for the events
    for _ in range(2):
        np.testing.assert_array_equal(view[:, :, 1, 1], dense[:, :, 1, 1])
    assert view._pixels._by_pixel is None
    assert sorted_once == [1]
    many = np.ones((9, 8), bool)
    set_dense_budget(None)
    np.testing.assert_array_equal(view[:, :, many], dense[:, :, many])
    assert sorted_once == [1]


def test_a_file_that_changes_while_it_is_sorted_is_an_error():
    view = view_of(counts(), streamed=True)
    before, after = view.events._source.store, EventStore.from_dense(counts(seed=9))
    stores = itertools.chain([before] * SHAPE[0], itertools.repeat(after))
    view.events._source.read_rows = lambda start, stop: next(stores).read_rows(start, stop)
    with pytest.raises(EventError, match="changed while it was read"):
        by_pixel(view.events)


def test_a_streamed_row_is_read_once_for_all_its_patterns():
    view = view_of(counts(), streamed=True)
    source, reads = view.events._source, []
    store = source.store
    source.read_rows = lambda a, b: reads.append((a, b)) or store.read_rows(a, b)
    for rx, ry in np.ndindex(SHAPE[:2]):
        np.testing.assert_array_equal(view[rx, ry], counts()[rx, ry])
    assert reads == [(row, row + 1) for row in range(SHAPE[0])]


def test_another_thread_may_read_another_row_at_any_moment():
    view = view_of(counts(), streamed=True)
    view[3, 0]
    kept, block = view._row

    class Interrupted(int):
        """A row number; while it is compared, another thread has its turn."""

        def __ne__(self, other):
            view._row = (kept, block)
            view[0, 0]
            return int(self) != int(other)

    view._row = (Interrupted(kept), block)
    np.testing.assert_array_equal(view[3, 1], counts()[3, 1])
    assert view._row[0] == 0


@pytest.mark.parametrize("axis", [(0, 1), (2, 3), None, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.complex64])
def test_reductions_take_a_dtype(axis, dtype):
    dense = counts()
    for name in ("sum", "mean"):
        got = getattr(np, name)(view_of(dense), axis, dtype)
        expected = getattr(np, name)(dense, axis, dtype)
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
def test_reductions_take_numpys_other_arguments(name):
    dense = counts()
    view = view_of(dense)
    function = getattr(np, name)
    np.testing.assert_array_equal(
        function(view, axis=(0, 1), keepdims=True), function(dense, axis=(0, 1), keepdims=True)
    )
    out = np.empty(SHAPE[2:])
    assert function(view, axis=(0, 1), out=out) is out
    np.testing.assert_array_equal(out, function(dense, axis=(0, 1)))


@pytest.mark.parametrize("axis", [4, -5, (0, 4), (1, 1)])
@pytest.mark.parametrize("name", ["sum", "mean", "max"])
def test_axes_that_do_not_exist_are_errors_as_in_numpy(name, axis):
    with pytest.raises(ValueError, match="axis"):
        getattr(np, name)(counts(), axis=axis)
    with pytest.raises(ValueError, match="axis"):
        getattr(np, name)(view_of(counts()), axis=axis)


def test_reductions_do_not_need_the_dense_array():
    dense, view = counts(), view_of(counts())
    set_dense_budget(1)
    for name in ("sum", "mean", "max"):
        for axis in ((0, 1), (2, 3), None):
            np.testing.assert_allclose(
                getattr(np, name)(view, axis=axis), getattr(np, name)(dense, axis=axis)
            )
    with pytest.raises(MemoryBudgetError):
        np.max(view, axis=(0, 2))


def test_reductions_of_empty_selections_follow_numpy():
    dense, view = counts()[2:2], view_of(counts())[2:2]
    np.testing.assert_array_equal(np.sum(view, axis=(0, 1)), dense.sum((0, 1)))
    with pytest.raises(ValueError, match="zero-size"):
        np.max(view, axis=(0, 1))


def test_ufuncs_and_operators_give_dense_arrays():
    dense, view = counts(), view_of(counts())
    np.testing.assert_array_equal(view * 2.5, dense * 2.5)
    np.testing.assert_array_equal(2 - view.astype(int), 2 - dense.astype(int))
    np.testing.assert_array_equal(np.sqrt(view), np.sqrt(dense))
    np.testing.assert_array_equal(view > 0, dense > 0)
    np.testing.assert_array_equal(view == view_of(dense), np.ones(SHAPE, bool))
    np.testing.assert_array_equal(np.add.reduce(view, axis=(0, 1)), dense.sum((0, 1)))
    np.testing.assert_array_equal(dense + view, 2 * dense)
    total = dense.astype(float)
    total += view
    np.testing.assert_array_equal(total, 2.0 * dense)


def test_numpy_functions_densify():
    dense, view = counts(), view_of(counts())
    np.testing.assert_array_equal(np.transpose(view, (2, 3, 0, 1)), dense.transpose(2, 3, 0, 1))
    np.testing.assert_array_equal(np.concatenate([view, view]), np.concatenate([dense, dense]))
    np.testing.assert_array_equal(np.stack((view, dense)), np.stack((dense, dense)))
    np.testing.assert_array_equal(np.median(view, axis=(0, 1)), np.median(dense, axis=(0, 1)))
    np.testing.assert_array_equal(np.where(view > 1, view, 0), np.where(dense > 1, dense, 0))
    assert np.array_equal(view, dense)


def test_asking_for_the_shape_does_not_densify():
    view = view_of(counts())
    set_dense_budget(0)
    assert np.shape(view) == SHAPE
    assert np.ndim(view) == 4
    assert np.size(view) == view.size
    assert np.size(view, 2) == SHAPE[2]


def test_dense_array_and_its_dtype():
    dense, view = counts(), view_of(counts())
    assert np.asarray(view).dtype == np.uint16
    floats = np.asarray(view, dtype=np.float32)
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(floats, dense)
    np.testing.assert_array_equal(np.array(view), dense)
    np.testing.assert_array_equal(view.astype(np.complex64), dense)
    np.testing.assert_array_equal(np.asarray(view.copy()), dense)
    np.testing.assert_array_equal(np.asarray(view_of(dense, streamed=True)), dense)
    np.asarray(view)[:] = 0
    np.testing.assert_array_equal(np.asarray(view), dense)


def test_over_budget_the_error_says_how_much_and_what_to_do():
    shape = (64, 64, 576, 576)
    empty = EventStore(
        shape[:2], shape[2:], np.zeros(64 * 64 + 1, np.int64), np.zeros(0, np.uint32)
    )
    view = EventView(empty)
    set_dense_budget(2**20)
    gib = 64 * 64 * 576 * 576 * 4 / 2**30
    with pytest.raises(MemoryBudgetError, match=f"{gib:.3g} GiB") as error:
        np.asarray(view, dtype=np.float32)
    for way_out in ("bin_Q", "crop_Q", "EventSSB", "EventDPC", "set_dense_budget", "0.000977 GiB"):
        assert way_out in str(error.value)
    for greedy in (
        lambda: view * 2,
        lambda: np.median(view, axis=(0, 2)),
        lambda: np.std(view, axis=(0, 1)),
        lambda: view[[0] * 100],
        lambda: view[0],
        lambda: view[:, :, [0] * 1000, [0] * 1000],
        lambda: np.zeros_like(view),
        lambda: np.concatenate([view, view]),
    ):
        with pytest.raises(MemoryBudgetError):
            greedy()
    gc.collect()
    assert view[0, 0].shape == (576, 576)
    assert view[:, :, 3, 4].shape == (64, 64)


@pytest.mark.parametrize("n_bytes", [-1, "much", 1.5, np.nan])
def test_a_senseless_budget_is_refused(n_bytes):
    with pytest.raises(EventError, match="budget"):
        set_dense_budget(n_bytes)


def test_like_functions_make_dense_arrays():
    view = view_of(counts())
    assert np.zeros_like(view).shape == SHAPE
    assert np.zeros_like(view).dtype == np.uint16
    assert np.empty_like(view, dtype=float).dtype == float
    np.testing.assert_array_equal(np.ones_like(view), np.ones(SHAPE))
    np.testing.assert_array_equal(np.full_like(view, 3), np.full(SHAPE, 3))


def test_assignment_is_refused_with_the_reason():
    view = view_of(counts())
    for change in (
        lambda: view.__setitem__((0, 0), 1),
        lambda: view.__setitem__((slice(None), slice(None), 1, 1), 0),
        lambda: view.__iadd__(1),
        lambda: view.__imul__(2.0),
        lambda: np.add(1, 1, out=view),
        lambda: np.copyto(view, 0),
    ):
        with pytest.raises(UnsupportedOperationError, match="immutable"):
            change()
    np.testing.assert_array_equal(np.asarray(view), counts())


@pytest.mark.parametrize("name", ["flat", "ravel", "view", "tolist"])
def test_what_a_view_lacks_is_named_with_the_way_out(name):
    with pytest.raises(AttributeError, match=r"to_dense"):
        getattr(view_of(counts()), name)
