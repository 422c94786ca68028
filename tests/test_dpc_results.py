"""What follows from the centre of mass: curl, divergence, electric field, dose; and hot pixels."""

import os

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("py4DSTEM cannot be imported under the CUDA simulator", allow_module_level=True)

import py4DSTEM
import reference

from py4dstem_eer import EventStore
from py4dstem_eer.bridge.cube import SparseDataCube
from py4dstem_eer.bridge.dpc import EventDPC
from py4dstem_eer.errors import CalibrationError, EventWarning, ParameterError
from py4dstem_eer.methods.field import (
    curl_and_divergence,
    electric_field,
    interaction_parameter,
)
from py4dstem_eer.methods.hot_pixels import find_hot_pixels, sample_pattern
from py4dstem_eer.simulate import simulate_events

mpl.use("Agg")
ENERGY, STEP = 80e3, 0.5
SHAPE = (30, 26)
KNOWN = {"force_com_rotation": 0, "force_com_transpose": False}


def potential():
    """A broad hill of projected potential [V Å] off the middle, and its field −∇V [V]."""
    x, y = np.meshgrid(*(STEP * np.arange(n) for n in SHAPE), indexing="ij")
    hill = 6000 * np.exp(-((x - 6) ** 2 + (y - 7) ** 2) / (2 * 4.0**2))
    return hill, np.stack([hill * (x - 6), hill * (y - 7)]) / 4.0**2


def seen_by_the_probe(field):
    """The field convolved with the intensity of the probe, on the periodic scan."""
    k = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, STEP) for n in SHAPE), indexing="ij"))
    probe = np.abs(np.fft.ifft2(reference.wavelength(ENERGY) * k <= 25e-3)) ** 2
    transfer = np.fft.fft2(probe / probe.sum())
    return np.fft.ifft2(np.fft.fft2(field) * transfer).real


@pytest.fixture(scope="module")
def hill():
    """A cube of events that a known potential deflects."""
    volts, _ = potential()
    events, truth = simulate_events(
        interaction_parameter(ENERGY) * volts,
        STEP,
        energy=ENERGY,
        electrons_per_pattern=6000,
        detector_shape=(100, 90),
        flyback=False,
        window=48,
    )
    cube = SparseDataCube(events)
    cube.calibration.set_R_pixel_size(STEP)
    cube.calibration.set_R_pixel_units("A")
    cube.calibration.set_Q_pixel_size(truth.reciprocal_pixel)
    cube.calibration.set_Q_pixel_units("A^-1")
    return cube, truth


@pytest.fixture
def dpc(hill):
    cube, truth = hill
    # a constant descan, the true one: the mean field is part of the specimen's
    dpc = EventDPC(cube.copy(), energy=ENERGY, verbose=False)
    return dpc.preprocess(force_com_shifts=truth.disk_center, **KNOWN)


class TestElectricField:
    def test_interaction_parameter_is_that_of_the_tables(self):
        # Kirkland, Advanced Computing in Electron Microscopy, table 5.1 [rad / (kV Å)]
        for energy, expected in ((80e3, 1.0087), (100e3, 0.9244), (200e3, 0.7288), (300e3, 0.6526)):
            assert 1e3 * interaction_parameter(energy) == pytest.approx(expected, rel=3e-4)

    def test_is_the_classical_force_over_the_time_of_flight(self):
        """p = h CoM = −e E t / v, all from constants of nature."""
        h, m, c, e = 6.62607015e-34, 9.1093837015e-31, 299792458.0, 1.602176634e-19
        gamma = 1 + ENERGY * e / (m * c * c)
        speed = c * np.sqrt(1 - 1 / gamma**2)
        com = np.array([0.01, -0.02])[:, None, None]  # 1/Å
        expected = -h * (com * 1e10) * speed / (e * 50e-10) * 1e-10  # V/Å
        np.testing.assert_allclose(electric_field(com, ENERGY, 50.0), expected, rtol=1e-6)

    def test_is_that_of_the_simulated_potential(self, dpc):
        field = dpc.electric_field(components=True)
        assert (field.units, list(field.slicelabels)) == ("V", ["Ex", "Ey"])
        expected = seen_by_the_probe(potential()[1])
        inner = np.s_[:, 4:-4, 4:-4]  # the simulation is periodic, the hill is not
        found, truth = field.data[inner].ravel(), expected[inner].ravel()
        assert (found @ truth) / (truth @ truth) == pytest.approx(1, abs=0.03)
        assert np.corrcoef(found, truth)[0, 1] > 0.98

    def test_magnitude_and_thickness(self, dpc):
        stack = dpc.electric_field(components=True).data
        projected = dpc.electric_field()
        assert (projected.shape, projected.units) == (SHAPE, "V")
        np.testing.assert_allclose(projected.data, np.hypot(*stack))
        mean = dpc.electric_field(thickness=40.0)
        assert mean.units == "V/A"
        assert mean.metadata["parameters"]["thickness"] == 40
        assert projected.metadata["parameters"]["thickness"] is None
        np.testing.assert_allclose(mean.data, projected.data / 40)
        assert dpc._datacube.tree("dpc_reconstruction_electric_field") is mean

    @pytest.mark.parametrize("thickness", [0, -1.0, np.nan, np.inf, "thin", True])
    def test_wrong_thickness(self, dpc, thickness):
        with pytest.raises(ParameterError, match="thickness"):
            dpc.electric_field(thickness)

    def test_needs_energy_and_calibration(self, hill):
        field = hill[0].copy()
        with pytest.raises(CalibrationError, match="energy"):
            EventDPC(field, verbose=False).preprocess(**KNOWN).electric_field()
        field.calibration.set_Q_pixel_units("pixels")
        with pytest.raises(CalibrationError, match="detector pixel"):
            EventDPC(field, ENERGY, verbose=False).preprocess(**KNOWN).electric_field()
        with pytest.raises(ParameterError, match="preprocess"):
            EventDPC(field, ENERGY, verbose=False).electric_field()


