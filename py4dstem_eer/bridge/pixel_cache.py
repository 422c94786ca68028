"""Images of single detector pixels, through a copy of the events in the order of pixels."""

from __future__ import annotations

import numpy as np

from ..detector import select_map
from ..event_lists import index_dtype
from ..events import EventStore
from ..memory import check_dense, fits
from ..methods import reductions
from ..methods.pixel_order import by_pixel, pixel_images

#: The order of pixels pays where less than this part of the detector is wanted.
_FEW = 1 / 16


class PixelCache:
    """Serves images of detector pixels.

    The events are sorted by pixel on first use, in O(events), and kept while they fit the memory
    budget; otherwise all events are read for every request.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    """

    def __init__(self, events: EventStore) -> None:
        self.events = events
        self._by_pixel: EventStore | None = None
        self._n_bytes: int | None = None

    def images(self, pixels: np.ndarray) -> np.ndarray:
        """Return the images of flat detector indices, (Rx * Ry, n) [electrons].

        Raises
        ------
        MemoryBudgetError
            If the result does not fit.
        """
        events = self.events
        n_bytes = events.n_patterns * len(pixels) * events.count_dtype.itemsize
        check_dense(n_bytes, "the stack of images")
        few = len(pixels) <= max(1, _FEW * events.detector_shape[0] * events.detector_shape[1])
        exchanged = self._exchanged() if few else None
        if exchanged is not None:
            return pixel_images(exchanged, pixels).astype(events.count_dtype, copy=False)
        return images_by_scanning(events, pixels)

    def _exchanged(self) -> EventStore | None:
        """Return the events in the order of pixels, if they fit the memory budget."""
        held = 0 if self._by_pixel is None else self._by_pixel.nbytes
        if not fits(self._needed(), held):
            self._by_pixel = None
        elif self._by_pixel is None:
            self._by_pixel = by_pixel(self.events)
        return self._by_pixel

    def _needed(self) -> int:
        if self._n_bytes is None:
            entry = index_dtype(self.events.n_patterns).itemsize + self.events.count_dtype.itemsize
            n_pixels = self.events.detector_shape[0] * self.events.detector_shape[1]
            self._n_bytes = self.events.n_events * entry + 8 * n_pixels
        return self._n_bytes


def images_by_scanning(events: EventStore, pixels: np.ndarray) -> np.ndarray:
    """Return the images of flat detector indices from one pass over all events, (Rx * Ry, n)."""
    wanted, place = np.unique(pixels, return_inverse=True)
    chosen = select_map(events.detector_shape, wanted)
    stack = reductions.binned_stack(events, chosen, events.count_dtype)
    return stack if np.array_equal(wanted, pixels) else stack[:, place.ravel()]
