"""Falcon files of all versions, whole and damaged, and what other packages read in them."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import eer_files
import numpy as np
import pytest
from eer_files import VERSIONS, Frame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from py4dstem_eer.bench import falcon as bench
from py4dstem_eer.errors import (
    CorruptFileError,
    EventError,
    EventWarning,
    FormatError,
    ParameterError,
)
from py4dstem_eer.readers import detect, falcon, falcon_container, falcon_source, open_events

SHARED = Path(os.environ.get("PY4DSTEM_EER_DATA", Path(__file__).parents[2] / "shared/data"))
FIXTURES = sorted((SHARED / "formats/eer").glob("*.eer"))
SCAN, SHAPE = (5, 7), (12, 9)


def to_dense(store):
    rows, columns = store.scan_shape
    patterns = [[store.pattern(i, j) for j in range(columns)] for i in range(rows)]
    return np.array(patterns, np.int64).reshape(store.shape)


def finest(version):
    return min(VERSIONS[version][2:4])


def truth_at(frames, superres, version="v1", scan=SCAN, shape=SHAPE):
    return eer_files.dense(frames, shape, version, superres).reshape(
        *scan, shape[0] << superres, shape[1] << superres
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.eer"


# whole files


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", [{}, {"n_strips": 3}, {"final_image": True, "n_strips": 2}])
def test_all_versions_at_every_resolution(path, version, how):
    frames, _ = eer_files.make(path, version, seed=1, **how)
    for superres in range(finest(version) + 1):
        store = open_events(path, scan_shape=SCAN, superres=superres)
        store.validate()
        np.testing.assert_array_equal(to_dense(store), truth_at(frames, superres, version))
        assert store.n_events == sum(len(frame.flat) for frame in frames)
    metadata = store.metadata
    compression, skip, horizontal, vertical, waste = VERSIONS[version]
    assert metadata["version"] == compression
    assert metadata["has_final_image"] == ("final_image" in how)
    bits = [metadata[name] for name in ("skip_bits", "horizontal_bits", "vertical_bits")]
    assert bits == [skip, horizontal, vertical]
    if compression == 65000:
        # full frames and frames with few electrons tell
        assert metadata["variant"] in ("with waste" if waste else "without waste", "either")
    with pytest.raises(ParameterError, match=f"has {finest(version)} bits of position"):
        open_events(path, scan_shape=SCAN, superres=finest(version) + 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_long_gaps(path, version):
    """Gaps around one, two and many numbers without electron, and a rest that is one exactly."""
    largest = 2 ** VERSIONS[version][1] - 1
    gaps = [k * largest + d for k in (0, 1, 2, 7, 8, 9) for d in (-1, 0, 1, 7, 15)][1:]
    flat = np.cumsum(np.array(gaps) + 1) - 1
    frames = []
    for rest in (largest - 1, largest, largest + 1, 20 * largest):
        n_pixels = int(flat[-1]) + 1 + rest
        zeros = np.zeros(len(flat), int)
        frames = [Frame(flat, zeros, zeros), Frame(flat[:0], zeros[:0], zeros[:0])] * 2
        eer_files.write_frames(path, frames, (1, n_pixels), version)
        for superres in (0, finest(version)):
            store = open_events(path, scan_shape=(2, 2), superres=superres)
            truth = truth_at(frames, superres, version, (2, 2), (1, n_pixels))
            np.testing.assert_array_equal(to_dense(store), truth)
    if VERSIONS[version][0] == 65000:
        assert store.metadata["variant"] == ("with" if "waste" in version else "without") + " waste"


@pytest.mark.parametrize("superres", [0, 1, 2])
def test_rows_full_of_electrons(path, superres):
    """Rows of more electrons than are put in order one by one."""
    frames, _ = eer_files.make(path, seed=2, scan=(2, 2), shape=(3, 200), mean=400)
    store = open_events(path, scan_shape=(2, 2), superres=superres)
    truth = truth_at(frames, superres, scan=(2, 2), shape=(3, 200))
    np.testing.assert_array_equal(to_dense(store), truth)


def test_bytes_of_the_specification(path):
    """The electrons that imagecodecs' own tests expect of these bytes; they lack an end."""
    bits = int.from_bytes(bytes.fromhex("031bfcb135fb"), "little") & (2**43 - 1)
    bits |= (320 - 312) << 43
    page = eer_files.frame_page(bits.to_bytes(8, "little"), (20, 16), "v2_7_1_1")
    eer_files.write_pages(path, [page])
    store = open_events(path, scan_shape=(1, 1))
    np.testing.assert_array_equal(store.indices, [3, 17, 233, 311])
    store = open_events(path, scan_shape=(1, 1), superres=1)
    assert [divmod(k, 32) for k in store.indices] == [(0, 7), (3, 3), (29, 18), (39, 14)]


