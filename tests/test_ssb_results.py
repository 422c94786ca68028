"""What SSB tells the operator besides the phase: dose, overlap, rotation, and doubts."""

from __future__ import annotations

import math
import warnings

import matplotlib.pyplot as plt
import numpy as np
import py4DSTEM
import pytest
from test_ssb import CENTER, ENERGY, PIXEL, RADIUS, SEMIANGLE, calibrated, counts, preprocessed

from py4dstem_eer.bridge.cube import SparseDataCube
from py4dstem_eer.bridge.results import real_slice
from py4dstem_eer.bridge.ssb import EventSSB
from py4dstem_eer.errors import EventError, EventWarning, ParameterError
from py4dstem_eer.simulate import crystal_phase, simulate_events


def test_dose_is_per_pattern_and_area():
    data = counts((6, 7), (14, 15))
    dose = preprocessed(data, CENTER, step=0.4).dose
    assert dose.electrons == data.sum()
    assert dose.per_pattern == pytest.approx(data.sum() / 42)
    assert dose.per_area == pytest.approx(data.sum() / 42 / 0.16)


def test_bright_field_is_what_lies_in_the_aperture():
    data = counts((6, 7), (14, 15))
    ssb = preprocessed(data, CENTER)
    rows, columns = np.indices((14, 15))
    inside = np.hypot(rows - CENTER[0], columns - CENTER[1]) < RADIUS
    np.testing.assert_array_equal(ssb.bright_field.data, data[:, :, inside].sum(axis=2))
    assert ssb.bright_field.units == "electrons"


def test_double_overlap_is_the_part_of_the_aperture():
    ssb = preprocessed(counts((8, 9), (14, 15)), CENTER, rotation=20.0, step=0.4)
    rows, columns = np.indices((14, 15))
    kx, ky = (rows - CENTER[0]) * PIXEL, (columns - CENTER[1]) * PIXEL
    radius = RADIUS * PIXEL
    aperture = np.hypot(kx, ky) < radius
    fx, fy = (np.fft.fftshift(np.fft.fftfreq(n, 0.4)) for n in (8, 9))
    angle = np.deg2rad(20.0)
    for i, j in np.ndindex(8, 9):
        qx = fx[i] * np.cos(angle) + fy[j] * np.sin(angle)
        qy = fy[j] * np.cos(angle) - fx[i] * np.sin(angle)
        minus = np.hypot(kx - qx, ky - qy) < radius
        plus = np.hypot(kx + qx, ky + qy) < radius
        expected = (aperture & (minus ^ plus)).sum() / aperture.sum()
        assert ssb.double_overlap.data[i, j] == pytest.approx(expected)
    assert ssb.double_overlap_fraction == pytest.approx(ssb.double_overlap.data.mean())


def test_results_hang_in_the_tree_and_survive_a_file(tmp_path):
    ssb = preprocessed(counts((8, 9), (14, 15)), CENTER).reconstruct()
    py4DSTEM.save(str(tmp_path / "results.h5"), ssb._datacube)
    cube = py4DSTEM.read(str(tmp_path / "results.h5"))
    for name, mine in (
        ("trotters", ssb.trotters()),
        ("power_spectrum", ssb.power_spectrum()),
        ("double_overlap", ssb.double_overlap),
        ("bright_field", ssb.bright_field),
    ):
        saved = cube.tree(f"ssb_reconstruction_{name}")
        assert type(saved) is type(mine)
        np.testing.assert_array_equal(saved.data, mine.data)
        assert saved.units == mine.units
        np.testing.assert_allclose(saved.dims[1], mine.dims[1])
    dose = cube.tree("ssb_reconstruction_object_phase").metadata["parameters"]
    assert dose["electrons_per_A2"] == pytest.approx(ssb.dose.per_area)


