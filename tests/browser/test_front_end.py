"""The front end in a page that is no Jupyter: what it asks of the application that shows it."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from py4dstem_eer import InteractiveSSB
from py4dstem_eer.bridge.cube import SparseDataCube
from py4dstem_eer.explore.panel import front_end

from .watched import Watched

#: Nothing may be fetched, as in a notebook of VS Code without a network.
PAGE = """<!doctype html><meta http-equiv="Content-Security-Policy" content="default-src 'none';
script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'"><body></body>"""
#: How applications hand over the buffers of a message.
BUFFERS = {
    "DataView": "(bytes) => new DataView(bytes.buffer)",
    "ArrayBuffer": "(bytes) => bytes.buffer",
    "Uint8Array": "(bytes) => bytes",
    "part of a buffer": """(bytes) => {
      const larger = new Uint8Array(bytes.length + 5);
      larger.set(bytes, 3);
      return larger.subarray(3, 3 + bytes.length);
    }""",
}
#: Render the module as anywidget does, with a model that asks Python.
RENDER = """
async (source) => {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const { default: widget } = await import(url);
  const listeners = new Set();
  const buffer = BUFFERED;
  const model = {
    on: (name, listener) => { if (name === "msg:custom") listeners.add(listener); },
    off: (name, listener) => listeners.delete(listener),
    send: async (message) => {
      const reply = JSON.parse(await ask(JSON.stringify(message)));
      await new Promise((done) => setTimeout(done, 200));  // as on a slow network
      const buffers = reply.buffers.map((text) =>
        buffer(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))));
      for (const listener of listeners) listener({ kind: "reply", ...reply.content }, buffers);
    },
  };
  window.close_panel = widget.render({ model, el: document.body });
  window.count_listeners = () => listeners.size;
}
"""


@pytest.fixture
def session():
    counts = np.random.default_rng(0).poisson(2.0, (16, 18, 14, 15)).astype(np.uint16)
    cube = SparseDataCube.from_dense(counts)
    cube.calibration.set_R_pixel_size(0.4)
    cube.calibration.set_R_pixel_units("A")
    preprocess = {"center": (7, 7), "bf_radius": 6.3, "force_com_rotation": 0,
                  "force_com_transpose": False, "detector_size": 10}  # fmt: skip
    beam = {"energy": 80e3, "semiangle_cutoff": 25, "verbose": False}
    panel = InteractiveSSB(cube, preprocess=preprocess, **beam)
    panel.explorer.change(weighting="sum")  # there is nothing but noise
    return panel.session


def answered(session, message):
    reply = session.answer(json.loads(message))
    buffers = [base64.b64encode(b).decode() for b in reply.buffers]
    return json.dumps({"content": reply.content, "buffers": buffers})


@pytest.mark.parametrize("buffered", BUFFERS)
def test_it_needs_its_own_text_and_buffers_of_any_kind_alone(browser, session, buffered):
    watched = Watched(browser)
    page = watched.page
    page.expose_function("ask", lambda message: answered(session, message))
    page.set_content(PAGE)
    page.evaluate(RENDER.replace("BUFFERED", BUFFERS[buffered]), front_end())
    watched.ready()
    before = watched.image()
    watched.frame_after(watched.drag("defocus", 0.7))
    assert float(watched.text_of("defocus").input_value()) == session.explorer.value("defocus") > 0
    assert watched.image() != before
    watched.frame_after(watched.type("defocus", 0))
    assert watched.image() == before
    assert (watched.complaints, watched.outside) == ([], [])
    page.evaluate("close_panel()")
    assert page.evaluate("count_listeners()") == 0
    page.close()


def test_a_late_answer_does_not_turn_the_knob_back(browser, session):
    watched = Watched(browser)
    page = watched.page
    page.expose_function("ask", lambda message: answered(session, message))
    page.set_content(PAGE)
    page.evaluate(RENDER.replace("BUFFERED", BUFFERS["DataView"]), front_end())
    watched.ready()
    seen = page.evaluate(
        """async () => {
          const text = document.querySelector('[data-name="defocus"] input[type=text]');
          const slider = document.querySelector('[data-name="defocus"] input[type=range]');
          const seen = [];
          const frame = () => new Promise((done) =>
            addEventListener("ssb-frame", done, { once: true }));
          for (const value of [0.2, 0.4]) {
            slider.value = value * slider.max;
            slider.dispatchEvent(new Event("input", { bubbles: true }));
          }
          slider.dispatchEvent(new Event("change", { bubbles: true }));
          const wanted = text.value;
          for (let i = 0; i < 2; i++) { await frame(); seen.push(text.value === wanted); }
          return seen;
        }"""
    )
    assert seen == [True, True]
    page.close()
