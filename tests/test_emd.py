"""Sparse cubes in EMD files: written, read, shared with plain py4DSTEM, damaged."""

import shutil
import subprocess
import sys

import h5py
import numpy as np
import py4DSTEM
import pytest
from emdfile import Array, Metadata, Root
from py4DSTEM.data import RealSlice
from py4DSTEM.datacube import VirtualDiffraction, VirtualImage

from py4dstem_eer import EventStore, SparseDataCube, open_events, set_dense_budget
from py4dstem_eer.bridge.results import diffraction_slice, real_slice
from py4dstem_eer.errors import CorruptFileError, EventError, FormatError, ParameterError
from py4dstem_eer.event_layout import dump_acquisition, load_acquisition
from py4dstem_eer.writers import emd as writer

SHAPE = (5, 4, 9, 7)
EVENTS = "metadatabundle/electron_events"


def counts(seed=0, largest=700):
    rng = np.random.default_rng(seed)
    data = np.minimum(rng.poisson(0.3, SHAPE), largest)
    data[1, 2] = 0
    data[3, 1, 4, 5] = largest
    return data


def make_cube(seed=0, name="datacube", largest=700):
    metadata = {"scan_step": ((0.5, 0.5), "A"), "voltage": (8e4, "V"), "note": "two words"}
    cube = SparseDataCube(EventStore.from_dense(counts(seed, largest), metadata), name)
    cube.calibration.set_Q_pixel_size(0.25)
    cube.calibration.set_Q_pixel_units("A^-1")
    cube.calibration.set_origin((np.full(SHAPE[:2], 4.5), np.full(SHAPE[:2], 3.5)))
    cube.metadata = Metadata("mine", {"answer": 42, "list": [1.0, 2.0]})
    return cube


def assert_same_events(cube, data):
    assert type(cube) is SparseDataCube
    np.testing.assert_array_equal(np.asarray(cube.data), data)
    cube.events.validate()


