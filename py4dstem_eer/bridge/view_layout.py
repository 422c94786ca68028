"""numpy's functions that move axes or add empty edges, on events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..detector import PixelMap, transpose_map
from ..events import EventStore
from ..methods.pixel_order import by_pixel, scan_transposed


def _moved(function: Callable) -> Callable[..., EventStore | None]:
    """Return `function` for events; it gives None where scan and detector axes mix."""

    def move(events: EventStore, *arguments: Any, **options: Any) -> EventStore | None:
        # the sides of an array whose side n is n long tell which axis went where
        axes = function(np.empty((0, 1, 2, 3)), *arguments, **options).shape
        if {axes[0], axes[1]} not in ({0, 1}, {2, 3}):
            return None
        if axes[0] > 1:
            events, axes = by_pixel(events), tuple((a + 2) % 4 for a in axes)
        pixel_map = None if axes[2] == 2 else transpose_map(events.detector_shape)
        if axes[0] == 1:
            return scan_transposed(events, pixel_map)
        return events if pixel_map is None else events.mapped(pixel_map)

    return move


def _padded(
    events: EventStore, pad_width: Any, mode: Any = "constant", constant_values: Any = 0
) -> EventStore | None:
    """Return events on a detector with empty edges; None if that is not what is asked for."""
    width = np.broadcast_to(np.asarray(pad_width), (4, 2))
    whole = width.dtype.kind in "iu" and not width[:2].any() and (width >= 0).all()
    if mode != "constant" or np.any(constant_values) or not whole:
        return None
    (top, bottom), (left, right) = width[2:].tolist()
    rows, columns = np.ogrid[: events.detector_shape[0], : events.detector_shape[1]]
    shape = (
        events.detector_shape[0] + top + bottom,
        events.detector_shape[1] + left + right,
    )
    return events.mapped(PixelMap.from_coordinates(rows + top, columns + left, shape))


#: Functions of numpy and what they give for events, or None where that needs the dense array.
LAYOUTS: dict[Callable, Callable[..., EventStore | None]] = {
    np.transpose: _moved(np.transpose),
    np.moveaxis: _moved(np.moveaxis),
    np.swapaxes: _moved(np.swapaxes),
    np.pad: _padded,
}
