"""`EventDPC` in a notebook that was written for py4DSTEM's `DPC`: the same keywords and meaning."""

import inspect
import os
import warnings

import matplotlib as mpl
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("py4DSTEM cannot be imported under the CUDA simulator", allow_module_level=True)

import matplotlib.pyplot as plt
import py4DSTEM
from py4DSTEM.process.phase import DPC

from py4dstem_eer.bridge.cube import SparseDataCube
from py4dstem_eer.bridge.dpc import EventDPC
from py4dstem_eer.errors import ParameterError

mpl.use("Agg")
SHAPE = (18, 15)
KNOWN = {"force_com_rotation": 0, "force_com_transpose": False}
#: py4DSTEM's default, ours, and why.
DIFFERENT_DEFAULTS = {
    "plot_center_of_mass": ("default", False),  # scripts and the command line open no windows
    "plot_rotation": (True, False),
}


def field(seed=0):
    """Return a centre of mass (2, Rx, Ry) [px] of a smooth phase, with noise."""
    rng = np.random.default_rng(seed)
    phase = gaussian_filter(rng.normal(size=SHAPE), 2)
    return np.array(np.gradient(phase)) + 0.003 * rng.normal(size=(2, *SHAPE))


def ours(**options):
    zeros = (np.zeros(SHAPE), np.zeros(SHAPE))
    return EventDPC(verbose=False).preprocess(
        force_com_measured=field(), force_com_shifts=zeros, **KNOWN, **options
    )


def theirs():
    zeros = (np.zeros(SHAPE), np.zeros(SHAPE))
    return DPC(verbose=False).preprocess(
        force_com_measured=tuple(field()),
        force_com_shifts=zeros,
        plot_center_of_mass=False,
        plot_rotation=False,
        **KNOWN,
    )


def assert_same_phase(found, expected, atol=2e-3):
    expected = 2 * np.pi * np.asarray(expected)
    np.testing.assert_allclose(found, expected, atol=atol * np.ptp(expected))


@pytest.fixture(autouse=True)
def closed():
    plt.close("all")
    yield
    plt.close("all")


@pytest.mark.parametrize("method", ["preprocess", "reconstruct", "visualize"])
def test_every_keyword_of_py4dstem_is_known_with_its_default(method):
    known = inspect.signature(getattr(EventDPC, method)).parameters
    for name, parameter in inspect.signature(getattr(DPC, method)).parameters.items():
        assert name in known, f"{method}({name}=...)"
        expected = (parameter.default, parameter.default)
        default = (parameter.default, known[name].default)
        assert default == DIFFERENT_DEFAULTS.get(name, expected), f"{method}({name}=...)"
        assert (known[name].kind is inspect.Parameter.VAR_KEYWORD) == (name == "kwargs")


def test_the_cells_of_the_tutorial_run_as_they_stand():
    """As in dpc_01: iterations that are filtered and kept, the grid of them, the curve below."""
    filters = {"gaussian_filter_sigma": 1.5, "gaussian_filter": True}
    expected = theirs().reconstruct(
        max_iter=8, store_iterations=True, reset=True, progress_bar=False, **filters
    )
    dpc = ours()
    dpc.reconstruct(max_iter=8, store_iterations=True, reset=True, **filters)
    dpc.visualize(iterations_grid="auto", plot_convergence=True, cbar=True, figsize=(10, 6))
    assert dpc.object_phase.metadata["parameters"]["method"] == "iterative"
    assert_same_phase(dpc.object_phase.data, expected.object_phase)
    assert len(dpc.object_phase_iterations) == 8
    assert_same_phase(dpc.object_phase_iterations, expected.object_phase_iterations)
    np.testing.assert_allclose(dpc.error_iterations, expected.error_iterations, rtol=1e-3)
    fig = plt.gcf()
    fig.canvas.draw()
    images = [ax for ax in fig.axes if ax.images and ax.get_title()]
    assert [ax.get_title() for ax in images] == [f"Iter: {n} phase" for n in range(8)]
    curve = next(line for ax in fig.axes for line in ax.lines)
    np.testing.assert_array_equal(curve.get_ydata(), dpc.error_iterations)
    assert tuple(fig.get_size_inches()) == (10, 6)


