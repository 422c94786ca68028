"""`py4dstem-eer info` of Timepix3 files that are too large to be walked through in a moment."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from tpx3_files import Scan, edge, hit, stream, words_read

from py4dstem_eer.errors import EventError, ParameterError
from py4dstem_eer.readers import open_events, tpx3, tpx3_estimates, tpx3_sample
from py4dstem_eer.readers.options import ReaderOptions
from py4dstem_eer.report import describe

ROWS, COLUMNS = 60, 5


@pytest.fixture
def large(tmp_path, monkeypatch):
    """Return the path of a scan of 60 lines, large enough for three pieces of a sixth each."""
    scan = Scan((ROWS, COLUMNS), per_line=200)
    path = tmp_path / "scan.tpx3"
    path.write_bytes(stream([packet[1:] for packet in scan.packets()], longest=50))
    monkeypatch.setattr(tpx3, "SMALL", path.stat().st_size - 1)
    monkeypatch.setattr(tpx3_sample, "_PIECES", 3)
    monkeypatch.setattr(tpx3_sample, "_PIECE_BYTES", path.stat().st_size // 6)
    return path


def sampled(path, **options):
    return tpx3.sample(path, ReaderOptions.parse("tpx3", tpx3.USES, options))


def per_pattern(path):
    return open_events(path, mem="MEMMAP", scan_shape=(ROWS, COLUMNS)).events_per_pattern()


def test_patterns_of_whole_lines(large):
    """The rows that are found are rows of the scan, about as many as lie in the pieces."""
    sample = sampled(large, scan_shape=(ROWS, COLUMNS))
    truth = per_pattern(large)
    rows = Counter(map(tuple, truth.reshape(ROWS, COLUMNS).tolist()))
    found = Counter(map(tuple, sample.per_pattern.reshape(-1, COLUMNS).tolist()))
    assert found <= rows
    assert 3 * (10 - 2) <= found.total() <= ROWS / 2
    assert sample.part == pytest.approx(0.5, abs=0.01)
    assert (sample.scan_shape, sample.detector_shape) == ((ROWS, COLUMNS), (256, 256))
    assert sample.n_electrons == pytest.approx(truth.sum(), rel=0.05)
    assert sample.doubt == ""
    assert sample.missing is None


def test_estimates(large):
    """12,000 hits, and 60 edges of each kind, of which 30 give one digit."""
    facts = sampled(large, scan_shape=(ROWS, COLUMNS)).facts
    assert facts["clock_edges"] == {"tdc1_rise": "about 60", "tdc1_fall": "about 60"}
    hits = float(facts["hits"].removeprefix("about ").replace(",", ""))
    assert hits == pytest.approx(12_000, rel=0.02)
    assert (facts["chips seen"], "faulty packets seen" in facts) == ([0], False)
    period = (COLUMNS * 960 + 2000) / 3.84e9
    per_second = float(facts["hits per second"].removeprefix("about ").replace(",", ""))
    assert per_second == pytest.approx(200 / period, rel=0.1)


def test_a_piece_that_is_all_of_the_file(large, monkeypatch):
    monkeypatch.setattr(tpx3_sample, "_PIECES", 1)
    monkeypatch.setattr(tpx3_sample, "_PIECE_BYTES", 2 * large.stat().st_size)
    sample = sampled(large, scan_shape=(ROWS, COLUMNS))
    truth = per_pattern(large)
    np.testing.assert_array_equal(sample.per_pattern, truth)
    assert (sample.part, sample.facts["hits"]) == (1, "about 12,000")


def test_the_text_says_what_is_estimated(large):
    text = describe(large, scan_shape=(ROWS, COLUMNS))
    assert re.search(r"looked at: +50 % of the file", text)
    assert re.search(r"electrons: +about [\d,]+; about [\d.]+ per pattern", text)
    assert re.search(r"patterns: +\d+ of 300 looked at; \d+ empty", text)
    assert "next:" in text
    assert not re.search(r"hits: +\d", text)
    assert re.search(r"scan: +60 x 5 positions", text)
    assert re.search(r"detector: +256 x 256 pixels", text)
    assert re.search(r"dense: +37.5 MiB as uint16", text)
    assert re.search(r"sparse: +about \d\d\.\d KiB", text)
    lines = describe(large, scan_shape=(ROWS, COLUMNS), line_end=None, keep_flyback=False)
    assert re.search(r"patterns: +\d+ of 240 looked at", lines)


def test_what_is_missing_is_asked_for(large):
    text = describe(large)
    assert re.search(r"missing: +judged by pieces of the file: .* scan_shape=", text)
    assert "info" in text.splitlines()[-1]
    assert "--scan-shape ROWS COLUMNS" in text.splitlines()[-1]
    other = describe(large, line_start="tdc2_rise", line_end="tdc2_fall", scan_shape=(60, 5))
    assert re.search(r"missing: .* has no edges of tdc2_rise or tdc2_fall", other)
    with pytest.raises(ParameterError, match="frames_per_position"):
        describe(large, frames_per_position=2)


def test_no_marks_and_no_hits(large):
    large.write_bytes(stream([(1, hit(16 * k, 1, 2)) for k in range(20_000)]))
    text = describe(large, line_start=None, scan_shape=(4, 5), dwell_time=1e-6)
    assert "none seen" in text
    assert re.search(r"electrons: +about 800; about 40.0 per pattern", text)  # 25 ns apart
    assert "positions" in text
    large.write_bytes(stream([(1, edge(600 * k, "tdc1_rise")) for k in range(20_000)]))
    text = describe(large, scan_shape=(20_000, 5), line_end=None)
    assert re.search(r"hits per second: +unknown", text)
    assert re.search(r"electrons: +about 0; about 0.0 per pattern", text)


def number(text, name):
    return int(
        re.search(rf"^{name}: +(?:at most )?about ([\d,]+)", text, re.MULTILINE)[1].replace(",", "")
    )


def test_a_scan_shape_that_does_not_fit(large):
    for shape, doubtful in (((60, 5), False), ((90, 5), True), ((40, 5), True)):
        text = describe(large, scan_shape=shape)
        assert (f"but about {number(text, 'lines')} lines are marked" in text) == doubtful
        assert number(text, "lines") == pytest.approx(60, abs=2)
        assert number(text, "electrons") <= number(text, "hits")
        assert ("--scan-shape ROWS COLUMNS" in text.splitlines()[-1]) == doubtful
    assert "doubtful" not in describe(large, scan_shape=(50, 5), skip_frames=10)


def test_no_more_electrons_than_hits(large, monkeypatch):
    """Even if rows too many are not noticed: all hits are in lines that last a whole period."""
    monkeypatch.setattr(tpx3_estimates, "_TOLERANCE", 1.0)
    text = describe(large, scan_shape=(90, 5), line_end=None)
    assert "doubtful" not in text
    assert number(text, "electrons") <= number(text, "hits")


def test_columns_that_are_unknown(large):
    text = describe(large)
    assert re.search(r"scan: +unknown", text)
    assert number(text, "electrons") == pytest.approx(per_pattern(large).sum(), rel=0.05)
    assert re.search(r"sparse: +about .* and 8 B for every position", text)
    text = describe(large, dwell_time=250e-9)
    assert re.search(r"scan: +about (59|60|61) x 5 positions", text)


def test_a_scan_by_the_clock(large):
    period = (COLUMNS * 960 + 2000) / 3.84e9
    timed = {"line_start": None, "dwell_time": period}
    text = describe(large, scan_shape=(10, 6), **timed)
    assert number(text, "electrons") == pytest.approx(12_000, rel=0.03)
    assert re.search(r"about 2\d\d\.\d per pattern", text) or "about 19" in text
    assert "doubtful" not in text
    assert "as uint" in re.search(r"dense: .*", text)[0]
    beyond = r"doubtful: +.* ends after .* s, but the hits of the file end after"
    assert re.search(beyond, describe(large, scan_shape=(10, 6), skip_frames=30, **timed))
    text = describe(large, scan_shape=(10, 9), **timed)
    assert re.search(beyond, text)
    assert number(text, "electrons") <= number(text, "hits")


def test_the_chips_of_all_pieces_make_the_detector(tmp_path, large):
    scan = Scan((ROWS, COLUMNS), (0, 1, 2, 3), per_line=200)
    options = {"scan_shape": (ROWS, COLUMNS)}
    one_after_another = [(3 * (k > 8000), word) for k, (_, _, word) in enumerate(scan.packets())]
    for packets in ([packet[1:] for packet in scan.packets()], one_after_another):
        large.write_bytes(stream(packets, longest=50))
        assert sampled(large, **options).detector_shape == (512, 512)
    clusters = sampled(large, **options, cluster_radius=1, superres=1)
    assert clusters.detector_shape == (1024, 1024)


def test_a_small_file_is_looked_through(large, monkeypatch):
    monkeypatch.setattr(tpx3, "SMALL", large.stat().st_size)
    assert sampled(large, scan_shape=(ROWS, COLUMNS)) is None
    assert re.search(r"hits: +12000", describe(large, scan_shape=(ROWS, COLUMNS)))


def test_little_is_read(large, monkeypatch):
    read = words_read(monkeypatch)
    describe(large, scan_shape=(ROWS, COLUMNS))
    assert 0 < sum(read) * 8 < 2.1 * large.stat().st_size / 2


@pytest.mark.parametrize("seed", range(30))
def test_damage(large, seed):
    rng = np.random.default_rng(seed)
    data = np.frombuffer(large.read_bytes(), np.uint8).copy()
    for at in rng.integers(0, len(data), 2000 if seed % 2 else 20):
        data[at] ^= 1 << rng.integers(8)
    large.write_bytes(data[rng.integers(0, 3) :].tobytes())
    try:
        text = describe(large, format="tpx3", scan_shape=(ROWS, COLUMNS))
    except EventError as error:
        text = str(error)
    assert str(large) in text
