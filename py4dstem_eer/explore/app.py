"""The panel as a page of its own: a Voilà server for one file, on this computer only."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Callable, Iterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import ParameterError
from .panel import UI_INSTALL_LINE

_HOST = "127.0.0.1"
_KERNEL = "py4dstem-eer"
_SERVER = str(Path(__file__).with_name("voila_server.py"))
_NEEDED = ("voila", "anywidget", "ipykernel")
#: Others may ask for another Jupyter than Voilà's, and take time to load.
_EXTENSIONS = (
    *("@voila-dashboards/widgets-manager7", "@voila-dashboards/widgets-manager8"),
    *("@jupyter-widgets/jupyterlab-manager", "anywidget"),
)
#: [s] a server may take to start, and to end.
_STARTING, _ENDING = 120.0, 20.0


def serve(
    code: str, say: Callable[[str], None], browser: bool = True, port: int | None = None
) -> None:
    """Serve what a cell of Python displays, until it is interrupted.

    Every page that is opened has a kernel of its own, which ends when the page is closed.

    Parameters
    ----------
    code : str
        Its last line is what is shown.
    say : callable
        Prints one line.
    browser : bool
        Open the page in the default browser.
    port : int, optional
        Default: a free one.

    Raises
    ------
    ImportError
        If Voilà is not installed.
    ParameterError
        If the port is taken, or the server does not start.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise ImportError(f"a page of its own needs {', '.join(_NEEDED)}: {UI_INSTALL_LINE}")
    port, token = _free_port(port), secrets.token_hex(24)
    address = f"http://{_HOST}:{port}/?token={token}"
    with _interruptible(), _voila(code, port, token) as server:
        say(f"the panel is at {address}")
        say("Ctrl-C ends it")
        if browser:
            webbrowser.open(address)
        server.wait()
        raise ParameterError("the server has ended by itself")


def _free_port(wanted: int | None) -> int:
    with socket.socket() as probe:
        # as the server will do: a port that was used a moment ago is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, wanted or 0))
        except OSError as error:
            raise ParameterError(f"port {wanted} is taken; choose another, or none") from error
        free: int = probe.getsockname()[1]
        return free


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """End quietly on Ctrl-C, and on a request to terminate."""
    # in the background of a script, Ctrl-C is ignored unless it is asked for
    both = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(which, signal.default_int_handler) for which in both]
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        for which, handler in zip(both, before, strict=True):
            signal.signal(which, handler)


@contextlib.contextmanager
def _voila(code: str, port: int, token: str) -> Iterator[subprocess.Popen]:
    """Run Voilà on a notebook with one cell until the block ends."""
    with tempfile.TemporaryDirectory(prefix="py4dstem-eer-") as name:
        folder = Path(name)
        notebook = write_notebook(folder, code)
        command = [
            *(sys.executable, _SERVER, str(notebook), "--no-browser", "--template=panel"),
            *(f"--port={port}", f"--Voila.ip={_HOST}", "--Voila.port_retries=0"),
            *(f"--token={token}", "--VoilaConfiguration.allow_theme_override=YES"),
            *(f"--VoilaConfiguration.extension_allowlist={name}" for name in _EXTENSIONS),
        ]
        log = folder / "server.log"
        with log.open("w") as out:
            # a session of its own: Ctrl-C reaches it from here alone, once
            server = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # it ends when this does, see `voila_server`
                stdout=out,
                stderr=subprocess.STDOUT,
                env=_environment(folder),
                start_new_session=True,
            )
        try:
            _wait_until_it_listens(server, port, log)
            yield server
        finally:
            _end(server)


def _end(server: subprocess.Popen) -> None:
    server.send_signal(signal.SIGINT)
    try:
        server.wait(_ENDING)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def write_notebook(folder: Path, code: str) -> Path:
    """Write a notebook with one cell, and a kernel that is this very Python."""
    kernel = folder / "kernels" / _KERNEL
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": _KERNEL, "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    only: dict[str, Any] = {"cell_type": "code", "id": "panel", "metadata": {}, "source": code,
            "execution_count": None, "outputs": []}  # fmt: skip
    kernelspec = {"name": _KERNEL, "display_name": _KERNEL, "language": "python"}
    content = {"cells": [only], "metadata": {"kernelspec": kernelspec, "title": "InteractiveSSB"},
               "nbformat": 4, "nbformat_minor": 5}  # fmt: skip
    notebook = folder / "panel.ipynb"
    notebook.write_text(json.dumps(content))
    return notebook


def _environment(folder: Path) -> dict[str, str]:
    template = str(files(__package__) / "jupyter")
    paths = [str(folder), template, os.environ.get("JUPYTER_PATH", "")]
    return {
        **os.environ,
        "JUPYTER_PATH": os.pathsep.join(filter(None, paths)),
    }


def _wait_until_it_listens(server: subprocess.Popen, port: int, log: Path) -> None:
    deadline = time.monotonic() + _STARTING
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection((_HOST, port), 1):
            return
        time.sleep(0.1)
    lines = log.read_text(errors="replace").strip().splitlines()
    raise ParameterError(f"the server did not start: {lines[-1] if lines else 'it says nothing'}")


def cell(function: str, arguments: dict[str, Any]) -> str:
    """Return a cell that imports a function by its dotted name and shows what it returns."""
    module, _, name = function.rpartition(".")
    return f"from {module} import {name}\n{name}(**{arguments!r})"
