"""Single-sideband ptychography beside quantem's, of the same dense counts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..device import n_threads
from ..events import EventStore
from ..methods import reductions, ssb
from ..methods.aperture_grid import aperture_grid
from ..methods.bright_field import Disk
from ..optics import Aberrations, Geometry
from .report import Row, installed
from .timing import best_time, single_time

_CENTER, _RADIUS, _SIDE = 10.0, 9.0, 20
_DEFOCUS = 30.0
_GEOMETRY = Geometry(80e3, 25.0, (0.316, 0.316))
_PIXEL = _GEOMETRY.aperture_radius / _RADIUS


def rows(side: int) -> Iterator[Row | str]:
    """Measure both on a square scan of random counts, or say that quantem is not there."""
    name = f"SSB {side}², {_SIDE}x{_SIDE} detector"
    if not installed("quantem"):
        yield f"{name}: quantem is not installed, and not measured"
        return
    counts = np.random.default_rng(0).poisson(1.5, (side, side, _SIDE, _SIDE))
    peer = _Quantem(counts.astype(np.float32))
    their_prepare = single_time(peer.prepare)
    their_redraw = best_time(peer.redraw, 2)
    events = EventStore.from_dense(counts.astype(np.uint8))
    prepared = best_time(lambda: _prepare(events), 2)
    yield Row(f"{name}: prepare", prepared, "s", "quantem", their_prepare)
    store, knobs = _prepare(events), Aberrations.parse({"defocus": _DEFOCUS})
    redraw = best_time(lambda: ssb.reconstruct(store, knobs), 5)
    yield Row(f"{name}: redraw", redraw, "s", "quantem", their_redraw)


def _prepare(events: EventStore) -> ssb.OverlapStore:
    disk = Disk((_CENTER, _CENTER), _RADIUS)
    grid = aperture_grid(events.detector_shape, disk, _PIXEL, _GEOMETRY, None)
    stack = reductions.binned_stack(events, grid.pixel_map, np.dtype(np.uint8))
    return ssb.prepare(stack, grid, events.scan_shape, float(events.n_events), _GEOMETRY)


class _Quantem:
    """quantem's direct ptychography with its single-sideband kernel, on the CPU."""

    def __init__(self, counts: np.ndarray) -> None:
        import torch
        from quantem.core.datastructures import Dataset4dstem

        torch.set_num_threads(n_threads())
        step = _GEOMETRY.scan_step
        self._dataset: Any = Dataset4dstem.from_array(
            counts, sampling=(*step, _PIXEL, _PIXEL), units=["A", "A", "A^-1", "A^-1"]
        )

    def prepare(self) -> None:
        from quantem.diffractive_imaging.direct_ptychography import DirectPtychography

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._ptychography = DirectPtychography.from_dataset4d(
                self._dataset,
                energy=_GEOMETRY.energy,
                semiangle_cutoff=_GEOMETRY.semiangle,
                rotation_angle=0.0,
                force_fitted_origin=(_CENTER, _CENTER),
                verbose=False,
            )

    def redraw(self) -> None:
        self._ptychography.reconstruct(
            override_aberration_coefs={"C10": -_DEFOCUS}, deconvolution_kernel="ssb", verbose=False
        )
