"""The commands, as a user types them."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import sys
import typing
from pathlib import Path

import h5py
import numpy as np
import py4DSTEM
import pytest
from click.testing import CliRunner

from py4dstem_eer import EventStore, open_events
from py4dstem_eer.cli import main
from py4dstem_eer.command_options import as_typed, given
from py4dstem_eer.readers.options import LINE_MARKS, ReaderOptions
from py4dstem_eer.simulate import nanotube_phase, simulate_events
from py4dstem_eer.writers.stempy import write_stempy

PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    phase = nanotube_phase((32, 30), 0.32)
    events, _ = simulate_events(phase, 0.32, electrons_per_pattern=300, seed=4)
    path = tmp_path_factory.mktemp("cli") / "scan.h5"
    write_stempy(path, events)
    return path


def run(*arguments, fails=False):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    if not fails and result.exception is not None and result.exit_code != 1:
        raise result.exception
    assert (result.exit_code != 0) == fails, result.output
    return result.output


def test_info_says_what_is_in_the_file(scan):
    text = run("info", scan)
    events = open_events(scan)
    assert "stempy" in text
    assert "32 x 31 positions" in text
    assert "576 x 576 pixels" in text
    assert f"{events.n_events:,}" in text


def test_convert_to_emd_and_back_keeps_every_event(scan, tmp_path):
    run("convert", scan, tmp_path / "scan_emd.h5")
    run("convert", tmp_path / "scan_emd.h5", tmp_path / "again.h5")
    original, emd, again = (
        open_events(p) for p in (scan, tmp_path / "scan_emd.h5", tmp_path / "again.h5")
    )
    for copy in (emd, again):
        np.testing.assert_array_equal(copy.indptr, original.indptr)
        np.testing.assert_array_equal(copy.indices, original.indices)
        if original.counts is None:
            assert copy.counts is None
        else:
            np.testing.assert_array_equal(copy.counts, original.counts)
    assert "version" in h5py.File(tmp_path / "again.h5").attrs
    assert re.search(r"format: +emd", run("info", tmp_path / "scan_emd.h5"))


def test_convert_keeps_calibration_and_results(scan, tmp_path):
    cube = py4DSTEM.import_file(scan)
    cube.calibration.set_R_pixel_size(0.25)
    cube.calibration.set_R_pixel_units("A")
    cube.get_dp_mean()
    py4DSTEM.save(str(tmp_path / "cube.h5"), cube)
    run("convert", tmp_path / "cube.h5", tmp_path / "again.h5", "--to", "emd")
    again = py4DSTEM.read(str(tmp_path / "again.h5"))
    assert again.calibration.get_R_pixel_size() == 0.25
    assert "dp_mean" in again.treekeys
    run("convert", tmp_path / "cube.h5", tmp_path / "stempy.h5")
    assert py4DSTEM.import_file(tmp_path / "stempy.h5").calibration.get_R_pixel_size() == 0.25


def test_the_file_that_is_read_is_never_written(scan, tmp_path):
    before = scan.read_bytes()
    known = ("--energy", "80e3", "--semiangle-cutoff", "25", "--force-scan-sampling", "0.32")
    assert "same file" in run("ssb", scan, *known, "--output", scan, fails=True)
    assert "same file" in run("dpc", scan, "--output", scan, fails=True)
    assert scan.read_bytes() == before
    for command in ("ssb", "dpc"):
        said = run(command, scan, "--energy", "80e3", "--output", tmp_path, fails=True)
        assert "is a directory" in said
    picture = tmp_path / "result.png"
    assert "would be the same file" in run("ssb", scan, *known, "--output", picture, fails=True)
    assert not picture.exists()


def test_ssb_writes_results_and_a_picture(scan, tmp_path):
    output = tmp_path / "result.h5"
    text = run(
        *("ssb", scan, "--no-flyback", "--energy", "80e3", "--semiangle-cutoff", "25"),
        *("--force-scan-sampling", "0.32", "--force-com-rotation", "0", "--no-com-transpose"),
        *("-a", "defocus=20", "-a", "C12=5", "--weighting", "snr", "--output", output),
    )
    assert "'C10': -20.0" in text
    assert (tmp_path / "result.png").read_bytes().startswith(PNG)
    phase = py4DSTEM.read(str(output)).tree("ssb_reconstruction_object_phase")
    assert phase.data.shape == (32, 30)
    assert phase.units == "rad"
    assert phase.metadata["parameters"]["weighting"] == "snr"


OVERVIEW = {
    "dp_mean": ((576, 576), None),
    "bright_field": ((32, 30), "electrons"),
    "dark_field": ((32, 30), "electrons"),
    "quadrants": ((4, 32, 30), "electrons"),
    "dpc_reconstruction_com": ((2, 32, 30), "A^-1"),
    "dpc_reconstruction_dose": ((32, 30), "electrons"),
    "dpc_reconstruction_divergence": ((32, 30), "A^-2"),
    "dpc_reconstruction_electric_field": ((32, 30), "V"),
    "dpc_reconstruction_object_phase": ((32, 30), "rad"),
}


def test_a_measured_rotation_is_told_with_its_error(scan, tmp_path):
    known = ("--energy", "80e3", "--force-scan-sampling", "0.32", "--output", tmp_path / "a.h5")
    text = run("dpc", scan, "--no-flyback", *known)
    assert re.search(r"rotation: +-?\d+\.\d ± \d+\.\d degrees, transpose (True|False)", text)


@pytest.mark.parametrize(
    "options",
    [
        ("--force-reciprocal-sampling", "0.0043", "--method", "iterative", "--mem", "RAM"),
        ("--semiangle-cutoff", "25"),
    ],
    ids=["RAM", "streamed"],
)
def test_dpc_writes_an_overview_and_a_picture(scan, tmp_path, options):
    output = tmp_path / "result.h5"
    text = run(
        *("dpc", scan, "--no-flyback", "--energy", "80e3", "--force-scan-sampling", "0.32"),
        *("--force-com-rotation", "0", "--no-com-transpose", "--output", output, *options),
    )
    assert "rotation:       0.0 degrees" in text
    assert (tmp_path / "result.png").read_bytes().startswith(PNG)
    saved = py4DSTEM.read(str(output))
    for name, (shape, units) in OVERVIEW.items():
        result = saved.tree(name)
        assert result.data.shape == shape
        assert np.isfinite(result.data).all()
        assert units is None or result.metadata["parameters"]["units"] == units
    cube = py4DSTEM.import_file(scan, keep_flyback=False)
    np.testing.assert_allclose(saved.tree("dp_mean").data, cube.get_dp_mean().data)
    dose = saved.tree("dpc_reconstruction_dose").data
    np.testing.assert_array_equal(saved.tree("rings").data.sum(axis=0), dose)
    geometry = saved.tree("bright_field").metadata["parameters"]
    center, radius = tuple(float(c) for c in geometry["center"]), float(geometry["bf_radius"])
    bright = cube.get_virtual_image("circle", (center, radius)).data
    np.testing.assert_array_equal(saved.tree("bright_field").data, bright)
    np.testing.assert_array_equal(saved.tree("quadrants").data.sum(axis=0), bright)
    outside = (center, (float(geometry["dark_field_from"]), 1000))
    dark = cube.get_virtual_image("annulus", outside).data
    np.testing.assert_array_equal(saved.tree("dark_field").data, dark)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("info", "missing.h5"), "no file"),
        (("info", __file__), "no electron-event file"),
        (("ssb", "SCAN", "--energy", "80", "--semiangle-cutoff", "25"), "80000"),
        (("ssb", "SCAN", "--energy", "80e3", "--force-scan-sampling", "-1"), "force_scan"),
        (("ssb", "SCAN", "--energy", "80e3", "-a", "defocus"), "NAME=VALUE"),
        (("ssb", "SCAN", "--energy", "80e3", "-a", "defokus=3"), "did you mean defocus"),
        (("ssb", "SCAN", "--energy", "80e3", "--device", "gpu"), "gpu"),
        (("dpc", "SCAN", "--bf-radius", "-3"), "bf_radius"),
        (
            ("dpc", "SCAN", "--semiangle-cutoff", "25", "--force-angular-sampling", "0.2"),
            "not both",
        ),
        (("convert", "SCAN", "SCAN"), "same file"),
        (("convert", "SCAN", "nowhere/out.h5"), "nowhere"),
        (("info", "SCAN", "--scan-shape", "7", "7"), "49|7, 7"),
    ],
)
def test_wrong_input_is_one_clear_line(scan, arguments, words, monkeypatch):
    from py4dstem_eer import device

    monkeypatch.setattr(device, "_simulating", lambda: False)
    text = run(*(scan if a == "SCAN" else a for a in arguments), fails=True)
    assert "Traceback" not in text
    assert re.search(words, text), text


@pytest.mark.parametrize("command", ["info", "convert", "ssb", "dpc"])
def test_files_that_are_none_are_said_to_be(command, tmp_path):
    out = [tmp_path / "out.h5"] if command == "convert" else []
    (tmp_path / "empty.h5").touch()
    (tmp_path / "words.h5").write_text("words")
    for name in ((), ("--format", "stempy")):
        assert "is a directory" in run(command, tmp_path, *out, *name, fails=True)
        assert "is empty" in run(command, tmp_path / "empty.h5", *out, *name, fails=True)
        text = run(command, tmp_path / "none.h5", *out, *name, fails=True)
        assert f"there is no file '{tmp_path / 'none.h5'}'" in text
    if command != "convert":
        text = run(command, tmp_path / "words.h5", fails=True)
        assert f"py4dstem-eer convert {tmp_path / 'words.h5'} OUT.h5" in text


@pytest.mark.filterwarnings("always::py4dstem_eer.errors.EventWarning")
def test_warnings_are_one_line(scan, tmp_path):
    path = tmp_path / "cut.h5"
    path.write_bytes(scan.read_bytes()[:-3000])
    result = CliRunner().invoke(main, ["info", str(path), "--errors", "skip"])
    assert result.exit_code == 0
    line = next(line for line in result.output.splitlines() if "dropped" in line)
    assert line.startswith(f"Warning: {path}: ")
    assert ".py:" not in result.output


def test_warnings_are_said_to_be_such_where_py4dstem_was_not_imported_before(tmp_path):
    """Its import takes over how warnings are shown."""
    data = np.random.default_rng(0).poisson(0.2, (5, 4, 12, 13))
    data[2, 1] = 0
    write_stempy(tmp_path / "scan.h5", EventStore.from_dense(data))
    code = "from py4dstem_eer.cli import main; main()"
    options = ("--center", "5", "6", "--bf-radius", "4")
    done = subprocess.run(
        [sys.executable, "-c", code, "dpc", str(tmp_path / "scan.h5"), *options],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    warned = [line for line in done.stderr.splitlines() if "1 of 20 patterns" in line]
    assert len(warned) == 1
    assert warned[0].startswith("Warning: ")


CHOSEN = {
    "scan_shape": (3, 4),
    "skip_frames": 2,
    "frames_per_position": 3,
    "keep_flyback": False,
    "superres": 1,
    "errors": "skip",
    "dm": Path("a scan.dm4"),
    "dwell_time": 1e-6,
    "line_start": "tdc2_rise",
    "line_end": "tdc2_fall",
}


@pytest.mark.parametrize("command", ["info", "convert", "ssb", "dpc"])
def test_every_reader_option_is_an_option_with_its_own_help(command):
    options = {option.name: option for option in main.commands[command].params}
    documented = ReaderOptions.__doc__
    for field in dataclasses.fields(ReaderOptions):
        text = options[field.name].help.split("  [default")[0].split('  "none"')[0]
        assert text, field.name
        assert " ".join(text.split()) in " ".join(documented.split())
        assert options[field.name].default is None  # left to the reader
    assert len(options) == len(main.commands[command].params)


@pytest.mark.parametrize("name", CHOSEN)
def test_reader_options_arrive_as_typed(name):
    words = shlex.split(as_typed(name, CHOSEN[name]))
    context = main.commands["info"].make_context("info", ["file.h5", *words])
    found = given(context.params)
    assert found.pop("file") == Path("file.h5")
    assert found == {name: CHOSEN[name]}
    assert getattr(ReaderOptions(**found), name) == CHOSEN[name]


def test_options_that_may_be_none_are_typed_as_none():
    possible = typing.get_type_hints(ReaderOptions)
    for field in dataclasses.fields(ReaderOptions):
        if field.default is not None and type(None) in typing.get_args(possible[field.name]):
            words = shlex.split(as_typed(field.name, None))
            context = main.commands["info"].make_context("info", ["file.h5", *words])
            assert given(context.params)[field.name] is None


def test_choices_are_those_of_the_reader_and_help_has_no_names_of_code():
    options = {option.name: option for option in main.commands["info"].params}
    for name in ("line_start", "line_end"):
        assert options[name].type.choices == (*LINE_MARKS, "none")
    for field in dataclasses.fields(ReaderOptions):
        assert "`" not in options[field.name].help
    assert "is not one of" in run("info", "file.tpx3", "--line-start", "tdc3", fails=True)


def test_help_does_not_wait_for_py4dstem():
    code = (
        "import sys\nfrom py4dstem_eer.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print('py4DSTEM' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip().endswith("False")
    assert all(name in result.stdout for name in ("info", "convert", "ssb", "dpc", "demo"))