@pytest.mark.skipif(not FIXTURES, reason=f"no fixtures in {SHARED}")
@pytest.mark.parametrize("path", FIXTURES, ids=lambda p: p.stem)
@pytest.mark.parametrize("superres", [0, 1, 2])
def test_fixtures(path, superres):
    truth = np.load(path.with_name(path.stem + "_truth.npz"))
    n, rows, columns = truth["shape"]
    _, horizontal, vertical = truth["bits"]
    if superres > min(horizontal, vertical):
        pytest.skip("the file has no more bits")
    store = open_events(path, scan_shape=(3, 4), superres=superres)
    store.validate()
    frame = np.repeat(np.arange(n), np.diff(truth["indptr"]))
    row, column = truth["flat"] // columns, truth["flat"] % columns
    row = row * 2**superres + truth["suby"] * 2**superres // 2**vertical
    column = column * 2**superres + truth["subx"] * 2**superres // 2**horizontal
    expected = np.zeros((n, rows << superres, columns << superres), int)
    expected[frame, row, column] = 1
    np.testing.assert_array_equal(to_dense(store).reshape(expected.shape), expected)
    assert store.metadata["has_final_image"] == ("final_image" in path.stem)
    assert store.metadata["acquisition"]["exposureTime"] == (0.05, "s")
    if "65000" in path.stem:
        variant = "without waste" if "nowaste" in path.stem else "with waste"
        assert store.metadata["variant"] == variant


@pytest.mark.parametrize("version", ["v0", "v1", "v2_7_1_1", "v2_8_2_2"])
@pytest.mark.parametrize("superres", [0, 1, 2])
def test_tifffile_and_imagecodecs_read_the_same(path, version, superres):
    tifffile = pytest.importorskip("tifffile", minversion="2025.10.16")  # the first with superres
    pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    if superres > finest(version):
        pytest.skip("the file has no more bits")
    eer_files.make(path, version, seed=3, shape=(40, 24), mean=60, final_image=True)
    with tifffile.TiffFile(path, superres=superres) as file:
        assert file.is_eer
        theirs = np.array([page.asarray() for page in file.pages[1:]])
    ours = to_dense(open_events(path, scan_shape=SCAN, superres=superres))
    np.testing.assert_array_equal(ours.reshape(theirs.shape), theirs)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    version=st.sampled_from(list(VERSIONS)),
    scan=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    mean=st.integers(0, 100),
    n_strips=st.integers(1, 4),
    gap=st.integers(0, 9),
    strip_kind=st.sampled_from([eer_files.LONG, eer_files.LONG8]),
    final_image=st.booleans(),
    seed=st.integers(0, 2**16),
    data=st.data(),
)
def test_any_file(tmp_path, version, scan, shape, mean, seed, data, **how):
    path = tmp_path / "any.eer"
    frames, _ = eer_files.make(path, version, seed, scan, shape, mean, **how)
    superres = data.draw(st.integers(0, finest(version)))
    store = open_events(path, scan_shape=scan, superres=superres)
    truth = truth_at(frames, superres, version, scan, shape)
    np.testing.assert_array_equal(to_dense(store), truth)
    streamed = open_events(path, scan_shape=scan, superres=superres, mem="MEMMAP")
    for row in range(scan[0]):
        np.testing.assert_array_equal(to_dense(streamed.read_rows(row, row + 1))[0], truth[row])
    assert streamed.n_events == truth.sum()
    assert streamed.count_dtype == store.count_dtype


def test_blocks_smaller_than_a_row(path, monkeypatch):
    monkeypatch.setattr(falcon_source, "_BYTES_PER_READ", 100)
    _, truth = eer_files.make(path, seed=4)
    np.testing.assert_array_equal(to_dense(open_events(path, scan_shape=SCAN)), truth)
    part = open_events(path, scan_shape=SCAN, mem="MEMMAP").read_rows(1, 3)
    np.testing.assert_array_equal(to_dense(part), truth[1:3])


def test_a_bad_frame_in_a_later_block(path, monkeypatch):
    monkeypatch.setattr(falcon_source, "_BYTES_PER_READ", 100)
    good = eer_files.encode(Frame(*np.full((3, 1), 2)), SHAPE, "v1")
    write_streams(path, [good] * 30 + [b"\xff" * 8] + [good] * 4)
    with pytest.raises(CorruptFileError, match="frame 30 of 35"):
        open_events(path, scan_shape=SCAN)
    assert skipping(path).n_events == 34


# options


