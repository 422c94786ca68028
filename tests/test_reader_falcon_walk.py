"""The chain of a Falcon file's pages, in any order and of any length, beside a slow walk."""

from __future__ import annotations

import os
import struct

import eer_files
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from py4dstem_eer import summary
from py4dstem_eer.bench import falcon as bench
from py4dstem_eer.errors import CorruptFileError, MissingOptionError
from py4dstem_eer.readers import falcon, falcon_container, falcon_walk, open_events
from py4dstem_eer.report import describe
from py4dstem_eer.streams import loaded

SHAPE = (6, 5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.eer"


def tables(data):
    """Return where the table of every page begins, up to one that comes again."""
    found, (at,) = [], struct.unpack_from("<Q", data, 8)
    while at and at not in found:
        found.append(at)
        at = struct.unpack_from("<Q", data, link_of(data, at))[0]
    return found


def link_of(data, at):
    (n,) = struct.unpack_from("<Q", data, at)
    return at + 8 + 20 * n


def relink(data, order, after):
    """Make pages follow one another in another order, and the last be followed by `after`."""
    starts = [tables(data)[k] for k in order]
    links = [8, *(link_of(data, at) for at in starts)]
    for link, at in zip(links, [*starts, after], strict=True):
        struct.pack_into("<Q", data, link, at)


def single_strips(data, starts):
    """Return width, offset and size of pages of one strip."""
    found = []
    for at in starts:
        entries = struct.iter_unpack("<HHQQ", data[at + 8 : link_of(data, at)])
        values = {tag: value for tag, _, _, value in entries}
        found.append([values[256], values[273], values[279]])
    return np.reshape(found, (-1, 3))


def widths_and_strips(pages):
    return np.stack([pages.column(256), pages.offsets, pages.sizes], axis=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A file of 40 pages, whose tables differ in length and whose widths are all different."""
    path = tmp_path_factory.mktemp("whole") / "events.eer"
    rng = np.random.default_rng(1)
    pages = []
    for k, frame in enumerate(eer_files.random_frames(rng, 40, SHAPE, "v1")):
        texts = {65001: "<m/>"} if k % 7 == 3 else {}
        page = eer_files.frame_page(eer_files.encode(frame, SHAPE, "v1"), SHAPE, "v1", texts=texts)
        page.tags[256] = (eer_files.LONG, [100 + k])
        pages.append(page)
    eer_files.write_pages(path, pages)
    return path.read_bytes()


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    order=st.permutations(range(40)) | st.just(list(range(40))) | st.just([39, *range(39)]),
    n_pages=st.integers(1, 40),
    again=st.none() | st.integers(0, 39),
    block=st.sampled_from([200, 1000, 2**18]),
    few=st.sampled_from([1, 3, 32]),
    batch=st.sampled_from([1, 7, 2**13]),
)
def test_pages_in_any_order(tmp_path, whole, order, n_pages, again, block, few, batch):
    data = bytearray(whole)
    starts = tables(data)
    after = 0 if again is None else starts[order[again % n_pages]]
    relink(data, order[:n_pages], after)
    path = tmp_path / "any.eer"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(falcon_walk, "_BLOCK", block)
        patch.setattr(falcon_walk, "_FEW", few)
        for module in (falcon_walk, falcon_container):
            patch.setattr(module, "PAGES_PER_BATCH", batch)
        pages = falcon_container.read_pages(path)
    expected = single_strips(data, [starts[k] for k in order[:n_pages]])
    np.testing.assert_array_equal(widths_and_strips(pages), expected)
    np.testing.assert_array_equal(pages.strip_ptr, np.arange(n_pages + 1))
    assert not pages.faults.any()
    said = f"the table of page {n_pages}, at byte {after}, is that of another page"
    assert pages.cut == ("" if again is None else said)


def no_python(self, room):
    raise AssertionError("tables that follow one another were read one by one")


@pytest.mark.parametrize("n_pages", [8191, 8192, 8193, 20000])
def test_many_pages_are_followed_in_blocks(path, monkeypatch, n_pages):
    bench._write(path, [struct.pack("<Q", 64)] * n_pages, 8)
    monkeypatch.setattr(falcon_walk.Chain, "_one_by_one", no_python)
    pages = falcon_container.read_pages(path)
    size = 16 + 20 * 10 + 8
    np.testing.assert_array_equal(pages.offsets, 40 + size * np.arange(1, n_pages + 1) - 8)
    assert pages.cut == ""


def test_tables_far_from_one_another(path, monkeypatch):
    """Blocks are tried now and then, not for every table."""
    n_blocks, in_block = [], falcon_walk.Chain._in_block

    def counted(self, room):
        n_blocks.append(room)
        return in_block(self, room)

    monkeypatch.setattr(falcon_walk, "_BLOCK", 2**12)
    monkeypatch.setattr(falcon_walk.Chain, "_in_block", counted)
    bench._write(path, [struct.pack("<Q", 64) + bytes(5000)] * 600, 8)
    pages = falcon_container.read_pages(path)
    np.testing.assert_array_equal(pages.sizes, np.full(600, 5008))
    assert len(n_blocks) < 5


@pytest.mark.parametrize("block", [2000, 2**18])
def test_a_file_that_becomes_shorter_while_its_pages_are_read(path, monkeypatch, block):
    """Whether tables are followed in blocks or one by one, what was read before is kept."""
    bench._write(path, [struct.pack("<Q", 64)] * 100, 8)
    chain = falcon_walk.Chain.__init__

    def truncated(self, file, file_bytes):
        chain(self, file, file_bytes)
        os.truncate(path, 10000)

    monkeypatch.setattr(falcon_walk, "_BLOCK", block)
    monkeypatch.setattr(falcon_walk.Chain, "__init__", truncated)
    with pytest.raises(CorruptFileError, match=f"{path} .*from frame 44 on nothing can be read"):
        open_events(path, "falcon", scan_shape=(10, 10))


def test_what_is_known_without_a_scan(path):
    eer_files.make(path, "v2_7_1_1", seed=2, shape=SHAPE)
    with pytest.raises(MissingOptionError) as raised:
        open_events(path, skip_frames=2, frames_per_position=2, keep_flyback=False)
    known = raised.value.facts
    opened = open_events(path, scan_shape=(16, 1), skip_frames=3, frames_per_position=2)
    assert known["version"] == opened.metadata["version"] == 65002
    assert known["frames"] == 35
    column = loaded(raised.value.in_one_column())
    assert column.metadata == opened.metadata
    np.testing.assert_array_equal(column.indices, opened.indices)
    np.testing.assert_array_equal(column.indptr, opened.indptr)
    with pytest.raises(MissingOptionError) as raised:
        open_events(path, skip_frames=35)
    assert raised.value.in_one_column is None


@pytest.mark.parametrize("options", [{}, {"scan_shape": (5, 7)}])
def test_info_walks_once_through_a_file(path, monkeypatch, options):
    eer_files.make(path, "v2_7_1_1", seed=2, shape=SHAPE)
    walks = []
    monkeypatch.setattr(
        falcon, "read_pages", lambda path: walks.append(path) or falcon_container.read_pages(path)
    )
    monkeypatch.setattr(summary, "_SMALL", 0)
    monkeypatch.setattr(summary, "_READ_BYTES", 1)  # so that a row is too large to be read
    assert ("5 x 7" if options else "unknown; 35 frames") in describe(path, **options)
    assert walks == [path]
