"""The sparse cube beside py4DSTEM's dense one."""

import numpy as np
import py4DSTEM
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from py4DSTEM.data import Calibration
from py4DSTEM.datacube import DataCube, VirtualDiffraction, VirtualImage

from py4dstem_eer import EventStore, SparseDataCube, open_events, set_dense_budget
from py4dstem_eer.errors import (
    CalibrationError,
    EventError,
    EventWarning,
    MemoryBudgetError,
    ParameterError,
    UnsupportedOperationError,
)

SHAPE = (5, 4, 9, 7)


def counts(shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    data = rng.poisson(0.3, shape).astype(np.uint16)
    data[1, 2] = 0
    data[3, 1, 4, 5] = 700
    return data


def calibrated(cube, origin="array"):
    """Give a cube every calibration that matters here."""
    rng = np.random.default_rng(1)
    calibration = cube.calibration
    calibration.set_Q_pixel_size(0.25)
    calibration.set_Q_pixel_units("A^-1")
    calibration.set_R_pixel_size(2.0)
    calibration.set_R_pixel_units("A")
    if origin == "array":
        centre = [n / 2 + rng.normal(0, 1.3, cube.Rshape) for n in cube.Qshape]
        calibration.set_origin(tuple(centre))
    return cube


def pair(data=None, origin="array"):
    data = counts() if data is None else data
    return (
        calibrated(SparseDataCube.from_dense(data), origin),
        calibrated(DataCube(data.copy()), origin),
    )


@pytest.fixture(autouse=True)
def default_budget():
    yield
    set_dense_budget(None)


@pytest.fixture(params=["RAM", "MEMMAP"])
def cubes(request, tmp_path):
    """A sparse cube, in memory or streamed from a file, and the dense one."""
    sparse, dense = pair()
    if request.param == "MEMMAP":
        py4DSTEM.save(str(tmp_path / "cube.h5"), sparse)
        sparse = calibrated(SparseDataCube(open_events(tmp_path / "cube.h5", mem="MEMMAP")))
        assert not sparse.events.in_memory
    return sparse, dense


@st.composite
def dense_cubes(draw, shape=None):
    shape = shape or tuple(draw(st.integers(1, 6)) for _ in range(4))
    largest = draw(st.sampled_from([1, 4, 70000]))
    elements = st.one_of(st.just(0), st.integers(0, largest))
    return draw(hnp.arrays(np.uint32, shape, elements=elements, fill=st.just(0)))


def assert_same_axes(sparse, dense):
    assert sparse.shape == dense.shape
    assert sparse.dim_names == dense.dim_names
    assert tuple(sparse.dim_units) == tuple(dense.dim_units)
    for ours, theirs in zip(sparse.dims, dense.dims, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def assert_same_calibration(sparse, dense):
    ours, theirs = sparse.calibration._params, dense.calibration._params
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        if isinstance(value, (np.ndarray, np.number, float, int)):
            np.testing.assert_allclose(ours[name], value, err_msg=name)
        else:
            assert ours[name] == value


def assert_same_cube(sparse, dense):
    np.testing.assert_array_equal(np.asarray(sparse.data), dense.data)
    assert_same_axes(sparse, dense)
    assert_same_calibration(sparse, dense)


# what it is


def test_it_is_a_datacube():
    sparse, dense = pair()
    assert isinstance(sparse, py4DSTEM.DataCube)
    assert sparse.name == dense.name
    assert sparse.root.name == dense.root.name
    assert sparse.events.n_events == dense.data.sum()
    assert sparse.is_stack == dense.is_stack
    assert sparse.units == dense.units


PROPERTIES = (
    *("shape", "Rshape", "Qshape", "R_Nx", "R_Ny", "Q_Nx", "Q_Ny", "R_N", "rank", "qnx", "rny"),
    *("Q_pixel_size", "Q_pixel_units", "R_pixel_size", "R_pixel_units"),
)


@pytest.mark.parametrize("name", PROPERTIES)
def test_shape_and_pixel_properties(cubes, name):
    sparse, dense = cubes
    assert getattr(sparse, name) == getattr(dense, name)


def test_axes_and_meshgrids(cubes):
    sparse, dense = cubes
    assert_same_axes(sparse, dense)
    for name in ("rxx", "ryy", "qxx", "qyy", "rxx_raw", "qyy_raw"):
        np.testing.assert_array_equal(getattr(sparse, name), getattr(dense, name))


def test_item_access_of_the_cube_is_that_of_its_data(cubes):
    sparse, dense = cubes
    np.testing.assert_array_equal(sparse[3, 1], dense[3, 1])
    np.testing.assert_array_equal(sparse[3, 1, 2:4, 1:], dense[3, 1, 2:4, 1:])


def test_file_metadata_become_metadata_and_scan_step():
    metadata = {
        "scan_step": ((0.5, 0.5), "A"),
        "voltage": (80e3, "V"),
        "nested": {"list": [1, 2], "odd": object(), "nothing": None},
        "mixed": [1, "a"],
        "words": np.array(["a", "b"]),
        "detectors": ["HAADF", "BF"],
        "flag": np.bool_(True),
    }
    cube = SparseDataCube(EventStore.from_dense(counts(), metadata))
    assert cube.calibration.get_R_pixel_size() == 0.5
    assert cube.calibration.get_R_pixel_units() == "A"
    assert cube.metadata["acquisition"]["voltage"] == {"value": 80e3, "units": "V"}
    assert cube.metadata["acquisition"]["detectors"] == ("HAADF", "BF")
    given_one = Calibration()
    cube = SparseDataCube(EventStore.from_dense(counts(), metadata), calibration=given_one)
    assert cube.calibration is given_one
    assert given_one.get_R_pixel_size() == 1


@pytest.mark.parametrize("events", [None, counts(), "file.h5"], ids=["None", "array", "str"])
def test_only_events_make_a_cube(events):
    with pytest.raises(ParameterError, match="from_dense"):
        SparseDataCube(events)


# dense and back


@settings(max_examples=15, deadline=None)
@given(dense_cubes())
def test_dense_round_trip(data):
    sparse = SparseDataCube.from_dense(data, name="mine")
    sparse.events.validate()
    back = sparse.to_dense()
    assert type(back) is DataCube
    assert back.name == sparse.name == "mine"
    np.testing.assert_array_equal(back.data, data)
    assert back.data.dtype == sparse.data.dtype


@pytest.mark.parametrize("n_columns", [256, 257])
def test_indices_of_both_widths(n_columns):
    data = np.zeros((2, 1, 256, n_columns), np.uint8)
    data[1, 0, -1, -1] = 3
    sparse = SparseDataCube.from_dense(data)
    assert sparse.events.indices.dtype == (np.uint16 if n_columns == 256 else np.uint32)
    np.testing.assert_array_equal(sparse.to_dense().data, data)
    np.testing.assert_array_equal(sparse.get_dp_max().data, data.max((0, 1)))
    np.testing.assert_array_equal(sparse.bin_Q(2).data[1, 0], reference.binned(data, 2)[1, 0])


def test_a_datacube_passes_on_name_and_a_copy_of_its_calibration():
    _, dense = pair()
    dense.name = "named"
    sparse = SparseDataCube.from_dense(dense)
    assert sparse.name == "named"
    assert_same_calibration(sparse, dense)
    assert_same_axes(sparse, dense)
    sparse.calibration.set_Q_pixel_size(9)
    assert dense.calibration.get_Q_pixel_size() == 0.25
    back = sparse.to_dense()
    assert back.calibration.get_Q_pixel_size() == 9
    back.calibration.set_R_pixel_size(5)
    assert sparse.calibration.get_R_pixel_size() == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int16, np.float32, bool])