@pytest.mark.parametrize("superres", [0, 2])
def test_frames_of_a_position_are_summed(path, superres):
    frames, truth = eer_files.make(path, seed=5, per_position=4, mean=40)
    options = {"scan_shape": SCAN, "frames_per_position": 4, "superres": superres}
    store = open_events(path, **options)
    fine = eer_files.dense(frames, SHAPE, "v1", superres).reshape(*SCAN, 4, *store.shape[2:])
    np.testing.assert_array_equal(to_dense(store), fine.sum(axis=2))
    assert superres > 0 or store.counts.max() > 1
    assert superres > 0 or (to_dense(store) == truth).all()
    dropped = open_events(path, **options, keep_flyback=False, mem="MEMMAP")
    np.testing.assert_array_equal(to_dense(dropped.load()), fine.sum(axis=2)[:, :-1])
    np.testing.assert_array_equal(to_dense(dropped.read_rows(2, 3)), fine.sum(axis=2)[2:3, :-1])


def test_frames_skipped_and_flyback(path):
    frames, _ = eer_files.make(path, seed=6)
    store = open_events(path, scan_shape=(4, 8), skip_frames=3)
    truth = eer_files.dense(frames, SHAPE, "v1")[3:].reshape(4, 8, *SHAPE)
    np.testing.assert_array_equal(to_dense(store), truth)
    kept = open_events(path, scan_shape=(4, 8), skip_frames=3, keep_flyback=False)
    np.testing.assert_array_equal(to_dense(kept), truth[:, :-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {},
            r"holds 35 frames .* scan_shape=.* for example \(5, 7\), or \(5, 5\) and skip_fr.*=10",
        ),
        ({"scan_shape": (5, 8)}, "35 frames do not fill .* takes 40; 5 are missing"),
        (
            {"scan_shape": (5, 6)},
            r"5 are too many: .* skip_frames=5; .* errors=.skip. leaves them out",
        ),
        ({"scan_shape": (5, 1)}, "frames_per_position=7 would fit"),
        ({"scan_shape": SCAN, "frames_per_position": 2}, "takes 70"),
        ({"scan_shape": SCAN, "skip_frames": 1}, "34 frames after skipping 1 do not fill"),
        ({"scan_shape": SCAN, "skip_frames": 35}, "0 frames after skipping 35 do not fill"),
        ({"scan_shape": SCAN, "skip_frames": 36}, "35 frames, skip_frames=36; give less"),
        ({"scan_shape": (35, 1), "keep_flyback": False}, "no other"),
        ({"scan_shape": SCAN, "superres": 3}, "superres is 3, .* has 2 bits .*; give 0 to 2"),
        ({"scan_shape": SCAN, "dwell_time": 1.0}, "means nothing for falcon"),
        ({"scan_shape": SCAN, "defects": 3}, "defects is 3"),
        ({"scan_shape": SCAN, "defects": np.ones((3, 4))}, r"image \(3, 4\) .* has \(12, 9\)"),
        ({"scan_shape": SCAN, "defects": np.zeros(SHAPE)}, "every pixel is a defect"),
        ({"scan_shape": SCAN, "defects": np.full(SHAPE, "x")}, "give booleans or numbers"),
    ],
)
def test_wrong_options(path, options, message):
    eer_files.make(path, seed=7)
    with pytest.raises(ParameterError, match=message):
        open_events(path, **options)


def test_the_way_out_that_the_error_names(path):
    frames, _ = eer_files.make(path, seed=7)
    with pytest.warns(EventWarning, match=r"5 frames after those of a scan of \(5, 6\)"):
        store = open_events(path, scan_shape=(5, 6), errors="skip")
    truth = eer_files.dense(frames, SHAPE, "v1")[:30].reshape(5, 6, *SHAPE)
    np.testing.assert_array_equal(to_dense(store), truth)


def defect_images(tmp_path, mask):
    """Yield the same defects in all forms."""
    gain = np.where(mask, 0, 1.25).astype(np.float32)
    yield mask
    yield gain
    yield np.where(mask, np.nan, gain)
    np.save(tmp_path / "mask.npy", mask)
    yield tmp_path / "mask.npy"
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    tifffile.imwrite(tmp_path / "reference.gain", gain)
    yield str(tmp_path / "reference.gain")


@pytest.mark.parametrize("superres", [0, 2])
def test_electrons_on_defects_are_dropped(path, tmp_path, superres):
    frames, _ = eer_files.make(path, seed=8, mean=30)
    mask = np.random.default_rng(1).random(SHAPE) < 0.2
    truth = truth_at(frames, superres)
    fine = np.kron(mask, np.ones((2**superres,) * 2, bool))
    expected = np.where(fine, 0, truth)
    assert 0 < expected.sum() < truth.sum()
    for defects in defect_images(tmp_path, mask):
        store = open_events(path, scan_shape=SCAN, superres=superres, defects=defects)
        np.testing.assert_array_equal(to_dense(store), expected)
        assert store.metadata["defects"] == mask.sum()
    none = open_events(path, scan_shape=SCAN, superres=superres, defects=np.ones(SHAPE))
    np.testing.assert_array_equal(to_dense(none), truth)


