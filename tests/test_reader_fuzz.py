"""Every reader on damaged files gives a valid read or an error of ours, in bounded time and memory.

The samples are those of `format_examples`, the damage and the rules are in `fuzzing`. The normal
suite runs a few hundred cases of each format in this process. The nightly mode runs more, in
processes that may crash or hang, and reports the case that did it; findings so far are in the
`findings.txt` of each test's folder:

    PY4DSTEM_EER_FUZZ=20000 python -m pytest tests/test_reader_fuzz.py --basetemp=FOLDER

A case is a number and the same on every machine. To see one that failed again, with its files kept:

    python tests/fuzz_worker.py "stempy v1" 1234 1235 FOLDER

With atheris installed, `tests/fuzz_atheris.py` looks for damage by the lines of code it reaches.
"""

from __future__ import annotations

import faulthandler
import io
import os
import re
import struct
import sys
import tracemalloc
import warnings

import fuzz_worker
import fuzzing
import h5py
import numpy as np
import pytest
from format_examples import EXAMPLES, VARIANTS

from py4dstem_eer.errors import CorruptFileError
from py4dstem_eer.readers import FORMATS, load_reader

#: Cases of each format in the normal suite.
CASES = 240
NIGHTLY = int(os.environ.get("PY4DSTEM_EER_FUZZ", "0"))
PER_PROCESS = 2000


@pytest.fixture(scope="module", autouse=True)
def traced():
    """Stop tracing the memory, which the cases leave on."""
    yield
    tracemalloc.stop()


def cases_of(name):
    """Return the cases of one sample: the samples of a format share the number."""
    reader = VARIANTS[name][0] if name in VARIANTS else name
    return range((NIGHTLY or CASES) // len(fuzzing.samples_of(reader)))


def in_processes(name, cases, folder):
    """Yield the findings of batches of cases, and write them down at once."""
    with (folder / "findings.txt").open("w") as log:
        for start in range(0, len(cases), PER_PROCESS):
            batch = cases[start : start + PER_PROCESS]
            for case, text in fuzz_worker.supervise(name, batch, folder):
                log.write(f"{name}, case {case}: {text}\n")
                log.flush()
                yield case, text


@pytest.mark.parametrize("name", [*EXAMPLES, *VARIANTS])
def test_damaged_files(name, tmp_path, monkeypatch):
    cases = cases_of(name)
    if NIGHTLY:
        found = list(in_processes(name, cases, tmp_path))
    else:
        monkeypatch.setattr("py4dstem_eer.device.n_threads", lambda: 1)  # these files are small
        found = list(fuzz_worker.run(name, cases, tmp_path))
    lines = [f"{name}, case {case}: {text}" for case, text in found]
    assert not found, "\n".join([f"{len(found)} of {len(cases)} cases:", *lines[:20]])


def test_every_format_is_damaged():
    assert set(EXAMPLES) == set(FORMATS)


@pytest.mark.parametrize("name", [*EXAMPLES, *VARIANTS])
def test_damage_differs_and_comes_again(name, tmp_path):
    sample = fuzzing.load_sample(name, tmp_path / "sample")
    donors = fuzzing.load_donors(sample, tmp_path)
    done = [fuzzing.damaged(sample, case, donors) for case in range(300)]
    assert done[:30] == [fuzzing.damaged(sample, case, donors) for case in range(30)]
    assert len({tuple(sorted(files.items())) for files, _ in done}) > 250
    words = {word for _, damage in done for word in damage.split()}
    assert {kind.__name__ for kind in fuzzing.KINDS} <= words


# damage that was found


def huge_heaps(data):
    """Local heaps of 2 GB, in a file that says it is long enough: HDF5 asked for all of it."""
    at = data.find(b"HEAP")
    while at >= 0:
        data[at + 8 : at + 16] = (2**31).to_bytes(8, "little")
        at = data.find(b"HEAP", at + 4)
    data[40:48] = (2**40).to_bytes(8, "little")


def wrong_row(data):
    """Electrons of a scan row that are not those of its events: they were believed."""
    with h5py.File(io.BytesIO(bytes(data))) as file:
        dataset = file["tree/metadatabundle/electron_events/electrons_per_row"]
        at, rows = dataset.id.get_offset(), dataset[()]
    data[at : at + rows.nbytes] = np.add(rows, [1, 0, 0, -1, 0]).tobytes()


def short_chunk(data):
    """A chunk of 3 bytes with a checksum of 4: HDF5 crashed on it."""
    with h5py.File(io.BytesIO(bytes(data))) as file:
        lengths = file["tree/metadatabundle/electron_events/entries_per_pattern"]
        size = lengths.id.get_chunk_info(0).size
    at = data.index(struct.pack("<IIQQ", size, 0, 0, 0))  # as the B-tree lists it
    data[at : at + 4] = (3).to_bytes(4, "little")


def unfiltered_chunk(data):
    """A compressed chunk that says it is not: HDF5 read what lies beyond it in memory."""
    with h5py.File(io.BytesIO(bytes(data))) as file:
        counts = file["tree/metadatabundle/electron_events/counts"]
        size = counts.id.get_chunk_info(0).size
    at = data.index(struct.pack("<IIQQ", size, 0, 0, 0))
    data[at + 4] = 2  # without the second of the filters


def long_text(data):
    """A text of 256 MB: HDF5 took memory for it before it looked where it should be."""
    with h5py.File(io.BytesIO(bytes(data))) as file:
        text = file["tree/metadatabundle/electron_events/acquisition_json"]
        at = text.id.get_offset()
    data[at : at + 4] = (2**28).to_bytes(4, "little")


def larger_collection(data):
    """A heap collection that goes on where there is none: HDF5 hung on its second part."""
    at = data.index(b"GCOL")
    data[at + 8 : at + 16] = (8191).to_bytes(8, "little")


def whole(data):
    pass


@pytest.mark.parametrize(
    ("name", "damage", "error"),
    [
        ("emd", whole, None),
        ("stempy", huge_heaps, "beyond the end of the file"),
        ("emd", huge_heaps, "beyond the end of the file"),
        ("emd", wrong_row, "electrons, .* are listed"),
        ("emd", larger_collection, "heap collection at byte .* is damaged"),
        ("emd", long_text, r"acquisition_json of shape \(\) cannot be in a file"),
        ("emd", short_chunk, "entries_per_pattern of shape .* cannot be in a file"),
        ("emd", unfiltered_chunk, "counts of shape .* cannot be in a file"),
    ],
)
def test_damage_that_was_not_stood(name, damage, error, tmp_path):
    sample = fuzzing.load_sample(name, tmp_path / "sample")
    fuzzing.check_whole(sample, tmp_path)
    data = bytearray(sample.files[sample.main])
    damage(data)
    files = {sample.main: bytes(data)}
    fuzzing.write_files(files, tmp_path / "damaged")
    faulthandler.dump_traceback_later(fuzz_worker.CASE_SECONDS, exit=True)
    loaded = fuzzing.check_files(sample, files, tmp_path / "damaged")
    faulthandler.cancel_dump_traceback_later()
    if error is None:
        assert loaded.error is None
    else:
        assert re.search(error, str(loaded.error))


# what the rules are worth


def misread(sample, path, monkeypatch, spoil):
    """Check the whole files with a reader whose `open_source` goes through `spoil`."""
    reader = load_reader("stempy")
    original = reader.open_source
    monkeypatch.setattr(reader, "open_source", lambda *args: spoil(original, *args))
    fuzzing.check_whole(sample, path)


def raise_foreign(original, path, options):
    raise IndexError("list index out of range")


def raise_nameless(original, path, options):
    raise CorruptFileError("something is wrong")


def raise_missing(original, path, options):
    raise FileNotFoundError(f"{path}/values.dat")


def refuse_whole(original, path, options):
    raise CorruptFileError(f"{path} is damaged")


def take_memory(original, path, options):
    np.empty(2**26, np.uint8)
    return original(path, options)


def touch_memory(original, path, options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuzzing.tracemalloc, "get_traced_memory", lambda: (0, 0))
        bytearray(b"x" * 2**27)
    return original(path, options)


def ask_for_too_much(original, path, options):
    try:
        np.empty(2**60, np.uint8)
    except MemoryError as error:
        raise CorruptFileError(f"{path} is damaged") from error


def warn_always(original, path, options):
    warnings.warn("overflow encountered", RuntimeWarning, stacklevel=1)
    return original(path, options)


def promise_more(original, path, options):
    source = original(path, options)
    known = source.events_per_row()
    source.events_per_row = lambda: known + 1
    return source


def spoil_rows(original, path, options):
    source = original(path, options)
    read, rows = source.read_rows, source.scan_shape[0]
    source.read_rows = lambda a, b: read(a, b) if b - a == rows else read(0, b - a)
    return source


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (raise_foreign, "raised IndexError"),
        (raise_nameless, "names no file"),
        (raise_missing, "there is one file"),
        (refuse_whole, "the file is whole"),
        (take_memory, "bytes for"),
        (touch_memory, "bytes for"),
        (ask_for_too_much, "too much memory"),
        (warn_always, "raised RuntimeWarning"),
        (promise_more, "events promised"),
        (spoil_rows, "row 1: different events"),
    ],
)
def test_what_a_reader_must_not_do_is_found(tmp_path, monkeypatch, spoil, message):
    sample = fuzzing.load_sample("stempy", tmp_path / "sample")
    with pytest.raises(fuzzing.FoundError, match=message):
        misread(sample, tmp_path, monkeypatch, spoil)


