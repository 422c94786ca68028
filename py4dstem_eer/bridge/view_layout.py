"""numpy's functions that move axes or add empty edges, on events."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..detector import PixelMap, transpose_map
from ..events import EventStore
from ..methods.pixel_order import by_pixel, scan_transposed
from .view_flat import PatternList

if TYPE_CHECKING:
    from .view import EventView


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


class Layouts:
    """Methods of arrays that arrange axes anew, without a dense array where patterns stay whole."""

    def transpose(self, *axes: Any) -> Any:
        """Return the axes in another order, as numpy.transpose."""
        order = axes[0] if len(axes) == 1 else axes or None
        return np.transpose(self, order)  # type: ignore[call-overload]

    def swapaxes(self, axis1: int, axis2: int) -> Any:
        """Return two axes exchanged, as numpy.swapaxes."""
        return np.swapaxes(self, axis1, axis2)  # type: ignore[call-overload]

    def reshape(self: EventView, *shape: Any, order: Any = "C") -> Any:  # type: ignore[misc]
        """Return another shape, as numpy.reshape.

        Returns
        -------
        EventView, of (Rx, Ry, Qx, Qy) with another scan; PatternList, of (Rx * Ry, Qx, Qy); or a
        dense array of any other shape, within the memory budget
        """
        wanted = shape[0] if len(shape) == 1 and np.ndim(shape[0]) else shape
        scan, detector = _parted(wanted, self.shape)
        lazy = order in ("C", "A") and detector == self.shape[2:] and len(scan) in (1, 2)
        if not lazy or math.prod(scan) != self.events.n_patterns:
            return np.asarray(self).reshape(wanted, order=order)
        column = self.showing(self.events.reshaped((scan[0], scan[-1] if len(scan) == 2 else 1)))
        return column if len(scan) == 2 else PatternList(column)


def reshaped_as_numpy(
    view: EventView, shape: Any = None, order: str = "C", newshape: Any = None
) -> Any:
    """Return `view.reshape` for the arguments of numpy.reshape, of which numpy 2 renamed one."""
    wanted = newshape if shape is None else shape
    return view.reshape(*(wanted if np.ndim(wanted) else (wanted,)), order=order)


def _parted(wanted: Any, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes of a shape that is asked for but the last two, and these, without -1."""
    sizes = [operator.index(n) for n in wanted]
    if sizes.count(-1) == 1 and 0 not in sizes:
        sizes[sizes.index(-1)] = math.prod(shape) // -math.prod(sizes)
    if math.prod(sizes) != math.prod(shape) or min(sizes, default=0) < 0:
        raise ValueError(f"cannot reshape an array of shape {shape} into {tuple(wanted)}")
    return tuple(sizes[:-2]), tuple(sizes[-2:])
