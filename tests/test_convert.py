"""Any file to events in any format: exact, streamed, with the calibration."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import py4DSTEM
import pytest
from click.testing import CliRunner
from dm_files import write_dm

from py4dstem_eer import EventStore, SparseDataCube, dense_counts, open_events, streams
from py4dstem_eer.bridge.dense import open_dense
from py4dstem_eer.cli import main
from py4dstem_eer.errors import (
    CorruptFileError,
    EventError,
    EventWarning,
    FormatError,
    ParameterError,
)
from py4dstem_eer.workflow import convert
from py4dstem_eer.writers import TARGETS, WRITERS
from py4dstem_eer.writers.stempy import write_stempy

SHARED = Path(os.environ.get("PY4DSTEM_EER_DATA", Path(__file__).parents[2] / "shared/data"))
SHAPE = (3, 4, 10, 7)
EXTENSION = {"stempy": ".h5", "emd": ".emd", "raw_csr": ".toml"}


def counts(shape=SHAPE, largest=70_000, dtype=np.uint32, seed=0):
    data = np.random.default_rng(seed).poisson(0.3, shape).astype(dtype)
    data[1, 2] = 0
    data[2, 1, 4, 5] = largest
    return data


def write_dense_emd(folder, data):
    cube = py4DSTEM.DataCube(data, name="scan")
    cube.calibration.set_R_pixel_size(0.3)
    cube.calibration.set_R_pixel_units("A")
    cube.calibration.set_Q_pixel_size(0.02)
    cube.calibration.set_Q_pixel_units("A^-1")
    cube.calibration.set_QR_rotation(0.5)
    py4DSTEM.save(str(folder / "dense.h5"), cube)
    return folder / "dense.h5", {}


def write_empad(folder, data):
    frames = np.full((*data.shape[:2], 130, 128), -3.25, np.float32)
    frames[:, :, :128] = data
    frames.tofile(folder / "scan.raw")
    return folder / "scan.raw", {"scan_shape": data.shape[:2]}


def write_dm4(folder, data):
    axes = [(0.01, "1/nm"), (0.01, "1/nm"), (0.5, "nm"), (0.5, "nm")]
    dimension = [{"Origin": 0.0, "Scale": scale, "Units": unit} for scale, unit in axes]
    image = {
        "ImageData": {
            "Calibrations": {"Dimension": dimension},
            "Data": data,
            "DataType": {"float32": 2, "uint16": 10, "uint32": 11}[data.dtype.name],
            "Dimensions": [int(n) for n in data.shape[::-1]],
            "PixelDepth": data.itemsize,
        },
        "ImageTags": {"Microscope Info": {"Voltage": 80000.0}},
    }
    write_dm(folder / "scan.dm4", {"ImageList": [image]})
    return folder / "scan.dm4", {}


def write_arina(folder, data, mask=None, split=5, **filters):
    """Write a master file, two files of patterns that it links to, and the microscope's file."""
    patterns = data.reshape(-1, *data.shape[2:])
    with h5py.File(folder / "scan_master.h5", "w") as master:
        master.create_group("entry").attrs["NX_class"] = "NXentry"
        for number, part in enumerate((patterns[:split], patterns[split:]), 1):
            name = f"data_{number:06d}"
            with h5py.File(folder / f"scan_{name}.h5", "w") as file:
                chunks = (1, *data.shape[2:])
                file.create_dataset("entry/data/data", data=part, chunks=chunks, **filters)
            link = h5py.ExternalLink(f"scan_{name}.h5", "/entry/data/data")
            master.require_group("entry/data")[name] = link
        if mask is not None:
            master["entry/instrument/detector/detectorSpecific/pixel_mask"] = mask
    with h5py.File(folder / "scan.h5", "w") as beside:
        known = beside.create_group("STEM Metadata").attrs
        known.update({"Pixel Size": [0.02], "High Tension": [80e3]})
        known.update({"NumPixelsX": data.shape[1], "NumPixelsY": data.shape[0]})
    return folder / "scan_master.h5", {}


DENSE = {
    "emd": (write_dense_emd, SHAPE),
    "empad": (write_empad, (3, 4, 128, 128)),
    "dm": (write_dm4, SHAPE),
    "arina": (write_arina, SHAPE),
}


def run(*arguments, fails=False):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert (result.exit_code != 0) == fails, result.output
    assert not fails or isinstance(result.exception, SystemExit), result.exception
    return result.output