class TestCurlAndDivergence:
    def test_of_a_rotation_and_of_an_expansion(self):
        x, y = np.meshgrid(0.5 * np.arange(5), 0.25 * np.arange(7), indexing="ij")
        curl, divergence = curl_and_divergence(np.stack([-3 * y, 3 * x]), (0.5, 0.25))
        np.testing.assert_allclose(curl, 6)
        np.testing.assert_allclose(divergence, 0, atol=1e-12)
        curl, divergence = curl_and_divergence(np.stack([2 * x, 5 * y]), (0.5, 0.25))
        np.testing.assert_allclose(curl, 0, atol=1e-12)
        np.testing.assert_allclose(divergence, 7)

    def test_an_axis_of_one_position_has_no_slope(self):
        curl, divergence = curl_and_divergence(np.ones((2, 1, 4)) * np.arange(4))
        np.testing.assert_array_equal(curl, np.full((1, 4), -1.0))
        np.testing.assert_array_equal(divergence, np.ones((1, 4)))

    def test_divergence_is_the_laplacian_of_the_phase(self, dpc):
        """And the curl of a phase object's field is noise beside it."""
        hill, _ = potential()
        phase = interaction_parameter(ENERGY) * hill
        laplacian = sum(np.gradient(np.gradient(phase, STEP, axis=a), STEP, axis=a) for a in (0, 1))
        inner = np.s_[4:-4, 4:-4]
        found = 2 * np.pi * dpc.divergence.data[inner].ravel()
        truth = laplacian[inner].ravel()
        assert (found @ truth) / (truth @ truth) == pytest.approx(1, abs=0.1)
        assert dpc.curl.data[inner].std() < 0.5 * dpc.divergence.data[inner].std()

    @pytest.mark.parametrize(
        ("sampling", "units"),
        [
            ({}, "1"),
            ({"force_scan_sampling": 0.5}, "pixels/A"),
            ({"force_reciprocal_sampling": 0.1}, "A^-1/pixel"),
            ({"force_scan_sampling": 0.5, "force_reciprocal_sampling": 0.1}, "A^-2"),
        ],
    )
    def test_units_and_values_go_with_the_calibration(self, sampling, units):
        com = np.random.default_rng(0).normal(size=(2, 6, 5))
        dpc = EventDPC(verbose=False).preprocess(force_com_measured=com, **KNOWN, **sampling)
        assert dpc.curl.units == dpc.divergence.units == units
        plain = EventDPC(verbose=False).preprocess(force_com_measured=com, **KNOWN)
        factor = sampling.get("force_reciprocal_sampling", 1) / sampling.get(
            "force_scan_sampling", 1
        )
        np.testing.assert_allclose(dpc.curl.data, factor * plain.curl.data)
        np.testing.assert_allclose(dpc.divergence.data, factor * plain.divergence.data)


