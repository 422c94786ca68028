"""Differential phase contrast, beside py4DSTEM on the same centres of mass."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from ..methods.dpc import Descent, integrate_direct, integrate_iterative
from ..methods.rotation import solve_rotation
from .report import Row
from .timing import best_time, single_time

_STEP = (0.3, 0.3)
_ITERATIONS = 8


def rows(full: bool) -> Iterator[Row]:
    """Measure a 1024 × 1024 scan, beside py4DSTEM at that size (full) or at 256 × 256."""
    com = _gradient(1024)
    yield Row("DPC 1024²: rotation", best_time(lambda: solve_rotation(com)), target="<= 0.1 s")
    direct = best_time(lambda: integrate_direct(com, _STEP))
    yield Row("DPC 1024²: direct phase", direct, target="<= 0.15 s")
    yield from _beside_py4dstem(1024 if full else 256)


def _beside_py4dstem(side: int) -> Iterator[Row]:
    import py4DSTEM

    com = _gradient(side)
    descent = Descent(max_iter=_ITERATIONS)
    peer = py4DSTEM.process.phase.DPC(verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        setup = single_time(
            lambda: peer.preprocess(
                force_com_measured=tuple(com), plot_rotation=False, plot_center_of_mass=False
            )
        )
        theirs = single_time(lambda: peer.reconstruct(max_iter=_ITERATIONS, progress_bar=False))
    rotation = best_time(lambda: solve_rotation(com))
    yield Row(f"DPC {side}²: rotation", rotation, "s", "py4DSTEM", setup)
    ours = best_time(lambda: integrate_iterative(com, _STEP, descent=descent))
    name = f"DPC {side}²: {_ITERATIONS} iterations"
    yield Row(name, ours, "s", "py4DSTEM", theirs, target=">= 1x")


def _gradient(side: int) -> np.ndarray:
    """Return the gradient of a smooth random phase, turned by 12°, with noise."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    noise = np.fft.fft2(rng.normal(size=(side, side)))
    phase = np.fft.ifft2(noise * np.exp(-((frequency * 20) ** 2))).real
    gx, gy = np.gradient(phase)
    cos, sin = np.cos(np.deg2rad(12)), np.sin(np.deg2rad(12))
    field = np.stack([cos * gx + sin * gy, cos * gy - sin * gx])
    return field + rng.normal(scale=0.1 * field.std(), size=field.shape)
