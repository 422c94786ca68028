"""The interactive panel: its state, and its widgets without a browser."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib import image

from py4dstem_eer import InteractiveSSB
from py4dstem_eer.bridge.cube import SparseDataCube
from py4dstem_eer.bridge.ssb import EventSSB
from py4dstem_eer.errors import ParameterError
from py4dstem_eer.explore.explorer import Explorer


@pytest.fixture
def ssb():
    data = np.random.default_rng(0).poisson(2.0, (9, 8, 14, 15)).astype(np.uint16)
    cube = SparseDataCube.from_dense(data)
    cube.calibration.set_R_pixel_size(0.4)
    cube.calibration.set_R_pixel_units("A")
    method = EventSSB(80e3, cube, 25, verbose=False, defocus=800.0, C12=20.0, phi12=2.0)
    return method.preprocess(None, (7, 7), 6.3, 0, False)


def test_the_image_is_the_phase_of_the_call_that_is_shown(ssb):
    explorer = Explorer(ssb)
    explorer.set_aberration("C21", 500.0)
    explorer.set_sideband("left")
    phase = explorer.redraw()
    assert explorer.seconds > 0
    call = explorer.python_call()
    assert call.startswith("ssb.reconstruct(sideband='left'")
    again = eval(call, {"ssb": ssb}).object_phase.data
    np.testing.assert_array_equal(again, phase)


def test_an_alias_is_its_symbol(ssb):
    explorer = Explorer(ssb)
    explorer.set_aberration("astigmatism", 5.0)
    explorer.set_aberration("C12", 9.0)
    explorer.set_aberration("C10", -30.0)
    explorer.redraw()
    assert ssb.polar_parameters["C12"] == 9.0
    assert ssb.polar_parameters["C10"] == -30.0
    assert explorer.aberrations["defocus"] == 30.0


@pytest.mark.parametrize(("name", "value"), [("C99", 1.0), ("C12", np.nan)])
def test_wrong_aberrations_are_refused(ssb, name, value):
    with pytest.raises(ParameterError):
        Explorer(ssb).set_aberration(name, value)
    with pytest.raises(ParameterError):
        Explorer(ssb).set_sideband("up")


def test_png_has_a_pixel_for_each_position(ssb):
    explorer = Explorer(ssb)
    picture = image.imread(io.BytesIO(explorer.png(explorer.redraw())), format="png")
    assert picture.shape[:2] == (9, 8)
    flat = image.imread(io.BytesIO(explorer.png(np.zeros((4, 5)))), format="png")
    assert np.ptp(flat[..., 0]) == 0


def test_panel_redraws_what_is_turned_and_leaves_the_rest(ssb):
    pytest.importorskip("ipywidgets")
    panel = InteractiveSSB(ssb)
    layout = panel.show()
    knobs, right = layout.children
    by_name = {k.description.split(" [")[0]: k for k in knobs.children}
    assert by_name["defocus"].value == 800.0  # beyond the usual range, and not clamped
    picture, status, call = right.children
    before = picture.value
    by_name["coma"].value = 400.0
    assert picture.value != before
    assert status.value.endswith("ms")
    assert ssb.polar_parameters["C10"] == -800.0
    assert ssb.polar_parameters["phi12"] == 2.0
    assert ssb.polar_parameters["C21"] == 400.0
    assert "C21=400.0" in call.value
    by_name["sideband"].value = "right"
    assert "sideband='right'" in call.value


def test_a_cube_is_preprocessed(ssb):
    panel = InteractiveSSB(
        ssb._datacube,
        preprocess={"center": (7, 7), "bf_radius": 6.3, "force_com_rotation": 0,
                    "force_com_transpose": False, "detector_size": 8},
        energy=80e3,
        semiangle_cutoff=25,
        verbose=False,
    )  # fmt: skip
    assert panel.ssb.geometry.energy == 80e3
    assert "8" in repr(panel.ssb)
