"""Time from slider to screen and growth of memory, in the browser; prints the figures.

``python -m tests.browser.measure [scan side ...] [--updates N]``
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil

from . import servers

SIDES = (512, 1024)
#: Of a frame: from message to screen, reconstruction, all of the kernel's work, drawing.
PARTS = ("trip", "reconstruction", "kernel", "drawing")
READY = '.ssb-panel[data-state="ready"]'
#: A scan of random electrons: what is timed does not depend on what they show.
CELL = """
import os; os.environ["TQDM_DISABLE"] = "1"
import numpy as np, py4DSTEM, py4dstem_eer
from py4dstem_eer.simulate import nanotube_phase, simulate_events
side, tile = {side}, 128
events, _ = simulate_events(nanotube_phase((tile, tile), 0.32, energy=80e3), 0.32, energy=80e3,
    semiangle=25, electrons_per_pattern=100, aberrations=dict(defocus=60), flyback=False,
    detector_shape=(64, 64), disk_center=(31.5, 31.5), disk_radius=20)
pattern = np.arange(tile * tile).reshape(tile, tile)
order = np.tile(pattern, (side // tile, side // tile)).ravel()
counts = np.diff(events.indptr)[order]
indptr = np.concatenate([[0], np.cumsum(counts)])
at = np.repeat(events.indptr[order] - indptr[:-1], counts) + np.arange(indptr[-1])
tiled = py4dstem_eer.EventStore((side, side), events.detector_shape, indptr, events.indices[at])
cube = py4DSTEM.SparseDataCube(tiled)
panel = py4DSTEM.process.phase.InteractiveSSB(cube, energy=80e3, semiangle_cutoff=25, verbose=False,
    preprocess=dict(force_com_rotation=0, force_com_transpose=False, force_scan_sampling=0.32))
panel.show()
"""
#: Turn the defocus as a hand does, at most once a screen frame, and await each update or do not.
DRAG = """
async ([updates, drag]) => {
  const slider = document.querySelector('[data-name="defocus"] input[type=range]');
  const times = [], frames = [];
  const frame = () => new Promise((done) => addEventListener("ssb-frame", done, { once: true }));
  const watch = ({ detail }) => { times.push(...detail.times); frames.push(detail); };
  addEventListener("ssb-frame", watch);
  const middle = (Number(slider.max) + Number(slider.min)) / 2;
  const reach = Number(slider.max) - middle;
  for (let i = 0; times.length < updates; i++) {
    slider.value = middle + 0.4 * reach * Math.sin(i / 7);
    const drawn = frame();
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await (drag ? new Promise((done) => setTimeout(done, 16)) : drawn);
  }
  if (drag) await frame();
  removeEventListener("ssb-frame", watch);
  return { times, frames };
}
"""


def percentiles(values):
    return f"median {np.median(values):.0f} ms, p95 {np.percentile(values, 95):.0f} ms"


def page_bytes(page):
    """Return the bytes of the page's JavaScript heap after a collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    return session.send("Runtime.getHeapUsage")["usedSize"]


def kernel_of():
    below = psutil.Process().children(recursive=True)
    return next(p for p in below if "ipykernel_launcher" in " ".join(p.cmdline()))


def measure(page, side, updates, say):
    page.wait_for_selector(READY, timeout=600_000)
    page.evaluate(DRAG, [20, False])
    steps = page.evaluate(DRAG, [60, False])
    drag = page.evaluate(DRAG, [300, True])
    say(f"{side}², one step at a time, slider to screen: {percentiles(steps['times'])}")
    say(f"{side}², dragged at 60 Hz, every movement to screen: {percentiles(drag['times'])}")
    say(f"{side}², dragged: {len(drag['times'])} movements in {len(drag['frames'])} frames")
    for how, frames in (("one step at a time", steps["frames"]), ("dragged", drag["frames"])):
        parts = ((part, percentiles([f[part] for f in frames])) for part in PARTS)
        say(f"{side}², {how}: " + "; ".join(f"{part} {text}" for part, text in parts))
    if updates:
        kernel = kernel_of()
        page.evaluate(DRAG, [100, False])
        before = kernel.memory_info().rss, page_bytes(page)
        page.evaluate(DRAG, [updates, False])
        after = kernel.memory_info().rss, page_bytes(page)
        grown = [(b - a) / 1e6 for a, b in zip(before, after, strict=True)]
        text = f"kernel {grown[0]:.1f} MB, page {grown[1]:.1f} MB"
        say(f"{side}², growth over {updates} updates: {text}")


def main(say=lambda text: sys.stdout.write(text + "\n")):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sides", nargs="*", type=int, default=SIDES)
    parser.add_argument("--updates", type=int, default=1000)
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side in arguments.sides:
            servers.write_notebook(folder / f"{side}.ipynb", CELL.format(side=side))
        browser = driver.chromium.launch(
            executable_path=servers.chromium(),
            args=["--no-sandbox", "--enable-precise-memory-info"],
        )
        with servers.jupyter("lab", folder) as address:
            for side in arguments.sides:
                page = browser.new_page(viewport={"width": 1600, "height": 1000})
                page.set_default_timeout(600_000)
                servers.open_notebook(page, "lab", address, f"{side}.ipynb")
                servers.run_first_cell(page)
                say(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
                measure(page, side, arguments.updates if side == min(arguments.sides) else 0, say)
                page.close()
                kernel_of().kill()
        browser.close()


if __name__ == "__main__":
    main()
