"""`EventDPC`: what a py4DSTEM user types, beside what py4DSTEM gives."""

import os
import warnings

import matplotlib as mpl
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("py4DSTEM cannot be imported under the CUDA simulator", allow_module_level=True)

import py4DSTEM

from py4dstem_eer import progress
from py4dstem_eer.bridge.cube import SparseDataCube
from py4dstem_eer.bridge.dpc import EventDPC
from py4dstem_eer.errors import CalibrationError, EventWarning, ParameterError

mpl.use("Agg")
STEP, PIXEL = 0.4, 0.08
SHAPE = (24, 21, 16, 19)


def patterns(dose=4000, angle=25.0, transpose=True, shape=SHAPE):
    """Counts of a disk that follows the gradient of a phase, and that phase [rad]."""
    rng = np.random.default_rng(0)
    phase = gaussian_filter(rng.normal(size=shape[:2]), 1.5)
    phase *= 2 / phase.std()
    x, y = (g / (2 * np.pi * PIXEL) for g in np.gradient(phase, STEP))
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    x, y = cos * x + sin * y, cos * y - sin * x
    if transpose:
        x, y = y, x
    rows, columns = np.ogrid[: shape[2], : shape[3]]
    x, y = (c[:, :, None, None] for c in (x + 7.6, y + 9.2))
    mean = np.exp(-((rows - x) ** 2 + (columns - y) ** 2) / 9)
    mean *= dose / mean.sum(axis=(2, 3), keepdims=True)
    return rng.poisson(mean).astype(np.uint16), phase


def calibrated(cube):
    cube.calibration.set_R_pixel_size(STEP)
    cube.calibration.set_R_pixel_units("A")
    cube.calibration.set_Q_pixel_size(PIXEL)
    cube.calibration.set_Q_pixel_units("A^-1")
    return cube


def sparse(data):
    return calibrated(SparseDataCube.from_dense(data))


def dense(data):
    return calibrated(py4DSTEM.DataCube(data))


@pytest.fixture(scope="module")
def scan():
    return patterns()


def theirs_on(cube, iterations=None, **options):
    dpc = py4DSTEM.process.phase.DPC(datacube=cube, verbose=False)
    dpc.preprocess(plot_rotation=False, plot_center_of_mass=False, **options)
    if iterations:
        dpc.reconstruct(progress_bar=False, max_iter=iterations, reset=True)
    return dpc


@pytest.mark.parametrize("make", [sparse, dense])
def test_from_cube_to_phase(scan, make):
    data, phase = scan
    cube = make(data)
    dpc = EventDPC(cube, verbose=False)
    assert dpc.preprocess() is dpc
    assert dpc.reconstruct() is dpc
    assert dpc.transpose
    assert abs(dpc.rotation_deg - 25) < 3 * dpc.rotation.uncertainty_deg < 10
    found = dpc.object_phase
    assert isinstance(found, py4DSTEM.RealSlice)
    assert (found.units, found.shape) == ("rad", SHAPE[:2])
    assert found.calibration.get_R_pixel_size() == STEP
    plane = np.stack([np.ones_like(phase), *np.mgrid[: SHAPE[0], : SHAPE[1]]]).reshape(3, -1).T
    truth = phase.ravel() - plane @ np.linalg.lstsq(plane, phase.ravel(), rcond=None)[0]
    assert np.corrcoef(found.data.ravel(), truth)[0, 1] > 0.95
    assert 0.8 < found.data.std() / truth.std() < 1.2
    assert dpc.n_filled == 0


