"""Decoding Falcon frames, beside tifffile with imagecodecs on the same file."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..readers import open_events
from .report import Row, installed
from .timing import best_time, single_time, sum_time

_SIDE, _ELECTRONS = 4096, 20_000
_SKIP, _POSITION = 7, 4  # bits of a code
_LARGEST = 2**_SKIP - 1
_DISTINCT = 8
_COLUMNS = 64


@dataclass(frozen=True)
class _Frame:
    stream: bytes
    n_codes: int


def rows(full: bool) -> Iterator[Row]:
    """Measure frames of 4096 × 4096 pixels with 20,000 electrons: 64, or 1024 of them (full)."""
    n_frames = 1024 if full else 64
    rng = np.random.default_rng(0)
    frames = [_encode(rng) for _ in range(_DISTINCT)]
    n_codes = sum(frames[k % _DISTINCT].n_codes for k in range(n_frames))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.eer"
        _write(path, [frames[k % _DISTINCT].stream for k in range(n_frames)], _SIDE)
        floor = sum_time(np.fromfile(path, np.uint64, path.stat().st_size // 8))
        theirs = _tifffile_time(path, n_frames)
        for superres in (0, 2):
            ours = best_time(lambda s=superres: _read(path, n_frames, s))  # type: ignore[misc]
            name = f"decode Falcon, {n_frames} frames, superres={superres}"
            # on the finer grids tifffile makes images of 4 and 16 times the size
            peer, time = ("tifffile", theirs) if superres == 0 and theirs else ("", None)
            yield Row(name, ours, "s", peer, time, floor)
            yield Row("  the same", 1e-6 * n_codes / ours, "Mcodes/s", target=">= 150")
    yield from _opening(100_000 if full else 2_000)


def _opening(n_frames: int) -> Iterator[Row]:
    """Measure how long it takes to open a file of many frames."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.eer"
        _write(path, [struct.pack("<Q", 64)] * n_frames, 8)
        ours = best_time(lambda: _open(path, n_frames))
        peer = ("tifffile", single_time(lambda: _pages(path))) if installed("tifffile") else ()
        yield Row(f"open Falcon, {n_frames} frames", ours, "s", *peer)


def _open(path: Path, n_frames: int) -> None:
    open_events(path, scan_shape=(1, n_frames), mem="MEMMAP")


def _read(path: Path, n_frames: int, superres: int) -> None:
    """Read everything a scan row at a time, as a method does."""
    scan = (n_frames // _COLUMNS, _COLUMNS)
    store = open_events(path, scan_shape=scan, superres=superres, mem="MEMMAP")
    for _ in store.blocks():
        pass


def _tifffile_time(path: Path, n_frames: int) -> float | None:
    """Return how long tifffile takes to make indices of all frames [s], judged by a few."""
    if not (installed("tifffile") and installed("imagecodecs")):
        return None
    import tifffile

    n_few = min(n_frames, 16)
    with tifffile.TiffFile(path) as file:
        pages = file.pages[:n_few]
        time = single_time(lambda: [np.flatnonzero(page.asarray()) for page in pages])
    return time * n_frames / n_few


def _pages(path: Path) -> None:
    """Find out where the data of every page are."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        for page in file.pages:
            _ = page.dataoffsets, page.databytecounts


def _encode(rng: np.random.Generator) -> _Frame:
    """Return the stream of a random frame."""
    n_pixels = _SIDE * _SIDE
    flat = np.unique(rng.integers(0, n_pixels, _ELECTRONS))
    gaps = np.diff(np.concatenate(([-1], flat, [n_pixels]))) - 1
    overflows = gaps // _LARGEST
    electrons = np.cumsum(overflows + 1) - 1
    values = np.full(electrons[-1] + 1, _LARGEST)
    widths = np.full(len(values), _SKIP)
    values[electrons] = gaps % _LARGEST + (rng.integers(0, 16, len(gaps)) << _SKIP)
    widths[electrons] += _POSITION
    starts = np.cumsum(widths) - widths
    n_words = int(widths.sum()) // 64 + 2
    bits = np.zeros(64 * n_words, np.uint8)
    for bit in range(_SKIP + _POSITION):
        present = widths > bit
        bits[starts[present] + bit] = values[present] >> bit & 1
    return _Frame(np.packbits(bits, bitorder="little").tobytes(), len(values))


def _write(path: Path, streams: list[bytes], side: int) -> None:
    """Write BigTIFF with one page for every stream."""
    fixed = [(256, 4, side), (257, 4, side), (258, 3, 1), (259, 3, 65001), (262, 3, 1)]
    text = b"<metadata></metadata>".ljust(24)
    with path.open("wb") as file:
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 40) + text)
        for k, stream in enumerate(streams):
            tags = [*fixed, (273, 16, 0), (277, 3, 1), (278, 4, side), (279, 16, len(stream))]
            at = file.tell() + 16 + 20 * (len(tags) + 1)
            tags[5] = (273, 16, at)
            entries = [struct.pack("<HHQQ", tag, kind, 1, value) for tag, kind, value in tags]
            entries.append(struct.pack("<HHQQ", 65001, 7, len(text), 16))
            following = at + len(stream) if k < len(streams) - 1 else 0
            file.write(struct.pack("<Q", len(entries)) + b"".join(entries))
            file.write(struct.pack("<Q", following) + stream)
