"""SSB and the binning of events on a GPU, with all data on it before the clock starts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..device import Device, get_device
from ..methods import reductions, ssb, ssb_snr
from ..methods.aperture_grid import aperture_grid
from ..methods.bright_field import Disk
from ..optics import Aberrations, Geometry
from .reductions import random_events
from .report import Row
from .timing import best_time

_KNOBS = Aberrations.parse({"C10": -100.0, "C12": 30.0, "phi12": 0.3, "C30": 1e4})
_DETECTOR, _RADIUS = (576, 576), 140.0


def rows(full: bool) -> Iterator[Row]:
    """Measure 18 × 18 and 62 × 62 detectors (full), or 18 × 18 on a smaller scan, and binning."""
    where = get_device("gpu")
    bandwidth = _bandwidth(where)
    side = 1024 if full else 256
    yield Row("bandwidth of this GPU", bandwidth / 1e12, "TB/s")
    yield from _ssb(where, side, 18, bandwidth, "<= 10 ms", "<= 0.5 ms at 1024²")
    if full:  # about 3000 bright-field pixels
        yield from _ssb(where, side, 62, bandwidth, "", "<= 3 ms")
    events = random_events(256 if full else 128)
    pixel_map = _grid(18).pixel_map
    lists = reductions.lists_on(events, where)
    lut = where.asarray(pixel_map.lut)
    stack = where.xp.zeros((events.n_patterns, pixel_map.target_shape[1]), np.uint16)
    binning = functools.partial(
        reductions.fill_stack.launch, where, events.n_patterns, *lists, lut, stack
    )
    rate = events.n_events / _device_time(where, binning) / 1e9
    yield Row("bin events onto the aperture", rate, "G/s", target=">= 100 G/s")


def _ssb(
    where: Device, side: int, size: int, bandwidth: float, prepare_in: str, redraw_in: str
) -> Iterator[Row]:
    grid, geometry = _grid(size), _geometry()
    shape = (side * side, len(grid.pixels))
    stack = where.asarray(np.random.default_rng(0).poisson(1.5, shape).astype(np.uint8))
    total = float(stack.sum())
    prepare = functools.partial(ssb.prepare, stack, grid, (side, side), total, geometry, where.name)
    name = f"SSB {side}², {len(grid.pixels)} pixels"
    yield Row(f"{name}: prepare", _device_time(where, prepare), target=prepare_in)
    store = prepare()
    floor = store.entry_bytes / bandwidth
    for what, redraw in (
        ("image on the GPU", functools.partial(ssb.reconstruct_on_device, store, _KNOBS)),
        ("image in main memory", functools.partial(ssb.reconstruct, store, _KNOBS)),
    ):
        seconds = _device_time(where, redraw)
        yield Row(f"{name}: redraw, {what}", seconds, floor=floor, target=redraw_in)
    halved = prepare(precision="half")
    redraw = functools.partial(ssb.reconstruct_on_device, halved, _KNOBS)
    half_floor = halved.entry_bytes / bandwidth
    yield Row(f"{name}: redraw, half precision", _device_time(where, redraw), floor=half_floor)
    weighted = ssb_snr.prepare_snr(stack, grid, (side, side), total, geometry, where.name)
    redraw = functools.partial(ssb_snr.estimate_phase, weighted, _KNOBS)
    yield Row(f"{name}: redraw by least squares", _device_time(where, redraw), floor=floor)


def _geometry() -> Geometry:
    return Geometry(80e3, 25.0, (0.316, 0.316), 0.2)


def _grid(size: int) -> Any:
    geometry = _geometry()
    disk = Disk((288.3, 280.1), _RADIUS)
    return aperture_grid(_DETECTOR, disk, geometry.aperture_radius / _RADIUS, geometry, size)


def _device_time(where: Device, call: Callable[[], Any]) -> float:
    def finished() -> None:
        call()
        where.synchronize()

    return best_time(finished, 10)


def _bandwidth(where: Device) -> float:
    """Return the rate at which the GPU copies a large array, reading and writing [bytes/s]."""
    source = where.xp.ones(2**26, np.float32)
    return 2 * source.nbytes / _device_time(where, source.copy)
