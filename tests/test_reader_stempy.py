"""stempy files of all versions, by both routes, whole and damaged."""

from __future__ import annotations

import faulthandler
import os
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import stempy_files
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from py4dstem_eer.errors import (
    CorruptFileError,
    EventError,
    EventRangeError,
    EventWarning,
    FormatError,
    ParameterError,
)
from py4dstem_eer.readers import open_events, stempy
from py4dstem_eer.readers.options import ReaderOptions
from py4dstem_eer.streams import StreamedEventStore

SHARED = Path(os.environ.get("PY4DSTEM_EER_DATA", Path(__file__).parents[2] / "shared/data"))
FIXTURES = sorted((SHARED / "formats/stempy").glob("*.h5"))


def to_dense(store):
    rows, columns = store.scan_shape
    patterns = [[store.pattern(i, j) for j in range(columns)] for i in range(rows)]
    return np.array(patterns, np.int64).reshape(store.shape)


def lists(store):
    return store.indptr, store.indices, store.counts


def assert_same(a, b):
    assert a.shape == b.shape
    for x, y in zip(lists(a), lists(b), strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            assert x.dtype == y.dtype
            assert x.tobytes() == y.tobytes()


def by_route(path, route, **options):
    return StreamedEventStore(stempy.open_source(path, ReaderOptions(**options), route)).load()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.h5"


@pytest.mark.parametrize("layout", stempy_files.LAYOUTS)
@pytest.mark.parametrize("file_options", [{}, {"libver": "latest"}, {"userblock_size": 1024}])
def test_all_layouts_by_both_routes(path, layout, file_options):
    truth = stempy_files.make(path, layout, seed=1, **file_options)
    store = open_events(path)
    store.validate()
    np.testing.assert_array_equal(to_dense(store), truth)
    assert store.n_events == truth.sum()
    for route in ("heap", "h5py"):
        assert_same(by_route(path, route), store)
    version = {"v0": 0, "v1": 1, "v2": 2, "v2_no_mark": 2}.get(layout, 3)
    assert store.metadata["version"] == version


@pytest.mark.parametrize("layout", stempy_files.LAYOUTS)
@pytest.mark.parametrize("filters", [{}, {"gzip": 4}, {"gzip": 4, "shuffle": 1}])
def test_chunked_files(path, layout, filters):
    truth = stempy_files.make(path, layout, seed=2, chunks=(16,), filters=filters)
    for route in ("heap", "h5py"):
        np.testing.assert_array_equal(to_dense(by_route(path, route)), truth)


@pytest.mark.parametrize("layout", ["v2", "v3"])
def test_other_address_sizes_go_through_h5py(path, layout):
    truth = stempy_files.make(path, layout, seed=3, sizes=(4, 4))
    with pytest.raises(ParameterError, match="only be read through h5py"):
        by_route(path, "heap")
    np.testing.assert_array_equal(to_dense(open_events(path)), truth)


@pytest.mark.skipif(not FIXTURES, reason=f"no fixtures in {SHARED}")
@pytest.mark.parametrize("route", ["heap", "h5py"])
@pytest.mark.parametrize("path", FIXTURES, ids=lambda p: p.stem)
def test_files_written_by_stempy(path, route):
    truth = np.load(path.with_name(path.stem + "_truth.npz"))
    store = by_route(path, route)
    store.validate()
    assert_same(store, open_events(path))
    assert store.scan_shape == tuple(truth["scan_shape"])
    assert store.detector_shape == tuple(truth["frame_shape"])
    expected = np.zeros(store.shape, np.int64)
    expected.ravel()[truth["flat4d"]] = truth["counts"]
    np.testing.assert_array_equal(to_dense(store), expected)
    dropped = open_events(path, keep_flyback=False)
    np.testing.assert_array_equal(to_dense(dropped), expected[:, :-1])
    assert_same(by_route(path, "h5py", keep_flyback=False), dropped)


@pytest.mark.parametrize("layout", ["v1", "v2", "v3", "v3_one_frame"])
def test_stempy_reads_the_same(path, layout):
    io = pytest.importorskip("stempy.io", reason="stempy is not installed")
    stempy_files.make(path, layout, seed=4)
    theirs = io.load_electron_counts(path)
    ours = to_dense(open_events(path))
    assert tuple(theirs.scan_shape) == ours.shape[:2]
    np.testing.assert_array_equal(theirs.sum(axis=(0, 1)), ours.sum(axis=(0, 1)))
    images = np.array([sum(len(row) for row in rows) for rows in theirs.data])
    np.testing.assert_array_equal(images, ours.sum(axis=(2, 3)).ravel())


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    layout=st.sampled_from(stempy_files.LAYOUTS[1:]),
    scan=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    detector=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    seed=st.integers(0, 2**16),
)
def test_any_shape(tmp_path, layout, scan, detector, seed):
    path = tmp_path / "any.h5"
    truth = stempy_files.make(path, layout, seed, scan, detector)
    assume(layout != "v2_no_mark" or not looks_like_half_a_v1_file(path, scan))
    store = open_events(path)
    np.testing.assert_array_equal(to_dense(store), truth)
    streamed = open_events(path, mem="MEMMAP")
    for row in range(scan[0]):
        np.testing.assert_array_equal(to_dense(streamed.read_rows(row, row + 1))[0], truth[row])
    assert streamed.n_events == truth.sum()
    assert streamed.count_dtype.itemsize >= store.count_dtype.itemsize
    if scan[1] > 1:
        kept = open_events(path, keep_flyback=False)
        np.testing.assert_array_equal(to_dense(kept), truth[:, :-1])


