"""The patterns of a cube as a list: its `data`, reshaped to (Rx * Ry, Qx, Qy)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from .view_index import has_arrays, refuse_change, sliced

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

    @property
    def itemsize(self) -> int:
        """Bytes of one element of the dense array."""
        return self._column.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the dense array."""
        return self._column.nbytes

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"PatternList(shape={self.shape}, dtype={self.dtype})"

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._column[k, 0] for k in range(len(self)))

    def __getitem__(self, key: Any) -> np.ndarray:
        parts = key if isinstance(key, tuple) else (key,)
        if any(map(_adds_or_joins_axes, parts)):
            return np.asarray(self)[key]
        if len(parts) > self.ndim:
            raise IndexError(f"too many indices for patterns of shape {self.shape}: {key!r}")
        index = (*(parts[:1] or (slice(None),)), 0, *parts[1:])
        selected = self._column[index]
        if len(parts) == self.ndim and sliced(parts[:2]) and has_arrays(parts[2:]):
            # its axis became the first, as a slice parts the array from the column's number
            return np.moveaxis(selected, 0, -1)
        return selected

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._column.__array__(dtype, copy).reshape(self.shape)

    def __setitem__(self, key: Any, value: Any) -> None:
        refuse_change()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "at" or any(isinstance(out, PatternList) for out in kwargs.get("out", ())):
            refuse_change()
        dense = {name: _densified(value) for name, value in kwargs.items()}
        return getattr(ufunc, method)(*map(_densified, inputs), **dense)

    def __getattr__(self, name: str) -> Any:
        if name in _OF_DENSE:
            return getattr(np.asarray(self), name)
        hint = ": work on numpy.asarray of it" if hasattr(np.ndarray, name) else ""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")

    def reshape(self, *shape: Any, order: str = "C") -> Any:
        """Return the patterns as a scan again, lazily, or any other shape, dense."""
        return self._column.reshape(*shape, order=order)


#: Methods of arrays that leave them as they are, so that those of the dense array will do.
_OF_DENSE = frozenset(
    ("sum", "mean", "std", "var", "max", "min", "any", "all", "astype", "copy", "ravel", "flatten")
)


def _adds_or_joins_axes(part: Any) -> bool:
    """Return whether part of an index does not stand for one axis."""
    if part is None or part is Ellipsis or np.ndim(part) > 1:
        return True
    return not isinstance(part, slice) and np.ndim(part) == 0 and np.asarray(part).dtype == bool


def _densified(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, PatternList) else value
