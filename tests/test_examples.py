"""Every notebook in examples/ runs from top to bottom."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"

#: What each notebook prints, and a file that it writes. One line for each new notebook.
EXPECTED = {
    "classic_workflow.ipynb": (["binned: (64, 64, 36, 36)", "read: SparseDataCube"], "tube.h5"),
    "interactive_ssb.ipynb": (["flattest at a defocus of 60 Å", "read: RealSlice"], "focused.h5"),
    "from_file_to_phase.ipynb": (["sharpest at a defocus of"], "nanotube.h5"),
}


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
    expected, written = EXPECTED[notebook.name]
    for text in ["SparseDataCube (64, 64, 576, 576)", *expected]:
        assert text in printed
    assert (tmp_path / written).exists()
