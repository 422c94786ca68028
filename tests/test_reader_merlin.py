"""Merlin files: every kind of pixel, the files of an acquisition, and what may be wrong with it."""

from __future__ import annotations

import os
import shutil
import warnings
import zipfile
from pathlib import Path

import mib_files
import numpy as np
import py4DSTEM
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import py4dstem_eer
from py4dstem_eer.errors import (
    CorruptFileError,
    EventWarning,
    FormatError,
    MissingOptionError,
    ParameterError,
)
from py4dstem_eer.readers import (
    detect,
    merlin_files,
    merlin_frames,
    merlin_source,
    open_events,
)
from py4dstem_eer.writers.stempy import write_stempy

SHARED = Path(os.environ.get("PY4DSTEM_EER_DATA", Path(__file__).parents[2] / "shared/data"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no shared data in {SHARED}")
FRAME = 384 + 64 * 64 // 8  # bytes of the frames that `write` makes by default


def dense(store):
    rx, ry = store.scan_shape
    patterns = [store.pattern(i, j) for i in range(rx) for j in range(ry)]
    return np.stack(patterns).reshape(store.shape).astype(np.int64)


def expect(path, truth, **options):
    """Open in both ways, and compare with the truth."""
    loaded = open_events(path, **options)
    loaded.validate()
    np.testing.assert_array_equal(dense(loaded), truth)
    streamed = open_events(path, mem="MEMMAP", **options)
    assert streamed.metadata == loaded.metadata
    assert streamed.count_dtype.itemsize >= loaded.count_dtype.itemsize
    for row in range(len(truth)):
        np.testing.assert_array_equal(dense(streamed.read_rows(row, row + 1))[0], truth[row])
    return loaded


# pixels


@pytest.mark.parametrize(("kind", "depth", "layout"), mib_files.KINDS)
def test_every_kind_of_pixel(tmp_path, kind, depth, layout):
    truth = mib_files.write(tmp_path / "a.mib", (2, 3), kind, depth, layout)
    store = expect(tmp_path / "a.mib", truth)
    assert (store.counts is None) == (depth == 1)
    assert store.metadata["bit_depth"] == depth
    assert store.metadata["chip_layout"] == layout


@pytest.mark.parametrize(("kind", "depth"), mib_files.NUMBERS)
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (3, 9), (16, 128)])
def test_any_shape_of_numbers(tmp_path, kind, depth, shape):
    truth = mib_files.write(tmp_path / "a.mib", (3, 2), kind, depth, shape=shape, density=0.7)
    expect(tmp_path / "a.mib", truth)


@pytest.mark.parametrize(("kind", "depth"), mib_files.RAW)
def test_raw_frames_of_part_of_the_rows(tmp_path, kind, depth):
    truth = mib_files.write(tmp_path / "a.mib", (3, 2), kind, depth, shape=(5, 128), density=0.4)
    expect(tmp_path / "a.mib", truth)


@pytest.mark.parametrize("density", [0, 0.003, 0.2, 1])
@pytest.mark.parametrize("layout", ["1x1", "2x2"])
def test_bits_of_any_density(tmp_path, density, layout):
    truth = mib_files.write(tmp_path / "a.mib", (1, 4), layout=layout, density=density)
    expect(tmp_path / "a.mib", truth)


def test_values_above_the_depth_are_kept(tmp_path):
    """As a flat field correction makes them."""
    truth = mib_files.random_images(np.random.default_rng(0), 4, (9, 9), 8)
    (tmp_path / "a.mib").write_bytes(b"".join(mib_files.frames(truth, "U08", 6, "1x1")))
    assert truth.max() == 255
    expect(tmp_path / "a.mib", truth.reshape(2, 2, 9, 9), scan_shape=(2, 2))


def test_other_sizes_of_header(tmp_path):
    truth = mib_files.write(tmp_path / "a.mib", (2, 2), size=405)
    expect(tmp_path / "a.mib", truth)


