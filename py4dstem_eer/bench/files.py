"""Opening and saving files, beside h5py and stempy."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..readers import open_events
from ..writers.emd import write_events
from ..writers.stempy import write_stempy
from .reductions import random_events
from .report import Row, installed
from .timing import best_time, peak_memory, single_time


def rows(full: bool) -> Iterator[Row]:
    """Measure a stempy file of 1024 × 1024 (full) or 256 × 256 frames of 100 events."""
    side = 1024 if full else 256
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.h5"
        write_stempy(path, random_events(side, 100))
        size = open_events(path).nbytes
        ours = best_time(lambda: open_events(path), 2)
        name = f"open stempy, {side}² x 100 events"
        yield Row(name, ours, "s", "h5py", single_time(lambda: _with_h5py(path)), target="<= 0.8 s")
        if installed("stempy"):
            theirs = single_time(lambda: _with_stempy(path))
            yield Row(name, ours, "s", "stempy", theirs)
        # a small file fits into memory that the process holds already
        peak = peak_memory(lambda: open_events(path)) if full else None
        if peak is not None:
            yield Row("  peak memory over the events' bytes", peak / size, "", target="<= 1.2")
    yield _emd_size()


def _emd_size() -> Row:
    import h5py

    events = random_events(64, 400)
    with tempfile.TemporaryFile() as buffer, h5py.File(buffer, "w") as file:
        write_events(file, events)
        file.flush()
        stored = file.id.get_filesize()
    return Row("EMD file, 400 e/pattern", stored / events.n_events, "B/event", target="<= 1.6")


def _with_h5py(path: Path) -> None:
    import h5py

    with h5py.File(path) as file:
        frames = file["electron_events/frames"][()]
    np.concatenate(frames)
    np.cumsum([len(frame) for frame in frames])


def _with_stempy(path: Path) -> None:
    from stempy.io import SparseArray

    SparseArray.from_hdf5(str(path))
