"""SSB from events against py4DSTEM, the slow dense reference, and simulated truth."""

from __future__ import annotations

import warnings

import numpy as np
import py4DSTEM
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from py4dstem_eer.bridge.cube import SparseDataCube
from py4dstem_eer.bridge.ssb import EventSSB
from py4dstem_eer.errors import (
    CalibrationError,
    DeviceError,
    EventError,
    EventWarning,
    ParameterError,
)
from py4dstem_eer.optics import POLAR_SYMBOLS, wavelength
from py4dstem_eer.simulate import nanotube_phase, simulate_events

pytestmark = pytest.mark.filterwarnings("ignore:the scan step:UserWarning")

ENERGY, SEMIANGLE = 80e3, 25.0
RADIUS, CENTER = 6.3, (7, 7)  # of the bright-field disk [px]
PIXEL = SEMIANGLE * 1e-3 / wavelength(ENERGY) / RADIUS

_SIZES = {"1": 60.0, "2": 1e3, "3": 3e4, "4": 1e6, "5": 3e7}
ALL_ABERRATIONS = {
    s: 0.4 * i % 3.0 if s.startswith("phi") else _SIZES[s[1]] * (0.5 + 0.1 * i)
    for i, s in enumerate(POLAR_SYMBOLS)
}


def counts(scan, detector, seed=0):
    return np.random.default_rng(seed).poisson(2.0, (*scan, *detector)).astype(np.uint16)


def calibrated(cube, step=0.4, pixel=PIXEL):
    cube.calibration.set_R_pixel_size(step)
    cube.calibration.set_R_pixel_units("A")
    cube.calibration.set_Q_pixel_size(pixel)
    cube.calibration.set_Q_pixel_units("A^-1")
    return cube


def preprocessed(
    data, center, rotation=0.0, transpose=False, step=0.4, device="cpu", **aberrations
):
    cube = calibrated(SparseDataCube.from_dense(data), step)
    ssb = EventSSB(ENERGY, cube, SEMIANGLE, verbose=False, device=device, **aberrations)
    return ssb.preprocess(
        detector_size=None,
        center=center,
        bf_radius=RADIUS,
        force_com_rotation=rotation,
        force_com_transpose=transpose,
    )


def py4dstem_ssb(cube, center, rotation, transpose, **aberrations):
    dense = cube.to_dense(np.float32)
    shifts = tuple(np.full(cube.Rshape, float(c)) for c in center)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ssb = py4DSTEM.process.phase.SSB(
            ENERGY, dense, SEMIANGLE, rolloff=0, verbose=False, polar_parameters=aberrations
        )
        ssb.preprocess(
            crop_around_bf_disk=False,
            force_com_shifts=shifts,
            force_com_rotation=rotation,
            force_com_transpose=transpose,
            plot_center_of_mass=False,
            plot_rotation=False,
            plot_overlap_trotters=False,
            vectorized_com_calculation=True,
        )
        return ssb.reconstruct(progress_bar=False, num_jobs=1)


def phase_difference(a, b):
    return np.abs(np.angle(np.exp(1j * (np.angle(a) - np.angle(b))))).max()


@pytest.mark.parametrize(
    ("scan", "step"),
    [((13, 17), 0.4), ((12, 16), 0.4), ((12, 17), 0.6), ((13, 10), 0.6), ((2, 7), 0.5)],
)
@pytest.mark.parametrize(("rotation", "transpose"), [(0, False), (23, False), (-140, True)])
@pytest.mark.parametrize(
    "aberrations", [{}, {"C10": -150.0}, ALL_ABERRATIONS], ids=["0", "1", "25"]
)
def test_phase_equals_py4dstem(scan, step, rotation, transpose, aberrations):
    data, center = counts(scan, (16, 18)), (8, 9)
    ours = preprocessed(data, center, rotation, transpose, step, **aberrations)
    ours.reconstruct(sideband="both", triple_overlap=True, weighting="sum")
    theirs = py4dstem_ssb(
        calibrated(SparseDataCube.from_dense(data), step),
        center,
        rotation,
        transpose,
        **aberrations,
    )
    assert phase_difference(ours.object, theirs.object) <= 1e-5
    np.testing.assert_allclose(np.abs(ours.object), np.abs(theirs.object), atol=2e-6)
    np.testing.assert_allclose(ours.probe_fourier, np.roll(theirs.probe_fourier, 0), atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    scan=st.tuples(st.integers(2, 7), st.integers(2, 7)),
    rotation=st.floats(-180, 180),
    transpose=st.booleans(),
    triple=st.booleans(),
    seed=st.integers(0, 99),
)
def test_both_is_the_mean_of_left_and_right(scan, rotation, transpose, triple, seed):
    ssb = preprocessed(counts(scan, (14, 15), seed), (7, 7), rotation, transpose, 0.6, C10=80.0)
    spectra = {}
    for sideband in ("both", "left", "right"):
        image = ssb.reconstruct(sideband, triple, "sum").object
        spectra[sideband] = (2 - np.abs(image)) * np.exp(1j * np.angle(image))
    mean = (spectra["left"] + spectra["right"]) / 2
    np.testing.assert_allclose(spectra["both"], mean, atol=2e-6)


