"""Becoming a part of py4DSTEM and leaving it again; each case in a process of its own."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import py4DSTEM
import pytest

from py4dstem_eer import EventStore, SparseDataCube, register
from py4dstem_eer.bridge import files
from py4dstem_eer.errors import EventError, FormatError, ParameterError
from py4dstem_eer.writers.stempy import write_stempy

SHAPE = (4, 3, 8, 6)

COMPLETE = """
def check_registered():
    import py4DSTEM, py4dstem_eer
    from py4dstem_eer.bridge import files
    phase = py4DSTEM.process.phase
    assert py4DSTEM.SparseDataCube is py4dstem_eer.SparseDataCube
    for name in ("EventSSB", "EventDPC", "InteractiveSSB"):
        assert getattr(phase, name) is getattr(py4dstem_eer, name)
    for name in ("import_file", "read", "save"):
        assert getattr(py4DSTEM, name) is getattr(py4DSTEM.io, name) is getattr(files, name)
"""

# the scripts below begin with ours, and with py4DSTEM
CASES = {
    "a class of ours first": "from py4dstem_eer import SparseDataCube",
    "the panel first": "from py4dstem_eer.explore.panel import InteractiveSSB",
}

LIGHT = """
import sys
for name in ("cupy", "ipywidgets", "stempy", "imagecodecs", "tifffile"):  # not hdf5plugin
    sys.modules[name] = None
finders = list(sys.meta_path)
import py4dstem_eer
heavy = ("py4DSTEM", "emdfile", "h5py", "matplotlib", "ncempy", "tqdm", "numba.cuda.cudadrv.nvvm")
assert not [name for name in heavy if name in sys.modules], "import is not light"
assert py4dstem_eer.__version__
try:
    py4dstem_eer.nothing
except AttributeError as error:
    assert "nothing" in str(error)
py4dstem_eer.unregister()
assert sys.meta_path == finders, "unregister leaves its finder behind"
import numpy as np
import py4DSTEM
assert not hasattr(py4DSTEM, "SparseDataCube")
assert py4DSTEM.__spec__.loader is py4DSTEM.__loader__
py4dstem_eer.register()
check_registered()
import os, tempfile
from py4dstem_eer.writers.stempy import write_stempy
folder = tempfile.mkdtemp()
data = np.random.default_rng(0).poisson(0.4, (4, 3, 8, 6))
stempy_file, emd_file = os.path.join(folder, "a.h5"), os.path.join(folder, "b.h5")
write_stempy(stempy_file, py4dstem_eer.EventStore.from_dense(data))
cube = py4DSTEM.import_file(stempy_file)
py4DSTEM.save(emd_file, cube)
for back in (cube, py4DSTEM.read(emd_file)):
    assert isinstance(back, py4DSTEM.SparseDataCube)
    assert np.array_equal(np.asarray(back.data), data)
try:
    from py4dstem_eer.device import get_device
    get_device("gpu")
except (ImportError, ValueError) as error:
    assert "gpu" in str(error).lower(), error
else:
    raise AssertionError("a GPU without cupy")
"""

LEAVE_AND_RETURN = """
import py4DSTEM, py4DSTEM.io, py4DSTEM.process.phase, emdfile, sys
modules = [py4DSTEM, py4DSTEM.io, py4DSTEM.process, py4DSTEM.process.phase, emdfile]
def state():
    return [{k: id(v) for k, v in vars(module).items()} for module in modules]
finders = list(sys.meta_path)
before = state()
import py4dstem_eer
check_registered()
registered = state()
assert registered != before
py4dstem_eer.register()
assert state() == registered, "register is not idempotent"
py4dstem_eer.unregister()
assert state() == before, "unregister leaves something behind"
assert sys.meta_path == finders
assert not [m for m in list(sys.modules.values()) if "eer" in getattr(m, "__name__", "")
            and getattr(m, "_emd_hook", False)]