def test_patterns_keep_an_unsigned_dtype(dtype):
    data = np.random.default_rng(5).poisson(1, (3, 4, 6, 5)).astype(dtype)
    kept = dtype if np.dtype(dtype).kind == "u" else np.uint16
    cube = SparseDataCube.from_dense(DataCube(data))
    other = SparseDataCube.from_dense(np.zeros((3, 4, 6, 5), np.uint8))
    other.data = data
    for each in (cube, SparseDataCube.from_dense(data), cube.copy(), other):
        assert each.data.dtype == each.data[1, 2].dtype == kept
    for change in (lambda: cube.bin_Q(2), lambda: cube.bin_R(2), lambda: cube.crop_Q((0, 2, 0, 2))):
        change()
        assert cube.data.dtype == kept


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.int64, "complex64"])
def test_to_dense_takes_a_dtype(cubes, dtype):
    back = cubes[0].to_dense(dtype)
    assert back.data.dtype == dtype
    np.testing.assert_array_equal(back.data, cubes[1].data)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_to_dense_refuses_a_dtype_that_is_too_small(cubes, dtype):
    with pytest.raises(ParameterError, match="700"):
        cubes[0].to_dense(dtype)


def test_to_dense_over_budget_names_size_and_ways_out():
    sparse, _ = pair()
    set_dense_budget(100)
    with pytest.raises(MemoryBudgetError, match=r"GiB.*bin_Q.*set_dense_budget"):
        sparse.to_dense()


