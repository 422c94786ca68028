"""Timepix3 streams: against fixtures, real files, other readers, and streams written by hand."""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tpx3_files as files
from hypothesis import given, settings
from hypothesis import strategies as st
from tpx3_files import Scan, as_counter, edge, header, hit, stream

from py4dstem_eer.errors import (
    CorruptFileError,
    EventWarning,
    FormatError,
    MissingOptionError,
    ParameterError,
)
from py4dstem_eer.readers import detect, open_events, tpx3, tpx3_index, tpx3_source, tpx3_time
from py4dstem_eer.readers.options import ReaderOptions

SHARED = Path(os.environ.get("PY4DSTEM_EER_DATA", Path(__file__).parents[2] / "shared/data"))
FIXTURE = SHARED / "formats/tpx3/scan4x5_tdc1line.tpx3"
REAL = SHARED / "real/tpx3"
SECOND = 640_000_000  # [steps]


@pytest.fixture
def write(tmp_path):
    """Write (chip, word) pairs or bytes to a file and return its path."""

    def written(packets, **how):
        data = packets if isinstance(packets, bytes) else stream(packets, **how)
        path = tmp_path / "scan.tpx3"
        path.write_bytes(data)
        return path

    return written


def plain(timed):
    return [packet[1:] for packet in timed]


def words(*packets):
    return [(0, word) for word in packets]