@pytest.mark.parametrize("n_frames", [0, 4])
def test_positions_at_the_end_may_have_no_frames(path, n_frames):
    frames = [np.array([k], np.uint32) for k in range(n_frames)]
    stempy_files.write_tables(path, frames, np.arange(n_frames), (2, 3), (4, 5), version=2)
    store = open_events(path)
    np.testing.assert_array_equal(store.indices, np.arange(n_frames))
    np.testing.assert_array_equal(store.indptr, np.minimum(np.arange(7), n_frames))


def looks_like_half_a_v1_file(path, scan):
    with h5py.File(path) as file:
        positions = file["electron_events/scan_positions"][()]
    in_order = np.array_equal(positions, np.arange(len(positions)))
    return in_order and 0 < len(positions) < scan[0] * scan[1]


def test_half_a_v1_file(path):
    frames = [np.array([k], np.uint32) for k in range(4)]
    stempy_files.write_tables(path, frames, np.arange(4), (2, 3), (4, 5))
    with pytest.raises(CorruptFileError, match="do not fit"):
        open_events(path)


def test_large_lists_and_small_windows(path, monkeypatch):
    """Collections larger than a window, and many windows."""
    monkeypatch.setattr("py4dstem_eer.readers.global_heap.WINDOW_BYTES", 5000)
    monkeypatch.setattr("py4dstem_eer.readers.stempy_source._EVENTS_PER_READ", 3000)
    rng = np.random.default_rng(0)
    frames = stempy_files.random_frames(rng, (4, 5), (200, 300), 2, mean=400)
    frames[3][1] = np.arange(0, 60000, 2, dtype=np.uint32)
    stempy_files.write_layout(path, "v2", frames, (4, 5), (200, 300), rng)
    truth = stempy_files.dense(frames, (4, 5), (200, 300))
    np.testing.assert_array_equal(to_dense(open_events(path)), truth)


def test_collection_with_other_objects_before_the_list(path):
    """A collection longer than what its lists need has to be read a second time."""
    with h5py.File(path, "w") as file:
        group = file.create_group("electron_events")
        group.create_dataset("scan_positions", data=[0]).attrs.update({"Nx": 1, "Ny": 1})
        frames = group.create_dataset("frames", (1,), h5py.vlen_dtype(np.uint32))
        frames.attrs.update({"Nx": 8, "Ny": 9})
        other = file.create_dataset("other", (1,), h5py.vlen_dtype(np.uint8))
        other[0] = np.zeros(20000, np.uint8)
        for k in range(3):
            frames[0] = np.arange(k + 1)
        file.attrs["version"] = 3
    np.testing.assert_array_equal(open_events(path).indices, [0, 1, 2])