def test_files_of_defects_that_are_none(path, tmp_path):
    eer_files.make(path, seed=8)
    with pytest.raises(FileNotFoundError, match=r"absent\.npy"):
        open_events(path, scan_shape=SCAN, defects=tmp_path / "absent.npy")
    for content, message in [
        (b"words", "give .npy or TIFF"),
        (b"\x93NUMPY\x01", "is damaged"),
        (b"II*\0\x08\0\0\0", "is damaged"),
    ]:
        (tmp_path / "bad.npy").write_bytes(content)
        with pytest.raises(FormatError, match=f"bad.npy.*{message}"):
            open_events(path, scan_shape=SCAN, defects=tmp_path / "bad.npy")


def test_images_of_defects_are_not_read_before_their_size_is_known(path, tmp_path):
    eer_files.make(path, seed=8)
    with (tmp_path / "huge.npy").open("wb") as file:
        header = {"descr": "|b1", "fortran_order": False, "shape": (10**6, 10**7)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(FormatError, match=r"huge\.npy .* is damaged"):
        open_events(path, scan_shape=SCAN, defects=tmp_path / "huge.npy")
    tifffile = pytest.importorskip("tifffile")
    for name, write in (("other.npy", np.save), ("other.tif", tifffile.imwrite)):
        write(tmp_path / name, np.zeros((9, 9), np.uint8))
        with pytest.raises(ParameterError, match=r"image \(9, 9\) of uint8; the sensor has"):
            open_events(path, scan_shape=SCAN, defects=tmp_path / name)


def test_a_lack_of_memory_is_none_of_the_file(path, tmp_path, monkeypatch):
    def short_of_memory(path, shape):
        raise MemoryError

    eer_files.make(path, seed=8)
    np.save(tmp_path / "mask.npy", np.zeros(SHAPE, bool))
    monkeypatch.setattr("py4dstem_eer.readers.defects._read_npy", short_of_memory)
    with pytest.raises(MemoryError):
        open_events(path, scan_shape=SCAN, defects=tmp_path / "mask.npy")


def test_without_tifffile_only_tiff_images_are_missed(path, tmp_path, monkeypatch):
    _, truth = eer_files.make(path, seed=8)
    (tmp_path / "gain.tif").write_bytes(b"II*\0" + bytes(100))
    for package in ("tifffile", "imagecodecs"):
        monkeypatch.setitem(sys.modules, package, None)
    np.testing.assert_array_equal(to_dense(open_events(path, scan_shape=SCAN)), truth)
    with pytest.raises(ImportError, match=r'pip install "py4dstem-eer\[formats\]"'):
        open_events(path, scan_shape=SCAN, defects=tmp_path / "gain.tif")


# metadata


def test_metadata(path):
    eer_files.make(path, seed=9, final_image=True)
    metadata = open_events(path, scan_shape=SCAN, superres=1).metadata
    assert metadata["format"] == "falcon"
    assert metadata["superres"] == 1
    assert metadata["acquisition"] == {
        "acquisitionID": "A-007",
        "exposureTime": (2.5, "s"),
        "meanDoseRate": (0.75, "e/pixel/s"),
        "numberOfFrames": 35,
        "cameraName": "EF-Falcon",
        "serialNumber": "0042",
        "sensorPixelSize.width": (1e-10, "m"),
        "timestamp": "2026-01-02T03:04:05+00:00",
    }
    assert metadata["first_frame"] == {"frameID": 0}
    assert metadata["final_image"] == {"binning": 1}


def write_texts(path, texts):
    frame = Frame(*np.zeros((3, 1), int))
    stream = eer_files.encode(frame, SHAPE, "v1")
    page = eer_files.frame_page(stream, SHAPE, "v1", texts=texts)
    eer_files.write_pages(path, [page])
    return page


BOMB = '<!DOCTYPE m [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><m><item name="x">&b;</item></m>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "document type"),
        ('<!DOCTYPE m SYSTEM "file:///etc/passwd"><metadata/>', "document type"),
        ("<metadata><item", "damaged"),
        ("no metadata", "damaged"),
        ("<metadata>&b;</metadata>", "damaged"),
        ('<?xml version="1.0" encoding="no-such"?><m/>', "damaged"),
    ],
)
def test_damaged_metadata(path, text, message):
    write_texts(path, {65001: text})
    with pytest.raises(CorruptFileError, match=f"events.eer, acquisition.*{message}"):
        open_events(path, scan_shape=(1, 1))
    with pytest.warns(EventWarning, match="metadata are lost"):
        store = open_events(path, scan_shape=(1, 1), errors="skip")
    assert store.n_events == 1
    assert "acquisition" not in store.metadata


