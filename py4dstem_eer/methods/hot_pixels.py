"""Hot pixels: single pixels of the camera that count far more than their neighbours.

One that fires in every pattern pulls all centres of mass towards itself, by more where fewer
electrons arrive.
"""

from __future__ import annotations

import warnings

import numpy as np

from ..errors import EventWarning
from ..events import EventStore
from ..progress import shown
from .reductions import pattern_sum

#: A pixel this many Poisson standard deviations above its neighbourhood is hot.
HOT_SIGMA = 8.0
#: And this many times as bright: the sharpest peak that optics makes has brighter neighbours.
HOT_CONTRAST = 4.0
#: Pixels that hold more than this part of all electrons are the beam, however sharp it is.
_LARGEST_SHARE = 0.5
_FEWEST_ROWS = 8
_ENOUGH_ELECTRONS = 2_000_000


def sample_pattern(events: EventStore) -> np.ndarray:
    """Return the sum of the patterns of some scan rows, evenly spread over the scan.

    Eight rows, or as many as hold two million electrons: enough to find the disk and hot pixels
    before a pass over a file, at the price of reading a small part of it twice.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)

    Returns
    -------
    pattern : (Qx, Qy) int64
        [electrons]
    """
    total = np.zeros(events.detector_shape, np.int64)
    for seen, row in enumerate(_spread(events.scan_shape[0])):
        if seen >= _FEWEST_ROWS and total.sum() >= _ENOUGH_ELECTRONS:
            break
        with shown(False):  # a bar for each row would flicker
            total += pattern_sum(events.read_rows(row, row + 1))
    return total


def find_hot_pixels(pattern: np.ndarray) -> np.ndarray:
    """Return the pixels that exceed all neighbours by more than noise explains.

    A hot pixel is four times as bright as the brightest of its eight neighbours and as the median
    of the 5 × 5 pixels around it, and eight Poisson standard deviations brighter. One that is less
    hot pulls all patterns alike, which goes with the descan.

    Parameters
    ----------
    pattern : (Qx, Qy)
        Sum of diffraction patterns [electrons]; a mean works too.

    Returns
    -------
    hot : (Qx, Qy) bool
        Nothing is hot on a detector narrower than 5 pixels, nor where what stands out is most of
        the electrons: that is the beam.
    """
    hot = np.zeros(pattern.shape, bool)
    if min(pattern.shape) < 5 or not pattern.any():
        return hot
    values = np.asarray(pattern, np.float64)
    electron = float(values[values > 0].min())  # a mean has fractions of one
    padded = np.pad(values, 2, mode="edge")
    reference = _brightest_neighbour(values)
    for row, column in np.argwhere(_exceeds(values, reference, electron)):
        median = float(np.median(padded[row : row + 5, column : column + 5]))
        local = max(median, reference[row, column])
        hot[row, column] = _exceeds(values[row, column], local, electron)
    if values[hot].sum() > _LARGEST_SHARE * values.sum():
        hot[:] = False
    return hot


def warn_hot(hot: np.ndarray) -> None:
    """Report hot pixels that are left out."""
    if hot.any():
        first = [(int(r), int(c)) for r, c in np.argwhere(hot)[:5]]
        warnings.warn(
            f"{int(hot.sum())} hot pixels are left out, e.g. (row, column) {first}; keep them with "
            'hot_pixels="keep"',
            EventWarning,
            stacklevel=3,
        )


def _spread(n: int) -> list[int]:
    """Return 0 … n − 1 in an order whose every beginning is spread over the range."""
    n_bits = max(1, (n - 1).bit_length())
    reversed_bits = (int(f"{i:0{n_bits}b}"[::-1], 2) for i in range(2**n_bits))
    return [i for i in reversed_bits if i < n]


def _exceeds(values: np.ndarray, reference: np.ndarray | float, electron: float) -> np.ndarray:
    noise = np.sqrt(electron * np.maximum(reference, electron))
    exceeds: np.ndarray = values - reference > HOT_SIGMA * noise
    return exceeds & (values > HOT_CONTRAST * reference)


def _brightest_neighbour(values: np.ndarray) -> np.ndarray:
    padded = np.pad(values, 1)
    rows, columns = values.shape
    largest = np.zeros_like(values)
    for i, j in np.ndindex(3, 3):
        if (i, j) != (1, 1):
            np.maximum(largest, padded[i : i + rows, j : j + columns], out=largest)
    return largest
