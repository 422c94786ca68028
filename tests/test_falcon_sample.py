"""`py4dstem-eer info` of Falcon files with too many pages to be walked through in a moment."""

from __future__ import annotations

import re
import shlex
import warnings

import eer_files
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from py4dstem_eer.errors import EventError, ParameterError
from py4dstem_eer.readers import falcon, falcon_sample, falcon_walk
from py4dstem_eer.readers.options import ReaderOptions
from py4dstem_eer.report import describe

ROWS, COLUMNS = 30, 20
SHAPE = (24, 18)
PLACES, PAGES = 4, 16


@pytest.fixture(autouse=True)
def few_places(monkeypatch):
    monkeypatch.setattr(falcon_sample, "FEW_PAGES", ROWS * COLUMNS // 2)
    monkeypatch.setattr(falcon_sample, "_PLACES", PLACES)
    monkeypatch.setattr(falcon_sample, "_PAGES_PER_PLACE", PAGES)


def make(path, **how):
    """Write 600 frames, whose tables are far enough apart; return their electrons."""
    how = {"version": "v2_7_1_1", "seed": 4, "mean": 30, "gap": 300, **how}
    _, truth = eer_files.make(path, scan=(ROWS, COLUMNS), shape=SHAPE, **how)
    return truth.sum(axis=(2, 3)).ravel()


def sampled(path, **options):
    return falcon.sample(path, ReaderOptions.parse("falcon", falcon.USES, options))


def number(text):
    return float(text.removeprefix("about ").replace(",", ""))


@pytest.mark.parametrize(
    "how", [{}, {"n_strips": 3}, {"final_image": True}, {"version": "v0_waste"}]
)
def test_frames_all_over_the_file(tmp_path, how):
    """Those that are found are successive frames from four places, and tell the mean."""
    truth = make(tmp_path / "scan.eer", **how)
    sample = sampled(tmp_path / "scan.eer", scan_shape=(ROWS, COLUMNS))
    looked_at, image = sample.per_pattern, "final_image" in how
    assert len(looked_at) == PLACES * PAGES - image
    for k, begin in enumerate(range(0, PLACES * PAGES, PAGES)):
        run = looked_at[max(0, begin - image) : begin + PAGES - image]
        near = range(max(0, 150 * k - 20), 150 * k + 20)
        assert any(np.array_equal(truth[at : at + len(run)], run) for at in near)
    assert number(sample.facts["frames"]) == pytest.approx(ROWS * COLUMNS, rel=0.1)
    assert sample.n_electrons == pytest.approx(looked_at.mean() * len(truth), rel=0.1)
    assert (sample.scan_shape, sample.detector_shape) == ((ROWS, COLUMNS), SHAPE)
    assert sample.facts["has_final_image"] == image
    assert (sample.doubt, sample.missing) == ("", None)
    assert sample.part == pytest.approx(PLACES * PAGES / (ROWS * COLUMNS), rel=0.1)


def test_what_the_frames_seen_are_said_to_be(tmp_path):
    make(tmp_path / "scan.eer")
    text = describe(tmp_path / "scan.eer", scan_shape=(ROWS, COLUMNS), keep_flyback=False)
    assert re.search(r"^looked at: +[\d.]+ % of the file", text, re.M)
    assert re.search(rf"^scan: +{ROWS} x {COLUMNS - 1} positions", text, re.M)
    assert re.search(r"^electrons: +about [\d,]+; about [\d.]+ per pattern", text, re.M)
    assert re.search(rf"^patterns: +{PLACES * PAGES} of 570 looked at; \d+ empty", text, re.M)
    assert re.search(r"^skip_bits: +7$", text, re.M)
    assert "keep_flyback" not in text.split("next:")[0]
    assert "py4dstem-eer ssb" in text


def test_several_frames_of_a_position(tmp_path):
    truth = make(tmp_path / "scan.eer")
    sample = sampled(tmp_path / "scan.eer", scan_shape=(15, 20), frames_per_position=2)
    assert len(sample.per_pattern) == PLACES * PAGES / 2
    np.testing.assert_array_equal(
        sample.per_pattern[: PAGES // 2], truth[:PAGES].reshape(-1, 2).sum(1)
    )
    assert sample.n_electrons == pytest.approx(sample.per_pattern.mean() * 300, rel=0.1)


@pytest.mark.parametrize("told", [600, 599, 6000])
@pytest.mark.parametrize("image", [False, True])
def test_the_number_of_frames_that_the_file_says(tmp_path, monkeypatch, told, image):
    """It is believed as far as it fits the file."""
    item = f'<item name="numberOfFrames">{told}</item>'
    text = eer_files.ACQUISITION.replace("</metadata>", f"{item}</metadata>")
    monkeypatch.setattr(eer_files, "ACQUISITION", text)
    make(tmp_path / "scan.eer", final_image=image)
    sample = sampled(tmp_path / "scan.eer", scan_shape=(ROWS, COLUMNS))
    said = "about 600" if told == 6000 else f"{told}, as the file says"
    assert sample.facts["frames"] == said
    assert bool(sample.doubt) == (told == 599)
    sample = sampled(tmp_path / "scan.eer", frames_per_position=2)
    assert sample.n_positions == (300 if told == 600 else None)
    assert "scan_shape=(rows, columns)" in str(sample.missing)


def test_a_scan_shape_is_guessed(tmp_path, monkeypatch):
    item = '<item name="numberOfFrames">600</item>'
    text = eer_files.ACQUISITION.replace("</metadata>", f"{item}</metadata>")
    monkeypatch.setattr(eer_files, "ACQUISITION", text)
    make(tmp_path / "scan.eer")
    text = describe(tmp_path / "scan.eer", skip_frames=24)
    assert "--scan-shape 24 24" in re.search(r"next: +(.*)   \(a guess", text)[1]
    assert re.search(r"^dense: +486 KiB as uint16", text, re.M)
    text = describe(tmp_path / "scan.eer", skip_frames=1)
    assert shlex.split(text.splitlines()[-1])[-2:] == ["ROWS", "COLUMNS"]


@pytest.mark.parametrize(
    ("shape", "skip", "fits"),
    [((30, 20), 0, True), ((10, 20), 400, True), ((30, 30), 0, False), ((10, 20), 0, False)],
)
def test_a_scan_shape_that_does_not_fit(tmp_path, shape, skip, fits):
    make(tmp_path / "scan.eer")
    sample = sampled(tmp_path / "scan.eer", scan_shape=shape, skip_frames=skip)
    assert bool(sample.doubt) != fits
    if not fits:
        assert f"takes {shape[0] * shape[1]} frames, but there are about 600" in sample.doubt


def test_few_pages_and_tables_that_lie_together(tmp_path, monkeypatch):
    """Both are walked through, which gives exact numbers."""
    path = tmp_path / "scan.eer"
    make(path)
    with monkeypatch.context() as patch:
        patch.setattr(falcon_sample, "FEW_PAGES", 2 * ROWS * COLUMNS)
        assert sampled(path, scan_shape=(ROWS, COLUMNS)) is None
    assert sampled(path, scan_shape=(ROWS, COLUMNS)) is not None
    make(path, gap=0)  # smaller streams than tables
    monkeypatch.setattr(falcon_sample, "_mean_bytes", lambda pages: 10**5)
    assert sampled(path, scan_shape=(ROWS, COLUMNS)) is None


@pytest.mark.parametrize("scan", [(1, 1), (1, 2), (3, 5)])
def test_a_few_pages(tmp_path, monkeypatch, scan):
    monkeypatch.setattr(falcon_sample, "FEW_PAGES", 0)
    eer_files.make(tmp_path / "scan.eer", scan=scan)
    assert sampled(tmp_path / "scan.eer", scan_shape=scan) is None


@pytest.mark.parametrize("block", [40, 331])
def test_tables_that_begin_anywhere_in_a_block(tmp_path, monkeypatch, block):
    make(tmp_path / "scan.eer")
    sample = sampled(tmp_path / "scan.eer", scan_shape=(ROWS, COLUMNS))
    monkeypatch.setattr(falcon_sample, "_BLOCK", block)
    again = sampled(tmp_path / "scan.eer", scan_shape=(ROWS, COLUMNS))
    np.testing.assert_array_equal(again.per_pattern, sample.per_pattern)


def test_no_frame_is_looked_at_twice(tmp_path, monkeypatch):
    """Where pages from one place reach beyond the next, those after them are taken."""
    truth = make(tmp_path / "scan.eer")
    monkeypatch.setattr(falcon_sample, "_PAGES_PER_PLACE", 180)
    sample = sampled(tmp_path / "scan.eer", scan_shape=(ROWS, COLUMNS))
    np.testing.assert_array_equal(sample.per_pattern, truth[: 3 * 180])


def test_little_is_read(tmp_path, monkeypatch):
    make(tmp_path / "scan.eer")
    walked = []
    original = falcon_walk.Chain._one_by_one
    monkeypatch.setattr(falcon_walk.Chain, "__iter__", lambda chain: pytest.fail("walks"))
    monkeypatch.setattr(
        falcon_walk.Chain, "_one_by_one", lambda *a: walked.append(a) or original(*a)
    )
    sampled(tmp_path / "scan.eer", scan_shape=(ROWS, COLUMNS))
    assert len(walked) == PLACES


def test_bytes_like_those_of_a_table_are_no_page(tmp_path):
    """They are put before the pages that are looked for, where they lead nowhere."""
    path = tmp_path / "scan.eer"
    make(path)
    data = path.read_bytes()
    sample = sampled(path, scan_shape=(ROWS, COLUMNS))
    begin = int.from_bytes(data[8:16], "little")
    n_tags = int.from_bytes(data[begin : begin + 8], "little")
    second = int.from_bytes(data[begin + 8 + 20 * n_tags :][:8], "little")
    decoy = data[second : second + 20]
    spoilt = bytearray(data)
    for k in range(1, PLACES):
        place = len(data) * k // PLACES
        gap = data.index(bytes(200), place)  # nothing is there
        spoilt[gap + 50 : gap + 70] = decoy
    path.write_bytes(spoilt)
    again = sampled(path, scan_shape=(ROWS, COLUMNS))
    np.testing.assert_array_equal(again.per_pattern, sample.per_pattern)
    assert again.facts == sample.facts


def test_wrong_options_are_refused(tmp_path):
    make(tmp_path / "scan.eer")
    with pytest.raises(ParameterError, match="superres"):
        sampled(tmp_path / "scan.eer", scan_shape=(ROWS, COLUMNS), superres=2)
    with pytest.raises(ParameterError, match="keep_flyback"):
        sampled(tmp_path / "scan.eer", scan_shape=(600, 1), keep_flyback=False)


def test_faulty_frames_are_told(tmp_path):
    path = tmp_path / "scan.eer"
    make(path)
    data = bytearray(path.read_bytes())
    data[316:320] = b"\xff" * 4  # the first stream: nothing but pixels to skip
    path.write_bytes(data)
    sample = sampled(path, scan_shape=(ROWS, COLUMNS))
    assert sample.facts["faulty frames seen"] == 1


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    damage=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=9)), max_size=12),
    length=st.floats(0.3, 1) | st.just(1.0),
)
def test_damaged_files(tmp_path, damage, length):
    path = tmp_path / "scan.eer"
    whole = tmp_path / "whole.eer"
    if not whole.exists():
        make(whole)
    data = bytearray(whole.read_bytes())
    for place, raw in damage:
        at = int(place * (len(data) - len(raw)))
        data[at : at + len(raw)] = raw
    path.write_bytes(data[: int(length * len(data))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            sample = sampled(path, scan_shape=(ROWS, COLUMNS))
        except EventError:
            return
    if sample is not None:
        assert len(sample.per_pattern) <= PLACES * PAGES
        assert 0 <= sample.part <= 1
        assert (sample.per_pattern >= 0).all()
