"""How much memory a dense array may take before it is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from .errors import MemoryBudgetError, ParameterError

GIB = 2**30
_FRACTION_OF_FREE = 0.25

_budget: int | None = None


def set_dense_budget(n_bytes: int | None) -> None:
    """Set the largest dense array that a sparse cube may be turned into.

    Parameters
    ----------
    n_bytes : int or None
        Bytes; None (the default) is a quarter of the memory that is free at the time.

    Raises
    ------
    ParameterError
        If it is negative, or not a whole number.
    """
    global _budget
    _budget = None if n_bytes is None else _parse_bytes(n_bytes)


def _parse_bytes(n_bytes: Any) -> int:
    is_number = isinstance(n_bytes, (int, float, np.integer))
    if not is_number or n_bytes < 0 or n_bytes % 1 != 0:  # of nan and infinity that is nan
        raise ParameterError(
            f"the memory budget is {n_bytes!r} bytes; give a whole number from 0 on, or None"
        )
    return int(n_bytes)


def dense_budget() -> int:
    """Return the largest dense array allowed now [bytes]."""
    return int(_FRACTION_OF_FREE * available_bytes()) if _budget is None else _budget


def fits(n_bytes: int, held: int = 0) -> bool:
    """Return whether a copy may be kept for speed; `held` bytes of it are in memory already."""
    if _budget is not None:
        return n_bytes <= _budget
    return n_bytes <= _FRACTION_OF_FREE * (available_bytes() + held)


def available_bytes() -> int:
    """Return the memory that can be had without swapping [bytes]."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf"):  # macOS knows its physical memory only
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 4 * GIB


def check_dense(n_bytes: int, what: str) -> None:
    """Refuse a dense array beyond the budget.

    Raises
    ------
    MemoryBudgetError
        With the size, the budget, and the ways out.
    """
    budget = dense_budget()
    if n_bytes > budget:
        raise MemoryBudgetError(
            f"{what} would take {n_bytes / GIB:.3g} GiB of memory, the budget is "
            f"{budget / GIB:.3g} GiB: make the cube smaller with bin_Q(N), crop_Q(ROI) or "
            "crop_R(ROI), use EventSSB or EventDPC, which work on the events, or raise the limit "
            "with py4dstem_eer.set_dense_budget(n_bytes)"
        )
