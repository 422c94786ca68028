"""Frames that follow the scan in order: too many or too few of them, in every format that has them.

The truth is a slow selection from single frames.
"""

from __future__ import annotations

import warnings

import eer_files
import mib_files
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from py4dstem_eer import open_events
from py4dstem_eer.cli import main
from py4dstem_eer.errors import EventWarning, ParameterError
from py4dstem_eer.readers import falcon_frames, merlin_frames

SHAPES = {"falcon": (12, 9), "merlin": (64, 64)}
FORMATS = tuple(SHAPES)


def write(folder, format_name, n_frames, seed=0):
    """Write a file of random frames; return its path and the frames, dense."""
    shape = SHAPES[format_name]
    if format_name == "falcon":
        path = folder / "scan.eer"
        frames, _ = eer_files.make(path, seed=seed, scan=(1, n_frames), shape=shape)
        return path, eer_files.dense(frames, shape, "v1")
    path = folder / "scan.mib"
    counts = mib_files.write(path, (1, n_frames), "U08", 6, seed=seed, hdr=None)
    return path, counts.reshape(n_frames, *shape).astype(np.int64)


def patterns_by_hand(frames, scan, skipped, per_position, keep):
    """Return the sums of the frames of every position; a frame that is not there counts nothing."""
    rows, columns = scan
    out = np.zeros((rows, columns, *frames.shape[1:]), np.int64)
    number = skipped
    for row in range(rows):
        for column in range(columns):
            for _ in range(per_position):
                if number < len(frames):
                    out[row, column] += frames[number]
                number += 1
    return out if keep else out[:, :-1]


def to_dense(store):
    rows, columns = store.scan_shape
    patterns = [[store.pattern(i, j) for j in range(columns)] for i in range(rows)]
    return np.array(patterns, np.int64).reshape(store.shape)


