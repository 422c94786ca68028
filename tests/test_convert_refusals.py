"""What convert and the readers say about files that cannot be read or written as they are."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import signal
import zipfile

import numpy as np
import py4DSTEM
import pytest
import raw_csr_files
from click.testing import CliRunner

from py4dstem_eer import SparseDataCube, open_events
from py4dstem_eer.cli import main
from py4dstem_eer.errors import FormatError, ParameterError
from py4dstem_eer.streams import StreamedEventStore
from py4dstem_eer.workflow import convert


def cube():
    return SparseDataCube.from_dense(np.random.default_rng(0).poisson(0.3, (4, 5, 9, 8)))


def zipped(data):
    path = "events.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("events.h5", data)
    with open(path, "rb") as file:
        return file.read()


# of the last three, as their formats define them
PACKED = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": zipped,
    "zstd": lambda data: bytes.fromhex("28b52ffd") + data,
    "7z": lambda data: b"7z" + bytes.fromhex("bcaf271c") + data,
    "lz4": lambda data: bytes.fromhex("04224d18") + data,
}


@pytest.mark.parametrize("name", PACKED)
def test_packed_files_are_said_to_be(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    cube().export("events.h5")
    with open("events.h5", "rb") as file:
        packed = PACKED[name](file.read())
    (tmp_path / "packed.h5").write_bytes(packed)
    words = f"it is compressed with {name}: unpack it first"
    with pytest.raises(FormatError, match=words):
        open_events("packed.h5")
    with pytest.raises(FormatError, match=words):
        py4DSTEM.import_file("packed.h5", filetype="eer")
    with pytest.raises(FormatError, match=words):
        convert(tmp_path / "packed.h5", tmp_path / "out.emd")
    assert words in CliRunner().invoke(main, ["info", "packed.h5"]).output


@pytest.mark.parametrize("command", ["convert", "ssb", "dpc"])
@pytest.mark.parametrize("why", ["no directory", "no permission"])
def test_where_nothing_can_be_written(tmp_path, monkeypatch, command, why):
    cube().export(tmp_path / "in.h5")
    folder = tmp_path / "folder"
    if why == "no permission":
        folder.mkdir()
        access = os.access  # the tests may run as root, who may write anywhere
        monkeypatch.setattr(os, "access", lambda p, mode: str(p) != str(folder) and access(p, mode))
    monkeypatch.setattr("py4dstem_eer.workflow._open", lambda *_: pytest.fail("it was opened"))
    out = [] if command == "convert" else ["--output"]
    result = CliRunner().invoke(main, [command, str(tmp_path / "in.h5"), *out, f"{folder}/o.emd"])
    assert result.exit_code == 1
    assert f"cannot write {folder}/o.emd" in result.output
    assert why in result.output
    assert not folder.exists() or not os.listdir(folder)


@pytest.mark.parametrize("to", ["emd", "stempy", "raw_csr"])
def test_termination_leaves_no_unfinished_file(tmp_path, monkeypatch, to):
    cube().export(tmp_path / "in.h5")
    blocks, written = StreamedEventStore.blocks, []

    def end_while_writing(self):
        for block in blocks(self):
            yield block
            written.extend(tmp_path.glob(".*.part"))
            if written:
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(StreamedEventStore, "blocks", end_while_writing)
    before = signal.getsignal(signal.SIGTERM)
    result = CliRunner().invoke(main, ["convert", f"{tmp_path}/in.h5", f"{tmp_path}/o", "--to", to])
    assert result.exit_code == 128 + signal.SIGTERM
    assert written
    assert os.listdir(tmp_path) == ["in.h5"]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("path", [None, 3, ["a.h5"]])
@pytest.mark.parametrize("format", [None, "emd", "stempy"])
def test_export_takes_a_path(path, format):
    with pytest.raises(ParameterError, match="expected the path of a file to write"):
        cube().export(path, format)


@pytest.mark.parametrize("shape", [(10**9, 10**9), (2**32, 2**32), (2**16, 2**15)])
@pytest.mark.parametrize("mem", ["RAM", "MEMMAP"])
def test_scans_of_which_next_to_nothing_is_there(tmp_path, shape, mem):
    raw_csr_files.make(tmp_path / "scan.toml")
    with pytest.raises(ParameterError, match=r"takes \d+ frames, and the arrays have 35"):
        open_events(tmp_path / "scan.toml", scan_shape=shape, mem=mem)
    with pytest.raises(ParameterError, match="with 1000000000 frames per position"):
        open_events(tmp_path / "scan.toml", scan_shape=(5, 7), frames_per_position=10**9, mem=mem)


def test_a_link_to_a_description_in_another_folder(tmp_path):
    for name, seed in (("there", 0), ("here", 1)):
        (tmp_path / name).mkdir()
        counts = raw_csr_files.make(tmp_path / name / "scan.toml", seed=seed)
    there = open_events(tmp_path / "there/scan.toml")
    (tmp_path / "other").mkdir()
    link = tmp_path / "other/linked.toml"
    link.symlink_to("../there/scan.toml")
    np.testing.assert_array_equal(open_events(link).indices, there.indices)
    for name in raw_csr_files.ARRAYS:  # what lies beside the link comes first
        file = f"scan_{name}.raw"
        os.link(tmp_path / "here" / file, tmp_path / "other" / file)
    assert open_events(link).n_events == counts.sum()
    os.remove(tmp_path / "there/scan_data.raw")
    os.remove(tmp_path / "other/scan_data.raw")
    with pytest.raises(FileNotFoundError, match=f"there is no file {tmp_path}/other/scan_data"):
        open_events(link)