py4dstem_eer.unregister()
assert state() == before
py4dstem_eer.register()
check_registered()
assert state() == registered
"""


def run(code):
    environment = {**os.environ, "MPLBACKEND": "agg"}
    return subprocess.run(
        [sys.executable, "-c", COMPLETE + code],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.fixture(scope="module")
def processes():
    """Results of all processes, two at a time: each spends its time importing py4DSTEM."""
    codes = {name: f"{code}\ncheck_registered()" for name, code in CASES.items()}
    codes |= {"light": LIGHT, "leave and return": LEAVE_AND_RETURN}
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(codes, pool.map(run, codes.values()), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_registered_whatever_is_imported_first(processes, case):
    assert processes[case].returncode == 0, processes[case].stderr


def test_import_is_light_and_works_without_optional_packages(processes):
    assert processes["light"].returncode == 0, processes["light"].stderr


def test_unregister_restores_every_attribute_and_register_works_again(processes):
    assert processes["leave and return"].returncode == 0, processes["leave and return"].stderr


# import_file


@pytest.fixture(autouse=True)
def registered():
    register()


@pytest.fixture
def data():
    return np.random.default_rng(0).poisson(0.4, SHAPE)


@pytest.fixture
def stempy_file(tmp_path, data):
    path = tmp_path / "scan.unusual"
    write_stempy(path, EventStore.from_dense(data))
    return path


@pytest.fixture
def emd_file(tmp_path, data):
    path = tmp_path / "saved.h5"
    py4DSTEM.save(path, SparseDataCube.from_dense(data))
    return path


@pytest.mark.parametrize("mem", ["RAM", "MEMMAP"])
@pytest.mark.parametrize("filetype", [None, "eer", "own"])
@pytest.mark.parametrize("kind", ["stempy", "emd"])
def test_event_files_are_recognised_by_content(request, data, kind, filetype, mem):
    path = request.getfixturevalue(f"{kind}_file")
    filetype = kind if filetype == "own" else filetype
    for given in (path, str(path)):
        cube = py4DSTEM.import_file(given, filetype=filetype, mem=mem)
        assert type(cube) is SparseDataCube
        assert cube.events.in_memory is (mem == "RAM")
        np.testing.assert_array_equal(np.asarray(cube.data), data)


@pytest.mark.parametrize("mem", ["RAM", "MEMMAP"])
@pytest.mark.parametrize("kind", ["stempy", "emd"])
def test_binning_on_load(request, data, kind, mem):
    path = request.getfixturevalue(f"{kind}_file")
    cube = py4DSTEM.import_file(path, binfactor=2, mem=mem)
    expected = data.reshape(4, 3, 4, 2, 3, 2).sum((3, 5))
    np.testing.assert_array_equal(np.asarray(cube.data), expected)
    assert cube.calibration.get_Q_pixel_size() == 2
    with pytest.raises(ParameterError, match="bin factor"):
        py4DSTEM.import_file(path, binfactor=0)


def test_reader_options_are_passed_on(stempy_file, data):
    cube = py4DSTEM.import_file(stempy_file, keep_flyback=False)
    np.testing.assert_array_equal(np.asarray(cube.data), data[:, :-1])
    with pytest.raises(ParameterError, match="keep_flyback"):
        py4DSTEM.import_file(stempy_file, keep_flybak=False)
    with pytest.raises(ParameterError, match="MEMMAP"):
        py4DSTEM.import_file(stempy_file, mem="DISK")


def test_other_files_go_to_py4dstem_untouched(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(files, "_import_dense", lambda *a, **k: seen.append((a, k)) or "dense")
    text = tmp_path / "patterns.raw"
    text.write_bytes(b"no events here")
    assert py4DSTEM.import_file(text, "MEMMAP", 3, None, anything=1) == "dense"
    assert py4DSTEM.import_file(text, filetype="empad", anything=1) == "dense"
    assert seen == [
        ((text,), {"mem": "MEMMAP", "binfactor": 3, "filetype": None, "anything": 1}),
        ((text,), {"mem": "RAM", "binfactor": 1, "filetype": "empad", "anything": 1}),
    ]


def test_py4dstems_own_errors_reach_the_user(tmp_path):
    text = tmp_path / "patterns.raw"
    text.write_bytes(b"no events here")
    with pytest.raises(Exception, match="EMPAD_shape"):
        py4DSTEM.import_file(text)
    dense = tmp_path / "dense.h5"
    py4DSTEM.save(str(dense), py4DSTEM.DataCube(np.zeros((2, 2, 2, 2))))
    with pytest.raises(Exception, match=r"use py4DSTEM\.read"):
        py4DSTEM.import_file(str(dense))


def test_dense_files_are_saved_and_read_as_ever(tmp_path):
    path = str(tmp_path / "dense.h5")
    cube = py4DSTEM.DataCube(np.arange(16.0).reshape(2, 2, 2, 2))
    py4DSTEM.save(path, cube)
    back = py4DSTEM.read(path)
    assert type(back) is py4DSTEM.DataCube
    np.testing.assert_array_equal(back.data, cube.data)
    py4DSTEM.save(path, [np.arange(3)], mode="o")
    assert py4DSTEM.read(path).data.tolist() == [0, 1, 2]


def test_asking_for_events_where_there_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        py4DSTEM.import_file(tmp_path / "nowhere.h5")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        py4DSTEM.import_file(str(tmp_path / "nowhere.h5"), filetype="eer")
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = 1
    for filetype in ("eer", "stempy", "emd"):
        with pytest.raises(EventError, match=r"other\.h5"):
            py4DSTEM.import_file(other, filetype=filetype)
    empty = tmp_path / "empty.h5"
    empty.touch()
    with pytest.raises(FormatError, match="empty"):
        py4DSTEM.import_file(empty, filetype="eer")
    with pytest.raises(EventError, match="directory"):
        py4DSTEM.import_file(tmp_path, filetype="eer")
    with pytest.raises(ParameterError, match="path"):
        py4DSTEM.import_file(None)