@pytest.mark.parametrize(
    "data",
    [
        np.full(SHAPE, 0.5),
        np.full(SHAPE, -1),
        np.full(SHAPE, np.nan),
        np.full(SHAPE, np.inf),
        np.full(SHAPE, 1e30),
        np.full(SHAPE, 1j),
        np.full(SHAPE, "a"),
        np.full(SHAPE, None),
        np.zeros(SHAPE[1:]),
        np.zeros(()),
        None,
        "file.h5",
    ],
    ids=[
        "half",
        "negative",
        "nan",
        "inf",
        "huge",
        "complex",
        "str",
        "object",
        "3d",
        "0d",
        "None",
        "path",
    ],
)
def test_from_dense_refuses_what_is_no_count(data):
    with pytest.raises(EventError):
        SparseDataCube.from_dense(data)


def test_from_dense_takes_floats_bools_lists_and_sparse_cubes():
    data = counts()
    for given_one in (data.astype(float), data, data.tolist(), SparseDataCube.from_dense(data)):
        np.testing.assert_array_equal(np.asarray(SparseDataCube.from_dense(given_one).data), data)
    np.testing.assert_array_equal(np.asarray(SparseDataCube.from_dense(data > 0).data), data > 0)


# diffraction patterns of the whole scan


def test_mean_and_max_patterns(cubes):
    sparse, dense = cubes
    for method in ("get_dp_mean", "get_dp_max"):
        ours, theirs = getattr(sparse, method)(), getattr(dense, method)()
        assert type(ours) is VirtualDiffraction
        assert ours.name == theirs.name
        np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-12)
        assert ours.data.dtype == theirs.data.dtype
        assert ours.metadata["gen_params"]._params == theirs.metadata["gen_params"]._params
        assert sparse.tree(ours.name) is ours


@settings(max_examples=15, deadline=None)
@given(dense_cubes())
def test_mean_and_max_patterns_of_random_cubes(data):
    sparse, dense = SparseDataCube.from_dense(data), DataCube(data)
    for method in ("get_dp_mean", "get_dp_max"):
        np.testing.assert_allclose(
            getattr(sparse, method)().data, getattr(dense, method)().data, rtol=1e-12
        )


# virtual images

GEOMETRIES = [
    ("point", (3, 4)),
    ("circle", ((4.2, 3.1), 2.5)),
    ("circular", ((4, 3), 2)),
    ("annular", ((4.2, 3.1), (1.0, 3.0))),
    ("annulus", ((4, 3), (1, 4))),
    ("rectangle", (1, 5, 2, 6)),
    ("rectangular", (1.6, 20, 2.2, 30)),
    ("square", (2, 4, 2, 4)),
    ("mask", np.arange(63).reshape(9, 7) % 3 == 0),
    ("mask", np.random.default_rng(0).random((9, 7))),
    ("mask", np.random.default_rng(0).random((9, 7)) * np.exp(1j)),
    ("mask", np.arange(63).reshape(9, 7)),
]
CENTRED = [
    ("point", (1, -1)),
    ("circle", ((0, 0), 2.5)),
    ("annular", ((0.5, 0), (1, 3))),
    ("rectangular", (-2, 2, -1, 3)),
    ("mask", np.arange(63).reshape(9, 7) % 3 == 0),
]


