"""Formats that other packages add, with the example package as the first of them."""

from __future__ import annotations

import importlib.metadata
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import py4DSTEM
import pytest
from click.testing import CliRunner
from format_examples import write_stempy

import py4dstem_eer
from py4dstem_eer.cli import main
from py4dstem_eer.errors import (
    CorruptFileError,
    EventRangeError,
    EventWarning,
    FormatError,
    ParameterError,
    PluginError,
)
from py4dstem_eer.readers import FORMATS, detect, format_names, load_reader, open_events, plugins

tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")

TOY = Path(__file__).parents[1] / "examples/toy_format"
SHAPE = (5, 4, 9, 7)

#: A format of one line: the least that a module has to offer.
SMALL = """
from pathlib import Path
NAME, USES, EXTENSIONS = {name!r}, set(), set()
def recognises(path):
    return path.read_bytes().startswith(b"ANY")
def open_source(path, options):
    raise NotImplementedError
"""


def install(folder, package, modules, entries):
    """Lay out what pip would have written for a package."""
    folder.mkdir(exist_ok=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[{plugins.GROUP}]", *(f"{name} = {module}" for name, module in entries)]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages."""
    folder, before = tmp_path / "site", set(sys.modules)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def toy(site):
    """The example package, installed as its pyproject.toml says."""
    project = tomllib.loads((TOY / "pyproject.toml").read_text())
    files = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    modules = {Path(name).stem: (TOY / name).read_text() for name in files}
    entries = project["project"]["entry-points"][plugins.GROUP].items()
    install(site, project["project"]["name"], modules, entries)


def write_toy(path, data, step=2.5):
    """Write dense counts (Rx, Ry, Qx, Qy) as the README of the example says."""
    pixels = [np.repeat(np.arange(p.size), p.ravel()) for row in data for p in row]
    with path.open("wb") as file:
        file.write(b"TOYEVENT" + struct.pack("<4Id", *data.shape, step))
        file.write(struct.pack(f"<{len(pixels)}I", *map(len, pixels)))
        for pattern in pixels:
            file.write(struct.pack(f"<{len(pattern)}I", *pattern[::-1]))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "scan.dat"
    write_toy(path, DATA)
    return path


DATA = np.random.default_rng(5).poisson(0.4, SHAPE)


def dense(store):
    rows, columns = store.scan_shape
    return np.array([[store.pattern(i, j) for j in range(columns)] for i in range(rows)])


@pytest.mark.usefixtures("toy")
class TestToyFormat:
    def test_opens_by_content_and_by_name(self, path):
        assert detect(path) == "toy"
        for name in (None, "eer", "toy"):
            loaded = open_events(path, name)
            streamed = open_events(path, name, mem="MEMMAP")
            loaded.validate()
            np.testing.assert_array_equal(dense(loaded), DATA)
            assert not streamed.in_memory
            np.testing.assert_array_equal(dense(streamed), DATA)
            assert streamed.n_events == loaded.n_events == DATA.sum()
            assert loaded.metadata == streamed.metadata

    def test_options(self, path):
        np.testing.assert_array_equal(dense(open_events(path, keep_flyback=False)), DATA[:, :-1])
        store = open_events(path, scan_shape=(2, 10), mem="MEMMAP")
        np.testing.assert_array_equal(dense(store), DATA.reshape(2, 10, 9, 7))
        with pytest.raises(ParameterError, match="skip_frames=2 means nothing for toy"):
            open_events(path, skip_frames=2)

    def test_gives_py4dstem_a_cube(self, path):
        for options in ({}, {"filetype": "toy", "mem": "MEMMAP"}, {"filetype": "eer"}):
            cube = py4DSTEM.import_file(path, **options)
            assert isinstance(cube, py4dstem_eer.SparseDataCube)
            np.testing.assert_array_equal(np.asarray(cube.data[:]), DATA)
            assert cube.calibration.get_R_pixel_size() == 2.5
            assert cube.calibration.get_R_pixel_units() == "A"

    def test_on_the_command_line(self, path):
        for options in ([], ["--format", "toy"]):
            result = CliRunner().invoke(main, ["info", str(path), *options])
            assert result.exit_code == 0, result.output
            assert "toy" in result.output
            assert f"{DATA.sum():,}" in result.output

    def test_extension_where_the_content_says_nothing(self, tmp_path):
        other = tmp_path / "scan.toy"
        other.write_bytes(b"TOYEVINT")
        assert detect(other) == "toy"
        with pytest.raises(FormatError, match="does not begin with"):
            open_events(other)

    def test_damage(self, path):
        whole = path.read_bytes()
        for end in range(9, len(whole), 7):
            path.write_bytes(whole[:end])
            with pytest.raises(CorruptFileError, match=r"scan\.dat"):
                open_events(path)
        path.write_bytes(whole[:-4] + struct.pack("<I", 63))
        with pytest.raises(CorruptFileError, match="pattern 19: an event lies outside"):
            open_events(path)

    def test_is_known_wherever_formats_are_listed(self, tmp_path):
        assert format_names() == (*FORMATS, "toy")
        notes = tmp_path / "notes.txt"
        notes.write_text("some words")
        with pytest.raises(FormatError, match=", toy\\)"):
            open_events(notes)
        with pytest.raises(ParameterError, match="did you mean 'toy'"):
            open_events(notes, "toi")

    def test_files_of_built_in_formats_stay_theirs(self, tmp_path):
        events, _ = write_stempy(tmp_path)
        assert detect(events) == "stempy"
        assert "py4dstem_eer_toy" not in sys.modules


def test_listing_imports_no_plugin(site):
    install(site, "any", {"any_format": "raise SystemExit"}, [("any", "any_format")])
    assert "any" in format_names()
    assert "any_format" not in sys.modules


def test_plugins_are_asked_by_name_and_only_until_one_recognises(site, tmp_path):
    for name in ("bbb", "aaa", "ccc"):
        install(site, f"package-{name}", {f"of_{name}": SMALL.format(name=name)},
                [(name, f"of_{name}")])  # fmt: skip
    file = tmp_path / "events.any"
    file.write_text("ANY")
    assert detect(file) == "aaa"
    assert "of_aaa" in sys.modules
    assert "of_bbb" not in sys.modules


BROKEN = {
    "no such module": (None, "cannot be imported"),
    "syntax": ("def", "cannot be imported"),
    "missing package": ("import no_such_package_at_all", "no_such_package_at_all"),
    "empty": ("", "lacks NAME, USES, EXTENSIONS, recognises, open_source"),
    "half": (SMALL.format(name="bad").split("def open")[0], "lacks open_source"),
    "name": (SMALL.format(name="other"), "NAME = 'other'"),
    "option": (SMALL.format(name="bad") + "USES = {'voltage'}", "unknown options, voltage"),
    "extension": (SMALL.format(name="bad") + "EXTENSIONS = ['X']", "begin with a dot"),
    "raises": (SMALL.format(name="bad") + "def recognises(path): 1 / 0", "ZeroDivisionError"),
}


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_named_and_left_out(site, path, kind):
    text, message = BROKEN[kind]
    module = f"bad_{kind.replace(' ', '_')}"
    install(site, "bad-package", {} if text is None else {module: text}, [("bad", module)])
    with pytest.warns(EventWarning, match=f"format 'bad'.*{message}.*left out"):
        assert detect(path) == "toy"
    if kind != "raises":
        with pytest.raises(PluginError, match=f"package 'bad-package'.*{message}"):
            load_reader("bad")


@pytest.mark.parametrize("name", ["stempy", "eer"])
def test_a_plugin_cannot_take_a_name_that_is_taken(site, tmp_path, name):
    install(site, "thief", {"thief": SMALL.format(name=name)}, [(name, "thief")])
    with pytest.warns(EventWarning, match=f"'{name}' .package 'thief'.*means something else"):
        assert format_names() == tuple(FORMATS)
    assert load_reader("stempy").__name__ == FORMATS["stempy"]


def test_two_plugins_of_one_name(site):
    for name in ("second", "first"):
        install(site, name, {f"the_{name}": SMALL.format(name="same")}, [("same", f"the_{name}")])
    with pytest.warns(EventWarning, match="'second'.*left out: package 'first'"):
        assert load_reader("same").__name__ == "the_first"


def test_a_plugin_that_gives_events_beyond_the_detector(site, tmp_path):
    """What a plug-in reads is checked like everything else."""
    text = SMALL.format(name="bad") + (
        "import numpy as np\n"
        "from py4dstem_eer import EventStore\n"
        "class Source:\n"
        "    scan_shape, detector_shape, metadata, nbytes = (1, 1), (2, 2), {}, 0\n"
        "    count_dtype, events_per_row = np.dtype('u1'), lambda self: None\n"
        "    def read_rows(self, start, stop):\n"
        "        return EventStore.from_lists((1, 1), (2, 2), [0, 2], np.array([1, 4]))\n"
        "def open_source(path, options): return Source()\n"
    )
    install(site, "bad-package", {"outside": text}, [("bad", "outside")])
    file = tmp_path / "events.any"
    file.write_text("ANY")
    with pytest.raises(EventRangeError, match="index 4 lies outside"):
        open_events(file)


def test_the_example_builds_into_what_the_tests_lay_out(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling, which builds the example, is not installed")
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", "--target", target, TOY], check=True, timeout=120)
    (found,) = importlib.metadata.distributions(path=[str(target)])
    (entry,) = found.entry_points.select(group=plugins.GROUP)
    assert (entry.name, entry.value) == ("toy", "py4dstem_eer_toy")
    assert (target / "py4dstem_eer_toy.py").read_text() == (TOY / "py4dstem_eer_toy.py").read_text()
