"""The lazy 4-D view of events that a cube shows as its `data`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..detector import PixelMap, Shape2D, select_map
from ..errors import ParameterError, UnsupportedOperationError
from ..events import EventStore
from ..memory import check_dense
from ..methods import reductions

_ALL = slice(None)
_SCAN_AXES, _DETECTOR_AXES, _ALL_AXES = (0, 1), (2, 3), (0, 1, 2, 3)


class EventView(NDArrayOperatorsMixin):
    """Events that look like an array of shape (Rx, Ry, Qx, Qy).

    Slices stay lazy; single patterns, virtual images and reductions are computed from the events;
    whatever needs the dense array gets it if it fits the memory budget, otherwise an error.

    Parameters
    ----------
    events : EventStore
    """

    ndim = 4

    def __init__(self, events: EventStore) -> None:
        self.events = events

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(Rx, Ry, Qx, Qy)."""
        return self.events.shape

    @property
    def dtype(self) -> np.dtype:
        """Smallest dtype that holds every count."""
        return self.events.count_dtype

    @property
    def size(self) -> int:
        """Number of elements of the dense array."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def nbytes(self) -> int:
        """Bytes of the dense array; `events.nbytes` is what is really held."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"EventView(shape={self.shape}, dtype={self.dtype}, {self.events!r})"

    def __getitem__(self, key: Any) -> Any:
        scan, detector = _split_index(key)
        if all(isinstance(part, (int, np.integer)) for part in scan):
            rx, ry = (
                _position(part, length) for part, length in zip(scan, self.shape, strict=False)
            )
            return self.events.pattern(rx, ry)[detector]
        if not all(isinstance(part, slice) for part in scan):
            return self._dense(key, self._taken(scan, detector))
        if all(isinstance(part, slice) for part in detector):
            return self._sliced(scan, detector)
        return self._detector_stack(scan, detector)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise UnsupportedOperationError(
            "a sparse cube is immutable: to drop or repair detector pixels use "
            "cube.filter_hot_pixels or an event mask, or work on cube.to_dense()"
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if copy is False:
            raise ValueError("a dense array of events is always a copy")
        itemsize = np.dtype(dtype or self.dtype).itemsize
        check_dense(self.size * itemsize, f"the dense array of shape {self.shape}")
        dense = np.empty(self.shape, dtype or self.dtype)
        for first, block in self.events.blocks():
            for rx, ry in np.ndindex(block.scan_shape):
                dense[first + rx, ry] = block.pattern(rx, ry)
        return dense

    def __array_function__(self, func: Callable, types: Any, args: Any, kwargs: Any) -> Any:
        if func in _REDUCTIONS and args and args[0] is self:
            return getattr(self, _REDUCTIONS[func])(*args[1:], **kwargs)
        return func(*_densified(args), **{k: _densified((v,))[0] for k, v in kwargs.items()})

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return getattr(ufunc, method)(*_densified(inputs), **kwargs)

    def astype(self, dtype: Any, **kwargs: Any) -> np.ndarray:
        """Return the dense array in another dtype, within the memory budget."""
        return np.asarray(self, dtype)

    def copy(self) -> EventView:
        """Return a view of the same events, which cannot change."""
        return EventView(self.events)

    def sum(self, axis: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
        """Sum over the scan axes, the detector axes, or all; as numpy.sum."""
        if kwargs or (axes := _axes(axis)) not in (_SCAN_AXES, _DETECTOR_AXES, _ALL_AXES):
            return np.sum(np.asarray(self), axis=axis, dtype=dtype, **kwargs)
        # numpy sums small unsigned integers into the machine's unsigned integer
        result_dtype = dtype or np.sum(np.zeros(1, self.dtype)).dtype
        if axes == _SCAN_AXES:
            return reductions.pattern_sum(self.events).astype(result_dtype)
        image = reductions.electrons_per_position(self.events)
        return (image if axes == _DETECTOR_AXES else image.sum()).astype(result_dtype)

    def mean(self, axis: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
        """Average over the scan axes, the detector axes, or all; as numpy.mean."""
        if kwargs or (axes := _axes(axis)) not in (_SCAN_AXES, _DETECTOR_AXES, _ALL_AXES):
            return np.mean(np.asarray(self), axis=axis, dtype=dtype, **kwargs)
        n_averaged = np.prod([self.shape[a] for a in axes], dtype=float)
        mean = self.sum(axes) / n_averaged
        return mean if dtype is None else mean.astype(dtype)

    def max(self, axis: Any = None, **kwargs: Any) -> Any:
        """Return the maximum over the scan axes or all; as numpy.max."""
        if kwargs or (axes := _axes(axis)) not in (_SCAN_AXES, _ALL_AXES):
            return np.max(np.asarray(self), axis=axis, **kwargs)
        largest = reductions.pattern_max(self.events).astype(self.dtype)
        return largest if axes == _SCAN_AXES else largest.max()

    def _sliced(self, scan: tuple, detector: tuple) -> EventView:
        events = self.events
        if scan != (_ALL, _ALL):
            events = events[scan]
        if detector != (_ALL, _ALL):
            events = events.mapped(_slice_map(events.detector_shape, detector))
        return EventView(events)

    def _detector_stack(self, scan: tuple, detector: tuple) -> np.ndarray:
        """Return the images of the chosen detector pixels, (Rx, Ry) followed by their shape."""
        flat = np.arange(self.shape[2] * self.shape[3]).reshape(self.shape[2:])[detector]
        events = self.events if scan == (_ALL, _ALL) else self.events[scan]
        pixels, place = np.unique(flat, return_inverse=True)
        check_dense(events.n_patterns * flat.size * self.dtype.itemsize, "the stack of images")
        chosen = select_map(events.detector_shape, pixels)
        stack = reductions.binned_stack(events, chosen, self.dtype)
        return stack[:, place.ravel()].reshape(*events.scan_shape, *flat.shape)

    def _taken(self, scan: tuple, detector: tuple) -> int:
        """Return the number of elements that an advanced index of the scan selects."""
        n_patterns = np.broadcast_to(True, self.shape[:2])[scan].size
        n_pixels = np.broadcast_to(True, self.shape[2:])[detector].size
        return n_patterns * n_pixels

    def _dense(self, key: Any, n_elements: int) -> np.ndarray:
        """Apply an advanced index of the scan by serving the patterns it selects."""
        scan, detector = _split_index(key)
        check_dense(n_elements * self.dtype.itemsize, "the selection")
        positions = np.arange(self.events.n_patterns).reshape(self.shape[:2])[scan]
        patterns = np.empty((positions.size, *self.shape[2:]), self.dtype)
        for j, position in enumerate(positions.ravel()):
            patterns[j] = self.events.pattern(*divmod(int(position), self.shape[1]))
        key = (_ALL, *detector)
        chosen = patterns[key]
        return chosen.reshape(*positions.shape, *chosen.shape[1:])


_REDUCTIONS = {np.sum: "sum", np.mean: "mean", np.max: "max", np.amax: "max"}


def _densified(values: Any) -> list:
    return [np.asarray(v) if isinstance(v, EventView) else v for v in values]


def _axes(axis: Any) -> tuple[int, ...]:
    if axis is None:
        return _ALL_AXES
    given = axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(int(a) % 4 for a in given))


def _position(index: Any, length: int) -> int:
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of bounds for {length} scan positions")
    return int(index) % length


def _split_index(key: Any) -> tuple[tuple, tuple]:
    """Return an index of the 4-D array as one of the scan and one of the detector."""
    parts = list(key) if isinstance(key, tuple) else [key]
    dots = [i for i, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1 or any(part is None for part in parts):
        raise IndexError(f"cannot index events with {key!r}")
    width = [_axes_taken(part) for part in parts]
    missing = 4 - sum(width)
    if missing < 0:
        raise IndexError(f"too many indices for a 4-D cube: {key!r}")
    at = dots[0] if dots else len(parts)
    parts[at : at + len(dots)] = [_ALL] * missing
    scan: list = []
    while sum(_axes_taken(part) for part in scan) < 2:
        scan.append(parts.pop(0))
    if sum(_axes_taken(part) for part in scan) != 2:
        raise IndexError(f"a mask must cover the scan or the detector, not both: {key!r}")
    return tuple(scan), tuple(parts)


def _axes_taken(part: Any) -> int:
    if part is Ellipsis:
        return 0
    is_mask = isinstance(part, (np.ndarray, list)) and np.asarray(part).dtype == bool
    return np.ndim(part) if is_mask else 1


def _slice_map(shape: Shape2D, detector: tuple) -> PixelMap:
    """Return the map of a basic slice of the detector."""
    chosen = np.arange(shape[0] * shape[1]).reshape(shape)[detector]
    if chosen.size == 0:
        raise ParameterError(f"{detector} selects no pixel of a {shape} detector")
    flat = select_map(shape, chosen.ravel())
    return PixelMap(flat.lut, shape, (chosen.shape[0], chosen.shape[1]))
