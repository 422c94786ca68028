"""What `py4dstem-eer info` says, and what it reads for that."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import mib_files
import numpy as np
import py4DSTEM
import pytest
import stempy_files
import tpx3_files
from click.testing import CliRunner
from format_examples import EXAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st

from py4dstem_eer import EventStore, SparseDataCube, open_events, summary
from py4dstem_eer import event_layout as layout
from py4dstem_eer.cli import main
from py4dstem_eer.command_options import as_typed
from py4dstem_eer.errors import MissingOptionError
from py4dstem_eer.readers import FORMATS
from py4dstem_eer.readers.emd import EmdSource
from py4dstem_eer.readers.stempy_source import StempySource
from py4dstem_eer.streams import StreamedEventStore
from py4dstem_eer.summary import count_electrons, histogram


def info(*arguments, fails=False):
    result = CliRunner().invoke(main, ["info", *(str(a) for a in arguments)])
    assert (result.exit_code != 0) == fails, result.output
    assert not fails or isinstance(result.exception, SystemExit), result.exception
    return result.output


def value(text, name):
    return re.search(rf"^{re.escape(name)}: +(.*)$", text, re.MULTILINE)[1]


def typed(options):
    words = []
    for name, option in options.items():
        option = option if isinstance(option, tuple) else (option,)
        words += [f"--{name.replace('_', '-')}", *map(str, option)]
    return words


@pytest.mark.parametrize("name", [name for name in FORMATS if name in EXAMPLES])
def test_every_format_is_described(tmp_path, name):
    path, options = EXAMPLES[name](tmp_path)
    text = info(path, *typed(options))
    events = open_events(path, **options)
    rx, ry, qx, qy = events.shape
    assert value(text, "format").split(",")[0] == name
    assert value(text, "scan") == f"{rx} x {ry} positions (rows x columns)"
    assert value(text, "detector") == f"{qx} x {qy} pixels (rows x columns)"
    found = int(re.search(r"[\d,]+", value(text, "electrons"))[0].replace(",", ""))
    if not value(text, "electrons").startswith("about"):
        assert found == events.n_events
    looked_at = int(re.match(r"[\d,]+", value(text, "patterns"))[0].replace(",", ""))
    bars = re.findall(r"^ {4}.*? ([\d,]+)$", text, re.MULTILINE)
    assert sum(int(n.replace(",", "")) for n in bars) == looked_at


@pytest.mark.parametrize("name", [name for name in FORMATS if name in EXAMPLES])
def test_the_next_command_is_one_that_runs(tmp_path, name):
    path, options = EXAMPLES[name](tmp_path)
    command = value(info(path, *typed(options)), "next").split("   (")[0]
    program, method, *arguments = shlex.split(command)
    assert program == "py4dstem-eer"
    context = main.commands[method].make_context(method, arguments)
    assert context.params["file"] == path
    for option, chosen in options.items():
        assert context.params[option] == chosen
    assert context.params["semiangle_cutoff"] == 25


@pytest.mark.parametrize("layout", stempy_files.LAYOUTS)
def test_stempy_tables_tell_the_electrons_of_every_pattern(tmp_path, layout, monkeypatch):
    path = tmp_path / "events.h5"
    stempy_files.make(path, layout, seed=5)
    events = open_events(path)
    expected = [
        int(events.pattern(*divmod(p, events.scan_shape[1])).sum())
        for p in range(events.n_patterns)
    ]
    monkeypatch.setattr(StempySource, "read_rows", None)
    streamed = open_events(path, mem="MEMMAP")
    np.testing.assert_array_equal(streamed.events_per_pattern(), expected)
    part = np.reshape(expected, events.scan_shape)[1:, ::2]
    np.testing.assert_array_equal(streamed[1:, ::2].events_per_pattern(), part.ravel())
    assert streamed[1:, ::2].n_events == part.sum()
    assert f"{sum(expected):,};" in value(info(path), "electrons")
    text = info(path, "--no-flyback")
    assert f"{np.reshape(expected, events.scan_shape)[:, :-1].sum():,};" in value(text, "electrons")
    assert "--no-flyback" in value(text, "next")


SLOW_TO_IMPORT = {"py4DSTEM", "matplotlib", "scipy.fft"}


@pytest.mark.parametrize(
    ("name", "slow"),
    [
        ("stempy", SLOW_TO_IMPORT | {"numba"}),
        ("emd", SLOW_TO_IMPORT | {"numba"}),
        ("falcon", SLOW_TO_IMPORT),  # to count its electrons is to decode them
        ("raw_csr", SLOW_TO_IMPORT),
    ],
)
def test_nothing_is_imported_that_takes_longer_than_to_look(tmp_path, name, slow):
    path, options = EXAMPLES[name](tmp_path)
    code = (
        "import sys\nfrom py4dstem_eer.cli import main\n"
        f"main({['info', str(path), *typed(options)]}, standalone_mode=False)\n"
        f"print(sorted({slow} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.strip().endswith("[]"), result.stderr


def make_emd(path, data, **calibration):
    cube = SparseDataCube.from_dense(data)
    for name, setting in calibration.items():
        getattr(cube.calibration, f"set_{name}")(setting)
    py4DSTEM.save(str(path), cube)


def test_emd_without_reading_events(tmp_path, monkeypatch):
    data = np.random.default_rng(0).integers(0, 2, (6, 5, 8, 9))
    data[2, 3] = 0
    make_emd(tmp_path / "cube.h5", data, R_pixel_size=0.2, R_pixel_units="nm")
    monkeypatch.setattr(EmdSource, "read_rows", None)
    text = info(tmp_path / "cube.h5")
    assert value(text, "electrons") == f"{data.sum():,}; {data.sum() / 30:.1f} per pattern"
    assert value(text, "patterns") == "30; 1 empty"
    assert value(text, "dose") == f"{data.sum() / 30 / 4:,.4g} electrons/Å² (scan step 2 Å)"
    assert value(text, "R_pixel_size") == "0.2 nm"
    assert "--force-scan-sampling" not in value(text, "next")
    cropped = open_events(tmp_path / "cube.h5", mem="MEMMAP", keep_flyback=False)
    np.testing.assert_array_equal(cropped.events_per_row(), data[:, :-1].sum(axis=(1, 2, 3)))


def test_emd_with_counts_is_counted_and_looked_at(tmp_path, monkeypatch):
    data = np.random.default_rng(0).poisson(0.4, (7, 5, 8, 9))
    make_emd(tmp_path / "cube.h5", data)
    assert value(info(tmp_path / "cube.h5"), "patterns").startswith("35;")
    monkeypatch.setattr(summary, "_SMALL", 0)
    monkeypatch.setattr(summary, "_READ_BYTES", 1)
    monkeypatch.setattr(summary, "_GLANCE", -1.0)  # one read
    text = info(tmp_path / "cube.h5")
    assert value(text, "electrons").startswith(f"{data.sum():,};")
    assert value(text, "patterns").startswith("1 of 35 looked at")
    first = data[0, 0].sum()
    assert value(text, "electrons per pattern").startswith(f"from {first} to {first},")


@pytest.mark.parametrize(
    ("value", "message"), [(2, "are listed for them"), (0, "are not from 1 to")]
)
def test_damaged_counts_are_not_counted(tmp_path, value, message):
    data = np.random.default_rng(0).poisson(0.4, (7, 5, 8, 9))
    make_emd(tmp_path / "cube.h5", data)
    with stempy_files.h5py.File(tmp_path / "cube.h5", "r+") as file:
        found = []
        file.visit(lambda name: found.append(name) if name.endswith(f"/{layout.COUNTS}") else None)
        counts = file[found[0]]
        at = int(np.flatnonzero(counts[:] == 1)[-1])
        counts[at] = value
    result = CliRunner().invoke(main, ["info", str(tmp_path / "cube.h5")])
    assert result.exit_code == 1
    assert message in result.output


def test_missing_frames_are_told_from_empty_ones(tmp_path):
    path = tmp_path / "events.h5"
    stempy_files.make(path, "v2", seed=5)
    events = open_events(path)
    with stempy_files.h5py.File(path) as file:
        there = set(file["electron_events/scan_positions"][:].tolist())
    missing = events.n_patterns - len(there)
    words = "each has its frame" if missing == 0 else f"{missing} of them without a frame"
    assert words in value(info(path), "patterns")
    stempy_files.make(tmp_path / "v3.h5", "v3", seed=5)
    assert "frame" not in value(info(tmp_path / "v3.h5"), "patterns")


class Untold:
    """A source that only reading tells about."""

    metadata, nbytes, count_dtype = {}, 0, np.dtype(np.uint8)

    def __init__(self, data):
        self.data, self.scan_shape, self.detector_shape = data, data.shape[:2], data.shape[2:]
        self.rows = []

    def events_per_row(self):
        return None

    def read_rows(self, start, stop):
        self.rows.append((start, stop))
        return EventStore.from_dense(self.data[start:stop])


def test_a_glance_reads_some_rows_and_estimates_the_rest(monkeypatch):
    data = np.random.default_rng(0).poisson(0.4, (9, 4, 5, 6))
    monkeypatch.setattr(summary, "_SMALL", 0)
    monkeypatch.setattr(summary, "_READ_BYTES", 1)
    source = Untold(data)
    everything = count_electrons(StreamedEventStore(source), 9)
    assert everything.exact
    assert everything.total == data.sum()
    assert sorted(source.rows) == [(n, n + 1) for n in range(9)]
    early = [row for row, _ in source.rows[:3]]
    assert max(early) - min(early) >= 4  # spread over the scan
    monkeypatch.setattr(summary, "_GLANCE", -1.0)
    part = count_electrons(StreamedEventStore(Untold(data)), 9)
    np.testing.assert_array_equal(part.per_pattern, data[0].sum(axis=(1, 2)))
    assert not part.exact
    assert part.total == round(data[0].sum() * 9)


def test_the_clock_of_a_glance_starts_after_the_first_read(monkeypatch):
    """However long that takes to load kernels; then bytes limit it, too."""
    data = np.ones((40, 2, 3, 4), int)
    source, now = Untold(data), [0.0]
    read = source.read_rows

    def slow_at_first(start, stop):
        now[0] += 0.01 if source.rows else 100.0
        return read(start, stop)

    source.read_rows = slow_at_first
    monkeypatch.setattr(summary, "_SMALL", 0)
    monkeypatch.setattr(summary, "_READ_BYTES", 1)
    monkeypatch.setattr(summary.time, "perf_counter", lambda: now[0])
    count_electrons(StreamedEventStore(source), 40)
    assert 20 <= len(source.rows) <= 22  # 0.2 s at 0.01 s each
    monkeypatch.setattr(summary, "_MOST_BYTES", 5)
    source.rows.clear()
    count_electrons(StreamedEventStore(source), 40)
    assert len(source.rows) == 5


def test_small_files_are_read_whole_whatever_the_clock_says(monkeypatch):
    monkeypatch.setattr(summary, "_GLANCE", -1.0)
    source = Untold(np.random.default_rng(0).poisson(0.4, (9, 4, 5, 6)))
    everything = count_electrons(StreamedEventStore(source), 2**23)
    assert (everything.exact, everything.total) == (True, source.data.sum())
    assert source.rows == [(0, 9)]
    assert not count_electrons(StreamedEventStore(source), 2**23 + 1).exact


def test_large_rows_are_read_in_parts(tmp_path, monkeypatch):
    mib_files.write_parts(tmp_path, "scan", (12, 12), (4, 6))  # 5376 bytes for a row
    monkeypatch.setattr(summary, "_SMALL", 0)
    monkeypatch.setattr(summary, "_READ_BYTES", 1000)
    monkeypatch.setattr(summary, "_GLANCE", -1.0)
    for options, n_patterns in (((), 24), (("--no-flyback",), 20), (("--errors", "skip"), 24)):
        text = info(tmp_path / "scan.hdr", *options)
        looked_at, total = map(int, re.match(r"(\d+) of (\d+)", value(text, "patterns")).groups())
        assert (looked_at < 6, total) == (True, n_patterns)
        assert value(text, "scan").startswith(f"4 x {n_patterns // 4}")


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (143881, "141 KiB"),
        (1048575, "1 MiB"),
        (2**30 * 130, "130 GiB"),
        (2**41, "2 TiB"),
        (2**51, "2,048 TiB"),
    ],
)
def test_memory_is_said_in_a_unit_that_suits_it(n_bytes, text):
    assert summary.in_bytes(n_bytes) == text


def test_rows_too_large_for_a_glance_are_not_read():
    source = Untold(np.zeros((2, 4, 5, 6), int))
    unknown = count_electrons(StreamedEventStore(source), 2**40)
    assert (unknown.total, len(unknown.per_pattern), source.rows) == (None, 0, [])
    empty = count_electrons(StreamedEventStore(Untold(np.zeros((0, 4, 5, 6), int))), 10)
    assert len(empty.per_pattern) == 0


def test_the_size_of_an_acquisition_is_that_of_all_its_files(tmp_path, monkeypatch):
    data, _ = mib_files.write_parts(tmp_path, "scan", (12, 12), (4, 6))
    n_bytes = sum(file.stat().st_size for file in tmp_path.glob("*.mib"))
    monkeypatch.setattr(summary, "_READ_BYTES", 1)
    monkeypatch.setattr(summary, "_GLANCE", -1.0)  # one read
    monkeypatch.setattr(summary, "_SMALL", n_bytes - 1)
    for name in ("scan.hdr", "scan1.mib"):
        assert value(info(tmp_path / name), "patterns").startswith("1 of 24 looked at")
    monkeypatch.setattr(summary, "_SMALL", n_bytes)
    assert value(info(tmp_path / "scan.hdr"), "electrons").startswith(f"{data.sum():,};")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
def test_histograms_count_every_pattern_once(values):
    head, *lines = histogram(np.array(values)).split("\n")
    assert head.startswith(f"from {min(values):,} to {max(values):,},")
    assert 1 <= len(lines) <= 8
    total = 0
    for line in lines:
        numbers = [int(n.replace(",", "")) for n in re.findall(r"[\d,]+", line)]
        low, high, count = numbers if len(numbers) == 3 else (numbers[0], numbers[0], numbers[1])
        assert count == sum(low <= v <= high for v in values)
        total += count
    assert total == len(values)
    longest = max(lines, key=lambda line: int(line.split()[-1].replace(",", "")))
    assert longest.count("█") == 40


def test_what_is_missing_is_named_with_what_is_known(tmp_path):
    path, _ = EXAMPLES["falcon"](tmp_path)
    with pytest.raises(MissingOptionError):
        open_events(path)
    text = info(path, "--superres", "1")
    assert value(text, "format") == "falcon, version 65001"
    assert value(text, "scan") == "unknown; 35 frames"
    assert value(text, "frames").startswith("35;")
    n_events = open_events(path, scan_shape=(5, 7)).n_events
    assert value(text, "electrons") == f"{n_events:,}; {n_events / 35:.1f} per frame"
    assert value(text, "electrons per frame").startswith("from ")
    assert value(text, "dose").startswith(f"{n_events / 35:.4g} electrons per frame")
    assert {"dense", "sparse"} <= {line.split(":")[0] for line in text.splitlines()}
    assert re.fullmatch(r"\d+ x \d+ pixels \(rows x columns\)", value(text, "detector"))
    assert "scan_shape=(rows, columns)" in value(text, "missing")
    command = f"py4dstem-eer info {path} --superres 1 --scan-shape ROWS COLUMNS"
    assert value(text, "next") == command
    assert "35" in info(path, "--scan-shape", "9", "9", fails=True)  # wrong, rather than missing


def test_a_stempy_file_without_its_scan(tmp_path):
    path = tmp_path / "events.h5"
    stempy_files.make(path, "v3", seed=5)
    with stempy_files.h5py.File(path, "a") as file:
        for name in ("Nx", "Ny"):
            del file["electron_events/scan_positions"].attrs[name]
    assert "--scan-shape ROWS COLUMNS" in value(info(path), "next")


def test_dense_files_are_sent_to_convert(tmp_path):
    py4DSTEM.save(str(tmp_path / "dense.h5"), py4DSTEM.DataCube(np.zeros((2, 3, 4, 5))))
    text = info(tmp_path / "dense.h5", fails=True)
    assert f"py4dstem-eer convert {tmp_path / 'dense.h5'} OUT.h5" in text


def test_long_metadata_are_cut_and_files_with_spaces_quoted(tmp_path):
    events = EventStore.from_dense(np.ones((2, 3, 4, 5), int), {"notes": "many words " * 99})
    path = tmp_path / "a scan.h5"
    SparseDataCube(events).export(path)
    text = info(path)
    assert len(value(text, "notes")) == 120
    assert shlex.split(value(text, "next").split("   (")[0])[2] == str(path)


def test_of_several_missing_options_the_next_is_asked_for(tmp_path):
    path, _ = EXAMPLES["tpx3"](tmp_path, marks=False)
    text = info(path)
    assert int(value(text, "hits")) > 0
    command = f"py4dstem-eer info {path} --scan-shape ROWS COLUMNS --dwell-time VALUE"
    assert value(text, "next") == command
    text = info(path, "--scan-shape", 5, 7)
    command = f"py4dstem-eer info {path} --scan-shape 5 7 --dwell-time VALUE"
    assert value(text, "next") == command


@pytest.mark.parametrize("name", ["falcon", "merlin"])
def test_frames_without_a_scan_are_described_one_by_one(tmp_path, name):
    path, _ = EXAMPLES[name](tmp_path)
    path.with_suffix(".hdr").unlink(missing_ok=True)
    events = open_events(path, scan_shape=(35, 1))
    data = np.array([int(events.pattern(p, 0).sum()) for p in range(35)])
    text = info(path)
    assert value(text, "electrons") == f"{data.sum():,}; {data.mean():.1f} per frame"
    assert value(text, "frames") == f"35; {np.count_nonzero(data == 0)} empty"
    shape = tuple(map(int, re.match(r"(\d+) x (\d+)", value(text, "detector")).groups()))
    assert value(text, "dense").startswith(summary.in_bytes(2 * 35 * shape[0] * shape[1]))
    pairs = data[1:].reshape(-1, 2).sum(axis=1)
    text = info(path, "--frames-per-position", 2, "--no-flyback")
    assert value(text, "electrons") == f"{pairs.sum():,}; {pairs.mean():.1f} per position"
    assert value(text, "next").endswith("--scan-shape ROWS COLUMNS")


def test_the_dose_is_of_the_calibrated_scan(tmp_path):
    """A file may keep the step of the scan that it was made of beside its own."""
    events = EventStore.from_dense(np.ones((4, 6, 4, 5), int), {"scan_step": ((0.5, 0.5), "A")})
    cube = SparseDataCube(events)
    cube.bin_R(2)
    for name in ("binned.toml", "binned.emd", "binned.h5"):
        cube.export(tmp_path / name)
        assert value(info(tmp_path / name), "dose") == "80 electrons/Å² (scan step 1 Å)"


@pytest.mark.parametrize(
    ("options", "proposed"),
    [
        ({"skip_frames": 10}, "--scan-shape 5 5"),  # 25
        ({"skip_frames": 5}, "--scan-shape 5 6 --no-flyback"),  # 30
        ({"skip_frames": 5, "keep_flyback": False}, "--no-flyback --scan-shape 5 6"),
        ({"skip_frames": 17, "frames_per_position": 2}, "--scan-shape 3 3"),
        ({"skip_frames": 16, "frames_per_position": 2}, "--scan-shape ROWS COLUMNS"),
        ({"skip_frames": 34}, "--scan-shape ROWS COLUMNS"),
        ({"skip_frames": 35}, "--scan-shape ROWS COLUMNS"),
        ({"skip_frames": 1000}, "--scan-shape ROWS COLUMNS"),
    ],
)
def test_a_scan_shape_is_guessed(tmp_path, options, proposed):
    path, _ = EXAMPLES["falcon"](tmp_path)
    command, _, hint = value(info(path, *as_options(options)), "next").partition("   (")
    assert proposed in command
    assert ("a guess" in hint) == ("ROWS" not in proposed)
    if hint:
        assert "electrons" in info(*shlex.split(command)[2:])


def as_options(options):
    return " ".join(as_typed(*option) for option in options.items()).split()


@pytest.mark.parametrize("suffix", [".emd", ".h5", ".toml"])
def test_no_flyback_is_proposed_where_there_may_be_one(tmp_path, suffix):
    path, _ = EXAMPLES["stempy"](tmp_path)
    assert "--no-flyback" in value(info(path), "next")
    for keep in (True, False):
        cube = SparseDataCube(open_events(path, keep_flyback=keep))
        cube.export(tmp_path / f"keep_{keep}{suffix}")
        assert ("--no-flyback" in value(info(tmp_path / f"keep_{keep}{suffix}"), "next")) == keep
    dense = EventStore.from_dense(np.ones((2, 3, 4, 5), int), {"converted_from": "dm"})
    SparseDataCube(dense).export(tmp_path / "dense.emd")
    assert "--no-flyback" not in value(info(tmp_path / "dense.emd"), "next")


def test_line_marks_of_another_signal(tmp_path):
    """The command that comes next is one that goes further, with both edges."""
    scan = tpx3_files.Scan((5, 7), per_line=20, seed=9)
    hits = scan.packets(marks=False)
    path = tmp_path / "events.tpx3"
    marked = sorted(hits + scan.marks("tdc2_rise", "tdc2_fall"))
    path.write_bytes(tpx3_files.stream([packet[1:] for packet in marked]))
    command = f"py4dstem-eer info {path} --line-start tdc2_rise --line-end tdc2_fall"
    assert value(info(path), "next") == command
    assert value(info(path, "--line-start", "tdc1_fall"), "next") == command
    text = info(path, "--line-start", "tdc2_rise", "--scan-shape", 5, 7)  # the end follows
    assert value(text, "electrons").startswith(f"{sum(scan.truth().values())};")
    for errors in ("raise", "skip"):
        options = ("--line-start", "tdc2_rise", "--line-end", "tdc1_fall", "--errors", errors)
        text = info(path, *options, "--scan-shape", 5, 7)
        assert "has no edges of tdc1_fall, but 5 of tdc2_rise, 5 of tdc2_fall" in text
        assert "--line-start tdc2_rise --line-end tdc2_fall" in value(text, "next")
