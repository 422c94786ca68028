"""Calibration from Gatan files, made here tag by tag."""

from __future__ import annotations

import struct

import pytest
import stempy_files
from dm_files import write_dm

from py4dstem_eer.errors import CalibrationError, CorruptFileError, EventWarning, FormatError
from py4dstem_eer.readers import open_events
from py4dstem_eer.readers.gatan import read_calibration

pytest.importorskip("ncempy", reason="ncempy is not installed")


def image(*axes, **microscope):
    dimension = [{"Origin": 0.0, "Scale": scale, "Units": unit} for scale, unit in axes]
    return {
        "ImageData": {
            "Calibrations": {"Dimension": dimension},
            "DataType": 2,
            "Dimensions": [4 for _ in axes],
        },
        "ImageTags": {"Microscope Info": microscope},
    }


THUMBNAIL = image((1.0, ""), (1.0, ""))


@pytest.mark.parametrize("version", [3, 4])
def test_all_that_is_there(tmp_path, version):
    path = tmp_path / f"scan.dm{version}"
    info = {"Voltage": 80000.0, "STEM Camera Length": 110.0}
    haadf = image((0.03125, "nm"), (0.0625, "nm"), **info)
    write_dm(path, {"ImageList": [THUMBNAIL, haadf]}, version)
    assert read_calibration(path) == {
        "energy": (80000.0, "eV"),
        "scan_step": ((0.625, 0.3125), "A"),  # row, column
        "camera_length": (110.0, "mm"),
    }


@pytest.mark.parametrize(("unit", "factor"), [("µm", 1e4), ("pm", 0.01), ("Å", 1.0), ("nm", 10.0)])
def test_units(tmp_path, unit, factor):
    path = tmp_path / "scan.dm4"
    write_dm(path, {"ImageList": [image((0.5, unit), (0.25, unit), Voltage=3e5)]})
    step, unit = read_calibration(path)["scan_step"]
    assert step == pytest.approx((0.25 * factor, 0.5 * factor))
    assert unit == "A"


def test_reciprocal_images_are_passed_over(tmp_path):
    path = tmp_path / "scan.dm4"
    pattern = image((0.1, "1/nm"), (0.1, "1/nm"), Voltage=3e5)
    write_dm(path, {"ImageList": [pattern, image((0.5, "nm"), (0.5, "nm"))]})
    assert read_calibration(path)["scan_step"] == ((5.0, 5.0), "A")


def test_one_of_two_missing_warns(tmp_path):
    path = tmp_path / "scan.dm4"
    write_dm(path, {"ImageList": [image((0.5, "nm"), (0.5, "nm"))]})
    with pytest.warns(EventWarning, match="has no voltage"):
        assert set(read_calibration(path)) == {"scan_step"}
    write_dm(path, {"ImageList": [image((0.5, "1/nm"), (0.5, "1/nm"), Voltage=3e5)]})
    with pytest.warns(EventWarning, match="has no scan step"):
        assert set(read_calibration(path)) == {"energy"}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"ImageList": [THUMBNAIL]}, "neither a microscope voltage nor"),
        ({"ImageList": [image((0.5, "nm"), (0.5, "nm"), Voltage=0.0)]}, "the voltage was 0 V"),
        ({"ImageList": [image((0.5, "nm"), (-0.5, "nm"), Voltage=3e5)]}, "scan step was"),
    ],
)
def test_impossible_values(tmp_path, tree, message):
    path = tmp_path / "scan.dm4"
    write_dm(path, tree)
    with pytest.raises(CalibrationError, match=message):
        read_calibration(path)


def test_other_files(tmp_path):
    path = tmp_path / "scan.dm4"
    with pytest.raises(FileNotFoundError, match=r"scan\.dm4"):
        read_calibration(path)
    path.write_bytes(b"not a Gatan file at all")
    with pytest.raises(FormatError, match="it starts with b'not a Ga'"):
        read_calibration(path)
    path.write_bytes(struct.pack(">IQI", 4, 100, 0))
    with pytest.raises(FormatError, match="big-endian"):
        read_calibration(path)
    with pytest.raises(FormatError, match="is a directory"):
        read_calibration(tmp_path)


def test_truncated_file(tmp_path):
    path = tmp_path / "scan.dm4"
    write_dm(path, {"ImageList": [image((0.5, "nm"), (0.5, "nm"), Voltage=3e5)]})
    whole = path.read_bytes()
    for size in range(20, len(whole), 37):
        path.write_bytes(whole[:size])
        with pytest.raises((CorruptFileError, CalibrationError), match=r"scan\.dm4"):
            read_calibration(path)


def test_companion_of_a_stempy_file(tmp_path):
    stempy_files.make(tmp_path / "events.h5", "v3")
    write_dm(tmp_path / "scan.dm4", {"ImageList": [image((0.5, "nm"), (0.5, "nm"), Voltage=3e5)]})
    store = open_events(tmp_path / "events.h5", dm=tmp_path / "scan.dm4")
    assert store.metadata["energy"] == (300000.0, "eV")
    assert store.metadata["scan_step"] == ((5.0, 5.0), "A")


def test_without_ncempy(tmp_path, monkeypatch):
    path = tmp_path / "scan.dm4"
    write_dm(path, {"ImageList": [THUMBNAIL]})
    monkeypatch.setitem(__import__("sys").modules, "ncempy.io", None)
    with pytest.raises(ImportError, match="python -m pip install ncempy"):
        read_calibration(path)