def test_frame_numbers_may_have_more_digits(tmp_path):
    images = mib_files.random_images(np.random.default_rng(0), 4, (64, 64), 1)
    first, second = images[:2], images[2:]
    parts = [mib_files.frames(part, "R64", 1, "1x1", n) for part, n in ((first, 1), (second, 3))]
    wide = [frame.replace(b"MQ1,00000", b"MQ1,0000000")[:384] + frame[384:] for frame in parts[1]]
    wide = [head[:384] + frame[384:] for head, frame in zip(wide, parts[1], strict=True)]
    (tmp_path / "a.mib").write_bytes(b"".join([*parts[0], *wide]))
    expect(tmp_path / "a.mib", images.reshape(2, 2, 64, 64), scan_shape=(2, 2))


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        (b"R64", b"R32", FormatError, "pixels of type R32"),
        (b"R64", b"U64", FormatError, "pixels of type U64"),
        (b"ns,1,", b"ns,7,", FormatError, "a counter depth of '7'"),
        (b"ns,1,", b"ns,,,", FormatError, "a counter depth of "),
        (b",01,0064,", b",02,0064,", FormatError, "other than of one chip or of a quad"),
        (b"0064,0064", b"0032,0128", FormatError, "rows of 32 pixels, no whole number of words"),
        (b"0064,0064", b"0000,0064", CorruptFileError, "impossible size, 64 x 0"),
        (b"0064,0064", b"900000,900000", CorruptFileError, "impossible size"),
        (b",00384,", b",00040,", CorruptFileError, "should have 40 bytes"),
        (b",00384,", b",99999,", CorruptFileError, "should have 99999 bytes"),
        (b"MQ1,", b"MQ1;", CorruptFileError, "no header of a Merlin frame at byte 0"),
    ],
)
def test_frames_that_cannot_be_read_are_refused(tmp_path, old, new, error, words):
    path = tmp_path / "a.mib"
    mib_files.write(path, hdr=None)
    data = path.read_bytes()
    assert old in data[:384]
    path.write_bytes(data.replace(old, new))
    for errors in ("raise", "skip"):
        with pytest.raises(error, match=words) as caught:
            open_events(path, "merlin", scan_shape=(3, 4), errors=errors)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("depth", "layout", "words"),
    [
        (24, "2x2", "four chips with a counter depth of 24"),
        (1, "2x2G", "other than"),
        (1, "4x1", "other than"),
    ],
)
def test_raw_layouts_that_nobody_described_are_refused(tmp_path, depth, layout, words):
    path = tmp_path / "a.mib"
    path.write_bytes(mib_files.frame_header(1, "R64", depth, layout, 256, 64) + bytes(2**20))
    with pytest.raises(FormatError, match=words):
        open_events(path, scan_shape=(1, 1))


def test_other_files_named_mib(tmp_path):
    path = tmp_path / "a.mib"
    path.write_bytes(b"something else" * 99)
    assert detect(path) == "merlin"
    with pytest.raises(FormatError, match="no header of a Merlin frame at byte 0"):
        open_events(path)


# the scan


@pytest.mark.parametrize("hdr", ["triggers", "scan"])
@pytest.mark.parametrize("newline", ["\r\n", "\n"])
def test_the_header_file_tells_the_scan(tmp_path, hdr, newline):
    truth = mib_files.write(tmp_path / "a.mib", (5, 2), hdr=hdr)
    text = (tmp_path / "a.hdr").read_bytes().replace(b"\r\n", newline.encode())
    (tmp_path / "a.hdr").write_bytes(text)
    for name in ("a.mib", "a.hdr"):
        assert detect(tmp_path / name) == "merlin"
        expect(tmp_path / name, truth)
    expect(tmp_path / "a.mib", truth.reshape(2, 5, 64, 64), scan_shape=(2, 5))


@pytest.mark.parametrize("hdr", ["nothing", None])
def test_otherwise_the_user_must(tmp_path, hdr):
    truth = mib_files.write(tmp_path / "a.mib", (5, 2), hdr=hdr)
    for errors in ("raise", "skip"):
        with pytest.raises(ParameterError, match=r"holds 10 frames .* give scan_shape"):
            open_events(tmp_path / "a.mib", errors=errors)
    expect(tmp_path / "a.mib", truth, scan_shape=(5, 2))
    for shape in ((5, 3), (3, 3)):
        with pytest.raises(ParameterError, match="10 frames do not fill a scan"):
            open_events(tmp_path / "a.mib", scan_shape=shape)


def test_frames_are_skipped_summed_and_dropped(tmp_path):
    path = tmp_path / "a.mib"
    images = mib_files.write(path, (1, 27), "U08", 6, hdr=None).reshape(27, 64, 64)
    truth = images[3:].reshape(4, 3, 2, 64, 64).sum(axis=2)
    options = {"scan_shape": (4, 3), "frames_per_position": 2, "skip_frames": 3}
    store = expect(path, truth, **options)
    assert store.metadata["frames_per_position"] == 2
    expect(path, truth[:, :2], keep_flyback=False, **options)
    with pytest.raises(ParameterError, match="keep_flyback=False"):
        open_events(path, scan_shape=(27, 1), keep_flyback=False)


def test_lines_of_several_frames_per_position(tmp_path):
    path = tmp_path / "a.mib"
    images = mib_files.write(path, (3, 6))
    expect(path, images.reshape(3, 3, 2, 64, 64).sum(axis=2), frames_per_position=2)
    with pytest.raises(ParameterError, match="6 frames in a line, no multiple of"):
        open_events(path, frames_per_position=4)


@pytest.mark.parametrize("kind", [("R64", 1), ("U16", 12)])
def test_blocks_make_no_difference(tmp_path, monkeypatch, kind):
    path = tmp_path / "a.mib"
    images = mib_files.write(path, (1, 60), *kind).reshape(60, 64, 64)
    for n_bytes in (1, 3 * FRAME, 10 * FRAME):
        monkeypatch.setattr(merlin_source, "BLOCK_BYTES", n_bytes)
        expect(path, images.reshape(12, 5, 64, 64), scan_shape=(12, 5))
        expect(
            path,
            images.reshape(2, 3, 10, 64, 64).sum(axis=2)[:, :2],
            scan_shape=(2, 3),
            frames_per_position=10,
            keep_flyback=False,
        )


