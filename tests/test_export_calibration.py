"""What of a cube's calibration each format keeps, and what is said about the rest."""

from __future__ import annotations

import datetime
import warnings

import numpy as np
import py4DSTEM
import pytest

from py4dstem_eer import SparseDataCube, open_events
from py4dstem_eer.errors import CalibrationError, EventWarning
from py4dstem_eer.events import EventStore
from py4dstem_eer.workflow import convert
from py4dstem_eer.writers.stempy import write_stempy

SHAPE = (4, 5, 9, 8)
EXTENSION = {"stempy": ".h5", "raw_csr": ".toml"}
NUMBERS = {
    "R_pixel_size": 0.3, "R_pixel_units": "A", "Q_pixel_size": 0.02, "Q_pixel_units": "A^-1",
    "QR_rotation": 0.4, "QR_flip": True, "qx0_mean": 4.25, "qy0_mean": 3.5,
    "a": 3.5, "b": 2.25, "theta": 0.125, "probe_semiangle": 2.5,
}  # fmt: skip


def cube_with(**numbers):
    counts = np.random.default_rng(0).poisson(0.3, SHAPE)
    cube = SparseDataCube.from_dense(counts)
    for name, value in numbers.items():
        getattr(cube.calibration, f"set_{name}")(value)
    return cube


def known(cube):
    params = cube.calibration._params
    return {name: params.get(name) for name in NUMBERS}


@pytest.mark.parametrize("format", EXTENSION)
def test_numbers_go_through_every_format(tmp_path, format):
    cube_with(**NUMBERS).export(tmp_path / "one.emd")
    with warnings.catch_warnings():
        warnings.simplefilter("error", EventWarning)
        convert(tmp_path / "one.emd", tmp_path / f"two{EXTENSION[format]}", format)
        convert(tmp_path / f"two{EXTENSION[format]}", tmp_path / "three.emd")
        convert(tmp_path / "three.emd", tmp_path / f"four{EXTENSION[format]}", format)
    for name in (f"two{EXTENSION[format]}", "three.emd", f"four{EXTENSION[format]}"):
        for mem in ("RAM", "MEMMAP"):
            assert known(py4DSTEM.import_file(tmp_path / name, mem=mem)) == NUMBERS, name


@pytest.mark.parametrize("name", [n for n in NUMBERS if not n.endswith("units")])
def test_each_number_alone(tmp_path, name):
    """Half a pair, or a rotation without its flip, is no reason to lose the other items."""
    given = {name: NUMBERS[name]}
    if name in ("qx0_mean", "qy0_mean"):
        given = {n: NUMBERS[n] for n in ("qx0_mean", "qy0_mean")}
    if name in ("a", "b"):
        given = {n: NUMBERS[n] for n in ("a", "b")}
    if name.endswith("size"):
        given[name.replace("size", "units")] = NUMBERS[name.replace("size", "units")]
    cube = cube_with(**given)
    cube.export(tmp_path / "one.toml")
    assert known(py4DSTEM.import_file(tmp_path / "one.toml")) == known(cube)


@pytest.mark.parametrize("format", EXTENSION)
def test_one_origin_for_all_positions(tmp_path, format):
    cube_with(origin=(4.5, 3.25)).export(tmp_path / "one", format)
    read = py4DSTEM.import_file(tmp_path / "one").calibration
    assert read.get_origin() == read.get_origin_mean() == (4.5, 3.25)


@pytest.mark.parametrize("format", EXTENSION)
def test_what_is_left_out_is_named_once(tmp_path, format):
    maps = np.random.default_rng(1).normal(4, 0.1, (2, *SHAPE[:2]))
    cube = cube_with(origin=tuple(maps), origin_meas=tuple(maps), a=3.0)
    cube.calibration["tilt"] = 0.1  # the user's own item
    path = tmp_path / f"one{EXTENSION[format]}"
    with pytest.warns(EventWarning) as caught:
        cube.export(path)
    (warning,) = [w for w in caught if issubclass(w.category, EventWarning)]
    expected = f"{format} files have no place for a, qx0, qx0_meas, qy0, qy0_meas, tilt of the"
    assert str(warning.message).startswith(expected)
    read = py4DSTEM.import_file(path).calibration
    assert read.get_origin_mean() == pytest.approx(tuple(maps.mean(axis=(1, 2))))
    assert read.get_origin() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error", EventWarning)
        cube.export(tmp_path / "all.emd")
    kept = py4DSTEM.import_file(tmp_path / "all.emd").calibration
    np.testing.assert_array_equal(kept.get_origin(), maps)
    assert kept["tilt"] == 0.1


def test_the_cube_is_right_and_not_what_its_file_said(tmp_path):
    cube_with(**NUMBERS).export(tmp_path / "one.toml")
    cube = py4DSTEM.import_file(tmp_path / "one.toml")
    plain = SparseDataCube(cube.events, calibration=cube_with().calibration)
    plain.export(tmp_path / "two.toml")
    assert known(py4DSTEM.import_file(tmp_path / "two.toml")) == known(cube_with())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Q_pixel_size", (0.02, "furlong")),
        ("R_pixel_size", ([1, 2], "A")),
        ("scan_step", (0.3, "A")),
        ("origin_mean", ((1.0, 2.0, 3.0), "pixels")),
        ("origin", "here"),
        ("ellipse_theta", ()),
        ("QR_rotation", {"is": 3}),
    ],
)
def test_calibrations_that_cannot_be(name, value):
    events = EventStore.from_dense(np.ones((2, 2, 3, 3), np.uint8), {name: value})
    with pytest.raises(CalibrationError, match=f"metadata say {name} = "):
        SparseDataCube(events)


def test_times_in_metadata_become_text(tmp_path):
    times = {
        "start": np.datetime64("2024-02-03T04:05:06.123456789"),
        "day": np.datetime64("2024-02-03"),
        "length": np.timedelta64(90, "s"),
        "stop": datetime.datetime(2024, 2, 3, 4, 5, 7),
        "marks": np.array(["2024-02-03T04:05", "2024-02-04T04:05"], "M8[ns]"),
    }
    events = EventStore.from_dense(np.ones((2, 2, 3, 3), np.uint8), times)
    expected = {
        "start": "2024-02-03T04:05:06.123456789",
        "day": "2024-02-03",
        "length": "90 seconds",
        "stop": "2024-02-03T04:05:07",
        "marks": ["2024-02-03T04:05:00.000000000", "2024-02-04T04:05:00.000000000"],
    }
    for name in ("out.emd", "out.toml"):
        SparseDataCube(events).export(tmp_path / name)
        found = open_events(tmp_path / name).metadata
        assert {k: found[k] for k in times} == expected
    expected["marks"] = tuple(expected["marks"])
    for cube in (SparseDataCube(events), py4DSTEM.import_file(tmp_path / "out.emd")):
        assert {k: cube.metadata["acquisition"][k] for k in times} == expected
    with pytest.raises(ValueError, match="metadata 'start' is datetime64"):
        write_stempy(tmp_path / "out.h5", events)
