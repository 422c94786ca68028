"""Single-sideband ptychography: the paper's case, and py4DSTEM at a size that it can do."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..methods import ssb, ssb_snr
from ..methods.aperture_grid import ApertureGrid, aperture_grid
from ..methods.bright_field import Disk
from ..optics import Aberrations, Geometry
from . import ssb_quantem
from .report import Row
from .timing import best_time, peak_memory, single_time

_KNOBS = Aberrations.parse({"C10": -100.0, "C12": 30.0, "phi12": 0.3, "C30": 1e4})
_SIZE = 18


def rows(full: bool) -> Iterator[Row | str]:
    """Measure a 1024 × 1024 scan (full) or 512 × 512, and smaller ones beside the peers."""
    side = 1024 if full else 512
    case = _Case(side)
    name = f"SSB {side}², {_SIZE}x{_SIZE} detector"
    yield Row(f"{name}: prepare", best_time(case.prepare, 1), target="<= 3 s at 1024²")
    for precision in ("full", "half"):
        of_half = ", half precision" if precision == "half" else ""
        yield from _redraws(case, precision, f"{name}: redraw", of_half)
    peak = peak_memory(case.prepare)
    if peak is not None:
        held = (peak + case.stack.nbytes) / 2**30
        yield Row("  peak memory, stack included", held, "GiB", target="<= 1.5 at 1024²")
    yield from _beside_py4dstem(256 if full else 48)
    for peer_side in (256, 512) if full else (48,):
        yield from ssb_quantem.rows(peer_side)


def _redraws(case: _Case, precision: str, name: str, suffix: str) -> Iterator[Row]:
    """Measure the sum and least squares, and what their entries take."""
    store = case.prepare(precision)
    weighted = case.prepare_snr(precision)
    target = "<= 0.2 s at 1024²"
    sums = functools.partial(ssb.reconstruct, store, _KNOBS)
    floor = _read_time(store.entry_bytes)
    yield Row(f"{name}{suffix}", best_time(sums, 5), floor=floor, target=target)
    squares = functools.partial(ssb_snr.estimate_phase, weighted, _KNOBS)
    floor = _read_time(weighted.overlaps.entry_bytes)
    yield Row(f"{name}, least squares{suffix}", best_time(squares, 5), floor=floor, target=target)
    yield Row(f"  its entries{suffix}", store.nbytes / 2**30, "GiB")


def scaling(say: Callable[[str], None]) -> list[Row]:
    """Measure prepare and redraw from 128 × 128 to 1024 × 1024 positions."""
    result = []
    for side in (128, 256, 512, 1024):
        case = _Case(side)
        prepare = best_time(case.prepare, 1)
        store = case.prepare()
        redraw = best_time(functools.partial(ssb.reconstruct, store, _KNOBS), 3)
        result += [Row(f"prepare {side}²", prepare), Row(f"redraw {side}²", redraw)]
        say(
            f"{side:>5}²  prepare {prepare:.3f} s  redraw {redraw:.4f} s  "
            f"{store.runs.n_entries:,} entries  {store.nbytes / 2**20:.0f} MiB"
        )
    return result


class _Case:
    """A binned stack of random counts in the paper's geometry."""

    def __init__(self, side: int) -> None:
        self.scan = (side, side)
        self.geometry = Geometry(80e3, 25.0, (0.316, 0.316), 0.2)
        self.grid = self._grid(rim=False)
        self.stack = self._counts(self.grid)
        self.total = float(self.stack.sum())

    def _grid(self, rim: bool) -> ApertureGrid:
        radius = 140.0
        pixel = self.geometry.aperture_radius / radius
        disk = Disk((288.3, 280.1), radius)
        return aperture_grid((576, 576), disk, pixel, self.geometry, _SIZE, rim)

    def _counts(self, grid: ApertureGrid) -> np.ndarray:
        rng, shape = np.random.default_rng(0), (self.scan[0], len(grid.pixels))
        rows = [rng.poisson(1.5, shape).astype(np.uint8) for _ in range(self.scan[0])]
        return np.concatenate(rows)

    def prepare_snr(self, precision: str) -> ssb_snr.WeightedStore:
        grid = self._grid(rim=True)
        stack = self._counts(grid)
        settings = (self.scan, float(stack.sum()), self.geometry, "cpu", precision)
        return ssb_snr.prepare_snr(stack, grid, *settings)

    def prepare(self, precision: str = "full") -> ssb.OverlapStore:
        settings = (self.grid, self.scan, self.total, self.geometry)
        return ssb.prepare(self.stack, *settings, precision=precision)


def _read_time(n_bytes: int) -> float:
    """Return how long reading this many bytes takes, at the rate of a large array [s]."""
    from .timing import sum_time

    values = np.ones(2**26, np.uint8)
    return sum_time(values) * n_bytes / values.nbytes


def _beside_py4dstem(side: int) -> Iterator[Row]:
    import py4DSTEM

    from ..bridge.cube import SparseDataCube
    from ..bridge.ssb import EventSSB

    rng = np.random.default_rng(0)
    dense = rng.poisson(1.5, (side, side, 20, 20)).astype(np.float32)
    cube = SparseDataCube.from_dense(dense)
    theirs: Any = py4DSTEM.DataCube(dense)
    geometry = Geometry(80e3, 25.0, (0.316, 0.316))
    for each in (cube, theirs):
        each.calibration.set_R_pixel_size(0.316)
        each.calibration.set_R_pixel_units("A")
        each.calibration.set_Q_pixel_size(geometry.aperture_radius / 9)
        each.calibration.set_Q_pixel_units("A^-1")
    ours = EventSSB(80e3, cube, 25.0, verbose=False)
    known: Any = {"force_com_rotation": 0, "force_com_transpose": False}

    def prepare() -> None:
        ours.preprocess(None, (10, 10), 9.0, **known)

    peer = py4DSTEM.process.phase.SSB(80e3, theirs, 25.0, rolloff=0, verbose=False)
    quiet = {f"plot_{what}": False for what in ("rotation", "center_of_mass", "overlap_trotters")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        middle = tuple(np.full((side, side), 10.0) for _ in range(2))
        settings = {**known, **quiet, "crop_around_bf_disk": False, "force_com_shifts": middle}
        their_prepare = single_time(lambda: peer.preprocess(**settings))
        their_redraw = single_time(lambda: peer.reconstruct(progress_bar=False))
    name = f"SSB {side}², 20x20 detector"
    prepared = best_time(prepare, 2)
    yield Row(f"{name}: preprocess", prepared, "s", "py4DSTEM", their_prepare, target=">= 20x")
    redraw = best_time(lambda: ours.reconstruct(weighting="sum", defocus=30.0), 5)
    yield Row(f"{name}: reconstruct", redraw, "s", "py4DSTEM", their_redraw, target=">= 500x")