def truth(events):
    """Return the dense array, pattern by pattern."""
    found = np.zeros(events.shape, np.uint32)
    for p in range(events.n_patterns):
        entries = slice(events.indptr[p], events.indptr[p + 1])
        pattern = found[divmod(p, events.scan_shape[1])].reshape(-1)
        pattern[events.indices[entries]] = 1 if events.counts is None else events.counts[entries]
    return found


@pytest.fixture(params=TARGETS)
def target(request, tmp_path):
    """Path of a file to write and the name of its format; formats that are there."""
    if request.param in WRITERS:
        pytest.importorskip(WRITERS[request.param].function.split(":")[0])
    return tmp_path / f"out{EXTENSION[request.param]}", request.param


@pytest.mark.parametrize("kind", DENSE)
def test_dense_counts_are_kept_exactly(tmp_path, target, kind):
    write, shape = DENSE[kind]
    largest = 70_000 if target[1] != "stempy" else 7  # stempy has one frame for each count
    data = counts(shape, largest, np.float32 if kind == "empad" else np.uint32)
    path, options = write(tmp_path, data)
    scan = ("--scan-shape", *options["scan_shape"]) if options else ()
    said = run("convert", path, target[0], "--to", target[1], *scan)
    assert f"({target[1]}, scan (3, 4)" in said
    events = open_events(target[0])
    np.testing.assert_array_equal(truth(events), data)
    events.validate()


def test_calibration_of_a_dm4_goes_along(tmp_path):
    path, _ = write_dm4(tmp_path, counts(largest=3))
    for name in ("out.h5", "out.emd"):
        convert(path, tmp_path / name)
        calibration = py4DSTEM.import_file(tmp_path / name).calibration
        assert calibration.get_R_pixel_size() == pytest.approx(0.5)
        assert calibration.get_R_pixel_units() == "nm"
        assert calibration.get_Q_pixel_size() == pytest.approx(0.001)
        assert calibration.get_Q_pixel_units() == "A^-1"


def test_calibration_survives_every_format(tmp_path):
    path, _ = write_dense_emd(tmp_path, counts(largest=3))
    convert(path, tmp_path / "one.emd")
    convert(tmp_path / "one.emd", tmp_path / "two.h5")
    assert open_events(tmp_path / "two.h5").metadata["format"] == "stempy"
    convert(tmp_path / "two.h5", tmp_path / "three.h5")
    assert open_events(tmp_path / "three.h5", "emd").n_events == counts(largest=3).sum()
    for name in ("one.emd", "two.h5", "three.h5"):
        calibration = py4DSTEM.import_file(tmp_path / name).calibration
        assert calibration.get_R_pixel_size() == pytest.approx(0.3)
        assert calibration.get_Q_pixel_size() == pytest.approx(0.02)
        assert calibration.get_QR_rotation() == pytest.approx(0.5)
        assert not calibration.get_QR_flip()


def test_arina_is_exact_where_py4dstem_keeps_16_bits(tmp_path):
    hdf5plugin = pytest.importorskip("hdf5plugin")
    data, mask = counts(largest=2**32 - 2), np.zeros(SHAPE[2:], np.uint32)
    mask[3, 3] = 1
    data[:, :, 3, 3] = 2**32 - 1  # what DECTRIS writes where there is no measurement
    path, _ = write_arina(tmp_path, data, mask, **hdf5plugin.Bitshuffle())
    cube = open_dense(path)
    assert not cube.events.in_memory
    expected = np.where(mask > 0, 0, data)
    np.testing.assert_array_equal(truth(cube.events.load()), expected)
    assert cube.events.metadata["invalid_pixels"] == 1
    assert cube.events.metadata["energy"] == (80e3, "eV")
    assert cube.calibration.get_R_pixel_size() == pytest.approx(0.2)  # nm in the file, Å here
    other = open_dense(path, scan_shape=(2, 6))
    np.testing.assert_array_equal(truth(other.events.load()).ravel(), expected.ravel())
    with pytest.raises(ParameterError, match=r"12 patterns do not fill a scan of \(5, 3\)"):
        open_dense(path, scan_shape=(5, 3))


