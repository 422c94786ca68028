"""What the tutorials work on, small and simulated."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from tutorial_data import CENTRE, DETECTOR, SCAN, disk, lattice_of_disks

from py4dstem_eer.simulate import crystal_phase, simulate_events


@pytest.fixture(autouse=True)
def _no_windows():
    """Draw where nobody looks, and let go of the figures."""
    mpl.use("Agg")
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def bragg_counts():
    """A strained crystal whose first scan column is vacuum, (6, 7, 64, 60) uint16."""
    rng = np.random.default_rng(7)
    counts = np.empty((*SCAN, *DETECTOR), np.uint16)
    for rx, ry in np.ndindex(SCAN):
        strained = lattice_of_disks(0.03 * (rx / SCAN[0] - 0.5))
        counts[rx, ry] = rng.poisson(25.0 * disk(*CENTRE) if ry == 0 else strained)
    return counts


@pytest.fixture(scope="session")
def phase_scan():
    """A scan of a phase object: counts (24, 20, 24, 26), and the truth."""
    events, truth = simulate_events(
        crystal_phase((24, 20), vacancies=0.3, seed=2),
        0.32,
        detector_shape=(24, 26),
        disk_center=(11.7, 12.2),
        disk_radius=7.0,
        electrons_per_pattern=3000,
        flyback=False,
        seed=5,
    )
    counts = np.stack([events.pattern(*at) for at in np.ndindex(events.scan_shape)])
    return counts.reshape(events.shape).astype(np.uint16), truth
