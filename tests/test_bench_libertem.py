"""The benchmark lets LiberTEM do what we do, and says how it is run."""

import os

import numpy as np
import pytest

from py4dstem_eer.bench import reductions
from py4dstem_eer.methods.com import centre_of_mass
from py4dstem_eer.methods.reductions import pattern_sum
from py4dstem_eer.methods.virtual_images import virtual_image
from py4dstem_eer.writers.raw_csr import write_raw_csr

pytest.importorskip("libertem", reason="needs LiberTEM: python -m pip install libertem")
if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("LiberTEM does not run under the CUDA simulator", allow_module_level=True)

from py4dstem_eer.bench.libertem_peer import LiberTem


@pytest.fixture(scope="module")
def events():
    return reductions.random_events(6, 50)


def test_their_sums_are_ours(events, tmp_path):
    write_raw_csr(tmp_path / "events.toml", events)
    peer = LiberTem(tmp_path / "events.toml")
    mask = reductions._annulus(80, 200)
    np.testing.assert_array_equal(peer.sum()["intensity"].data, pattern_sum(events))
    image = peer.image(mask)["intensity"].data[..., 0]
    np.testing.assert_array_equal(image, virtual_image(events, mask))
    # theirs from the middle of the camera, in single precision
    found = peer.com()["raw_com"].data
    expected = np.moveaxis(np.asarray(centre_of_mass(events)[0]), 0, -1)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_rows_name_the_executor(events, monkeypatch):
    monkeypatch.setattr(reductions, "random_events", lambda side: events)
    rows = list(reductions._beside_libertem(128))
    assert [row.what.split(",")[0] for row in rows] == [
        *("centre of mass", "sum of all patterns", "annular image")
    ]
    for row in rows:
        assert row.peer == "LiberTEM"
        assert "128² (inline executor)" in row.what
        assert row.theirs > row.ours > 0
