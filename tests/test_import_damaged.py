"""Damaged EMD files through py4DSTEM's own functions: the cube as it was, or an error of ours."""

from __future__ import annotations

import os
import shutil

import fuzzing
import h5py
import numpy as np
import py4DSTEM
import pytest

from py4dstem_eer import SparseDataCube
from py4dstem_eer.bridge import emd, files
from py4dstem_eer.errors import CorruptFileError, EventError
from py4dstem_eer.workflow import convert

CASES = 40
MEMS = ("RAM", "MEMMAP")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Path of an EMD file with events, a calibration and a result."""
    path = tmp_path_factory.mktemp("whole") / "cube.h5"
    cube = SparseDataCube.from_dense(np.random.default_rng(0).poisson(0.3, (4, 5, 9, 8)))
    cube.calibration.set_R_pixel_size(0.3)
    cube.calibration.set_R_pixel_units("A")
    cube.calibration.set_QR_rotation(0.4)
    cube.get_dp_mean()
    py4DSTEM.save(str(path), cube)
    return path


def opened(path, mem):
    """Return the events of a file, or None if it is refused with a clear error."""
    try:
        return py4DSTEM.import_file(path, filetype="eer", mem=mem).events.load()
    except EventError as error:
        if str(path) not in str(error):
            pytest.fail(f"the error names no file: {error!r}")
        return None


def check(path, expected, mem):
    """Check that a file is read as it should be, or refused, and converted only in the first case.

    What is refused leaves nothing behind.
    """
    found = opened(path, mem)
    assert found is None or np.array_equal(found.indices, expected.indices)
    out = path.with_name("out.toml")
    try:
        convert(path, out)
    except EventError:
        assert os.listdir(path.parent) == [path.name]
        return False
    assert found is not None
    for made in path.parent.glob("out*"):
        made.unlink()
    return True


def names_of(path):
    """Return (object, attribute) of all attributes outside the events, and (object, "")."""
    found = []
    with h5py.File(path) as file:
        found += [("/", name) for name in file.attrs]
        for name in _objects(file):
            if "electron_events/" not in name:
                found += [(name, ""), *((name, attribute) for attribute in file[name].attrs)]
    return found


def _objects(file):
    names = []
    file.visit(names.append)
    return names


def remove(file, name, attribute):
    if attribute:
        del file[name].attrs[attribute]
    else:
        del file[name]


def spoil(file, name, attribute):
    if attribute:
        file[name].attrs[attribute] = np.arange(3.5)
    elif hasattr(file[name], "keys"):
        del file[name]
        file[name] = np.arange(3.5)
    else:
        del file[name]
        file.create_group(name)


@pytest.mark.filterwarnings("ignore:No calibration metadata found")
@pytest.mark.parametrize(("damage", "every"), [(remove, 1), (spoil, 2)])
def test_every_part_of_the_tree_may_be_damaged(whole, tmp_path, damage, every):
    expected = opened(whole, "RAM")
    path = tmp_path / "cube.h5"
    outcomes = set()
    for k, (name, attribute) in enumerate(names_of(whole)[::every]):
        shutil.copy(whole, path)
        with h5py.File(path, "a") as file:
            damage(file, name, attribute)
        outcomes.add(check(path, expected, MEMS[k % 2]))
    assert outcomes == {True, False}


def test_bytes_may_be_damaged(whole, tmp_path):
    sample = fuzzing.Sample("emd", whole.name, {}, {whole.name: whole.read_bytes()})
    expected, path = opened(whole, "RAM"), tmp_path / whole.name
    for case in range(CASES):
        damaged, what = fuzzing.damaged(sample, case, [whole.read_bytes()])
        fuzzing.write_files(damaged, tmp_path)
        try:
            check(path, expected, MEMS[case % 2])
        except Exception as error:
            raise AssertionError(f"case {case}, {what}") from error


def test_what_the_other_reader_said_is_the_cause(whole, tmp_path):
    path = tmp_path / "cube.h5"
    shutil.copy(whole, path)
    with h5py.File(path, "a") as file:
        del file.attrs["version_major"]
    for mem in MEMS:
        with pytest.raises(CorruptFileError, match="EMD tree is damaged") as e:
            py4DSTEM.import_file(path, mem=mem)
        assert not isinstance(e.value.__cause__, EventError)
        assert str(path) in str(e.value)
        assert "version_major" in str(e.value)


def test_errors_of_this_package_are_not_taken_for_damage(whole, monkeypatch):
    def broken(group):
        raise KeyError("a mistake of ours")

    # the hook has the class by its name, which is looked up when a node is read
    monkeypatch.setitem(globals(), "__name__", "py4dstem_eer.bridge.emd")
    monkeypatch.setattr(emd, "_read_events", broken)
    with pytest.raises(KeyError, match="a mistake of ours"):
        py4DSTEM.import_file(whole)
    monkeypatch.undo()
    monkeypatch.setattr(emd, "_read_events", lambda group: group["nothing like this"])
    with pytest.raises(CorruptFileError, match="nothing like this"):
        files.import_file(whole)
