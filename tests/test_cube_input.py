"""What does not fit a sparse cube: errors that say so, and leave the cube as it was."""

import numpy as np
import py4DSTEM
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from py4DSTEM import DataCube, PolarDatacube
from py4DSTEM.process.calibration import fit_origin, get_origin, get_origin_friedel

from py4dstem_eer import EventStore, SparseDataCube, open_events
from py4dstem_eer.errors import EventError
from py4dstem_eer.streams import StreamedEventStore
from py4dstem_eer.writers.stempy import write_stempy

SHAPE = (5, 4, 9, 7)


def counts(shape=SHAPE, seed=0):
    data = np.random.default_rng(seed).poisson(0.4, shape).astype(np.uint16)
    data[1, 2] = 0
    return data


@st.composite
def dense_cubes(draw):
    shape = tuple(draw(st.integers(1, 4)) for _ in range(4))
    largest = draw(st.sampled_from([1, 4, 70000]))
    elements = st.one_of(st.just(0), st.integers(0, largest))
    return draw(hnp.arrays(np.uint32, shape, elements=elements, fill=st.just(0)))


WRONG = {
    "scan mask": lambda c: c.get_virtual_diffraction("mean", np.ones(c.Qshape, bool)),
    "scan mask of one row": lambda c: c.get_virtual_diffraction("mean", np.ones(c.R_Ny)),
    "no patterns for a maximum": lambda c: c.get_virtual_diffraction(
        "max", np.zeros(c.Rshape, bool)
    ),
    "NaN weights": lambda c: c.get_virtual_diffraction("mean", np.full(c.Rshape, np.nan)),
    "weights in words": lambda c: c.get_virtual_diffraction("mean", np.full(c.Rshape, "a")),
    "complex maximum": lambda c: c.get_virtual_diffraction("max", np.full(c.Rshape, 1j)),
    "unknown method": lambda c: c.get_virtual_diffraction("sum"),
    "shifted median": lambda c: (
        c.calibration.set_origin((np.ones(c.Rshape), np.ones(c.Rshape))),
        c.get_virtual_diffraction("median", shift_center=True),
    ),
    "shift without origin": lambda c: c.get_virtual_diffraction("mean", shift_center=True),
    "detector mask": lambda c: c.get_virtual_image("mask", np.ones((7, 9)), verbose=False),
    "region outside": lambda c: c.get_vacuum_probe(ROI=(7, 9, 0, 2)),
    "region of three numbers": lambda c: c.get_vacuum_probe(ROI=(1, 2, 3)),
    "region mask": lambda c: c.get_vacuum_probe(ROI=np.ones((4, 5), bool)),
    "region of one": lambda c: c.get_vacuum_probe(ROI=np.arange(20).reshape(5, 4) == 3),
    "probe mask": lambda c: c.get_vacuum_probe(mask=np.ones((3, 3))),
    "bad pixel mask": lambda c: c.median_filter_masked_pixels(np.ones((3, 3), bool)),
    "kernel of zero": lambda c: c.median_filter_masked_pixels(np.ones(c.Qshape, bool), 0),
    "kernel of a half": lambda c: c.median_filter_masked_pixels(np.ones(c.Qshape, bool), 2.5),
    "rank": lambda c: c.filter_hot_pixels(1, ind_compare=21),
    "bin too large": lambda c: c.bin_Q(10),
    "scan bin too large": lambda c: c.bin_R(5),
    "scan bin of zero": lambda c: c.bin_R(0),
    "scan bin of a half": lambda c: c.bin_R(1.5),
    "thinning by zero": lambda c: c.thin_R(0),
    "thinning too far": lambda c: c.thin_R(6),
    "crop outside": lambda c: c.crop_Q((9, 12, 0, 3)),
    "scan crop outside": lambda c: c.crop_R((5, 9, 0, 3)),
    "scan shape": lambda c: c.set_scan_shape((3, 5)),
    "padding to less": lambda c: c.pad_Q(output_size=(3, 3)),
    "padding by less": lambda c: c.pad_Q(0.5),
    "padding to nothing": lambda c: c.pad_Q(),
    "resampling to nothing": lambda c: c.resample_Q(),
    "resampling method": lambda c: c.resample_Q(2, method="cubic"),
    "resampling twice": lambda c: c.resample_Q(2, output_size=(4, 4)),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_an_error_that_changes_nothing(name):
    cube = SparseDataCube.from_dense(counts())
    with pytest.raises(ValueError, match=r"\w"):
        WRONG[name](cube)
    assert type(cube) is SparseDataCube
    assert not cube._branch.keys()
    assert cube.shape == SHAPE
    np.testing.assert_array_equal(np.asarray(cube.data), counts())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=15, deadline=None)
