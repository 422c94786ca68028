"""What holds for every reader in the table."""

from __future__ import annotations

import dataclasses
import inspect
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from format_examples import EXAMPLES, VARIANTS

from py4dstem_eer import readers
from py4dstem_eer.errors import EventWarning, FormatError, ParameterError
from py4dstem_eer.readers import FORMATS, detect, load_reader, open_events

SHARED = Path(os.environ.get("PY4DSTEM_EER_DATA", Path(__file__).parents[2] / "shared/data"))


@pytest.fixture(params=[name for name in FORMATS if name in EXAMPLES])
def example(request, tmp_path):
    """Name, path and options of a small file."""
    return request.param, *EXAMPLES[request.param](tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_readers_offer_what_the_table_needs(name):
    reader = load_reader(name)
    assert name == reader.NAME
    assert set(reader.USES) <= set(readers.ReaderOptions.__dataclass_fields__)
    assert all(extension.startswith(".") for extension in reader.EXTENSIONS)
    assert callable(reader.recognises)
    assert callable(reader.open_source)


def test_a_reader_recognises_its_own_and_no_other(example):
    name, path, _ = example
    assert detect(path) == name
    assert [other for other in FORMATS if load_reader(other).recognises(path)] == [name]


def test_content_decides_not_the_extension(example, tmp_path):
    name, path, options = example
    if path.suffix not in (".h5", ".hdf5", ".eer"):
        pytest.skip("the format has companion files named after it")
    renamed = path.rename(tmp_path / "renamed.dat")
    assert detect(renamed) == name
    assert open_events(renamed, **options).metadata["format"] == name


def test_memory_equals_file(example):
    name, path, options = example
    loaded = open_events(path, name, **options)
    streamed = open_events(str(path), "eer", mem="MEMMAP", **options)
    assert loaded.in_memory
    assert not streamed.in_memory
    assert loaded.metadata == streamed.metadata
    assert loaded.shape == streamed.shape
    loaded.validate()
    assert streamed.n_events == loaded.n_events
    for first in range(loaded.scan_shape[0]):
        assert_same(streamed.read_rows(first, first + 1), loaded.read_rows(first, first + 1))
    assert_same(streamed.load(), loaded)
    assert_same(streamed[1:, ::2].load(), loaded[1:, ::2])
    assert streamed.read_rows(2, 2).scan_shape == loaded.read_rows(2, 2).scan_shape


def test_parts_of_rows_are_those_of_the_rows(example):
    """Readers of rows that may be too large for a glance read any positions, flyback or not."""
    name, path, options = example
    offered = {"falcon", "merlin", "raw_csr"}
    for more in [{}] + [{"keep_flyback": False}] * (name in offered):
        streamed = open_events(path, name, mem="MEMMAP", **{**options, **more})
        column = streamed.load().reshaped((streamed.n_patterns, 1))
        assert (streamed.read_positions is None) == (name not in offered)
        for first, last in ((0, 1), (3, 9), (2, streamed.n_patterns), (4, 4)):
            if streamed.read_positions is not None:
                assert_same(streamed.read_positions(first, last), column[first:last])


COUNTING = {"raw_csr", "merlin", "emd"}
COUNTED = [(name, name, EXAMPLES[name]) for name in COUNTING]
COUNTED += [(name, *VARIANTS[name]) for name in VARIANTS if VARIANTS[name][0] in COUNTING]
ORDERS = [{}, {"keep_flyback": False}, {"scan_shape": (1, 7), "frames_per_position": 5}]
ORDERS += [{**order, "errors": "skip"} for order in ORDERS]


@pytest.mark.parametrize("options", ORDERS, ids=str)
@pytest.mark.parametrize(("name", "reader", "write"), sorted(COUNTED), ids=lambda v: str(v)[:20])
def test_electrons_are_counted_as_they_are_read(tmp_path, name, reader, write, options):
    path, needed = write(tmp_path)
    if not set(options) <= load_reader(reader).USES:
        pytest.skip(f"{reader} takes no {', '.join(options)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EventWarning)
        streamed = open_events(path, reader, mem="MEMMAP", **{**needed, **options})
    loaded = streamed.load()
    ones = np.ones(len(loaded.indices)) if loaded.counts is None else loaded.counts
    read = np.diff(np.cumsum([0, *ones])[loaded.indptr]).astype(int)
    assert read.any()
    for first, last in ((0, len(read)), (0, 1), (3, 5), (2, len(read)), (4, 4)):
        np.testing.assert_array_equal(streamed.electrons(first, last), read[first:last])


def test_what_does_not_count_says_so(example):
    name, path, options = example
    streamed = open_events(path, name, mem="MEMMAP", **options)
    assert (streamed.electrons is None) == (name not in COUNTING)


def assert_same(a, b):
    assert a.shape == b.shape
    np.testing.assert_array_equal(a.indptr, b.indptr)
    np.testing.assert_array_equal(a.indices, b.indices)
    ones = [np.ones(len(s.indices)) if s.counts is None else s.counts for s in (a, b)]
    np.testing.assert_array_equal(*ones)


def test_unknown_options_are_named(example):
    name, path, _ = example
    with pytest.raises(ParameterError, match="unknown option 'no_such_option'"):
        open_events(path, name, no_such_option=1)
    with pytest.raises(ParameterError, match="did you mean"):
        open_events(path, name, **{next(iter(load_reader(name).USES))[:-1]: 1})


def test_options_without_meaning_are_refused_and_defaults_are_not(example):
    name, path, options = example
    values = {"superres": 1, "dwell_time": 1e-6, "dm": "x.dm4", "line_start": "tdc2_rise"}
    for option, value in values.items():
        if option not in load_reader(name).USES:
            with pytest.raises(ParameterError, match=f"{option}=.* means nothing for {name}"):
                open_events(path, name, **options, **{option: value})
    open_events(path, name, mem="MEMMAP", **{"superres": 0, "dwell_time": None, **options})


def test_every_option_is_keyword_only_and_has_a_default(example):
    name, path, needed = example
    _, _, *others = inspect.signature(open_events).parameters.values()
    kinds = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
    assert {parameter.kind for parameter in others} == kinds
    with pytest.raises(TypeError):
        open_events(path, name, "RAM")
    fields = readers.ReaderOptions.__dataclass_fields__
    defaults = {option: fields[option].default for option in load_reader(name).USES}
    assert dataclasses.MISSING not in defaults.values()
    assert set(needed) <= set(defaults)
    explicit = open_events(path, name, mem="RAM", **{**defaults, **needed})
    assert_same(explicit, open_events(path, name, **needed))


LIBRARIES = {"h5py", "tifffile", "imagecodecs", "ncempy", "hdf5plugin", "stempy", "libertem"}


def test_no_library_of_a_format_is_imported_before_a_file_needs_it():
    code = (
        "import sys, py4dstem_eer\n"
        "from py4dstem_eer.readers import FORMATS, load_reader\n"
        f"print(sorted({LIBRARIES} & set(sys.modules)))\n"
        "for name in FORMATS: load_reader(name)\n"
        f"print(sorted({LIBRARIES} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.split("\n")[:2] == ["[]", "[]"]


def test_wrong_mem_and_format(example):
    _, path, _ = example
    with pytest.raises(ParameterError, match="mem is 'DISK'"):
        open_events(path, mem="DISK")
    with pytest.raises(ParameterError, match="did you mean 'stempy'"):
        open_events(path, "stempi")


@pytest.mark.parametrize("content", [b"", b"x", b"some words\n" * 99, b"\x89HDF\r\n\x1a\n" * 9])
@pytest.mark.parametrize("suffix", [".txt", ".h5", ".eer"])
def test_foreign_files(tmp_path, content, suffix):
    path = tmp_path / f"foreign{suffix}"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"foreign{suffix}"):
        open_events(path)
    for name in FORMATS:
        assert load_reader(name).recognises(path) is False


def test_the_error_lists_what_was_tried(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("some words")
    assert detect(path) is None
    with pytest.raises(FormatError, match=", ".join(FORMATS)):
        open_events(path)


def test_missing_files_and_directories(tmp_path):
    for call in (detect, open_events):
        with pytest.raises(FileNotFoundError, match=r"absent\.h5"):
            call(tmp_path / "absent.h5")
    assert detect(tmp_path) is None
    for name in (None, *FORMATS):
        with pytest.raises(FormatError, match="is a directory"):
            open_events(tmp_path, name)
    with pytest.raises(ParameterError, match="expected the path"):
        open_events(5)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no shared data in {SHARED}")
@pytest.mark.parametrize("folder", ["formats/stempy", "formats/emd", "real/emd"])
def test_shared_files_are_told_apart(folder):
    expected = folder.split("/")[1] if folder.startswith("formats") else None
    for path in sorted((SHARED / folder).glob("*.h5")):
        found = detect(path)
        assert found in (expected, None) or path.stem.startswith("dual")
        assert found == "stempy" or expected != "stempy"