def test_square_default_without_detector_shape(path):
    truth = stempy_files.make(path, "v0", seed=5)
    assert open_events(path).detector_shape == (576, 576)
    assert truth.shape[2:] == (576, 576)


def test_prototype_of_2019_is_refused(path):
    point = np.dtype([("x", "<u4"), ("y", "<u4")])
    with h5py.File(path, "w") as file:
        file["electron_events/scan_positions"] = np.zeros(3, point)
        file.create_dataset("electron_events/frames", (3,), h5py.vlen_dtype(point))
    with pytest.raises(FormatError, match="prototype of April 2019"):
        open_events(path)


# options


def test_frames_per_position_and_scan_shape(path):
    truth = stempy_files.make(path, "v3", seed=6, scan=(4, 6))
    single = open_events(path, scan_shape=(12, 6), frames_per_position=1)
    summed = to_dense(single).reshape(4, 6, 3, 12, 9).sum(axis=2)
    np.testing.assert_array_equal(summed, truth)
    reshaped = open_events(path, scan_shape=(6, 4))
    np.testing.assert_array_equal(to_dense(reshaped), truth.reshape(6, 4, 12, 9))


def test_skip_frames(path):
    truth = stempy_files.make(path, "v3_one_frame", seed=7, scan=(5, 7))
    store = open_events(path, skip_frames=5, scan_shape=(6, 5))
    expected = truth.reshape(35, 12, 9)[5:].reshape(6, 5, 12, 9)
    np.testing.assert_array_equal(to_dense(store), expected)
    with pytest.raises(ParameterError, match="34 frames after skipping 1"):
        open_events(path, skip_frames=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scan_shape": (5, 8)}, "105 frames do not fill a scan of \\(5, 8\\)"),
        ({"scan_shape": (5, 21)}, "1 frames per position would: frames_per_position=1"),
        ({"frames_per_position": 2}, "do not fill"),
        ({"skip_frames": 200}, "do not fill"),
        ({"superres": 1}, "superres=1 means nothing for stempy"),
        ({"scan_shap": (5, 7)}, "did you mean scan_shape"),
        ({"errors": "ignore"}, "errors is 'ignore'"),
        ({"skip_frames": -1}, "skip_frames is -1"),
        ({"keep_flyback": "no"}, "keep_flyback is 'no'"),
        ({"scan_shape": (5, 0)}, "at least one row and column"),
    ],
)
def test_wrong_options(path, options, message):
    stempy_files.make(path, "v3", seed=8)
    with pytest.raises(ParameterError, match=message):
        open_events(path, **options)


def test_options_that_contradict_the_position_table(path):
    stempy_files.make(path, "v2", seed=9)
    with pytest.raises(ParameterError, match="says for each frame where it belongs"):
        open_events(path, frames_per_position=3)
    with pytest.raises(ParameterError, match="40 positions"):
        open_events(path, scan_shape=(5, 8))


def test_one_column_has_no_flyback(path):
    stempy_files.make(path, "v3", seed=9, scan=(5, 1))
    with pytest.raises(ParameterError, match="has no other"):
        open_events(path, keep_flyback=False)


def test_metadata(path):
    stempy_files.make(path, "v3", seed=10, user={"process time (s)": 12.5, "date": "2024/01/02"})
    metadata = open_events(path, keep_flyback=False).metadata
    assert metadata["format"] == "stempy"
    assert metadata["frames_per_position"] == 3
    assert metadata["keep_flyback"] is False
    assert metadata["user"] == {"process time": (12.5, "s"), "date": "2024/01/02"}
    counting = metadata["metadata"]["electron_counting"]
    assert counting == {"background_threshold": 14.5, "threshold_calculated": True}
    assert type(counting["background_threshold"]) is float


# damage


