"""Blocks of a file are read one ahead of the caller, and nothing goes on when the caller stops."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from py4dstem_eer import streams
from py4dstem_eer.errors import CorruptFileError
from py4dstem_eer.events import EventStore
from py4dstem_eer.streams import StreamedEventStore

N_ROWS = 6
WAIT = 30  # seconds, until which a thread must have come along


class SlowSource:
    """A source of one event per pattern that tells which rows were asked for, and may fail."""

    scan_shape, detector_shape = (N_ROWS, 3), (4, 5)
    nbytes = 0
    count_dtype = np.dtype(np.uint8)

    def __init__(self, fails_at=None):
        self.fails_at = fails_at
        self.metadata = {}
        self.asked = [threading.Event() for _ in range(N_ROWS)]

    def read_rows(self, start, stop):
        self.asked[start].set()
        if start == self.fails_at:
            raise CorruptFileError(f"row {start} cannot be read")
        n = (stop - start) * 3
        indptr, indices = np.arange(n + 1), np.full(n, start, np.uint16)
        return EventStore((stop - start, 3), (4, 5), indptr, indices)

    def events_per_row(self):
        return np.full(N_ROWS, 3)

    def n_asked(self):
        return sum(event.is_set() for event in self.asked)


@pytest.fixture(autouse=True)
def one_row_per_block(monkeypatch):
    monkeypatch.setattr(streams, "EVENTS_PER_BLOCK", 3)


def readers():
    return [t for t in threading.enumerate() if t.name.startswith("py4dstem_eer_reader")]


def test_the_next_block_is_read_meanwhile_and_no_other():
    source = SlowSource()
    for first, block in StreamedEventStore(source).blocks():
        assert block.indices.tolist() == [first] * 3
        if first + 1 < N_ROWS:
            assert source.asked[first + 1].wait(WAIT)
        assert source.n_asked() <= first + 2
    assert not readers()


def test_an_error_comes_with_its_block_and_ends_the_reading():
    source = SlowSource(fails_at=2)
    blocks = StreamedEventStore(source).blocks()
    assert [next(blocks)[0], next(blocks)[0]] == [0, 1]
    with pytest.raises(CorruptFileError, match="row 2"):
        next(blocks)
    assert source.n_asked() == 3
    assert not readers()


def test_a_loop_that_is_left_stops_the_reading():
    source = SlowSource()
    blocks = StreamedEventStore(source).blocks()
    next(blocks)
    del blocks
    assert source.n_asked() <= 2
    assert not readers()


def test_one_block_is_read_by_the_caller(monkeypatch):
    monkeypatch.setattr(streams, "EVENTS_PER_BLOCK", 1000)
    monkeypatch.setattr(streams, "ThreadPoolExecutor", None)
    assert [first for first, _ in StreamedEventStore(SlowSource()).blocks()] == [0]