def test_values_that_are_no_numbers_stay_texts(path):
    items = ["1e999", "nan", "12345678901234567890", "007", " 3 ", "", "2.50", "-4", "1_0"]
    text = "".join(f'<item name="i{k}">{value}</item>' for k, value in enumerate(items))
    write_texts(path, {65001: f"<m>{text}<item>unnamed</item><other>5</other></m>"})
    found = open_events(path, scan_shape=(1, 1)).metadata["acquisition"]
    values = ["1e999", "nan", "12345678901234567890", "007", 3, "", 2.5, -4, "1_0"]
    assert found == {f"i{k}": value for k, value in enumerate(values)}


def test_no_metadata_at_all(path):
    write_texts(path, {})
    metadata = open_events(path, scan_shape=(1, 1)).metadata
    assert "acquisition" not in metadata


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (struct.pack("<HHQQ", 65001, 7, 100, 2**40), "beyond the end"),
        (struct.pack("<HHQQ", 65001, 7, 2**40, 16), "should be a text"),
        (struct.pack("<HHQQ", 65001, 16, 4, 16), "should be a text"),
    ],
)
def test_metadata_outside_the_file(path, entry, message):
    write_texts(path, {65001: "<metadata></metadata>"})
    replace_entry(path, 0, 65001, entry)
    with pytest.raises(CorruptFileError, match=message):
        open_events(path, scan_shape=(1, 1))
    with pytest.warns(EventWarning, match="metadata are lost"):
        open_events(path, scan_shape=(1, 1), errors="skip")


# damage


def tables(data):
    """Return where the table of every page begins."""
    found, (at,) = [], struct.unpack_from("<Q", data, 8)
    while at:
        found.append(at)
        (n,) = struct.unpack_from("<Q", data, at)
        (at,) = struct.unpack_from("<Q", data, at + 8 + 20 * n)
    return found


def places(data, page, tag):
    """Return where in a page's table a tag is."""
    at = tables(data)[page]
    (n,) = struct.unpack_from("<Q", data, at)
    entries = range(at + 8, at + 8 + 20 * n, 20)
    return [place for place in entries if struct.unpack_from("<H", data, place)[0] == tag]


def entry_of(data, page, tag):
    (place,) = places(data, page, tag)
    return data[place : place + 20]


def replace_entry(path, page, tag, entry):
    """Overwrite an entry of a page's table; None makes it one that means nothing."""
    data = bytearray(path.read_bytes())
    for place in places(data, page, tag):
        data[place : place + 20] = entry or struct.pack("<HHQQ", 60000, 3, 1, 0)
    path.write_bytes(data)


def number_entry(tag, value, kind=16, count=1):
    return struct.pack("<HHQQ", tag, kind, count, value)


def skipping(path, **options):
    with pytest.warns(EventWarning, match="cannot be read and were dropped"):
        return open_events(path, scan_shape=SCAN, errors="skip", **options)


@pytest.mark.parametrize(
    ("tag", "entry", "message"),
    [
        (273, None, "does not say where its data are"),
        (279, None, "does not say where its data are"),
        (273, number_entry(273, 16, kind=5), "beyond the end of the file"),
        (273, number_entry(273, 16, count=2), "does not say where"),
        (279, number_entry(279, 2**40), "beyond the end of the file"),
        (279, number_entry(279, 2**63 + 5), "beyond the end of the file"),
        (273, number_entry(273, 2**64 - 8), "beyond the end of the file"),
        (279, number_entry(279, 0), "too short"),
        (256, number_entry(256, 10), "not that of the other frames"),
        (256, None, "not that of the other frames"),
        (259, number_entry(259, 65002), "not that of the other frames"),
        (259, number_entry(259, 1), "not that of the other frames"),
    ],
)
def test_a_bad_page_names_its_frame(path, tag, entry, message):
    _, truth = eer_files.make(path, seed=10)
    replace_entry(path, 17, tag, entry)
    with pytest.raises(CorruptFileError, match=f"events.eer, frame 17 of 35: .*{message}"):
        open_events(path, scan_shape=SCAN, mem="MEMMAP")
    store = skipping(path)
    assert store.metadata["skipped_frames"] == 1
    truth.reshape(35, *SHAPE)[17] = 0
    np.testing.assert_array_equal(to_dense(store), truth)