@given(
    st.integers(0, 2**32),
    st.sampled_from(mib_files.KINDS),
    st.floats(0, 1),
    st.tuples(st.integers(1, 3), st.integers(2, 3)),
    st.booleans(),
    st.integers(0, 2),
    st.integers(1, 2),
)
@settings(max_examples=30, deadline=None)
def test_round_trip(tmp_path_factory, seed, kind, density, scan, keep, skipped, per_position):
    path = tmp_path_factory.mktemp("mib") / "a.mib"
    n_frames = scan[0] * scan[1] * per_position + skipped
    images = mib_files.write(path, (1, n_frames), *kind, seed=seed, hdr=None, density=density)
    truth = images[0, skipped:].reshape(*scan, per_position, *images.shape[2:]).sum(axis=2)
    expect(
        path,
        truth if keep else truth[:, :-1],
        scan_shape=scan,
        keep_flyback=keep,
        skip_frames=skipped,
        frames_per_position=per_position,
    )


def test_what_the_file_says_is_kept_with_units(tmp_path):
    mib_files.write(tmp_path / "a.mib")
    metadata = open_events(tmp_path / "a.mib").metadata
    assert metadata["format"] == "merlin"
    assert metadata["exposure"] == (0.0025, "s")
    assert metadata["thresholds"] == ((20.0, 511.0, 0, 0, 0, 0, 0, 0), "keV")
    assert metadata["timestamp"] == "2024-02-03T04:05:06.000001000Z"
    assert metadata["sensor_bias"] == (120.0, "V")
    assert metadata["medipix_clock"] == (160.0, "MHz")
    assert metadata["chip_ids"] == "W1_A2"
    assert metadata["chip_type"] == "Medipix 3RX"
    assert metadata["software_version"] == "1.5.0.197"
    assert metadata["n_files"] == 1


def test_metadata_survive_being_written(tmp_path):
    mib_files.write(tmp_path / "a.mib")
    store = open_events(tmp_path / "a.mib")
    write_stempy(tmp_path / "a.h5", store)
    again = open_events(tmp_path / "a.h5")
    assert again.metadata["sensor_bias"] == (120.0, "V")
    assert np.array_equal(again.indices, store.indices)


# several files


def test_all_files_of_an_acquisition_are_found(tmp_path):
    lengths = [2, 3, 1, 2, 1, 2, 1, 2, 1, 1, 2, 2]  # name10 comes after name9
    truth, paths = mib_files.write_parts(tmp_path, "run", lengths, (4, 5))
    for path in (*paths[::4], paths[-1], tmp_path / "run.hdr"):
        assert expect(path, truth).metadata["n_files"] == 12


def test_they_are_found_without_a_header_file(tmp_path):
    truth, paths = mib_files.write_parts(tmp_path, "run", [5, 3, 4], (3, 4), hdr=False)
    for path in paths:
        expect(path, truth, scan_shape=(3, 4))


def test_blocks_reach_across_files(tmp_path, monkeypatch):
    truth, paths = mib_files.write_parts(tmp_path, "run", [5, 1, 7, 7], (4, 5))
    monkeypatch.setattr(merlin_source, "BLOCK_BYTES", 6 * FRAME)
    expect(paths[2], truth)
    expect(paths[0], truth[:, :4], keep_flyback=False)


def test_of_sound_files_only_the_last_header_is_read_when_they_are_opened(tmp_path, monkeypatch):
    _, paths = mib_files.write_parts(tmp_path, "run", [5, 1, 7, 7], (4, 5))
    monkeypatch.setattr(merlin_frames, "read_numbers", None)
    assert open_events(paths[0], mem="MEMMAP").scan_shape == (4, 5)


def test_names_that_end_in_a_number_of_their_own(tmp_path):
    truth, paths = mib_files.write_parts(tmp_path, "scan_001_", [4, 8], (3, 4))
    other, more = mib_files.write_parts(tmp_path, "scan_002_", [4, 4], (2, 4), seed=1)
    close, third = mib_files.write_parts(
        tmp_path, "scan_00", [4, 8], (3, 4), seed=2, numbers=(1, 2)
    )
    for path, expected in ((paths[1], truth), (more[0], other), (third[1], close)):
        expect(path, expected)


def test_others_of_a_like_name_are_left_alone(tmp_path):
    truth, (path, *_) = mib_files.write_parts(tmp_path, "scan", [6], (2, 3), numbers=[1])
    mib_files.write_parts(tmp_path, "scan", [6], (2, 3), numbers=[2], seed=1)  # starts again at 1
    mib_files.write(tmp_path / "scan3.mib", (2, 3), kind="U08")
    (tmp_path / "scan.hdr").unlink()
    (tmp_path / "scan3.hdr").unlink()
    (tmp_path / "scan4.mib").write_bytes(b"")
    (tmp_path / "scan_extra.mib").write_bytes(b"no frames")
    (tmp_path / "scan5.mib.bak").write_bytes(path.read_bytes())
    assert expect(path, truth, scan_shape=(2, 3)).metadata["n_files"] == 1