def test_redrawing_gives_what_a_fresh_start_gives():
    data = counts((6, 7), (14, 15))
    ssb = preprocessed(data, (7, 7), C10=50.0)
    first = ssb.reconstruct().object
    ssb.reconstruct(C10=-70.0, C12=20.0)
    again = ssb.reconstruct(C10=50.0).object
    np.testing.assert_array_equal(first, again)


def test_events_streamed_from_disk_and_dense_arrays_give_the_same(tmp_path):
    data = counts((6, 7), (14, 15))
    cube = calibrated(SparseDataCube.from_dense(data))
    py4DSTEM.save(str(tmp_path / "events.h5"), cube)
    streamed = py4DSTEM.read(str(tmp_path / "events.h5"), mem="MEMMAP")
    assert not streamed.events.in_memory
    dense = calibrated(py4DSTEM.DataCube(data.astype(np.float32)))
    results = [
        EventSSB(ENERGY, c, SEMIANGLE, verbose=False)
        .preprocess(6, (7, 7), RADIUS, 0, False)
        .reconstruct(defocus=30)
        .object
        for c in (cube, streamed, dense)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_allclose(results[0], results[2], atol=1e-6)


def test_a_pixel_with_more_counts_than_a_byte_holds_is_not_wrapped():
    data = counts((5, 6), (14, 15))
    data[2, 3, 7, 7] = 1000
    ours = preprocessed(data, (7, 7)).reconstruct(triple_overlap=True).object
    theirs = py4dstem_ssb(calibrated(SparseDataCube.from_dense(data)), (7, 7), 0, False)
    assert phase_difference(ours, theirs.object) <= 1e-5


@pytest.fixture(scope="module")
def specimen():
    return nanotube_phase((64, 64), 0.32, energy=ENERGY)


@pytest.mark.parametrize(
    ("aberrations", "rotation", "transpose"),
    [
        ({}, 0.0, False),
        ({}, 0.3, True),
        ({"defocus": 60.0, "C12": 25.0, "phi12": 0.5}, -0.4, False),
    ],
    ids=["in focus", "rotated and transposed", "aberrated and rotated"],
)
def test_at_400_electrons_the_phase_is_at_least_as_true_as_py4dstems(
    specimen, aberrations, rotation, transpose
):
    events, truth = simulate_events(
        specimen,
        0.32,
        energy=ENERGY,
        semiangle=SEMIANGLE,
        aberrations=aberrations,
        electrons_per_pattern=400,
        rotation=rotation,
        transpose=transpose,
        flyback=False,
        seed=1,
    )
    degrees = float(np.rad2deg(rotation))
    binned = binned_cube(events, truth, side=19)
    ours = EventSSB(ENERGY, binned, SEMIANGLE, verbose=False, **aberrations)
    ours.preprocess(None, (10, 10), 9.5, degrees, transpose).reconstruct(triple_overlap=True)
    theirs = py4dstem_ssb(binned, (10, 10), degrees, transpose, **aberrations)
    correlations = [
        np.corrcoef(np.angle(o).ravel(), truth.visible_phase().ravel())[0, 1]
        for o in (ours.object, theirs.object)
    ]
    assert correlations[0] >= correlations[1] - 1e-4
    assert correlations[0] > 0.4


def binned_cube(events, truth, side):
    from py4dstem_eer.detector import centred_map

    pixels_per_bin = 2 * truth.disk_radius / side
    square = centred_map(events.detector_shape, truth.disk_center, pixels_per_bin, side + 2)
    cube = SparseDataCube(events.mapped(square))
    return calibrated(cube, truth.pixel, truth.reciprocal_pixel * pixels_per_bin)


def test_wrong_rotation_or_defocus_lowers_the_correlation(specimen):
    events, truth = simulate_events(
        specimen, 0.32, aberrations={"defocus": 90.0}, rotation=0.7, flyback=False,
        electrons_per_pattern=2000, seed=2,
    )  # fmt: skip
    cube = calibrated(SparseDataCube(events), 0.32, truth.reciprocal_pixel)

    def correlation(rotation, defocus):
        ssb = EventSSB(ENERGY, cube, SEMIANGLE, verbose=False, defocus=defocus)
        ssb.preprocess(force_com_rotation=rotation, force_com_transpose=False).reconstruct()
        return np.corrcoef(ssb.object_phase.data.ravel(), truth.visible_phase().ravel())[0, 1]

    right = correlation(np.rad2deg(0.7), 90.0)
    assert right > correlation(np.rad2deg(-0.7), 90.0) + 0.1
    assert right > correlation(np.rad2deg(0.7), -90.0) + 0.1
    assert right > correlation(np.rad2deg(0.7), 0.0) + 0.05


def test_geometry_is_measured_when_it_is_not_given(specimen):
    events, truth = simulate_events(
        specimen, 0.32, rotation=0.35, transpose=True, electrons_per_pattern=4000, flyback=False
    )
    cube = SparseDataCube(events)
    cube.calibration.set_R_pixel_size(0.032)
    cube.calibration.set_R_pixel_units("nm")
    ssb = EventSSB(ENERGY, cube, SEMIANGLE, verbose=False).preprocess()
    np.testing.assert_allclose(ssb.disk.center, truth.disk_center, atol=0.3)
    assert ssb.disk.radius == pytest.approx(truth.disk_radius, rel=3e-3)
    assert np.rad2deg(ssb.geometry.rotation) == pytest.approx(np.rad2deg(0.35), abs=3)
    assert ssb.geometry.transpose is True
    assert ssb.geometry.scan_step == pytest.approx((0.32, 0.32))
    angle_known = calibrated(SparseDataCube(events), 0.32, truth.reciprocal_pixel)
    free = EventSSB(ENERGY, angle_known, verbose=False).preprocess(
        force_com_rotation=0, force_com_transpose=False
    )
    assert free.geometry.semiangle == pytest.approx(SEMIANGLE, rel=3e-3)


def test_results_have_units_and_hang_in_the_tree():
    data = counts((6, 7), (14, 15))
    ssb = preprocessed(data, (7, 7), step=0.5).reconstruct(defocus=20.0)
    phase = ssb.object_phase
    assert type(phase) is py4DSTEM.RealSlice
    assert phase.units == "rad"
    assert phase.dim_units[0] == "A"
    np.testing.assert_allclose(phase.dims[1], np.arange(7) * 0.5)
    np.testing.assert_allclose(phase.data, np.angle(ssb.object), atol=1e-6)
    assert ssb._datacube.tree("ssb_reconstruction_object_phase") is phase
    assert phase.metadata["parameters"]["aberrations"]["C10"] == -20.0
    assert ssb.object.dtype == np.complex64
    amplitude = ssb.object_amplitude
    assert amplitude.units == "1"


def test_units_and_axes_survive_a_file(tmp_path):
    ssb = preprocessed(counts((6, 7), (14, 15)), (7, 7), step=0.5).reconstruct(defocus=20.0)
    py4DSTEM.save(str(tmp_path / "results.h5"), ssb._datacube)
    phase = py4DSTEM.read(str(tmp_path / "results.h5")).tree("ssb_reconstruction_object_phase")
    assert phase.units == "rad"
    assert phase.dim_units[:2] == ("A", "A")
    np.testing.assert_allclose(phase.dims[1], np.arange(7) * 0.5)


def test_trotters_are_the_strongest_frequencies():
    data = counts((6, 7), (14, 15)).astype(float)
    wave = 1 + 0.5 * np.cos(2 * np.pi * (np.arange(6)[:, None] / 6 + 2 * np.arange(7) / 7))
    data = np.rint(10 * data * wave[:, :, None, None]).astype(np.uint16)
    ssb = preprocessed(data, (7, 7), step=0.6)
    trotters = ssb.trotters(3)
    assert trotters.data.shape == (3, 14, 15)
    power = (np.abs(trotters.data) ** 2).sum((1, 2))
    assert np.all(np.diff(power) <= 0)
    labels = list(trotters.slicelabels)
    qx, qy = 1 / (6 * 0.6), 2 / (7 * 0.6)
    assert labels[0] in (f"Q = ({qx:.4f}, {qy:.4f}) A^-1", f"Q = ({-qx:.4f}, {-qy:.4f}) A^-1")
    g = np.fft.fft2(data, axes=(0, 1))
    sign = 1 if labels[0].startswith("Q = (0") else -1
    expected = g[sign, 2 * sign]
    inside = trotters.data[0] != 0
    np.testing.assert_allclose(trotters.data[0][inside], expected[inside], rtol=1e-4, atol=0.1)


def test_chosen_trotters_carry_their_frequencies(tmp_path):
    ssb = preprocessed(counts((6, 7), (14, 15)), (7, 7), step=0.6, defocus=200.0)
    chosen = ssb.trotters(frequencies=[(1, 2), (-1, 2)])
    parameters = chosen.metadata["parameters"]
    assert parameters["frequencies"].tolist() == [[1, 2], [-1, 2]]
    np.testing.assert_allclose(parameters["Q"], [[1 / 3.6, 2 / 4.2], [-1 / 3.6, 2 / 4.2]])
    assert list(chosen.slicelabels) == ["Q = (0.2778, 0.4762) A^-1", "Q = (-0.2778, 0.4762) A^-1"]
    flat = ssb.trotters(frequencies=[(1, 2), (-1, 2)], corrected=True)
    assert flat.metadata["parameters"]["corrected"] is True
    used = flat.data != 0
    np.testing.assert_allclose(np.abs(flat.data[used]), np.abs(chosen.data[used]), rtol=1e-5)
    assert np.abs(np.angle(flat.data[used] / chosen.data[used])).max() > 1


def test_power_spectrum_is_centred_and_has_axes():
    ssb = preprocessed(counts((6, 7), (14, 15)), (7, 7), step=0.6)
    power = ssb.power_spectrum()
    assert power.data.shape == (6, 7)
    assert power.data[3, 3] == 0
    assert power.dim_units == ("A^-1", "A^-1")
    np.testing.assert_allclose(power.dims[0], np.fft.fftshift(np.fft.fftfreq(6, 0.6)), atol=1e-12)
    np.testing.assert_allclose(power.dims[1], np.fft.fftshift(np.fft.fftfreq(7, 0.6)), atol=1e-12)
    strongest = ssb.trotters(1).metadata["parameters"]["frequencies"][0]
    assert power.data[strongest[0] + 3, strongest[1] + 3] == power.data.max()


def test_visualize_draws(specimen):
    import matplotlib.pyplot as plt

    ssb = preprocessed(counts((9, 8), (14, 15)), (7, 7)).reconstruct()
    assert ssb.visualize() is ssb
    assert len(plt.gcf().axes) >= 4
    plt.close("all")


DATA = counts((4, 5), (14, 15))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"energy": 80}, CalibrationError, "80000"),
        ({"energy": float("nan")}, CalibrationError, "nan"),
        ({"semiangle_cutoff": 0}, CalibrationError, "semiangle_cutoff is 0"),
        ({"semiangle_cutoff": float("inf")}, CalibrationError, "inf"),
        ({"C11": 3.0}, ParameterError, "C10 or C12|C12 or C10|C21"),
        ({"defocuss": 3.0}, ParameterError, "did you mean defocus"),
        ({"C10": float("nan")}, ParameterError, "finite"),
        ({"datacube": np.zeros((2, 2, 2, 2))}, ParameterError, "ndarray"),
        ({"device": "tpu"}, ParameterError, "tpu"),
        ({"semiangle_cutoff_pixels": 3.0}, ParameterError, "one of"),
        ({"semiangle_cutoff_pixels": 0}, CalibrationError, "semiangle_cutoff_pixels is 0"),
        ({"defocus": 3.0, "C10": 3.0}, ParameterError, "the same aberration"),
    ],
)
def test_wrong_construction_is_refused(arguments, error, words):
    cube = calibrated(SparseDataCube.from_dense(DATA))
    keywords = {"energy": ENERGY, "datacube": cube, "semiangle_cutoff": SEMIANGLE, **arguments}
    with pytest.raises(error, match=words):
        EventSSB(**keywords)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"detector_size": 0}, "detector_size is 0"),
        ({"detector_size": 2.5}, "detector_size"),
        ({"bf_radius": -1.0}, "bf_radius is -1"),
        ({"center": (np.nan, 3)}, "center"),
        ({"force_scan_sampling": 0.0}, "force_scan_sampling is 0"),
        ({"force_scan_sampling": np.nan}, "force_scan_sampling is nan"),
        ({"force_angular_sampling": 1.0, "force_reciprocal_sampling": 1.0}, "Only one"),
        ({"force_com_rotation": np.inf}, "force_com_rotation is inf"),
        ({"bf_radius": RADIUS, "center": (40.0, 40.0)}, "empty"),
    ],
)
@pytest.mark.filterwarnings("ignore:the bright-field disk:py4dstem_eer.errors.EventWarning")
def test_wrong_preprocessing_is_refused(arguments, words):
    cube = calibrated(SparseDataCube.from_dense(DATA))
    ssb = EventSSB(ENERGY, cube, SEMIANGLE, verbose=False)
    keywords = {"center": (7, 7), "bf_radius": RADIUS, "force_com_rotation": 0, **arguments}
    with pytest.raises(EventError, match=words):
        ssb.preprocess(**{"force_com_transpose": False, **keywords})