def references(path):
    """Return a writable map of the references of a contiguous file, and the heap's position."""
    with h5py.File(path) as file:
        frames = file["electron_events/frames"]
        offset, n = frames.id.get_offset(), len(frames)
    dtype = np.dtype([("n", "<u4"), ("address", "<u8"), ("number", "<u4")])
    return np.memmap(path, dtype, "r+", offset, (n,))


def skipping(path):
    with pytest.warns(EventWarning, match="cannot be read"):
        return open_events(path, errors="skip")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("address", 2**40, "beyond the end of the file"),
        ("address", 2**63 + 8, "beyond the end of the file"),
        ("address", 8, "no heap collection"),
        ("number", 60000, "an object that is not there"),
        ("number", 0, "an object that is not there"),
        ("n", 100, "length differs"),
        ("n", 2**32 - 1, "beyond the end of the file"),
    ],
)
@pytest.mark.parametrize("route", ["heap", "h5py"])
def test_bad_reference_names_the_frame(path, field, value, message, route):
    truth = stempy_files.make(path, "v3_one_frame", seed=11, scan=(6, 7))
    table = references(path)
    frame = int(np.flatnonzero(table["n"])[9])
    table[field][frame] = value
    table.flush()
    with pytest.raises(CorruptFileError, match=f"events.h5, frame {frame} of 42") as caught:
        by_route(path, route)
    assert route == "h5py" or message in str(caught.value)
    with pytest.warns(EventWarning, match="1 of 42 frames"):
        store = by_route(path, route, errors="skip")
    assert store.metadata["skipped_frames"] == 1
    truth.reshape(42, 12, 9)[frame] = 0
    np.testing.assert_array_equal(to_dense(store), truth)


@pytest.mark.parametrize("route", ["heap", "h5py"])
def test_event_outside_the_detector(path, route):
    rng = np.random.default_rng(0)
    frames = [[np.array([1, 5], np.uint32)] for _ in range(6)]
    frames[4][0] = np.array([0, 20], np.uint32)
    stempy_files.write_layout(path, "v3", frames, (2, 3), (4, 5), rng)
    with pytest.raises(EventRangeError, match="frame 4 of 6: an event lies outside"):
        by_route(path, route)
    with pytest.warns(EventWarning, match="1 of 6 frames"):
        store = by_route(path, route, errors="skip")
    np.testing.assert_array_equal(store.indptr, [0, 2, 4, 6, 8, 8, 10])


def test_frame_number_is_that_in_the_file(path):
    stempy_files.make(path, "v2", seed=12)
    table = references(path)
    frame = int(np.flatnonzero(table["n"])[3])
    table["number"][frame] = 60000
    table.flush()
    with pytest.raises(CorruptFileError, match=f"frame {frame} of {len(table)}:"):
        open_events(path)


def test_position_outside_the_scan(path):
    frames = [np.array([k], np.uint32) for k in range(6)]
    stempy_files.write_tables(path, frames, [0, 3, 2, 1, 9, 5], (2, 3), (4, 5), version=2)
    with pytest.raises(EventRangeError, match="frame 4: its scan position 9"):
        open_events(path)
    store = skipping(path)
    assert store.metadata["skipped_frames"] == 1
    np.testing.assert_array_equal(store.indices, [0, 3, 2, 1, 5])


def test_truncated_file_keeps_its_first_frames(path):
    truth = stempy_files.make(path, "v3_one_frame", seed=13, scan=(20, 20))
    os.truncate(path, int(references(path)["address"].max()) + 1000)
    with pytest.raises(CorruptFileError, match=r"events.h5, frame \d+ of 400"):
        open_events(path)
    store = skipping(path)
    lost = store.metadata["skipped_frames"]
    assert 0 < lost < 400
    same = (to_dense(store) == truth).all(axis=(2, 3))
    assert np.count_nonzero(~same) <= lost
    assert np.count_nonzero(same) > 100


def test_truncated_file_with_all_frames(path):
    truth = stempy_files.make(path, "v3_one_frame", seed=13)
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(CorruptFileError, match="10 bytes are missing; all frames"):
        open_events(path)
    np.testing.assert_array_equal(to_dense(skipping(path)), truth)


