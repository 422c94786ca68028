"""Keys of Timepix3 events put in order and merged, and the memory that files are read into."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from py4dstem_eer.readers import tpx3_time
from py4dstem_eer.readers.read_buffer import ReadBuffer
from py4dstem_eer.readers.tpx3_gather import room_for_hits
from py4dstem_eer.readers.tpx3_order import Keys


def filled(parts, positions):
    """Return keys of parts [(position, pixel), ...] with room to spare, and lengths."""
    keys = Keys.with_room(np.array([len(part) + 3 for part in parts], np.int64))
    keys.keys[:] = 2**64 - 1
    lengths = np.zeros(positions, np.int64)
    for k, part in enumerate(parts):
        begin = keys.begins[k]
        for e, (position, pixel) in enumerate(part):
            keys.keys[begin + e] = position << 32 | pixel
            lengths[position] += 1
        keys.sizes[k] = len(part)
    return keys, lengths


@settings(max_examples=60, deadline=None)
@given(
    bits=st.integers(1, 26),
    seed=st.integers(0, 2**32),
    n_parts=st.integers(1, 4),
    per_part=st.sampled_from([0, 1, 5, 200]),
)
def test_events_are_in_order_and_merged(bits, seed, n_parts, per_part):
    rng = np.random.default_rng(seed)
    n_pixels = int(rng.integers(2 ** (bits - 1), 2**bits)) + 1
    few = min(n_pixels, 6) if seed % 2 else n_pixels  # so that pixels repeat
    parts = []
    for k in range(n_parts):
        positions = rng.integers(3 * k, 3 * k + 3, per_part).tolist()
        pixels = (n_pixels - 1 - rng.integers(0, few, per_part)).tolist()
        parts.append(list(zip(positions, pixels, strict=True)))
    keys, lengths = filled(parts, 3 * n_parts + 2)
    entries = keys.merged(lengths, n_pixels)
    out = np.full(int(lengths.sum()), 2**32 - 1, np.uint32)
    counts = entries.write(out)
    expected = sorted(Counter(event for part in parts for event in part).items())
    owners = np.repeat(np.arange(len(lengths)), lengths).tolist()
    assert list(zip(owners, out.tolist(), strict=True)) == [event for event, _ in expected]
    repeats = [n for _, n in expected]
    assert (counts is None) == (max(repeats, default=1) == 1)
    assert counts is None or counts.tolist() == repeats


@pytest.mark.parametrize(("repeats", "dtype"), [(255, np.uint8), (256, np.uint16)])
def test_counts_fit_their_dtype(repeats, dtype):
    keys, lengths = filled([[(0, 5)] * repeats], 1)
    counts = keys.merged(lengths, 9).write(np.empty(1, np.uint16))
    assert (counts.tolist(), counts.dtype, lengths.tolist()) == ([repeats], dtype, [1])


def test_room_is_that_of_all_blocks_that_overlap():
    blocks = np.zeros((3, tpx3_time.BLOCK_COLUMNS), np.int64)
    blocks[:, tpx3_time.B_FIRST], blocks[:, tpx3_time.B_LAST] = [0, 10, 20], [9, 25, 29]
    blocks[:, tpx3_time.B_WORDS] = [1, 10, 100]
    bounds = np.array([0, 10, 20, 30])
    assert room_for_hits(blocks, bounds, (0, 0)).tolist() == [1, 10, 110]
    assert room_for_hits(blocks, bounds, (1, 0)).tolist() == [1, 11, 110]
    assert room_for_hits(blocks, bounds, (0, 1)).tolist() == [11, 110, 110]


@settings(max_examples=100, deadline=None)
@given(n_bytes=st.integers(0, 20_000), position=st.integers(0, 2**40))
def test_memory_lies_in_its_page_as_the_file_does(n_bytes, position):
    buffer = ReadBuffer()
    for size, at in ((n_bytes, position), (n_bytes // 2, position + 12_345)):
        room = buffer.room(size, at)
        assert (len(room), room.dtype, room.flags.writeable) == (size, np.uint8, True)
        if size:
            assert room.ctypes.data % 8 == 0
            assert 0 <= (at - room.ctypes.data) % 4096 < 8


def test_memory_is_kept():
    buffer = ReadBuffer()
    first = buffer.room(10_000, 0)
    assert np.shares_memory(first, buffer.room(5000, 77))
    assert np.shares_memory(first, buffer.room(10_000, 4095))
