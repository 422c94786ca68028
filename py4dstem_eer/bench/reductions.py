"""Sums over events, beside stempy and LiberTEM."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ..detector import bin_map
from ..events import EventStore
from ..methods.com import centre_of_mass
from ..methods.reductions import pattern_sum
from ..methods.virtual_images import virtual_image
from ..writers.raw_csr import write_raw_csr
from .libertem_peer import LiberTem
from .report import Row, installed
from .timing import best_time, single_time, sum_time

_DETECTOR = (576, 576)
_EVENTS_PER_PATTERN = 500
#: LiberTEM makes every pattern dense: a larger scan takes it minutes.
_LIBERTEM_SIDE = 128
_RUNS = 10


def random_events(side: int, per_pattern: int = _EVENTS_PER_PATTERN, seed: int = 0) -> EventStore:
    """Return events at random pixels of a 576 × 576 camera, none twice in a pattern."""
    rng = np.random.default_rng(seed)
    n_pixels = _DETECTOR[0] * _DETECTOR[1]
    # one random pixel in each of equal ranges ascends by construction
    width = n_pixels // per_pattern
    offsets = rng.integers(0, width, (side * side, per_pattern), np.uint32)
    indices = (offsets + np.arange(per_pattern, dtype=np.uint32) * np.uint32(width)).ravel()
    indptr = np.arange(side * side + 1, dtype=np.int64) * per_pattern
    return EventStore((side, side), _DETECTOR, indptr, indices)


def disk_events(side: int, per_pattern: int = _EVENTS_PER_PATTERN, seed: int = 0) -> EventStore:
    """Return events in a disk of 60 pixels' radius, in which some pixels are hit twice."""
    rng = np.random.default_rng(seed)
    inside = np.flatnonzero(_annulus(0, 60)).astype(np.uint32)
    indices = np.sort(inside[rng.integers(0, len(inside), (side * side, per_pattern))], axis=1)
    indptr = np.arange(side * side + 1, dtype=np.int64) * per_pattern
    return EventStore.from_lists((side, side), _DETECTOR, indptr, indices.ravel())


def rows(full: bool) -> Iterator[Row]:
    """Measure the reductions on a 256 × 256 scan (full) or a 128 × 128 one."""
    events = random_events(256 if full else 128)
    peer = _Stempy(events) if installed("stempy") else None
    masks = [_annulus(0, 60), _annulus(80, 200)]
    calls = {
        "com": ("centre of mass", lambda: centre_of_mass(events), 1),
        "sum": ("sum of all patterns", lambda: pattern_sum(events), 1),
        "images": ("2 annular virtual images", lambda: _images(events, masks), len(masks)),
    }
    for method, (what, call, times_read) in calls.items():
        theirs = None if peer is None else single_time(getattr(peer, method))
        ours, floor = best_time(call, _RUNS), times_read * sum_time(events.indices)
        yield Row(what, ours, "s", "stempy", theirs, floor, "floor >= 0.5 of ours")
    yield from _of_binning(events, peer)
    yield Row("one pattern, data[rx, ry]", best_time(lambda: events.pattern(3, 5), 50))
    yield from _of_disks(256 if full else 128, masks[0])
    if installed("libertem"):
        yield from _beside_libertem(_LIBERTEM_SIDE)


def _of_binning(events: EventStore, peer: _Stempy | None) -> Iterator[Row]:
    for factor in (16, 2):
        theirs = None if peer is None else single_time(partial(peer.bin, factor))
        call = partial(events.mapped, bin_map(_DETECTOR, factor))
        yield _writing(f"bin by {factor}", events, call, theirs)
    # stempy does not add up what it puts at one scan position
    yield _writing("bin the scan by 2", events, partial(events.binned_scan, 2), None)


def _writing(
    what: str, events: EventStore, call: Callable[[], EventStore], theirs: float | None
) -> Row:
    """Measure what reads all indices and writes new lists."""
    moved = 1 + call().nbytes / events.indices.nbytes
    ours, floor = best_time(call, _RUNS), moved * sum_time(events.indices)
    return Row(what, ours, "s", "stempy", theirs, floor, "floor >= 0.5 of ours")


def _of_disks(side: int, mask: np.ndarray) -> Iterator[Row]:
    """Measure sums of events that have counts, as most are one."""
    events = disk_events(side)
    floor = sum_time(events.indices)
    for what, call in (
        ("centre of mass", lambda: centre_of_mass(events)),
        ("sum of all patterns", lambda: pattern_sum(events)),
        ("bright-field image", lambda: virtual_image(events, mask)),
    ):
        time = best_time(call, _RUNS)
        yield Row(f"{what}, counts above one in a disk", time, floor=floor)


def _beside_libertem(side: int) -> Iterator[Row]:
    """Measure sums beside LiberTEM, which takes them from a raw_csr data set in the file cache."""
    events = random_events(side)
    floor = sum_time(events.indices)
    mask = _annulus(80, 200)
    where = f"{side}² (inline executor)"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.toml"
        write_raw_csr(path, events)
        peer = LiberTem(path)
        for what, ours, theirs in (
            ("centre of mass", lambda: centre_of_mass(events), peer.com),
            ("sum of all patterns", lambda: pattern_sum(events), peer.sum),
            ("annular image", lambda: virtual_image(events, mask), lambda: peer.image(mask)),
        ):
            times = best_time(ours, _RUNS), best_time(theirs, 1)  # theirs compiles in the first
            yield Row(f"{what}, {where}", times[0], "s", "LiberTEM", times[1], floor)


def _images(events: EventStore, masks: list[np.ndarray]) -> list[np.ndarray]:
    return [virtual_image(events, mask) for mask in masks]


def _annulus(inner: float, outer: float) -> np.ndarray:
    distance = np.hypot(*np.ogrid[-288:288, -288:288])
    return (distance >= inner) & (distance < outer)


class _Stempy:
    """The same events and reductions in stempy."""

    def __init__(self, events: EventStore) -> None:
        from stempy.io import SparseArray

        lists = np.empty((events.n_patterns, 1), object)
        for p, part in enumerate(np.split(events.indices, events.indptr[1:-1])):
            lists[p, 0] = np.array(part)
        self.array = SparseArray(lists, events.scan_shape, events.detector_shape)

    def com(self) -> None:
        from stempy.image import com_sparse

        com_sparse(self.array)

    def sum(self) -> None:
        self.array.sum((0, 1))

    def images(self) -> None:
        from stempy.image import create_stem_images

        create_stem_images(self.array, [0, 80], [60, 200], center=(288, 288))

    def bin(self, factor: int) -> None:
        self.array.bin_frames(factor)