@given(st.data(), dense_cubes())
def test_patterns_of_random_cubes(data, dense):
    """Any part of any scan, with empty patterns and without: the dense cube's numbers."""
    sparse, plain = SparseDataCube.from_dense(dense), DataCube(dense)
    mask = data.draw(hnp.arrays(bool, dense.shape[:2]))
    weights = data.draw(hnp.arrays(np.int8, dense.shape[:2])) / 4
    shifts = hnp.arrays(float, dense.shape[:2], elements=st.floats(-9, 9, width=32))
    origin = data.draw(shifts), data.draw(shifts)
    for cube in (sparse, plain):
        cube.calibration.set_origin(origin)
    cases = [("median", mask, {}), ("mean", mask, {}), ("mean", mask, {"shift_center": True})]
    cases += [("mean", weights + 9, {"shift_center": True, "subpixel": True})]
    cases += [("max", mask, {"shift_center": True}), ("max", weights, {"shift_center": True})]
    if min(dense.shape[:2]) > 1:  # py4DSTEM's weights go astray on a scan of one row or column
        cases += [(method, weights, {}) for method in ("max", "median")]
    cases += [("max", mask, {})] * bool(mask.any())
    for method, given_mask, options in cases:
        ours, theirs = (
            cube.get_virtual_diffraction(method, given_mask, verbose=False, **options).data
            for cube in (sparse, plain)
        )
        rounding = 1e-9 + 1e-12 * dense.max(initial=0)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=rounding)


@settings(max_examples=60, deadline=None)
@given(st.data(), dense_cubes(), st.sampled_from([1, 2, 3, 4, 5, 10**6]), st.booleans())
def test_repaired_random_cubes(data, dense, width, streamed):
    """Windows overlap, reach over edges, and hold pixels that were replaced before."""
    events = EventStore.from_dense(dense)
    sparse = SparseDataCube(StreamedEventStore(events) if streamed else events)
    plain = DataCube(dense.copy())
    mask = data.draw(hnp.arrays(bool, dense.shape[2:]))
    sparse.median_filter_masked_pixels(mask, width)
    plain.median_filter_masked_pixels(mask, width if width < 6 else 11)
    sparse.events.validate()
    np.testing.assert_array_equal(np.asarray(sparse.data), plain.data)


@pytest.mark.parametrize("streamed", [False, True])
def test_empty_scans_give_zeros(streamed, tmp_path):
    events = EventStore.from_dense(np.zeros(SHAPE, np.uint8))
    if streamed:
        py4DSTEM.save(str(tmp_path / "empty.h5"), SparseDataCube(events))
        events = open_events(tmp_path / "empty.h5", mem="MEMMAP")
    cube = SparseDataCube(events)
    for name in ("get_dp_mean", "get_dp_max", "get_dp_median"):
        np.testing.assert_array_equal(getattr(cube, name)().data, np.zeros(SHAPE[2:]))
    for mode, geometry in (("circle", ((4, 3), 2)), ("mask", np.ones(SHAPE[2:]))):
        image = cube.get_virtual_image(mode, geometry, verbose=False)
        np.testing.assert_array_equal(image.data, np.zeros(SHAPE[:2]))
    for reduction in (np.sum, np.mean, np.max, np.min, np.median, np.any):
        for axis in ((0, 1), (2, 3), None):
            assert not np.any(reduction(cube.data, axis=axis))
    np.testing.assert_array_equal(cube.data[:, :, 1, 1], np.zeros(SHAPE[:2]))
    assert cube.bin_Q(2).bin_R(2).events.n_events == 0


