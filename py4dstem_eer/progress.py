"""The one hook for progress bars: silent below the surface, tqdm where a user watches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
Bar = Callable[..., Iterable[Any]]

_bar: ContextVar[Bar | None] = ContextVar("py4dstem_eer_progress", default=None)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
    """Return `items`, shown by the progress bar of the caller's caller if there is one.

    Parameters
    ----------
    items : iterable
        What the loop runs over.
    description : str
        What is being done, shown beside the bar.
    total : int, optional
        Number of items, where `items` cannot tell.
    """
    bar = _bar.get()
    return items if bar is None else bar(items, description, total)


@contextlib.contextmanager
def shown(show: bool = True) -> Iterator[None]:
    """Show tqdm bars for every loop below that takes more than a moment."""
    token = _bar.set(_tqdm_bar if show else None)
    try:
        yield
    finally:
        _bar.reset(token)


def _tqdm_bar(items: Iterable[T], description: str, total: int | None) -> Iterable[T]:
    from tqdm.auto import tqdm

    return tqdm(items, desc=description, total=total, delay=0.5, leave=False)
