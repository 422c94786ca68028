"""The benchmark runs, names its peers and writes what it prints."""

from __future__ import annotations

import json

import fake_gpu
import numpy as np
import pytest
from click.testing import CliRunner

from py4dstem_eer.bench import Row, as_table, gpu, reductions, run_bench, ssb, ssb_quantem
from py4dstem_eer.bench import reductions as bench_reductions
from py4dstem_eer.bench.timing import best_time, sum_time
from py4dstem_eer.cli import main
from py4dstem_eer.errors import ParameterError
from py4dstem_eer.events import EventStore


def test_rows_are_printed_and_returned(monkeypatch):
    small = bench_reductions.random_events(8, 50)
    monkeypatch.setattr(bench_reductions, "random_events", lambda side: small)
    disks = bench_reductions.disk_events(8, 900)
    monkeypatch.setattr(bench_reductions, "disk_events", lambda side: disks)
    lines: list[str] = []
    results = run_bench(["reductions"], False, lines.append)
    rows = results["rows"]["reductions"]
    assert [row["what"] for row in rows][:2] == ["centre of mass", "sum of all patterns"]
    assert all(row["ours"] > 0 for row in rows)
    assert len(lines) == len(rows) + 2
    json.dumps(results)


def test_events_in_a_disk_have_counts():
    disks = bench_reductions.disk_events(4, 900)
    assert set(np.unique(disks.counts)) >= {1, 2}
    assert disks.n_events == 16 * 900


def test_random_events_are_canonical():
    events = bench_reductions.random_events(5, 400)
    events.validate()
    assert events.n_events == 25 * 400


def test_ratio_is_theirs_over_ours():
    line = as_table([Row("this", 0.5, "s", "peer", 2.0, 0.1, "fast")])
    assert "4.0x" in line
    assert "500.0 ms" in line
    assert "2.00 s" in line
    assert "100.0 ms  0.20" in line


def test_scaling_case_is_the_papers_geometry():
    case = ssb._Case(32)
    store = case.prepare()
    assert len(case.grid.pixels) == 256
    assert store.runs.scan_shape == (32, 32)


def test_a_peer_that_is_not_there_is_left_out_with_a_remark(monkeypatch):
    monkeypatch.setattr(ssb_quantem, "installed", lambda package: False)
    (remark,) = ssb_quantem.rows(32)
    monkeypatch.setattr(ssb, "rows", lambda full: iter([remark, Row("this", 0.5)]))
    lines: list[str] = []
    results = run_bench(["ssb"], False, lines.append)
    assert "quantem is not installed" in remark
    assert remark in lines
    assert [row["what"] for row in results["rows"]["ssb"]] == ["this"]


def test_our_part_beside_quantem_is_the_object_of_those_counts():
    counts = np.random.default_rng(0).poisson(1.5, (9, 8, 20, 20)).astype(np.uint8)
    store = ssb_quantem._prepare(EventStore.from_dense(counts))
    assert store.total == counts.sum()
    assert store.runs.n_entries > 0


def test_times_are_positive():
    assert best_time(lambda: np.ones(10).sum(), 2) > 0
    assert sum_time(np.ones(6400, np.uint16)) > 0


def test_unknown_parts_are_refused():
    with pytest.raises(ParameterError, match="unknown part sbb"):
        run_bench(["sbb"], False, print)
    assert CliRunner().invoke(main, ["bench", "sbb"]).exit_code == 1


def test_the_gpu_is_measured(monkeypatch):
    fake_gpu.install(monkeypatch)
    few, ssb_rows = reductions.random_events(4), gpu._ssb
    monkeypatch.setattr(gpu, "_bandwidth", lambda where: 1e12)
    monkeypatch.setattr(gpu, "best_time", lambda call, runs: call() or 1.0)
    monkeypatch.setattr(gpu, "random_events", lambda side: few)
    monkeypatch.setattr(gpu, "_ssb", lambda where, side, *rest: ssb_rows(where, 24, *rest))
    results = run_bench([], True, lambda line: None, "gpu")
    names = [row["what"] for row in results["rows"]["gpu"]]
    assert sum("redraw" in name for name in names) == 8
    assert sum("30" in name and "pixels: prepare" in name for name in names) == 1
    with pytest.raises(ParameterError, match="there are gpu"):
        run_bench(["ssb"], False, lambda line: None, "gpu")
