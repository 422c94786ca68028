"""The lazy view arranged anew: reshaped, as a list of patterns, its axes in another order."""

import numpy as np
import py4DSTEM
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from py4dstem_eer import EventStore, SparseDataCube, set_dense_budget
from py4dstem_eer.bridge.view import EventView
from py4dstem_eer.bridge.view_flat import PatternList
from py4dstem_eer.errors import MemoryBudgetError, UnsupportedOperationError

SHAPE = (4, 6, 5, 3)


@pytest.fixture
def dense():
    return np.random.default_rng(0).poisson(0.4, SHAPE).astype(np.uint16)


@pytest.fixture
def view(dense):
    return EventView(EventStore.from_dense(dense))


@pytest.fixture
def nothing_dense():
    set_dense_budget(0)
    yield
    set_dense_budget(None)


@pytest.mark.usefixtures("nothing_dense")
@pytest.mark.parametrize("shape", [(8, 3, 5, 3), (-1, 2, 5, 3), (1, 24, -1, 3), SHAPE])
def test_another_scan_is_lazy(view, shape):
    for reshaped in (view.reshape(shape), view.reshape(*shape), np.reshape(view, shape)):
        assert isinstance(reshaped, EventView)
        assert reshaped.shape == np.broadcast_to(0, (24, 5, 3)).reshape(shape).shape
    assert view.reshape(shape).dtype == view.dtype


def test_another_scan_has_the_same_patterns(view, dense):
    np.testing.assert_array_equal(view.reshape(8, 3, 5, 3), dense.reshape(8, 3, 5, 3))
    np.testing.assert_array_equal(
        np.reshape(a=view, newshape=(8, 3, 5, 3)), dense.reshape(8, 3, 5, 3)
    )


@pytest.mark.parametrize("order", ["C", "F", "A"])
@pytest.mark.parametrize("shape", [(8, 3, 5, 3), (24, 15), (-1,), (4, 6, 15), (24, 3, 5), (360,)])
def test_any_shape_equals_numpy(view, dense, shape, order):
    ours = view.reshape(shape, order=order)
    assert ours.shape == dense.reshape(shape).shape
    np.testing.assert_array_equal(np.asarray(ours), dense.reshape(shape, order=order))
    np.testing.assert_array_equal(np.reshape(view, shape, order), dense.reshape(shape, order=order))


@pytest.mark.parametrize("shape", [(5, 5, 5, 3), (-1, -1, 5, 3), (7, -1), (-2, -12, 5, 3), ()])
def test_shapes_that_do_not_fit_are_errors_as_in_numpy(view, dense, shape):
    for array in (dense, view):
        with pytest.raises(ValueError, match=r"reshape|unknown dimension"):
            array.reshape(shape)


INDICES = st.one_of(
    st.integers(-24, 23),
    st.slices(24),
    hnp.arrays(bool, 24),
    st.lists(st.integers(-24, 23), max_size=4).map(lambda n: np.array(n, int)),
)


ONE_PATTERN = st.one_of(
    st.integers(-3, 2), st.slices(3), st.sampled_from([np.array([0, 2]), np.array([1, -1])])
)


@settings(max_examples=200, deadline=None)
@given(INDICES, st.lists(ONE_PATTERN, max_size=2))
def test_a_list_of_patterns_is_indexed_as_an_array(first, rest):
    dense = np.random.default_rng(0).poisson(0.4, SHAPE).astype(np.uint16)
    patterns, array = (
        EventView(EventStore.from_dense(dense)).reshape(24, 5, 3),
        dense.reshape(24, 5, 3),
    )
    assert isinstance(patterns, PatternList)
    key = (first, *rest)
    try:
        theirs = array[key]
    except IndexError:  # arrays that do not go together
        with pytest.raises(IndexError):
            patterns[key]
        return
    np.testing.assert_array_equal(patterns[key], theirs)
    assert patterns[key].dtype == theirs.dtype


@pytest.mark.parametrize("last", [[0, 2], np.array([True, False, True])])
def test_an_array_on_the_last_axis_stays_there(view, dense, last):
    ours, theirs = view.reshape(24, 5, 3), dense.reshape(24, 5, 3)
    np.testing.assert_array_equal(ours[:, :, last], theirs[:, :, last])
    np.testing.assert_array_equal(ours[2:9, 1:2, last], theirs[2:9, 1:2, last])


def test_a_list_of_patterns_calculates(view, dense):
    ours, theirs = np.reshape(view, (24, 5, 3)), dense.reshape(24, 5, 3)
    np.testing.assert_array_equal(ours * 2, theirs * 2)
    np.testing.assert_array_equal(ours == ours, np.ones((24, 5, 3), bool))
    np.testing.assert_array_equal(np.sqrt(ours), np.sqrt(theirs))
    np.testing.assert_array_equal(ours.sum(0), theirs.sum(0))
    np.testing.assert_array_equal(np.sum(ours, axis=(1, 2)), theirs.sum((1, 2)))
    np.testing.assert_array_equal(ours.astype(float), theirs)
    np.testing.assert_array_equal(
        np.add(ours, 1, where=ours > 0)[theirs > 0], 1 + theirs[theirs > 0]
    )
    np.testing.assert_array_equal(ours.reshape(5, 72, order="F"), theirs.reshape(5, 72, order="F"))
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        ours.nothing  # noqa: B018


