"""The patterns of a cube as a list, which is what a cube's `data` is when the scan is reshaped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from .view_index import has_arrays, sliced

if TYPE_CHECKING:
    from .view import EventView


class PatternList(NDArrayOperatorsMixin):
    """Patterns that look like an array of shape (Rx * Ry, Qx, Qy), and are made when asked for.

    Patterns and selections are dense arrays; so is whatever else is made of all of them, if that
    fits the memory budget.

    Parameters
    ----------
    column : EventView
        The patterns as a scan of one column.
    """

    ndim = 3

    def __init__(self, column: EventView) -> None:
        self._column = column

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Rx * Ry, Qx, Qy)."""
        n_patterns, _, rows, columns = self._column.shape
        return n_patterns, rows, columns

    @property
    def dtype(self) -> np.dtype:
        """Unsigned dtype of patterns, which holds every count."""
        return self._column.dtype

    @property
    def size(self) -> int:
        """Number of elements of the dense array."""
        return self._column.size

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"PatternList(shape={self.shape}, dtype={self.dtype})"

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._column[k, 0] for k in range(len(self)))

    def __getitem__(self, key: Any) -> np.ndarray:
        parts = key if isinstance(key, tuple) else (key,)
        if any(part is None or part is Ellipsis or np.ndim(part) > 1 for part in parts):
            return np.asarray(self)[key]
        if len(parts) > self.ndim:
            raise IndexError(f"too many indices for patterns of shape {self.shape}: {key!r}")
        if len(parts) == self.ndim and sliced(parts[:2]) and has_arrays(parts[2:]):
            # an array that a slice parts from the column's number would become the first axis
            return self[parts[:2]][:, :, parts[2]]
        index = (*(parts[:1] or (slice(None),)), 0, *parts[1:])
        return self._column[index]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._column.__array__(dtype, copy).reshape(self.shape)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        dense = (np.asarray(part) if isinstance(part, PatternList) else part for part in inputs)
        return getattr(ufunc, method)(*dense, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(np.asarray(self), name)

    def reshape(self, *shape: Any, order: str = "C") -> Any:
        """Return the patterns as a scan again, lazily, or any other shape, dense."""
        return self._column.reshape(*shape, order=order)