def test_missing_calibration_is_refused():
    cube = SparseDataCube.from_dense(DATA)
    with pytest.raises(CalibrationError, match="Real-space"):
        EventSSB(ENERGY, cube, SEMIANGLE, verbose=False).preprocess()
    cube.calibration.set_R_pixel_size(float("nan"))
    cube.calibration.set_R_pixel_units("A")
    with pytest.raises(CalibrationError, match="nan"):
        EventSSB(ENERGY, cube, SEMIANGLE, verbose=False).preprocess()
    with pytest.raises(CalibrationError, match="semi-angle"):
        EventSSB(ENERGY, cube, verbose=False).preprocess(
            center=(7, 7), bf_radius=RADIUS, force_scan_sampling=0.4
        )


@pytest.mark.parametrize("shape", [(3, 4, 14, 15), (1, 9, 14, 15)], ids=["no electrons", "a line"])
def test_empty_scans_are_refused(shape):
    data = np.zeros(shape, np.uint8)
    if shape[0] == 1:
        data[:] = 1
    cube = calibrated(SparseDataCube.from_dense(data))
    with pytest.raises(ParameterError, match=r"empty|two dimensions"):
        preprocess_with_defaults(cube)


def preprocess_with_defaults(cube):
    ssb = EventSSB(ENERGY, cube, SEMIANGLE, verbose=False)
    return ssb.preprocess(
        center=(7, 7), bf_radius=RADIUS, force_com_rotation=0, force_com_transpose=False
    )


