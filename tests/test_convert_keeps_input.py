"""Nothing that is written replaces or deletes a file that it is made from."""

from __future__ import annotations

import os
import shutil
from functools import partial

import eer_files
import h5py
import mib_files
import numpy as np
import py4DSTEM
import pytest
import raw_csr_files
import stempy_files
from click.testing import CliRunner
from dm_files import write_dm
from test_convert import counts, write_arina

from py4dstem_eer import SparseDataCube, open_events
from py4dstem_eer.cli import main
from py4dstem_eer.errors import ParameterError
from py4dstem_eer.workflow import convert


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def refused(folder, write, *words):
    """Check that `write` is refused with a clear error, and leaves every file as it is."""
    before = contents(folder)
    with pytest.raises(ParameterError, match="would be replaced or deleted") as caught:
        write()
    assert contents(folder) == before
    assert all(word in str(caught.value) for word in words), str(caught.value)


def two_descriptions_of_one(folder):
    """Write y.toml, whose arrays are those that belong to x.toml by their names."""
    SparseDataCube.from_dense(counts(largest=3)).export(folder / "x.toml")
    shutil.copy(folder / "x.toml", folder / "y.toml")
    return folder / "y.toml", folder / "x.toml", {}, "x_indptr.dat"


def values_of_raw_csr(folder):
    raw_csr_files.make(folder / "sparse.toml")
    return folder / "sparse.toml", folder / "sparse_data.raw", {"to": "emd"}, "sparse_data.raw"


def frames_of_hdr(folder):
    mib_files.write(folder / "scan.mib")
    return folder / "scan.hdr", folder / "scan.mib", {"to": "emd"}, "scan.mib"


def hdr_of_frames(folder):
    mib_files.write(folder / "scan.mib")
    return folder / "scan.mib", folder / "scan.hdr", {"to": "stempy"}, "scan.hdr"


def another_part(folder):
    mib_files.write_parts(folder, "scan", [5, 4, 3], (3, 4))
    return folder / "scan1.mib", folder / "scan2.mib", {"to": "raw_csr"}, "scan2.mib"


def linked_data(folder):
    pytest.importorskip("hdf5plugin")
    path, _ = write_arina(folder, counts(largest=3))
    return path, folder / "scan_data_000002.h5", {}, "scan_data_000002.h5"


def file_beside_a_master(folder):
    pytest.importorskip("hdf5plugin")
    path, _ = write_arina(folder, counts(largest=3))
    return path, folder / "scan.h5", {}, "scan.h5"


def linked_dense_cube(folder):
    py4DSTEM.save(str(folder / "data.h5"), py4DSTEM.DataCube(counts(largest=3), name="scan"))
    shutil.copy(folder / "data.h5", folder / "main.h5")
    with h5py.File(folder / "main.h5", "a") as file:
        del file["scan_root/scan/data"]
        file["scan_root/scan/data"] = h5py.ExternalLink("data.h5", "/scan_root/scan/data")
    return folder / "main.h5", folder / "data.h5", {}, "data.h5"


def gatan_file(folder):
    pytest.importorskip("ncempy")
    stempy_files.make(folder / "events.h5", "v3")
    tags = {"ImageList": [{"ImageTags": {"Microscope Info": {"Voltage": 80000.0}}}]}
    write_dm(folder / "scan.dm4", tags)
    return folder / "events.h5", folder / "scan.dm4", {"to": "emd", "dm": folder / "scan.dm4"}, "dm"


def mask_of_defects(folder):
    eer_files.make(folder / "events.eer")
    mask = folder / "mask.npy"
    np.save(mask, np.eye(12, 9, dtype=bool))
    options = {"scan_shape": (5, 7), "defects": str(mask), "to": "emd"}
    return folder / "events.eer", mask, options, "mask.npy"


def source_of_a_virtual_dense_cube(folder):
    source, target = folder / "cube.h5", folder / "raw.h5"
    data = np.random.default_rng(0).poisson(1, (3, 4, 6, 5)).astype(np.uint16)
    py4DSTEM.save(str(source), py4DSTEM.DataCube(data))
    with h5py.File(target, "w") as file:
        file["raw"] = data
    layout = h5py.VirtualLayout(data.shape, data.dtype)
    layout[:] = h5py.VirtualSource("raw.h5", "raw", data.shape)
    with h5py.File(source, "r+") as file:
        found = []
        file.visititems(lambda name, item: found.append(name) if name.endswith("/data") else None)
        attributes = dict(file[found[0]].attrs)
        del file[found[0]]
        file.create_virtual_dataset(found[0], layout).attrs.update(attributes)
    return source, target, {"to": "emd"}, "raw.h5"


