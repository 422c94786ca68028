"""A whole file to its overview: what `py4dstem-eer dpc FILE` does, and STEM holography."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..events import EventStore
from ..memory import GIB
from ..methods.holography import sideband
from ..readers import open_events
from ..streams import StreamedEventStore
from ..workflow import run_dpc
from ..writers.stempy import write_stempy
from .reductions import random_events
from .report import Row
from .timing import best_time, peak_memory, single_time, sum_time

_DETECTOR = (576, 576)
_DISK_RADIUS = 110
#: Of the pixels outside the disk, one in so many takes part.
_THINNING = 12
# random electrons tell no rotation
_OPTIONS: dict[str, Any] = {
    "energy": 80e3, "force_scan_sampling": 0.3, "semiangle_cutoff": 25,
    "force_com_rotation": 0.0, "force_com_transpose": False,
}  # fmt: skip


def rows(full: bool) -> Iterator[Row]:
    """Measure a file of 512 × 512 (full) or 128 × 128 patterns of 2000 electrons."""
    side = 512 if full else 128
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.h5"
        write_stempy(path, StreamedEventStore(DiskSource(side, 2000)))
        yield from _from_file(path, f"overview of a file, {side}² x 2000 e-")
    yield _holography(256 if full else 64)


def _from_file(path: Path, name: str) -> Iterator[Row]:
    def job() -> dict[str, Any]:
        return run_dpc(path, **_OPTIONS)

    run_dpc(_small(path), **_OPTIONS)  # compiles
    floor = sum(sum_time(block.indices) for _, block in open_events(path, mem="MEMMAP").blocks())
    ours: list[float] = []
    peak = peak_memory(lambda: ours.append(single_time(job)))
    yield Row(name, ours[0], "s", floor=floor, target="<= 6 s")
    if peak is not None:
        yield Row("  peak memory", peak / GIB, "GiB", target="<= 2 GB")


def _small(path: Path) -> Path:
    small = path.with_name("small.h5")
    write_stempy(small, StreamedEventStore(DiskSource(16, 2000)))
    return small


def _holography(side: int) -> Row:
    import scipy.fft

    events = random_events(side)
    ours = best_time(lambda: sideband(events, (40, 25)), 2)
    row = events.read_rows(0, 1)

    def dense() -> None:
        for column in range(side):
            scipy.fft.rfft2(row.pattern(0, column).astype(np.float32))

    name = f"STEM holography, {side}², 25 Fourier pixels"
    return Row(name, ours, "s", "dense FFTs", side * best_time(dense, 1))


class DiskSource:
    """A scan that is drawn as it is read: a bright-field disk with a thin halo around it.

    Parameters
    ----------
    side : int
        Scan rows and columns.
    per_pattern : int
        Electrons of every pattern.
    """

    def __init__(self, side: int, per_pattern: int) -> None:
        self.scan_shape = (side, side)
        self.detector_shape = _DETECTOR
        self.metadata: Mapping[str, Any] = {}
        self.count_dtype = np.dtype(np.uint8)
        rows, columns = np.ogrid[: _DETECTOR[0], : _DETECTOR[1]]
        in_disk = np.hypot(rows - 290.3, columns - 280.6) < _DISK_RADIUS
        in_halo = np.arange(in_disk.size).reshape(in_disk.shape) % _THINNING == 0
        self._pixels = np.flatnonzero(in_disk | in_halo).astype(np.uint32)
        self._per_pattern = per_pattern
        self.nbytes = self._pixels.nbytes

    def read_rows(self, start: int, stop: int) -> EventStore:
        """Return rows start to stop; every pattern has one electron in each of equal ranges."""
        rng = np.random.default_rng(start)
        n_patterns = (stop - start) * self.scan_shape[1]
        width = len(self._pixels) // self._per_pattern
        at = rng.integers(0, width, (n_patterns, self._per_pattern), np.uint32)
        at += np.arange(self._per_pattern, dtype=np.uint32) * np.uint32(width)
        indptr = np.arange(n_patterns + 1, dtype=np.int64) * self._per_pattern
        shape = (stop - start, self.scan_shape[1])
        return EventStore(shape, _DETECTOR, indptr, self._pixels[at].ravel(), trusted=True)

    def events_per_row(self) -> np.ndarray:
        """Return the electrons of every scan row, (Rx,)."""
        return np.full(self.scan_shape[0], self._per_pattern * self.scan_shape[1])
