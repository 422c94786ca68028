"""raw_csr data sets: all types and orders, beside LiberTEM; whole, incomplete and damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import raw_csr_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from py4dstem_eer.errors import (
    CorruptFileError,
    EventRangeError,
    EventWarning,
    FormatError,
    ParameterError,
)
from py4dstem_eer.readers import detect, open_events, raw_csr

SHARED = Path(os.environ.get("PY4DSTEM_EER_DATA", Path(__file__).parents[2] / "shared/data"))
FIXTURES = sorted((SHARED / "formats/raw_csr").glob("*.toml"))
SHAPE = (5, 7, 12, 9)


def to_dense(store):
    rows, columns = store.scan_shape
    patterns = [[store.pattern(i, j) for j in range(columns)] for i in range(rows)]
    return np.array(patterns, np.int64).reshape(store.shape)


def both_ways(path, **options):
    """Return the dense counts, after comparing memory and file."""
    loaded, streamed = (open_events(path, mem=mem, **options) for mem in ("RAM", "MEMMAP"))
    loaded.validate()
    streamed.validate()
    dense = to_dense(loaded)
    rows = [to_dense(streamed.read_rows(r, r + 1))[0] for r in range(loaded.scan_shape[0])]
    np.testing.assert_array_equal(rows, dense)
    assert streamed.n_events == loaded.n_events == dense.sum()
    return dense


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.toml"


def array_file(path, name):
    return path.with_name(f"{path.stem}_{name}.raw")


def rewrite(path, name, change, dtype):
    values = np.fromfile(array_file(path, name), dtype)
    changed = change(values)
    (values if changed is None else changed).tofile(array_file(path, name))


def put(at, value):
    def change(values):
        values[at] = value

    return change


# whole


@pytest.mark.skipif(not FIXTURES, reason=f"no fixtures in {SHARED}")
@pytest.mark.parametrize("path", FIXTURES, ids=lambda p: p.stem)
def test_shared_files(path):
    truth = np.load(path.with_name("truth.npz"))["data"]
    assert detect(path) == "raw_csr"
    np.testing.assert_array_equal(both_ways(path), truth)


@pytest.mark.parametrize("how", [{}, {"repeat": True}, {"repeat": True, "shuffle": True}])
@pytest.mark.parametrize(
    "dtypes",
    [
        ("<i8", "<u2", "|u1"),
        ("<i4", "<i4", "<i4"),
        ("<u8", "<u4", "<f4"),
        (">u4", ">i2", ">f8"),
        ("<i8", "<i8", "<u8"),
        ("int64", "uint16", "float16"),
    ],
)
def test_types_and_orders(path, dtypes, how):
    truth = raw_csr_files.make(path, seed=1, dtypes=dtypes, **how)
    np.testing.assert_array_equal(both_ways(path), truth)


def test_booleans(path):
    truth = raw_csr_files.make(path, mean=0.1, dtypes=("<i8", "<u2", "bool"))
    np.testing.assert_array_equal(both_ways(path), truth > 0)


def test_values_of_zero_are_no_electrons(path):
    truth = raw_csr_files.make(path, mean=1.0, repeat=True, shuffle=True)
    rewrite(path, "data", lambda v: put(slice(None, None, 3), 0)(v), "u1")
    kept = np.fromfile(array_file(path, "data"), "u1").sum()
    dense = both_ways(path)
    assert dense.sum() == kept < truth.sum()
    assert np.all(dense <= truth)


def test_large_detector_and_counts(path):
    truth = raw_csr_files.make(path, shape=(2, 3, 300, 301), mean=0.01, dtypes=("i4", "i4", "i4"))
    rewrite(path, "data", put(5, 100_000), "i4")
    dense = both_ways(path)
    assert dense.max() == 100_000
    assert np.count_nonzero(dense != truth) == 1


def shared_with_file(store, path, name, dtype):
    """Return whether the arrays of a store show what is written to a file."""
    array = getattr(store, name)
    file = np.memmap(array_file(path, {"counts": "data"}.get(name, name)), dtype, "r+")
    before = array.copy()
    file[: len(array)] += 1
    changed = not np.array_equal(array, before)
    file[: len(array)] -= 1
    return changed


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 3, 9, 8), "<u2"), ((2, 3, 9, 8), "<i2"), ((2, 2, 300, 301), "<i4")]
)
def test_rows_are_maps_of_the_files_and_loaded_events_are_not(path, shape, dtype):
    raw_csr_files.make(path, shape=shape, mean=1.0, dtypes=("<i8", dtype, "|u1"))
    streamed = open_events(path, mem="MEMMAP").read_rows(0, 1)
    loaded = open_events(path)
    for name, file_dtype in (("indices", dtype), ("counts", "u1")):
        assert shared_with_file(streamed, path, name, file_dtype)
        assert not shared_with_file(loaded, path, name, file_dtype)


def test_opening_reads_no_entries(path):
    """Files of 64 GB that take no room on the disk open like small ones."""
    raw_csr_files.make(path, shape=SHAPE)
    indptr = np.fromfile(array_file(path, "indptr"), "i8")
    for name, itemsize in (("indices", 2), ("data", 1)):
        os.truncate(array_file(path, name), 2**35 * itemsize)
    indptr[-1] = 2**35
    indptr.tofile(array_file(path, "indptr"))
    store = open_events(path, mem="MEMMAP")
    assert store.nbytes < 1000
    assert store.read_rows(0, 1).n_events > 0


def test_blocks_hold_about_as_many_entries_as_is_asked_for(path, monkeypatch):
    truth = raw_csr_files.make(path, shape=(20, 3, 9, 8))
    monkeypatch.setattr("py4dstem_eer.streams.EVENTS_PER_BLOCK", 200)
    blocks = list(open_events(path, mem="MEMMAP").blocks())
    assert 3 < len(blocks) < 15
    np.testing.assert_array_equal(np.concatenate([to_dense(b) for _, b in blocks]), truth)


def test_the_size_is_that_of_the_arrays(path):
    raw_csr_files.make(path)
    size = sum(file.stat().st_size for file in path.parent.iterdir()) - path.stat().st_size
    assert open_events(path, mem="MEMMAP").file_bytes() == size


def test_small_reads(path, monkeypatch):
    truth = raw_csr_files.make(path, repeat=True, shuffle=True)
    monkeypatch.setattr("py4dstem_eer.readers.raw_csr_source._ENTRIES_PER_READ", 50)
    np.testing.assert_array_equal(both_ways(path), truth)


# what LiberTEM reads


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (5, 6, 9, 8))),
    indptr=st.sampled_from(["<i4", "<i8", "<u8"]),
    indices=st.sampled_from(["<u2", "<i4", "<i8"]),
    data=st.sampled_from(["|u1", "<i4", "<f4"]),
    shuffled=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_libertem_reads_the_same(tmp_path, shape, indptr, indices, data, shuffled, seed):
    path = tmp_path / "any.toml"
    how = {"repeat": shuffled, "shuffle": shuffled}
    dtypes = (indptr, indices, data)
    truth = raw_csr_files.make(path, seed, shape, 0.5, dtypes, **how)
    np.testing.assert_array_equal(both_ways(path), truth)
    if truth.any():  # LiberTEM maps no empty files
        np.testing.assert_array_equal(raw_csr_files.with_libertem(path), truth)


@pytest.mark.parametrize("offset", [1, 9])
def test_skipped_frames_are_the_sync_offset(path, offset):
    truth = raw_csr_files.make(path).reshape(35, 12, 9)
    with pytest.warns(EventWarning, match=f"{offset} of 35 frames .* are missing"):
        dense = both_ways(path, skip_frames=offset)
    np.testing.assert_array_equal(dense.reshape(35, 12, 9)[:-offset], truth[offset:])
    assert not dense.reshape(35, 12, 9)[-offset:].any()
    np.testing.assert_array_equal(raw_csr_files.with_libertem(path, sync_offset=offset), dense)


@pytest.mark.parametrize("nav_shape", [[6, 7], [7, 6], [4, 7], [2, 3]])
def test_more_or_fewer_positions_than_frames(path, nav_shape):
    truth = raw_csr_files.make(path).reshape(35, 12, 9)
    text = path.read_text().replace("nav_shape = [5, 7]", f"nav_shape = {nav_shape}")
    path.write_text(text)
    n = nav_shape[0] * nav_shape[1]
    word = f"{n - 35} of {n} frames" if n > 35 else f"{35 - n} frames after those"
    with pytest.warns(EventWarning, match=word):
        store = open_events(path)
    dense = to_dense(store).reshape(n, 12, 9)
    np.testing.assert_array_equal(dense[:35], truth[:n])
    assert not dense[35:].any()
    assert open_with_warning(path).missing_patterns() == max(0, n - 35)
    without = open_with_warning(path, keep_flyback=False)
    there = np.arange(n).reshape(nav_shape)[:, :-1] < 35
    assert without.missing_patterns() == np.count_nonzero(~there)
    name = "missing_frames" if n > 35 else "unused_frames"
    assert store.metadata[name] == abs(n - 35)
    np.testing.assert_array_equal(raw_csr_files.with_libertem(path).reshape(n, 12, 9), dense)


def open_with_warning(path, **options):
    with pytest.warns(EventWarning):
        return open_events(path, mem="MEMMAP", **options)


def test_options(path):
    truth = raw_csr_files.make(path, shape=(4, 6, 12, 9))
    np.testing.assert_array_equal(both_ways(path, keep_flyback=False), truth[:, :-1])
    np.testing.assert_array_equal(both_ways(path, scan_shape=(3, 8)), truth.reshape(3, 8, 12, 9))
    summed = truth.reshape(4, 3, 2, 12, 9).sum(axis=2)
    options = {"scan_shape": (4, 3), "frames_per_position": 2}
    np.testing.assert_array_equal(both_ways(path, **options), summed)
    after = truth.reshape(24, 12, 9)[3:].reshape(7, 3, 12, 9)
    np.testing.assert_array_equal(both_ways(path, scan_shape=(7, 3), skip_frames=3), after)
    with pytest.raises(ParameterError, match="leaves none of the 24 frames"):
        open_events(path, skip_frames=24)
    with pytest.raises(ParameterError, match="has no other"):
        open_events(path, scan_shape=(24, 1), keep_flyback=False)


@pytest.mark.parametrize(
    ("nav", "sig", "shape"),
    [
        ([35], [12, 9], (1, 35, 12, 9)),
        ([5, 7], [108], (5, 7, 1, 108)),
        ([5, 1, 7], [3, 4, 9], (5, 7, 12, 9)),
    ],
)
def test_other_numbers_of_axes(path, nav, sig, shape):
    truth = raw_csr_files.make(path)
    text = path.read_text().replace("[5, 7]", str(nav)).replace("[12, 9]", str(sig))
    path.write_text(text)
    np.testing.assert_array_equal(both_ways(path), truth.reshape(shape))


def test_names_and_places(path, tmp_path):
    """Paths count from the TOML file, and the type may be written in capitals."""
    truth = raw_csr_files.make(path, filetype="RAW_CSR")
    (tmp_path / "arrays").mkdir()
    text = path.read_text()
    for name in ("indptr", "data"):
        file = array_file(path, name)
        place = "arrays/" if name == "indptr" else f"{tmp_path}/arrays/"
        file.rename(tmp_path / "arrays" / file.name)
        text = text.replace(file.name, place + file.name)
    path.write_text(text)
    assert detect(path) == "raw_csr"
    np.testing.assert_array_equal(both_ways(path), truth)
    np.testing.assert_array_equal(raw_csr_files.with_libertem(path), truth)


# damage


TOML = '[params]\nfiletype = "{}"\nnav_shape = [2, 3]\nsig_shape = [4, 5]\n'


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (TOML.format("raw_csr"), "raw_csr"),
        (TOML.format("Raw_CSR"), "raw_csr"),
        ("params = {\"filetype\" = 'raw_csr'}", "raw_csr"),
        (TOML.format("raw_csr") + "cut = [1,", "raw_csr"),
        (TOML.format("raw"), None),
        ('[project]\nname = "raw_csr"\n', None),
        ('# filetype = "raw_csr"\n[project]\n', None),
        ('[other]\nfiletype = "raw_csr"\n', None),
        ('params = 5\n[other]\nfiletype = "raw_csr"\n', None),
        ('\0\nfiletype = "raw_csr"\n', None),
    ],
)
def test_recognition(tmp_path, content, found):
    path = tmp_path / "anything.dat"
    path.write_text(content)
    assert detect(path) == found
    assert raw_csr.recognises(path) is (found is not None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[params]", "[param]", r"lacks the table \[params\]"),
        ('filetype = "raw_csr"', 'filetype = "csr"', "filetype = 'csr'"),
        ("[raw_csr]", "[raw]", r"lacks the table \[raw_csr\]"),
        ("[5, 7]", "[5, 0]", r"nav_shape = \[5, 0\]"),
        ("[5, 7]", "[]", r"nav_shape = \[\]"),
        ("[5, 7]", "5", "nav_shape = 5"),
        ("[12, 9]", "[12, 9.0]", r"sig_shape = \[12, 9.0\]"),
        ("[12, 9]", "[true, 9]", r"sig_shape = \[True, 9\]"),
        ("[12, 9]", "[70000, 70000]", "sig_shape"),
        ("[5, 7]", "[1000000, 1000000]", "promises a scan .* arrays have 35 frames"),
        ('"events_data.raw"', "7", "data_file = 7"),
        ('"<u2"', '"O"', "indices_dtype = 'O'"),
        ('"<u2"', '"<f4"', "indices_dtype = '<f4'"),
        ('"<u2"', '"u2,u2"', "indices_dtype = 'u2,u2'"),
        ('"<u2"', '"(3,)u2"', "indices_dtype"),
        ('"<u2"', "2", "indices_dtype = 2"),
        ('"|u1"', '"<c8"', "data_dtype = '<c8'"),
        ('"|u1"', '"no such type"', "data_dtype"),
        ("nav_shape", "nav_shape nav_shape", "no TOML"),
        ("nav_shape", "x = " + "[" * 5000 + "\nnav_shape", "no TOML"),
    ],
)
def test_damaged_descriptions(path, old, new, message):
    raw_csr_files.make(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises((CorruptFileError, FormatError), match=message) as caught:
        open_events(path, "raw_csr")
    assert str(path) in str(caught.value)


def test_a_description_is_small(path):
    raw_csr_files.make(path)
    path.write_text(path.read_text() + "#" * 2**20)
    with pytest.raises(FormatError, match="larger than 1048576 bytes"):
        open_events(path, "raw_csr")


def test_missing_arrays(path, tmp_path):
    raw_csr_files.make(path)
    for name in raw_csr_files.ARRAYS:
        file = array_file(path, name)
        file.rename(tmp_path / "away")
        with pytest.raises(FileNotFoundError, match=f"{file.name}, the {name} of .*events.toml"):
            open_events(path)
        file.mkdir()
        with pytest.raises(CorruptFileError, match="is no file"):
            open_events(path)
        file.rmdir()
        (tmp_path / "away").rename(file)
    path.write_text(path.read_text().replace("events_data.raw", "x" * 5000))
    with pytest.raises(CorruptFileError, match="no file name"):
        open_events(path)


@pytest.mark.parametrize("name", raw_csr_files.ARRAYS)
def test_arrays_cut_short_while_they_are_streamed(path, name):
    """A map beyond the end of its file would end the process."""
    raw_csr_files.make(path, shape=(40, 30, 12, 9), dtypes=("<i8", "<u2", "<u2"))
    events = open_events(path, mem="MEMMAP")
    os.truncate(array_file(path, name), 64)
    for use in (lambda: list(events.blocks()), lambda: events.read_rows(30, 31), events.load):
        with pytest.raises(CorruptFileError, match="changed"):
            use()


def test_truncated_arrays(path):
    truth = raw_csr_files.make(path, dtypes=("<i8", "<u2", "<u2")).reshape(35, 12, 9)
    whole = {name: array_file(path, name).read_bytes() for name in raw_csr_files.ARRAYS}
    cuts = {"indices": "frame 33 ", "data": "frame 33 ", "indptr": "from 34 on"}
    indptr = np.frombuffer(whole["indptr"], "i8")
    ends = {"indices": 2 * (indptr[33] + 2), "data": 2 * (indptr[33] + 2), "indptr": 8 * 35}
    for name, words in cuts.items():
        array_file(path, name).write_bytes(whole[name][: ends[name]])
        with pytest.raises(CorruptFileError, match=words):
            open_events(path)
        with pytest.warns(EventWarning):
            store = open_events(path, errors="skip")
        kept = 34 if name == "indptr" else 33
        dense = to_dense(store).reshape(35, 12, 9)
        np.testing.assert_array_equal(dense[:kept], truth[:kept])
        assert not dense[kept:].any()
        array_file(path, name).write_bytes(whole[name][: ends[name] - 1])
        with pytest.raises(CorruptFileError, match="no whole number"):
            open_events(path)
        array_file(path, name).write_bytes(whole[name])


def test_empty_arrays(path):
    raw_csr_files.make(path, mean=0.0)
    assert not both_ways(path).any()
    array_file(path, "indptr").write_bytes(b"")
    with pytest.raises(CorruptFileError, match="has no frame 0"):
        open_events(path, errors="skip")


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("indices", 108, EventRangeError, "frame 9: index 108 lies outside"),
        ("indices", -1, EventRangeError, "frame 9: index -1 lies outside"),
        ("data", -1, FormatError, "frame 9: the data are no electron counts, found -1"),
        ("data", 2.5, FormatError, "frame 9: the data are no electron counts, found 2.5"),
        ("data", np.nan, FormatError, "found nan"),
        ("data", np.inf, FormatError, "found inf"),
        ("data", 2.0**32, FormatError, "found 4294967296"),
    ],
)
@pytest.mark.parametrize("how", [{}, {"shuffle": True}])
def test_wrong_entries(path, name, value, error, message, how):
    dtypes = {"indptr": "<i8", "indices": "<i2", "data": "<f8"}
    truth = raw_csr_files.make(path, mean=0.5, dtypes=tuple(dtypes.values()), **how)
    at = np.fromfile(array_file(path, "indptr"), "i8")[9]
    rewrite(path, name, put(at, value), dtypes[name])
    with pytest.raises(error, match=message):
        open_events(path)
    streamed = open_events(path, mem="MEMMAP")
    np.testing.assert_array_equal(to_dense(streamed.read_rows(0, 1))[0], truth[0])
    with pytest.raises(error, match=message):
        streamed.read_rows(1, 2)
    with pytest.warns(EventWarning, match="1 of 35 frames cannot be read"):
        store = open_events(path, errors="skip")
    assert store.metadata["skipped_frames"] == 1
    truth.reshape(35, 12, 9)[9] = 0
    np.testing.assert_array_equal(to_dense(store), truth)


@pytest.mark.parametrize("mem", ["RAM", "MEMMAP"])
@pytest.mark.parametrize("value", [-5, 2**40, 0, 10**5, 2**63 - 1, -(2**63)])
def test_wrong_beginning_of_a_frame(path, value, mem):
    truth = raw_csr_files.make(path).reshape(35, 12, 9)
    rewrite(path, "indptr", put(12, value), "i8")
    with pytest.raises(CorruptFileError, match=r"frame 1[12]: its entries are from"):
        open_events(path)
    with pytest.warns(EventWarning, match="of 35 frames cannot be read"):
        store = open_events(path, errors="skip", mem=mem)
    store.validate()
    dense = to_dense(store).reshape(35, 12, 9)
    good = [k for k in range(35) if not 10 <= k <= 13]
    np.testing.assert_array_equal(dense[good], truth[good])
    assert all(np.array_equal(a, b) or not a.any() for a, b in zip(dense, truth, strict=True))


def test_beginnings_of_frames_that_are_beyond_all_numbers(path):
    raw_csr_files.make(path)
    indptr = np.fromfile(array_file(path, "indptr"), "i8")
    indptr[1:-1] = np.where(np.arange(1, len(indptr) - 1) % 2, 2**63 - 1, -(2**63))
    indptr.tofile(array_file(path, "indptr"))
    with pytest.warns(EventWarning, match="35 of 35 frames cannot be read"):
        store = open_events(path, errors="skip", mem="MEMMAP")
    assert store.n_events == 0


@pytest.mark.parametrize("bits", [0x7FA00000, 0x7FC00000, 0x4F800000], ids=["sNaN", "NaN", "2^32"])
def test_single_precision_that_is_no_count(path, bits):
    raw_csr_files.make(path, dtypes=("<i8", "<u2", "<f4"))
    values = np.fromfile(array_file(path, "data"), "<u4")
    values[3] = bits
    values.tofile(array_file(path, "data"))
    with pytest.raises(FormatError, match="frame 0: the data are no electron counts"):
        open_events(path)


def test_frames_that_share_entries_do_not_multiply_them(path):
    """Each frame of a small file may claim all entries, and then there would be very many."""
    raw_csr_files.make(path, shape=(50, 40, 12, 9))
    n = len(np.fromfile(array_file(path, "data"), "u1"))
    indptr = np.tile([0, n, n, n], 501)[:2001]
    indptr[-1] = n
    indptr.astype("<i8").tofile(array_file(path, "indptr"))
    with pytest.raises(CorruptFileError, match="its entries are from"):
        open_events(path)
    with pytest.warns(EventWarning, match="cannot be read"):
        assert open_events(path, errors="skip").n_events <= 10 * n


def test_sums_beyond_what_can_be_kept(path):
    pixels = [(np.array([3, 3]), np.array([2**31, 2**31]))]
    raw_csr_files.write(path, raw_csr_files.arrays(pixels), (1, 1, 2, 3), ("<i8", "<u2", "<u4"))
    with pytest.raises(EventRangeError, match=r"events.toml: a pixel counts 4294967296"):
        open_events(path)


def test_changed_and_deleted_arrays(path):
    raw_csr_files.make(path)
    store = open_events(path, mem="MEMMAP")
    store.read_rows(0, 1)
    os.utime(array_file(path, "data"), ns=(1, 1))
    with pytest.raises(CorruptFileError, match=r"events_data\.raw has changed"):
        store.read_rows(0, 1)
    array_file(path, "data").unlink()
    with pytest.raises(FileNotFoundError, match="deleted or moved"):
        store.load()
