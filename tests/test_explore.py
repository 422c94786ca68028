"""The state of the interactive panel, without a browser."""

from __future__ import annotations

import io
import math

import numpy as np
import py4DSTEM
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import image as matplotlib_image
from scipy import ndimage

from py4dstem_eer.bridge.cube import SparseDataCube
from py4dstem_eer.bridge.ssb import EventSSB
from py4dstem_eer.errors import EventError, ParameterError
from py4dstem_eer.explore import pictures
from py4dstem_eer.explore.coefficients import controls, value_of, with_value
from py4dstem_eer.explore.explorer import TABS, Explorer
from py4dstem_eer.explore.frequencies import nearest_peak, well_apart
from py4dstem_eer.explore.settings import History, Settings
from py4dstem_eer.explore.trotter_view import detector_frame
from py4dstem_eer.optics import POLAR_SYMBOLS, Geometry

PREPROCESS = {"center": (7, 7), "bf_radius": 6.3, "force_com_rotation": 17.3}


@pytest.fixture
def ssb():
    data = np.random.default_rng(0).poisson(2.0, (9, 8, 14, 15)).astype(np.uint16)
    cube = SparseDataCube.from_dense(data)
    cube.calibration.set_R_pixel_size(0.4)
    cube.calibration.set_R_pixel_units("A")
    method = EventSSB(80e3, cube, 25, verbose=False, defocus=800.0, C12=20.0, phi12=2.0)
    return method.preprocess(**PREPROCESS, detector_size=10, force_com_transpose=False)


@pytest.fixture
def explorer(ssb):
    return Explorer(ssb)


def again(explorer, ssb):
    """Evaluate the Python call that the explorer gives."""
    names = {"EventSSB": EventSSB, "cube": ssb._datacube}
    return eval(explorer.python_call(), names).object_phase.data


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"C21": 500.0, "sideband": "left"},
        {"C23a": 300.0, "C23b": -120.5, "rotation": -77.123},
        {"transpose": True, "detector_size": 7, "triple_overlap": True},
        {"weighting": "sum", "defocus": 12.5},
        {"defocus": 0.0, "C12": 0.0},
    ],
)
def test_the_image_is_that_of_the_call_that_is_shown(explorer, ssb, changes):
    explorer.change(**changes)
    np.testing.assert_array_equal(again(explorer, ssb), explorer.redraw())


def test_a_measured_rotation_is_reproduced_exactly(small_scan):
    cube = SparseDataCube(small_scan[0])
    cube.calibration.set_R_pixel_size(0.32)
    cube.calibration.set_R_pixel_units("A")
    explorer = Explorer(EventSSB(80e3, cube, 25, verbose=False).preprocess())
    np.testing.assert_array_equal(again(explorer, explorer.ssb), explorer.redraw())


def test_the_explorer_starts_where_the_reconstruction_stands_and_leaves_it_alone(ssb):
    ssb.reconstruct(weighting="sum")
    before = ssb.object_phase.data.copy()
    explorer = Explorer(ssb)
    np.testing.assert_array_equal(explorer.redraw(), before)
    assert explorer.value("defocus") == 800.0
    explorer.change(defocus=1.0, rotation=40.0, detector_size=8)
    assert not np.array_equal(explorer.redraw(), before)
    np.testing.assert_array_equal(ssb.object_phase.data, before)
    np.testing.assert_array_equal(ssb.reconstruct(weighting="sum").object_phase.data, before)


def test_the_first_image_is_that_of_the_package_s_defaults(ssb):
    explorer = Explorer(ssb)
    np.testing.assert_array_equal(explorer.redraw(), ssb.reconstruct().object_phase.data)


def test_sidebands_and_weighting_bring_each_other_along(explorer):
    def chosen(**changes):
        explorer.change(**changes)
        settings = explorer.settings
        return settings.weighting, settings.sideband, settings.triple_overlap

    assert chosen(defocus=3.0) == ("snr", "both", False)
    assert chosen(sideband="left") == ("sum", "left", False)
    assert chosen(triple_overlap=True) == ("sum", "left", True)
    assert chosen(weighting="snr") == ("snr", "both", False)
    assert chosen(triple_overlap=True) == ("sum", "both", True)
    assert chosen(triple_overlap=False) == ("sum", "both", False)