@pytest.mark.parametrize("value", [2**64 - 8, 2**40])
def test_a_bad_strip_among_several_names_its_frame(path, value):
    _, truth = eer_files.make(path, seed=10, n_strips=3)
    data = bytearray(path.read_bytes())
    (at,) = struct.unpack_from("<Q", entry_of(data, 17, 273), 12)
    struct.pack_into("<Q", data, at + 8, value)
    path.write_bytes(data)
    with pytest.raises(CorruptFileError, match=r"frame 17 of 35: .*beyond the end of the file"):
        open_events(path, scan_shape=SCAN, mem="MEMMAP")
    truth.reshape(35, *SHAPE)[17] = 0
    np.testing.assert_array_equal(to_dense(skipping(path)), truth)


def write_streams(path, streams, version="v1"):
    eer_files.write_pages(path, [eer_files.frame_page(s, SHAPE, version) for s in streams])


def bad_streams():
    frame = Frame(np.array([5, 100]), np.array([0, 0]), np.array([0, 0]))
    stream = eer_files.encode(frame, SHAPE, "v1", multiple=1)
    yield "no end", eer_files.encode(frame, SHAPE, "v1", end=False, multiple=1), "breaks off"
    yield "cut off", stream[:3], "breaks off"
    last = Frame(np.array([107]), np.array([0]), np.array([0]))
    stream = eer_files.encode(last, SHAPE, "v1", end=False, multiple=1)
    yield "no room for the end", stream, "breaks off"
    yield "other pixels", eer_files.encode(frame, (12, 10), "v1"), "past the last"
    bits = eer_files.Bits()
    bits.put(107, 7)
    bits.put(0, 4)
    bits.put(127, 7)
    bits.put(0, 30)
    yield "goes on after the last pixel", bits.packed(8), "past the last"


@pytest.mark.parametrize(
    ("stream", "message"), [case[1:] for case in bad_streams()], ids=[c[0] for c in bad_streams()]
)
@pytest.mark.parametrize("n_strips", [1, 2])
def test_a_bad_stream_names_its_frame(path, stream, message, n_strips):
    good = eer_files.encode(Frame(*np.full((3, 1), 2)), SHAPE, "v1")
    streams = [good] * 35
    streams[9] = stream
    pages = [eer_files.frame_page(s, SHAPE, "v1", n_strips) for s in streams]
    eer_files.write_pages(path, pages)
    with pytest.raises(CorruptFileError, match=f"events.eer, frame 9 of 35: .*({message})"):
        open_events(path, scan_shape=SCAN)
    streamed = open_events(path, scan_shape=SCAN, mem="MEMMAP")
    assert streamed.read_rows(0, 1).n_events == 7
    with pytest.raises(CorruptFileError, match="frame 9 of 35"):
        streamed.read_rows(1, 2)
    store = skipping(path, mem="MEMMAP")
    assert store.n_events == 34  # known without reading again
    np.testing.assert_array_equal(np.flatnonzero(np.diff(store.indptr) == 0), [9])


def test_bad_frames_of_a_position_leave_the_others(path):
    good = eer_files.encode(Frame(*np.full((3, 1), 2)), SHAPE, "v1")
    write_streams(path, [good, good, b"\xff" * 8, good])
    with pytest.warns(EventWarning, match="1 frames cannot be read"):
        store = open_events(path, scan_shape=(1, 2), frames_per_position=2, errors="skip")
    np.testing.assert_array_equal(to_dense(store).sum(axis=(2, 3)), [[2, 1]])


def test_bad_frames_that_are_not_used_do_not_matter(path):
    good = eer_files.encode(Frame(*np.full((3, 1), 2)), SHAPE, "v1")
    write_streams(path, [b"\xff" * 8, good, b"", good, b""])
    store = open_events(path, scan_shape=(2, 2), skip_frames=1, keep_flyback=False)
    assert store.n_events == 2


@pytest.mark.parametrize("errors", ["raise", "skip"])
@pytest.mark.parametrize("version", ["v0", "v0_waste"])
def test_the_variant_of_a_prototype_is_that_of_most_frames(path, version, errors):
    shape = (40, 40)
    frames, _ = eer_files.make(path, version, seed=11, shape=shape, mean=3)
    streams = [eer_files.encode(frame, shape, version) for frame in frames]
    streams[:9] = [b"\xff" * 300] * 9
    pages = [eer_files.frame_page(s, shape, version) for s in streams]
    eer_files.write_pages(path, pages)
    if errors == "raise":
        with pytest.raises(CorruptFileError, match="frame 0 of 35"):
            open_events(path, scan_shape=SCAN)
        return
    store = skipping(path)
    expected = eer_files.dense(frames, shape, version)
    expected[:9] = 0
    np.testing.assert_array_equal(to_dense(store).reshape(expected.shape), expected)