def test_a_file_with_its_own_header_file_stands_alone(tmp_path):
    truth = mib_files.write(tmp_path / "scan1.mib", (2, 3))
    images = mib_files.random_images(np.random.default_rng(5), 6, (64, 64), 1)
    later = mib_files.frames(images, "R64", 1, "1x1", first=7)
    (tmp_path / "scan2.mib").write_bytes(b"".join(later))
    expect(tmp_path / "scan1.mib", truth)
    with pytest.raises(CorruptFileError, match=r"scan2\.mib begins with frame 7, not 1"):
        open_events(tmp_path / "scan2.mib", scan_shape=(2, 3))
    expect(tmp_path / "scan1.mib", truth)


def test_files_of_another_detector_do_not_belong(tmp_path):
    truth, (path,) = mib_files.write_parts(tmp_path, "scan", [6], (2, 3), numbers=[1], hdr=False)
    images = mib_files.random_images(np.random.default_rng(5), 6, (32, 128), 1)
    later = mib_files.frames(images, "R64", 1, "1x1", first=7)  # as many bytes
    (tmp_path / "scan2.mib").write_bytes(b"".join(later))
    expect(path, truth, scan_shape=(2, 3))
    with pytest.raises(CorruptFileError, match=r"scan2\.mib begins with frame 7, not 1"):
        open_events(tmp_path / "scan2.mib", scan_shape=(2, 3))


def test_files_that_are_missing(tmp_path):
    truth, paths = mib_files.write_parts(tmp_path, "run", [4, 4, 4, 4], (4, 4))
    kept = truth.copy()
    paths[2].unlink()
    kept[2] = 0
    for path in (paths[0], paths[3]):
        with pytest.raises(CorruptFileError, match=r"run3\.mib begins with frame 13, not 9"):
            open_events(path)
    with pytest.warns(EventWarning, match="4 have empty patterns"):
        store = open_events(paths[1], errors="skip")
    np.testing.assert_array_equal(dense(store), kept)
    assert store.metadata["missing_frames"] == 4
    with pytest.warns(EventWarning):
        assert open_events(paths[1], errors="skip", mem="MEMMAP").missing_patterns() == 4
    paths[0].unlink()
    kept[0] = 0
    with pytest.raises(CorruptFileError, match=r"run1\.mib begins with frame 5, not 1"):
        open_events(tmp_path / "run.hdr")
    with pytest.warns(EventWarning, match="8 have empty patterns"):
        np.testing.assert_array_equal(dense(open_events(paths[1], errors="skip")), kept)
    for path in (paths[1], paths[3]):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"run\.hdr belongs to run\.mib, or to run0"):
        open_events(tmp_path / "run.hdr")


def test_files_in_the_middle_that_are_damaged(tmp_path):
    truth, paths = mib_files.write_parts(tmp_path, "run", [4, 4, 4, 4], (4, 4))
    whole = paths[1].read_bytes()
    truth[1, 3] = 0
    paths[1].write_bytes(whole[:-1])
    with pytest.raises(CorruptFileError, match=rf"run1\.mib, frame 8: .* {FRAME - 1} of the"):
        open_events(paths[0])
    with pytest.warns(EventWarning, match="1 of 15 frames cannot be read"):
        np.testing.assert_array_equal(dense(open_events(paths[0], errors="skip")), truth)
    paths[1].write_bytes(b"x" * len(whole))
    truth[1] = 0
    with pytest.raises(FormatError, match=r"run1\.mib: there is no header"):
        open_events(paths[3])
    with pytest.warns(EventWarning, match="4 have empty patterns"):
        np.testing.assert_array_equal(dense(open_events(paths[3], errors="skip")), truth)


def test_a_header_file_with_two_acquisitions(tmp_path):
    _, paths = mib_files.write_parts(tmp_path, "run", [6, 6], (3, 4))
    paths[1].write_bytes(paths[0].read_bytes())
    with pytest.raises(CorruptFileError, match=r"begins with run0\.mib, and run1\.mib is not"):
        open_events(tmp_path / "run.hdr")


def test_header_files_of_something_else(tmp_path):
    path = tmp_path / "a.mib"
    mib_files.write(path, (3, 4))
    mib_files.write_hdr(tmp_path / "a.hdr", 12, 4, depth=12)
    with pytest.raises(CorruptFileError, match=r"a\.hdr says that the counters have 12 bits"):
        open_events(path)
    for content in (b"ENVI\n", b""):
        (tmp_path / "a.hdr").write_bytes(content)
        with pytest.raises(CorruptFileError, match=r"a\.hdr .* is no Merlin \.hdr file"):
            open_events(path)
    mib_files.write_hdr(tmp_path / "a.hdr", "many", 4)
    with pytest.raises(CorruptFileError, match=r"a\.hdr is damaged: .* is 'many'"):
        open_events(path)