def test_two_explorers_of_one_reconstruction_do_not_disturb_each_other(ssb):
    first, second = Explorer(ssb), Explorer(ssb)
    before = first.redraw().copy()
    second.change(rotation=60.0, C21=900.0)
    second.redraw()
    np.testing.assert_array_equal(first.image(), before)
    first.change(C12=21.0)
    first.redraw()
    first.history.undo()
    np.testing.assert_array_equal(first.redraw(), before)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"C99": 1.0}, "C99"),
        ({"C30a": 1.0}, "C30a"),
        ({"C12": np.nan}, "finite"),
        ({"C12": "3"}, "finite"),
        ({"defocus": 1e30}, "the panel goes to"),
        ({"C34b": -1e30}, "the panel goes to"),
        ({"rotation": 400.0}, "360"),
        ({"sideband": "up"}, "sideband"),
        ({"weighting": "most"}, "weighting"),
        ({"detector_size": 3}, "from 4 to"),
        ({"detector_size": 4000}, "from 4 to"),
        ({"transpose": "maybe"}, "transpose"),
    ],
)
def test_impossible_settings_are_refused_and_change_nothing(explorer, changes, text):
    before = explorer.settings
    with pytest.raises(ParameterError, match=text):
        explorer.change(**changes)
    assert explorer.settings == before
    assert not explorer.history.can_undo


def test_settings_that_cannot_be_drawn_are_taken_back(explorer):
    before = explorer.redraw().copy()
    explorer.change(weighting="snr", sideband="left")
    with pytest.raises(ParameterError, match="both sidebands"):
        explorer.redraw()
    assert explorer.settings == explorer.history.start
    np.testing.assert_array_equal(explorer.redraw(), before)


def test_an_interrupt_leaves_the_settings_that_were_drawn(explorer, monkeypatch):
    before = explorer.redraw().copy()

    def interrupted(*arguments, **keywords):
        raise KeyboardInterrupt

    explorer.change(rotation=50.0)
    with monkeypatch.context() as patch:
        patch.setattr(EventSSB, "preprocess", interrupted)
        with pytest.raises(KeyboardInterrupt):
            explorer.redraw()
    assert explorer.settings.rotation == pytest.approx(17.3)
    explorer.history.change(explorer.settings.changed(C12=0.0))
    with monkeypatch.context() as patch:
        patch.setattr(EventSSB, "reconstruct", interrupted)
        with pytest.raises(KeyboardInterrupt):
            explorer.redraw()
    np.testing.assert_array_equal(explorer.redraw(), before)
    assert not explorer.history.can_undo


def test_undo_takes_a_whole_drag_back_and_redo_brings_it_again(explorer):
    start = explorer.settings
    for value in (1.0, 2.0, 3.0):
        explorer.change(commit=False, defocus=value)
    explorer.change(defocus=3.0)
    dragged = explorer.settings
    explorer.change(C12=1.0)
    explorer.history.undo()
    assert explorer.settings == dragged
    explorer.history.undo()
    assert explorer.settings == start
    assert not explorer.history.can_undo
    explorer.history.redo()
    explorer.history.redo()
    assert explorer.value("C12") == 1.0
    explorer.history.undo()
    explorer.change(C21=5.0)
    assert not explorer.history.can_redo


@given(st.lists(st.sampled_from(["drag", "commit", "undo", "redo"]), max_size=40))
def test_any_undo_is_undone_by_a_redo(steps):
    history = History(Settings())
    for number, step in enumerate(steps):
        if step in ("drag", "commit"):
            history.change(history.now.changed(defocus=number + 1.0), step == "commit")
        else:
            before, possible = history.now, getattr(history, f"can_{step}")
            getattr(history, step)()
            back = "redo" if step == "undo" else "undo"
            if possible and getattr(history, f"can_{back}"):
                after = history.now
                getattr(history, back)()
                assert history.now == before
                getattr(history, step)()
                assert history.now == after


def test_reset_goes_back_to_the_start(explorer):
    explorer.change(defocus=3.0, C21=900.0, rotation=3.0, transpose=True)
    explorer.reset("defocus", "rotation")
    assert (explorer.value("defocus"), explorer.settings.rotation) == (
        800.0,
        explorer.history.start.rotation,
    )
    assert explorer.value("C21") == 900.0
    explorer.reset()
    assert explorer.settings == explorer.history.start


polar_values = st.fixed_dictionaries(
    {s: st.floats(-1e3, 1e3) if s[0] == "C" else st.floats(-3, 3) for s in POLAR_SYMBOLS}
)


@given(polar_values, st.sampled_from([s for s in POLAR_SYMBOLS if s[0] == "C" and s[2] != "0"]))
def test_cartesian_parts_are_those_of_the_phase_error(polar, symbol):
    n, angle = int(symbol[2]), polar["phi" + symbol[1:]]
    a, b = value_of(symbol + "a", polar), value_of(symbol + "b", polar)
    for azimuth in (0.0, 0.7, 2.0):
        wanted = polar[symbol] * math.cos(n * (azimuth - angle))
        assert a * math.cos(n * azimuth) + b * math.sin(n * azimuth) == pytest.approx(
            wanted, abs=1e-9
        )


