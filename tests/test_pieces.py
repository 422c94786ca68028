"""Operations on ranges of scan rows, joined: as if done at once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from py4dstem_eer import EventStore
from py4dstem_eer.methods.pieces import in_pieces


def dense_of(store):
    return np.array(
        [[store.pattern(rx, ry) for ry in range(store.shape[1])] for rx in range(store.shape[0])]
    )


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 3), st.sampled_from([1, 3, 300, 70000]))
def test_any_rows_in_any_pieces(data, factor, largest):
    rows = data.draw(st.integers(factor, 70))
    elements = st.one_of(st.just(0), st.integers(0, largest))
    dense = data.draw(hnp.arrays(np.uint32, (rows, 3, 2, 3), elements=elements, fill=st.just(0)))
    joined = in_pieces(EventStore.from_dense(dense), lambda part: part.binned_scan(factor), factor)
    joined.validate()
    groups, columns = rows // factor, 3 // factor
    cut = dense[: groups * factor, : columns * factor]
    expected = cut.reshape(groups, factor, columns, factor, 2, 3).sum((1, 3))
    np.testing.assert_array_equal(dense_of(joined), expected)


def test_counts_that_come_late_and_grow():
    dense = np.zeros((64, 1, 1, 2), np.uint32)
    dense[:, 0, 0, 1] = 1
    dense[40, 0, 0, 0] = 2
    dense[60, 0, 0, 0] = 70000
    joined = in_pieces(EventStore.from_dense(dense), lambda part: part)
    np.testing.assert_array_equal(dense_of(joined), dense)