@pytest.mark.parametrize("fit_function", ["plane", "parabola", "bezier_two", "constant"])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_py4dstem_side_by_side(scan, masked, fit_function):
    data, _ = scan
    mask = np.random.default_rng(0).random(SHAPE[2:]) > 0.1 if masked else None
    shared = {"dp_mask": mask, "fit_function": fit_function, "padding_factor": 1.5}
    theirs = theirs_on(dense(data), iterations=10, **shared)
    ours = EventDPC(sparse(data), verbose=False).preprocess(**shared)
    assert ours.transpose == theirs._rotation_best_transpose
    assert abs(ours.rotation_deg - np.rad2deg(theirs._rotation_best_rad)) < 1.5
    # from here on with the same angle
    angle = float(np.rad2deg(theirs._rotation_best_rad))
    ours.preprocess(force_com_rotation=angle, **shared)
    np.testing.assert_allclose(ours.com.data, [theirs._com_x, theirs._com_y], atol=2e-5)
    ours.reconstruct("iterative", max_iter=10)
    expected = 2 * np.pi * theirs.object_phase
    np.testing.assert_allclose(ours.object_phase.data, expected, atol=2e-3 * np.ptp(expected))
    np.testing.assert_allclose(ours.error_iterations, theirs.error_iterations, rtol=1e-3)
    assert ours.error <= ours.error_iterations[-1]


def test_sparse_and_dense_cubes_give_the_same(scan):
    data, _ = scan
    results = [EventDPC(make(data), verbose=False).preprocess() for make in (sparse, dense)]
    np.testing.assert_allclose(results[0].com.data, results[1].com.data, atol=1e-10)


def test_com_is_a_stack_with_units(scan):
    com = EventDPC(sparse(scan[0]), verbose=False).preprocess().com
    assert isinstance(com, py4DSTEM.RealSlice)
    assert (com.shape, com.units) == (SHAPE[:2], "A^-1")
    assert com.data.shape == (2, *SHAPE[:2])
    assert list(com.slicelabels) == ["CoMx", "CoMy"]


def test_results_hang_in_the_cubes_tree(scan):
    cube = dense(scan[0])
    dpc = EventDPC(cube, verbose=False, name="mine").preprocess().reconstruct()
    assert cube.tree("mine_object_phase") is dpc.object_phase
    assert cube.tree("mine_com") is dpc.com
    assert dpc.com.calibration is cube.calibration
    assert cube.calibration.get_Q_pixel_size() == PIXEL
    dpc.reconstruct("iterative", max_iter=2)
    assert cube.tree("mine_object_phase") is dpc.object_phase


def test_results_survive_a_file(scan, tmp_path):
    dpc = EventDPC(dense(scan[0]), verbose=False).preprocess().reconstruct()
    py4DSTEM.save(tmp_path / "dpc.h5", dpc.object_phase, tree=False)
    again = py4DSTEM.read(tmp_path / "dpc.h5")
    assert np.array_equal(again.data, dpc.object_phase.data)


def test_a_measured_field_needs_no_cube():
    rng = np.random.default_rng(0)
    phase = gaussian_filter(rng.normal(size=(40, 33)), 2)
    com = np.gradient(phase)
    dpc = EventDPC(verbose=False)
    options = {"force_com_rotation": 0, "force_com_transpose": False}
    dpc.preprocess(force_com_measured=com, fit_function="constant", **options).reconstruct()
    assert (dpc.com.units, dpc.object_phase.units) == ("pixels", "arbitrary")
    dpc.preprocess(
        force_com_measured=com, force_scan_sampling=0.5, force_reciprocal_sampling=0.02, **options
    )
    assert (dpc.com.units, dpc.reconstruct().object_phase.units) == ("A^-1", "rad")
    assert dpc.object_phase.calibration.get_R_pixel_size() == 0.5


def test_missing_calibrations_are_warned_about(scan):
    cube = py4DSTEM.DataCube(scan[0])
    with pytest.warns(UserWarning, match="not be quantitative") as caught:
        EventDPC(cube).preprocess()
    assert len([w for w in caught if "quantitative" in str(w.message)]) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EventDPC(dense(scan[0])).preprocess()


def test_angular_calibration_needs_the_energy(scan):
    cube = dense(scan[0])
    cube.calibration.set_Q_pixel_size(3.0)
    cube.calibration.set_Q_pixel_units("mrad")
    with pytest.raises(CalibrationError, match="energy"):
        EventDPC(cube).preprocess()
    in_mrad = EventDPC(cube, energy=80e3, verbose=False).preprocess().com.data
    pixel = 3e-3 / 0.0417572  # wavelength at 80 keV [Å]
    forced = EventDPC(cube, verbose=False).preprocess(force_reciprocal_sampling=pixel).com.data
    np.testing.assert_allclose(in_mrad, forced, rtol=1e-4)
    with pytest.raises(CalibrationError, match="keV"):
        EventDPC(cube, energy=80)