@given(polar_values, st.floats(-1e3, 1e3))
def test_turning_one_cartesian_part_leaves_the_other(polar, value):
    changed = with_value(polar, "C32b", value)
    assert value_of("C32b", changed) == pytest.approx(value, abs=1e-9)
    assert value_of("C32a", changed) == pytest.approx(value_of("C32a", polar), abs=1e-9)
    assert {k: v for k, v in changed.items() if "32" not in k} == {
        k: v for k, v in polar.items() if "32" not in k
    }


def test_an_angle_survives_a_magnitude_of_zero():
    polar = with_value(with_value(Settings().polar, "phi12", 0.4), "C12a", 0.0)
    assert polar["phi12"] == 0.4


@pytest.mark.parametrize("form", ["polar", "cartesian"])
def test_there_is_a_control_for_every_aberration(form):
    geometry = Geometry(80e3, 25.0, (0.3, 0.3))
    names = [c.name for c in controls(geometry, 5, form)]
    assert len(set(names)) == len(POLAR_SYMBOLS)
    assert names[0] == "defocus"
    assert {c.order for c in controls(geometry, 3, form)} == {1, 2, 3}
    assert len(controls(geometry, 3, form)) == 12


def test_sliders_reach_four_turns_of_phase():
    geometry = Geometry(80e3, 25.0, (0.3, 0.3))
    for control in controls(geometry, 5):
        if control.unit == "Å":
            turns = control.reach * 0.025 ** (control.order + 1) / (control.order + 1)
            assert 4 <= turns / geometry.wavelength < 10


@pytest.mark.parametrize(("orders", "form"), [(0, "polar"), (6, "polar"), (3, "oval")])
def test_wrong_controls_are_refused(explorer, orders, form):
    with pytest.raises(ParameterError):
        explorer.controls(orders, form)


@pytest.mark.parametrize("tab", TABS)
def test_tabs_show_an_image_of_the_scan_between_percentiles(explorer, tab):
    explorer.open_tab(tab)
    image = explorer.image()
    assert image.shape == (9, 8)
    explorer.set_contrast(10, 80)
    picture = explorer.picture(image)
    assert (picture.low, picture.high) == pytest.approx(tuple(np.percentile(image, (10, 80))))
    wanted = 255 * (image - picture.low) / max(picture.high - picture.low, 1e-30)
    np.testing.assert_allclose(picture.data, np.clip(wanted, 0, 255), atol=0.51)


def test_dpc_follows_the_rotation(explorer):
    explorer.open_tab("DPC")
    before = explorer.image()
    assert explorer.image() is before
    explorer.change(C12=3.0)
    assert explorer.image() is before
    explorer.change(rotation=80.0)
    assert not np.array_equal(explorer.image(), before)


@pytest.mark.parametrize("between", [(50, 50), (-1, 90), (10, 101), ("a", 90)])
def test_wrong_percentiles_are_refused(explorer, between):
    with pytest.raises(ParameterError):
        explorer.set_contrast(*between)
    with pytest.raises(ParameterError):
        explorer.open_tab("depth")


def test_held_contrast_stays(explorer):
    explorer.hold_contrast(True)
    held = explorer.picture(explorer.image())
    explorer.change(defocus=0.0, C12=0.0)
    after = explorer.picture(explorer.image())
    assert (after.low, after.high) == (held.low, held.high)
    explorer.hold_contrast(False)
    assert explorer.picture(explorer.image()).low != held.low


def test_a_flat_image_is_one_level():
    picture = pictures.scaled(np.full((4, 5), 3.0, np.float32), 3.0, 3.0)
    assert np.ptp(picture.data) == 0


@pytest.mark.parametrize("shape", [(9, 8), (8, 9), (7, 5), (6, 4), (1, 6)])
def test_log_power_is_that_of_numpys_fft(shape):
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    wanted = np.abs(np.fft.fft2(image)) ** 2
    wanted[0, 0] = 0
    found = 10.0 ** pictures.log_power(image)
    np.testing.assert_allclose(found, np.fft.fftshift(wanted), atol=1e-4 * wanted.max())