class TestContinuing:
    def test_as_py4dstem_does(self):
        expected = theirs().reconstruct(max_iter=3, progress_bar=False, store_iterations=True)
        expected.reconstruct(reset=False, max_iter=4, progress_bar=False, store_iterations=True)
        dpc = ours().reconstruct(max_iter=3, store_iterations=True)
        dpc.reconstruct(reset=False, max_iter=4, store_iterations=True)
        assert_same_phase(dpc.object_phase.data, expected.object_phase)
        np.testing.assert_allclose(dpc.error_iterations, expected.error_iterations, rtol=1e-3)
        assert len(dpc.object_phase_iterations) == len(expected.object_phase_iterations) == 7

    def test_none_says_so_and_false_does_not(self):
        dpc = ours()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dpc.reconstruct(max_iter=2)
            dpc.reconstruct(max_iter=2, reset=False)
            dpc.reconstruct(max_iter=2, reset=True)
        assert len(dpc.error_iterations) == 2
        with pytest.warns(UserWarning, match="Continuing .* reset=True") as caught:
            dpc.reconstruct(max_iter=3)
        assert caught[0].filename == __file__
        assert len(dpc.error_iterations) == 5

    def test_reset_and_preprocess_and_a_direct_solution_begin_afresh(self):
        first = ours().reconstruct(max_iter=3, store_iterations=True)
        phase = first.object_phase.data
        for between in (
            lambda d: d,
            lambda d: d.preprocess(
                force_com_measured=field(), force_com_shifts=(0.0, 0.0), **KNOWN
            ),
            lambda d: d.reconstruct("direct"),
        ):
            dpc = ours().reconstruct(max_iter=5, store_iterations=True, step_size=0.1)
            between(dpc)
            reset = len(dpc.error_iterations) > 0  # where neither has come between
            dpc.reconstruct(max_iter=3, store_iterations=True, reset=reset)
            np.testing.assert_array_equal(dpc.object_phase.data, phase)
            assert len(dpc.object_phase_iterations) == len(dpc.error_iterations) == 3
        assert dpc.reconstruct("direct").object_phase_iterations == []

    def test_the_step_size_is_kept_unless_given(self):
        dpc = ours().reconstruct(max_iter=12, step_size=3.0)
        halved = dpc._state.step_size
        assert halved < 3
        dpc.reconstruct(max_iter=1, reset=False)
        assert dpc._state.step_size <= halved
        dpc.reconstruct(max_iter=1, reset=False, step_size=0.01)
        assert dpc._state.step_size <= 0.01
        dpc.reconstruct(max_iter=1, reset=True)
        assert dpc._state.step_size == 0.5

    @pytest.mark.parametrize("step_size", [0.5, 3.0])
    @pytest.mark.parametrize("first", range(1, 7))
    @pytest.mark.parametrize("second", range(1, 3))
    def test_stored_images_keep_their_numbers(self, step_size, first, second):
        """Also where a run in between stores none, whichever step is undone."""
        whole = ours().reconstruct(max_iter=9, store_iterations=True, step_size=step_size)
        dpc = ours().reconstruct(max_iter=first, store_iterations=True, step_size=step_size)
        dpc.reconstruct(max_iter=second, reset=False)
        stored = len(dpc._images)
        dpc.reconstruct(max_iter=9 - first - second, reset=False, store_iterations=True)
        np.testing.assert_array_equal(dpc.object_phase.data, whole.object_phase.data)
        numbers = list(dpc._images)
        assert numbers[:stored] == list(range(stored))
        expected = range(len(whole.error_iterations))[stored - len(numbers) :]
        assert numbers[stored:] == list(expected)
        for n, image in dpc._images.items():
            np.testing.assert_array_equal(image, whole.object_phase_iterations[n])

    def test_pictures_have_the_numbers_of_stored_iterations(self):
        dpc = ours().reconstruct(max_iter=2, store_iterations=True)
        dpc.reconstruct(max_iter=3, reset=False)
        dpc.reconstruct(max_iter=2, reset=False, store_iterations=True)
        dpc.visualize(iterations_grid=(2, 2), plot_convergence=False, cbar=False)
        titles = [ax.get_title() for ax in plt.gcf().axes]
        assert titles == [f"Iter: {n} phase" for n in (0, 1, 5, 6)]

    def test_without_storing_the_stored_stay(self):
        dpc = ours().reconstruct(max_iter=2, store_iterations=True)
        dpc.reconstruct(max_iter=2, reset=False)
        assert len(dpc.object_phase_iterations) == 2
        dpc.reconstruct(max_iter=2, reset=True)
        assert dpc.object_phase_iterations == []