@pytest.mark.usefixtures("nothing_dense")
def test_a_list_of_patterns_cannot_be_changed(view):
    patterns = view.reshape(24, 5, 3)

    def assign():
        patterns[0] = 1

    for change in (
        assign,
        lambda: np.add(1, 1, out=patterns),
        lambda: patterns.__iadd__(1),
        lambda: np.add.at(patterns, 0, 1),
    ):
        with pytest.raises(UnsupportedOperationError, match="events are immutable"):
            change()
    for name in ("fill", "sort", "put", "flat", "T"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}': work on numpy.asarray"):
            getattr(patterns, name)
    assert (patterns.itemsize, patterns.nbytes) == (2, 2 * patterns.size)


@pytest.mark.parametrize("shape", [(5, 5, 0, 3), (0, 7, 0, 3), (5, 0, 3), (0,)])
def test_nothing_takes_any_empty_shape(shape):
    nothing = np.zeros((4, 6, 0, 3), np.uint16)
    ours = EventView(EventStore.from_dense(nothing)).reshape(shape)
    assert ours.shape == nothing.reshape(shape).shape


def test_shapes_are_whole_numbers(view):
    with pytest.raises(TypeError):
        view.reshape(24.0, 5, 3)


@pytest.mark.parametrize(
    "key",
    [..., (..., 1), None, (), np.ones((24, 5), bool), (3, None), True, np.False_, np.array(True)],
)
def test_other_indices_of_a_list(view, dense, key):
    np.testing.assert_array_equal(view.reshape(24, 5, 3)[key], dense.reshape(24, 5, 3)[key])


def test_a_list_of_patterns_looks_like_an_array(view, dense):
    patterns, array = view.reshape(-1, 5, 3), dense.reshape(-1, 5, 3)
    for name in ("shape", "ndim", "size", "dtype"):
        assert getattr(patterns, name) == getattr(array, name)
    assert len(patterns) == 24
    assert "shape=(24, 5, 3)" in repr(patterns)
    for ours, theirs in zip(patterns, array, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(np.asarray(patterns, float), array)
    np.testing.assert_array_equal(patterns.reshape(3, 8, 5, 3), dense.reshape(3, 8, 5, 3))
    with pytest.raises(IndexError, match="too many indices"):
        patterns[0, 0, 0, 0]
    with pytest.raises(IndexError):
        patterns[24]


@pytest.mark.usefixtures("nothing_dense")
def test_a_list_of_patterns_is_not_dense(view, dense):
    patterns = view.reshape(-1, 5, 3)
    np.testing.assert_array_equal(patterns[7], dense[1, 1])
    with pytest.raises(MemoryBudgetError):
        np.asarray(patterns)
    assert isinstance(patterns.reshape(SHAPE), EventView)


def test_axes_in_another_order(view, dense):
    for axes in ((1, 0, 3, 2), (2, 3, 0, 1), (0, 2, 1, 3)):
        np.testing.assert_array_equal(view.transpose(axes), dense.transpose(axes))
        np.testing.assert_array_equal(view.transpose(*axes), dense.transpose(*axes))
    np.testing.assert_array_equal(view.transpose(), dense.transpose())
    np.testing.assert_array_equal(view.transpose(None), dense.transpose(None))
    np.testing.assert_array_equal(view.swapaxes(0, 1), dense.swapaxes(0, 1))


def test_py4dstems_own_function_sets_the_scan_shape(dense, capsys):
    cubes = SparseDataCube.from_dense(dense), py4DSTEM.DataCube(dense)
    for cube in cubes:
        cube.calibration.set_R_pixel_size(0.5)
        cube.calibration.set_R_pixel_units("nm")
        assert py4DSTEM.preprocess.set_scan_shape(cube, 3, 8) is cube
    sparse, plain = cubes
    assert capsys.readouterr().out == ""
    assert sparse.shape == (3, 8, 5, 3)
    np.testing.assert_array_equal(sparse.data, plain.data)
    for ours, theirs in zip(sparse.dims, plain.dims, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert sparse.dim_units == plain.dim_units
    py4DSTEM.preprocess.set_scan_shape(sparse, 5, 5)
    assert "Can't reshape 24 scan positions into a 5x5 array" in capsys.readouterr().out


def test_axes_of_the_scan_keep_their_names(dense):
    for cube in (SparseDataCube.from_dense(dense), py4DSTEM.DataCube(dense)):
        cube.set_dim_name(0, "slow")
        cube.set_scan_shape((3, 8))
        assert cube.dim_names[:2] == ("slow", "Ry")


def test_the_median_over_a_list_of_axes(view, dense):
    np.testing.assert_array_equal(np.median(view, axis=[0, 1]), np.median(dense, axis=[0, 1]))
    assert view.itemsize == dense.itemsize
