"""`py4dstem-eer info` of Falcon files whose pages cannot be followed in a moment."""

from __future__ import annotations

import re
import struct
import warnings
from types import SimpleNamespace

import eer_files
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from py4dstem_eer.errors import CorruptFileError, EventError, EventWarning, ParameterError
from py4dstem_eer.readers import falcon, falcon_places, falcon_sample, falcon_walk
from py4dstem_eer.readers.options import ReaderOptions
from py4dstem_eer.report import describe

ROWS, COLUMNS = 30, 20
SHAPE, VERSION = (24, 18), "v2_7_1_1"
PLACES, PAGES = 4, 16


UNTOLD = re.sub('<item name="numberOfFrames">[0-9]*</item>', "", eer_files.ACQUISITION)


@pytest.fixture(autouse=True)
def few_places(monkeypatch):
    monkeypatch.setattr(eer_files, "ACQUISITION", UNTOLD)
    monkeypatch.setattr(falcon_places, "FEW_PAGES", ROWS * COLUMNS // 2)
    monkeypatch.setattr(falcon_places, "MOMENT", 0)
    monkeypatch.setattr(falcon_places, "_PLACES", PLACES)
    monkeypatch.setattr(falcon_places, "_PAGES_PER_PLACE", PAGES)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scan.eer"


def make(path, **how):
    """Write 600 frames of about as many bytes each; return their electrons."""
    how = {"version": VERSION, "seed": 4, "mean": 30, "gap": 300, **how}
    _, truth = eer_files.make(path, scan=(ROWS, COLUMNS), shape=SHAPE, **how)
    return truth.sum(axis=(2, 3)).ravel()


def say_number(monkeypatch, told):
    item = f'<item name="numberOfFrames">{told}</item>'
    text = eer_files.ACQUISITION.replace("</metadata>", f"{item}</metadata>")
    monkeypatch.setattr(eer_files, "ACQUISITION", text)


def sampled(path, **options):
    return falcon.sample(path, ReaderOptions.parse("falcon", falcon.USES, options))


def whole(path, **options):
    return sampled(path, scan_shape=(ROWS, COLUMNS), **options)


def number(text):
    return float(re.match(r"about ([\d,]+)", text)[1].replace(",", ""))


# where frames are looked at


@pytest.mark.parametrize(
    "how", [{}, {"n_strips": 3}, {"final_image": True}, {"version": "v0_waste"}]
)
def test_frames_all_over_the_file(path, how):
    """Those that are found are successive frames, from the middle of each quarter."""
    truth = make(path, **how)
    sample = whole(path)
    assert len(sample.per_pattern) == PLACES * PAGES
    for k, run in enumerate(sample.per_pattern.reshape(PLACES, PAGES)):
        near = range(150 * k + 55, 150 * k + 95)
        assert any(np.array_equal(truth[at : at + PAGES], run) for at in near)
    assert number(sample.facts["frames"]) == pytest.approx(ROWS * COLUMNS, rel=0.1)
    mean = sample.per_pattern.mean()
    assert sample.mean == pytest.approx(mean, rel=0.1)
    assert sample.n_electrons == pytest.approx(mean * len(truth), rel=0.1)
    assert (sample.scan_shape, sample.detector_shape) == ((ROWS, COLUMNS), SHAPE)
    assert sample.facts["has_final_image"] == ("final_image" in how)
    assert (sample.doubt, sample.missing) == ("", None)
    assert sample.part == pytest.approx((1 + PLACES) * PAGES / (ROWS * COLUMNS), rel=0.1)


DOSES = {
    "rises": np.linspace(20, 300, ROWS * COLUMNS),
    "falls": np.linspace(300, 20, ROWS * COLUMNS),
    "every other row": np.repeat(np.tile([20, 300], ROWS // 2), COLUMNS),
    "one half": np.repeat([300, 20], ROWS * COLUMNS // 2),
    "a border": np.pad(np.full((ROWS - 8, COLUMNS), 300), ((4, 4), (0, 0)), constant_values=20),
}


@pytest.mark.parametrize("dose", DOSES)
def test_frames_of_unequal_size(path, monkeypatch, dose):
    """Large frames fill more of the file than small ones, and do not count for more."""
    monkeypatch.setattr(falcon_places, "_PLACES", 16)
    monkeypatch.setattr(falcon_places, "_PAGES_PER_PLACE", 4)
    rng = np.random.default_rng(7)
    shape = (48, 40)
    frames = [eer_files.random_frame(rng, shape, n, VERSION) for n in DOSES[dose].astype(int).flat]
    eer_files.write_frames(path, frames, shape, VERSION)
    sample = whole(path)
    assert number(sample.facts["frames"]) == pytest.approx(ROWS * COLUMNS, rel=0.15)
    assert sample.n_electrons == pytest.approx(DOSES[dose].sum(), rel=0.15)
    assert sample.doubt == ""


@pytest.mark.parametrize(
    ("distances", "error"),
    [([5.0] * 8, 0.05), ([5.0, 4.0] * 8, 0.0861), ([1.0, 1.0, 1.0, 1e9], 0.5)],
)
def test_the_error_of_the_number_of_frames(distances, error):
    """That of a mean, from its scatter; between 5 and 50 %."""
    pages = SimpleNamespace(numbers=np.zeros((17, 6)))
    estimate = falcon_places.Places(pages, np.array(distances), 1000).n_pages()
    density = 1 / np.array(distances)
    assert estimate.value == pytest.approx(1000 * density.mean())
    assert estimate.error == pytest.approx(error * estimate.value, rel=0.01)


def test_the_error_of_the_mean():
    """Where places differ, their scatter makes it, otherwise that of electrons."""
    pages = SimpleNamespace(numbers=np.zeros((20, 6)))
    places = falcon_places.Places(pages, np.full(4, 7.0), 1000)
    equal, different = np.full((4, 5), 20), np.repeat([[10], [30], [10], [30]], 5, axis=1)
    assert places.mean(equal).value == pytest.approx(20)
    assert places.mean(equal).seen == 400
    mean = places.mean(different)
    error = np.std([10, 30, 10, 30], ddof=1) / 2
    assert mean.value == pytest.approx(20)
    assert mean.seen == pytest.approx((20 / error) ** 2, abs=1)
    assert mean.error == pytest.approx(error)
    assert places.mean(0 * equal).value == 0


def test_frames_after_a_large_image_and_texts_of_the_first(path, monkeypatch):
    """The image is no part of what frames are spread over; texts make the table longer."""
    monkeypatch.setattr(falcon_places, "_PLACES", 8)
    rng = np.random.default_rng(2)
    frames = eer_files.random_frames(rng, ROWS * COLUMNS, SHAPE, VERSION, 30)
    pages = [eer_files.image_page(np.ones((400, 400)))]
    for k, frame in enumerate(frames):
        texts = {65001: eer_files.ACQUISITION} if k == 0 else {}
        stream = eer_files.encode(frame, SHAPE, VERSION)
        pages.append(eer_files.frame_page(stream, SHAPE, VERSION, 1, texts))
    eer_files.write_pages(path, pages, gap=300)
    sample = whole(path)
    assert number(sample.facts["frames"]) == pytest.approx(ROWS * COLUMNS, rel=0.1)
    assert len(sample.per_pattern) == 8 * PAGES
    assert "acquisition" in sample.facts


@pytest.mark.parametrize("block", [40, 331])
def test_tables_that_begin_anywhere_in_a_block(path, monkeypatch, block):
    make(path)
    sample = whole(path)
    monkeypatch.setattr(falcon_places, "_BLOCK", block)
    np.testing.assert_array_equal(whole(path).per_pattern, sample.per_pattern)


def spoil(path, copies):
    """Put the first bytes of a table before the pages at each place, where they lead nowhere."""
    data = path.read_bytes()
    begin = int.from_bytes(data[8:16], "little")
    n_tags = int.from_bytes(data[begin : begin + 8], "little")
    second = int.from_bytes(data[begin + 8 + 20 * n_tags :][:8], "little")
    decoy = data[second : second + 20]
    spoilt = bytearray(data)
    for k in range(PLACES):
        gap = data.index(bytes(300), len(data) * (2 * k + 1) // (2 * PLACES))  # nothing is there
        spoilt[gap + 10 : gap + 10 + 20 * copies] = decoy * copies
    path.write_bytes(spoilt)


def test_bytes_like_those_of_a_table_are_no_page(path):
    make(path)
    sample = whole(path)
    spoil(path, 3)
    again = whole(path)
    np.testing.assert_array_equal(again.per_pattern, sample.per_pattern)
    assert again.facts == sample.facts
    spoil(path, 9)
    assert whole(path) is None


def test_little_is_read(path, monkeypatch):
    make(path)
    walked = []
    original = falcon_walk.Chain._one_by_one
    monkeypatch.setattr(falcon_walk.Chain, "__iter__", lambda chain: pytest.fail("walks"))
    monkeypatch.setattr(
        falcon_walk.Chain, "_one_by_one", lambda *a: walked.append(a) or original(*a)
    )
    whole(path)
    assert len(walked) == PLACES + 2  # and the beginning, and the end


# where all pages are followed


def test_files_that_are_followed_in_a_moment(path, monkeypatch):
    make(path)
    assert whole(path) is not None
    with monkeypatch.context() as patch:
        patch.setattr(falcon_places, "FEW_PAGES", 2 * ROWS * COLUMNS)
        assert whole(path) is None
    monkeypatch.setattr(falcon_places, "MOMENT", 3600)
    assert whole(path) is None
    times = iter(range(100))  # a second for 16 pages
    monkeypatch.setattr(falcon_places.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(falcon_places, "MOMENT", ROWS * COLUMNS / 16 / 2)
    assert whole(path) is not None


@pytest.mark.parametrize("per_position", [600, 10**6])
def test_more_frames_of_a_position_than_there_are(path, per_position):
    make(path)
    sample = sampled(path, scan_shape=(2, 2), frames_per_position=per_position)
    assert len(sample.per_pattern) == 0
    assert "frames, and there are about 600" in sample.doubt
    with pytest.raises(EventError, match="electrons in one pattern"):
        sampled(path, scan_shape=(2, 2), frames_per_position=10**30 * per_position)


@pytest.mark.parametrize("scan", [(1, 1), (1, 2), (3, 5)])
def test_a_few_pages(path, monkeypatch, scan):
    monkeypatch.setattr(falcon_places, "FEW_PAGES", 0)
    eer_files.make(path, scan=scan)
    assert sampled(path, scan_shape=scan) is None


def test_tables_apart_from_their_data(path):
    """Places are spread over the tables, wherever the data are."""
    stream = eer_files.encode(
        eer_files.random_frame(np.random.default_rng(0), SHAPE, 200, VERSION), SHAPE, VERSION
    )
    page = eer_files.frame_page(stream, SHAPE, VERSION)
    n, streams = ROWS * COLUMNS, 16
    table = streams + len(stream) * n
    data = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, table) + stream * n)
    for k in range(n):
        tags = {273: (16, [streams + k * len(stream)]), 279: (16, [len(stream)]), **page.tags}
        entries = b"".join(
            struct.pack("<HHQQ", tag, kind, 1, values[0])
            for tag, (kind, values) in sorted(tags.items())
        )
        following = len(data) + 16 + len(entries) if k < n - 1 else 0
        data += struct.pack("<Q", len(tags)) + entries + struct.pack("<Q", following)
    path.write_bytes(data)
    sample = whole(path)
    assert sample.facts["frames"] == "about 600"
    assert (sample.mean, sample.n_electrons) == (200, 120_000)


# what is said


def test_what_the_frames_seen_are_said_to_be(path):
    make(path)
    text = describe(path, scan_shape=(ROWS, COLUMNS), keep_flyback=False, frames_per_position=1)
    assert re.search(r"^looked at: +13 % of the file", text, re.M)
    assert re.search(rf"^scan: +{ROWS} x {COLUMNS - 1} positions", text, re.M)
    assert re.search(r"^electrons: +about [\d,]+; about [\d.]+ per pattern", text, re.M)
    assert re.search(rf"^patterns: +{PLACES * PAGES} of 570 looked at; \d+ empty", text, re.M)
    assert re.search(r"^skip_bits: +7$", text, re.M)
    assert "keep_flyback" not in text.split("next:")[0]
    assert "skipped_frames" not in text
    assert "py4dstem-eer ssb" in text


@pytest.mark.parametrize("per_position", [3, 40])
def test_several_frames_of_a_position(path, per_position):
    """More than there are at a place give no histogram, but a mean."""
    truth = make(path)
    shape = (600 // per_position, 1)
    sample = sampled(path, scan_shape=shape, frames_per_position=per_position)
    assert len(sample.per_pattern) == (PLACES * 5 if per_position == 3 else 0)
    assert sample.mean == pytest.approx(per_position * whole(path).mean)
    assert sample.n_electrons == pytest.approx(sample.mean * shape[0], rel=0.1)
    assert sample.facts["frames_per_position"] == per_position
    assert sample.count_dtype == np.uint8
    assert "unused_frames" not in sample.facts
    begin = next(
        at for at in range(600) if np.array_equal(truth[at : at + 16], whole(path).per_pattern[:16])
    )
    if per_position == 3:
        first = truth[begin : begin + 15].reshape(5, 3).sum(axis=1)
        np.testing.assert_array_equal(sample.per_pattern[:5], first)
    text = describe(path, scan_shape=shape, frames_per_position=per_position)
    assert ("electrons per pattern:" in text) == (per_position == 3)


@pytest.mark.parametrize("told", [600, 599, 6000, 35, 0])
@pytest.mark.parametrize("image", [False, True])
def test_the_number_of_frames_that_the_file_says(path, monkeypatch, told, image):
    """It is believed as far as it fits the file."""
    say_number(monkeypatch, told)
    make(path, final_image=image)
    sample = whole(path)
    fits = told in (599, 600)
    said = f"{told}, as the file says" if fits else f"about 600, though the file says {told:,}"
    assert sample.facts["frames"] == said
    assert bool(sample.doubt) == (told == 599)
    sample = sampled(path, frames_per_position=2)
    assert sample.n_positions == (300 if told == 600 else None)
    assert "scan_shape=(rows, columns)" in str(sample.missing)


def test_a_number_of_frames_that_is_none(path, monkeypatch):
    say_number(monkeypatch, "many")
    make(path)
    assert whole(path).facts["frames"] == "about 600"


def test_a_number_of_frames_in_the_final_image():
    assert falcon_sample._number_told({"final_image": {"numberOfFrames": 5}}) == 5


def test_a_scan_shape_is_guessed(path, monkeypatch):
    say_number(monkeypatch, 600)
    make(path)
    text = describe(path, skip_frames=24)
    assert "--scan-shape 24 24" in re.search(r"next: +(.*)   \(a guess", text)[1]
    assert re.search(r"^dense: +486 KiB as uint16", text, re.M)
    text = describe(path, skip_frames=1)
    assert text.endswith("--skip-frames 1 --scan-shape ROWS COLUMNS")


@pytest.mark.parametrize(
    ("shape", "skip", "fits"),
    [((30, 20), 0, True), ((10, 20), 400, True), ((30, 40), 0, False), ((10, 20), 0, False)],
)
def test_a_scan_shape_that_does_not_fit(path, shape, skip, fits):
    make(path)
    sample = sampled(path, scan_shape=shape, skip_frames=skip)
    assert bool(sample.doubt) != fits
    if not fits:
        n = shape[0] * shape[1]
        assert f"takes {n:,} frames, and there are about 600" in sample.doubt
    there = min(600 - skip, shape[0] * shape[1])
    assert sample.n_electrons == pytest.approx(there * sample.mean, rel=0.15)
    assert sampled(path, scan_shape=shape, skip_frames=skip, errors="skip").doubt == ""


@pytest.mark.parametrize("options", [{}, {"scan_shape": (3, 4)}])
def test_all_frames_skipped(path, options):
    make(path)
    sample = sampled(path, skip_frames=1000, **options)
    assert "leaves none of the frames: there are about 600" in sample.doubt
    assert sample.n_electrons == 0


def test_wrong_options_are_refused(path):
    make(path)
    with pytest.raises(ParameterError, match="superres"):
        whole(path, superres=2)
    with pytest.raises(ParameterError, match="keep_flyback"):
        sampled(path, scan_shape=(600, 1), keep_flyback=False)


# damage


def test_faulty_frames_are_told(path):
    make(path)
    data = bytearray(path.read_bytes())
    data[316:320] = b"\xff" * 4  # the first stream: nothing but pixels to skip
    path.write_bytes(data)
    assert whole(path).facts["faulty frames seen"] == 1


@pytest.mark.parametrize("part", [0.985, 0.9999])
def test_a_file_that_was_cut_off(path, part):
    make(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(CorruptFileError, match=f"{path} is truncated or damaged: the table"):
        whole(path)
    assert whole(path, errors="skip") is not None


def test_metadata_that_are_lost(path, monkeypatch):
    monkeypatch.setattr(eer_files, "ACQUISITION", "<metadata><item")
    make(path)
    with pytest.raises(CorruptFileError, match="its metadata are damaged"):
        whole(path)
    with pytest.warns(EventWarning, match="the metadata are lost"):
        assert "acquisition" not in whole(path, errors="skip").facts


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    damage=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=9)), max_size=12),
    length=st.floats(0.3, 1) | st.just(1.0),
)
def test_damaged_files(tmp_path, damage, length):
    path, sound = tmp_path / "scan.eer", tmp_path / "sound.eer"
    if not sound.exists():
        make(sound)
    data = bytearray(sound.read_bytes())
    for place, raw in damage:
        at = int(place * (len(data) - len(raw)))
        data[at : at + len(raw)] = raw
    path.write_bytes(data[: int(length * len(data))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            sample = whole(path)
        except EventError:
            return
    if sample is not None:
        assert len(sample.per_pattern) == PLACES * PAGES
        assert 0 <= sample.part <= 1
        assert (sample.per_pattern >= 0).all()