def assert_same_image(cubes, mode, geometry, **options):
    options = {"verbose": False, **options}
    ours, theirs = (cube.get_virtual_image(mode, geometry, **options) for cube in cubes)
    assert type(ours) is VirtualImage
    assert ours.data.dtype == theirs.data.dtype
    np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("mode", "geometry"), GEOMETRIES)
def test_virtual_images(cubes, mode, geometry):
    assert_same_image(cubes, mode, geometry)


@pytest.mark.parametrize(("mode", "geometry"), CENTRED)
@pytest.mark.parametrize("subpixel", [False, True])
@pytest.mark.parametrize("shift_center", [False, True])
def test_centred_and_shifted_virtual_images(cubes, mode, geometry, shift_center, subpixel):
    assert_same_image(
        cubes, mode, geometry, centered=True, shift_center=shift_center, subpixel=subpixel
    )


@pytest.mark.parametrize("subpixel", [False, True])
@pytest.mark.parametrize("kind", [float, complex, bool])
def test_shifted_masks_of_every_kind(cubes, kind, subpixel):
    mask = np.random.default_rng(3).integers(0, 3, (9, 7)).astype(kind)
    mask = mask * 1.5j if kind is complex else mask
    assert_same_image(cubes, "mask", mask, shift_center=True, subpixel=subpixel)


@pytest.mark.parametrize(
    ("mode", "geometry"),
    [
        ("point", (1, 1)),
        ("circle", ((1.1, 0.9), 0.6)),
        ("annular", ((1.1, 0.9), (0.25, 0.8))),
        ("rectangular", (0.3, 1.2, 0.5, 1.4)),
    ],
)
def test_calibrated_virtual_images(cubes, mode, geometry):
    assert_same_image(cubes, mode, geometry, calibrated=True)
    if mode != "point":  # py4DSTEM adds pixels to calibrated units: the point is off the detector
        assert_same_image(cubes, mode, geometry, calibrated=True, centered=True)


@settings(max_examples=15, deadline=None)
@given(st.data(), dense_cubes())
def test_virtual_images_of_random_cubes(data, dense):
    kind = data.draw(st.sampled_from([bool, np.float32, np.complex128, np.int16]))
    mask = np.array(data.draw(hnp.arrays(np.int8, dense.shape[2:]))).astype(kind)
    image = SparseDataCube.from_dense(dense).get_virtual_image("mask", mask, verbose=False)
    np.testing.assert_allclose(image.data, (dense * mask).sum((2, 3)), rtol=1e-6, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.data(), dense_cubes(), st.booleans())
def test_shifted_images_of_random_cubes(data, dense, subpixel):
    shifts = hnp.arrays(float, dense.shape[:2], elements=st.floats(-20, 20, width=32))
    origin = data.draw(shifts), data.draw(shifts)
    mask = data.draw(hnp.arrays(bool, dense.shape[2:]))
    images = []
    for cube in (SparseDataCube.from_dense(dense), DataCube(dense)):
        cube.calibration.set_origin(origin)
        images.append(
            cube.get_virtual_image(
                "mask", mask, shift_center=True, subpixel=subpixel, verbose=False
            ).data
        )
    np.testing.assert_allclose(*images, rtol=1e-6, atol=1e-6 * max(1, dense.max()))


