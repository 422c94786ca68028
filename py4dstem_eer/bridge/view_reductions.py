"""Sums, means, extremes and medians of the lazy view, from the events."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..events import EventStore
from ..methods import extremes, medians, reductions

_SCAN, _DETECTOR, _ALL = (0, 1), (2, 3), (0, 1, 2, 3)


class Reductions:
    """Reductions over the scan axes, the detector axes, or all; others need the dense array."""

    events: EventStore

    if TYPE_CHECKING:

        @functools.cached_property
        def dtype(self) -> np.dtype:
            """Dtype of patterns."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(Rx, Ry, Qx, Qy)."""
        return self.events.shape

    @property
    def size(self) -> int:
        """Number of elements of the dense array."""
        return int(np.prod(self.shape, dtype=object))

    def sum(self, axis: Any = None, dtype: Any = None, **options: Any) -> Any:
        """Sum over axes, as numpy.sum."""
        # numpy sums small unsigned integers into the machine's unsigned integer
        result = np.dtype(dtype or np.sum(np.zeros(1, self.dtype)).dtype)
        lazy = {
            _SCAN: lambda: reductions.pattern_sum(self.events).astype(result),
            _DETECTOR: lambda: reductions.electrons_per_position(self.events).astype(result),
            _ALL: lambda: np.int64(self.events.n_events).astype(result),
        }
        return self._reduced(np.sum, lazy, axis, {"dtype": dtype, **options})

    def mean(self, axis: Any = None, dtype: Any = None, **options: Any) -> Any:
        """Average over axes, as numpy.mean."""
        lazy = {axes: self._mean_over(axes, dtype) for axes in (_SCAN, _DETECTOR, _ALL)}
        return self._reduced(np.mean, lazy, axis, {"dtype": dtype, **options})

    def _mean_over(self, axes: tuple[int, ...], dtype: Any) -> Callable[[], Any]:
        n_averaged = np.prod([self.shape[a] for a in axes], dtype=float)
        return lambda: (self.sum(axes) / n_averaged).astype(dtype or np.float64)

    def max(self, axis: Any = None, **options: Any) -> Any:
        """Return the maximum over axes, as numpy.max."""
        lazy = {
            _SCAN: lambda: reductions.pattern_max(self.events).astype(self.dtype),
            _DETECTOR: lambda: self._per_position(reductions.largest_per_position),
            _ALL: lambda: self._per_position(reductions.largest_per_position).max(),
        }
        return self._reduced(np.max, lazy if self.size else {}, axis, options)

    def min(self, axis: Any = None, **options: Any) -> Any:
        """Return the minimum over axes, as numpy.min."""
        lazy = {
            _SCAN: lambda: extremes.pattern_min(self.events).astype(self.dtype),
            _DETECTOR: lambda: self._per_position(extremes.smallest_per_position),
            _ALL: lambda: self._per_position(extremes.smallest_per_position).min(),
        }
        return self._reduced(np.min, lazy if self.size else {}, axis, options)

    def median(self, axis: Any = None, **options: Any) -> Any:
        """Return the median over axes, as numpy.median."""
        axis = tuple(axis) if isinstance(axis, list) else axis  # which no other reduction takes
        lazy = {
            _SCAN: lambda: medians.median_pattern(self.events),
            _DETECTOR: lambda: medians.median_per_position(self.events),
            _ALL: lambda: np.float64(medians.median_of_all(self.events)),
        }
        options.pop("overwrite_input", None)
        return self._reduced(np.median, lazy if self.size else {}, axis, options)

    def any(self, axis: Any = None, **options: Any) -> Any:
        """Return whether anything was counted, as numpy.any."""
        lazy = {axes: self._lazily(self.max, axes) for axes in (_SCAN, _DETECTOR, _ALL)}
        return self._reduced(np.any, lazy if self.size else {}, axis, options)

    def all(self, axis: Any = None, **options: Any) -> Any:
        """Return whether everything was hit, as numpy.all."""
        lazy = {axes: self._lazily(self.min, axes) for axes in (_SCAN, _DETECTOR, _ALL)}
        return self._reduced(np.all, lazy if self.size else {}, axis, options)

    def _lazily(self, reduction: Callable, axes: tuple[int, ...]) -> Callable[[], Any]:
        return lambda: reduction(axes) > 0

    def _per_position(self, reduction: Callable[[EventStore], np.ndarray]) -> np.ndarray:
        return reduction(self.events).astype(self.dtype)

    def _reduced(self, function: Callable, lazy: dict, axis: Any, options: dict) -> Any:
        """Return the result of the `lazy` entry for these axes, or numpy's on the dense array."""
        axes = _axes(axis)
        extra = {k: v for k, v in options.items() if k not in ("dtype", "keepdims")}
        if axes not in lazy or any(value is not None for value in extra.values()):
            return function(np.asarray(self), axis=axis, **options)
        result = lazy[axes]()
        if not options.get("keepdims", False):
            return result
        return np.reshape(result, [1 if a in axes else n for a, n in enumerate(self.shape)])


def _axes(axis: Any) -> tuple[int, ...]:
    if axis is None:
        return _ALL
    np.any(np.zeros((1, 1, 1, 1), bool), axis=axis)  # numpy's own errors for axes that are none
    given = axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(int(a) % 4 for a in given))


#: Functions of numpy, and the methods of the view that compute them.
REDUCTIONS = {
    np.sum: "sum",
    np.mean: "mean",
    np.max: "max",
    np.amax: "max",
    np.min: "min",
    np.amin: "min",
    np.median: "median",
    np.any: "any",
    np.all: "all",
}
