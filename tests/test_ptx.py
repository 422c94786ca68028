"""Every kernel that a GPU may run compiles to its machine's language, without a GPU."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import fake_gpu
import numba
import numpy as np
import pytest

from py4dstem_eer.device import Kernel
from py4dstem_eer.events import EventStore
from py4dstem_eer.methods import com, dpc, overview, reductions, rotation, ssb, ssb_snr, trotters
from py4dstem_eer.methods.aperture_grid import aperture_grid
from py4dstem_eer.methods.bright_field import Disk
from py4dstem_eer.methods.virtual_images import virtual_image
from py4dstem_eer.optics import Aberrations, Geometry

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None,
    reason='compiling for a GPU needs numba-cuda: python -m pip install "numba-cuda[cu12]"',
)


def exercise():
    """Run every method that takes device="gpu" once."""
    data = np.random.default_rng(0).poisson(2.0, (5, 6, 14, 16)).astype(np.uint16)
    events = EventStore.from_dense(data)
    reductions.pattern_sum(events, device="gpu")
    reductions.pattern_sum(events, np.ones((5, 6)), device="gpu")
    reductions.pattern_max(events, device="gpu")
    virtual_image(events, np.ones((14, 16)), device="gpu")
    virtual_image(events, np.ones((14, 16), bool), device="gpu")
    virtual_image(EventStore.from_dense(data > 1), np.ones((14, 16), bool), device="gpu")
    virtual_image(events, np.ones((14, 16), complex), device="gpu")
    reductions.electrons_per_position(events, device="gpu")
    reductions.largest_per_position(events, device="gpu")
    com.centre_of_mass(events, device="gpu")
    com.centre_of_mass(EventStore.from_dense(data > 1), device="gpu")
    com.centre_of_mass(events, np.ones((14, 16)), device="gpu")
    com.centre_of_mass(events, np.ones((14, 16), bool), device="gpu")
    overview.overview(events, center=(6.7, 8.2), bf_radius=6.3, device="gpu")
    _ssb(events)
    field = np.random.default_rng(1).normal(size=(2, 9, 8))
    rotation.solve_rotation(field, device="gpu", warn=False)
    dpc.integrate_direct(field, (1.0, 1.0), device="gpu")
    dpc.integrate_iterative(field, (1.0, 1.0), descent=dpc.Descent(max_iter=2), device="gpu")


def _ssb(events):
    geometry = Geometry(80e3, 25.0, (0.5, 0.5), 0.3, True)
    knobs = Aberrations.parse({"C10": -150.0, "C12": 60.0})
    for rim, prepare in ((False, ssb.prepare), (True, ssb_snr.prepare_snr)):
        pixel = geometry.aperture_radius / 6.3
        grid = aperture_grid((14, 16), Disk((6.7, 8.2), 6.3), pixel, geometry, None, rim)
        stack = reductions.binned_stack(events, grid.pixel_map, np.dtype(np.uint8), "gpu")
        store = prepare(stack, grid, (5, 6), 1e3, geometry, "gpu")
        ssb.bright_field_image(stack, (5, 6), "gpu")
    half = prepare(stack, grid, (5, 6), 1e3, geometry, "gpu", precision="half")
    for weighted in (store, half):
        ssb_snr.estimate_phase(weighted, knobs)
        ssb.reconstruct(weighted.overlaps, knobs, triple_overlap=True)
        trotters.power_spectrum(weighted.overlaps)


@pytest.fixture(scope="module")
def signatures():
    """The argument types with which kernels are launched on a GPU."""
    found: dict[tuple[str, tuple], Kernel] = {}

    def record(kernel, arguments):
        found[kernel.body.__qualname__, tuple(numba.typeof(a) for a in arguments)] = kernel

    with pytest.MonkeyPatch.context() as monkeypatch:
        fake_gpu.install(monkeypatch, record)
        exercise()
    return found


@pytest.mark.parametrize("capability", [(8, 0), (9, 0)], ids=["8.0", "9.0"])
def test_kernels_compile_to_ptx(signatures, capability, monkeypatch):
    from numba import cuda
    from numba.cuda import dispatcher

    # helpers ask for the GPU that they are compiled for
    gpu = SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: gpu)
    assert len({name for name, _ in signatures}) >= 20
    for (name, types), kernel in signatures.items():
        launcher = Kernel(kernel.body).gpu_launcher.py_func
        ptx, _ = cuda.compile_ptx(launcher, types, cc=capability)
        assert f".target sm_{capability[0]}{capability[1]}" in ptx, name
        assert ".visible .entry" in ptx, name
