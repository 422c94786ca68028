"""The tables of overlap runs on a device, uploaded once, in the form that kernels take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..device import Device
from .overlap_runs import OverlapRuns


@dataclass(frozen=True)
class RunTables:
    """What the kernels of a redraw read beside the entries; see `OverlapRuns`.

    Attributes
    ----------
    row_ptr, pixel, side, first, length, start, kx, ky, row_wx, column_wy
        Those of `OverlapRuns`.
    row : (runs,) int32
        Row of every run.
    width : int
        Columns up to the last that holds an entry.
    lanes : int
        Threads that share a row, one for each column: `width`, rounded up to whole warps.
    """

    row_ptr: Any
    pixel: Any
    side: Any
    first: Any
    length: Any
    start: Any
    kx: Any
    ky: Any
    row_wx: Any
    column_wy: Any
    row: Any
    width: int
    lanes: int

    @classmethod
    def of(cls, runs: OverlapRuns, where: Device) -> RunTables:
        """Upload the tables."""
        names = ("row_ptr", "pixel", "side", "first", "length", "start", "kx", "ky")
        tables = {n: where.resident(getattr(runs, n)) for n in (*names, "row_wx", "column_wy")}
        row = np.repeat(np.arange(runs.n_rows, dtype=np.int32), np.diff(runs.row_ptr))
        width = int((runs.first + runs.length).max())
        lanes = -(-width // where.lanes) * where.lanes
        return cls(**tables, row=where.resident(row), width=width, lanes=lanes)

    @property
    def runs(self) -> tuple[Any, ...]:
        """Start of every row, and pixel, side, first column, length and first entry of its runs."""
        return self.row_ptr, self.pixel, self.side, self.first, self.length, self.start

    @property
    def angles(self) -> tuple[Any, ...]:
        """Scattering angles of pixels, and of the rows' and columns' scan frequencies."""
        return self.kx, self.ky, self.row_wx, self.column_wy
