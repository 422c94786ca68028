"""What methods of the sparse cube allocate besides their result: a small part of the events."""

import tracemalloc

import numpy as np
import pytest

from py4dstem_eer import EventStore, SparseDataCube

SCAN, DETECTOR, ENTRIES = (192, 80), (80, 72), 400
ALLOWED = 0.1


def cube(scan=SCAN, entries=ENTRIES):
    """Events of a disk, with two electrons in some pixels, and an origin that moves."""
    rng = np.random.default_rng(0)
    n_patterns = scan[0] * scan[1]
    rows, columns = (rng.normal(n / 2, 9, (n_patterns, entries)).clip(0, n - 1) for n in DETECTOR)
    indices = rows.astype(np.uint16) * DETECTOR[1] + columns.astype(np.uint16)
    indptr = np.arange(n_patterns + 1) * entries
    made = SparseDataCube(EventStore.from_lists(scan, DETECTOR, indptr, indices.ravel()))
    made.calibration.set_origin(tuple(n / 2 + rng.normal(0, 1, scan) for n in DETECTOR))
    return made


@pytest.fixture(scope="module")
def large():
    return cube()


@pytest.fixture(scope="module")
def small():
    return cube((8, 6))


DISK = ("circle", ((40, 36), 12))
QUIET = {"verbose": False}


def scan_mask(cube):
    return np.add.outer(np.arange(cube.R_Nx), np.arange(cube.R_Ny)) % 2 == 0


def weights(cube):
    return 1.5 - scan_mask(cube)


def bad_pixels(cube):
    mask = np.zeros(cube.Qshape, bool)
    mask[[3, 40, 70], [5, 36, 60]] = True
    return mask


OPERATIONS = {
    "mean": lambda c: c.get_dp_mean(),
    "max": lambda c: c.get_dp_max(),
    "median": lambda c: c.get_dp_median(),
    "min": lambda c: np.min(c.data, axis=(0, 1)),
    "any": lambda c: np.any(c.data, axis=(2, 3)),
    "all": lambda c: np.all(c.data, axis=(0, 1)),
    "sum of all": lambda c: np.sum(c.data),
    "median of patterns": lambda c: np.median(c.data, axis=(2, 3)),
    "median of all": lambda c: np.median(c.data),
    "image": lambda c: c.get_virtual_image(*DISK, **QUIET),
    "shifted image": lambda c: c.get_virtual_image(*DISK, shift_center=True, **QUIET),
    "centre of mass": lambda c: c.get_com(),
    "masked mean": lambda c: c.get_virtual_diffraction("mean", scan_mask(c), **QUIET),
    "weighted mean": lambda c: c.get_virtual_diffraction("mean", weights(c), **QUIET),
    "weighted max": lambda c: c.get_virtual_diffraction("max", weights(c), **QUIET),
    "weighted median": lambda c: c.get_virtual_diffraction("median", weights(c), **QUIET),
    "shifted mean": lambda c: c.get_virtual_diffraction("mean", shift_center=True, **QUIET),
    "shifted max": lambda c: c.get_virtual_diffraction("max", shift_center=True, **QUIET),
    "finely shifted mean": lambda c: c.get_virtual_diffraction(
        "mean", shift_center=True, subpixel=True, **QUIET
    ),
    "finely shifted max": lambda c: c.get_virtual_diffraction(
        "max", shift_center=True, subpixel=True, **QUIET
    ),
    "mean of rows": lambda c: np.mean(c.data[1:-1], axis=(0, 1)),
    "pattern": lambda c: c.data[3, 4],
    "pixels": lambda c: (c.data[:, :, bad_pixels(c)], c),
    "beam stop": lambda c: c.get_beamstop_mask(),
    "probe": lambda c: c.get_vacuum_probe(align=False),
    "bin": lambda c: c.bin_Q(4),
    "crop": lambda c: c.crop_Q((20, 60, 10, 60)),
    "pad": lambda c: c.pad_Q(1.5),
    "crop scan": lambda c: c.crop_R((1, c.R_Nx - 1, 1, c.R_Ny - 1)),
    "bin scan": lambda c: c.bin_R(2),
    "thin scan": lambda c: c.thin_R(2),
    "reshape scan": lambda c: c.set_scan_shape((c.R_Ny, c.R_Nx)),
    "swap scan and detector": lambda c: c.swap_RQ(),
    "swap scan": lambda c: c.swap_Rxy(),
    "swap detector": lambda c: c.swap_Qxy(),
    "swap both": lambda c: np.transpose(c.data, (1, 0, 3, 2)),
    "repair": lambda c: c.median_filter_masked_pixels(bad_pixels(c)),
    "copy": lambda c: c.copy(),
}


#: What needs no list of positions besides its result, so that few electrons in each will do.
AT_LOW_DOSE = ("mean", "max", "median", "all", "sum of all", "image", "centre of mass")


def allocated_beside_result(call):
    """Return how much a call allocates at most beyond what it returns [bytes]."""
    tracemalloc.start()
    try:
        result = call()
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    del result
    return peak - kept


def large_detector(n_patterns, detector=(260, 250), entries=300):
    """Events on a detector whose pixels take more memory than the events of a pattern."""
    indices = np.random.default_rng(0).integers(0, 260 * 250, (n_patterns, entries), np.uint16)
    indptr = np.arange(n_patterns + 1) * entries
    return EventStore.from_lists((n_patterns // 8, 8), detector, indptr, indices.ravel())


@pytest.mark.parametrize("change", ["bin_Q", "swap_Qxy", "bin_R"])
def test_large_detectors_need_no_more(change):
    arguments = () if change == "swap_Qxy" else (2,)
    small, large = (SparseDataCube(large_detector(n)) for n in (16, 32768))
    getattr(small, change)(*arguments)  # compiles
    n_bytes = large.events.nbytes
    beside = allocated_beside_result(lambda: getattr(large, change)(*arguments))
    assert beside <= ALLOWED * n_bytes


@pytest.mark.filterwarnings("ignore:.* files have no place for")
@pytest.mark.parametrize("format_name", ["emd", "stempy", "raw_csr"])
def test_little_is_allocated_to_save(small, large, tmp_path, format_name):
    small.export(tmp_path / "small.toml", format_name)
    beside = allocated_beside_result(lambda: large.export(tmp_path / "large.toml", format_name))
    assert beside <= ALLOWED * large.events.nbytes


@pytest.mark.parametrize("name", OPERATIONS)
def test_little_is_allocated_beside_the_result(name, small, large):
    operation = OPERATIONS[name]
    assert operation(small.copy()) is not None  # compiles
    given = large.copy()
    assert allocated_beside_result(lambda: operation(given)) <= ALLOWED * large.events.nbytes


@pytest.fixture(scope="module")
def many_positions():
    return cube((320, 300), 20)


@pytest.mark.parametrize("name", AT_LOW_DOSE)
def test_little_is_allocated_at_low_dose(name, small, many_positions):
    operation = OPERATIONS[name]
    operation(small.copy())  # compiles
    given = many_positions.copy()
    assert allocated_beside_result(lambda: operation(given)) <= ALLOWED * given.events.nbytes


def test_a_kernel_wider_than_the_detector_takes_no_more():
    one = np.zeros(DETECTOR, bool)
    one[3, 4] = True
    given = cube((8, 6))
    given.copy().median_filter_masked_pixels(one)  # compiles
    wide = 10**6
    beside = allocated_beside_result(lambda: given.median_filter_masked_pixels(one, wide))
    assert beside <= 20 * 8 * one.size
