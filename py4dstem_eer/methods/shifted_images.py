"""Virtual images whose detector follows the beam from position to position."""

from __future__ import annotations

import numpy as np

from ..device import get_device, kernel
from ..events import EventStore
from ..progress import track
from .blocks import filling, lists_on
from .com import row_divider, row_of


@kernel
def _weigh_shifted(p, indptr, indices, counts, mask, shift_x, shift_y, subpixel, divider, image):
    """Sum the events of one pattern under the mask, rolled by a whole and a partial pixel."""
    rows, columns = mask.shape
    sx, sy = shift_x[p], shift_y[p]
    if not subpixel:
        sx, sy = np.rint(sx), np.rint(sy)
    floor_x, floor_y = np.int64(np.floor(sx)), np.int64(np.floor(sy))
    wx, wy = sx - floor_x, sy - floor_y
    whole = wx == 0 and wy == 0
    # where an event looks the mask up, counted from 0 on
    start_x, start_y = -floor_x % rows, -floor_y % columns
    total = mask[0, 0] * 0
    for e in range(indptr[p], indptr[p + 1]):
        row = np.int64(row_of(indices[e], divider[0], divider[1]))
        r, c = row + start_x, np.int64(indices[e]) - row * columns + start_y
        if r >= rows:
            r -= rows
        if c >= columns:
            c -= columns
        value = mask[r, c]
        if not whole:
            above, left = (r if r > 0 else rows) - 1, (c if c > 0 else columns) - 1
            value = (
                value * (1 - wx) * (1 - wy)
                + mask[above, c] * wx * (1 - wy)
                + mask[r, left] * (1 - wx) * wy
                + mask[above, left] * wx * wy
            )
        total += value * counts[e] if len(counts) > 0 else value
    image[p] = total


def shifted_virtual_image(
    events: EventStore,
    mask: np.ndarray,
    shift_x: np.ndarray,
    shift_y: np.ndarray,
    subpixel: bool,
) -> np.ndarray:
    """Return the sum of every pattern under a mask that is shifted with the pattern's origin.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    mask : (Qx, Qy) bool, real or complex
    shift_x, shift_y : (Rx, Ry)
        Shift of the mask along detector (rows, columns) [px], with periodic edges.
    subpixel : bool
        Shift by fractions, bilinearly, as py4DSTEM does; otherwise round.

    Returns
    -------
    image : (Rx, Ry) float64 or complex128
        [electrons]
    """
    shifts = [np.ascontiguousarray(shift, np.float64) for shift in (shift_x, shift_y)]
    divider = np.array(row_divider(events.detector_shape))
    image = np.empty(events.scan_shape, np.complex128 if np.iscomplexobj(mask) else np.float64)
    if mask.size == 0:
        return np.zeros_like(image)
    mask = mask.astype(image.dtype)
    cpu = get_device("cpu")
    for first, block in track(events.blocks(), "Virtual image"):
        own = (shift[first : first + block.scan_shape[0]].ravel() for shift in shifts)
        with filling(image, first, block, cpu) as part:
            lists = (*lists_on(block, cpu), mask, *own, subpixel, divider)
            _weigh_shifted.launch(cpu, block.n_patterns, *lists, part)
    return image