def test_arina_scans_are_not_guessed_silently(tmp_path):
    pytest.importorskip("hdf5plugin")
    data = counts(largest=9).reshape(2, 6, *SHAPE[2:])
    path, _ = write_arina(tmp_path, np.concatenate([data, data[:, :2]], axis=1))
    with h5py.File(tmp_path / "scan.h5", "a") as beside:
        beside["STEM Metadata"].attrs["NumPixelsY"] = 3
    with pytest.raises(ParameterError, match=r"16 patterns do not fill a scan of \(3, 8\)"):
        open_dense(path)
    (tmp_path / "scan.h5").unlink()
    with pytest.warns(EventWarning, match=r"\(4, 4\) is a guess"):
        cube = open_dense(path)
    assert cube.Rshape == (4, 4)
    assert open_dense(path, scan_shape=(2, 8)).Rshape == (2, 8)


@pytest.mark.parametrize("value", [-1, 0.5, np.nan, np.inf, 2.0**32])
def test_what_is_no_count_is_refused_by_position_and_value(tmp_path, value):
    data = counts(dtype=np.float64)
    data[1, 3, 6, 2], data[2, 0, 0, 0] = value, -7
    path, _ = write_dense_emd(tmp_path, data)
    before = (tmp_path / "out.h5").write_bytes(b"what was there")
    said = run("convert", path, tmp_path / "out.h5", fails=True)
    assert f"scan position (1, 3), pixel (6, 2) is {value}" in said
    assert "threshold" in said
    assert len((tmp_path / "out.h5").read_bytes()) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dense.h5", "out.h5"]
    with pytest.raises(ParameterError, match=r"\(1, 3\), pixel \(6, 2\)"):
        SparseDataCube.from_dense(data)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, ">u2"])
def test_threshold_makes_one_electron_of_each_pixel_from_it_on(tmp_path, dtype):
    data = np.random.default_rng(1).normal(20, 30, SHAPE).astype(dtype)
    data[0, 0, 0, 0], data[0, 0, 0, 1] = 40, 39
    if np.dtype(dtype).kind == "f":
        data[0, 0, 0, 2] = np.nan
    path, _ = write_dense_emd(tmp_path, data.astype(np.dtype(dtype).newbyteorder("=")))
    run("convert", path, tmp_path / "out.h5", "--threshold", "40")
    events = open_events(tmp_path / "out.h5")
    np.testing.assert_array_equal(truth(events), data >= 40)
    assert events.counts is None
    assert events.metadata["threshold"] == 40
    for given in (data, py4DSTEM.DataCube(data)):
        sparse = SparseDataCube.from_dense(given, threshold=40)
        np.testing.assert_array_equal(truth(sparse.events), data >= 40)


@pytest.mark.parametrize("threshold", [0, -1, np.nan, np.inf, "a", True])
def test_thresholds_are_positive_numbers(threshold):
    with pytest.raises(ParameterError, match="threshold is"):
        SparseDataCube.from_dense(np.zeros(SHAPE), threshold=threshold)


@pytest.mark.parametrize("bytes_at_once", [1, 300, 2**24])
@pytest.mark.parametrize("threshold", [None, 2])
def test_any_number_of_patterns_at_once_gives_the_same(monkeypatch, bytes_at_once, threshold):
    monkeypatch.setattr(dense_counts, "_BYTES_PER_CHUNK", bytes_at_once)
    data = counts()
    expected = data if threshold is None else data >= threshold
    events = EventStore.from_dense(data, threshold=threshold)
    np.testing.assert_array_equal(truth(events), expected)
    events.validate()


