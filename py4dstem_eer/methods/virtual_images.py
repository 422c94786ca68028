"""Virtual images: the electrons of every pattern that a mask of the detector lets through."""

from __future__ import annotations

import numpy as np

from ..compiled import inlined_function
from ..device import get_device, kernel
from ..events import EventStore
from ..progress import track
from .blocks import filling, has_small_counts, lists_on
from .reductions import check_mask


@kernel
def _weigh_events(p, indptr, indices, counts, mask, image):
    total = mask[0] * 0
    first = indptr[p]
    own = indices[first : indptr[p + 1]]  # a view, see `event_lists`
    for k in range(len(own)):
        weight = mask[own[k]]
        total += weight * counts[first + k] if len(counts) > 0 else weight
    image[p] = total


@inlined_function
def _bit(words, index):
    index = np.uint32(index)
    return (words[index >> np.uint32(5)] >> (index & np.uint32(31))) & np.uint32(1)


@kernel
def _count_inside(p, indptr, indices, counts, words, image):
    """Count the electrons that a mask of bits lets through, where counts are bytes."""
    own = indices[indptr[p] : indptr[p + 1]]  # views, see `event_lists`
    # sums of 32 bits, twice as many of which are added at once as of 64
    inside = np.uint32(0)
    if len(counts) > 0:
        own_counts = counts[indptr[p] : indptr[p + 1]]
        for k in range(len(own_counts)):
            inside = np.uint32(inside + _bit(words, own[k]) * np.uint32(own_counts[k]))
    else:
        for k in range(len(own)):
            inside = np.uint32(inside + _bit(words, own[k]))
    image[p] = inside


def virtual_image(events: EventStore, mask: np.ndarray, device: str = "cpu") -> np.ndarray:
    """Return the sum of every pattern times `mask`.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    mask : (Qx, Qy) bool, real or complex
        Virtual detector.
    device : {"cpu", "gpu"}

    Returns
    -------
    image : (Rx, Ry) float64 or complex128
        [electrons]
    """
    check_mask(mask, events.detector_shape)
    dtype = np.complex128 if np.iscomplexobj(mask) else np.float64
    where = get_device(device)
    # an eighth of the table where it says only yes or no, and a bit of it where counts are small
    weights = mask.astype(np.int8 if mask.dtype == np.bool_ else dtype)
    flat = where.asarray(weights.ravel())
    words = where.asarray(_bit_words(mask)) if mask.dtype == np.bool_ else None
    if mask.size == 0:
        return np.zeros(events.scan_shape, dtype)
    image = np.empty(events.scan_shape, dtype)
    for first, block in track(events.blocks(), "Virtual image"):
        indptr, indices, counts = lists_on(block, where)
        with filling(image, first, block, where) as part:
            lists = (indptr, indices, counts)
            if words is not None and has_small_counts(block):
                _count_inside.launch(where, block.n_patterns, *lists, words, part)
            else:
                _weigh_events.launch(where, block.n_patterns, *lists, flat, part)
    return image


def _bit_words(mask: np.ndarray) -> np.ndarray:
    """Return a boolean mask as bits, (pixels / 32,) uint32: of a large camera it stays in L1."""
    n_words = -(-mask.size // 32)
    packed = np.zeros(4 * n_words, np.uint8)
    packed[: -(-mask.size // 8)] = np.packbits(mask, bitorder="little")
    return packed.view("<u4").astype(np.uint32, copy=False)
