"""What reductions share: the lists of a block on a device, and where its results go."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..device import Device, Kernel, get_device, n_threads
from ..event_pieces import equal_parts
from ..events import EventStore

_USUAL_PIXELS = 2**24
#: One electron in every entry, for kernels that read counts.
_NO_COUNTS = np.zeros(0, np.uint8)


def lists_on(block: EventStore, where: Device) -> tuple:
    """Return indptr, indices and counts on a device; counts are empty if each entry is one."""
    counts = _NO_COUNTS if block.counts is None else block.counts
    return tuple(where.asarray(array) for array in (block.indptr, block.indices, counts))


def has_small_counts(block: EventStore) -> bool:
    """Return whether entries are of one electron, or of bytes of them on a detector of usual size.

    Then 32 bits hold the electrons of any pattern, and 64 bits those of each times its index.
    """
    if block.counts is None:
        return True
    return block.counts.dtype == np.uint8 and math.prod(block.detector_shape) <= _USUAL_PIXELS


@contextlib.contextmanager
def filling(image: np.ndarray, first: int, block: EventStore, where: Device) -> Iterator[Any]:
    """Give room on a device for one number per pattern of a block, which then is in an image.

    Parameters
    ----------
    image : (Rx, Ry)
    first : int
        Scan row that the block starts at.
    block : EventStore
    where : Device

    Yields
    ------
    part : (patterns,) of the image's dtype
        On the CPU a part of the image itself.
    """
    own = image[first : first + block.scan_shape[0]].reshape(block.n_patterns)
    if where.xp is np:
        yield own
    else:
        part = where.xp.empty(own.shape, own.dtype)
        yield part
        own[:] = where.asnumpy(part)


def parts_of_threads(block: EventStore) -> np.ndarray:
    """Return the bounds of ranges of patterns, one a thread, of about equal numbers of events."""
    return equal_parts(block.indptr, n_threads())


def reduce_patterns(
    block: EventStore, reduction: Kernel, extra: tuple, dtype: Any, initial: Any = 0
) -> np.ndarray:
    """Run a reduction on the CPU with one accumulator, and one range of patterns, a thread.

    Parameters
    ----------
    block : EventStore
        In memory.
    reduction : Kernel
        ``(i, bounds, indptr, indices, counts, *extra, parts)``: adds part i to ``parts[i]``.
    extra : tuple of arrays
    dtype : dtype
        Of the accumulators.
    initial : number
        What each accumulator starts with.

    Returns
    -------
    parts : (parts, Qx * Qy)
    """
    bounds = parts_of_threads(block)
    n_pixels = block.detector_shape[0] * block.detector_shape[1]
    parts = np.full((len(bounds) - 1, n_pixels), initial, dtype)
    lists = (bounds, *lists_on(block, get_device("cpu")))
    reduction.on_cpu(len(bounds) - 1, *lists, *extra, parts)
    return parts