def test_a_cut_disk_warns_even_if_its_centre_is_given():
    ssb = EventSSB(ENERGY, calibrated(SparseDataCube.from_dense(DATA)), SEMIANGLE, verbose=False)
    with pytest.warns(EventWarning, match=r"4\d\.\d% of it is lost"):
        ssb.preprocess(6, (0, 7), RADIUS, 0, False)


def test_a_cube_that_was_binned_since_is_read_as_it_is_now():
    cube = calibrated(SparseDataCube.from_dense(counts((9, 8), (28, 30))), pixel=PIXEL / 2)
    ssb = EventSSB(ENERGY, cube, verbose=False)
    cube.bin_Q(2)
    ssb.preprocess(None, (7, 7), RADIUS, 0, False)
    assert ssb.geometry.semiangle == pytest.approx(SEMIANGLE, rel=1e-6)


@pytest.mark.parametrize("value", [np.nan, -50.0])
def test_intensities_that_are_none_are_refused(value):
    dense = counts((4, 5), (14, 15)).astype(np.float32)
    dense[2, 3, 7, 7] = value
    ssb = EventSSB(ENERGY, calibrated(py4DSTEM.DataCube(dense)), SEMIANGLE, verbose=False)
    with pytest.raises(ParameterError, match="negative or NaN"):
        ssb.preprocess(6, (7, 7), RADIUS, 0, False)