def peak_of(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["empad", "emd", "dm", "arina"])
def test_dense_files_are_never_in_memory(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(dense_counts, "_BYTES_PER_CHUNK", 2**18)
    data = np.zeros((12, 10, 128, 128), np.float32)
    data[::2, :, ::16, 5] = 1
    path, options = DENSE[kind][0](tmp_path, data)
    convert(path, tmp_path / "warm.h5", **options)
    peak = peak_of(lambda: convert(path, tmp_path / "out.h5", **options))
    assert peak < 0.4 * data.nbytes
    np.testing.assert_array_equal(truth(open_events(tmp_path / "out.h5")), data)


def test_a_memory_map_is_not_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(dense_counts, "_BYTES_PER_CHUNK", 2**18)
    path = tmp_path / "scan.raw"
    np.zeros((10, 12, 128, 128), np.uint16).tofile(path)
    mapped = np.memmap(path, np.uint16, "r", shape=(10, 12, 128, 128))
    cube = py4DSTEM.DataCube(mapped)
    SparseDataCube.from_dense(cube)
    assert peak_of(lambda: SparseDataCube.from_dense(cube)) < 0.4 * mapped.nbytes


@pytest.mark.parametrize("to", ["stempy", "emd"])
def test_events_are_never_all_in_memory(tmp_path, monkeypatch, to):
    monkeypatch.setattr(streams, "EVENTS_PER_BLOCK", 2**15)
    lengths = np.full(64 * 64, 400)
    indices = np.random.default_rng(0).integers(0, 2**16, lengths.sum()).astype(np.uint32)
    indptr = np.concatenate(([0], np.cumsum(lengths)))
    events = EventStore.from_lists((64, 64), (300, 300), indptr, indices)
    source = tmp_path / "in.h5"
    if to == "stempy":
        SparseDataCube(events).export(source, "emd")
    else:
        write_stempy(source, events)
    convert(source, tmp_path / "warm.h5", to)
    assert peak_of(lambda: convert(source, tmp_path / "out.h5", to)) < 0.6 * events.nbytes
    again = open_events(tmp_path / "out.h5")
    np.testing.assert_array_equal(again.indices, events.indices)
    np.testing.assert_array_equal(again.indptr, events.indptr)


def test_export_of_a_cube_in_memory_and_streamed(tmp_path, target):
    data = counts(largest=5)
    cube = SparseDataCube.from_dense(data)
    cube.calibration.set_R_pixel_size(0.25)
    cube.calibration.set_R_pixel_units("A")
    path, name = target
    cube.export(path)
    assert open_events(path).metadata.get("format", name) == name or name == "emd"
    np.testing.assert_array_equal(truth(open_events(path)), data)
    again = py4DSTEM.import_file(path, mem="MEMMAP")
    again.export(tmp_path / f"again{EXTENSION[name]}", name)
    np.testing.assert_array_equal(truth(open_events(tmp_path / f"again{EXTENSION[name]}")), data)


def test_export_keeps_results_in_emd(tmp_path):
    cube = SparseDataCube.from_dense(counts(largest=5))
    cube.get_dp_mean()
    cube.export(tmp_path / "out.emd")
    cube.export(tmp_path / "out.emd")  # replaces
    assert "dp_mean" in py4DSTEM.read(str(tmp_path / "out.emd")).treekeys


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("out.xyz", (), "extension '.xyz' does not say what to write"),
        ("out", (), "does not say what to write"),
        ("none/out.h5", (), "none"),
        ("dense.h5", (), "same file"),
        ("out.h5", ("--skip-frames", "1"), "skip_frames=1 means nothing for dense files"),
        ("out.h5", ("--scan-shape", "5", "5"), "does not fit a scan of"),
        ("out.h5", ("--threshold", "-1"), "threshold is -1"),
        ("out.h5", ("--format", "empad"), "py4DSTEM cannot open it"),
        ("out.h5", ("--format", "nonsense"), "filetype not recognized"),
    ],
)
def test_wrong_targets_and_options(tmp_path, name, options, words):
    path, _ = write_dense_emd(tmp_path, counts(largest=3))
    said = run("convert", path, tmp_path / name, *options, fails=True)
    assert words in " ".join(said.split()), said
    assert [p.name for p in tmp_path.iterdir()] == ["dense.h5"]


def test_a_dense_emd_file_may_be_named(tmp_path):
    data = counts(largest=3)
    path, _ = write_dense_emd(tmp_path, data)
    convert(path, tmp_path / "out.emd", format="emd")
    np.testing.assert_array_equal(truth(open_events(tmp_path / "out.emd")), data)


def test_threshold_means_nothing_for_events(tmp_path):
    SparseDataCube.from_dense(counts(largest=3)).export(tmp_path / "in.h5")
    said = run("convert", tmp_path / "in.h5", tmp_path / "out.h5", "--threshold", "2", fails=True)
    assert "threshold=2.0 means nothing" in said


def test_export_names_the_formats(tmp_path):
    cube = SparseDataCube.from_dense(counts(largest=3))
    with pytest.raises(ParameterError, match="did you mean 'stempy'"):
        cube.export(tmp_path / "out.h5", "stempi")
    with pytest.raises(ParameterError, match="does not say what to write"):
        cube.export(tmp_path / "out.npz")


