"""Damage on which HDF5 hangs, or takes all memory, is an error before HDF5 sees it."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import stempy_files

from py4dstem_eer import open_events
from py4dstem_eer.errors import CorruptFileError
from py4dstem_eer.readers.hdf5_guard import ends


def free_blocks(data):
    """Return where the first free block of every local heap lies, and its offset in the heap."""
    found, at = [], data.find(b"HEAP")
    while at >= 0:
        free, address = (int.from_bytes(data[at + k :][:8], "little") for k in (16, 24))
        if free != 1:
            found.append((address + free, free))
        at = data.find(b"HEAP", at + 4)
    return found


@pytest.mark.parametrize("userblock", [0, 512])
def test_free_blocks_in_a_circle(tmp_path, userblock):
    path = tmp_path / "events.h5"
    stempy_files.make(path, "v1")
    if userblock:
        whole = tmp_path / "whole.h5"
        with h5py.File(path) as source, h5py.File(whole, "w", userblock_size=userblock) as target:
            for name in source:
                source.copy(name, target)
        path = whole
    open_events(path)
    data = bytearray(path.read_bytes())
    blocks = free_blocks(bytes(data))
    assert blocks
    for position, offset in blocks:
        data[userblock + position : userblock + position + 8] = offset.to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(CorruptFileError, match=r"the local heap at byte \d+ is damaged"):
        open_events(path)


@pytest.mark.parametrize(
    ("blocks", "first", "expected"),
    [
        ({}, 1, True),
        ({8: 32, 32: 1}, 8, True),
        ({32: 8, 8: 1}, 32, True),
        ({8: 8}, 8, False),
        ({8: 32, 32: 8}, 8, False),
        ({8: 2**40}, 8, True),  # HDF5 itself refuses what lies outside
        ({8: 0}, 8, True),
        ({8: 60}, 8, True),  # the next offset would go on behind the end
    ],
)
def test_lists_of_free_blocks(blocks, first, expected):
    segment = np.zeros(8, "<u8")
    for at, following in blocks.items():
        segment[at // 8] = following
    assert ends(segment.tobytes(), first, 8) is expected