def test_a_disk_that_contradicts_the_calibration_warns():
    cube = calibrated(SparseDataCube.from_dense(DATA), pixel=2 * PIXEL)
    ssb = EventSSB(ENERGY, cube, SEMIANGLE, verbose=False)
    with pytest.warns(EventWarning, match="say 3.1 px"):
        ssb.preprocess(6, (7, 7), RADIUS, 0, False)


def test_least_squares_weighting_is_lazy_and_gives_its_error():
    ssb = preprocessed(counts((9, 8), (14, 15)), (7, 7))
    with pytest.raises(ParameterError, match="phase_sigma"):
        _ = ssb.phase_sigma
    weighted = ssb.reconstruct(weighting="snr", defocus=20.0)
    np.testing.assert_allclose(np.abs(weighted.object), 1, atol=1e-6)
    assert np.isfinite(weighted.phase_sigma)
    assert weighted.object_phase.metadata["parameters"]["weighting"] == "snr"
    again = preprocessed(counts((9, 8), (14, 15)), (7, 7), defocus=20.0)
    np.testing.assert_array_equal(again.reconstruct(weighting="snr").object, weighted.object)
    with pytest.raises(ParameterError, match="sidebands"):
        ssb.reconstruct("left", weighting="snr")
    ssb.reconstruct(weighting="sum")
    with pytest.raises(ParameterError, match="phase_sigma"):
        _ = ssb.phase_sigma
    again.preprocess(6, (7, 7), RADIUS, 0, False)
    with pytest.raises(ParameterError, match="phase_sigma"):
        _ = again.phase_sigma


