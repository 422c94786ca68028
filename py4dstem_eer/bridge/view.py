"""The lazy 4-D view of events that a cube shows as its `data`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..detector import Shape2D, select_map
from ..errors import UnsupportedOperationError
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

    def __getattr__(self, name: str) -> Any:
        if hasattr(np.ndarray, name) and not name.startswith("__"):
            raise AttributeError(
                f"a lazy view of events has no {name!r}: use a method of the cube, or work on "
                "cube.to_dense().data"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __getitem__(self, key: Any) -> Any:
        if _is_position(key):  # the loops of py4DSTEM ask for millions of patterns
            return self._pattern(*key[:2])[key[2:]]
        scan, detector, split = _split_index(key)
        if split or _pairs(scan, detector) or _pairs(detector, scan):
            return self._gathered(key)
        if _sliced(scan):
            lazy = _sliced(detector)
            return self._part(scan, detector) if lazy else self._detector_stack(scan, detector)
        if any(isinstance(part, slice) for part in scan) or _has_arrays(scan):
            return self._patterns(scan, detector)
        return self._pattern(*scan)[detector]

    def __setitem__(self, key: Any, value: Any) -> None:
        _refuse_change()

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
        if _is_view(kwargs.get("out")) or (func in _WRITERS and args and _is_view(args[0])):
            _refuse_change()
        if func in _REDUCTIONS and args and args[0] is self:
            return getattr(self, _REDUCTIONS[func])(*args[1:], **kwargs)
        if func in _SHAPES and args and args[0] is self:
            return func(np.broadcast_to(False, self.shape), *args[1:], **kwargs)
        if func in _ALIKE and args and args[0] is self:
            return self._alike(func, *args[1:], **kwargs)
        return func(*_densified(args), **{k: _densified(v) for k, v in kwargs.items()})

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(_is_view(out) for out in kwargs.get("out", ())) or method == "at":
            _refuse_change()
        return getattr(ufunc, method)(*_densified(inputs), **kwargs)

    def _alike(self, func: Callable, *arguments: Any, **options: Any) -> np.ndarray:
        """Return a new array of this shape and dtype, as numpy.zeros_like and its kin do."""
        options = {"dtype": self.dtype, **options}
        itemsize = np.dtype(options["dtype"] or self.dtype).itemsize
        check_dense(self.size * itemsize, f"a dense array of shape {self.shape}")
        return func(np.broadcast_to(self.dtype.type(0), self.shape), *arguments, **options)

    def astype(self, dtype: Any, **kwargs: Any) -> np.ndarray:
        """Return the dense array in another dtype, within the memory budget."""
        return np.asarray(self, dtype)

    def copy(self) -> EventView:
        """Return a view of the same events, which cannot change."""
        return EventView(self.events)

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any) -> Any:
        """Sum over the scan axes, the detector axes, or all; as numpy.sum."""
        axes = _axes(axis)
        if options or out is not None or axes not in (_SCAN_AXES, _DETECTOR_AXES, _ALL_AXES):
            return np.sum(np.asarray(self), axis=axis, dtype=dtype, out=out, **options)
        # numpy sums small unsigned integers into the machine's unsigned integer
        result_dtype = dtype or np.sum(np.zeros(1, self.dtype)).dtype
        if axes == _SCAN_AXES:
            return reductions.pattern_sum(self.events).astype(result_dtype)
        image = reductions.electrons_per_position(self.events)
        return (image if axes == _DETECTOR_AXES else image.sum()).astype(result_dtype)

    def mean(self, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any) -> Any:
        """Average over the scan axes, the detector axes, or all; as numpy.mean."""
        axes = _axes(axis)
        if options or out is not None or axes not in (_SCAN_AXES, _DETECTOR_AXES, _ALL_AXES):
            return np.mean(np.asarray(self), axis=axis, dtype=dtype, out=out, **options)
        n_averaged = np.prod([self.shape[a] for a in axes], dtype=float)
        mean = self.sum(axes) / n_averaged
        return mean if dtype is None else mean.astype(dtype)

    def max(self, axis: Any = None, out: Any = None, **options: Any) -> Any:
        """Return the maximum over the scan axes, the detector axes, or all; as numpy.max."""
        axes = _axes(axis)
        lazy = axes in (_SCAN_AXES, _DETECTOR_AXES, _ALL_AXES) and self.size > 0
        if options or out is not None or not lazy:
            return np.max(np.asarray(self), axis=axis, out=out, **options)
        if axes == _SCAN_AXES:
            return reductions.pattern_max(self.events).astype(self.dtype)
        image = reductions.largest_per_position(self.events).astype(self.dtype)
        return image if axes == _DETECTOR_AXES else image.max()

    def min(self, axis: Any = None, out: Any = None, **options: Any) -> Any:
        """Return the minimum, within the memory budget; as numpy.min."""
        return np.min(np.asarray(self), axis=axis, out=out, **options)

    def _pattern(self, rx: int, ry: int) -> np.ndarray:
        rows, columns = self.events.scan_shape
        return self.events.pattern(_position(rx, rows), _position(ry, columns))

    def _part(self, scan: tuple, detector: tuple) -> EventView | np.ndarray:
        events = self.events
        if scan != (_ALL, _ALL):
            events = events[scan]
        if detector != (_ALL, _ALL):
            chosen = _pixels(events.detector_shape)[detector]
            if chosen.size == 0:  # no detector is left to look at lazily
                return np.empty((*events.scan_shape, *chosen.shape), self.dtype)
            selection = select_map(events.detector_shape, chosen.ravel())
            selection = replace(selection, target_shape=(chosen.shape[0], chosen.shape[1]))
            events = events.mapped(selection)
        return EventView(events)

    def _detector_stack(self, scan: tuple, detector: tuple) -> np.ndarray:
        """Return the images of the chosen detector pixels, (Rx, Ry) followed by their shape."""
        flat = _pixels(self.events.detector_shape)[detector]
        events = self.events if scan == (_ALL, _ALL) else self.events[scan]
        check_dense(events.n_patterns * flat.size * self.dtype.itemsize, "the stack of images")
        pixels, place = np.unique(flat, return_inverse=True)
        chosen = select_map(events.detector_shape, pixels)
        stack = reductions.binned_stack(events, chosen, self.dtype)
        return stack[:, place.ravel()].reshape(*events.scan_shape, *flat.shape)

    def _patterns(self, scan: tuple, detector: tuple) -> np.ndarray:
        """Return dense patterns of the chosen scan positions, cut as `detector` says."""
        positions = np.asarray(self._positions()[scan])
        n_pixels = np.broadcast_to(False, self.shape[2:])[detector].size
        check_dense(positions.size * n_pixels * self.dtype.itemsize, "the selection")
        cut = np.broadcast_to(False, self.shape[2:])[detector].shape
        patterns = np.empty((positions.size, *cut), self.dtype)
        for j, pattern in self._served(positions.ravel()):
            patterns[j] = pattern[detector]
        return patterns.reshape(*positions.shape, *cut)

    def _gathered(self, key: tuple) -> np.ndarray:
        """Apply an index that pairs scan with detector axes, element by element."""
        shape = self.shape
        n_elements = np.broadcast_to(False, shape)[key].size
        # beside each value, the position and the pixel that it is looked up at
        check_dense(n_elements * (self.dtype.itemsize + 16), "the selection")
        positions = np.asarray(np.broadcast_to(self._positions()[:, :, None, None], shape)[key])
        pixels = np.broadcast_to(_pixels(self.events.detector_shape), shape)[key].ravel()
        chosen, which = np.unique(positions.ravel(), return_inverse=True)
        order = np.argsort(which, kind="stable")
        ends = np.searchsorted(which[order], np.arange(len(chosen) + 1))
        values = np.empty(positions.size, self.dtype)
        for j, pattern in self._served(chosen):
            wanted = order[ends[j] : ends[j + 1]]
            values[wanted] = pattern.ravel()[pixels[wanted]]
        return values.reshape(positions.shape)

    def _positions(self) -> np.ndarray:
        return np.arange(self.events.n_patterns).reshape(self.shape[:2])

    def _served(self, positions: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (j, dense pattern at positions[j]), reading each scan row once."""
        rows, columns = np.divmod(positions, max(self.shape[1], 1))
        order = np.argsort(rows, kind="stable")
        for row in np.unique(rows):
            start, stop = np.searchsorted(rows[order], (row, row + 1))
            block = self.events.read_rows(int(row), int(row) + 1)
            for j in order[start:stop]:
                yield int(j), block.pattern(0, int(columns[j]))