def opened(path, **options):
    """Return the store, and the texts of the warnings, all of them ours."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = open_events(path, **options)
    assert all(w.category is EventWarning for w in caught)
    assert {w.filename for w in caught} <= {__file__}
    return store, [str(w.message) for w in caught]


@pytest.mark.parametrize("format_name", FORMATS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    scan=st.tuples(st.integers(1, 3), st.integers(2, 4)),
    skipped=st.integers(0, 3),
    per_position=st.integers(1, 3),
    keep=st.booleans(),
    surplus=st.integers(-9, 9),
    seed=st.integers(0, 9),
)
def test_frames_beyond_the_scan_are_left_out_and_missing_ones_are_empty(
    tmp_path, format_name, scan, skipped, per_position, keep, surplus, seed
):
    n_frames = skipped + scan[0] * scan[1] * per_position + surplus
    if n_frames <= skipped:
        return
    path, frames = write(tmp_path, format_name, n_frames, seed)
    options = {
        "scan_shape": scan,
        "skip_frames": skipped,
        "frames_per_position": per_position,
        "keep_flyback": keep,
    }
    if surplus:
        words = f"{abs(surplus)} are {'too many' if surplus > 0 else 'missing'}"
        with pytest.raises(ParameterError, match=f"{words}.*errors=.skip."):
            open_events(path, **options)
    truth = patterns_by_hand(frames, scan, skipped, per_position, keep)
    store, told = opened(path, errors="skip", **options)
    store.validate()
    np.testing.assert_array_equal(to_dense(store), truth)
    streamed, told_again = opened(path, errors="skip", mem="MEMMAP", **options)
    for row in range(scan[0]):
        part = to_dense(streamed.read_rows(row, row + 1))
        np.testing.assert_array_equal(part, truth[row : row + 1])
    assert told == told_again
    assert len([t for t in told if f": {surplus} frames after those" in t]) == (surplus > 0)
    assert surplus < 0 or len(told) == (surplus > 0)


@pytest.mark.parametrize("format_name", ["merlin", "falcon"])
def test_the_number_left_out_is_recorded(tmp_path, format_name):
    path, _ = write(tmp_path, format_name, 23)
    store, told = opened(path, scan_shape=(3, 6), errors="skip")
    assert store.metadata["unused_frames"] == 5
    assert store.metadata["skipped_frames"] == store.metadata.get("missing_frames", 0) == 0
    assert told == [f"{path}: 5 frames after those of a scan of (3, 6) are left out"]
    whole, told = opened(path, scan_shape=(1, 23), errors="skip")
    assert "unused_frames" not in whole.metadata
    assert told == []


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize(
    ("n_frames", "options", "message"),
    [
        (12, {}, 'takes 9; 3 are too many: .* skip_frames=3; .* end, errors="skip"'),
        (12, {"skip_frames": 2}, "takes 9; 1 are too many: .* skip_frames=3; "),
        (18, {}, "frames_per_position=2 would fit; 9 are too many: .* skip_frames=9; "),
        (8, {}, r'1 are missing: errors="skip" .*empty; the first 2 rows .*\(2, 3\), errors="s'),
        (6, {}, r"3 are missing: .*the first 2 rows are .* scan_shape=\(2, 3\) reads no more"),
        (5, {"skip_frames": 1}, r"1 row is complete, scan_shape=\(1, 3\), errors=\"skip\""),
        (2, {}, '7 are missing: errors="skip" reads them as empty$'),
        (9, {"frames_per_position": 2}, "=1 would fit; 9 are missing: .*1 row is complete"),
        (3, {"skip_frames": 3}, r"9 are missing: give scan_shape=\(rows, columns\) that fits"),
        (3, {"skip_frames": 4}, "holds 3 frames, skip_frames=4; give less"),
    ],
)
def test_the_error_says_what_helps(tmp_path, format_name, n_frames, options, message):
    path, _ = write(tmp_path, format_name, n_frames)
    with pytest.raises(ParameterError, match=message):
        open_events(path, scan_shape=(3, 3), **options)


@pytest.mark.parametrize("format_name", FORMATS)
def test_what_the_error_says_of_an_interrupted_scan_works(tmp_path, format_name):
    path, frames = write(tmp_path, format_name, 23)
    with pytest.raises(ParameterError, match=r"scan_shape=\(3, 6\), errors=\"skip\" reads no more"):
        open_events(path, scan_shape=(5, 6))
    store, _ = opened(path, scan_shape=(3, 6), errors="skip")
    np.testing.assert_array_equal(to_dense(store), patterns_by_hand(frames, (3, 6), 0, 1, True))
    store, (told,) = opened(path, scan_shape=(5, 6), errors="skip")
    np.testing.assert_array_equal(to_dense(store), patterns_by_hand(frames, (5, 6), 0, 1, True))
    assert "7" in told


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_multiple_of_the_scan_may_be_several_frames_per_position(tmp_path, format_name):
    path, _ = write(tmp_path, format_name, 18)
    _, (told,) = opened(path, scan_shape=(3, 3), errors="skip")
    assert told.endswith("9 frames after those of a scan of (3, 3) are left out; "
                         "frames_per_position=2 would fit")  # fmt: skip


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("scan", [(10**9, 4), (4, 10**9), (10**9, 10**9)])
def test_scans_without_nearly_all_their_frames_are_refused(tmp_path, format_name, scan):
    path, _ = write(tmp_path, format_name, 12)
    for errors in ("raise", "skip"):
        with pytest.raises(ParameterError, match="are missing") as caught:
            open_events(path, scan_shape=scan, errors=errors)
        assert "errors=" not in str(caught.value).partition("are missing")[2].partition(";")[0]
    with pytest.raises(ParameterError, match=r"0 frames after skipping 12 .* give scan_shape"):
        open_events(path, scan_shape=(3, 3), skip_frames=12, errors="skip")


@pytest.mark.parametrize("errors", ["raise", "skip"])
def test_no_frame_after_the_scan_is_read(tmp_path, monkeypatch, errors):
    numbers = []
    of_falcon, of_merlin = falcon_frames.Frames._read_frame, merlin_frames.FrameReader.frames

    def read_frame(self, file, number, target):
        numbers.append(number)
        of_falcon(self, file, number, target)

    def frames(self, first, last):
        numbers.extend(range(first, last))
        return of_merlin(self, first, last)

    monkeypatch.setattr(falcon_frames.Frames, "_read_frame", read_frame)
    monkeypatch.setattr(merlin_frames.FrameReader, "frames", frames)
    for format_name in FORMATS:
        path, _ = write(tmp_path, format_name, 23 if errors == "skip" else 15)
        numbers.clear()
        options = {"scan_shape": (4, 3), "skip_frames": 3, "errors": errors}
        store, _ = opened(path, mem="MEMMAP", **options)
        assert not [number for number in numbers if not 3 <= number < 15]
        numbers.clear()
        store.read_rows(1, 3)
        assert sorted(set(numbers)) == list(range(6, 12))


def write_disks(folder, format_name, n_frames):
    """Write a file of frames with electrons on a disk; return its path and the frames, dense."""
    rows, columns = np.indices((64, 64)) - 32
    disk = np.flatnonzero(rows**2 + columns**2 < 12**2)
    rng = np.random.default_rng(1)
    flats = [np.sort(rng.choice(disk, 60, replace=False)) for _ in range(n_frames)]
    images = np.zeros((n_frames, 64 * 64), np.int64)
    for image, flat in zip(images, flats, strict=True):
        image[flat] = 1
    images = images.reshape(n_frames, 64, 64)
    if format_name == "falcon":
        frames = [eer_files.Frame(flat, 0 * flat, 0 * flat) for flat in flats]
        eer_files.write_frames(folder / "scan.eer", frames, (64, 64), "v1")
        return folder / "scan.eer", images
    (folder / "scan.mib").write_bytes(b"".join(mib_files.frames(images, "R64", 1, "1x1")))
    return folder / "scan.mib", images


@pytest.mark.filterwarnings("always::py4dstem_eer.errors.EventWarning")
@pytest.mark.parametrize("format_name", FORMATS)
def test_from_the_command_line(tmp_path, format_name):
    path, frames = write_disks(tmp_path, format_name, 23)
    known = ["--scan-shape", "5", "4"]
    calibrated = ["--energy", "80e3", "--semiangle-cutoff", "25", "--force-scan-sampling", "0.3"]
    for command in (
        ["info", path, *known],
        ["convert", path, tmp_path / "out.h5", *known],
        ["ssb", path, *known, *calibrated, "--output", tmp_path / "ssb.h5"],
    ):
        typed = [str(word) for word in command]
        refused = CliRunner().invoke(main, typed)
        assert refused.exit_code == 1, refused.output
        assert 'errors="skip" leaves them out' in " ".join(refused.output.split())
        result = CliRunner().invoke(main, [*typed, "--errors", "skip"])
        assert result.exit_code == 0, result.output
        assert result.output.count("3 frames after those of a scan of (5, 4) are left out") == 1
    again = open_events(tmp_path / "out.h5")
    np.testing.assert_array_equal(to_dense(again), patterns_by_hand(frames, (5, 4), 0, 1, True))