def test_order_of_calls_is_checked():
    ssb = EventSSB(ENERGY, calibrated(SparseDataCube.from_dense(DATA)), SEMIANGLE, verbose=False)
    for call in (ssb.reconstruct, lambda: ssb.object, lambda: ssb.object_phase, ssb.trotters):
        with pytest.raises(ParameterError, match=r"preprocess\(\)"):
            call()
    assert "preprocess" in repr(ssb)


def test_half_precision_is_for_both_weightings():
    cube = calibrated(SparseDataCube.from_dense(counts((6, 7), (14, 15))))
    full, half = (
        EventSSB(ENERGY, cube, SEMIANGLE, verbose=False)
        .preprocess(None, CENTER, 6.3, 0, False, precision=precision)
        .reconstruct()
        for precision in ("full", "half")
    )
    assert half._snr.overlaps.entry_bytes == full._snr.overlaps.entry_bytes / 2
    np.testing.assert_allclose(half.phase_sigma, full.phase_sigma, rtol=1e-3)
    phases = (ssb.reconstruct(weighting="sum").object_phase.data for ssb in (full, half))
    assert 0 < np.abs(np.subtract(*phases)).max() < 1e-4
    with pytest.raises(ParameterError, match="precision is 16"):
        half.preprocess(precision=16)


def test_wrong_reconstruction_is_refused():
    ssb = preprocessed(DATA, (7, 7))
    with pytest.raises(ParameterError, match="sideband is 'up'"):
        ssb.reconstruct("up")
    with pytest.raises(ParameterError, match="weighting is 'best'"):
        ssb.reconstruct(weighting="best")
    with pytest.raises(ParameterError, match="did you mean"):
        ssb.reconstruct(defokus=3.0)
    with pytest.raises(ParameterError, match="trotters"):
        ssb.trotters(0)


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch):
    from py4dstem_eer import device

    monkeypatch.setattr(device, "_simulating", lambda: False)
    try:
        device._gpu()
    except (ImportError, DeviceError):
        with pytest.raises((ImportError, DeviceError), match=r"gpu"):
            EventSSB(ENERGY, calibrated(SparseDataCube.from_dense(DATA)), device="gpu")
    else:
        pytest.skip("there is a GPU")


def test_least_squares_is_the_default_where_it_can_be():
    ssb = preprocessed(counts((9, 8), (14, 15)), (7, 7))
    for chosen, expected in (
        ({}, "snr"),
        ({"sideband": "left"}, "sum"),
        ({"triple_overlap": True}, "sum"),
        ({"weighting": "sum"}, "sum"),
    ):
        phase = ssb.reconstruct(**chosen).object_phase
        assert phase.metadata["parameters"]["weighting"] == expected