def test_measuring_anew_takes_old_results_out_of_the_tree(tmp_path):
    first = preprocessed(counts((8, 9), (14, 15)), CENTER).reconstruct("left")
    cube, phase = first._datacube, first.object_phase
    cube.attach(real_slice(phase.data, "mine", "rad", (1.0, 1.0)))
    again = EventSSB(ENERGY, cube, SEMIANGLE, verbose=False)  # of the same name, as its results
    again.preprocess(**GOOD)
    left = {name.removeprefix("ssb_reconstruction_") for name in cube.treekeys}
    assert left == {"mine", "bright_field", "trotters", "power_spectrum", "double_overlap"}
    assert phase.calibration.get_R_pixel_size() == cube.calibration.get_R_pixel_size()
    again.reconstruct("left")
    assert cube.tree("ssb_reconstruction_object_phase") is again.object_phase
    py4DSTEM.save(str(tmp_path / "old.h5"), phase, tree=False)
    py4DSTEM.save(str(tmp_path / "all.h5"), cube, tree=None)


def test_a_failure_leaves_what_was_there():
    ssb = preprocessed(counts((8, 9), (14, 15)), CENTER).reconstruct()
    phase = ssb.object_phase
    with pytest.raises(EventError):
        ssb.preprocess(center="middle")
    assert ssb.object_phase is phase
    assert ssb._datacube.tree("ssb_reconstruction_object_phase") is phase


def test_fewer_frequencies_than_trotters_are_no_error():
    ssb = preprocessed(counts((2, 3), (14, 15)), CENTER)
    assert len(ssb._result("trotters").data) < 9


@pytest.mark.parametrize(
    ("sideband", "last"), [("both", "Bright field"), ("left", "SSB amplitude")]
)
def test_figure(sideband, last):
    ssb = preprocessed(counts((9, 8), (14, 15)), CENTER).reconstruct(sideband)
    assert ssb.visualize(figsize=(10, 6), cmap="gray", cbar=False) is ssb
    figure = plt.gcf()
    titles = [axis.get_title() for axis in figure.axes]
    assert len(titles) == 6
    assert titles[0] == "SSB phase"
    assert titles[-1].startswith(last)
    assert figure.get_size_inches().tolist() == [10, 6]
    assert figure.axes[0].images[0].get_cmap().name == "gray"
    figure.savefig("/dev/null", format="png")
    part = plt.figure().subfigures(1, 2)[0]
    ssb.visualize(fig=part)
    assert len(part.axes) > 6
    plt.close("all")


def simulated(rotation, transpose, electrons=1000, seed=1, **aberrations):
    events, truth = simulate_events(
        crystal_phase((40, 44), 0.32),
        0.32,
        detector_shape=(60, 66),
        disk_radius=20.0,
        electrons_per_pattern=electrons,
        rotation=rotation,
        transpose=transpose,
        aberrations=aberrations,
        flyback=False,
        seed=seed,
    )
    cube = calibrated(SparseDataCube(events), 0.32, truth.reciprocal_pixel)
    return EventSSB(ENERGY, cube, SEMIANGLE, verbose=False), truth


def test_rotation_is_confirmed_by_the_overlaps():
    ssb, _ = simulated(0.4, True)
    ssb.preprocess()
    assert ssb.rotation.angle_deg == pytest.approx(math.degrees(0.4), abs=4)
    assert ssb.rotation_check.angle_deg == pytest.approx(math.degrees(0.4), abs=4)
    assert ssb.rotation_check.agrees
    assert ssb.geometry.rotation == math.radians(ssb.rotation.angle_deg)
    ssb.preprocess(force_com_rotation=10.0, force_com_transpose=False)
    assert ssb.rotation_check is None
    assert ssb.rotation.angle_deg == 10.0


def test_a_rotation_that_the_overlaps_contradict_warns():
    ssb, _ = simulated(0.4, True)
    with pytest.warns(EventWarning, match=r"overlaps .* say 2\d°, transpose True"):
        ssb.preprocess(force_com_transpose=False)


