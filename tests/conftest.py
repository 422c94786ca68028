"""Shared fixtures."""

from __future__ import annotations

import os

import numpy as np
import pytest

from py4dstem_eer.device import get_device
from py4dstem_eer.simulate import crystal_phase, simulate_events

SIMULATOR = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
_GPU = pytest.param("gpu", id="simulator" if SIMULATOR else "gpu", marks=pytest.mark.gpu)


@pytest.fixture(params=["cpu", pytest.param("gpu", id="simulator") if SIMULATOR else _GPU])
def device(request):
    """Name of a device that is there: the CPU, numba's CUDA simulator, or a GPU."""
    try:
        get_device(request.param)
    except (ImportError, ValueError) as error:
        pytest.skip(str(error))
    return request.param


@pytest.fixture(scope="session")
def small_scan():
    """Events and truth of a 24 × 20 scan of a periodic crystal, rotated and transposed."""
    phase = crystal_phase((24, 20), vacancies=0.3, seed=2)
    return simulate_events(
        phase,
        0.32,
        detector_shape=(61, 70),
        disk_center=(29.3, 36.1),
        disk_radius=15.0,
        electrons_per_pattern=1500,
        rotation=0.4,
        transpose=True,
        flyback=False,
        seed=5,
    )


@pytest.fixture
def cube():
    """A dense cube with no two axes equal, an empty pattern, and counts above one."""
    rng = np.random.default_rng(0)
    data = rng.poisson(0.3, (5, 4, 9, 7)).astype(np.uint16)
    data[1, 2] = 0
    data[3, 1, 4, 5] = 700
    return data