# files


def save_emd(path, cube):
    py4DSTEM.save(str(path), cube)


def save_stempy(path, cube):
    write_stempy(path, cube.events)


USES = {
    "pattern": lambda c: c.data[2, 1],
    "image": lambda c: c.get_virtual_image("circle", ((4, 3), 2), verbose=False),
    "mean": lambda c: c.get_dp_mean(),
    "pixel": lambda c: c.data[:, :, 1, 1],
    "crop": lambda c: np.asarray(c.crop_Q((1, 5, 1, 5)).data),
    "repair": lambda c: c.filter_hot_pixels(0.1).get_dp_mean(),
}


@pytest.mark.parametrize("save", [save_emd, save_stempy])
@pytest.mark.parametrize("use", USES)
def test_a_deleted_file_is_named(save, use, tmp_path):
    path = tmp_path / "events.h5"
    save(path, SparseDataCube.from_dense(counts()))
    cube = SparseDataCube(open_events(path, mem="MEMMAP"))
    USES[use](SparseDataCube(cube.events))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"events\.h5"):
        USES[use](cube)


@pytest.mark.parametrize("save", [save_emd, save_stempy])
@pytest.mark.parametrize("use", USES)
def test_a_file_cut_short_is_named(save, use, tmp_path):
    path = tmp_path / "events.h5"
    save(path, SparseDataCube.from_dense(counts()))
    cube = SparseDataCube(open_events(path, mem="MEMMAP"))
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises((EventError, OSError), match=r"events\.h5"):
        USES[use](cube)


# py4DSTEM's functions that take a cube


def disks(shape=(4, 5, 26, 24)):
    rng = np.random.default_rng(2)
    rows, columns = np.indices(shape[2:])
    data = np.zeros(shape, np.uint8)
    for rx, ry in np.ndindex(shape[:2]):
        inside = np.hypot(rows - 12.2 - 0.3 * rx, columns - 11.4 + 0.2 * ry) < 5
        data[rx, ry] = rng.poisson(0.02 + 6 * inside)
    return data


def test_origins_as_tutorials_measure_them():
    cubes = SparseDataCube.from_dense(disks()), DataCube(disks())
    results = []
    for cube in cubes:
        qx, qy, mask = get_origin(cube)
        cube.calibration.set_origin_meas((qx, qy, mask))
        fitted = fit_origin((qx, qy), mask=mask, fitfunction="plane")
        cube.calibration.set_origin(fitted[:2])
        friedel = get_origin_friedel(cube)
        image = cube.get_virtual_image(
            "circle", ((0, 0), 5), centered=True, shift_center=True, verbose=False
        )
        results.append((qx, qy, *fitted, *friedel, image.data))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_squares_of_patterns_do_not_overflow():
    """The masked search squares patterns in their own dtype; events alone would do with bytes."""
    mask = np.hypot(*(np.indices((26, 24)) - 12)) > 2
    data = np.minimum(9 * disks().astype(np.uint16), 255)
    wanted = get_origin_friedel(DataCube(data), mask=mask)
    for dense in (data, data.astype(np.int64), data.astype(np.float32)):
        found = get_origin_friedel(SparseDataCube.from_dense(dense), mask=mask)
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_polar_cubes():
    results = []
    for cube in (SparseDataCube.from_dense(disks()), DataCube(disks())):
        cube.calibration.set_origin((np.full((4, 5), 12.5), np.full((4, 5), 11.1)))
        polar = PolarDatacube(cube, n_annular=24, qstep=2, qmax=11)
        polar.calculate_radial_statistics(plot_results_mean=False, plot_results_var=False)
        results.append(
            (polar.data[2, 3].filled(-1), polar.radial_mean, polar.radial_var, cube.polar is polar)
        )
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_what_assigns_to_the_data_is_told_why_not():
    cube = SparseDataCube.from_dense(disks())
    with pytest.raises(EventError, match=r"immutable.*to_dense"):
        py4DSTEM.preprocess.datacube_diffraction_shift(cube, 1, 1)
