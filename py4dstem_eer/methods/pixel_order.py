"""Events in the order of detector pixels instead of scan positions."""

from __future__ import annotations

import numpy as np

from ..detector import PixelMap
from ..device import get_device, kernel
from ..errors import CorruptFileError
from ..event_lists import gathered, index_dtype, smallest_counts
from ..event_sums import Groups, summed
from ..events import EventStore
from ..progress import track
from .blocks import lists_on, parts_of_threads, reduce_patterns


@kernel
def _count_hits(i, bounds, indptr, indices, counts, chosen, hits):
    for p in range(bounds[i], bounds[i + 1]):
        if len(chosen) == 0 or chosen[p]:
            for e in range(indptr[p], indptr[p + 1]):
                hits[i, indices[e]] += 1


@kernel
def _place(i, bounds, indptr, indices, counts, first, cursor, positions, weights):
    for p in range(bounds[i], bounds[i + 1]):
        for e in range(indptr[p], indptr[p + 1]):
            at = cursor[i, indices[e]]
            cursor[i, indices[e]] = at + 1
            if at < len(positions):
                positions[at] = first + p
                if len(weights) > 0:
                    weights[at] = counts[e] if len(counts) > 0 else 1


@kernel
def _fill_images(j, indptr, positions, counts, pixels, stack):
    for e in range(indptr[pixels[j]], indptr[pixels[j] + 1]):
        stack[positions[e], j] = counts[e] if len(counts) > 0 else 1


def hits_per_pixel(events: EventStore, chosen: np.ndarray | None = None) -> np.ndarray:
    """Return the number of patterns in which each pixel counted anything.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    chosen : (Rx, Ry) bool, optional
        Count these patterns only.

    Returns
    -------
    hits : (Qx * Qy,) int64
    """
    hits = np.zeros(events.detector_shape[0] * events.detector_shape[1], np.int64)
    for first, block in track(events.blocks(), "Hits per pixel"):
        hits += _hits_by_part(block, first, chosen).sum(0)
    return hits


def by_pixel(events: EventStore) -> EventStore:
    """Return the events with scan and detector exchanged, by counting sort, in memory.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
        Read twice if streamed.

    Returns
    -------
    exchanged : EventStore, scan (Qx, Qy), detector (Rx, Ry)
        "Pattern" (qx, qy) is the image of that detector pixel.

    Raises
    ------
    CorruptFileError
        If the file changes in between.
    """
    indptr = np.zeros(events.detector_shape[0] * events.detector_shape[1] + 1, np.int64)
    counted = False
    for first, block in track(events.blocks(), "Hits per pixel"):
        indptr[1:] += _hits_by_part(block, first, None).sum(0)
        counted |= block.counts is not None
    np.cumsum(indptr, out=indptr)
    positions = np.empty(indptr[-1], index_dtype(events.n_patterns))
    weights = np.empty(indptr[-1] if counted else 0, events.count_dtype)
    start = indptr[:-1].copy()
    for first, block in track(events.blocks(), "Sorting by pixel"):
        start = _place_block(block, first, start, positions, weights)
    if not np.array_equal(start, indptr[1:]):
        raise CorruptFileError(f"{events!r} changed while it was read: open it again")
    return EventStore(
        events.detector_shape,
        events.scan_shape,
        indptr,
        positions,
        smallest_counts(weights) if weights.size else None,
        events.metadata,
        trusted=True,
    )


def pixel_images(exchanged: EventStore, pixels: np.ndarray) -> np.ndarray:
    """Return images of chosen detector pixels from events that `by_pixel` exchanged.

    Parameters
    ----------
    exchanged : EventStore, scan (Qx, Qy), detector (Rx, Ry)
    pixels : (n,) int
        Flat detector indices; may repeat.

    Returns
    -------
    stack : (Rx * Ry, n) of the events' count dtype
        [electrons]
    """
    n_positions = exchanged.detector_shape[0] * exchanged.detector_shape[1]
    stack = np.zeros((n_positions, len(pixels)), exchanged.count_dtype)
    lists = lists_on(exchanged, get_device("cpu"))
    _fill_images.on_cpu(len(pixels), *lists, np.ascontiguousarray(pixels, np.int64), stack)
    return stack


def scan_transposed(events: EventStore, pixel_map: PixelMap | None = None) -> EventStore:
    """Return the events with scan rows and columns exchanged, in memory.

    Parameters
    ----------
    events : EventStore
    pixel_map : PixelMap, optional
        Where the events go on the detector, at the same time.
    """
    loaded = events.load()
    given = loaded.indptr, loaded.indices, loaded.counts
    order = np.arange(events.n_patterns).reshape(events.scan_shape).T.ravel()
    detector_shape = events.detector_shape
    if pixel_map is None:
        lists = gathered(*given, order)
    else:
        detector_shape = pixel_map.target_shape
        lists = summed(given, Groups.single(order), detector_shape, pixel_map)
    shape = (events.scan_shape[1], events.scan_shape[0])
    return EventStore(shape, detector_shape, *lists, events.metadata, trusted=True)


def _hits_by_part(block: EventStore, first: int, chosen: np.ndarray | None) -> np.ndarray:
    rows = slice(first, first + block.scan_shape[0])
    part = np.zeros(0, np.bool_) if chosen is None else chosen[rows].ravel()
    return reduce_patterns(block, _count_hits, (part,), np.int64)


def _place_block(
    block: EventStore, first: int, start: np.ndarray, positions: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Sort one block in from `start` of every pixel on, and return where the next block starts."""
    cursor = _hits_by_part(block, first, None)
    for part in range(len(cursor)):  # where each begins, in the place of how many it has
        cursor[part], start = start, start + cursor[part]
    lists = (parts_of_threads(block), *lists_on(block, get_device("cpu")))
    _place.on_cpu(len(cursor), *lists, first * block.scan_shape[1], cursor, positions, weights)
    return start