DYING = """
import os, pathlib, sys
for case in range(int(sys.argv[2]), int(sys.argv[3])):
    pathlib.Path(sys.argv[4], "case").write_text(str(case))
    if case == 5: print('[5, "no good"]', flush=True)
    if case in (3, 7): os.abort()
"""


def test_a_process_that_dies_is_reported_and_replaced(tmp_path):
    worker = tmp_path / "dying.py"
    worker.write_text(DYING)
    found = list(fuzz_worker.supervise("any", range(2, 9), tmp_path, str(worker)))
    assert [case for case, _ in found] == [3, 5, 7]
    assert "ended with -6" in found[0][1]
    worker.write_text("raise SystemExit('no such sample')")
    with pytest.raises(RuntimeError, match="no such sample"):
        list(fuzz_worker.supervise("any", range(9, 11), tmp_path, str(worker)))


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space of a process")
def test_the_worker_hangs_up_and_says_where(tmp_path):
    hanging = tmp_path / "hanging.py"
    hanging.write_text(
        f"import sys, time; sys.path[:0] = {sys.path!r}\n"
        "import fuzz_worker, fuzzing\n"
        "fuzz_worker.CASE_SECONDS = 0.3\n"
        "fuzzing.check_case = lambda *_: time.sleep(60)\n"
        "fuzz_worker.run.__defaults__ = (0.3,)\n"
        "fuzz_worker.main(*sys.argv[1:])\n"
    )
    ((case, text),) = fuzz_worker.supervise("emd", range(4, 5), tmp_path, str(hanging))
    assert case == 4
    assert "Timeout" in text
