"""The lazy 4-D view of events that a cube shows as its `data`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..detector import select_map
from ..event_lists import PATTERN_DTYPE
from ..events import EventStore
from ..memory import check_dense
from ..methods.dense import dense_array
from .pixel_cache import PixelCache, images_by_scanning
from .view_index import (
    WHOLE_AXIS,
    has_arrays,
    is_position,
    makes_axes,
    pairs,
    pixel_numbers,
    position,
    refuse_change,
    sliced,
    split_index,
)
from .view_layout import LAYOUTS, Layouts, reshaped_as_numpy
from .view_reductions import REDUCTIONS, Reductions

_BOTH = (WHOLE_AXIS, WHOLE_AXIS)


class EventView(NDArrayOperatorsMixin, Reductions, Layouts):
    """Events that look like an array of shape (Rx, Ry, Qx, Qy).

    Slices stay lazy; single patterns, virtual images and reductions are computed from the events;
    whatever needs the dense array gets it if it fits the memory budget, otherwise an error.

    Parameters
    ----------
    events : EventStore
    narrowest : dtype, optional
        Unsigned; the view's own is at least as wide. Default: uint16, as cameras' images have it:
        in the smallest that holds the counts, sums and squares of patterns would overflow.
    """

    ndim = 4

    def __init__(self, events: EventStore, narrowest: Any = PATTERN_DTYPE) -> None:
        self.events = events
        self._narrowest = np.dtype(narrowest)
        self._pixels = PixelCache(events)
        self._row: tuple[int, EventStore] | None = None

    @functools.cached_property  # a streamed store may look at all positions for it
    def dtype(self) -> np.dtype:
        """Unsigned dtype of patterns, which holds every count."""
        return np.promote_types(self.events.count_dtype, self._narrowest)

    def showing(self, events: EventStore) -> EventView:
        """Return a view of other events, whose dtype is at least as wide as was asked for here."""
        return EventView(events, self._narrowest)

    @property
    def nbytes(self) -> int:
        """Bytes of the dense array; `events.nbytes` is what is really held."""
        return self.size * self.dtype.itemsize

    @property
    def itemsize(self) -> int:
        """Bytes of one element of the dense array."""
        return self.dtype.itemsize

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
        if is_position(key):  # the loops of py4DSTEM ask for millions of patterns
            return self._pattern(*key[:2])[key[2:]]
        if makes_axes(key):
            return self._with_new_axes(key)
        scan, detector, split = split_index(key)
        if split or pairs(scan, detector) or pairs(detector, scan):
            return self._gathered(key)
        if sliced(scan):
            lazy = sliced(detector)
            return self._part(scan, detector) if lazy else self._detector_stack(scan, detector)
        if any(isinstance(part, slice) for part in scan) or has_arrays(scan):
            return self._patterns(scan, detector)
        return self._pattern(*scan)[detector]

    def __setitem__(self, key: Any, value: Any) -> None:
        refuse_change()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if copy is False:
            raise ValueError("a dense array of events is always a copy")
        wanted = np.dtype(dtype or self.dtype)
        check_dense(self.size * wanted.itemsize, f"the dense array of shape {self.shape}")
        return dense_array(self.events, wanted)

    def __array_function__(self, func: Callable, types: Any, args: Any, kwargs: Any) -> Any:
        if _is_view(kwargs.get("out")) or (func in _WRITERS and args and _is_view(args[0])):
            refuse_change()
        if func in REDUCTIONS and args and args[0] is self:
            return getattr(self, REDUCTIONS[func])(*args[1:], **kwargs)
        if func in LAYOUTS and args and args[0] is self:
            moved = LAYOUTS[func](self.events, *args[1:], **kwargs)
            if moved is not None:
                return self.showing(moved)
        if func is np.reshape and args and args[0] is self:
            return reshaped_as_numpy(self, *args[1:], **kwargs)
        if func in _SHAPES and args and args[0] is self:
            return func(np.broadcast_to(False, self.shape), *args[1:], **kwargs)
        if func in _ALIKE and args and args[0] is self:
            return self._alike(func, *args[1:], **kwargs)
        return func(*_densified(args), **{k: _densified(v) for k, v in kwargs.items()})

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(_is_view(out) for out in kwargs.get("out", ())) or method == "at":
            refuse_change()
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
        return self.showing(self.events)

    def _pattern(self, rx: int, ry: int) -> np.ndarray:
        rows, columns = self.events.scan_shape
        rx, ry = position(rx, rows), position(ry, columns)
        if self.events.in_memory:
            return self.events.pattern(rx, ry, self.dtype)
        row = self._row  # another thread may replace it at any time
        if row is None or row[0] != rx:  # loops take all patterns of a row in turn
            self._row = row = (rx, self.events.read_rows(rx, rx + 1))
        return row[1].pattern(0, ry, self.dtype)

    def _part(self, scan: tuple, detector: tuple) -> EventView | np.ndarray:
        events = self.events
        if scan != _BOTH:
            events = events[scan]
        if detector != _BOTH:
            chosen = pixel_numbers(events.detector_shape)[detector]
            if chosen.size == 0:  # no detector is left to look at lazily
                return np.empty((*events.scan_shape, *chosen.shape), self.dtype)
            selection = select_map(events.detector_shape, chosen.ravel())
            selection = replace(selection, target_shape=(chosen.shape[0], chosen.shape[1]))
            events = events.mapped(selection)
        return self.showing(events)

    def _with_new_axes(self, key: Any) -> np.ndarray:
        """Return what `key` selects, dense, with axes of length one where it holds None."""
        key = key if isinstance(key, tuple) else (key,)
        shape = np.broadcast_to(False, self.shape)[key].shape
        return np.asarray(self[tuple(part for part in key if part is not None)]).reshape(shape)

    def _detector_stack(self, scan: tuple, detector: tuple) -> np.ndarray:
        """Return the images of the chosen detector pixels, (Rx, Ry) followed by their shape."""
        pixels = pixel_numbers(self.events.detector_shape)[detector]
        n_positions = np.broadcast_to(False, self.shape[:2])[scan].size
        check_dense(n_positions * pixels.size * self.dtype.itemsize, "the stack of images")
        if scan == _BOTH:
            stack = self._pixels.images(pixels.ravel()).astype(self.dtype, copy=False)
            return stack.reshape(*self.shape[:2], *pixels.shape)
        part = self.events[scan]
        stack = images_by_scanning(part, pixels.ravel())
        return stack.astype(self.dtype, copy=False).reshape(*part.scan_shape, *pixels.shape)

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
        pixels = np.broadcast_to(pixel_numbers(self.events.detector_shape), shape)[key].ravel()
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
                yield int(j), block.pattern(0, int(columns[j]), self.dtype)


def view_of_dense(array: Any, events: EventStore) -> EventView:
    """Return a view of the events of a dense array, which keeps its dtype if that is unsigned."""
    dtype = getattr(array, "dtype", None)
    if dtype is None or np.dtype(dtype).kind != "u":
        return EventView(events)
    return EventView(events, dtype)


_SHAPES = (np.shape, np.ndim, np.size)
_ALIKE = (np.empty_like, np.zeros_like, np.ones_like, np.full_like)
_WRITERS = (np.copyto, np.put, np.place, np.putmask, np.put_along_axis, np.fill_diagonal)


def _is_view(value: Any) -> bool:
    return isinstance(value, EventView)


def _densified(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(_densified(item) for item in value)
    return np.asarray(value) if _is_view(value) else value