CASES = (
    *(two_descriptions_of_one, values_of_raw_csr, frames_of_hdr, hdr_of_frames, another_part),
    *(linked_data, file_beside_a_master, linked_dense_cube, gatan_file, mask_of_defects),
    source_of_a_virtual_dense_cube,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.filterwarnings("ignore:.*has no scan step")
def test_convert_keeps_all_files_of_its_input(tmp_path, case):
    source, target, options, word = case(tmp_path)
    refused(tmp_path, lambda: convert(source, target, **options), word, "write to another name")
    dense = (linked_data, file_beside_a_master, linked_dense_cube, source_of_a_virtual_dense_cube)
    if case not in dense:
        refused(tmp_path, lambda: convert(source, target, mem="RAM", **options), word)
    convert(source, tmp_path / "elsewhere.emd", **{**options, "to": None})


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_links_lead_to_the_same_file(tmp_path, link):
    source, companion, *_ = hdr_of_frames(tmp_path)
    link(companion, tmp_path / "other.emd")
    link(source, tmp_path / "same.emd")
    before = contents(tmp_path)
    with pytest.raises(ParameterError, match=r"other\.emd, the same file as .*scan\.hdr, would be"):
        convert(source, tmp_path / "other.emd")
    with pytest.raises(ParameterError, match="IN and OUT are the same file"):
        convert(source, tmp_path / "same.emd")
    assert contents(tmp_path) == before


def test_a_linked_array_is_not_deleted(tmp_path):
    """The arrays of the file that is replaced go; here they are another name of those read."""
    source, target, *_ = two_descriptions_of_one(tmp_path)
    for name in raw_csr_files.ARRAYS:
        os.link(tmp_path / f"x_{name}.dat", tmp_path / f"y_{name}.dat")
    source.write_text(source.read_text().replace('"x_', '"y_'))
    refused(tmp_path, lambda: convert(source, target), "x_indptr.dat, the same file as")


def test_export_of_a_streamed_cube(tmp_path):
    for name in ("frames", "parts", "csr"):
        (tmp_path / name).mkdir()
    for source, target, options, word in (
        hdr_of_frames(tmp_path / "frames"),
        another_part(tmp_path / "parts"),
        two_descriptions_of_one(tmp_path / "csr"),
    ):
        cube = py4DSTEM.import_file(source, mem="MEMMAP")
        repaired = cube.copy().median_filter_masked_pixels(np.eye(*cube.Qshape) > 0)
        for made in (cube, cube.copy(), SparseDataCube(cube.events[1:, ::2]), repaired):
            refused(target.parent, partial(made.export, target, options.get("to")), word)
            refused(target.parent, partial(made.export, source, "stempy"), source.name)
    cube.export(tmp_path / "csr/new.toml")
    assert open_events(tmp_path / "csr/new.toml").n_events == cube.events.n_events


def test_save_of_a_streamed_cube(tmp_path):
    source, target, *_ = hdr_of_frames(tmp_path)
    cube = py4DSTEM.import_file(source, mem="MEMMAP")
    image = cube.get_dp_mean()
    for data in (cube, image, [cube]):
        refused(tmp_path, partial(py4DSTEM.save, str(target), data, mode="o"), "scan.hdr")
    py4DSTEM.save(str(tmp_path / "own.h5"), cube)
    again = py4DSTEM.import_file(tmp_path / "own.h5", mem="MEMMAP")
    again.get_dp_max()
    py4DSTEM.save(str(tmp_path / "own.h5"), again, mode="o")  # an EMD file keeps the events
    assert again.events.n_events == cube.events.n_events
    with pytest.raises(ParameterError, match="would be replaced or deleted"):
        again.export(tmp_path / "own.h5", "emd")


def test_events_in_memory_may_replace_their_file(tmp_path):
    raw_csr_files.make(tmp_path / "sparse.toml")
    cube = py4DSTEM.import_file(tmp_path / "sparse.toml")
    cube.export(tmp_path / "sparse.toml")
    np.testing.assert_array_equal(
        open_events(tmp_path / "sparse.toml").indices, cube.events.indices
    )


@pytest.mark.parametrize("command", ["ssb", "dpc"])
def test_results_do_not_replace_companions(tmp_path, command):
    source, target, *_ = hdr_of_frames(tmp_path)
    before = contents(tmp_path)
    result = CliRunner().invoke(main, [command, str(source), "--output", str(target)])
    assert result.exit_code == 1
    assert "scan.hdr would be replaced or deleted" in result.output
    assert contents(tmp_path) == before