def test_overlaps_help_where_the_centre_of_mass_cannot_tell():
    # defocus takes the contrast from the centre of mass, not from the overlaps
    ssb, truth = simulated(-0.7, False, electrons=700, defocus=100.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ssb.preprocess()
    assert ssb.geometry.rotation == pytest.approx(truth.geometry.rotation, abs=0.08)
    assert ssb.geometry.transpose is False
    assert ssb.rotation_check.evidence > 30


def test_vacuum_says_that_nothing_can_tell():
    ssb = EventSSB(ENERGY, calibrated(SparseDataCube.from_dense(counts((16, 17), (14, 15)))), 25.0)
    with pytest.warns(EventWarning, match="cannot tell"):
        ssb.preprocess(None, CENTER, RADIUS)


@pytest.mark.parametrize(
    ("step", "size", "radius", "words"),
    [
        (0.5, 18, RADIUS, r"0.5 Å is too coarse .* steps of 0.418 Å"),
        (0.05, 18, RADIUS, r"only 1.13% of the scan frequencies"),
        (0.4, 10, 2.1 * RADIUS, r"4.8 px wide, less than half"),
    ],
)
@pytest.mark.filterwarnings("ignore:the bright-field disk:py4dstem_eer.errors.EventWarning")
def test_sampling_that_looks_wrong_warns(step, size, radius, words):
    cube = calibrated(SparseDataCube.from_dense(counts((30, 31), (30, 31))), step)
    ssb = EventSSB(ENERGY, cube, SEMIANGLE, verbose=False)
    with pytest.warns(UserWarning, match=words) as seen:
        ssb.preprocess(size, (15, 15), radius, 0, False)
    assert not any(issubclass(w.category, EventWarning) and "step" in str(w.message) for w in seen)


def test_good_sampling_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        preprocessed(counts((9, 8), (14, 15)), CENTER, step=0.4)


GOOD = {
    "center": CENTER, "bf_radius": RADIUS, "force_com_rotation": 0, "force_com_transpose": False
}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"bf_radius": "6.3"}, "bf_radius is '6.3'"),
        ({"center": ("7", "7")}, r"center is \('7', '7'\)"),
        ({"center": 7}, "center is 7"),
        ({"center": (7, 7, 7)}, "center is"),
        ({"detector_size": "18"}, "detector_size is '18'"),
        ({"force_com_rotation": "12"}, "force_com_rotation is '12'"),
        ({"force_com_transpose": "yes"}, "force_com_transpose is 'yes'"),
        ({"force_scan_sampling": "0.4"}, "force_scan_sampling is"),
        ({"bf_radius": 8.0}, "16.0 px wide.*smaller"),
        ({"bf_radius": None, "center": None}, "no bright-field disk"),
    ],
)
def test_wrong_preprocessing_is_refused(arguments, words):
    cube = calibrated(SparseDataCube.from_dense(counts((4, 5), (14, 15))))
    ssb = EventSSB(ENERGY, cube, SEMIANGLE, verbose=False)
    with pytest.raises(EventError, match=words):
        ssb.preprocess(**{**GOOD, **arguments})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"energy": "80e3"}, "energy is '80e3'"),
        ({"semiangle_cutoff": "25"}, "semiangle_cutoff is '25'"),
        ({"semiangle_cutoff": None, "semiangle_cutoff_pixels": "6"}, "_pixels is '6'"),
        ({"defocus": "50"}, "defocus is '50'"),
        ({"defocus": None}, "defocus is None"),
    ],
)
def test_numbers_given_as_text_are_refused(arguments, words):
    cube = calibrated(SparseDataCube.from_dense(counts((4, 5), (14, 15))))
    with pytest.raises(EventError, match=words):
        EventSSB(**{"energy": ENERGY, "datacube": cube, "semiangle_cutoff": SEMIANGLE, **arguments})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.zeros((4, 5, 14, 15), np.uint8), "all patterns are empty"),
        (np.ones((1, 9, 14, 15), np.uint8), r"shape \(1, 9\).*two dimensions"),
        (np.ones((9, 1, 14, 15), np.uint8), r"shape \(9, 1\).*two dimensions"),
    ],
)
@pytest.mark.parametrize("given", [{}, GOOD], ids=["measured", "given"])
def test_scans_that_hold_nothing_are_refused(data, words, given):
    ssb = EventSSB(ENERGY, calibrated(SparseDataCube.from_dense(data)), SEMIANGLE, verbose=False)
    with pytest.raises(ParameterError, match=words):
        ssb.preprocess(**given)