def lines(*edges, hits=()):
    """Return packets of chip 0: clock edges (tick, mark) and hits at ticks."""
    timed = [(t, edge(t, mark)) for t, mark in edges] + [(t, hit(t // 6, 3, 4)) for t in hits]
    return words(*(word for _, word in sorted(timed)))


RISE, FALL = "tdc1_rise", "tdc1_fall"
TWO_LINES = ((600, RISE), (1800, FALL), (3000, RISE), (4200, FALL))


# fixtures and real files


@pytest.mark.skipif(not FIXTURE.exists(), reason=f"no {FIXTURE}")
@pytest.mark.parametrize("mem", ["RAM", "MEMMAP"])
@pytest.mark.parametrize(
    "options",
    [
        {"scan_shape": (4, 5)},
        {"dwell_time": 1e-5},
        {"scan_shape": (4, 5), "dwell_time": 1e-5, "line_end": None},
        {"scan_shape": (4, 5), "dwell_time": 1e-5, "errors": "skip"},
    ],
)
def test_fixture(mem, options):
    truth = np.load(FIXTURE.with_name("scan4x5_tdc1line_truth.npz"))["data"]
    store = open_events(FIXTURE, mem=mem, **options)
    assert store.shape == truth.shape
    for rx, ry in np.ndindex(4, 5):
        np.testing.assert_array_equal(store.pattern(rx, ry), truth[rx, ry])
    found = store.metadata
    assert (found["hits"], store.n_events, found["events_before_scan"]) == (317, 277, 0)
    assert found["events_in_flyback"] + found["events_after_scan"] == 40
    assert found["dwell_time"] == (pytest.approx(1e-5), "s")
    assert found["line_period"] == (pytest.approx(80e-6), "s")
    assert found["scan_duration"] == (pytest.approx(290e-6), "s")


real_files = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real files in {REAL}")


def plain_walk(path):
    """Return (chip, word) of all packets: the slow way."""
    data, packets = np.fromfile(path, "<u8").tolist(), []
    while data:
        n = data[0] >> 51
        packets += [(data[0] >> 32 & 0xFF, word) for word in data[1 : 1 + n]]
        data = data[1 + n :]
    return packets


@real_files
@pytest.mark.parametrize("name", sorted(p.relative_to(REAL) for p in REAL.rglob("*.tpx3")))
def test_real_files_are_walked_through(name):
    packets = plain_walk(REAL / name)
    index = tpx3_index.build_index(REAL / name, skip=False)
    assert detect(REAL / name) == "tpx3"
    assert index.n_hits == sum(word >> 60 == 0xB for _, word in packets)
    assert index.chips == (0, 1, 2, 3)
    for mark, code in files.EDGES.items():
        times = {word >> 5 & 2**39 - 1 for _, word in packets if word >> 56 == 0x60 + code}
        assert len(index.edges[mark]) == len(times)  # once, though each chip notes it


@real_files
def test_real_lines_of_a_millisecond():
    path = REAL / "tdc/raw_test_data_tdc_01.tpx3"
    marks = {"line_start": "tdc2_fall", "line_end": "tdc2_rise"}
    store = open_events(path, scan_shape=(2000, 4), errors="raise", **marks)
    assert store.detector_shape == (512, 512)
    assert store.metadata["line_period"] == (pytest.approx(1e-3, rel=1e-4), "s")
    lost = sum(store.metadata[f"events_{k}"] for k in ("before_scan", "in_flyback", "after_scan"))
    assert store.n_events + lost == store.metadata["hits"] == 28
    with pytest.raises(ParameterError, match="no edges of tdc1_rise or tdc1_fall, but 2000 of tdc"):
        open_events(path, scan_shape=(2000, 4))
    marks = {"line_start": "tdc2_rise", "line_end": "tdc2_fall"}
    with pytest.raises(CorruptFileError, match="line 2000 of 2001 has a start but no end"):
        open_events(REAL / "tdc/raw_test_data_tdc_00.tpx3", scan_shape=(2000, 4), **marks)


@real_files
def test_real_hits_by_the_clock():
    path = REAL / "serval_4_3/raw_test_data_serval_4_3_0.tpx3"
    store = open_events(path, scan_shape=(20, 10), dwell_time=0.01)
    assert store.n_events == 2956
    assert sum(as_counter(store).values()) == 2956
    part = open_events(path, scan_shape=(10, 10), dwell_time=0.01)
    assert part.n_events + part.metadata["events_after_scan"] == 2956
    assert as_counter(store[:10]) == as_counter(part)


@real_files
def test_real_hits_as_tpx3awkward_reads_them():
    decoding = pytest.importorskip("tpx3awkward.processing.decoding", exc_type=ImportError)
    path = REAL / "serval_4_3/raw_test_data_serval_4_3_0.tpx3"
    table, _ = decoding.decode_tpx3_binary(np.fromfile(path, np.uint64))
    # they delay each double column by its place in a group of 16, up to 25 ns
    phase = np.where(table["x"] // 2 % 16 == 0, 16, table["x"] // 2 % 16)
    steps = table["t"].to_numpy().astype(np.int64) - phase
    opened = 444976  # the shutter [steps]
    place = zip((steps - opened) // 640_000, table["x"], table["y"], strict=True)
    theirs = Counter((0, int(c), int(y), int(x)) for c, x, y in place)
    store = open_events(path, scan_shape=(1, 2000), dwell_time=1e-3)
    assert as_counter(store) == theirs


# scans by line marks


@pytest.mark.parametrize("chips", [(0,), (2,), (0, 1, 2, 3)])
@pytest.mark.parametrize("mem", ["RAM", "MEMMAP"])
def test_hits_of_lines(write, chips, mem):
    scan = Scan((5, 7), chips, per_line=80, jitter=50)
    store = open_events(write(plain(scan.packets())), mem=mem, scan_shape=(5, 7))
    assert store.detector_shape == ((256, 256) if len(chips) == 1 else (512, 512))
    store.validate()
    assert as_counter(store) == scan.truth()
    kept = store.n_events
    assert 0 < kept < len(scan.hits)
    lost = [store.metadata[f"events_{k}"] for k in ("before_scan", "in_flyback", "after_scan")]
    assert sum(lost) + kept == store.metadata["hits"] == len(scan.hits)
    assert min(lost) > 0
    assert store.metadata["chips"] == list(chips)
    assert store.metadata["clock_edges"] == {RISE: 5, FALL: 5}


def test_hits_of_the_same_pixel_are_counts(write):
    scan = Scan((3, 4), per_line=400, side=4)
    store = open_events(write(plain(scan.packets())), scan_shape=(3, 4))
    assert store.counts is not None
    assert as_counter(store) == scan.truth()


@pytest.mark.parametrize(("dwell", "seconds"), [(960, 250e-9), (Fraction(4000, 7), 1 / 6720000)])
def test_dwell_time_beside_lines(write, dwell, seconds):
    scan = Scan((4, 6), per_line=90, jitter=900)
    path = write(plain(scan.packets()))
    store = open_events(path, scan_shape=(4, 6), dwell_time=seconds)
    assert as_counter(store) == scan.truth(dwell)
    if dwell == 960:
        assert open_events(path, dwell_time=seconds).shape in {(4, 6, 256, 256), (4, 7, 256, 256)}


def test_hits_at_the_very_edges(write):
    # lines of 1200 ticks in 3 columns of 400; hits are in steps of 6 ticks
    at = (594, 600, 996, 1002, 1398, 1404, 1794, 1800, 3000, 4194, 4200)
    store = open_events(write(lines(*TWO_LINES, hits=at)), scan_shape=(2, 3))
    starts = ([600 + 400 * c for c in range(3)], [3000 + 400 * c for c in range(3)])
    counts = [[sum(start <= t < start + 400 for t in at) for start in row] for row in starts]
    assert [[int(store.pattern(r, c).sum()) for c in range(3)] for r in range(2)] == counts
    assert store.metadata["events_before_scan"] == 1
    assert store.metadata["events_in_flyback"] == 1
    assert store.metadata["events_after_scan"] == 1


@pytest.mark.parametrize("marks", [("tdc2_fall", "tdc1_rise"), ("tdc2_rise", "tdc2_fall")])
def test_other_marks(write, marks):
    scan = Scan((4, 3), per_line=40)
    others = [(t // 6, 0, edge(t, "tdc1_fall")) for t in range(0, 9000, 700)]
    hits = scan.packets(marks=False)
    path = write(plain(sorted(hits + scan.marks(*marks) + others)))
    store = open_events(path, scan_shape=(4, 3), line_start=marks[0], line_end=marks[1])
    assert as_counter(store) == scan.truth()


def test_the_end_is_the_other_edge_of_the_start(write):
    scan = Scan((4, 3), per_line=40)
    for start, end in ("tdc2_rise", "tdc2_fall"), ("tdc1_fall", "tdc1_rise"):
        path = write(plain(sorted(scan.packets(marks=False) + scan.marks(start, end))))
        assert as_counter(open_events(path, scan_shape=(4, 3), line_start=start)) == scan.truth()


@pytest.mark.parametrize("errors", ["raise", "skip"])
@pytest.mark.parametrize(
    ("marks", "proposed"),
    [
        ({"line_start": "tdc2_rise", "line_end": "tdc1_fall"}, ("tdc1_rise", "tdc1_fall")),
        ({"line_start": "tdc1_rise", "line_end": "tdc2_fall"}, ("tdc1_rise", "tdc1_fall")),
    ],
)
def test_an_edge_that_never_occurs_is_no_damage(write, marks, proposed, errors):
    path = write(plain(Scan((4, 3), per_line=40).packets()))
    with pytest.raises(MissingOptionError, match="but 4 of tdc1_rise, 4 of tdc1_fall") as raised:
        open_events(path, scan_shape=(4, 3), errors=errors, **marks)
    assert tuple(raised.value.needed.values()) == proposed
    starts = write(lines((600, RISE), (1800, RISE), hits=[700]))
    with pytest.raises(MissingOptionError, match="has no edges of tdc1_fall, but 2 of") as raised:
        open_events(starts, scan_shape=(2, 3), errors=errors)
    assert raised.value.needed == {"line_start": RISE, "line_end": None}


def test_lines_marked_at_their_start_only(write):
    scan = Scan((4, 3), per_line=60)
    path = write(plain(scan.packets()))
    store = open_events(path, scan_shape=(4, 3), dwell_time=250e-9, line_end=None)
    assert as_counter(store) == scan.truth()
    whole = open_events(path, scan_shape=(4, 3), line_end=None)
    scan.stops = [*scan.starts[1:], 2 * scan.starts[-1] - scan.starts[-2]]
    assert as_counter(whole) == scan.truth()
    one = write(lines((600, RISE), (1800, FALL), hits=[700]))
    with pytest.raises(ParameterError, match="start of one line and not its end"):
        open_events(one, scan_shape=(1, 3), line_end=None)
    assert open_events(one, scan_shape=(1, 3), line_end=None, dwell_time=1e-7).n_events == 1


def test_empty_lines_and_no_hits_at_all(write):
    store = open_events(write(lines(*TWO_LINES, hits=[3100])), scan_shape=(2, 3))
    assert as_counter(store) == {(1, 0, 3, 4): 1}
    for mem in ("RAM", "MEMMAP"):
        store = open_events(write(lines(*TWO_LINES)), mem=mem, scan_shape=(2, 3))
        assert (store.n_events, store.scan_shape) == (0, (2, 3))
    clocked = open_events(write(words(hit(5, 0, 0))), scan_shape=(2, 3), dwell_time=1e-6)
    assert as_counter(clocked) == {(0, 0, 0, 0): 1}
    nothing = write(words(*files.heartbeat(5)))
    assert open_events(nothing, scan_shape=(2, 3), dwell_time=1e-6).n_events == 0


def test_flyback_column_dropped(write):
    scan = Scan((5, 4), per_line=90)
    expected = {k: n for k, n in scan.truth().items() if k[1] < 3}
    for marks in ({}, {"line_start": None, "dwell_time": 250e-9, "scan_start": None}):
        path = write(plain(scan.packets()))
        store = open_events(path, scan_shape=(5, 4), keep_flyback=False, **marks)
        assert store.scan_shape == (5, 3)
        if not marks:
            assert as_counter(store) == expected
        assert (
            sum(store.metadata[k] for k in store.metadata if k.startswith("events_"))
            == len(scan.hits) - store.n_events
        )
    with pytest.raises(ParameterError, match="has no other"):
        open_events(path, scan_shape=(5, 1), keep_flyback=False)


def test_skipped_and_surplus_lines(write):
    scan = Scan((6, 3), per_line=40)
    path = write(plain(scan.packets()))
    truth = scan.truth()
    store = open_events(path, scan_shape=(4, 3), skip_frames=2)
    assert as_counter(store) == {(k[0] - 2, *k[1:]): n for k, n in truth.items() if k[0] >= 2}
    assert open_events(path, dwell_time=250e-9, skip_frames=5).scan_shape == (1, 3)
    with pytest.raises(ParameterError, match=r"6 lines, and a scan of .4, 3. takes only 4; skip_f"):
        open_events(path, scan_shape=(4, 3))
    with pytest.raises(
        CorruptFileError, match=r"4 lines after skip_frames=2, and a scan .* takes 6"
    ):
        open_events(path, scan_shape=(6, 3), skip_frames=2)
    with pytest.raises(ParameterError, match="none after skip_frames=6"):
        open_events(path, scan_shape=(1, 3), skip_frames=6)
    with pytest.warns(EventWarning, match="2 lines without"):
        first = open_events(path, scan_shape=(4, 3), errors="skip")
    assert as_counter(first) == {k: n for k, n in truth.items() if k[0] < 4}
    with pytest.warns(EventWarning, match="3 lines without"):
        padded = open_events(path, scan_shape=(9, 3), errors="skip")
    assert as_counter(padded) == truth
    assert padded.metadata["skipped_lines"] == 3
    options = {"dwell_time": 250e-9, "line_end": None}
    with pytest.warns(EventWarning, match="3 lines without"):
        padded = open_events(path, scan_shape=(9, 3), errors="skip", **options)
    whole = open_events(path, scan_shape=(6, 3), **options)
    assert as_counter(padded) == truth
    for name in ("scan_duration", "events_in_flyback", "events_after_scan"):
        assert padded.metadata[name] == whole.metadata[name]


@pytest.mark.parametrize(
    ("dropped", "message", "empty"),
    [
        ((1, FALL), "line 1 of 4 has a start but no end", 1),
        ((2, RISE), "line 2 of 4 has an end but no start", 2),
        ((0, RISE), "line 0 of 4 has an end but no start", 0),
        ((3, FALL), "line 3 of 4 has a start but no end", 3),
    ],
)
def test_missing_edges(write, dropped, message, empty):
    scan = Scan((4, 3), per_line=60)
    line, mark = dropped
    gone = edge((scan.starts if mark == RISE else scan.stops)[line], mark)
    path = write([(chip, word) for _, chip, word in scan.packets() if word != gone])
    with pytest.raises(CorruptFileError, match=message):
        open_events(path, scan_shape=(4, 3))
    with pytest.warns(EventWarning, match="1 lines without start"):
        store = open_events(path, scan_shape=(4, 3), errors="skip")
    assert as_counter(store) == {k: n for k, n in scan.truth().items() if k[0] != empty}
    assert store.metadata["skipped_lines"] == 1


def test_an_edge_that_one_chip_missed_is_known_from_the_others(write):
    scan = Scan((4, 3), (0, 1, 2, 3), per_line=30)
    gone = edge(scan.starts[2], RISE)
    packets = plain(scan.packets())
    packets.remove((0, gone))
    packets.remove((3, gone))
    assert as_counter(open_events(write(packets), scan_shape=(4, 3))) == scan.truth()


# the clock


def test_positions_by_the_clock(write):
    scan = Scan((5, 4), flyback=0, start=60, per_line=60)
    path = write(words(*(w for _, _, w in scan.packets(marks=False))))
    first = min(step for step, *_ in scan.hits)
    expected = Counter()
    for step, _, row, column in scan.hits:
        position = (step - first) * 6 // 960
        if position < 20:
            expected[(*divmod(position, 4), row, column)] += 1
    for mem in ("RAM", "MEMMAP"):
        store = open_events(path, mem=mem, scan_shape=(5, 4), dwell_time=250e-9)
        assert as_counter(store) == expected
    assert store.metadata["synchronised_by"] == "clock"
    later = open_events(path, scan_shape=(4, 4), dwell_time=250e-9, scan_start=1e-6)
    skipped = open_events(path, scan_shape=(4, 4), dwell_time=250e-9, skip_frames=4)
    assert as_counter(later) == as_counter(skipped) == as_counter(store[1:])


def test_the_shutter_starts_the_clock(write):
    opened = 2**33 + 16 * 40
    packets = words(hit(opened + 1000, 1, 2), files.shutter(opened), hit(opened + 100, 5, 6))
    store = open_events(write(packets), scan_shape=(1, 9), dwell_time=160 * 1.5625e-9)
    assert as_counter(store) == {(0, 6, 1, 2): 1, (0, 0, 5, 6): 1}


def test_what_the_clock_needs(write):
    path = write(words(hit(100, 1, 2)))
    for options in ({}, {"scan_shape": (2, 2)}, {"dwell_time": 1e-6}):
        with pytest.raises(ParameterError, match="no line marks to go by; give scan_shape"):
            open_events(path, **options)
    marked = write(lines(*TWO_LINES, hits=[700]))
    with pytest.raises(ParameterError, match=r"scan_start=0\.1 is for a scan without line marks"):
        open_events(marked, scan_shape=(2, 2), scan_start=0.1)
    clocked = {"scan_shape": (2, 2), "dwell_time": 1e-6, "line_start": None}
    assert as_counter(open_events(marked, **clocked)) == {(0, 0, 3, 4): 1}


# time


@pytest.mark.parametrize("rollovers", [1, 3.99, 4, 4.5, 19])
@pytest.mark.parametrize("beat", [True, False])
def test_rollover_inside_a_scan(write, rollovers, beat):
    """Hits roll over after 26.8 s, edges after 4 times that, heartbeats too."""
    start = int(rollovers * files.ROLLOVER * 6) - 4000
    scan = Scan((4, 5), per_line=60, start=start)
    packets = scan.packets()
    if beat:
        middle = [(packets[50][0], 0, word) for word in files.heartbeat(packets[50][0])]
        packets = sorted([*packets, *middle])
    store = open_events(write(plain(packets)), scan_shape=(4, 5))
    assert as_counter(store) == scan.truth()


def test_a_scan_of_many_rollovers(write):
    dwell = 5 * SECOND * 6
    scan = Scan((6, 5), dwell=dwell, flyback=dwell, start=dwell, per_line=40)
    path = write(plain(scan.packets()), longest=5000)
    for mem in ("RAM", "MEMMAP"):
        assert as_counter(open_events(path, mem=mem, scan_shape=(6, 5))) == scan.truth()


def test_hits_before_the_first_edge_are_in_its_rollover(write):
    """Only the edge tells that the file begins 80 s after the clock did."""
    late = 3 * files.ROLLOVER
    early = [hit(late + 16 * k, 3, 4) for k in range(40, 60)]
    marks = [edge(6 * late + 6 * 16 * t, m) for t, m in ((30, RISE), (70, FALL))]
    store = open_events(write(words(*early, *marks)), scan_shape=(1, 1))
    assert store.n_events == 20


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), lateness=st.sampled_from([0, 40, 3000, SECOND // 2]))
def test_any_order_within_the_window_gives_the_same(tmp_path_factory, seed, lateness):
    rng = np.random.default_rng(seed)
    scan = Scan((3, 5), (0, 1, 2, 3), per_line=25, start=6 * (files.ROLLOVER - 900), jitter=90)
    path = tmp_path_factory.mktemp("order") / "scan.tpx3"
    packets = files.shuffled(scan.packets(), lateness, rng)
    path.write_bytes(stream(packets, int(rng.integers(1, 40))))
    store = open_events(path, scan_shape=(3, 5), mem=["RAM", "MEMMAP"][seed % 2])
    assert as_counter(store) == scan.truth()


def test_a_hit_later_than_the_window(write):
    now = 20 * SECOND
    edges = [(6 * now, RISE), (6 * now + 600, FALL)]
    just = words(edge(*edges[0]), hit(now + 10, 1, 1), hit(now - SECOND + 16, 2, 2))
    store = open_events(write([*just, *words(edge(*edges[1]))]), scan_shape=(1, 1))
    assert (store.n_events, store.metadata["events_before_scan"]) == (1, 1)
    late = words(edge(*edges[0]), hit(now + 10, 1, 1), hit(now - SECOND - 16, 2, 2))
    path = write([*late, *words(hit(now + 20, 3, 3), edge(*edges[1]))])
    with pytest.raises(CorruptFileError, match=r"byte 24 of .*: the packet is more than 1 s older"):
        open_events(path, scan_shape=(1, 1))
    with pytest.warns(EventWarning, match=r"1 faulty packets .* 1 s older"):
        store = open_events(path, scan_shape=(1, 1), errors="skip")
    assert as_counter(store) == {(0, 0, 1, 1): 1, (0, 0, 3, 3): 1}
    assert store.metadata["skipped_packets"] == 1


# clusters


@pytest.mark.parametrize("mem", ["RAM", "MEMMAP"])
@pytest.mark.parametrize("chips", [(0,), (0, 1, 2, 3)])
@pytest.mark.parametrize(("radius", "window", "bits"), [(1, 64, 0), (2, 100, 1), (1, 16, 2)])
def test_clusters(write, monkeypatch, chips, mem, radius, window, bits):
    monkeypatch.setattr(tpx3_source, "_BLOCKS_PER_READ", 1)
    rng = np.random.default_rng(radius)
    scan = Scan((4, 5), chips, per_line=0)
    low, high = scan.starts[0] // 6 - 100, scan.stops[-1] // 6 + 100
    hits = []
    for _ in range(70):
        step, chip = int(rng.integers(low, high)), int(rng.choice(chips))
        centre = rng.integers(0, 256, 2)
        for _ in range(rng.integers(1, 7)):
            place = (centre + rng.integers(-2, 3, 2)).clip(0, 255).tolist()
            hits.append((step + int(rng.integers(0, 90)), chip, *place, int(rng.integers(0, 99))))
    scan.hits = [h[:4] for h in hits]
    timed = [(t, c, hit(t, y, x, tot)) for t, c, y, x, tot in hits] + scan.marks()
    path = write(files.shuffled(sorted(timed), 300, rng))
    options = {"cluster_radius": radius, "cluster_time": window * 1.5625e-9, "superres": bits}
    store = open_events(path, mem=mem, scan_shape=(4, 5), **options)
    placed = [(t, *files.on_detector(c, y, x, len(chips)), max(tot, 1)) for t, c, y, x, tot in hits]
    expected = Counter()
    for step, row, column in files.clustered(placed, radius, window):
        place = scan.position(step)
        if place is not None:
            half = Fraction(1, 2)
            expected[(*place, int((row + half) * 2**bits), int((column + half) * 2**bits))] += 1
    assert as_counter(store) == expected
    assert store.n_events < len(hits)
    assert store.detector_shape[0] == 2**bits * (256 if len(chips) == 1 else 512)
    assert store.metadata["events"] == "clusters of hits"


@pytest.fixture
def small_blocks(monkeypatch):
    """Cut what is read, and worked on at once, into many pieces."""
    monkeypatch.setattr(tpx3_source, "_BLOCKS_PER_READ", 1)
    monkeypatch.setattr(tpx3_source, "_PARTS_PER_THREAD", 2)


def test_clusters_across_the_borders_of_blocks(write, small_blocks):
    """One long chain of hits, over many blocks of the file, is one electron."""
    n = 3 * tpx3_time.BLOCK_WORDS
    electrons = [[(k * 100 + 10 * j, k % 200, j) for j in range(5)] for k in range(n // 5)]
    hits = [(t + 200, 0, hit(t + 200, row, col)) for e in electrons for t, row, col in e]
    marks = [(0, 0, edge(600, RISE)), (2**60, 0, edge(6 * (n * 20 + 999), FALL))]
    path = write(plain([marks[0], *hits, marks[1]]), longest=900)
    options = {"cluster_radius": 1, "cluster_time": 16e-9, "scan_shape": (1, 700)}
    loaded = open_events(path, **options)
    assert loaded.n_events == n // 5
    streamed = open_events(path, mem="MEMMAP", **options)
    assert as_counter(streamed) == as_counter(loaded)


def test_clusters_without_end(write):
    chain = [(k, 0, hit(200 + 10 * k, 5, k % 2)) for k in range(3000)]
    path = write(words(edge(600, RISE), *(w for *_, w in chain), edge(300_000, FALL)))
    with pytest.raises(ParameterError, match=r"1 clusters of hits go on for more than 1.56e-05 s"):
        open_events(path, scan_shape=(1, 3), cluster_radius=1, cluster_time=15.7e-9)
    assert open_events(path, scan_shape=(1, 3)).n_events == 3000


def test_options_of_clusters(write):
    path = write(lines(*TWO_LINES, hits=[700]))
    for options, message in (
        ({"superres": 1}, "superres=1 needs electrons located between pixels"),
        ({"cluster_radius": 99}, "no electron is so large"),
        ({"cluster_radius": 1, "cluster_time": 1.0}, "no electron is so large"),
        ({"cluster_radius": 1, "superres": 9}, "superres is 9; at most 4"),
        ({"cluster_radius": -1}, "cluster_radius is -1"),
        ({"cluster_time": 0}, "cluster_time is 0; it must be a positive number \\[s\\]"),
    ):
        with pytest.raises(ParameterError, match=message):
            open_events(path, scan_shape=(2, 3), **options)


# reading


@pytest.mark.parametrize("chip_by_chip", [False, True])
def test_many_blocks(write, small_blocks, chip_by_chip):
    """A file of many blocks, whose parts are read one by one, any rows alone, RAM as MEMMAP."""
    rng = np.random.default_rng(2)
    scan = Scan((9, 5), (0, 1, 2, 3), dwell=9600, flyback=9600, per_line=3000, side=16)
    packets = files.shuffled(scan.packets(), 20_000, rng)
    if chip_by_chip:
        packets = sorted(packets, key=lambda packet: packet[0])
    path = write(packets, longest=400)
    loaded = open_events(path, scan_shape=(9, 5))
    assert as_counter(loaded) == scan.truth()
    streamed = open_events(path, mem="MEMMAP", scan_shape=(9, 5))
    for row in range(9):
        assert as_counter(streamed.read_rows(row, row + 1)) == as_counter(loaded[row : row + 1])
    assert as_counter(streamed.read_rows(3, 7)) == as_counter(loaded[3:7])
    assert streamed.n_events == loaded.n_events
    np.testing.assert_array_equal(streamed.load().indices, loaded.indices)


@pytest.mark.parametrize("seed", range(5))
def test_all_blocks_that_overlap_are_found(seed):
    """However blocks of several chips are out of order."""
    rng = np.random.default_rng(seed)
    blocks = np.zeros((60, tpx3_time.BLOCK_COLUMNS), np.int64)
    first = np.arange(60) * 10 + rng.integers(0, 200, 60)
    last = first + rng.integers(0, 50, 60)
    blocks[:, tpx3_time.B_FIRST], blocks[:, tpx3_time.B_LAST] = first, last
    scan = SimpleNamespace(schedule=SimpleNamespace(kept_shape=(1, 1)))
    sorter = SimpleNamespace(detector_shape=(256, 256), margins=(0, 0))
    source = tpx3_source.Tpx3Source(SimpleNamespace(blocks=blocks), scan, sorter, {}, ())
    for low in range(0, 900, 7):
        found = source._blocks_near(6 * low, 6 * (low + 20))
        np.testing.assert_array_equal(found, blocks[(last >= low) & (first <= low + 20)])


def test_rows_are_read_alone(write, small_blocks, monkeypatch):
    scan = Scan((20, 4), dwell=9600, per_line=2000)
    path = write(plain(scan.packets()), longest=900)
    store = open_events(path, mem="MEMMAP", scan_shape=(20, 4))
    read = files.words_read(monkeypatch)
    store.read_rows(7, 8)
    assert 0 < sum(read) * 8 < path.stat().st_size / 4


def test_loading_reads_the_file_twice(write, monkeypatch):
    """Once for the clock, once for the events; what is counted comes with them."""
    scan = Scan((20, 4), dwell=9600, per_line=2000)
    path = write(plain(scan.packets()), longest=900)
    read = files.words_read(monkeypatch)
    loaded = open_events(path, scan_shape=(20, 4))
    assert sum(read) * 8 <= 2.1 * path.stat().st_size
    streamed = open_events(path, mem="MEMMAP", scan_shape=(20, 4))
    assert streamed.metadata == loaded.metadata
    np.testing.assert_array_equal(
        streamed.events_per_pattern(), np.add.reduceat(ones(loaded), loaded.indptr[:-1])
    )


def test_threads_that_ask_at_once_count_once(write, monkeypatch):
    scan = Scan((20, 4), dwell=9600, per_line=2000)
    path = write(plain(scan.packets()))
    source = tpx3.open_source(path, ReaderOptions(scan_shape=(20, 4)))
    together, counted, batches = threading.Barrier(2), [], source._batches

    def counting(rows, counts):
        if len(rows) == 20:
            counted.append(rows)
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(0.5)  # the other thread, if it were to count too
        return batches(rows, counts)

    monkeypatch.setattr(source, "_batches", counting)
    with ThreadPoolExecutor(2) as threads:
        block = threads.submit(source.read_rows, 3, 5)
        electrons = threads.submit(source.events_per_row)
        assert block.result().n_events == electrons.result()[3:5].sum() > 0
    assert len(counted) == 1
    again = pickle.loads(pickle.dumps(tpx3.open_source(path, ReaderOptions(scan_shape=(20, 4)))))
    np.testing.assert_array_equal(again.events_per_row(), source.events_per_row())


def ones(store):
    return np.ones(len(store.indices), int) if store.counts is None else store.counts.astype(int)


def test_a_file_that_changes_or_goes_away(write):
    scan = Scan((3, 4))
    path = write(plain(scan.packets()))
    store = open_events(path, mem="MEMMAP", scan_shape=(3, 4))
    path.write_bytes(path.read_bytes() + bytes(8))
    with pytest.raises(CorruptFileError, match="has changed since it was opened"):
        store.load()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="deleted or moved"):
        store.load()


# damage


GOOD = stream(lines(*TWO_LINES, hits=[700, 3100, 3900]), longest=3)


@pytest.mark.parametrize(
    ("data", "message", "events"),
    [
        (GOOD[:-8], "is truncated", None),
        (GOOD[:-3], "is truncated", None),
        (GOOD + b"TPX", "is truncated", 3),
        (GOOD[:32] + bytes(8) + GOOD[32:], "byte 32 of .*no chunk header", 3),
        (GOOD[:32] + bytes(5) + GOOD[32:], "byte 32 of .*no chunk header", 3),
        (GOOD + stream([(4, hit(9, 9, 9))]), "chip that no assembly", 3),
        (GOOD + stream(words(0x3 << 60)), "no known kind", 3),
        (GOOD + stream(words(0x46 << 56)), "no known kind", 3),
        (GOOD + stream(words(0x51 << 56)), "no known kind", 3),
        (GOOD + stream(words(0x61 << 56 | 1 << 5)), "edge of no known clock", 3),
        (GOOD + stream(words(0x6F << 56)), "edge of no known clock", 3),
        (GOOD[:32] + stream(words(header(1), hit(600, 1, 1))) + GOOD[32:], "inside a chunk", 4),
    ],
    ids=range(12),
)
def test_damage(write, data, message, events):
    path = write(data)
    with pytest.raises(CorruptFileError, match=message) as error:
        open_events(path, scan_shape=(2, 3))
    assert str(path) in str(error.value)
    with pytest.warns(EventWarning, match=r"scan\.tpx3"):
        store = open_events(path, scan_shape=(2, 3), errors="skip")
    assert events is None or store.n_events == events


def test_summed_hits_are_refused(write):
    path = write(words(0xA << 60))
    for errors in ("raise", "skip"):
        with pytest.raises(FormatError, match="integrated-ToT mode"):
            open_events(path, scan_shape=(2, 3), dwell_time=1e-6, errors=errors)


def test_files_that_are_none(write):
    path = write(b"some words" * 20)
    assert detect(path.rename(path.with_suffix(".dat"))) is None
    with pytest.raises(FormatError, match="starts with no Timepix3 chunk"):
        open_events(path.with_suffix(".dat"), "tpx3", scan_shape=(2, 2))
    with pytest.raises(FormatError, match="holds no Timepix3 chunk"):
        open_events(path.with_suffix(".dat"), "tpx3", scan_shape=(2, 2), errors="skip")
    damaged = write(GOOD[:32] + b"damaged!" + GOOD[40:])
    assert detect(damaged.rename(damaged.with_suffix(".xyz"))) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "into how many positions its 2 lines"),
        ({"scan_shape": (2, 3), "line_end": RISE}, "are both tdc1_rise"),
        ({"scan_shape": (2, 3), "line_end": "tdc3"}, "line_end is 'tdc3'; it must be one of"),
        (
            {"scan_shape": (2, 3), "line_start": "tdc2_rise", "line_end": "tdc2_fall"},
            "but 2 of tdc",
        ),
        ({"scan_shape": (2, 3), "dwell_time": 1e-3}, "less than 3 columns of dwell_time=0.001"),
        ({"scan_shape": (2, 3), "dwell_time": 1e-12}, "at least the 1.5625 ns of the clock"),
        ({"scan_shape": (2, 3), "dwell_time": 1e300}, "short enough that"),
        ({"scan_shape": (2, 2**60)}, "too many columns"),
        ({"scan_shape": (2, 3), "scan_start": "now"}, "scan_start is .now.; it must be a finite"),
        ({"scan_shape": (2, 3), "frames_per_position": 2}, "means nothing for tpx3"),
    ],
)
def test_options_that_do_not_fit(write, options, message):
    with pytest.raises(ParameterError, match=message):
        open_events(write(lines(*TWO_LINES, hits=[700])), **options)


def test_positions_far_beyond_the_hits_are_refused(write):
    far = ((600, RISE), (6 * 10 * SECOND, FALL))
    with pytest.raises(ParameterError, match="far more positions than it has hits"):
        open_events(write(lines(*far, hits=[700])), dwell_time=1e-8)
