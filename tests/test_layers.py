"""Imports run one way, optional packages stay optional, and the package keeps to its own rules."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "py4dstem_eer"

#: Rooms from the ground up; each may import itself and those before it.
ROOMS = (
    ("errors", "progress", "memory", "compiled"),
    ("device", "parameters"),
    ("optics",),
    ("detector", "shapes"),
    ("event_lists", "event_layout", "event_pieces", "event_checks", "dense_counts"),
    ("event_tally", "event_sums", "event_maps"),
    ("events", "streams", "derived_sources", "summary"),
    ("simulate",),
    ("readers",),
    ("writers",),
    ("methods",),
    ("bridge",),
    ("explore",),
    ("registration",),
    ("bench", "command_options", "demo", "next_steps", "report", "workflow"),
    ("cli", "__init__"),
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
#: Optional packages, or such that take long: only inside functions.
LAZY = {
    "cupy",
    "cupyx",
    "anywidget",
    "ipywidgets",
    "stempy",
    "ncempy",
    "imagecodecs",
    "tifffile",
    "hdf5plugin",
    "numba",
}
NEEDED_BY_PY4DSTEM = {"ncempy", "hdf5plugin", "numba"}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(file):
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported_rooms(file):
    """Yield (room, line) of every import from the package itself."""
    package = ("py4dstem_eer", *file.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            module = (*base, *(node.module or "").split(".")) if node.module else base
            names = [module[1]] if len(module) > 1 else [alias.name for alias in node.names]
            yield from ((name, node.lineno) for name in names if name in LEVEL or len(module) > 1)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_run_one_way(file):
    own = LEVEL[room_of(file)]
    for room, line in imported_rooms(file):
        assert room in LEVEL, f"{file}:{line}: {room} is no room"
        assert LEVEL[room] <= own, f"{file}:{line}: {room_of(file)} may not import {room}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_optional_packages_are_imported_inside_functions(file):
    for node in ast.parse(file.read_text()).body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        assert not LAZY & {name.split(".")[0] for name in names}, file


def test_only_the_bridge_and_the_whole_jobs_name_py4dstem():
    for file in FILES:
        if room_of(file) in ("bridge", "cli", "demo", "workflow", "bench"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert not any(n.split(".")[0] in ("py4DSTEM", "emdfile") for n in names), file


def test_functions_and_files_stay_short():
    long = []
    for file in FILES:
        text = file.read_text()
        if len(text.splitlines()) > 500:
            long.append(str(file))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                if lines > 60:
                    long.append(f"{file}:{node.lineno} {node.name}: {lines} lines")
    assert not long


def test_the_package_imports_without_any_extra_and_without_py4dstem():
    code = (
        "import sys\n"
        f"for name in {sorted(LAZY - NEEDED_BY_PY4DSTEM)}: sys.modules[name] = None\n"
        "import py4dstem_eer\n"
        "print('py4DSTEM' in sys.modules, 'matplotlib' in sys.modules)\n"
        "import py4DSTEM\n"
        "print(py4DSTEM.SparseDataCube.__name__)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert result.stdout.split() == ["False", "False", "SparseDataCube"]
