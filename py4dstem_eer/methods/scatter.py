"""Sums over patterns on a GPU: thousands of threads share one accumulator, by atomic additions.

On the CPU each thread has an accumulator of its own, see `reductions`; that would leave a GPU with
as many threads as the CPU has.
"""

from __future__ import annotations

from typing import Any

from ..device import Device


def scattered_sum(lists: tuple, n_pixels: int, weights: Any, where: Device) -> Any:
    """Return the sum of patterns, (n_pixels,) on the device [electrons].

    Parameters
    ----------
    lists : (indptr, indices, counts), on the device
        `counts` is empty if every entry is one electron.
    n_pixels : int
    weights : (patterns,) or None
        Factor for every pattern, real or complex.
    where : Device
    """
    indptr, indices, counts = lists
    amounts = counts.astype(where.xp.float64) if len(counts) > 0 else None
    if weights is not None:
        factors = where.asarray(weights)[_pattern_of_entries(indptr, where)]
        amounts = factors if amounts is None else factors * amounts
    return _add_up(indices, amounts, n_pixels, where)


def scattered_max(lists: tuple, n_pixels: int, where: Device) -> Any:
    """Return the largest count of every pixel, (n_pixels,) uint32 on the device."""
    _, indices, counts = lists
    largest = where.xp.zeros(n_pixels, where.xp.uint32)
    amounts = counts if len(counts) > 0 else where.xp.ones(1, where.xp.uint32)
    where.xp.maximum.at(largest, indices.astype(where.xp.int64), amounts.astype(largest.dtype))
    return largest


def _pattern_of_entries(indptr: Any, where: Device) -> Any:
    """Return which pattern each entry belongs to, (entries,)."""
    n_entries = int(indptr[-1])
    # an entry's pattern is the number of patterns that ended before it
    ends = where.xp.bincount(indptr[1:-1], minlength=n_entries + 1)
    return where.xp.cumsum(ends)[:n_entries]


def _add_up(indices: Any, amounts: Any, n_pixels: int, where: Device) -> Any:
    if amounts is not None and amounts.dtype.kind == "c":
        parts = [_add_up(indices, part, n_pixels, where) for part in (amounts.real, amounts.imag)]
        return parts[0] + 1j * parts[1]
    return where.xp.bincount(indices, amounts, n_pixels)
