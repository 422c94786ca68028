"""stempy files that we write: read by us, by stempy, and never half there."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from py4dstem_eer.errors import MemoryBudgetError, ParameterError
from py4dstem_eer.events import EventStore
from py4dstem_eer.readers import open_events
from py4dstem_eer.streams import StreamedEventStore
from py4dstem_eer.writers.atomic import atomic_path
from py4dstem_eer.writers.stempy import write_stempy


def random_store(seed=0, scan=(4, 5), detector=(7, 6), mean=0.2, **metadata):
    counts = np.random.default_rng(seed).poisson(mean, (*scan, *detector))
    return EventStore.from_dense(counts.astype(np.uint8), metadata), counts


def assert_same(a, b):
    assert a.shape == b.shape
    np.testing.assert_array_equal(a.indptr, b.indptr)
    np.testing.assert_array_equal(a.indices, b.indices)
    assert (a.counts is None) == (b.counts is None)
    if a.counts is not None:
        np.testing.assert_array_equal(a.counts, b.counts)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    scan=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    detector=st.tuples(st.integers(1, 9), st.integers(1, 300)),
    mean=st.sampled_from([0.0, 0.01, 0.5, 3.0]),
    seed=st.integers(0, 2**16),
)
def test_round_trip(tmp_path, scan, detector, mean, seed):
    store, _ = random_store(seed, scan, detector, mean)
    write_stempy(tmp_path / "events.h5", store)
    assert_same(open_events(tmp_path / "events.h5"), store)


@pytest.mark.parametrize("n_events", [0, 1, 3])
def test_lists_of_equal_length(tmp_path, n_events):
    """h5py takes lists of one element each for a single list when they are assigned."""
    indices = np.tile(np.arange(n_events), 6)
    store = EventStore((2, 3), (4, 5), np.arange(7) * n_events, indices)
    write_stempy(tmp_path / "events.h5", store)
    assert_same(open_events(tmp_path / "events.h5"), store)


def test_stempy_reads_it(tmp_path):
    io = pytest.importorskip("stempy.io", reason="stempy is not installed")
    store, counts = random_store(mean=1.0, metadata={"electron_counting": {"mean": 1.5}})
    write_stempy(tmp_path / "events.h5", store)
    theirs = io.load_electron_counts(tmp_path / "events.h5")
    assert tuple(theirs.shape) == store.shape
    np.testing.assert_array_equal(theirs.to_dense(), counts)
    assert theirs.metadata["electron_counting"]["mean"] == 1.5
    assert theirs.num_frames_per_scan == counts.max()


def test_layout(tmp_path):
    store, counts = random_store(mean=0.5)
    write_stempy(tmp_path / "events.h5", store)
    with h5py.File(tmp_path / "events.h5") as file:
        frames, positions = file["electron_events/frames"], file["electron_events/scan_positions"]
        assert file.attrs["version"] == 3
        assert frames.shape == (20 * counts.max(),)
        assert frames.chunks is None
        assert h5py.check_vlen_dtype(frames.dtype) == np.dtype("<u4")
        assert dict(frames.attrs) == {"Nx": 7, "Ny": 6}
        assert dict(positions.attrs) == {"Nx": 5, "Ny": 4}
        np.testing.assert_array_equal(positions, np.arange(20))
        assert all(np.all(np.diff(row.astype(int)) > 0) for row in frames)


class InBlocks(StreamedEventStore):
    """Hands out one scan row at a time."""

    def blocks(self):
        for row in range(self.scan_shape[0]):
            yield row, self.read_rows(row, row + 1)


class Source:
    """A store in memory as a source to stream from."""

    nbytes = 0
    count_dtype = np.dtype(np.uint32)

    def __init__(self, store):
        self.store = store
        self.scan_shape, self.detector_shape = store.scan_shape, store.detector_shape
        self.metadata = store.metadata

    def read_rows(self, start, stop):
        return self.store.read_rows(start, stop)

    def events_per_row(self):
        return None


def test_streamed_events(tmp_path, monkeypatch):
    monkeypatch.setattr("py4dstem_eer.writers.stempy._FRAMES_PER_WRITE", 6)
    store, _ = random_store(mean=0.8)
    write_stempy(tmp_path / "events.h5", InBlocks(Source(store)))
    assert_same(open_events(tmp_path / "events.h5"), store)


def test_onto_the_file_that_is_streamed(tmp_path):
    store, _ = random_store()
    path = tmp_path / "events.h5"
    write_stempy(path, store)
    write_stempy(path, open_events(path, mem="MEMMAP"))
    assert_same(open_events(path), store)


def test_metadata_round_trip(tmp_path):
    metadata = {
        "energy": (80000.0, "eV"),
        "scan_step": ((0.31, 0.32), "A"),
        "note": "graphene, Å",
        "labels": ["a", "b"],
        "camera": {"gain": 2.5, "live": True},
        "nothing": None,
        "format": "falcon",
        "metadata": {"electron_counting": {"mean": 1.5}},
        "user": {"process time": (12.5, "s")},
    }
    store, _ = random_store(**metadata)
    write_stempy(tmp_path / "events.h5", store)
    found = dict(open_events(tmp_path / "events.h5").metadata)
    assert found.pop("format") == "stempy"
    for name in ("version", "frames_per_position", "keep_flyback"):
        del found[name]
    del metadata["format"], metadata["nothing"]
    assert found == metadata
    write_stempy(tmp_path / "events.h5", store, metadata={})
    assert not {"energy", "metadata", "user"} & set(open_events(tmp_path / "events.h5").metadata)


@pytest.mark.parametrize("value", [object(), np.zeros(10000), [object()], b"x".__class__])
def test_metadata_that_cannot_be_kept(tmp_path, value):
    store, _ = random_store()
    with pytest.raises(ParameterError, match="metadata 'odd'"):
        write_stempy(tmp_path / "events.h5", store, {"odd": value})
    assert not list(tmp_path.iterdir())


def test_a_hot_pixel_that_would_fill_the_disk(tmp_path):
    counts = np.array([4_000_000_000], np.uint32)
    store = EventStore((1, 1), (2, 2), np.array([0, 1]), np.array([3]), counts)
    with pytest.raises(MemoryBudgetError, match="4000000000 electrons"):
        write_stempy(tmp_path / "events.h5", store)


def test_an_interrupted_save_leaves_the_old_file(tmp_path):
    store, _ = random_store()
    path = tmp_path / "events.h5"
    write_stempy(path, store)
    before = path.read_bytes()

    class Failing(InBlocks):
        def blocks(self):
            yield 0, self.read_rows(0, 1)
            if any(p.suffix == ".part" for p in tmp_path.iterdir()):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_stempy(path, Failing(Source(store)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_path(tmp_path):
    target = tmp_path / "out.bin"
    with atomic_path(target) as part:
        part.write_bytes(b"new")
        assert part.parent == tmp_path
        assert not target.exists()
    assert target.read_bytes() == b"new"
    with pytest.raises(FileNotFoundError), atomic_path(target) as part:
        part.with_suffix(".absent").rename(part)
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_path_follows_links(tmp_path):
    target, link = tmp_path / "real.bin", tmp_path / "link.bin"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with atomic_path(link) as part:
        part.write_bytes(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_impossible_targets(tmp_path):
    store, _ = random_store()
    with pytest.raises(ParameterError, match="it is a directory"):
        write_stempy(tmp_path, store)
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        write_stempy(tmp_path / "absent" / "events.h5", store)