def test_given_shifts_are_the_descan(scan):
    data, _ = scan
    options = {"force_com_rotation": 0, "force_com_transpose": False}
    dpc = EventDPC(dense(data), verbose=False)
    numbers = dpc.preprocess(force_com_shifts=(7.6, 9.2), **options).com.data
    vacuum = (np.full(SHAPE[:2], 7.6), np.full(SHAPE[:2], 9.2))
    arrays = dpc.preprocess(force_com_shifts=vacuum, **options).com.data
    assert np.array_equal(numbers, arrays)
    theirs = theirs_on(dense(data), force_com_shifts=vacuum, **options)
    np.testing.assert_allclose(arrays, [theirs._com_x, theirs._com_y], atol=2e-5)


@pytest.mark.parametrize("make", [sparse, dense])
def test_a_vacuum_scan_is_measured_as_the_scan_is(scan, make):
    """Empty patterns of the vacuum are interpolated, hot pixels and masked ones left out."""
    options = {"force_com_rotation": 0, "force_com_transpose": False}
    rows, columns = np.ogrid[: SHAPE[2], : SHAPE[3]]
    drift = np.linspace(-1, 1, SHAPE[0])[:, None, None, None]
    mean = np.exp(-((rows - 7.6 - drift) ** 2 + (columns - 9.2) ** 2) / 9)
    vacuum = np.broadcast_to(100 * mean, SHAPE).astype(np.uint16)
    clean = EventDPC(make(scan[0]), verbose=False).preprocess(
        force_com_shifts=make(vacuum), **options
    )
    expected = SparseDataCube.from_dense(vacuum).get_com()
    by_hand = EventDPC(make(scan[0]), verbose=False)
    by_hand.preprocess(force_com_shifts=expected, **options)
    np.testing.assert_allclose(clean.com.data, by_hand.com.data, atol=1e-12)
    broken = vacuum.copy()
    broken[:, :, 1, 2] = 300
    broken[3, 4] = broken[20, 7:9] = 0
    dpc = EventDPC(make(scan[0]), verbose=False)
    with pytest.warns(EventWarning) as caught:
        dpc.preprocess(force_com_shifts=make(broken), **options)
    texts = [str(warning.message) for warning in caught]
    assert any("(1, 2)" in text for text in texts)
    assert any("3 of 504 patterns of force_com_shifts" in text for text in texts)
    assert np.abs(dpc.com.data - clean.com.data).max() < 0.01 * PIXEL
    with pytest.raises(ParameterError, match="force_com_shifts"):
        by_hand.preprocess(force_com_shifts=make(vacuum[:5]), **options)


def test_a_robust_descan_is_that_of_py4dstem(scan):
    rng = np.random.default_rng(0)
    com = np.stack(np.mgrid[: SHAPE[0], : SHAPE[1]]) * 0.1 + 0.01 * rng.normal(size=(2, 24, 21))
    com[:, 3:5, 4] += 30
    options = {"force_com_rotation": 0, "force_com_transpose": False}
    dpc = EventDPC(verbose=False).preprocess(force_com_measured=com, robust=True, **options)
    fitted = py4DSTEM.process.calibration.fit_origin(tuple(com), robust=True)[:2]
    np.testing.assert_allclose(dpc.com.data, com - fitted, atol=1e-5)
    plain = dpc.preprocess(force_com_measured=com, **options).com.data
    assert np.abs(plain - (com - fitted)).max() > 0.1


def test_empty_patterns_are_interpolated_and_reported(scan):
    data = scan[0].copy()
    full = EventDPC(sparse(data), verbose=False).preprocess(
        force_com_rotation=0, force_com_transpose=False
    )
    data[3, 4] = 0
    data[10:14, 5:9] = 0
    with pytest.warns(EventWarning, match="17 of 504 patterns hold no electrons"):
        dpc = EventDPC(sparse(data), verbose=False).preprocess(
            force_com_rotation=0, force_com_transpose=False
        )
    assert dpc.n_filled == 17
    assert np.isfinite(dpc.com.data).all()
    assert np.isfinite(dpc.reconstruct().object_phase.data).all()
    measured = data.sum(axis=(2, 3)) > 0
    assert np.abs(dpc.com.data - full.com.data)[:, measured].max() < 0.02
    # a measured field says so with NaN
    com = np.where(measured, full.com.data, np.nan)
    with pytest.warns(EventWarning, match="17 of 504"):
        again = EventDPC(verbose=False).preprocess(force_com_measured=com)
    assert np.isfinite(again.com.data).all()