def test_impossible_promises_are_refused_before_memory_is_asked_for(path):
    stempy_files.make(path, "v3_one_frame", seed=14)
    n = 2**40
    with h5py.File(path, "r+") as file:
        for name in ("frames", "scan_positions"):
            del file[f"electron_events/{name}"]
        group = file["electron_events"]
        group.create_dataset("scan_positions", (n,), "i8").attrs.update({"Nx": 2**20, "Ny": 2**20})
        group.create_dataset("frames", (n,), h5py.vlen_dtype(np.uint32))
    with pytest.raises(CorruptFileError, match="promises 1099511627776 frames"):
        open_events(path)


def test_too_many_events_for_the_file(path):
    stempy_files.make(path, "v3_one_frame", seed=15)
    table = references(path)
    table["n"][:] = 1000
    table["address"][:] = table["address"].max() - 1000
    table["number"][:] = 1
    table.flush()
    with pytest.raises(CorruptFileError, match="promises 35000 events"):
        open_events(path, errors="skip")


@pytest.mark.parametrize(
    ("scan", "positions", "message"),
    [((5, 8), 35, "do not fit"), ((5, 7), 34, "do not fit"), (None, 35, "give scan_shape")],
)
def test_tables_that_do_not_fit(path, scan, positions, message):
    frames = [np.array([k], np.uint32) for k in range(35)]
    stempy_files.write_tables(path, frames, np.arange(positions), scan, (6, 7), version=3)
    with pytest.raises((CorruptFileError, ParameterError), match=message):
        open_events(path)
    if scan is None or positions == 35:
        assert open_events(path, scan_shape=(7, 5)).n_events == 35


def test_incomplete_frames(path):
    frames = [np.array([k], np.uint32) for k in range(34)]
    stempy_files.write_tables(path, frames, np.arange(35), (5, 7), (6, 7), version=3)
    with pytest.raises(CorruptFileError, match="34 frames do not fill"):
        open_events(path)


def test_changed_and_deleted_files(path):
    stempy_files.make(path, "v3", seed=16)
    store = open_events(path, mem="MEMMAP")
    store.read_rows(0, 1)
    os.utime(path, ns=(1, 1))
    with pytest.raises(CorruptFileError, match="has changed since it was opened"):
        store.load()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="deleted or moved"):
        store.load()


def damaged(data, rng):
    """Return a copy of `data` cut off, with some bytes changed, or with a piece pasted over."""
    data = bytearray(data)
    kind = rng.integers(3)
    if kind == 0:
        return data[: rng.integers(1, len(data))]
    if kind == 1:
        for at in rng.integers(0, len(data), rng.integers(1, 9)):
            data[at] = rng.integers(256)
        return data
    length = int(rng.integers(1, 512))
    source, target = rng.integers(0, len(data) - length, 2)
    data[target : target + length] = data[source : source + length]
    return data


@pytest.mark.parametrize("layout", stempy_files.LAYOUTS)
@pytest.mark.filterwarnings("ignore::py4dstem_eer.errors.EventWarning")
def test_damage_is_an_error_of_ours_or_a_valid_read(path, layout):
    stempy_files.make(path, layout, seed=17, chunks=(16,) if layout == "v2" else None)
    whole = path.read_bytes()
    outcomes = []
    faulthandler.dump_traceback_later(60, exit=True)  # HDF5 itself may hang
    try:
        for seed in range(30):
            path.write_bytes(damaged(whole, np.random.default_rng(seed)))
            for errors in ("raise", "skip"):
                start = time.perf_counter()
                outcomes.append(outcome(path, errors))
                assert time.perf_counter() - start < 20
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert "read" in outcomes
    assert "CorruptFileError" in outcomes
    assert not [text for text in outcomes if text.startswith("file not named")]


def outcome(path, errors):
    try:
        open_events(path, "stempy", errors=errors).validate()
    except EventError as error:
        return type(error).__name__ if str(path) in str(error) else f"file not named: {error}"
    return "read"
