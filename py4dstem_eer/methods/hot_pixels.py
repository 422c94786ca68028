"""Hot pixels: single pixels of the camera that count far more than their neighbours."""

from __future__ import annotations

import numpy as np

#: A pixel this many Poisson standard deviations above its neighbourhood is hot.
HOT_SIGMA = 8.0
#: Pixels that hold more than this part of all electrons are the beam, however sharp it is.
_LARGEST_SHARE = 0.5
#: A sample of the scan: this many rows, if it holds this many electrons.
_SAMPLE_ROWS = 8
_SAMPLE_ELECTRONS = 2_000_000


def find_hot_pixels(pattern: np.ndarray) -> np.ndarray:
    """Return which pixels stand out from all eight neighbours, and from their median, as noise never does.

    Parameters
    ----------
    pattern : (Qx, Qy)
        Sum of diffraction patterns [electrons]; a mean works too.

    Returns
    -------
    hot : (Qx, Qy) bool
        Nothing is hot on a detector narrower than 5 pixels, or where what stands out is most of the
        electrons: that is the beam.
    """
    hot = np.zeros(pattern.shape, bool)
    if min(pattern.shape) < 5 or not pattern.any():
        return hot
    values = np.asarray(pattern, np.float64)
    electron = float(values[values > 0].min())  # a mean has fractions of one
    padded = np.pad(values, 2, mode="edge")
    excess = values - _brightest_neighbour(padded)
    candidates = np.argwhere(excess > HOT_SIGMA * np.sqrt(electron * values) / 2)
    for row, column in candidates:
        around = padded[row : row + 5, column : column + 5]
        reference = max(float(np.median(around)), values[row, column] - excess[row, column])
        noise = np.sqrt(electron * max(reference, electron))
        hot[row, column] = values[row, column] - reference > HOT_SIGMA * noise
    if values[hot].sum() > _LARGEST_SHARE * values.sum():
        hot[:] = False
    return hot
