"""The main job on the embedded default, made small."""

from __future__ import annotations

import py4DSTEM

from py4dstem_eer import demo


def test_demo_goes_from_a_file_to_two_phases(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "SCAN_SHAPE", (64, 60))
    lines: list[str] = []
    correlations = demo.run_demo(tmp_path, lines.append)
    assert correlations["SSB"] > 0.4
    assert correlations["SSB, least squares"] > correlations["SSB"] + 0.05
    assert correlations["DPC"] > 0.5
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    cube = py4DSTEM.read(str(tmp_path / "demo.h5"))
    assert isinstance(cube, py4DSTEM.SparseDataCube)
    assert cube.shape == (64, 60, 576, 576)
    assert {"dp_mean", "bright_field", "ssb_reconstruction_object_phase"} <= set(cube.treekeys)
    assert any("correlation of the SSB phase" in line for line in lines)
    timed = [line for line in lines if line.endswith(" s")]
    assert len(timed) >= 8