def test_a_virtual_image_carries_its_parameters_and_joins_the_tree(cubes):
    sparse, _ = cubes
    options = {"centered": True, "shift_center": True, "verbose": False, "name": "bf"}
    ours, theirs = (cube.get_virtual_image("circle", ((0, 0), 2), **options) for cube in cubes)
    assert ours.name == theirs.name == "bf"
    assert sparse.tree("bf") is ours
    assert ours.calibration is sparse.calibration
    assert ours.metadata["gen_params"].name == "gen_params"
    assert ours.metadata["gen_params"]._params == theirs.metadata["gen_params"]._params
    assert_same_axes(ours, theirs)
    nothing = sparse.get_virtual_image("point", (1, 1), returncalc=False, name="x", verbose=False)
    assert nothing is None
    np.testing.assert_array_equal(sparse.tree("x").data, cubes[1].data[:, :, 1, 1])


def test_masks_are_returned_without_touching_the_tree(cubes):
    sparse, _ = cubes
    for options in (
        {"return_mask": True},
        {"return_mask": (1, 2), "shift_center": True},
        {"return_mask": (1, 2), "shift_center": True, "subpixel": True},
    ):
        ours, theirs = (c.get_virtual_image("circle", ((4, 3), 2), **options) for c in cubes)
        np.testing.assert_array_equal(ours, theirs)
    assert not sparse._branch.keys()


def test_test_config_prints_the_settings(capsys):
    sparse, dense = pair()
    for cube in (sparse, dense):
        cube.get_virtual_image("point", (1, 1), centered=True, test_config=True, verbose=False)
    printed = capsys.readouterr().out.splitlines()
    assert (
        printed[:3]
        == printed[3:]
        == ["centered = True", "calibrated = False", "shift_center = False"]
    )


@pytest.mark.parametrize(
    ("mode", "geometry"),
    [
        ("mask", np.ones((7, 9), bool)),
        ("mask", np.ones((9, 7, 1))),
        ("mask", [[1, 2], [3, 4]]),
        ("mask", None),
        ("mask", np.where(np.arange(63) == 40, np.nan, 1).reshape(9, 7)),
        ("mask", np.full((9, 7), np.inf)),
        ("mask", np.full((9, 7), "a")),
        ("oval", ((1, 2), 3)),
        (None, None),
        ("point", (9, 0)),
        ("point", (1, 2, 3)),
        ("point", (np.nan, 1)),
        ("circle", (4, 3)),
        ("circle", ((4, 3), "wide")),
        ("circle", ((np.nan, 3), 2)),
        ("circle", None),
        ("annular", ((4, 3), (3, 1))),
        ("annular", ((4, 3), (1, np.nan))),
        ("rectangular", (1, 2, 3)),
        ("rectangular", (1, np.nan, 3, 4)),
    ],
    ids=str,
)
@pytest.mark.parametrize("return_mask", [False, True])
def test_bad_geometries_are_errors_of_ours(mode, geometry, return_mask):
    with pytest.raises(EventError):
        pair()[0].get_virtual_image(mode, geometry, return_mask=return_mask, verbose=False)


@pytest.mark.parametrize("size", [np.nan, 0, -1, np.inf])
def test_bad_pixel_sizes_are_calibration_errors(size):
    sparse = pair()[0]
    sparse.calibration.set_Q_pixel_size(size)
    with pytest.raises(CalibrationError):
        sparse.get_virtual_image("circle", ((1, 1), 0.5), calibrated=True, verbose=False)
    with pytest.raises(CalibrationError):
        sparse.bin_Q(2)


def test_missing_or_impossible_origins_are_calibration_errors():
    sparse = pair(origin=None)[0]
    options = {"verbose": False}
    for wrong in ({"centered": True}, {"shift_center": True}):
        with pytest.raises(CalibrationError, match="origin"):
            sparse.get_virtual_image("circle", ((1, 1), 2), **wrong, **options)
    sparse.calibration.set_Q_pixel_units("mrad")
    with pytest.raises(CalibrationError, match=r"A\^-1"):
        sparse.get_virtual_image("circle", ((1, 1), 2), calibrated=True, **options)
    origin = np.full(SHAPE[:2], 3.0)
    origin[2, 2] = np.nan
    for bad in ((origin, origin), (np.ones((2, 2)), np.ones((2, 2))), (3.0, 4.0)):
        sparse.calibration.set_origin(bad)
        with pytest.raises(CalibrationError, match="origin"):
            sparse.get_virtual_image("circle", ((1, 1), 2), shift_center=True, **options)