def test_maximize_divergence_and_least_curl_are_different_rules():
    dpc = EventDPC(verbose=False)
    differ = 0
    for seed in range(30):
        com = np.random.default_rng(seed).normal(size=(2, 7, 8))
        with pytest.warns(EventWarning, match="cannot tell"):
            least = dpc.preprocess(force_com_measured=com).transpose
        with pytest.warns(EventWarning, match="cannot tell"):
            most = dpc.preprocess(force_com_measured=com, maximize_divergence=True).transpose
        differ += least != most
    assert differ > 0


@pytest.mark.parametrize(("verbose", "progress_bar"), [(True, True), (True, False), (False, True)])
def test_the_progress_bar_can_be_switched_off(scan, monkeypatch, verbose, progress_bar):
    bars = []
    monkeypatch.setattr(progress, "_tqdm_bar", lambda items, *_: bars.append(1) or items)
    dpc = EventDPC(dense(scan[0]), verbose=verbose).preprocess()
    bars.clear()
    dpc.reconstruct("iterative", max_iter=2, progress_bar=progress_bar)
    assert len(bars) == (verbose and progress_bar)


def test_changes_after_preprocess_start_afresh(scan):
    dpc = EventDPC(sparse(scan[0]), verbose=False).preprocess().reconstruct("iterative", max_iter=3)
    assert len(dpc.error_iterations) == 3
    dpc.reconstruct("iterative", max_iter=3, reset=True)
    assert len(dpc.error_iterations) == 3
    dpc.preprocess()
    with pytest.raises(ParameterError, match="reconstruct"):
        _ = dpc.object_phase


@pytest.mark.parametrize("method", ["direct", "iterative"])
def test_low_pass_and_high_pass_damp(scan, method):
    dpc = EventDPC(sparse(scan[0]), verbose=False).preprocess()
    steps = {"max_iter": 3, "reset": True} if method == "iterative" else {}
    plain = dpc.reconstruct(method, **steps).object_phase.data
    for options in ({"low_pass": 50}, {"high_pass": 0.05}, {"q_lowpass": 0.15}):
        damped = dpc.reconstruct(method, **steps, **options).object_phase.data
        assert damped.std() < 0.95 * plain.std()


