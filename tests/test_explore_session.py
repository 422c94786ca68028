"""Messages of the panel and their answers, and the widget without a browser."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from py4dstem_eer import InteractiveSSB
from py4dstem_eer.bridge.cube import SparseDataCube
from py4dstem_eer.bridge.ssb import EventSSB
from py4dstem_eer.errors import EventError
from py4dstem_eer.explore import panel as panel_module
from py4dstem_eer.explore.session import Session

PREPROCESS = {"center": (7, 7), "bf_radius": 6.3, "force_com_rotation": 0,
              "force_com_transpose": False, "detector_size": 10}  # fmt: skip


def cube_of(data):
    cube = SparseDataCube.from_dense(data.astype(np.uint16))
    cube.calibration.set_R_pixel_size(0.4)
    cube.calibration.set_R_pixel_units("A")
    return cube


@pytest.fixture
def cube():
    return cube_of(np.random.default_rng(0).poisson(2.0, (9, 8, 14, 15)))


@pytest.fixture
def panel(cube):
    beam = {"energy": 80e3, "semiangle_cutoff": 25, "verbose": False}
    return InteractiveSSB(cube, preprocess=PREPROCESS, **beam, defocus=800.0)


@pytest.fixture
def session(panel):
    return panel.session


def ask(session, kind, **body):
    return session.answer({"kind": kind, "view": "v", "seq": 7, **body})


def test_the_first_answer_has_all_that_the_panel_shows(session):
    reply = ask(session, "ready")
    json.dumps(reply.content)  # as it travels
    assert reply.content["view"] == "v"
    assert reply.content["seq"] == 7
    assert reply.content["arrays"] == list(reply.arrays)
    assert {"image", "trotters", "spectrum", "colors", "hues"} == set(reply.arrays)
    assert [len(b) for b in reply.buffers] == [a.size for a in reply.arrays.values()]
    assert reply.content["controls"][0]["name"] == "defocus"
    assert reply.content["controls"][0]["value"] == 800.0
    fixed = reply.content["fixed"]
    assert fixed["per_pattern"] == pytest.approx(2 * 14 * 15, rel=0.05)
    assert fixed["per_area"] == pytest.approx(fixed["per_pattern"] / 0.16)
    assert tuple(fixed["scan"]) == (9, 8)


def test_it_is_said_why_there_is_nothing_to_see(session):
    # 64 patterns of noise
    assert "nothing above the noise" in ask(session, "ready").content["said"]
    assert "a phase alone" in ask(session, "show", tab="amplitude").content["said"]
    assert ask(session, "change", changes={"weighting": "sum"}).content["said"] == ""


def test_what_does_not_change_is_not_sent_again(session):
    ask(session, "ready")
    first = ask(session, "change", changes={"weighting": "sum"})
    reply = ask(session, "change", changes={"C21": 400.0}, commit=False)
    assert set(reply.arrays) == {"image", "trotters", "colors"}
    assert not np.array_equal(reply.arrays["image"], first.arrays["image"])
    assert "C21=400.0" in reply.content["call"]
    assert reply.content["can_undo"]
    assert "spectrum" in ask(session, "change", changes={"rotation": 30.0}).arrays
    assert "spectrum" not in ask(session, "undo").content.get("said", "")


def test_tabs_forms_and_contrast_are_shown(session):
    ask(session, "ready")
    reply = ask(session, "show", form="cartesian", orders=5, tab="FFT", colormap="gray")
    names = [c["name"] for c in reply.content["controls"]]
    assert names[:3] == ["defocus", "C12a", "C12b"]
    assert len(names) == 25
    assert reply.content["image"]["fourier"]
    assert bytes(reply.arrays["colors"][:6]) == bytes([0, 0, 0, 1, 1, 1])
    reply = ask(session, "show", low=5, high=70, hold=True)
    assert tuple(reply.content["contrast"]) == (5, 70)
    assert reply.content["held"]
    reply = ask(session, "show", tab="phase", line=[0, 0, 5, 5])
    assert len(reply.arrays["profile"]) > 5
    assert reply.arrays["profile"].dtype == np.float32
    assert "profile" not in ask(session, "show", line=None).arrays


def test_undo_redo_reset_pick(session):
    first = ask(session, "ready")
    ask(session, "change", changes={"defocus": 3.0})
    assert ask(session, "undo").content["controls"][0]["value"] == 800.0
    assert ask(session, "redo").content["controls"][0]["value"] == 3.0
    reply = ask(session, "reset", names=["defocus"])
    np.testing.assert_array_equal(reply.arrays["image"], first.arrays["image"])
    row, column = first.content["trotters"]["frequencies"][2]
    reply = ask(session, "pick", slot=0, row=row, column=column)
    assert reply.content["trotters"]["frequencies"][0] == [row, column]
    reply = ask(session, "strongest")
    assert reply.content["trotters"] == first.content["trotters"]


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("change", {"changes": {"defocus": 1e30}}, "the panel goes to"),
        ("change", {"changes": {"C99": 1}}, "C99"),
        ("change", {"changes": {"sideband": "left", "weighting": "snr"}}, "both sidebands"),
        ("change", {}, "KeyError"),
        ("change", {"changes": 3}, "TypeError"),
        ("show", {"tab": "depth"}, "tab"),
        ("show", {"low": 90, "high": 10}, "percentiles"),
        ("show", {"line": [0, 0, 99, 0]}, "leaves the image"),
        ("show", {"colormap": "mauve"}, "colormap"),
        ("show", {"orders": 9}, "orders"),
        ("show", {"form": "oval"}, "form"),
        ("pick", {"slot": 0, "row": 1e6, "column": 1e6}, "no disks overlap"),
        ("save", {"path": "/nowhere/x.h5"}, "there is no directory"),
        ("save", {"path": "x.txt"}, "must end in"),
        ("export", {"path": "/nowhere/x.png"}, "there is no directory"),
        ("dance", {}, "means nothing"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_the_panel_stays_alive(
    session, kind, body, text
):
    first = ask(session, "ready")
    reply = ask(session, kind, **body)
    assert text in reply.content["problem"]
    assert "\n" not in reply.content["problem"]
    assert (reply.content["view"], reply.content["seq"]) == ("v", 7)
    assert reply.content["settings"] == first.content["settings"]
    assert reply.content["controls"] == first.content["controls"]
    after = ask(session, "show", tab="phase")
    assert "problem" not in after.content
    np.testing.assert_array_equal(after.arrays["image"], first.arrays["image"])


def test_a_target_that_is_not_writable(session, tmp_path):
    ask(session, "ready")
    (tmp_path / "taken.h5").mkdir()
    problem = ask(session, "save", path=str(tmp_path / "taken.h5")).content["problem"]
    assert "there already" in problem
    (tmp_path / "data.h5").write_text("precious")
    assert (
        "there already" in ask(session, "save", path=str(tmp_path / "data.h5")).content["problem"]
    )
    assert (tmp_path / "data.h5").read_text() == "precious"
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if not os.access(closed, os.W_OK):
        assert "problem" in ask(session, "save", path=str(closed / "x.h5")).content


def test_its_own_file_may_be_written_again(session, tmp_path):
    ask(session, "ready")
    for suffix, kind in ((".h5", "save"), (".png", "export")):
        target = str(tmp_path / f"panel{suffix}")
        for _ in range(2):
            assert ask(session, kind, path=target).content["said"] == f"wrote {target}"


def test_an_interrupt_is_answered(session, monkeypatch):
    first = ask(session, "ready")

    def interrupted(*arguments, **keywords):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EventSSB, "reconstruct", interrupted)
        reply = ask(session, "change", changes={"defocus": 5.0})
    assert "interrupted" in reply.content["problem"]
    assert reply.content["controls"][0]["value"] == 800.0
    after = ask(session, "ready")
    np.testing.assert_array_equal(after.arrays["image"], first.arrays["image"])


def test_a_cube_without_a_disk_gives_a_panel_that_says_so(cube):
    panel = InteractiveSSB(cube, energy=80e3, semiangle_cutoff=25, verbose=False)
    reply = ask(panel.session, "ready")
    assert "disk" in reply.content["problem"]
    empty = cube_of(np.zeros((6, 5, 14, 15)))
    nothing = InteractiveSSB(empty, energy=80e3, semiangle_cutoff=25, verbose=False)
    assert "empty" in ask(nothing.session, "ready").content["problem"]
    assert "problem" in ask(panel.session, "change", changes={"defocus": 1.0}).content
    with pytest.raises(EventError, match="disk"):
        _ = panel.ssb
    with pytest.raises(EventError):  # what is wrong with the call itself is said at once
        InteractiveSSB(cube, energy=80, semiangle_cutoff=25)


def test_a_reconstruction_is_taken_as_it_is_or_preprocessed(cube, panel):
    ssb = EventSSB(80e3, cube, 25, verbose=False)
    assert InteractiveSSB(ssb, preprocess=PREPROCESS).ssb.disk.radius == 6.3
    again = InteractiveSSB(panel.ssb)
    assert again.ssb.disk.radius == 6.3
    assert again.explorer.value("defocus") == 800.0


def test_the_widget_answers_messages_with_bytes(panel, monkeypatch):
    pytest.importorskip("anywidget")
    widget = panel.show()
    assert panel.show() is widget
    sent = []
    monkeypatch.setattr(widget, "send", lambda content, buffers: sent.append((content, buffers)))
    widget._handle_custom_msg({"kind": "ready", "view": "a", "seq": 1}, [])
    ((content, buffers),) = sent
    assert content["kind"] == "reply"
    assert len(buffers) == len(content["arrays"])
    assert len(buffers[0]) == 72
    panel.explorer.change(C21=500.0)
    panel.refresh()
    assert "C21=500.0" in sent[-1][0]["call"]
    assert sent[-1][0]["view"] is None
    panel.close()
    panel.refresh()
    assert len(sent) == 2
    assert panel.show() is not widget


def test_the_front_end_is_one_module_that_asks_nothing_of_the_internet():
    module = panel_module.front_end()
    assert module.count("export default") == 1
    assert "import " not in module
    for text in (module, panel_module._static("panel.css")):
        assert "//cdn" not in text
        assert "https:" not in text
        assert "url(" not in text


def test_without_anywidget_the_install_line_is_given(panel, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "anywidget", None)
    panel_module.panel_class.cache_clear()
    with pytest.raises(ImportError, match=r"pip install"):
        panel.show()
    panel_module.panel_class.cache_clear()


def test_a_session_counts_its_frames(session):
    assert isinstance(session, Session)
    ask(session, "ready")
    ask(session, "dance")
    ask(session, "undo")
    assert session.n_frames == 2