def test_a_mask_may_be_a_list():
    image = pair()[0].get_virtual_image("mask", np.eye(9, 7).tolist(), verbose=False)
    np.testing.assert_allclose(image.data, (counts() * np.eye(9, 7)).sum((2, 3)))


# binning and cropping


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 7])
def test_binning(cubes, factor):
    sparse, dense = cubes
    assert sparse.bin_Q(factor) is sparse
    dense.bin_Q(factor, dtype=np.uint32)
    assert_same_cube(sparse, dense)
    assert_same_image((sparse, dense), "point", (0, 0))
    np.testing.assert_allclose(sparse.get_dp_mean().data, dense.get_dp_mean().data)


def test_binned_counts_do_not_overflow():
    data = np.full((1, 2, 4, 4), 200, np.uint8)
    np.testing.assert_array_equal(SparseDataCube.from_dense(data).bin_Q(4).data[0, 1], [[3200]])


@settings(max_examples=15, deadline=None)
@given(st.data(), dense_cubes())
def test_binning_random_cubes(data, dense):
    factor = data.draw(st.integers(1, min(dense.shape[2:])))
    sparse = SparseDataCube.from_dense(dense).bin_Q(factor)
    sparse.events.validate()
    expected = reference.binned(dense, factor)
    np.testing.assert_array_equal(np.asarray(sparse.data), expected)


@pytest.mark.parametrize("factor", [0, -2, 1.5, 2.0, "2", None, 8, True])
def test_bad_bin_factors(factor):
    sparse = pair()[0]
    with pytest.raises(ParameterError, match="bin factor"):
        sparse.bin_Q(factor)
    assert_same_cube(*pair())


@pytest.mark.parametrize(
    "roi", [(2, 6, 1, 5), (0, 9, 0, 7), (-5, -1, -4, 7), (3, 100, 2, 100), [1, 4, 0, 3]], ids=str
)
def test_cropping_the_detector(cubes, roi):
    sparse, dense = cubes
    assert sparse.crop_Q(roi) is sparse
    dense.crop_Q(roi)
    assert_same_cube(sparse, dense)


@pytest.mark.parametrize("roi", [(1, 4, 0, 3), (-3, -1, 1, 100), (0, 5, 0, 4)], ids=str)
def test_cropping_the_scan(cubes, roi):
    sparse, dense = cubes
    assert sparse.crop_R(roi) is sparse
    dense.crop_R(roi)
    assert_same_cube(sparse, dense)
    assert sparse.crop_Q((1, 5, 2, 6)).bin_Q(2).shape == dense.crop_Q((1, 5, 2, 6)).bin_Q(2).shape
    assert_same_cube(sparse, dense)


@pytest.mark.parametrize("method", ["crop_Q", "crop_R"])
@pytest.mark.parametrize(
    "roi",
    [(50, 60, 0, 3), (3, 2, 0, 3), (0, 0, 0, 3), (1, 2, 3), (1.0, 2.0, 0, 3), None, 4, "abcd"],
)
def test_bad_regions(method, roi):
    sparse = pair()[0]
    with pytest.raises(ParameterError, match="region") as refusal:
        getattr(sparse, method)(roi)
    told = str(refusal.value)
    assert "selects nothing" not in told or ("scan" in told) == (method == "crop_R")
    assert_same_cube(*pair())


def test_working_on_a_streamed_cube_keeps_it_streamed(cubes):
    sparse, dense = cubes
    in_memory = sparse.events.in_memory
    sparse.crop_Q((1, 9, 0, 6)).bin_Q(2).crop_R((1, 5, 0, 3))
    dense.crop_Q((1, 9, 0, 6)).bin_Q(2).crop_R((1, 5, 0, 3))
    assert sparse.events.in_memory is in_memory
    assert_same_cube(sparse, dense)
    np.testing.assert_array_equal(sparse.events.load().indices, sparse.events.indices)


