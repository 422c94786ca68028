"""The main job on an embedded default: from a file of events to phase images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import progress
from .simulate import SimulatedScan, nanotube_phase, simulate_events
from .writers.atomic import atomic_path
from .writers.stempy import write_stempy

ENERGY = 80e3
SEMIANGLE = 25.0
SCAN_STEP = 0.32
SCAN_SHAPE = (256, 256)
ELECTRONS_PER_PATTERN = 400
SEED = 2022

Say = Callable[[str], None]


@dataclass
class Timings:
    """How long each step took, told as it ends."""

    say: Say
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a block and report it."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        self.say(f"{name:<44}{self.seconds[name]:7.2f} s")


def run_demo(directory: Path, say: Say) -> dict[str, float]:
    """Simulate a scan, write it as a 4D Camera file, open it, and reconstruct its phase.

    Writes `demo_events.h5` (stempy layout), `demo.h5` (EMD) and `demo.png` into `directory`.

    Parameters
    ----------
    directory : Path
    say : callable
        Prints one line.

    Returns
    -------
    correlations : dict of str to float
        Of each phase with the true one, band-limited to twice the aperture.
    """
    directory.mkdir(parents=True, exist_ok=True)
    timings = Timings(say)
    with timings.step("import py4DSTEM"):
        import py4DSTEM
    with progress.shown():
        truth = _simulate(directory / "demo_events.h5", timings)
    with timings.step("open with py4DSTEM.import_file"):
        cube = py4DSTEM.import_file(directory / "demo_events.h5", keep_flyback=False)
    cube.calibration.set_R_pixel_size(SCAN_STEP)
    cube.calibration.set_R_pixel_units("A")
    say(f"  {cube.events!r}")
    with timings.step("mean pattern and bright-field image"):
        cube.get_dp_mean()
    ssb = _reconstruct_ssb(cube, timings)
    summed, weighted = _reconstruct_ssb_twice(ssb, timings)
    dpc = _reconstruct_dpc(cube, ssb, timings)
    with timings.step("save demo.h5"):
        py4DSTEM.save(str(directory / "demo.h5"), cube, mode="o")
    true_phase = truth.visible_phase()
    phases = {"SSB": summed, "SSB, least squares": weighted, "DPC": dpc.object_phase}
    correlations = {name: correlation(p.data, true_phase) for name, p in phases.items()}
    with timings.step("draw demo.png"):
        _draw(directory / "demo.png", cube, ssb, phases, true_phase, correlations)
    for method, value in correlations.items():
        say(f"correlation of the {method} phase with the truth: {value:.3f}")
    say(f"wrote demo_events.h5, demo.h5 and demo.png into {directory.resolve()}")
    return correlations


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation coefficient of two images."""
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


def _simulate(path: Path, timings: Timings) -> SimulatedScan:
    with timings.step("simulate the specimen and its scan"):
        phase = nanotube_phase(SCAN_SHAPE, SCAN_STEP, energy=ENERGY)
        events, truth = simulate_events(
            phase,
            SCAN_STEP,
            energy=ENERGY,
            semiangle=SEMIANGLE,
            electrons_per_pattern=ELECTRONS_PER_PATTERN,
            seed=SEED,
        )
    with timings.step("write demo_events.h5 (stempy layout)"):
        write_stempy(path, events, metadata={})  # a camera knows no pixel sizes
    return truth


def _reconstruct_ssb(cube: Any, timings: Timings) -> Any:
    import py4DSTEM

    ssb = py4DSTEM.process.phase.EventSSB(ENERGY, cube, semiangle_cutoff=SEMIANGLE)
    with timings.step("SSB: preprocess"):
        ssb.preprocess()
    with timings.step("bright-field image"):
        cube.get_virtual_image("circle", (ssb.disk.center, ssb.disk.radius), name="bright_field")
    return ssb


def _reconstruct_ssb_twice(ssb: Any, timings: Timings) -> tuple[Any, Any]:
    with timings.step("SSB: reconstruct"):
        summed = ssb.reconstruct(weighting="sum").object_phase
    with timings.step("SSB: reconstruct by least squares"):
        weighted = ssb.reconstruct(weighting="snr").object_phase
    return summed, weighted


def _reconstruct_dpc(cube: Any, ssb: Any, timings: Timings) -> Any:
    import py4DSTEM

    dpc = py4DSTEM.process.phase.EventDPC(datacube=cube, energy=ENERGY)
    # the file does not say how large a detector pixel is: the disk does
    pixel = ssb.geometry.aperture_radius / ssb.disk.radius
    with timings.step("DPC: preprocess"):
        dpc.preprocess(force_reciprocal_sampling=pixel)
    with timings.step("DPC: reconstruct"):
        dpc.reconstruct()
    return dpc


def _draw(
    path: Path,
    cube: Any,
    ssb: Any,
    phases: dict[str, Any],
    true_phase: np.ndarray,
    values: dict[str, float],
) -> None:
    import matplotlib.pyplot as plt

    from .bridge.figures import draw_image, draw_pattern
    from .bridge.results import real_slice

    figure, axes = plt.subplots(2, 3, figsize=(14, 8.6))
    axes = axes.ravel()
    draw_pattern(axes[0], cube.tree("dp_mean").data, ssb.disk)
    axes[0].set_title(f"mean pattern, {ELECTRONS_PER_PATTERN} e⁻ each")
    bright = real_slice(cube.tree("bright_field").data, "bf", "electrons", ssb.geometry.scan_step)
    draw_image(axes[1], bright, "bright field", cmap="gray")
    for axis, (name, phase) in zip(axes[3:], phases.items(), strict=True):
        draw_image(axis, phase, f"{name}: correlation {values[name]:.2f}")
    truth = real_slice(true_phase, "truth", "rad", ssb.geometry.scan_step)
    draw_image(axes[2], truth, "ground truth, band-limited to 2α/λ")
    figure.tight_layout()
    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=100)
    plt.close(figure)
