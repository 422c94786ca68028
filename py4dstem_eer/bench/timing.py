"""Time and memory of one call."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..device import Device, get_device, kernel

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"


def best_time(call: Callable[[], Any], runs: int = 3) -> float:
    """Return the shortest duration of a call [s], after one that compiles and warms up."""
    call()
    return min(_time(call) for _ in range(runs))


def single_time(call: Callable[[], Any]) -> float:
    """Return the duration of one call [s], for peers that take long."""
    return _time(call)


def peak_memory(call: Callable[[], Any]) -> float | None:
    """Return how much resident memory a call needs at most beyond what is held before [bytes].

    None where the system does not tell (anything but Linux).
    """
    if not _CLEAR_REFS.exists():
        return None
    before = _resident("VmRSS")
    _CLEAR_REFS.write_text(_RESET_PEAK)
    call()
    return _resident("VmHWM") - before


def _time(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _resident(field: str) -> float:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024.0 * int(line.split()[1])
    return float("nan")


@kernel(fastmath=True)
def _sum_part(part, values, size, sums):
    total = np.uint64(0)
    own = values[part * size : (part + 1) * size]
    for k in range(len(own)):
        total += np.uint64(own[k])
    sums[part] = total


def sum_time(values: np.ndarray, device: Device | None = None) -> float:
    """Return how long the same threads take to read an array once and add it up [s]."""
    where = device or get_device("cpu")
    parts = 64
    size = len(values) // parts
    sums = np.zeros(parts, np.uint64)
    return best_time(lambda: _sum_part.launch(where, parts, values, size, sums), runs=5)