_WHOLE = (int, np.int64)
_REDUCTIONS = {np.sum: "sum", np.mean: "mean", np.max: "max", np.amax: "max"}
_SHAPES = (np.shape, np.ndim, np.size)
_ALIKE = (np.empty_like, np.zeros_like, np.ones_like, np.full_like)
_WRITERS = (np.copyto, np.put, np.place, np.putmask, np.put_along_axis, np.fill_diagonal)


def _refuse_change() -> NoReturn:
    raise UnsupportedOperationError(
        "a sparse cube is immutable: bin_Q, crop_Q and crop_R replace its events; to change values "
        "work on cube.to_dense()"
    )


def _is_view(value: Any) -> bool:
    return isinstance(value, EventView)


def _densified(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(_densified(item) for item in value)
    return np.asarray(value) if _is_view(value) else value


def _axes(axis: Any) -> tuple[int, ...]:
    if axis is None:
        return _ALL_AXES
    np.any(np.zeros((1, 1, 1, 1), bool), axis=axis)  # numpy's own errors for axes that are none
    given = axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(int(a) % 4 for a in given))


def _pixels(shape: Shape2D) -> np.ndarray:
    """Return the flat index of every detector pixel, (Qx, Qy)."""
    return np.arange(shape[0] * shape[1]).reshape(shape)