@pytest.mark.parametrize("hdr", [True, False])
@pytest.mark.parametrize("opened", ["run.hdr", "run0.mib", "run2.mib"])
def test_links_from_another_folder(tmp_path, hdr, opened):
    """What belongs to a link is beside what it points to."""
    (tmp_path / "data").mkdir()
    (tmp_path / "links").mkdir()
    truth, _ = mib_files.write_parts(tmp_path / "data", "run", [5, 3, 4], (3, 4), hdr=hdr)
    if not hdr and opened == "run.hdr":
        return
    for name in (opened, "other" + Path(opened).suffix):
        link = tmp_path / "links" / name
        link.symlink_to(Path("../data") / opened)
        assert detect(link) == "merlin"
        options = {} if hdr else {"scan_shape": (3, 4)}
        assert expect(link, truth, **options).metadata["n_files"] == 3


def test_what_is_beside_a_link_comes_first(tmp_path):
    """As DataLad has it: each file is a link to one of another name."""
    (tmp_path / "store").mkdir()
    (tmp_path / "links").mkdir()
    truth, paths = mib_files.write_parts(tmp_path / "store", "key", [5, 3, 4], (3, 4))
    for k, path in enumerate(paths):
        (tmp_path / f"links/run{k}.mib").symlink_to(path)
    (tmp_path / "links/run.hdr").symlink_to(tmp_path / "store/key.hdr")
    images = mib_files.random_images(np.random.default_rng(5), 4, (64, 64), 1)
    more = mib_files.frames(images, "R64", 1, "1x1", first=13)
    (tmp_path / "store/key3.mib").write_bytes(b"".join(more))
    for name in ("run.hdr", "run1.mib"):
        assert expect(tmp_path / "links" / name, truth).metadata["n_files"] == 3
    (tmp_path / "links/run.hdr").unlink()
    (tmp_path / "store/key.hdr").unlink()
    expect(tmp_path / "links/run1.mib", truth, scan_shape=(3, 4))


def test_the_work_for_many_files_grows_as_their_number(tmp_path, monkeypatch):
    mib_files.write_parts(tmp_path, "run", [1] * 120, (10, 12))
    compared, encodings, heads = [], [], []
    same, encoding_of = Path.__eq__, merlin_files.encoding_of
    of_heads = merlin_frames.FrameReader.heads
    monkeypatch.setattr(Path, "__eq__", lambda a, b: compared.append(1) or same(a, b))
    monkeypatch.setattr(Path, "__hash__", lambda path: hash(str(path)))
    monkeypatch.setattr(
        merlin_files, "encoding_of", lambda h, p: encodings.append(1) or encoding_of(h, p)
    )
    monkeypatch.setattr(
        merlin_frames.FrameReader, "heads", lambda *a: heads.append(1) or of_heads(*a)
    )
    for name in ("run.hdr", "run119.mib", "run0.mib"):
        for found in (compared, encodings, heads):
            found.clear()
        open_events(tmp_path / name, mem="MEMMAP")
        assert len(compared) <= 4 * 120
        assert len(encodings) == 1
        assert heads == []  # a header that was read when the file was found


def test_info_says_of_a_file_what_opening_it_says(tmp_path):
    path = tmp_path / "a.mib"
    mib_files.write(path, (3, 4), hdr="nothing")
    opened = open_events(path, scan_shape=(3, 4)).metadata
    of_options = {"format", "frames_per_position", "keep_flyback"}
    known = {name: value for name, value in opened.items() if name not in of_options}
    assert known["bit_depth"] == 1
    with pytest.raises(MissingOptionError) as raised:
        open_events(path)
    told = raised.value.facts
    assert {name: told[name] for name in known} == known
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MissingOptionError) as raised:
        open_events(path, errors="skip")
    assert raised.value.facts["frames"] == 11


def test_copies_under_another_name(tmp_path):
    truth = mib_files.write(tmp_path / "a.mib", (3, 4))
    renamed = (tmp_path / "a.mib").rename(tmp_path / "b.dat")
    assert detect(renamed) == "merlin"
    expect(renamed, truth, scan_shape=(3, 4))
    (tmp_path / "a.hdr").rename(tmp_path / "b.hdr")
    expect(renamed, truth)


# what may be wrong


def test_an_interrupted_acquisition_gives_its_complete_lines(tmp_path):
    for hdr in ("triggers", "scan"):
        path = tmp_path / f"{hdr}.mib"
        truth = mib_files.write(path, (5, 4), hdr=hdr)
        path.write_bytes(path.read_bytes()[: 14 * FRAME])
        for errors in ("raise", "skip"):
            with pytest.warns(EventWarning, match=r"the first 3 lines are read, and not 2 frames"):
                store = open_events(path, errors=errors)
            np.testing.assert_array_equal(dense(store), truth[:3])
            assert store.metadata["announced_scan_shape"] == (5, 4)
            assert store.metadata["unused_frames"] == 2
        with pytest.raises(ParameterError, match="6 are missing"):
            open_events(path, scan_shape=(5, 4))
        path.write_bytes(path.read_bytes()[: 3 * FRAME])
        with pytest.raises(ParameterError, match="3 frames do not fill"):
            open_events(path)


