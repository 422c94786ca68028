"""Gathering the overlap entries of G(k, Q): scan transforms of a batch of pixels at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..device import Device, kernel
from ..errors import ParameterError
from ..progress import track
from .overlap_runs import OverlapRuns
from .run_tables import RunTables

#: Bytes of an entry. Of "half", one 32767th of the largest entry of its run is the unit.
ENTRY_BYTES = {"full": 8, "half": 4}
_HALF_STEPS = np.iinfo(np.int16).max
#: Detector pixels whose images are Fourier transformed at a time.
PIXELS_PER_BATCH = 32
#: Scan positions whose patterns stay in the cache while their pixels are sorted into images.
_POSITIONS_PER_BLOCK = 1024


def check_precision(precision: str) -> None:
    """Raise a ParameterError unless `precision` is one that `prepare` knows."""
    if precision not in ENTRY_BYTES:
        raise ParameterError(f'precision is {precision!r}; it must be "full" or "half"')


@kernel
def _gather_run(
    item, lanes, row, pixel, first, length, start, n_scan_rows, batch, planes, n_columns, steps,
    g_re, g_im, unit,
):  # fmt: skip
    """Copy one run of a batch of pixels out of its Fourier plane; `lanes` items share it.

    With `steps`, as whole numbers of units, up to so many; without, as they are.
    """
    r, lane = item // lanes, item % lanes
    plane = pixel[r] - batch
    if plane < 0 or plane >= planes.shape[0]:
        return
    # the row beyond the scan's own repeats the highest frequency, conjugated
    is_reversed = row[r] == n_scan_rows
    source = n_scan_rows // 2 if is_reversed else row[r]
    begin = source * n_columns + first[r]
    per_unit, half = np.float32(1), np.float32(0)
    if steps > 0:
        largest = np.float32(0)
        for j in range(length[r]):  # every lane finds it for itself
            value = planes[plane, begin + j]
            largest = max(largest, abs(value.real), abs(value.imag))
        unit[r] = largest / np.float32(steps)
        per_unit = np.float32(steps) / largest if largest > 0 else np.float32(0)
        half = np.float32(0.5)
    for j in range(lane, length[r], lanes):
        value = planes[plane, begin + j]
        re, im = value.real * per_unit, value.imag * per_unit
        im = -im if is_reversed else im
        if steps > 0:
            re, im = math.floor(re + half), math.floor(im + half)
        g_re[start[r] + j], g_im[start[r] + j] = re, im


@kernel
def _sort_into_images(block, stack, first, size, images):
    """Turn patterns, side by side, into one image for each pixel."""
    begin = block * size
    end = min(begin + size, stack.shape[0])
    for pixel in range(images.shape[0]):
        for position in range(begin, end):
            images[pixel, position] = stack[position, first + pixel]


def gather(
    stack: Any, runs: OverlapRuns, tables: RunTables, where: Device, half: bool
) -> tuple[Any, Any, Any]:
    """Return real and imaginary parts of all entries, and the units of their runs.

    Parameters
    ----------
    stack : (positions, pixels)
        Electrons of every aperture pixel at every scan position, on the device.
    runs, tables : OverlapRuns, RunTables
    where : Device
    half : bool
        Keep 16 bits of each part instead of float32.
    """
    steps, dtype = (_HALF_STEPS, np.int16) if half else (0, np.float32)
    g_re, g_im = (where.xp.empty(runs.n_entries, dtype) for _ in range(2))
    unit = where.xp.ones(len(runs.pixel), np.float32)
    of_run = (tables.row, tables.pixel, tables.first, tables.length, tables.start)
    n_rows, n_columns = runs.scan_shape[0], runs.scan_shape[1] // 2 + 1
    batches = range(0, stack.shape[1], PIXELS_PER_BATCH)
    for batch in track(batches, "Fourier transforms along the scan"):
        planes = _scan_transforms(stack, batch, runs, where)
        arguments = (where.lanes, *of_run, n_rows, batch, planes, n_columns, steps)
        _gather_run.launch(where, where.lanes * len(runs.pixel), *arguments, g_re, g_im, unit)
    return g_re, g_im, unit


def _scan_transforms(stack: Any, first: int, runs: OverlapRuns, where: Device) -> Any:
    """Return the real FFTs of a batch of pixels' images, flat, (pixels, Rx * (Ry // 2 + 1))."""
    n_positions = stack.shape[0]
    n_pixels = min(PIXELS_PER_BATCH, stack.shape[1] - first)
    images = where.xp.empty((n_pixels, n_positions), np.float32)
    # a thread of a GPU takes one position: its neighbours write beside it
    per_block = 1 if where.name == "gpu" else _POSITIONS_PER_BLOCK
    n_blocks = -(-n_positions // per_block)
    _sort_into_images.launch(where, n_blocks, stack, first, per_block, images)
    images = images.reshape(n_pixels, *runs.scan_shape)
    return where.fft.rfft2(images, **where.fft_options()).reshape(n_pixels, -1)