def _sliced(parts: tuple) -> bool:
    return all(isinstance(part, slice) for part in parts)


def _has_arrays(parts: tuple) -> bool:
    return not all(isinstance(part, (int, np.integer, slice)) for part in parts)


def _pairs(parts: tuple, others: tuple) -> bool:
    """Return whether an array among `parts` meets something in `others` that is no slice."""
    return not _sliced(others) and _has_arrays(parts)


def _position(index: Any, length: int) -> int:
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of bounds for {length} scan positions")
    return int(index) % length


def _is_position(key: Any) -> bool:
    """Return whether `key` is a scan position, perhaps followed by slices of the detector."""
    return (
        type(key) is tuple
        and 2 <= len(key) <= 4
        and type(key[0]) in _WHOLE
        and type(key[1]) in _WHOLE
        and all(type(part) is slice for part in key[2:])
    )


def _split_index(key: Any) -> tuple[tuple, tuple, bool]:
    """Return an index of the 4-D array as one of the scan and one of the detector.

    The third value tells whether an ellipsis that stands for no axis parts the arrays, which
    changes the order of axes in numpy's result.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    dots = [i for i, part in enumerate(parts) if part is Ellipsis]
    senseless = (type(None), bool, np.bool_, str, bytes)
    if len(dots) > 1 or any(isinstance(part, senseless) for part in parts):
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
    return tuple(scan), tuple(parts), bool(dots) and missing == 0 and _has_arrays((*scan, *parts))


def _axes_taken(part: Any) -> int:
    if part is Ellipsis:
        return 0
    is_mask = isinstance(part, (np.ndarray, list)) and np.asarray(part).dtype == bool
    return np.ndim(part) if is_mask else 1
