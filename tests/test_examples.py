"""Every notebook in examples/ runs from top to bottom."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("notebook", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda p: p.name)
def test_notebook_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("SCAN_SIDE", "64")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    package = str(EXAMPLES.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([package, os.environ.get("PYTHONPATH", "")]))
    content = nbformat.read(notebook, as_version=4)
    client = NotebookClient(content, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    printed = "".join(
        output.get("text", "") for cell in content.cells for output in cell.get("outputs", [])
    )
    assert "SparseDataCube (64, 64, 576, 576)" in printed
    assert "sharpest at a defocus of" in printed
    assert (tmp_path / "nanotube.h5").exists()