class TestDose:
    def test_is_the_number_of_electrons(self, dpc, hill):
        electrons = np.diff(hill[0].events.indptr)
        if hill[0].events.counts is not None:
            electrons = np.add.reduceat(
                hill[0].events.counts.astype(int), hill[0].events.indptr[:-1]
            )
        assert dpc.dose.units == "electrons"
        np.testing.assert_array_equal(dpc.dose.data.ravel(), electrons)

    def test_of_a_given_field_must_be_given(self):
        com = np.random.default_rng(0).normal(size=(2, 6, 5))
        dpc = EventDPC(verbose=False).preprocess(force_com_measured=com, **KNOWN)
        with pytest.raises(ParameterError, match="force_dose"):
            _ = dpc.dose
        dose = np.full((6, 5), 7.0)
        dose[2, 3] = 0
        with pytest.warns(EventWarning, match="1 of 30 patterns"):
            dpc.preprocess(force_com_measured=com, force_dose=dose, **KNOWN)
        np.testing.assert_array_equal(dpc.dose.data, dose)
        for wrong in (np.ones((5, 6)), np.full((6, 5), -1.0), np.full((6, 5), np.nan)):
            with pytest.raises(ParameterError, match="force_dose"):
                dpc.preprocess(force_com_measured=com, force_dose=wrong, **KNOWN)


def test_all_results_are_saved_and_read_by_name(dpc, tmp_path):
    dpc.reconstruct()
    py4DSTEM.save(tmp_path / "all.h5", dpc._datacube, tree=None, mode="o")
    again = py4DSTEM.read(tmp_path / "all.h5")
    for name, units in (
        ("com", "A^-1"),
        ("curl", "A^-2"),
        ("divergence", "A^-2"),
        ("dose", "electrons"),
        ("electric_field", "V"),
        ("object_phase", "rad"),
    ):
        read = again.tree(f"dpc_reconstruction_{name}")
        np.testing.assert_array_equal(read.data, dpc._results[name].data)
        assert read.metadata["parameters"]["units"] == units
        assert read.calibration.get_R_pixel_units() == "A"


def test_visualize_shows_all_and_labels_do_not_collide(dpc):
    import matplotlib.pyplot as plt

    dpc.reconstruct().visualize()
    fig = plt.gcf()
    fig.canvas.draw()
    titles = {ax.get_title() for ax in fig.axes}
    assert titles == {
        *("Reconstructed object phase", "Centre of mass", "Electric field"),
        *("Divergence", "Curl", "Dose"),
    }
    assert fig.get_suptitle() == ""  # of a direct solution there are no iterations to judge
    boxes = [ax.get_tightbbox() for ax in fig.axes]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
    dpc.reconstruct("iterative", max_iter=2).visualize()
    assert "squared error" in plt.gcf().get_suptitle()
    plt.close("all")


@pytest.mark.parametrize("shape", [(64, 60), (20, 31)])
def test_the_first_drawing_has_room_for_all_labels(shape):
    """A file gets the first one, whose layout is not yet right for colour bars beside images."""
    import matplotlib.pyplot as plt

    com = np.random.default_rng(0).normal(size=(2, *shape))
    sampling = {"force_scan_sampling": 0.4, "force_reciprocal_sampling": 0.02}
    dpc = EventDPC(energy=ENERGY, verbose=False).preprocess(
        force_com_measured=com, force_dose=np.full(shape, 1e4), **sampling, **KNOWN
    )
    dpc.reconstruct().visualize()
    fig = plt.gcf()
    fig.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in fig.axes]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= fig.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[:i])
    plt.close("all")


@pytest.mark.parametrize(("step", "label"), [(None, "10 px"), (0.5, "0.5 nm")])
def test_axes_and_scale_bar_say_pixels_or_lengths(step, label):
    import matplotlib.pyplot as plt

    com = np.random.default_rng(0).normal(size=(2, 20, 61))
    dpc = EventDPC(verbose=False).preprocess(
        force_com_measured=com, force_scan_sampling=step, **KNOWN
    )
    units = "pixels" if step is None else "A"
    for result in dpc._results.values():
        parameters = result.metadata["parameters"]
        assert parameters["pixel_size"] == (None if step is None else (step, step))
        assert parameters["pixel_units"] == result.dim_units[0] == units
    dpc.reconstruct().visualize()
    texts = [text.get_text() for ax in plt.gcf().axes for text in ax.texts]
    assert texts == [label]
    plt.close("all")


