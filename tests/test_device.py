"""Devices and kernels: the same text on the CPU, on numba's CUDA simulator, and on a GPU."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import SIMULATOR

from py4dstem_eer.compiled import CompiledFunction, scalar_function
from py4dstem_eer.device import THREADS_PER_BLOCK, Device, get_device, kernel
from py4dstem_eer.errors import ParameterError
from py4dstem_eer.events import EventStore
from py4dstem_eer.methods.reductions import pattern_sum

ROOT = Path(__file__).parents[1]


@scalar_function
def _clipped(value, limit):
    return min(value, limit)


@kernel
def _row_sums(i, indptr, values, limit, out):
    """Sum of the clipped values of row i, in slot i."""
    total = 0.0
    for e in range(indptr[i], indptr[i + 1]):
        total += _clipped(values[e], limit)
    out[i] = total


@kernel(fastmath={"reassoc"})
def _scaled(i, values, factor, out):
    out[i] = values[i] * factor


def rows(n):
    rng = np.random.default_rng(n)
    lengths = rng.integers(0, 5, n)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return indptr, rng.random(indptr[-1])


@pytest.mark.parametrize("n", [1, 7, THREADS_PER_BLOCK, THREADS_PER_BLOCK + 1])
def test_kernel(device, n):
    where = get_device(device)
    indptr, values = rows(n)
    out = where.asarray(np.full(n, np.nan))
    _row_sums.launch(where, n, where.asarray(indptr), where.asarray(values), 0.5, out)
    expected = [np.minimum(values[a:b], 0.5).sum() for a, b in zip(indptr[:-1], indptr[1:])]  # noqa: B905, RUF007
    np.testing.assert_allclose(where.asnumpy(out), expected, atol=1e-12)


def test_kernel_with_options(device):
    where = get_device(device)
    values = np.arange(5, dtype=np.float32)
    out = where.asarray(np.zeros(5, np.float32))
    _scaled.launch(where, 5, where.asarray(values), np.float32(2), out)
    np.testing.assert_array_equal(where.asnumpy(out), 2 * values)


def test_nothing_to_do(device):
    where = get_device(device)
    _scaled.launch(where, 0, None, None, None)  # not even compiled


def test_only_the_first_items_are_done(device):
    where = get_device(device)
    out = where.asarray(np.zeros(5))
    _scaled.launch(where, 3, where.asarray(np.ones(5)), 4.0, out)
    assert where.asnumpy(out).tolist() == [4, 4, 4, 0, 0]


def test_kernel_keeps_its_name_and_text():
    assert _row_sums.__name__ == "_row_sums"
    assert "slot i" in _row_sums.__doc__


def test_arrays_move_to_the_device_and_back(device):
    where = get_device(device)
    array = where.asarray([1, 2, 3], dtype=np.float32)
    assert isinstance(array, where.xp.ndarray)
    back = where.asnumpy(array)
    assert isinstance(back, np.ndarray)
    assert back.dtype == np.float32
    spectrum = where.fft.fft(array, **where.fft_options())
    np.testing.assert_allclose(where.asnumpy(spectrum), np.fft.fft([1, 2, 3]), atol=1e-6)


def test_device_names(device):
    where = get_device(device)
    assert isinstance(where, Device)
    assert where.name == device
    assert get_device(device) is where


@pytest.mark.parametrize("name", ["cuda", "CPU", "", None])
def test_unknown_device(name):
    with pytest.raises(ParameterError, match='"cpu" or "gpu"'):
        get_device(name)


@pytest.mark.skipif(SIMULATOR, reason="the simulator stands in for a GPU")
def test_absent_gpu_is_an_error():
    try:
        get_device("gpu")
    except (ImportError, ValueError) as error:
        assert "cupy" in str(error) or "no NVIDIA GPU" in str(error)  # noqa: PT017
        assert "device=" in str(error)  # noqa: PT017
    else:
        pytest.skip("there is a GPU")


def test_absent_cupy_gives_the_install_line(monkeypatch):
    from py4dstem_eer import device as module

    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError, match=r"pip install \"py4dstem-eer\[gpu\]\""):
        module._gpu.__wrapped__()


SCRIPT = """
    import json
    import numpy as np
    from py4dstem_eer.device import get_device, kernel

    @kernel
    def double(i, values, out):
        out[i] = 2 * values[i]

    out = np.zeros(4)
    double.launch(get_device("cpu"), 4, np.arange(4.0), out)
    stats = double._cpu_launcher.stats
    hits, misses = (sum(n.values()) for n in (stats.cache_hits, stats.cache_misses))
    print(json.dumps([out.tolist(), hits, misses]))
"""


def test_second_process_compiles_nothing(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "NUMBA_CACHE_DIR": str(tmp_path),
        "NUMBA_ENABLE_CUDASIM": "0",
    }

    def run():
        done = subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, check=True
        )
        return json.loads(done.stdout)

    assert run() == [[0.0, 2.0, 4.0, 6.0], 0, 1]
    assert run() == [[0.0, 2.0, 4.0, 6.0], 1, 0]


def test_threads_that_call_first_share_one_compiled_function():
    """Its callers keep no more than a weak reference to it, so that a second one could vanish."""
    makers = []

    def make():
        makers.append(threading.current_thread())
        time.sleep(0.05)  # the others come meanwhile
        return abs

    function = CompiledFunction(make)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(function, range(-8, 0))) == list(range(8, 0, -1))
    assert len(makers) == 1


@pytest.mark.skipif(SIMULATOR, reason="this is the second process")
def test_under_the_cuda_simulator():
    """Run this file's kernel tests once more, in a process where numba simulates CUDA."""
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", __file__, "-k", "simulator"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def _sum_in_child(queue):
    queue.put(int(pattern_sum(EventStore.from_dense(np.ones((8, 8, 3, 3), np.uint8))).sum()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_kernels_run_in_a_forked_process():
    events = EventStore.from_dense(np.ones((8, 8, 3, 3), np.uint8))
    assert pattern_sum(events).sum() == 576  # starts the threads here
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_sum_in_child, args=(queue,))
    child.start()
    child.join(30)
    alive = child.is_alive()
    child.kill()
    assert not alive
    assert queue.get(timeout=5) == 576
