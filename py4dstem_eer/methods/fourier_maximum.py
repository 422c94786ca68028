"""Maximum of patterns that are shifted by fractions of a pixel: a batch of transforms at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..device import get_device
from ..events import EventStore
from ..progress import track
from .shifted_patterns import Shift

#: Bytes of dense patterns that are transformed together, if one pattern is no larger.
_BATCH_BYTES = 2**18


def fourier_shifted_max(events: EventStore, weights: np.ndarray, shift: Shift) -> np.ndarray:
    """Return the largest value of every pixel, at least 0, of patterns that are shifted.

    The Fourier shift theorem makes every pattern dense, and a maximum, other than a mean, needs all
    of them: this takes two transforms for each pattern of a weight other than zero.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    weights : (Rx, Ry) bool or real
        Finite factor of every pattern.
    shift : ((Rx, Ry), (Rx, Ry))
        Shift along detector (rows, columns) [px], with periodic edges.

    Returns
    -------
    pattern : (Qx, Qy) float64
        [electrons]
    """
    largest = np.zeros(events.detector_shape)
    if 0 in largest.shape:
        return largest
    for first, block in track(events.blocks(), "Maximum of patterns"):
        rows = slice(first, first + block.scan_shape[0])
        factor, *by = (np.asarray(a[rows], np.float64).ravel() for a in (weights, *shift))
        for patterns in _batches(np.flatnonzero(factor), largest.nbytes):
            batch = _shifted(_dense(block, patterns), *(s[patterns] for s in by))
            batch *= factor[patterns, None, None]
            np.maximum(largest, batch.max(0), out=largest)
    return largest


def _batches(patterns: np.ndarray, n_bytes: int) -> Iterator[np.ndarray]:
    size = max(1, _BATCH_BYTES // n_bytes)
    for first in range(0, len(patterns), size):
        yield patterns[first : first + size]


def _dense(block: EventStore, patterns: np.ndarray) -> np.ndarray:
    positions = zip(*np.divmod(patterns, block.scan_shape[1]), strict=True)
    return np.array([block.pattern(*position) for position in positions], np.float64)


def _shifted(patterns: np.ndarray, by_rows: np.ndarray, by_columns: np.ndarray) -> np.ndarray:
    """Return patterns (n, Qx, Qy), each shifted by its own (rows, columns) [px].

    That is the real part of the complex transforms' result. It takes of the highest wave of an even
    number of pixels, which has no partner of opposite sign, the real part, as is done here.
    """
    device = get_device("cpu")
    n_rows, n_columns = patterns.shape[1:]
    along_rows = _waves(by_rows, np.fft.fftfreq(n_rows))
    along_columns = _waves(by_columns, np.fft.rfftfreq(n_columns))
    spectra = device.fft.rfft2(patterns, **device.fft_options())
    highest = spectra[:, n_rows // 2, -1] * np.cos(np.pi * (by_rows + by_columns))
    spectra *= along_rows[:, :, None]
    spectra *= along_columns[:, None, :]
    if n_rows % 2 == 0 and n_columns % 2 == 0:
        spectra[:, n_rows // 2, -1] = highest
    shape = (n_rows, n_columns)
    return device.fft.irfft2(spectra, s=shape, overwrite_x=True, **device.fft_options())


def _waves(shifts: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Return the factors by which a shift turns each wave, (shifts, frequencies)."""
    factors = np.exp(-2j * np.pi * np.outer(shifts, frequencies))
    unpaired = np.abs(frequencies) == 0.5
    factors[:, unpaired] = factors[:, unpaired].real
    return factors
