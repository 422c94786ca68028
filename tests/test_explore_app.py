"""The command that serves the panel: what it checks, and what its page runs; without a browser."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

from py4dstem_eer import workflow
from py4dstem_eer.cli import main
from py4dstem_eer.errors import ParameterError
from py4dstem_eer.events import EventStore
from py4dstem_eer.explore import app
from py4dstem_eer.writers.stempy import write_stempy

pytest.importorskip("anywidget")


@pytest.fixture
def scan(tmp_path):
    rows, columns = np.mgrid[:30, :32]
    disk = np.hypot(rows - 15, columns - 16) < 8
    counts = np.random.default_rng(0).poisson(2.0 * disk, (8, 9, 30, 32)).astype(np.uint16)
    path = tmp_path / "scan.h5"
    write_stempy(path, EventStore.from_dense(counts), metadata={})
    return path


def cell_of(monkeypatch, *arguments):
    """Return the cell that the command would serve."""
    served = []
    monkeypatch.setattr(app, "serve", lambda code, *others: served.append((code, *others)))
    result = CliRunner().invoke(main, ["explore", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return served[0]


def test_the_cell_shows_the_panel_with_the_options_that_were_typed(scan, monkeypatch):
    code, _, browser, port = cell_of(
        monkeypatch, scan, "--no-browser", "--port", 8899, "--energy", "80e3", "-a", "defocus=50",
        "--semiangle-cutoff", 25, "--force-scan-sampling", 0.4, "--force-com-rotation", 0,
        "--no-com-transpose", "--detector-size", 8, "--orders", 2,
    )  # fmt: skip
    assert (browser, port) == (False, 8899)
    scope = {}
    exec(code.rpartition("\n")[0], scope)
    widget = eval(code.splitlines()[-1], scope)
    reply = widget.session.answer({"kind": "ready"})
    assert "problem" not in reply.content
    assert reply.content["controls"][0]["value"] == 50
    assert {c["order"] for c in reply.content["controls"]} == {1, 2}
    assert reply.content["settings"]["detector_size"] == 8
    assert reply.content["fixed"]["target"] == str(scan.with_name("scan_panel.h5"))


def test_what_is_wrong_with_the_file_is_said_in_the_panel(scan, monkeypatch):
    widget = workflow.open_panel(str(scan), aberrations={}, output="x.h5")
    assert "--energy" in widget.session.answer({"kind": "ready"}).content["problem"]
    code, *_ = cell_of(monkeypatch, scan)
    assert str(scan) in code


@pytest.mark.parametrize(("name", "content"), [("notes.txt", "no events"), ("absent.h5", None)])
def test_files_without_events_are_refused_before_anything_starts(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_text(content)
    result = CliRunner().invoke(main, ["explore", str(tmp_path / name), "--no-browser"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")


def test_a_taken_port_is_said():
    pytest.importorskip("voila")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ParameterError, match=f"port {port} is taken"):
            app.serve("1", lambda text: None, browser=False, port=port)


def test_without_voila_the_install_line_is_given(monkeypatch):
    monkeypatch.setattr(app, "_NEEDED", ("a_package_that_is_not_there",))
    with pytest.raises(ImportError, match="pip install"):
        app.serve("1", lambda text: None)


def test_the_server_ends_with_the_command_even_if_that_is_killed():
    pytest.importorskip("voila")
    code = (
        "from py4dstem_eer.explore import app\n"
        "app.serve('1', lambda text: print(text, flush=True), browser=False)"
    )
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert "http://127.0.0.1" in command.stdout.readline()
        (server,) = psutil.Process(command.pid).children()
    finally:
        command.kill()
        command.communicate()
    assert server.wait(30) is None  # no child of ours, so without its status


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_also_where_they_were_ignored(which):
    before = signal.signal(which, signal.SIG_IGN)
    try:
        with app._interruptible():
            signal.raise_signal(which)
            raise AssertionError("not interrupted")
        assert signal.getsignal(which) is signal.SIG_IGN
    finally:
        signal.signal(which, before)