def test_a_prototype_without_long_gaps(path):
    _, truth = eer_files.make(path, "v0_waste", seed=11, shape=(2, 3))
    store = open_events(path, scan_shape=SCAN)
    assert store.metadata["variant"] == "either"
    np.testing.assert_array_equal(to_dense(store), truth)


def test_truncated_file_keeps_its_first_frames(path):
    _, truth = eer_files.make(path, seed=12)
    starts = tables(path.read_bytes())
    os.truncate(path, starts[20] + 30)
    with pytest.raises(CorruptFileError, match="from frame 20 on nothing can be read"):
        open_events(path, scan_shape=SCAN)
    store = skipping(path)
    assert store.metadata["skipped_frames"] == 15
    truth.reshape(35, *SHAPE)[20:] = 0
    np.testing.assert_array_equal(to_dense(store), truth)
    with pytest.warns(EventWarning):
        streamed = open_events(path, scan_shape=SCAN, errors="skip", mem="MEMMAP")
    per_pattern = truth.reshape(35, -1).sum(axis=1)
    np.testing.assert_array_equal(streamed.events_per_pattern(), per_pattern)
    with pytest.warns(EventWarning, match="11 frames after those") as caught:
        store = open_events(path, scan_shape=(3, 3), errors="skip")
    assert len(caught) == 1
    assert store.metadata["skipped_frames"] == 0
    np.testing.assert_array_equal(to_dense(store).reshape(9, *SHAPE), truth.reshape(35, *SHAPE)[:9])


def test_pages_in_a_ring(path):
    _, truth = eer_files.make(path, seed=13)
    data = bytearray(path.read_bytes())
    starts = tables(data)
    (n,) = struct.unpack_from("<Q", data, starts[34])
    struct.pack_into("<Q", data, starts[34] + 8 + 20 * n, starts[3])
    path.write_bytes(data)
    with pytest.raises(CorruptFileError, match="that of another page"):
        open_events(path, scan_shape=SCAN)
    store = open_events(path, scan_shape=SCAN, errors="skip")
    np.testing.assert_array_equal(to_dense(store), truth)


def test_tables_that_overlap(path):
    """A hundred tables of a hundred entries each in a file that has room for two."""
    data = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) + bytes(3700))
    for k in range(100):
        at = 16 + 16 * k
        struct.pack_into("<Q", data, at, 100)
        struct.pack_into("<Q", data, at + 8 + 2000, at + 16)
    path.write_bytes(data)
    pages = falcon_container.read_pages(path)
    assert "that of another page" in pages.cut
    assert len(pages.numbers) == 1
    with pytest.raises(FormatError, match="holds no electron events"):
        open_events(path, scan_shape=SCAN)


@pytest.mark.parametrize("n_tags", [0, 5000, 2**63])
def test_impossible_tables(path, n_tags):
    eer_files.make(path, seed=14)
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, tables(data)[30], n_tags)
    path.write_bytes(data + bytes(200000))
    with pytest.raises(CorruptFileError, match="from frame 30 on"):
        open_events(path, scan_shape=SCAN)
    assert skipping(path).metadata["skipped_frames"] == 5


def test_more_data_promised_than_the_file_holds(path):
    """Every page owns the whole file: none is outside, and all together are too many."""
    eer_files.make(path, seed=15)
    size = path.stat().st_size
    for page in range(35):
        replace_entry(path, page, 273, number_entry(273, 0))
        replace_entry(path, page, 279, number_entry(279, size))
    for errors in ("raise", "skip"):
        with pytest.raises(CorruptFileError, match=f"promise {35 * size} bytes"):
            open_events(path, scan_shape=SCAN, errors=errors)


def test_lists_of_strips_that_are_all_the_same(path):
    """Long lists of empty strips in the same place of many pages."""
    eer_files.make(path, seed=15, n_strips=3)
    size = path.stat().st_size // 16
    for page in range(35):
        for tag in (273, 279):
            replace_entry(path, page, tag, number_entry(tag, 0, count=size))
    with pytest.raises(CorruptFileError, match="frame"):
        open_events(path, scan_shape=SCAN)
    pages = falcon_container.read_pages(path)
    assert pages.strip_ptr[-1] * 16 <= 2 * path.stat().st_size


