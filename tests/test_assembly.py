"""Lists that grow by blocks: right whatever was expected, and without room that is left."""

from __future__ import annotations

import numpy as np
import pytest

from py4dstem_eer.readers.assembly import Assembly


def filled(blocks, capacity, held=None):
    assembly = Assembly(sum(map(len, blocks)), capacity, (20, 30))
    for block in blocks:
        entries = np.concatenate([np.zeros(0, np.uint16), *block])
        room = assembly.room(len(entries))
        room[:] = entries
        if held is not None:
            held.append(room)
        assembly.add(np.array([len(pattern) for pattern in block], np.int64))
    return assembly


def make(seed, repeated):
    rng = np.random.default_rng(seed)
    n = [int(k) for k in rng.integers(0, 40, 12)]
    patterns = [rng.choice(600, k, replace=repeated).astype(np.uint16) for k in n]
    return patterns, [patterns[:5], [], patterns[5:6], patterns[6:]]


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("capacity", [0, 50, 5000])
@pytest.mark.parametrize("is_held", [False, True])
def test_lists_are_right_and_as_long_as_needed(capacity, repeated, is_held):
    patterns, blocks = make(1, repeated)
    held = [] if is_held else None
    assembly = filled(blocks, capacity, held)
    for _ in range(2):  # asking again changes nothing
        indptr, indices, counts = assembly.lists()
        assert (counts is not None) == repeated
        for p, pattern in enumerate(patterns):
            values, times = np.unique(pattern, return_counts=True)
            part = slice(indptr[p], indptr[p + 1])
            np.testing.assert_array_equal(indices[part], values)
            assert counts is None or counts[part].tolist() == times.tolist()
        assert indptr[-1] == len(indices)
        for entries in (indices, counts):
            # not a part of something larger
            assert entries is None or entries.base is None
            assert entries is None or len(entries) == indptr[-1]
    for room in held or []:
        room.sum()  # still memory of ours