def test_a_scan_that_the_user_says_is_filled_with_empty_patterns(tmp_path):
    path = tmp_path / "a.mib"
    truth = mib_files.write(path, (5, 4), hdr=None)
    path.write_bytes(path.read_bytes()[: 14 * FRAME])
    truth.reshape(20, 64, 64)[14:] = 0
    with pytest.warns(EventWarning, match="6 have empty patterns"):
        store = open_events(path, scan_shape=(5, 4), errors="skip")
    np.testing.assert_array_equal(dense(store), truth)


def test_too_many_frames(tmp_path):
    path = tmp_path / "a.mib"
    truth = mib_files.write(path, (5, 4))
    mib_files.write_hdr(tmp_path / "a.hdr", 12, 4)
    with pytest.raises(ParameterError, match=r"20 frames do not fill .* 8 are too many"):
        open_events(path)
    with pytest.warns(EventWarning, match=r"8 frames after those of a scan of \(3, 4\)"):
        store = open_events(path, errors="skip")
    np.testing.assert_array_equal(dense(store), truth.reshape(20, 64, 64)[:12].reshape(store.shape))
    assert store.metadata["unused_frames"] == 8


def test_damaged_frames_beside_too_many(tmp_path):
    path = tmp_path / "a.mib"
    truth = mib_files.write(path, (5, 4), hdr=None)
    for frame in (5, 16):
        damage(path, frame, b"MQ1,", b"MQ2,")
    truth[1, 1] = 0
    with pytest.warns(EventWarning) as caught:
        store = open_events(path, scan_shape=(3, 4), errors="skip")
    np.testing.assert_array_equal(dense(store), truth[:3])
    beyond, bad = (str(warning.message) for warning in caught)
    assert "7 frames after those" in beyond
    assert "2 of 20 frames cannot be read and were dropped" in bad
    assert "1 have empty patterns" in bad
    names = ("skipped_frames", "missing_frames", "unused_frames")
    assert [store.metadata[name] for name in names] == [2, 1, 7]


@pytest.mark.parametrize("cut", [1, FRAME - 1, FRAME - 100, FRAME - 384])
def test_a_truncated_last_frame(tmp_path, cut):
    path = tmp_path / "a.mib"
    truth = mib_files.write(path, (3, 4))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(CorruptFileError, match=rf"a\.mib, frame 12: .* {FRAME - cut} of the"):
        open_events(path)
    truth[2, 3] = 0
    for mem in ("RAM", "MEMMAP"):
        with pytest.warns(EventWarning, match="1 of 11 frames cannot be read"):
            store = open_events(path, mem=mem, errors="skip")
        np.testing.assert_array_equal(dense(store), truth)
        assert store.metadata["skipped_frames"] == 1


def test_nothing_is_left(tmp_path):
    path = tmp_path / "a.mib"
    mib_files.write(path, (3, 4))
    whole = path.read_bytes()
    for kept in (3, 100, 383, 384, FRAME - 1):
        path.write_bytes(whole[:kept])
        for errors in ("raise", "skip"):
            with pytest.raises(CorruptFileError, match=r"a\.mib"):
                open_events(path, "merlin", errors=errors, scan_shape=(1, 1))


