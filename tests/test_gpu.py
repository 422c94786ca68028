"""Single-sideband ptychography on a GPU against the CPU, from the cube to the phase.

Twice: on a strict stand-in for cupy, which shows that everything stays on the device, and, where
there is one, on a GPU: ``pytest -m gpu``.
"""

from __future__ import annotations

import fake_gpu
import numpy as np
import pytest
from test_ssb import ALL_ABERRATIONS, CENTER, ENERGY, SEMIANGLE, calibrated, counts, preprocessed

from py4dstem_eer.bridge.cube import SparseDataCube
from py4dstem_eer.bridge.ssb import EventSSB
from py4dstem_eer.device import get_device
from py4dstem_eer.errors import EventError
from py4dstem_eer.simulate import crystal_phase, simulate_events

pytestmark = pytest.mark.filterwarnings("ignore:the scan step:UserWarning")


@pytest.fixture(params=["stand-in", pytest.param("real", marks=pytest.mark.gpu)])
def gpu(request, monkeypatch):
    if request.param == "stand-in":
        fake_gpu.install(monkeypatch)
        return None
    try:
        return get_device("gpu")
    except (ImportError, EventError) as error:
        pytest.skip(str(error))


def phase_difference(a, b):
    return np.abs(np.angle(np.exp(1j * (np.angle(a) - np.angle(b))))).max()


@pytest.mark.parametrize("scan", [(12, 16), (13, 17), (11, 6), (2, 7)])
@pytest.mark.parametrize(("rotation", "transpose"), [(0, False), (-140, True)])
def test_phases_are_those_of_the_cpu(scan, rotation, transpose, gpu):
    data = counts(scan, (14, 15))
    here, there = (
        preprocessed(data, CENTER, rotation, transpose, 0.5, device, **ALL_ABERRATIONS)
        for device in ("cpu", "gpu")
    )
    for settings in (
        {"sideband": "both"},
        {"sideband": "left"},
        {"sideband": "right", "triple_overlap": True},
        {"triple_overlap": True},
        {"weighting": "snr"},
    ):
        one, other = (ssb.reconstruct(**{"weighting": "sum", **settings}) for ssb in (here, there))
        assert isinstance(other.object, np.ndarray)
        assert type(other.object) is np.ndarray
        assert phase_difference(one.object, other.object) <= 1e-5
    for name in ("bright_field", "double_overlap"):
        np.testing.assert_array_equal(getattr(there, name).data, getattr(here, name).data)
    np.testing.assert_allclose(there.power_spectrum().data, here.power_spectrum().data, rtol=1e-4)
    np.testing.assert_allclose(there.trotters(3).data, here.trotters(3).data, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(there.probe_fourier, here.probe_fourier, atol=1e-6)


def test_geometry_is_measured_alike(gpu):
    events, truth = simulate_events(
        crystal_phase((24, 26), 0.32),
        0.32,
        detector_shape=(60, 66),
        disk_radius=20.0,
        electrons_per_pattern=1000,
        rotation=0.4,
        transpose=True,
        flyback=False,
    )
    cube = calibrated(SparseDataCube(events), 0.32, truth.reciprocal_pixel)
    here, there = (
        EventSSB(ENERGY, cube, SEMIANGLE, verbose=False, device=device).preprocess(12)
        for device in ("cpu", "gpu")
    )
    assert there.rotation.angle_deg == pytest.approx(here.rotation.angle_deg, abs=1e-6)
    assert there.rotation_check.angle_deg == here.rotation_check.angle_deg
    assert phase_difference(here.reconstruct().object, there.reconstruct().object) <= 1e-5


def test_dense_cubes_work_too(gpu):
    import py4DSTEM

    dense = counts((6, 7), (14, 15)).astype(np.float32)
    one, other = (
        EventSSB(ENERGY, calibrated(py4DSTEM.DataCube(dense)), SEMIANGLE, verbose=False, device=d)
        .preprocess(None, CENTER, 6.3, 0, False)
        .reconstruct()
        for d in ("cpu", "gpu")
    )
    assert phase_difference(one.object, other.object) <= 1e-5