class TestFilters:
    def test_are_switched_off_as_in_py4dstem(self):
        settings = {"gaussian_filter_sigma": 2.0, "q_lowpass": 0.2, "max_iter": 4, "reset": True}
        plain = ours().reconstruct(max_iter=4).object_phase.data
        for gaussian in (False, True):
            for butterworth in (False, True):
                switches = {"gaussian_filter": gaussian, "butterworth_filter": butterworth}
                found = ours().reconstruct(**settings, **switches).object_phase.data
                expected = theirs().reconstruct(progress_bar=False, **settings, **switches)
                assert_same_phase(found, expected.object_phase)
                assert np.array_equal(found, plain) == (not (gaussian or butterworth))

    def test_are_switched_off_for_a_direct_solution_too(self):
        settings = {"gaussian_filter_sigma": 2.0, "q_highpass": 0.1}
        off = {"gaussian_filter": False, "butterworth_filter": False}
        plain = ours().reconstruct().object_phase.data
        np.testing.assert_array_equal(
            ours().reconstruct(**settings, **off).object_phase.data, plain
        )
        assert not np.allclose(ours().reconstruct(**settings).object_phase.data, plain)


class TestMethod:
    @pytest.mark.parametrize(
        "setting",
        [
            {"max_iter": 8},
            {"step_size": 0.1},
            {"stopping_criterion": 1e-3},
            {"backtrack": False},
            {"store_iterations": True},
            {"reset": False},
        ],
    )
    def test_a_setting_of_the_iterations_asks_for_them_and_contradicts_direct(self, setting):
        dpc = ours().reconstruct(**setting)
        assert dpc.object_phase.metadata["parameters"]["method"] == "iterative"
        shown = f"{next(iter(setting))}={next(iter(setting.values()))!r}"
        with pytest.raises(ParameterError, match=f'{shown} .*method="iterative"'):
            dpc.reconstruct("direct", **setting)
        with pytest.raises(ParameterError, match=r"boundary='zero'.*padding_factor"):
            dpc.reconstruct(boundary="zero", **setting)

    def test_defaults_fit_both(self):
        neutral = {"max_iter": 64, "step_size": 0.5, "stopping_criterion": 1e-6, "backtrack": True}
        for extra in ({}, {"step_size": None, "reset": True, "progress_bar": False}):
            dpc = ours().reconstruct(**{**neutral, **extra})
            assert dpc.object_phase.metadata["parameters"]["method"] == "direct"
            dpc.reconstruct("direct", boundary="periodic", **{**neutral, **extra})

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"max_iter": True}, "max_iter is True"),
            ({"backtrack": "x"}, "backtrack is 'x'"),
            ({"boundary": None}, "boundary is None"),
            ({"reset": "yes"}, "reset is 'yes'"),
            ({"store_iterations": "all"}, "store_iterations is 'all'"),
            ({"gaussian_filter": "x"}, "gaussian_filter is 'x'"),
            ({"butterworth_filter": None}, "butterworth_filter is None"),
            ({"progress_bar": "x"}, "progress_bar is 'x'"),
            ({"device": "tpu"}, "'tpu'"),
            ({"method": "iterative", "boundary": "zero"}, "boundary='zero'"),
        ],
    )
    def test_wrong_values(self, arguments, match):
        with pytest.raises(ParameterError, match=match):
            ours().reconstruct(**arguments)