def test_dense_scan_shape_flyback_and_square_default(tmp_path):
    data = counts((4, 4, 128, 128), 9, np.float32)
    path, _ = write_empad(tmp_path, data)
    np.testing.assert_array_equal(truth(open_dense(path).events.load()), data)
    cube = open_dense(path, scan_shape=(2, 8), keep_flyback=False)
    np.testing.assert_array_equal(truth(cube.events.load()), data.reshape(2, 8, 128, 128)[:, :7])
    with pytest.raises(ParameterError, match="has no other"):
        open_dense(path, scan_shape=(16, 1), keep_flyback=False)
    path, _ = write_empad(tmp_path, data[:3])
    with pytest.raises(FormatError, match=r"scan_shape=\(rows, columns\)"):
        open_dense(path)


def test_what_py4dstem_only_loads_whole(tmp_path):
    data = counts(largest=9, dtype=np.uint16)
    with h5py.File(tmp_path / "abtem.h5", "w") as file:
        file.update({"array": data, "sampling": [0.2, 0.2, 0.01, 0.01]})
        file["units"] = [unit.encode() for unit in ("Å", "Å", "mrad", "mrad")]
    cube = open_dense(tmp_path / "abtem.h5")
    np.testing.assert_array_equal(truth(cube.events.load()), data)
    assert cube.calibration.get_R_pixel_size() == pytest.approx(0.2)
    assert cube.events.metadata["converted_from"] == "abTEM"


def test_options_of_py4dstems_readers_are_passed_on(tmp_path):
    pytest.importorskip("hdf5plugin")
    path, _ = write_arina(tmp_path, counts((3, 4, 8, 8), 9, np.uint16))
    cube = open_dense(path, scan_width=6)
    assert cube.shape == (6, 2, 8, 8)
    with pytest.raises(FormatError, match="no_such_option"):
        open_dense(path, no_such_option=1)


def test_one_of_several_cubes(tmp_path):
    data = counts(largest=3)
    path = tmp_path / "two.h5"
    py4DSTEM.save(str(path), py4DSTEM.DataCube(data, name="first"))
    py4DSTEM.save(str(path), py4DSTEM.DataCube(2 * data, name="second"), mode="a")
    with pytest.raises(ParameterError, match="first_root/first, second_root/second"):
        open_dense(path)
    cube = open_dense(path, datapath="second_root/second")
    np.testing.assert_array_equal(truth(cube.events.load()), 2 * data)
    with pytest.raises(ParameterError, match="has no DataCube 'third'"):
        open_dense(path, datapath="third")


def test_files_that_hold_no_patterns(tmp_path):
    py4DSTEM.save(str(tmp_path / "slice.h5"), py4DSTEM.RealSlice(np.zeros((3, 4))))
    with pytest.raises(FormatError, match="holds no DataCube"):
        open_dense(tmp_path / "slice.h5")
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(FormatError, match="py4DSTEM cannot open it either") as caught:
        open_dense(tmp_path / "notes.txt")
    assert "scan_shape" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "none.dm4", tmp_path / "out.h5")


def test_a_lack_of_memory_is_none_of_the_file(tmp_path, monkeypatch):
    def short_of_memory(path):
        raise MemoryError

    path, _ = write_dense_emd(tmp_path, counts((3, 3, 6, 7), 3))
    monkeypatch.setattr("py4dstem_eer.bridge.dense._parse_filetype", short_of_memory)
    with pytest.raises(MemoryError):
        open_dense(path)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_truncated_dense_files_are_errors(tmp_path, kept):
    path, _ = write_dense_emd(tmp_path, counts((8, 8, 30, 30), 3))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(EventError) as caught:
        convert(path, tmp_path / "out.emd")
    assert isinstance(caught.value, (CorruptFileError, FormatError))
    assert not (tmp_path / "out.emd").exists()


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no shared data in {SHARED}")
def test_real_files(tmp_path):
    pytest.importorskip("hdf5plugin")
    convert(SHARED / "real/arina/test_00_master.h5", tmp_path / "arina.h5")
    cube = py4DSTEM.import_file(tmp_path / "arina.h5")
    assert cube.shape == (4, 4, 192, 192)
    assert cube.calibration.get_R_pixel_size() == pytest.approx(1.3915206)
    dense = SHARED / "real/emd/py4DSTEM_size2x3x4x5.h5"
    with pytest.raises(ParameterError, match=r"scan position \(0, 0\), pixel \(0, 0\) is 472\.52"):
        convert(dense, tmp_path / "emd.h5")
    convert(dense, tmp_path / "emd.h5", threshold=600.0)
    expected = py4DSTEM.read(str(dense)).data >= 600
    np.testing.assert_array_equal(truth(open_events(tmp_path / "emd.h5")), expected)
