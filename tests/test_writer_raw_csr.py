"""raw_csr data sets that we write: read by us and by LiberTEM, and never half there."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import raw_csr_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from py4dstem_eer.errors import FormatError, ParameterError
from py4dstem_eer.events import EventStore
from py4dstem_eer.readers import open_events
from py4dstem_eer.streams import StreamedEventStore
from py4dstem_eer.writers.raw_csr import write_raw_csr

tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")


def random_store(seed=0, shape=(4, 5, 7, 6), mean=0.2, **metadata):
    counts = np.random.default_rng(seed).poisson(mean, shape)
    return EventStore.from_dense(counts, metadata), counts


def assert_same(a, b):
    assert a.shape == b.shape
    np.testing.assert_array_equal(a.indptr, b.indptr)
    np.testing.assert_array_equal(a.indices, b.indices)
    assert (a.counts is None) == (b.counts is None)
    if a.counts is not None:
        np.testing.assert_array_equal(a.counts, b.counts)


def streamed(path, store):
    """Return the same events from a file, in several blocks."""
    write_raw_csr(path, store)
    return open_events(path, mem="MEMMAP")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.toml"


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (6, 6, 9, 300))),
    mean=st.sampled_from([0.0, 0.01, 0.5, 300.0]),
    seed=st.integers(0, 2**16),
)
def test_round_trip(tmp_path, shape, mean, seed):
    store, _ = random_store(seed, shape, mean)
    write_raw_csr(tmp_path / "events.toml", store)
    for mem in ("RAM", "MEMMAP"):
        read = open_events(tmp_path / "events.toml", mem=mem)
        read.validate()
        assert_same(read.load(), store)


@pytest.mark.parametrize(
    ("shape", "mean"),
    [((4, 5, 7, 6), 1.0), ((4, 5, 7, 6), 400.0), ((4, 5, 7, 6), 0.0), ((2, 3, 300, 301), 0.01)],
)
def test_libertem_reads_it(path, shape, mean):
    store, counts = random_store(shape=shape, mean=mean)
    write_raw_csr(path, store)
    np.testing.assert_array_equal(raw_csr_files.with_libertem(path), counts)


@pytest.mark.parametrize(
    ("shape", "largest", "indices", "data"),
    [
        ((4, 5, 7, 6), 1, "<u2", "|u1"),
        ((4, 5, 7, 6), 255, "<u2", "|u1"),
        ((4, 5, 7, 6), 256, "<u2", "<u2"),
        ((4, 5, 7, 6), 2**16, "<u2", "<u4"),
        ((1, 2, 256, 256), 1, "<u2", "|u1"),
        ((1, 2, 257, 256), 1, "<i4", "|u1"),
    ],
)
def test_layout(path, shape, largest, indices, data):
    counts = np.zeros(shape, np.int64)
    counts[0, 1, -1, -1], counts[0, 0, 2, 3] = largest, 1
    write_raw_csr(path, EventStore.from_dense(counts))
    tables = tomllib.loads(path.read_text())
    assert tables["params"] == {
        "filetype": "raw_csr", "nav_shape": list(shape[:2]), "sig_shape": list(shape[2:])
    }  # fmt: skip
    csr = tables["raw_csr"]
    assert [csr[f"{name}_dtype"] for name in raw_csr_files.ARRAYS] == ["<i8", indices, data]
    arrays = [
        np.fromfile(path.with_name(csr[f"{name}_file"]), csr[f"{name}_dtype"])
        for name in raw_csr_files.ARRAYS
    ]
    n_frames = shape[0] * shape[1]
    np.testing.assert_array_equal(arrays[0], [0, 1, *([2] * (n_frames - 1))])
    np.testing.assert_array_equal(arrays[1], [2 * shape[3] + 3, shape[2] * shape[3] - 1])
    np.testing.assert_array_equal(arrays[2], [1, largest])
    assert sorted(os.listdir(path.parent)) == sorted(
        ["events.toml", *(f"events_{name}.dat" for name in raw_csr_files.ARRAYS)]
    )


def test_streams_in_blocks_and_widens_the_counts(path, tmp_path, monkeypatch):
    monkeypatch.setattr("py4dstem_eer.streams.EVENTS_PER_BLOCK", 20)
    monkeypatch.setattr("py4dstem_eer.writers.raw_csr._COPY_ITEMS", 7)
    counts = np.random.default_rng(1).poisson(0.3, (9, 5, 7, 6))
    counts[4, 2, 3, 3], counts[7, 0, 0, 1] = 300, 70_000
    store = EventStore.from_dense(counts)
    source = streamed(tmp_path / "source.toml", store)
    assert len(source._row_ranges()) > 5
    monkeypatch.setattr(
        StreamedEventStore, "load", lambda self: pytest.fail("everything was read at once")
    )
    write_raw_csr(path, source)
    monkeypatch.undo()
    assert_same(open_events(path), store)


def test_metadata(path):
    metadata = {
        "R_pixel_size": (2.5, "A"),
        "text": 'é "quoted" \\ \n\x7f\x01 😀',
        "nested": {"list": [1, 2.5, None], "number": np.float32(0.5)},
    }
    store, _ = random_store(format="stempy", version=3, skipped_frames=2, **metadata)
    write_raw_csr(path, store)
    read = open_events(path).metadata
    assert read == {
        **metadata,
        "skipped_frames": 2,
        "format": "raw_csr",
        "frames_per_position": 1,
        "keep_flyback": True,
    }
    write_raw_csr(path, store, {"other": 5})
    assert "text" not in open_events(path).metadata
    assert open_events(path).metadata["other"] == 5
    np.testing.assert_array_equal(raw_csr_files.with_libertem(path).shape, store.shape)


def test_replacing_a_data_set_leaves_no_old_arrays(path):
    for seed in range(3):
        store, _ = random_store(seed)
        write_raw_csr(path, store)
        assert_same(open_events(path), store)
        assert len(os.listdir(path.parent)) == 4


def test_what_is_read_may_be_replaced(path):
    store, _ = random_store(seed=1)
    source = streamed(path, store)
    write_raw_csr(path, source)
    assert_same(open_events(path), store)
    with pytest.raises(FileNotFoundError, match="deleted or moved"):
        source.load()


def test_foreign_arrays_stay(path):
    raw_csr_files.make(path)
    other = path.with_name("events_data.dat")
    other.write_bytes(b"something else")
    store, _ = random_store()
    write_raw_csr(path, store)
    assert_same(open_events(path), store)
    assert other.read_bytes() == b"something else"
    assert path.with_name("events_data.raw").exists()


class Interrupted(StreamedEventStore):
    """Events that cannot be read to their end."""

    def blocks(self):
        yield next(super().blocks())
        raise KeyboardInterrupt


@pytest.mark.parametrize("there", [False, True])
def test_an_interrupted_write_changes_nothing(path, tmp_path, there):
    store, _ = random_store(seed=1)
    source = streamed(tmp_path / "source.toml", random_store(seed=2)[0])
    if there:
        write_raw_csr(path, store)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        write_raw_csr(path, Interrupted(source._source))
    assert sorted(os.listdir(tmp_path)) == before
    if there:
        assert_same(open_events(path), store)


def test_an_error_at_the_last_step_leaves_no_arrays(path, monkeypatch):
    original = os.replace

    def replace(source, target):
        if str(target).endswith(".toml"):
            raise OSError("no space")
        original(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="no space"):
        write_raw_csr(path, random_store()[0])
    assert os.listdir(path.parent) == []


def test_what_cannot_be_written(path, tmp_path):
    empty = EventStore((0, 3), (4, 5), np.zeros(1), np.zeros(0, np.uint16))
    with pytest.raises(ParameterError, match="at least one scan position"):
        write_raw_csr(path, empty)
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        write_raw_csr(tmp_path / "nowhere" / "events.toml", random_store()[0])
    (tmp_path / "folder").mkdir()
    path.symlink_to(tmp_path / "folder" / "real.toml")
    with pytest.raises(ParameterError, match="is a link to"):
        write_raw_csr(path, random_store()[0])


def test_damaged_metadata(path):
    write_raw_csr(path, random_store(answer=42)[0])
    text = path.read_text()
    for damage in ("{", "[1]", "[" * 5000):
        path.write_text(text.replace(r'"{\"answer\": 42}"', f"'{damage}'"))
        with pytest.raises((FormatError, ValueError), match="metadata_json"):
            open_events(path)