class TestPreprocess:
    def test_device_and_cache_are_known(self):
        dpc = ours(device="cpu", clear_fft_cache=True, vectorized_com_calculation=True)
        dpc.reconstruct(device="cpu", clear_fft_cache=False)
        with pytest.raises(ParameterError, match="'tpu'"):
            ours(device="tpu")

    def test_options_of_pictures(self):
        ours(plot_center_of_mass="default", plot_rotation=True, figsize=(5, 3), cmap="gray")
        first, second = (plt.figure(n) for n in plt.get_fignums())
        assert [tuple(fig.get_size_inches()) for fig in (first, second)] == [(5, 3), (5, 3)]
        assert {image.get_cmap().name for ax in second.axes for image in ax.images} == {"gray"}
        ours(plot_center_of_mass=None)
        assert len(plt.get_fignums()) == 2

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"rotation_angles_deg": np.arange(10)}, "closed form.*force_com_rotation"),
            ({"plot_center_of_mass": "some"}, "plot_center_of_mass is 'some'"),
            ({"plot_rotation": "x"}, "plot_rotation is 'x'"),
            ({"figsize": (3, 3)}, "figsize=.*plot_center_of_mass"),
            ({"force_rotation": 3}, "force_rotation=3"),
            ({"maximize_divergence": "x"}, "maximize_divergence is 'x'"),
            ({"robust": "x"}, "robust is 'x'"),
        ],
    )
    def test_wrong_values(self, arguments, match):
        with pytest.raises(ParameterError, match=match):
            ours(**arguments)

    def test_measuring_anew_takes_old_results_out_of_the_tree(self, tmp_path):
        counts = np.random.default_rng(0).poisson(3, (6, 5, 8, 9)).astype(np.uint16)
        cube = SparseDataCube.from_dense(counts)
        cube.calibration.set_R_pixel_size(0.7)
        cube.calibration.set_R_pixel_units("A")
        cube.calibration.set_Q_pixel_size(0.1)
        cube.calibration.set_Q_pixel_units("A^-1")
        dpc = EventDPC(cube, energy=80e3, verbose=False).preprocess(**KNOWN).reconstruct()
        phase = dpc.object_phase
        EventDPC(cube, verbose=False, name="other").preprocess(**KNOWN)
        again = EventDPC(cube, verbose=False)  # the name is the same: so are the results'
        again.preprocess(force_com_measured=counts.sum((2, 3)) * np.ones((2, 1, 1)), **KNOWN)
        left = {n.removeprefix("dpc_reconstruction_") for n in cube.treekeys if "other" not in n}
        assert left == {"com", "curl", "divergence"}  # neither dose nor energy are known
        assert "other_com" in cube.treekeys
        assert phase.calibration.get_R_pixel_size() == 0.7
        again.reconstruct()
        assert cube.tree("dpc_reconstruction_object_phase") is again.object_phase
        py4DSTEM.save(tmp_path / "old.h5", phase, tree=False)
        py4DSTEM.save(tmp_path / "all.h5", cube, tree=None)

    def test_a_failure_leaves_what_was_there(self):
        dpc = ours().reconstruct()
        phase = dpc.object_phase
        with pytest.raises(ParameterError):
            dpc.preprocess(force_com_measured=field(), fit_function="spline")
        assert dpc.object_phase is phase


class TestVisualize:
    def titles(self):
        return [ax.get_title() for ax in plt.gcf().axes if ax.get_title()]

    def test_the_curve_is_under_the_phase(self):
        dpc = ours().reconstruct(max_iter=5).visualize()
        fig = plt.gcf()
        fig.canvas.draw()
        phase = next(ax for ax in fig.axes if ax.get_title() == "Reconstructed object phase")
        curve = next(ax for ax in fig.axes if ax.lines and ax.get_yscale() == "log")
        np.testing.assert_array_equal(curve.lines[0].get_ydata(), dpc.error_iterations)
        assert curve.get_tightbbox().y1 < phase.get_tightbbox().y0
        boxes = [ax.get_tightbbox() for ax in fig.axes]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])

    def test_no_curve_without_iterations_or_wish(self):
        ours().reconstruct().visualize(plot_convergence=True)
        assert all(ax.get_yscale() == "linear" for ax in plt.gcf().axes)
        ours().reconstruct(max_iter=2).visualize(plot_convergence=False)
        assert all(ax.get_yscale() == "linear" for ax in plt.gcf().axes)

    @pytest.mark.parametrize(
        ("n", "grid", "expected"),
        [
            (20, "auto", [0, 3, 5, 8, 11, 14, 16, 19]),
            (5, "auto", [0, 1, 3, 4]),
            (2, "auto", [0, 1]),
            (5, (1, 3), [0, 2, 4]),
            (3, (1, 1), [0]),
        ],
    )
    def test_grids(self, n, grid, expected):
        dpc = ours().reconstruct(max_iter=n, store_iterations=True)
        assert dpc.visualize(None, grid, False, False, cmap="gray") is dpc
        assert self.titles() == [f"Iter: {i} phase" for i in expected]
        assert all(ax.images[0].get_cmap().name == "gray" for ax in plt.gcf().axes)

    def test_a_single_iteration_is_the_last(self):
        ours().reconstruct(max_iter=1, store_iterations=True).visualize(iterations_grid="auto")
        assert "Reconstructed object phase" in self.titles()

    @pytest.mark.parametrize(
        ("settings", "grid", "match"),
        [
            ({}, "auto", "store_iterations=True"),
            ({"max_iter": 3}, (1, 2), "store_iterations=True"),
            ({"max_iter": 3, "store_iterations": True}, (2, 2), "4 images; 3 iterations"),
            ({"max_iter": 3, "store_iterations": True}, "all", "'all'"),
            ({"max_iter": 3, "store_iterations": True}, 3, "iterations_grid is 3"),
            ({"max_iter": 3, "store_iterations": True}, (0, 2), "iterations_grid is 0"),
        ],
    )
    def test_wrong_grids(self, settings, grid, match):
        dpc = ours().reconstruct(**settings)
        with pytest.raises(ParameterError, match=match):
            dpc.visualize(iterations_grid=grid)
