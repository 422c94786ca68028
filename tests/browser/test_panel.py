"""The interactive panel in a real browser: in JupyterLab, Notebook 7 and Voilà."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.request

import numpy as np
import psutil
import py4DSTEM
import pytest

from py4dstem_eer.simulate import nanotube_phase, simulate_events
from py4dstem_eer.writers.stempy import write_stempy

from . import servers
from .watched import PATIENCE, READY, Watched

DEFOCUS = 60.0
STEP = 0.32


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A file of events that were recorded out of focus."""
    phase = nanotube_phase((80, 72), STEP, energy=80e3)
    events, _ = simulate_events(
        phase, STEP, energy=80e3, semiangle=25, electrons_per_pattern=400, flyback=False,
        aberrations={"defocus": DEFOCUS}, rotation=0.2,
        detector_shape=(96, 98), disk_center=(47, 49), disk_radius=25,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("scan") / "scan.h5"
    write_stempy(path, events, metadata={})
    return path


@pytest.fixture(scope="module")
def command(browser, scan, tmp_path_factory):
    """The address of the panel that the command serves, and the command's process."""
    options = ("--energy=80e3", "--semiangle-cutoff=25", f"--force-scan-sampling={STEP}")
    fixed = ("--force-com-rotation=11.459", "--no-com-transpose")
    with servers.exploring(tmp_path_factory.mktemp("voila"), str(scan), *options, *fixed) as found:
        yield found
    assert found[1].returncode == 0


@pytest.fixture(scope="module")
def jupyter(browser, scan, tmp_path_factory):
    """Start an application of Jupyter with a notebook that shows the panel; give its address."""
    lines = (
        "import os; os.environ['TQDM_DISABLE'] = '1'",
        "import py4DSTEM, py4dstem_eer",
        f"cube = py4DSTEM.import_file({str(scan)!r})",
        f"cube.calibration.set_R_pixel_size({STEP}); cube.calibration.set_R_pixel_units('A')",
        "panel = py4DSTEM.process.phase.InteractiveSSB(cube, energy=80e3, semiangle_cutoff=25,",
        "    verbose=False, preprocess=dict(force_com_rotation=11.459, force_com_transpose=False))",
        "panel.show()",
    )
    with contextlib.ExitStack() as running:

        def start(application):
            folder = tmp_path_factory.mktemp(application)
            servers.write_notebook(folder / "panel.ipynb", "\n".join(lines))
            return running.enter_context(servers.jupyter(application, folder))

        yield start


@pytest.fixture(scope="module")
def lab(jupyter):
    return jupyter("lab")


@pytest.fixture(scope="module")
def in_voila(browser, command):
    watched = Watched(browser)
    watched.page.goto(command[0], timeout=PATIENCE)
    yield watched.ready()
    watched.page.close()


def in_notebook_of(application, browser, address):
    watched = Watched(browser)
    servers.open_notebook(watched.page, application, address, "panel.ipynb")
    # Notebook 7.6 complains of a missing schema while it loads any notebook
    watched.complaints.clear()
    servers.run_first_cell(watched.page)
    return watched.ready()


@pytest.fixture(scope="module")
def in_lab(browser, lab):
    watched = in_notebook_of("lab", browser, lab)
    yield watched
    watched.page.close()


@pytest.fixture(scope="module")
def in_notebook(browser, jupyter):
    watched = in_notebook_of("notebook", browser, jupyter("notebook"))
    yield watched
    watched.page.close()


@pytest.fixture(params=["in_lab", "in_notebook", "in_voila"])
def panel(request):
    watched = request.getfixturevalue(request.param)
    watched.page.bring_to_front()
    yield watched
    if watched.page.locator('.ssb-panel [data-action="undo"]').is_enabled():
        watched.frame_after(lambda: watched.click("reset"))


def test_it_renders_without_complaints_and_without_the_internet(panel):
    for area in ("left", "middle", "right"):
        assert panel.page.locator(f".ssb-panel .{area}").is_visible()
    assert panel.page.locator(".ssb-panel .trotter").count() == 9
    assert panel.page.locator('[data-fact="dose"]').inner_text().endswith("e⁻/Å²")
    assert len(panel.image()) > 20_000
    assert panel.complaints == []
    assert panel.outside == []
    wide = panel.page.evaluate(
        """() => [...document.querySelectorAll('.ssb-panel :is(.area, .bar, .knob)')]
        .filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.className)"""
    )
    assert wide == []


def test_dragging_defocus_changes_image_and_report(panel):
    before = panel.image()
    panel.frame_after(panel.drag("defocus", 0.6))
    reported = float(panel.text_of("defocus").input_value())
    assert reported > 20
    assert panel.image() != before
    panel.frame_after(lambda: panel.click("undo"))  # a drag is one step
    assert float(panel.text_of("defocus").input_value()) == 0
    assert panel.image() == before
    panel.frame_after(lambda: panel.click("redo"))
    assert float(panel.text_of("defocus").input_value()) == reported
    panel.frame_after(lambda: panel.page.dblclick('[data-name="defocus"] .caption'))
    assert float(panel.text_of("defocus").input_value()) == 0


def test_the_correct_defocus_is_sharper(panel):
    at = {d: panel.frame_after(panel.type("defocus", d))["sigma"] ** 2 for d in (160, DEFOCUS, 0)}
    assert at[DEFOCUS] > 1.2 * max(at[0], at[160])


def test_it_saves_what_py4dstem_reads(panel, tmp_path):
    panel.frame_after(panel.type("defocus", DEFOCUS))
    panel.page.fill(".ssb-panel .path", str(tmp_path / "panel.h5"))
    panel.frame_after(lambda: panel.click("save"))
    assert "wrote" in panel.message()
    phase = py4DSTEM.read(str(tmp_path / "panel.h5"))
    assert phase.data.shape == (80, 72)
    assert phase.metadata["parameters"]["aberrations"]["C10"] == -DEFOCUS
    panel.frame_after(lambda: panel.click("export"))
    assert (tmp_path / "panel.png").read_bytes()[1:4] == b"PNG"


def test_wrong_input_is_said_in_one_line_and_the_panel_stays_alive(panel):
    page = panel.page

    def says(text):
        page.wait_for_function(
            "t => document.querySelector('.ssb-panel .message.problem')?.innerText.includes(t)",
            arg=text,
        )
        assert "\n" not in panel.message()

    panel.type("defocus", "1e30")()
    says("the panel goes to")
    assert float(panel.text_of("defocus").input_value()) == 0
    panel.type("C21", "many")()
    says("is no number")
    page.fill(".ssb-panel .path", "/nowhere/at/all.h5")
    panel.click("save")
    says("there is no directory")
    panel.frame_after(panel.type("C21", 800))
    assert page.locator(".ssb-panel .message.problem").count() == 0


def test_tabs_zoom_and_profile(panel):
    page = panel.page
    box = page.locator("canvas.image").bounding_box()
    page.mouse.move(box["x"] + 150, box["y"] + 150)
    page.mouse.wheel(0, -600)
    page.wait_for_timeout(100)
    zoomed = panel.image()
    panel.frame_after(panel.type("C12", 30))
    assert panel.image() != zoomed
    panel.frame_after(panel.type("C12", 0))
    assert panel.image() == zoomed  # the zoom has survived
    page.click('[data-action="fit"]')
    page.click('.ssb-panel [data-value="profile"]')
    page.mouse.move(box["x"] + 50, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 250, box["y"] + 160, steps=4)
    page.mouse.up()
    page.wait_for_selector(".ssb-panel canvas.plot", state="visible")
    page.wait_for_timeout(300)
    panel.frame_after(lambda: page.dblclick("canvas.image"))
    page.click('.ssb-panel [data-value="move"]')
    for tab in ("amplitude", "FFT", "DPC", "phase"):
        before = panel.image()
        panel.frame_after(lambda tab=tab: page.click(f'.ssb-panel [data-value="{tab}"]'))
        assert panel.image() != before


def test_frequencies_are_picked_on_the_spectrum(panel):
    first = panel.page.locator(".trotter-box .caption").first
    before = first.inner_text()
    box = panel.page.locator(".spectrum-box").bounding_box()
    place = {"x": 0.62 * box["width"], "y": 0.41 * box["height"]}
    panel.frame_after(lambda: panel.page.click(".spectrum-box", position=place))
    assert first.inner_text() != before
    panel.frame_after(lambda: panel.click("strongest"))
    assert first.inner_text() == before


def test_two_tabs_do_not_disturb_each_other(browser, command, in_voila):
    other = Watched(browser)
    other.page.goto(command[0], timeout=PATIENCE)
    other.ready()
    before = in_voila.image()
    other.frame_after(other.type("defocus", 200))
    assert in_voila.image() == before
    assert float(in_voila.text_of("defocus").input_value()) == 0
    in_voila.frame_after(in_voila.type("C12", 40))
    assert float(other.text_of("C12").input_value()) == 0
    in_voila.frame_after(lambda: in_voila.click("reset"))
    # closing the tab ends its kernel, and no other
    kernels = kernels_of(command[1])
    other.page.close(run_before_unload=True)
    deadline = time.monotonic() + PATIENCE / 1000
    while len(kernels_of(command[1])) == len(kernels) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(kernels_of(command[1])) == len(kernels) - 1
    in_voila.frame_after(in_voila.type("C12", 7))
    in_voila.frame_after(lambda: in_voila.click("reset"))


def kernels_of(process):
    below = psutil.Process(process.pid).children(recursive=True)
    alive = [p for p in below if p.status() != psutil.STATUS_ZOMBIE]
    return [p for p in alive if "ipykernel_launcher" in " ".join(p.cmdline())]


def ask(url, method="GET"):
    request = urllib.request.Request(f"{url}?token={servers.TOKEN}", method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or "null")


def test_an_interrupted_kernel_and_a_page_closed_while_dragging(browser, lab, in_lab):
    (kernel,) = ask(f"{lab}/api/kernels")
    mouse, page = in_lab.page.mouse, in_lab.page
    page.bring_to_front()
    box = page.locator('[data-name="defocus"] input[type=range]').bounding_box()
    mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    mouse.down()
    for step in range(12):
        mouse.move(box["x"] + box["width"] * (0.5 + 0.03 * step), box["y"] + box["height"] / 2)
        ask(f"{lab}/api/kernels/{kernel['id']}/interrupt", "POST")
    mouse.up()
    frame = in_lab.frame_after(in_lab.type("defocus", DEFOCUS))
    assert frame["sigma"] > 0
    page.wait_for_selector(READY)
    # closed in the middle of a drag, the work ends
    mouse.move(box["x"] + 0.6 * box["width"], box["y"] + box["height"] / 2)
    mouse.down()
    mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2, steps=30)
    page.close()
    time.sleep(2)
    before = ask(f"{lab}/api/kernels")[0]
    time.sleep(1)
    after = ask(f"{lab}/api/kernels")[0]
    assert after["execution_state"] == "idle"
    assert after["last_activity"] == before["last_activity"]
    assert np.isfinite(frame["trip"])
