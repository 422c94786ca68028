"""The browser that all these tests share."""

from __future__ import annotations

import os

import pytest

from . import servers


def needed(reason):
    """Skip, or fail where the browser is required."""
    if os.environ.get("PY4DSTEM_EER_BROWSER") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser():
    for name in ("playwright", "jupyterlab", "notebook", "voila", "anywidget"):
        try:
            __import__(name)
        except ImportError:
            needed(f'{name} is not installed: python -m pip install ".[browser]"')
    path = servers.chromium()
    if path is None:
        needed("there is no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()
