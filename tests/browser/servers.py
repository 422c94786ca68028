"""JupyterLab, Notebook 7 and the `explore` command on free local ports, and a Chromium."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat

import py4dstem_eer

PACKAGE = Path(py4dstem_eer.__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TOKEN = "panel-test"
#: The module of an application, and where it shows a notebook.
APPLICATIONS = {"lab": ("jupyterlab", "doc/tree"), "notebook": ("notebook", "notebooks")}


def chromium():
    """Return the path of an installed Chromium, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def write_notebook(path, *cells):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, path)


def settings_of_its_own(folder):
    """Return an environment in which no one's Jupyter settings, news or numba threads matter."""
    config = folder / "config" / "labconfig"
    config.mkdir(parents=True, exist_ok=True)
    disabled = {"@jupyterlab/apputils-extension:announcements": True}
    (config / "page_config.json").write_text(json.dumps({"disabledExtensions": disabled}))
    paths = [str(PACKAGE), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLBACKEND": "Agg",
    }


@contextlib.contextmanager
def serving(command, folder, port, path, wait=60):
    """Run a server in `folder` until the block ends; give its address."""
    address = f"http://127.0.0.1:{port}"
    log = folder / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=settings_of_its_own(folder), stdout=out, stderr=out
        )
        try:
            _wait_for(f"{address}{path}", process, log, wait)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(url, process, log, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended:\n{log.read_text()[-3000:]}")
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return  # an answer
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"no answer from {url}:\n{log.read_text()[-3000:]}")


def jupyter(application: str, folder: Path):
    """Start one of `APPLICATIONS` in a folder with notebooks."""
    port = free_port()
    command = [
        *(sys.executable, "-m", APPLICATIONS[application][0], "--no-browser", "--allow-root"),
        *(f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"),
        *("--LabApp.extension_manager=readonly", "--LabApp.news_url=None"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    return serving(command, folder, port, "/api")


@contextlib.contextmanager
def exploring(folder: Path, *arguments):
    """Run `py4dstem-eer explore` until the block ends; give its address and its process."""
    command = [sys.executable, "-m", "py4dstem_eer.cli", "explore", "--no-browser", *arguments]
    environment = settings_of_its_own(folder)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        yield re.search(r"http://\S+", line)[0], process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def open_notebook(page, application, address, name):
    """Open a notebook by itself in one of `APPLICATIONS`, up to its kernel."""
    page.goto(f"{address}/{APPLICATIONS[application][1]}/{name}?token={TOKEN}")
    page.wait_for_selector(".jp-CodeCell .cm-content", timeout=60_000)
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')


def run_first_cell(page):
    """Run the first cell of the notebook that is open."""
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt").first
    for _ in range(20):  # a cell that is run before the kernel is connected stays as it was
        page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
        page.locator(".jp-CodeCell .cm-content").first.click()
        page.keyboard.press("Control+Enter")
        page.wait_for_timeout(500)
        if "[ ]" not in prompt.inner_text():
            return
    raise RuntimeError("the cell did not run")
