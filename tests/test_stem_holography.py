"""`stem_holography`: from a cube to slices with units."""

import os

import numpy as np
import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("py4DSTEM cannot be imported under the CUDA simulator", allow_module_level=True)

import py4DSTEM
from holograms import FRINGES, SHAPE, means, specimen

from py4dstem_eer.bridge.cube import SparseDataCube
from py4dstem_eer.bridge.holography import stem_holography
from py4dstem_eer.errors import EventWarning, ParameterError

TWO_BEAMS = (0.0, 1.0, 1.0)


def cube_of(transmission, seed=0, hot=None, **options):
    data = np.random.default_rng(seed).poisson(means(transmission, TWO_BEAMS, 40.0, **options))
    if hot is not None:
        data[:, :, hot[0], hot[1]] += 5000
    cube = SparseDataCube.from_dense(data)
    cube.calibration.set_R_pixel_size(0.4)
    cube.calibration.set_R_pixel_units("A")
    return cube


@pytest.fixture(scope="module")
def scan():
    return cube_of(specimen())


def agrees(hologram, atol=0.12):
    image = hologram.amplitude.data * np.exp(1j * hologram.phase.data)
    return np.abs(image - specimen()).max() < atol


def test_from_cube_to_amplitude_and_phase(scan, tmp_path):
    vacuum = np.zeros(SHAPE[:2], bool)
    vacuum[:, 0] = True
    found = stem_holography(scan, reference=vacuum, verbose=False)
    assert found.peak == FRINGES
    assert agrees(found)
    for result, units in ((found.amplitude, "1"), (found.phase, "rad")):
        assert isinstance(result, py4DSTEM.RealSlice)
        assert (result.units, result.shape) == (units, SHAPE[:2])
        assert result.calibration.get_R_pixel_size() == 0.4
    assert scan.tree("stem_holography_phase") is found.phase
    assert found.phase.metadata["parameters"]["relative_to"] == "vacuum positions"
    py4DSTEM.save(tmp_path / "hologram.h5", scan, tree=None)
    saved = py4DSTEM.read(tmp_path / "hologram.h5").tree("stem_holography_phase")
    np.testing.assert_array_equal(saved.data, found.phase.data)


def test_of_three_beams_twice_the_first_peak_is_the_specimen():
    data = np.random.default_rng(0).poisson(means(specimen(), (0.5, 1.0, 0.5), 100.0))
    cube = SparseDataCube.from_dense(data)
    vacuum = np.zeros(SHAPE[:2], bool)
    vacuum[:, 0] = True
    first = stem_holography(cube, reference=vacuum, verbose=False)
    assert not agrees(first, 0.3)
    double = (2 * first.peak[0], 2 * first.peak[1])
    assert agrees(stem_holography(cube, double, reference=vacuum, verbose=False))


def test_a_vacuum_scan_of_the_same_shape_goes_position_by_position():
    drifting = cube_of(specimen(), drift=0.9)
    vacuum = cube_of(np.ones(SHAPE[:2], complex), seed=1, drift=0.9)
    assert agrees(
        stem_holography(drifting, reference=vacuum, peak=FRINGES, verbose=False), atol=0.2
    )
    assert not agrees(stem_holography(drifting, peak=FRINGES, verbose=False), atol=0.2)


def test_a_vacuum_scan_of_another_shape_is_averaged(scan):
    vacuum = cube_of(np.ones((3, 4), complex), seed=1)
    found = stem_holography(scan, reference=vacuum, verbose=False, half_width=1, name="mine")
    assert agrees(found)
    assert found.phase.metadata["parameters"]["relative_to"] == "vacuum scan"
    assert scan.tree("mine_amplitude") is found.amplitude


def test_the_peaks_sign_is_that_of_the_phase(scan):
    plus = stem_holography(scan, peak=FRINGES, verbose=False)
    minus = stem_holography(scan, peak=(-FRINGES[0], -FRINGES[1]), verbose=False)
    np.testing.assert_allclose(minus.phase.data, -plus.phase.data, atol=1e-5)


def test_hot_pixels_do_not_hide_the_peak():
    with pytest.warns(EventWarning, match="1 hot pixels"):
        found = stem_holography(cube_of(specimen(), hot=(2, 3)), verbose=False)
    assert found.peak == FRINGES


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"reference": np.ones(SHAPE[:2])}, "booleans"),
        ({"reference": np.zeros(SHAPE[:2], bool)}, "booleans"),
        ({"reference": np.ones((3, 3), bool)}, "booleans"),
        ({"peak": (1, 1)}, "zero frequency"),
        ({"device": "abacus"}, "device"),
        ({"force_scan_sampling": -1.0}, "force_scan_sampling"),
    ],
)
def test_wrong_input(scan, options, match):
    with pytest.raises(ValueError, match=match):
        stem_holography(scan, verbose=False, **options)


def test_wrong_cubes(scan):
    with pytest.raises(ParameterError, match="from_dense"):
        stem_holography(py4DSTEM.DataCube(np.ones((2, 2, 3, 3))))
    other = SparseDataCube.from_dense(np.ones((2, 2, 9, 9), int))
    with pytest.raises(ParameterError, match=r"\(9, 9\)"):
        stem_holography(scan, peak=FRINGES, reference=other, verbose=False)