def test_set_scan_shape(cubes):
    sparse, dense = cubes
    assert sparse.set_scan_shape((2, 10)) is sparse
    dense.set_scan_shape((2, 10))
    assert_same_cube(sparse, dense)
    with pytest.raises(ParameterError, match="20 patterns"):
        sparse.set_scan_shape((3, 5))


# copies


def test_a_copy_has_its_own_calibration_and_shape(cubes):
    sparse, dense = cubes
    ours, theirs = sparse.copy(), dense.copy()
    assert type(ours) is SparseDataCube
    assert ours.name == theirs.name
    assert ours.root is not sparse.root
    np.testing.assert_array_equal(np.asarray(ours.data), theirs.data)
    assert_same_calibration(ours, theirs)
    ours.calibration.set_Q_pixel_size(7)
    ours.bin_Q(2)
    assert sparse.calibration.get_Q_pixel_size() == 0.25
    assert sparse.Qshape == SHAPE[2:]
    assert sparse.get_dim(2)[1] - sparse.get_dim(2)[0] == pytest.approx(0.25)


def test_arrays_of_a_copied_calibration_are_its_own():
    sparse = pair()[0]
    copied = sparse.copy()
    copied.calibration.get_origin()[0][:] = 0
    assert sparse.calibration.get_origin()[0].min() > 0


# centre of mass


def test_centre_of_mass(cubes):
    sparse, dense = cubes
    com_x, com_y = sparse.get_com()
    expected = reference.centre_of_mass(dense.data)
    assert np.isnan(com_x[1, 2])
    np.testing.assert_allclose((com_x, com_y), expected, rtol=1e-12)
    mask = np.random.default_rng(2).random(SHAPE[2:])
    np.testing.assert_allclose(
        sparse.get_com(mask), reference.centre_of_mass(dense.data, mask), rtol=1e-12
    )
    with pytest.raises(ParameterError, match="mask"):
        sparse.get_com(np.ones((3, 3)))


# data


def test_data_can_be_replaced_but_not_assigned_to():
    sparse, dense = pair()
    sparse.data = dense.data[:, :, 1:, :]
    assert sparse.events.shape == (5, 4, 8, 7)
    with pytest.raises(UnsupportedOperationError, match="immutable"):
        sparse.data[0, 0] = 1
    sparse.data = 3 * sparse.data
    assert type(sparse) is SparseDataCube
    np.testing.assert_array_equal(np.asarray(sparse.data), 3 * dense.data[:, :, 1:, :])


def test_data_that_are_no_counts_make_a_dense_cube():
    sparse, dense = pair()
    mean = sparse.get_dp_mean()
    with pytest.warns(EventWarning, match="becomes a dense DataCube"):
        sparse.data = sparse.data * 0.5
    dense.data = dense.data * 0.5
    assert type(sparse) is DataCube
    assert_same_cube(sparse, dense)
    assert sparse.tree("dp_mean") is mean
    assert mean.calibration is sparse.calibration
    sparse.bin_Q(2)
    dense.bin_Q(2)
    assert_same_cube(sparse, dense)


@pytest.mark.parametrize("value", [np.ones(SHAPE[1:]) / 2, np.full(SHAPE, "a"), None, 3])
def test_what_is_no_cube_is_refused_as_data(value):
    sparse, dense = pair()
    with pytest.raises(EventError):
        sparse.data = value
    assert_same_cube(sparse, dense)


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("method", ["bin_R", "thin_R"])
def test_coarser_scans_equal_the_dense_ones(method, factor):
    data = np.random.default_rng(3).poisson(0.5, (7, 5, 6, 8)).astype(np.uint16)
    sparse, dense = SparseDataCube.from_dense(data), py4DSTEM.DataCube(data.copy())
    for cube in (sparse, dense):
        cube.calibration.set_R_pixel_size(0.3)
        cube.calibration.set_R_pixel_units("A")
        getattr(cube, method)(factor)
    np.testing.assert_array_equal(np.asarray(sparse.data), dense.data)
    assert sparse.calibration.get_R_pixel_size() == dense.calibration.get_R_pixel_size()
    assert sparse.dim_units[0] == "A"