@pytest.fixture(autouse=True)
def default_budget():
    yield
    set_dense_budget(None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cube.h5"


@pytest.fixture
def saved(path):
    """A file with one cube, without children."""
    py4DSTEM.save(path, make_cube())
    return path


def only_file_is(path):
    return [p.name for p in path.parent.iterdir()] == [path.name]


# round trips


@pytest.mark.parametrize("mem", ["RAM", "MEMMAP"])
@pytest.mark.parametrize("largest", [1, 700, 70000])
def test_round_trip(path, mem, largest):
    cube = make_cube(largest=largest)
    py4DSTEM.save(path, cube)
    back = py4DSTEM.read(path, mem=mem)
    assert_same_events(back, counts(largest=largest))
    assert back.name == cube.name
    assert back.events.in_memory is (mem == "RAM")
    assert back.data.dtype == cube.data.dtype
    assert dict(back.events.metadata) == dict(cube.events.metadata)
    assert back.events.n_events == cube.events.n_events
    for name, value in cube.calibration._params.items():
        np.testing.assert_array_equal(back.calibration[name], value)
    assert set(back.metadata) == set(cube.metadata) == {"acquisition", "mine"}
    assert back.metadata["mine"]["answer"] == 42
    assert back.metadata["acquisition"]["voltage"] == {"value": 8e4, "units": "V"}
    assert back.dim_names == cube.dim_names
    assert tuple(back.dim_units) == tuple(cube.dim_units)
    for ours, theirs in zip(back.dims, cube.dims, strict=True):
        np.testing.assert_allclose(ours, theirs)
    back.calibration.set_Q_pixel_size(1.5)
    assert back.get_dim(2)[1] - back.get_dim(2)[0] == pytest.approx(1.5)
    assert only_file_is(path)


@pytest.mark.parametrize("mem", ["RAM", "MEMMAP"])
def test_children_survive_as_their_classes(path, mem):
    cube = make_cube()
    cube.get_dp_mean()
    cube.get_virtual_image("circle", ((4, 3), 2), name="bf", verbose=False)
    phase = real_slice(np.ones((2, 5, 4)), "phase", "rad", (0.5, 0.5), ["a", "b"], {"method": "x"})
    cube.attach(phase)
    cube.tree("phase").attach(diffraction_slice(np.eye(3), "deep", "1", (0.1, 0.1)))
    cube.attach(Array(np.arange(3), name="plain"))
    py4DSTEM.save(path, cube)
    back = py4DSTEM.read(path, mem=mem)
    assert set(back._branch.keys()) == {"dp_mean", "bf", "phase", "plain"}
    assert type(back.tree("dp_mean")) is VirtualDiffraction
    assert type(back.tree("bf")) is VirtualImage
    assert type(back.tree("phase")) is RealSlice
    np.testing.assert_array_equal(back.tree("bf").data, cube.tree("bf").data)
    assert back.tree("bf").metadata["gen_params"]["mode"] == "circle"
    assert back.tree("phase").metadata["parameters"]["units"] == "rad"
    assert list(back.tree("phase").slicelabels) == ["a", "b"]
    np.testing.assert_array_equal(back.tree("phase/deep").data, np.eye(3))
    assert back.tree("bf").calibration is back.calibration
    assert_same_events(back, counts())


@pytest.mark.parametrize("mode", ["w", "write", "o", "overwrite", "a", "+", "append", "ao", "oa"])
def test_every_mode_writes_a_new_file(path, mode):
    py4DSTEM.save(str(path), make_cube(), mode=mode)
    assert_same_events(py4DSTEM.read(str(path)), counts())
    assert only_file_is(path)


def test_write_mode_refuses_an_existing_file(saved):
    before = saved.read_bytes()
    with pytest.raises(AssertionError, match="already exists"):
        py4DSTEM.save(saved, make_cube(1))
    assert saved.read_bytes() == before


def test_overwrite_replaces_the_file(saved):
    py4DSTEM.save(saved, make_cube(1), mode="o")
    assert_same_events(py4DSTEM.read(saved), counts(1))
    assert only_file_is(saved)


def test_append_adds_what_is_new_and_leaves_what_is_there(saved):
    other = make_cube(1)
    other.get_dp_max()
    py4DSTEM.save(saved, other, mode="a")
    back = py4DSTEM.read(saved)
    assert_same_events(back, counts(0))
    np.testing.assert_array_equal(back.tree("dp_max").data, counts(1).max((0, 1)))


def test_append_over_replaces_what_is_there(saved):
    other = make_cube(1)
    other.get_dp_max()
    other.metadata["mine"]["answer"] = 43
    py4DSTEM.save(saved, other, mode="ao")
    back = py4DSTEM.read(saved)
    assert_same_events(back, counts(1))
    assert back.metadata["mine"]["answer"] == 43
    np.testing.assert_array_equal(back.tree("dp_max").data, counts(1).max((0, 1)))


def test_append_over_keeps_children_that_are_only_in_the_file(path):
    cube = make_cube()
    cube.get_dp_mean()
    py4DSTEM.save(path, cube)
    py4DSTEM.save(path, make_cube(1), mode="ao")
    back = py4DSTEM.read(path)
    assert_same_events(back, counts(1))
    np.testing.assert_allclose(back.tree("dp_mean").data, counts(0).mean((0, 1)))


def test_saving_without_children_and_only_children(path):
    cube = make_cube()
    cube.get_dp_mean()
    py4DSTEM.save(path, cube, tree=False)
    assert not py4DSTEM.read(path)._branch.keys()
    py4DSTEM.save(path, cube, tree=None, mode="o")
    assert type(py4DSTEM.read(path)) is VirtualDiffraction


def test_reading_one_node(path):
    cube = make_cube()
    cube.get_dp_mean()
    py4DSTEM.save(path, cube)
    alone = py4DSTEM.read(path, datapath="datacube_root/datacube", tree=False)
    assert_same_events(alone, counts())
    assert not alone._branch.keys()
    assert alone.calibration.get_Q_pixel_size() == 0.25
    mean = py4DSTEM.read(path, "datacube_root/datacube/dp_mean")
    assert type(mean) is VirtualDiffraction


def test_grafting_a_cube_with_emdpath(path):
    root = Root("tree")
    root.tree(Array(np.arange(4), name="host"))
    py4DSTEM.save(path, root)
    py4DSTEM.save(path, make_cube(), emdpath="tree/host")
    back = py4DSTEM.read(path, datapath="tree/host/datacube")
    assert_same_events(back, counts())
    whole = py4DSTEM.read(path, datapath="tree")
    assert_same_events(whole.tree("datacube"), counts())


def test_two_cubes_in_one_file(path):
    first, second = make_cube(0, "one"), make_cube(1, "two")
    first.attach(second)
    py4DSTEM.save(path, first)
    back = py4DSTEM.read(path)
    assert_same_events(back, counts(0))
    assert_same_events(back.tree("two"), counts(1))
    assert_same_events(py4DSTEM.import_file(path), counts(0))


def test_two_cubes_side_by_side_cannot_be_imported_as_one(path):
    py4DSTEM.save(path, [make_cube(0, "one"), make_cube(1, "two")])
    names = py4DSTEM.read(path)
    assert sorted(names) == ["one_root", "two_root"]
    assert_same_events(py4DSTEM.read(path, "two_root"), counts(1))
    with pytest.raises(ParameterError, match="one_root, two_root"):
        py4DSTEM.import_file(path)


def test_a_cube_below_another_node(path):
    root = Root("tree")
    host = Array(np.arange(4), name="host")
    root.tree(host)
    host.graft(make_cube())
    assert list(host._branch.keys()) == ["datacube"]
    py4DSTEM.save(path, root)
    assert_same_events(py4DSTEM.read(path).tree("datacube"), counts())
    assert_same_events(py4DSTEM.import_file(path), counts())


def test_importing_a_file_of_ours(saved):
    cube = py4DSTEM.import_file(saved)
    assert_same_events(cube, counts())
    assert cube.calibration.get_Q_pixel_size() == 0.25
    binned = py4DSTEM.import_file(saved, binfactor=2, mem="MEMMAP", filetype="emd")
    assert binned.Qshape == (4, 3)
    assert binned.calibration.get_Q_pixel_size() == 0.5
    narrow = py4DSTEM.import_file(saved, keep_flyback=False)
    assert narrow.Rshape == (5, 3)
    assert narrow.calibration.get_Q_pixel_size() == 0.25
    assert open_events(saved, keep_flyback=False, mem="MEMMAP").scan_shape == (5, 3)
    np.testing.assert_array_equal(np.asarray(narrow.data), counts()[:, :-1])
    with pytest.raises(ParameterError, match="MEMMAP"):
        py4DSTEM.read(saved, mem="DISK")
    eer = py4DSTEM.import_file(saved, filetype="eer")
    assert eer.calibration.get_Q_pixel_size() == 0.25


def test_nothing_becomes_dense(path):
    rng = np.random.default_rng(0)
    n_patterns, pixels = 64 * 64, 576 * 576
    lengths = rng.integers(0, 5, n_patterns)
    indptr = np.r_[0, np.cumsum(lengths)]
    indices = rng.integers(0, pixels, indptr[-1]).astype(np.uint32)
    events = EventStore.from_lists((64, 64), (576, 576), indptr, indices)
    set_dense_budget(2 * pixels)
    for mem in ("RAM", "MEMMAP"):
        cube = SparseDataCube(events)
        cube.get_dp_mean()
        py4DSTEM.save(path, cube, mode="o")
        back = py4DSTEM.read(path, mem=mem)
        np.testing.assert_array_equal(back.events.indices, events.indices)
        np.testing.assert_array_equal(back.events.indptr, events.indptr)
        assert path.stat().st_size < 10 * 2**20


def test_the_smallest_cube_round_trips(path):
    py4DSTEM.save(path, SparseDataCube.from_dense(np.zeros((1, 1, 1, 1), np.uint8)))
    for mem in ("RAM", "MEMMAP"):
        assert_same_events(py4DSTEM.read(path, mem=mem), np.zeros((1, 1, 1, 1)))
        assert open_events(path, mem=mem).n_events == 0


def test_counts_that_appear_late_in_a_stream(path, monkeypatch):
    """The writer learns only block by block that some pixels count more than one."""
    data = np.zeros(SHAPE, int)
    data[0, :, 0, 0] = data[2, :, 1, 1] = data[4, :, 2, 2] = 1
    data[2, 1, 1, 1] = 5

    class Rows(EventStore):
        def blocks(self):
            for row in range(self.scan_shape[0]):
                yield row, self.read_rows(row, row + 1)

    store = EventStore.from_dense(data)
    rows = Rows(store.scan_shape, store.detector_shape, store.indptr, store.indices, store.counts)
    py4DSTEM.save(path, SparseDataCube(rows))
    assert_same_events(py4DSTEM.read(path), data)


def test_metadata_keep_pairs_and_nesting():
    metadata = {
        "step": ((0.5, 0.5), "A"),
        "nested": {"voltage": (8e4, "V"), "list": [1, 2, 3]},
        "detectors": ["HAADF", "BF"],
        "array": np.arange(3),
        "number": np.float32(0.5),
        "nothing": None,
    }
    back = load_acquisition(dump_acquisition(metadata))
    assert back == {**metadata, "array": [0, 1, 2], "number": 0.5}


# streaming from files that change


def test_a_streamed_cube_can_be_saved_over_its_own_file(saved):
    cube = py4DSTEM.read(saved, mem="MEMMAP")
    cube.get_virtual_image("circle", ((4, 3), 2), name="bf", verbose=False)
    for mode in ("a", "ao", "o"):
        py4DSTEM.save(saved, cube, mode=mode)
        assert_same_events(py4DSTEM.read(saved), counts())
        assert_same_events(cube, counts())


def test_a_streamed_cube_notices_that_its_file_changed(saved):
    cube = py4DSTEM.read(saved, mem="MEMMAP")
    py4DSTEM.save(saved, make_cube(1), mode="o")
    with pytest.raises(CorruptFileError, match="read it again"):
        cube.get_dp_mean()
    saved.unlink()
    with pytest.raises(FileNotFoundError, match=r"cube\.h5"):
        cube.get_dp_mean()


# plain py4DSTEM


PLAIN = """
import sys, warnings
import numpy as np, py4DSTEM, emdfile
warnings.simplefilter("error")
assert not any("eer" in name for name in sys.modules if name.startswith("py4dstem_"))
node = py4DSTEM.read(sys.argv[1])
assert type(node) is emdfile.Node, type(node)
events = node.metadata["electron_events"]
patterns = np.zeros((*events["scan_shape"], *events["detector_shape"]), int)
flat = patterns.reshape(-1, np.prod(events["detector_shape"]))
ends = np.cumsum(events["entries_per_pattern"])
for p, end in enumerate(ends):
    own = slice(end - events["entries_per_pattern"][p], end)
    flat[p, np.cumsum(events["pixel_gaps"][own])] = events["counts"][own]
np.save(sys.argv[2], patterns)
assert type(node.tree("bf")).__name__ == "VirtualImage"
assert type(node.tree("phase")).__name__ == "RealSlice"
assert node.root.metadata["calibration"].get_Q_pixel_size() == 0.25
assert node.metadata["mine"]["answer"] == 42
"""


def test_plain_py4dstem_opens_the_file(path, tmp_path):
    cube = make_cube()
    cube.get_virtual_image("circle", ((4, 3), 2), name="bf", verbose=False)
    cube.attach(real_slice(np.ones((5, 4)), "phase", "rad", (0.5, 0.5)))
    py4DSTEM.save(path, cube)
    decoded = tmp_path / "decoded.npy"
    run = subprocess.run(
        [sys.executable, "-c", PLAIN, str(path), str(decoded)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    np.testing.assert_array_equal(np.load(decoded), counts())


# interrupted and failing saves


@pytest.mark.parametrize("mode", ["o", "a", "ao"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError])
def test_an_interrupted_save_leaves_the_old_file(saved, monkeypatch, mode, error):
    before = saved.read_bytes()
    cube = make_cube(1, name="other")

    def interrupted(*_):
        raise error("stop")

    monkeypatch.setattr(writer.layout, "encode_gaps", interrupted)
    with pytest.raises(error):
        py4DSTEM.save(saved, cube, mode=mode)
    assert saved.read_bytes() == before
    assert only_file_is(saved)
    monkeypatch.undo()
    py4DSTEM.save(saved, cube, mode="o")
    assert_same_events(py4DSTEM.read(saved), counts(1))


def test_an_interrupted_first_save_leaves_nothing(path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writer.layout, "encode_gaps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        py4DSTEM.save(path, make_cube())
    assert list(path.parent.iterdir()) == []


def test_saving_where_there_is_no_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="no directory"):
        py4DSTEM.save(tmp_path / "nowhere" / "cube.h5", make_cube())
    with pytest.raises(ParameterError, match="directory"):
        py4DSTEM.save(tmp_path, make_cube(), mode="o")


# damage


READERS = {
    "read": py4DSTEM.read,
    "streamed": lambda path: py4DSTEM.read(path, mem="MEMMAP").get_dp_mean(),
    "import_file": lambda path: py4DSTEM.import_file(path),
    "open_events": lambda path: open_events(path, "emd"),
}


def edited(saved, change):
    with h5py.File(saved, "a") as file:
        change(file[f"datacube_root/datacube/{EVENTS}"])
    return saved


def replaced(group, name, value):
    del group[name]
    group[name] = value


DAMAGE = {
    "index outside": lambda g: g["pixel_gaps"].__setitem__(3, 200),
    "index repeated": lambda g: g["pixel_gaps"].__setitem__(slice(0, 4), 0),
    "counts missing": lambda g: g.__delitem__("counts"),
    "a count of zero": lambda g: g["counts"].__setitem__(0, 0),
    "a count too large": lambda g: g["counts"].__setitem__(0, 10**6),
    "gaps missing": lambda g: g.__delitem__("pixel_gaps"),
    "other lengths": lambda g: g["entries_per_pattern"].__setitem__(0, 60),
    "no json": lambda g: replaced(g, "acquisition_json", b"{x"),
    "three scan axes": lambda g: replaced(g, "scan_shape", [5, 4, 3]),
    "another scan shape": lambda g: replaced(g, "scan_shape", [4, 4]),
    "negative shape": lambda g: replaced(g, "scan_shape", [-5, -4]),
    "a group for a shape": lambda g: (g.__delitem__("scan_shape"), g.create_group("scan_shape")),
    "short counts": lambda g: replaced(g, "counts", np.ones(5, int)),
    "short rows": lambda g: replaced(g, "electrons_per_row", np.ones(2, int)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_events_are_errors_that_name_the_file(saved, damage, reader):
    edited(saved, DAMAGE[damage])
    with pytest.raises(CorruptFileError, match=r"cube\.h5"):
        READERS[reader](saved)


@pytest.mark.parametrize("reader", READERS)
def test_a_newer_layout_says_to_update(saved, reader):
    edited(saved, lambda g: g["layout_version"].__setitem__((), 2))
    with pytest.raises(FormatError, match="update"):
        READERS[reader](saved)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["pixel_gaps", "counts", "entries_per_pattern"])
def test_flipped_bytes_are_noticed(saved, name, reader):
    with h5py.File(saved) as file:
        info = file[f"datacube_root/datacube/{EVENTS}/{name}"].id.get_chunk_info(0)
    content = bytearray(saved.read_bytes())
    content[info.byte_offset + info.size // 2] ^= 0x10
    saved.write_bytes(bytes(content))
    with pytest.raises(CorruptFileError, match=r"cube\.h5"):
        READERS[reader](saved)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.99])
def test_truncated_files(saved, kept, reader):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(kept * len(content))])
    # what is cut so short that it is recognised as nothing gets py4DSTEM's own error
    expected = Exception if reader == "import_file" else EventError
    with pytest.raises(expected, match=r"cube\.h5"):
        READERS[reader](saved)


def test_files_that_are_no_files_of_ours(tmp_path, saved):
    with pytest.raises(FileNotFoundError):
        open_events(tmp_path / "none.h5", "emd")
    text = tmp_path / "text.h5"
    text.write_text("hello")
    with pytest.raises(FormatError, match=r"text\.h5"):
        open_events(text, "emd")
    plain = tmp_path / "plain.h5"
    py4DSTEM.save(plain, Array(np.arange(3), name="x"))
    with pytest.raises(FormatError, match="no node"):
        open_events(plain, "emd")
    assert isinstance(py4DSTEM.read(plain), Array)
    with_link = tmp_path / "link.h5"
    shutil.copy(saved, with_link)
    with h5py.File(with_link, "a") as file:
        file["datacube_root/gone"] = h5py.SoftLink("/nowhere")
    assert open_events(with_link).n_events == counts().sum()


@pytest.mark.parametrize("method", ["EventDPC", "EventSSB"])
def test_saving_a_reconstruction_says_how_its_results_are_saved(tmp_path, method):
    cube = SparseDataCube.from_dense(np.ones((3, 4, 5, 6), np.uint8))
    made = getattr(py4DSTEM.process.phase, method)(energy=80e3, datacube=cube, verbose=False)
    with pytest.raises(ParameterError, match=f"{method} is no data to save; save one result"):
        py4DSTEM.save(str(tmp_path / "out.h5"), made)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", ["places", "counts"])
def test_a_file_that_holds_other_events_of_the_same_number_is_told(path, change):
    data = np.random.default_rng(0).poisson(0.6, (3, 4, 6, 6))
    data[0, 0, 1:3, 1] = 2, 3
    py4DSTEM.save(path, SparseDataCube.from_dense(data))
    streamed = py4DSTEM.read(path, mem="MEMMAP")
    same = py4DSTEM.read(path)
    if change == "places":
        streamed.swap_Qxy()
        py4DSTEM.save(path, streamed, mode="o")  # read once more it would be swapped twice
    else:
        data[0, 0, 1:3, 1] = 3, 2
        py4DSTEM.save(path, SparseDataCube.from_dense(data), mode="o")
    with pytest.raises(CorruptFileError, match="other events than when it was opened"):
        streamed.get_dp_mean()
    py4DSTEM.save(path, same, mode="o")
    streamed = py4DSTEM.read(path, mem="MEMMAP")
    streamed.get_dp_mean()
    py4DSTEM.save(path, streamed, mode="o")  # the same events once more, from blocks of a file
    assert streamed.get_dp_max().data.max() == same.get_dp_max().data.max()


def test_files_without_checksums_are_read(saved):
    with h5py.File(saved, "r+") as file:
        del file[f"datacube_root/datacube/{EVENTS}/checksums"]
    streamed = py4DSTEM.read(saved, mem="MEMMAP")
    assert_same_events(streamed, counts())
    saved.touch()
    assert_same_events(streamed, counts())