@pytest.mark.parametrize("shape", [(1, 90), (90, 2)])
def test_a_scan_of_few_rows_is_stretched_to_be_seen(shape):
    import matplotlib.pyplot as plt

    com = np.random.default_rng(0).normal(size=(2, *shape))
    dpc = EventDPC(verbose=False).preprocess(
        force_com_measured=com, fit_function="constant", plot_center_of_mass=True, **KNOWN
    )
    dpc.reconstruct().visualize(cbar=False)
    for number in plt.get_fignums():
        fig = plt.figure(number)
        fig.canvas.draw()
        for ax in fig.axes:
            box = ax.get_window_extent()
            ratio = box.height / box.width
            assert ratio == pytest.approx(0.2 if shape[0] == 1 else 5, rel=0.02)
    plt.close("all")


class TestHotPixels:
    def counts(self, hot=()):
        rng = np.random.default_rng(0)
        rows, columns = np.ogrid[:24, :26]
        disk = (np.hypot(rows - 11, columns - 14) < 6) * 0.6
        data = rng.poisson(np.broadcast_to(disk, (14, 12, 24, 26)))
        for pixel in hot:
            data[:, :, pixel[0], pixel[1]] += 9
        return data

    def test_are_found_where_they_are(self):
        pixels = [(2, 3), (11, 14), (23, 25)]
        hot = find_hot_pixels(self.counts(pixels).sum((0, 1)))
        assert [tuple(p) for p in np.argwhere(hot)] == pixels
        mean = find_hot_pixels(self.counts(pixels).mean((0, 1)))
        np.testing.assert_array_equal(mean, hot)

    @settings(max_examples=40, deadline=None)
    @given(dose=st.floats(1e-3, 1e4), width=st.floats(0.7, 9), seed=st.integers(0, 99))
    def test_noise_and_sharp_beams_are_not_hot(self, dose, width, seed):
        rows, columns = np.ogrid[:20, :23]
        beam = np.exp(-((rows - 9.2) ** 2 + (columns - 11.4) ** 2) / (2 * width**2))
        pattern = np.random.default_rng(seed).poisson(dose * (beam + 0.01))
        assert not find_hot_pixels(pattern).any()

    def test_a_beam_in_one_pixel_is_the_beam(self):
        pattern = np.zeros((9, 9))
        pattern[4, 4] = 1e6
        assert not find_hot_pixels(pattern).any()
        assert not find_hot_pixels(np.zeros((9, 9))).any()
        assert not find_hot_pixels(np.eye(3)).any()

    @pytest.mark.parametrize("make", [SparseDataCube.from_dense, py4DSTEM.DataCube])
    def test_do_not_move_the_centre_of_mass(self, make):
        clean = EventDPC(make(self.counts()), verbose=False).preprocess(
            fit_function="constant",
            dp_mask=~find_hot_pixels(self.counts([(2, 3)]).sum((0, 1))),
            **KNOWN,
        )
        with pytest.warns(EventWarning, match=r"1 hot pixels.*\(2, 3\)"):
            dpc = EventDPC(make(self.counts([(2, 3)])), verbose=False).preprocess(
                fit_function="constant", **KNOWN
            )
        np.testing.assert_allclose(dpc.com.data, clean.com.data, atol=1e-12)
        np.testing.assert_array_equal(dpc.dose.data, clean.dose.data)
        assert dpc.com.metadata["parameters"]["hot_pixels_left_out"] == 1
        kept = EventDPC(make(self.counts([(2, 3)])), verbose=False).preprocess(
            fit_function="constant", hot_pixels="keep", **KNOWN
        )
        assert np.abs(kept.com.data - clean.com.data).max() > 0.1

    def test_real_valued_data_have_no_hot_pixels(self):
        data = self.counts([(2, 3)]) * 0.37
        EventDPC(py4DSTEM.DataCube(data), verbose=False).preprocess(**KNOWN)  # no warning

    def test_wrong_option(self):
        with pytest.raises(ParameterError, match="'drop'"):
            EventDPC(SparseDataCube.from_dense(self.counts()), verbose=False).preprocess(
                hot_pixels="drop"
            )

    def test_a_sample_is_spread_over_the_scan_and_stops_when_it_has_seen_enough(self):
        data = np.zeros((16, 3, 1, 16), int)
        for row in range(16):
            data[row, :, 0, row] = 1
        np.testing.assert_array_equal(
            sample_pattern(EventStore.from_dense(data)), np.full((1, 16), 3)
        )
        seen = np.flatnonzero(sample_pattern(EventStore.from_dense(10**6 * data)))
        assert list(seen) == [0, 2, 4, 6, 8, 10, 12, 14]