def damage(path, frame, old, new, frame_bytes=FRAME):
    data = bytearray(path.read_bytes())
    at = data.index(old, frame * frame_bytes, (frame + 1) * frame_bytes)
    data[at : at + len(new)] = new
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("frame", [1, 6, 11])
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"MQ1,", b"MQ2,", "there is no header where it should begin"),
        (b"MQ1,0", b"MQ1,,", "there is no header where it should begin"),
        (b"R64", b"U08", "does not agree with that of the first frame"),
        (b"0064,0064", b"0064,0065", "does not agree with that of the first frame"),
        (b"MQ1,0000", b"MQ1,9999", "says that it is frame 9999"),
        (b"MQ1,0000", b"MQ1,0001", "says that it is frame 1"),
    ],
)
def test_headers_that_are_damaged(tmp_path, frame, old, new, words):
    path = tmp_path / "a.mib"
    truth = mib_files.write(path, (3, 4))
    damage(path, frame, old, new)
    truth[frame // 4, frame % 4] = 0
    for mem in ("RAM", "MEMMAP"):
        with pytest.raises(CorruptFileError, match=rf"a\.mib, frame {frame + 1} at byte .*{words}"):
            open_events(path, mem=mem).load()
        with pytest.warns(EventWarning, match="1 of 12 frames cannot be read"):
            store = open_events(path, mem=mem, errors="skip")
        np.testing.assert_array_equal(dense(store), truth)
        assert (store.metadata["skipped_frames"], store.metadata["missing_frames"]) == (1, 1)


def test_only_what_is_used_is_checked(tmp_path):
    path = tmp_path / "a.mib"
    truth = mib_files.write(path, (3, 4))
    damage(path, 7, b"MQ1,", b"MQ2,")
    expect(path, truth[:, :3], keep_flyback=False)
    streamed = open_events(path, mem="MEMMAP")
    np.testing.assert_array_equal(dense(streamed.read_rows(2, 3)), truth[2:])


def test_frames_that_are_missing_in_between(tmp_path):
    path = tmp_path / "a.mib"
    truth = mib_files.write(path, (3, 4))
    data = path.read_bytes()
    path.write_bytes(data[: 4 * FRAME] + data[6 * FRAME :])
    with pytest.raises(CorruptFileError, match=r"a\.mib, frame 5 at byte .* it is frame 7"):
        open_events(path, scan_shape=(2, 5))
    truth[1, :2] = 0
    with pytest.warns(EventWarning, match="0 of 10 frames .* 2 have empty patterns"):
        store = open_events(path, errors="skip")
    np.testing.assert_array_equal(dense(store), truth)


def test_frames_that_are_repeated(tmp_path):
    path = tmp_path / "a.mib"
    truth = mib_files.write(path, (3, 4))
    data = path.read_bytes()
    path.write_bytes(data[: 5 * FRAME] + data[4 * FRAME :])
    with pytest.raises(CorruptFileError, match=r"frame 6 at byte .* it is frame 5"):
        open_events(path, scan_shape=(1, 13))
    with pytest.warns(EventWarning, match="1 of 13 frames cannot be read"):
        np.testing.assert_array_equal(dense(open_events(path, errors="skip")), truth)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_damaged_numbers_cost_their_own_frames_only(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("mib") / "a.mib"
    truth = mib_files.write(path, (5, 4))
    frames = data.draw(st.lists(st.integers(1, 19), unique=True, max_size=4))
    number = st.integers(0, 99).filter(lambda n: n > 30 or n == 0)
    for frame in frames:
        text = f"MQ1,{data.draw(number):06d}".encode()
        damage(path, frame, b"MQ1,", text)
        truth[frame // 4, frame % 4] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EventWarning)
        store = open_events(path, scan_shape=(5, 4), errors="skip")
    np.testing.assert_array_equal(dense(store), truth)
    assert store.metadata["skipped_frames"] == len(frames)


def test_numbers_may_count_from_zero(tmp_path):
    images = mib_files.random_images(np.random.default_rng(0), 6, (64, 64), 1)
    path = tmp_path / "a.mib"
    path.write_bytes(b"".join(mib_files.frames(images, "R64", 1, "1x1", first=0)))
    for errors in ("raise", "skip"):
        expect(path, images.reshape(2, 3, 64, 64), scan_shape=(2, 3), errors=errors)


@pytest.mark.parametrize("scan", [(10**9, 4), (4, 10**9), (10**9, 10**9)])
@pytest.mark.parametrize("last", [12, 4 * 10**9, 9 * 10**11])
def test_promises_are_not_believed(tmp_path, scan, last):
    path = tmp_path / "a.mib"
    truth = mib_files.write(path, (3, 4))
    mib_files.write_hdr(tmp_path / "a.hdr", 12, 1, scan)
    final = mib_files.frames(truth[2, 3:], "R64", 1, "1x1", first=last)
    path.write_bytes(path.read_bytes()[: 11 * FRAME] + final[0])
    for options in ({}, {"scan_shape": scan}):
        for errors in ("raise", "skip"):
            believable = last == 12 or (errors == "skip" and last > 4 * 10**9)
            if scan == (10**9, 4) and believable and not options:
                with pytest.warns(EventWarning, match="the first 3 lines"):
                    assert open_events(path, errors=errors).scan_shape == (3, 4)
                continue
            with pytest.raises((CorruptFileError, ParameterError), match=r"a\.mib"):
                open_events(path, errors=errors, **options)


def test_files_must_stay_as_they_are(tmp_path):
    path = tmp_path / "a.mib"
    mib_files.write(path, (3, 4))
    streamed = open_events(path, mem="MEMMAP")
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(CorruptFileError, match="has changed since it was opened"):
        streamed.read_rows(0, 1)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="was deleted"):
        streamed.read_rows(0, 1)


def test_a_file_that_shrinks_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.mib"
    mib_files.write(path, (3, 4))
    streamed = open_events(path, mem="MEMMAP")
    path.write_bytes(path.read_bytes()[: 3 * FRAME])
    monkeypatch.setattr(merlin_frames, "check_unchanged", lambda path, stamp: None)
    with pytest.raises(CorruptFileError, match="ends before its frame"):
        streamed.read_rows(0, 1)


# beside others


def test_py4dstem_opens_merlin_files_as_events_and_its_own_reader_can_be_named(
    tmp_path, monkeypatch
):
    truth = mib_files.write(tmp_path / "a.mib", (3, 4), "U16", 12, shape=(256, 256), hdr=None)
    path = str(tmp_path / "a.mib")
    cube = py4DSTEM.import_file(path, scan_shape=(3, 4))
    assert isinstance(cube, py4dstem_eer.SparseDataCube)
    np.testing.assert_array_equal(cube.data[1, 2], truth[1, 2])
    assert cube.metadata["acquisition"]["exposure"] == {"value": 0.0025, "units": "s"}
    # what py4DSTEM makes of the pixels is its own affair
    called = []
    module = py4dstem_eer.bridge.files
    monkeypatch.setattr(module, "_import_dense", lambda *a, **k: called.append((a, k)))
    py4DSTEM.import_file(path, filetype="mib", scan=(3, 4))
    assert called[0][0] == (path,)
    assert called[0][1]["filetype"] == "mib"


def test_py4dstem_reads_the_same_with_its_own_reader(tmp_path):
    truth = mib_files.write(tmp_path / "a.mib", (3, 4), "U08", 6, shape=(256, 256), hdr=None)
    own = py4DSTEM.import_file(str(tmp_path / "a.mib"), filetype="mib", scan=(3, 4))
    assert type(own) is py4DSTEM.DataCube
    np.testing.assert_array_equal(own.data, truth)


@needs_shared
@pytest.mark.parametrize("name", ["single", "quad"])
@pytest.mark.parametrize("kind", ["U08", "R64"])
def test_shared_files(name, kind):
    path = SHARED / f"formats/mib/{name}_1bit_{kind}.mib"
    truth = np.load(SHARED / f"formats/mib/{name}_1bit_truth.npz")["data"]
    expect(path, truth)
    np.testing.assert_array_equal(dense(open_events(path.with_suffix(".hdr"))), truth)


def real_files():
    zips = sorted((SHARED / "real/merlin").glob("*.zip"))
    return [
        pytest.param(path, name, id=name)
        for path in zips
        for name in zipfile.ZipFile(path).namelist()
        if name.endswith(".mib")
    ]


@pytest.fixture(scope="module")
def libertem_context():
    api = pytest.importorskip("libertem.api")
    from libertem.executor.inline import InlineJobExecutor

    return api.Context(executor=InlineJobExecutor())


def unpacked(archive, name, folder):
    """Return a real file with its .hdr file in an empty folder, and its number of frames."""
    with zipfile.ZipFile(archive) as file:
        for part in (name, name[:-3] + "hdr"):
            with file.open(part) as source, (folder / Path(part).name).open("wb") as target:
                shutil.copyfileobj(source, target)
    path = folder / Path(name).name
    return path, merlin_files.open_acquisition(path, skip=False).n_frames


@needs_shared
@pytest.mark.parametrize(("archive", "name"), real_files())
def test_real_files_equal_libertem(archive, name, tmp_path, libertem_context):
    from libertem.io.dataset.base import BufferedBackend
    from libertem.udf.raw import PickUDF

    path, n_frames = unpacked(archive, name, tmp_path)
    data = libertem_context.load(
        "mib", path=str(path), nav_shape=(1, n_frames), io_backend=BufferedBackend()
    )
    picked = libertem_context.run_udf(data, PickUDF(), roi=np.ones((1, n_frames), bool))
    truth = np.asarray(picked["intensity"].data)
    store = open_events(path, scan_shape=(1, n_frames))
    np.testing.assert_array_equal(dense(store)[0], truth)
    assert store.metadata["bit_depth"] in (1, 6, 12, 24)
    assert store.metadata["software_version"]


@needs_shared
@pytest.mark.parametrize(("archive", "name"), [p for p in real_files() if "RAW" not in p.values[1]])
def test_real_files_equal_rosettasciio(archive, name, tmp_path):
    module = pytest.importorskip("rsciio.quantumdetector")
    path, n_frames = unpacked(archive, name, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = module.file_reader(str(path))[0]["data"]
    truth = data.reshape(n_frames, *data.shape[-2:])[:, ::-1]
    np.testing.assert_array_equal(dense(open_events(path, scan_shape=(1, n_frames)))[0], truth)


@needs_shared
def test_a_real_header_file_tells_the_scan(tmp_path):
    archive = SHARED / "real/merlin/Merlin_navigation4x2_signalNx256_ROI.zip"
    name = next(n for n in zipfile.ZipFile(archive).namelist() if "256x64" in n and "mib" in n)
    path, n_frames = unpacked(archive, name, tmp_path)
    assert n_frames == 8
    store = open_events(path)
    assert store.shape == (2, 4, 64, 256)
    assert store.metadata["chip_ids"] == "W559_G11"
    assert store.metadata["software_version"] == "1.5.0.197"
    assert store.metadata["exposure"] == (0.001, "s")
    assert store.metadata["thresholds"][0][:2] == (12.0, 511.0)