@pytest.mark.parametrize(
    ("version", "tag", "value", "message"),
    [
        ("v1", 256, 0, "impossible shape"),
        ("v1", 257, 2**40, "impossible shape"),
        ("v2_7_1_1", 65007, 20, "codes of 20 bits"),
        ("v2_7_1_1", 65008, 0, "7 bits to skip pixels and 0, 1 bits"),
        ("v2_7_1_1", 65009, 9, "impossible"),
    ],
)
def test_impossible_frames(path, version, tag, value, message):
    eer_files.make(path, version, seed=16, scan=(1, 2))
    for page in range(2):
        replace_entry(path, page, tag, number_entry(tag, value))
    with pytest.raises(CorruptFileError, match=f"events.eer, frame 0: .*{message}"):
        open_events(path, scan_shape=(1, 2))


def test_frames_too_large_for_their_data(path):
    eer_files.make(path, seed=16, scan=(1, 2))
    for page in range(2):
        replace_entry(path, page, 257, number_entry(257, 2**20))
    with pytest.raises(CorruptFileError, match="frame 0 of 2: its data are too short"):
        open_events(path, scan_shape=(1, 2), mem="MEMMAP")


def test_bits_that_are_not_given_have_their_usual_number(path):
    _, truth = eer_files.make(path, "v2_7_2_2", seed=17)
    for page in range(35):
        for tag in (65007, 65008, 65009):
            replace_entry(path, page, tag, None)
    np.testing.assert_array_equal(to_dense(open_events(path, scan_shape=SCAN)), truth)


# what is no Falcon file


def test_other_tiff_files_are_not_recognised(path):
    image = np.arange(12.0).reshape(3, 4)
    eer_files.write_pages(path.with_suffix(".tif"), [eer_files.image_page(image)] * 3)
    assert detect(path.with_suffix(".tif")) is None
    with pytest.raises(FormatError, match="3 pages have compression 1, those of Falcon"):
        open_events(path.with_suffix(".tif"), "falcon", scan_shape=(1, 3))
    path.write_bytes(b"II*\0" + bytes(100))
    assert not falcon.recognises(path)
    assert detect(path) == "falcon"  # by its extension
    with pytest.raises(FormatError, match="starts with b'II"):
        open_events(path, scan_shape=(1, 1))


@pytest.mark.parametrize("first_page", [0, 16, 100, 2**40, 2**64 - 1])
def test_headers_alone(path, first_page):
    path.write_bytes(struct.pack("<2sHHHQ", b"II", 43, 8, 0, first_page) + bytes(20))
    assert not falcon.recognises(path)
    for errors in ("raise", "skip"):
        with pytest.raises(CorruptFileError, match="from frame 0 on"):
            open_events(path, scan_shape=(1, 1), errors=errors)


def test_changed_and_deleted_files(path):
    eer_files.make(path, seed=18)
    store = open_events(path, scan_shape=SCAN, mem="MEMMAP")
    store.read_rows(0, 1)
    os.utime(path, ns=(1, 1))
    with pytest.raises(CorruptFileError, match="has changed since it was opened"):
        store.load()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="deleted or moved"):
        store.load()


def test_file_that_becomes_shorter_while_it_is_read(path, monkeypatch):
    eer_files.make(path, seed=18)
    store = open_events(path, scan_shape=SCAN, mem="MEMMAP")
    os.truncate(path, 100)
    monkeypatch.setattr(falcon_source, "check_unchanged", lambda path, stamp: None)
    with pytest.raises(CorruptFileError, match="became shorter"):
        store.load()


@pytest.mark.filterwarnings("ignore::py4dstem_eer.errors.EventWarning")
def test_every_single_byte_may_be_wrong(path):
    """Whatever byte is damaged, the outcome is a valid read or an error of ours."""
    eer_files.make(path, "v2_7_1_1", seed=19, scan=(1, 3), shape=(5, 4), n_strips=2)
    whole = path.read_bytes()
    outcomes = set()
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        for errors in ("raise", "skip"):
            try:
                open_events(path, "falcon", scan_shape=(1, 3), errors=errors).validate()
                outcomes.add("read")
            except EventError as error:
                outcomes.add(type(error).__name__)
    assert {"read", "CorruptFileError", "FormatError"} <= outcomes


def test_the_benchmark_measures_what_is_right(path, monkeypatch):
    monkeypatch.setattr(bench, "_SIDE", 200)
    monkeypatch.setattr(bench, "_ELECTRONS", 500)
    frame = bench._encode(np.random.default_rng(3))
    flat = np.unique(np.random.default_rng(3).integers(0, 200**2, 500))
    bench._write(path, [frame.stream] * 6, 200)
    store = open_events(path, scan_shape=(2, 3))
    np.testing.assert_array_equal(store.indices, np.tile(flat, 6))
    rows = list(bench.rows(full=False))
    assert all(row.ours > 0 for row in rows)
    assert rows[0].floor > 0