def test_a_profile_is_the_image_along_the_line(explorer):
    explorer.set_line((1, 2, 7, 2))
    image = explorer.image()
    profile = explorer.profile(image)
    assert profile.length == 6
    np.testing.assert_allclose(profile.values[::2], image[1:8, 2], atol=1e-6)
    explorer.set_line((0, 0, 6, 7))
    ends = explorer.profile(image).values[[0, -1]]
    np.testing.assert_allclose(ends, image[[0, 6], [0, 7]], atol=1e-6)
    wanted = ndimage.map_coordinates(image, [[3.0], [3.5]], order=1)
    middle = explorer.profile(image).values
    assert middle[len(middle) // 2] == pytest.approx(wanted[0], abs=0.2 * np.ptp(image))
    explorer.open_tab("FFT")
    assert explorer.profile(image) is None
    explorer.open_tab("phase")
    explorer.set_line(None)
    assert explorer.profile(image) is None


@pytest.mark.parametrize("line", [(0, 0, 9, 3), (-1, 0, 3, 3), (0, 0, np.nan, 3), (1, 2, 3)])
def test_a_line_outside_the_image_is_refused(explorer, line):
    with pytest.raises(ParameterError):
        explorer.set_line(line)
    assert explorer.line is None


def test_trotters_are_flat_with_the_true_aberrations():
    from py4dstem_eer.simulate import crystal_phase, simulate_events

    aberrations = {"defocus": 90.0, "C12": 60.0, "phi12": 0.5}
    phase = crystal_phase((32, 30), vacancies=0.3, seed=2)
    events, _ = simulate_events(
        phase, 0.32, detector_shape=(64, 64), disk_center=(31, 32), disk_radius=20.0,
        electrons_per_pattern=4000, rotation=0.4, transpose=True, flyback=False, seed=5,
        aberrations=aberrations,
    )  # fmt: skip
    cube = SparseDataCube(events)
    cube.calibration.set_R_pixel_size(0.32)
    cube.calibration.set_R_pixel_units("A")
    ssb = EventSSB(80e3, cube, 25, verbose=False)
    ssb.preprocess(force_com_rotation=math.degrees(0.4), force_com_transpose=True)
    explorer = Explorer(ssb)
    explorer.redraw()
    wrong = explorer.trotters().flatness
    explorer.change(**aberrations)
    explorer.redraw()
    right = explorer.trotters()
    assert right.flatness.mean() > wrong.mean() + 0.1
    # outside the overlaps with the shifted apertures there is nothing
    side = right.levels.shape[1]
    rows, columns = np.mgrid[:side, :side] + 0.5
    for levels, (qr, qc) in zip(right.levels, right.q, strict=True):
        row, column = (rows / side - right.center[0]), (columns / side - right.center[1])
        far = [
            np.hypot(row - s * qr * right.radius, column - s * qc * right.radius)
            > 1.01 * right.radius
            for s in (1, -1)
        ]
        assert levels[far[0] & far[1], 1].max(initial=0) == 0
        assert levels[~(far[0] & far[1]), 1].max() == 255


@pytest.mark.parametrize("transpose", [False, True])
def test_vectors_turn_from_the_scan_to_the_detector(transpose):
    geometry = Geometry(80e3, 25.0, (0.3, 0.3), 0.7, transpose)
    ((row, column),) = detector_frame(np.array([[1.0, 0.0]]), geometry)
    pair = (column, row) if transpose else (row, column)
    cos, sin = math.cos(0.7), math.sin(0.7)
    # as the pixels of the detector are turned into the frame of the scan
    np.testing.assert_allclose(
        (pair[0] * cos - pair[1] * sin, pair[1] * cos + pair[0] * sin), (1, 0), atol=1e-12
    )


def test_strong_frequencies_lie_apart_and_are_one_of_each_pair():
    rng = np.random.default_rng(3)
    power = rng.uniform(0.1, 1, (41, 60))
    power = power + power[::-1, :]
    found = well_apart(power, 9)
    assert len(found) == 9
    assert len({tuple(q) for q in found} | {tuple(-q) for q in found}) == 18
    for i, one in enumerate(found):
        for other in found[:i]:
            assert np.hypot(*((one - other) / (20, 30))) > 0.09
    few = np.zeros((5, 5))
    few[2, 4] = few[2, 0] = 1.0
    np.testing.assert_array_equal(well_apart(few, 9), [[0, 2]])
    with pytest.raises(ParameterError):
        well_apart(np.zeros((5, 5)), 9)


def test_a_click_finds_the_peak_near_it():
    power = np.random.default_rng(0).uniform(0.5, 1, (201, 200))
    power[:4], power[110, 130] = 0, 50.0
    np.testing.assert_array_equal(nearest_peak(power, 8.6, 31.2), [10, 30])
    near = nearest_peak(power, -40.0, 31.2)
    assert np.hypot(*(near - (-40, 31))) <= 2
    assert power[tuple(near + 100)] == power[59:62, 130:133].max()
    with pytest.raises(ParameterError, match="no disks overlap"):
        nearest_peak(power, -400.0, 0.0)
    with pytest.raises(ParameterError):
        nearest_peak(power, np.nan, 0.0)


def test_picked_frequencies_stay_until_the_geometry_takes_their_overlaps(explorer):
    first = explorer.chosen()
    explorer.pick(1, *-first[0])
    assert not np.array_equal(explorer.chosen()[1], first[1])
    np.testing.assert_array_equal(explorer.chosen()[0], first[0])
    np.testing.assert_array_equal(explorer.trotters().frequencies, explorer.chosen())
    with pytest.raises(ParameterError):
        explorer.pick(9, *first[0])
    explorer.change(rotation=45.0, detector_size=5)
    explorer.redraw()
    assert len(explorer.trotters().flatness) == len(explorer.chosen())
    explorer.pick_strongest()
    explorer.change(rotation=explorer.history.start.rotation, detector_size=10)
    explorer.redraw()
    np.testing.assert_array_equal(explorer.chosen(), first)


def test_the_spectrum_keeps_peaks_and_says_where_it_begins():
    power = np.zeros((900, 901))
    noise = np.random.default_rng(0).uniform(0.5, 1, (801, 801))
    power[450 - 400 : 450 + 401, 450 - 400 : 450 + 401] = noise
    power[450 + 123, 450 - 77] = 1e6
    spectrum = pictures.spectrum_picture(power)
    assert spectrum.first == (-400, -400)
    assert max(spectrum.data.shape) <= 384
    assert spectrum.data[(123 + 400) // spectrum.bin, (-77 + 400) // spectrum.bin] == 255
    assert (spectrum.data == 255).mean() < 0.01


def test_results_are_saved_with_what_reproduces_them(explorer, ssb, tmp_path):
    explorer.change(C21=500.0)
    explorer.save(tmp_path / "panel.h5")
    phase = py4DSTEM.read(str(tmp_path / "panel.h5"))
    np.testing.assert_array_equal(
        phase.tree("object_amplitude").data, explorer.ssb.object_amplitude.data
    )
    assert type(phase).__name__ == "RealSlice"
    np.testing.assert_array_equal(phase.data, explorer.redraw())
    assert phase.units == "rad"
    parameters = phase.metadata["parameters"]
    assert parameters["aberrations"]["C21"] == 500.0
    assert parameters["python"] == explorer.python_call()
    with pytest.raises(ParameterError, match="there already"):
        explorer.save(tmp_path / "panel.h5")
    explorer.save(tmp_path / "panel.h5", overwrite=True)
    with pytest.raises(ParameterError, match="must end in"):
        explorer.save(tmp_path / "panel.tif")
    with pytest.raises(FileNotFoundError):
        explorer.save(tmp_path / "nowhere" / "panel.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["panel.h5"]


def test_the_file_that_is_reconstructed_is_kept(ssb, tmp_path):
    names = ("scan.h5", "scan.png")
    stempy_path, picture_path = (tmp_path / name for name in names)
    ssb._datacube.export(stempy_path, "stempy")
    stempy_path.rename(picture_path)  # whatever it is called
    streamed = py4DSTEM.import_file(picture_path, mem="MEMMAP")
    stempy_path.symlink_to(picture_path)
    method = EventSSB(80e3, streamed, 25, verbose=False)
    explorer = Explorer(
        method.preprocess(**PREPROCESS, detector_size=10, force_com_transpose=False)
    )
    before = picture_path.read_bytes()
    with pytest.raises(ParameterError, match="the data are read from it"):
        explorer.save(stempy_path, overwrite=True)
    with pytest.raises(ParameterError, match="the data are read from it"):
        explorer.save_picture(picture_path, overwrite=True)
    assert picture_path.read_bytes() == before


@pytest.mark.parametrize("tab", TABS)
def test_pictures_are_exported(explorer, tmp_path, tab):
    explorer.open_tab(tab)
    explorer.save_picture(tmp_path / "panel.png")
    picture = matplotlib_image.imread(io.BytesIO((tmp_path / "panel.png").read_bytes()))
    assert min(picture.shape[:2]) > 500


def test_colours_are_tables_of_256():
    assert len(pictures.lookup_table("gray")) == 768
    assert len(set(pictures.hue_table()[::3])) > 50
    with pytest.raises(ParameterError):
        pictures.lookup_table("mauve")


def test_a_reconstruction_must_be_preprocessed(ssb):
    with pytest.raises(EventError):
        Explorer(EventSSB(80e3, ssb._datacube, 25, verbose=False))