class TestFigures:
    @pytest.fixture(autouse=True)
    def closed(self):
        import matplotlib.pyplot as plt

        plt.close("all")
        yield
        plt.close("all")

    def test_visualize_returns_self_and_draws_phase_and_field(self, scan):
        import matplotlib.pyplot as plt

        dpc = EventDPC(sparse(scan[0]), verbose=False).preprocess().reconstruct()
        assert dpc.visualize() is dpc
        fig = plt.gcf()
        titles = [ax.get_title() for ax in fig.axes]
        assert "Reconstructed object phase" in titles
        assert "Centre of mass" in titles
        field = fig.axes[titles.index("Centre of mass")]
        length, unit = field.texts[0].get_text().split()
        ends = (0, field.patches[0].get_width())
        assert (float(length), unit) == (pytest.approx(STEP * np.ptp(ends) / 10), "nm")
        fig.canvas.draw()

    def test_visualize_draws_on_a_given_figure(self, scan):
        import matplotlib.pyplot as plt

        fig = plt.figure()
        dpc = EventDPC(dense(scan[0]), verbose=False).preprocess().reconstruct("iterative")
        dpc.visualize(fig=fig, cbar=False, cmap="gray", vmin=0.1, vmax=0.9)
        assert len(fig.axes) == 6  # with the errors; the electric field needs the energy
        assert len(plt.get_fignums()) == 1

    def test_preprocess_plots(self, scan):
        import matplotlib.pyplot as plt

        dpc = EventDPC(dense(scan[0]), verbose=False)
        dpc.preprocess(plot_center_of_mass="all", plot_rotation=True)
        assert [len(plt.figure(n).axes) for n in plt.get_fignums()] == [1, 6]
        dpc.preprocess(plot_center_of_mass=True)
        assert len(plt.get_fignums()) == 3


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"dp_mask": np.ones((3, 3))}, "mask"),
        ({"fit_function": "spline"}, "'spline'"),
        ({"fit_function": None}, "None"),
        ({"rotation_angles_deg": np.arange(10)}, "closed form"),
        ({"padding_factor": 0.1}, "padding_factor"),
        ({"force_com_rotation": np.inf}, "force_com_rotation"),
        ({"force_com_rotation": "30"}, "force_com_rotation is '30'"),
        ({"padding_factor": "2"}, "padding_factor is '2'"),
        ({"force_scan_sampling": "0.3"}, "force_scan_sampling is '0.3'"),
        ({"force_com_shifts": (np.nan, 0)}, "force_com_shifts"),
        ({"force_com_shifts": (np.zeros((2, 2)), np.zeros((2, 2)))}, "force_com_shifts"),
        ({"force_com_shifts": 3}, "pair"),
        ({"force_com_measured": (np.zeros((5, 6)), np.zeros((5, 6)))}, r"\(5, 6\)"),
        ({"force_com_measured": (np.full(SHAPE[:2], np.inf),) * 2}, "infinity"),
        ({"force_com_measured": (np.full(SHAPE[:2], np.nan),) * 2}, "all 504 patterns are empty"),
        ({"force_com_shifts": (np.full(SHAPE[:2], np.nan),) * 2}, "nothing but NaN"),
        ({"force_com_shifts": (np.full(SHAPE[:2], np.inf),) * 2}, "infinity"),
        ({"force_com_transpose": "no"}, "force_com_transpose is 'no'"),
        ({"force_scan_sampling": -1}, "force_scan_sampling"),
        ({"force_reciprocal_sampling": np.nan}, "force_reciprocal_sampling"),
        ({"force_angular_sampling": 1, "force_reciprocal_sampling": 1}, "Only one"),
    ],
)
def test_wrong_preprocess_arguments(scan, arguments, match):
    with pytest.raises(ValueError, match=match):
        EventDPC(dense(scan[0]), verbose=False).preprocess(**arguments)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"method": "magic"}, "'magic'"),
        ({"step_size": -0.1}, "step_size"),
        ({"low_pass": "0.1"}, "low_pass is '0.1'"),
        ({"method": "iterative", "step_size": "0.5"}, "step_size is '0.5'"),
        ({"max_iter": 0}, "max_iter"),
        ({"q_lowpass": np.inf}, "q_lowpass"),
        ({"low_pass": np.nan}, "low_pass"),
        ({"high_pass": -1.0}, "high_pass"),
        ({"boundary": "wall"}, "'wall'"),
    ],
)
def test_wrong_reconstruct_arguments(scan, arguments, match):
    dpc = EventDPC(dense(scan[0]), verbose=False).preprocess()
    with pytest.raises(ParameterError, match=match):
        dpc.reconstruct(**arguments)


def test_wrong_order_and_wrong_cubes(scan):
    with pytest.raises(ParameterError, match="datacube or force_com_measured"):
        EventDPC(verbose=False).preprocess()
    for call in (lambda d: d.reconstruct(), lambda d: d.visualize(), lambda d: d.com):
        with pytest.raises(ParameterError, match="preprocess"):
            call(EventDPC(dense(scan[0])))
    with pytest.raises(ParameterError, match="ndarray"):
        EventDPC(scan[0])
    with pytest.raises(ParameterError, match="device"):
        EventDPC(device="tpu")
    empty = EventDPC(sparse(np.zeros((3, 4, 5, 6), int)), verbose=False)
    for options in ({}, {"force_com_shifts": (2, 3)}, {"fit_function": "constant"}):
        with pytest.raises(ValueError, match="all 12 patterns are empty"):
            empty.preprocess(**options)
