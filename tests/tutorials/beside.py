"""Run the cells of a tutorial on a dense cube and on one of events, and compare all they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import py4DSTEM
from emdfile import Array

from py4dstem_eer import EventStore, SparseDataCube


def run_on_both(cells: Callable[..., Any], counts: np.ndarray, *arguments: Any) -> Any:
    """Return what the cells give on events, after comparing with what they give on counts."""
    dense = cells(py4DSTEM.DataCube(counts.copy()), *arguments)
    sparse = cells(SparseDataCube(EventStore.from_dense(counts)), *arguments)
    assert_same(sparse, dense, "result")
    return sparse


def assert_same(ours: Any, theirs: Any, where: str) -> None:
    """Compare two results: classes, names, units and numbers."""
    if isinstance(theirs, py4DSTEM.DataCube):
        assert isinstance(ours, py4DSTEM.DataCube), where
        assert_same(np.asarray(ours.data), np.asarray(theirs.data), where)
        assert_same(ours.calibration._params, theirs.calibration._params, f"{where}.calibration")
    elif isinstance(theirs, Array):
        assert type(ours) is type(theirs), where
        assert (ours.name, ours.units, ours.dim_units) == (
            theirs.name, theirs.units, theirs.dim_units,
        ), where  # fmt: skip
        assert_same(ours.dims, theirs.dims, f"{where}.dims")
        assert_same(ours.data, theirs.data, where)
    elif isinstance(theirs, np.ndarray) and theirs.dtype.names:
        assert ours.dtype == theirs.dtype, where
        for name in theirs.dtype.names:
            assert_same(ours[name], theirs[name], f"{where}.{name}")
    elif isinstance(theirs, Mapping):
        assert list(ours) == list(theirs), where
        for name in theirs:
            assert_same(ours[name], theirs[name], f"{where}[{name!r}]")
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs), where
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    elif isinstance(theirs, (str, type(None))):
        assert ours == theirs, where
    else:
        np.testing.assert_array_equal(np.ma.getmaskarray(ours), np.ma.getmaskarray(theirs), where)
        ours, theirs = np.ma.getdata(ours), np.ma.getdata(theirs)
        scale = np.abs(theirs).max(initial=0)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6 * scale, err_msg=where)
