"""STEM holography: amplitude and phase from the fringes inside every diffraction pattern.

A grating in the condenser aperture makes several probes beside each other. Where one of them passes
the specimen and another vacuum, the pattern's fringes, whose spacing is the inverse of the probes'
distance, carry the amplitude and the phase that the specimen gives its beam. The Fourier transform
of a pattern has them around one Bragg peak of the grating: of M × M Fourier pixels X are wanted.
With C electrons that is the product of an X × C block of the DFT matrix with the counts: O(X·C),
nothing dense.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..detector import Shape2D
from ..device import get_device, kernel
from ..errors import ParameterError
from ..events import EventStore
from ..progress import track
from .blocks import lists_on


@kernel
def _fourier_block(p, indptr, indices, counts, columns, along_rows, along_columns, block):
    n_rows, n_columns = along_rows.shape[0], along_columns.shape[0]
    for e in range(indptr[p], indptr[p + 1]):
        row = np.int64(indices[e]) // columns
        column = np.int64(indices[e]) - columns * row
        count = float(counts[e]) if len(counts) > 0 else 1.0
        for a in range(n_rows):
            factor = count * along_rows[a, row]
            for b in range(n_columns):
                block[p, a * n_columns + b] += factor * along_columns[b, column]


@dataclass(frozen=True)
class Sideband:
    """A few Fourier pixels of every pattern, around a Bragg peak of the grating.

    Attributes
    ----------
    values : (Rx, Ry, n_rows, n_columns) complex64
        Σ counts · exp(−2πi (u row / Qx + v column / Qy)) [electrons].
    rows, columns : (n_rows,), (n_columns,) int
        The frequencies u and v, as of an FFT [fringes per detector height, width]; they may be
        negative.
    """

    values: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean over the scan, (n_rows, n_columns) complex128 [electrons]."""
        mean: np.ndarray = self.values.mean(axis=(0, 1), dtype=np.complex128)
        return mean


def sideband(
    events: EventStore, peak: tuple[int, int], half_width: int = 2, device: str = "cpu"
) -> Sideband:
    """Return the Fourier pixels around a Bragg peak, for every pattern, in O(pixels · electrons).

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    peak : (int, int)
        Frequency (u, v) of the peak [fringes per detector height, width], negative ones too.
    half_width : int
        Pixels up to this far from the peak are taken: X = (2 · half_width + 1)².
    device : {"cpu", "gpu"}

    Returns
    -------
    sideband : Sideband
        Equal to those pixels of the FFT of every dense pattern.

    Raises
    ------
    ParameterError
        If the peak is no frequency of the detector, or the block reaches zero frequency.

    References
    ----------
    .. [1] Pelz et al., IEEE Signal Process. Mag. 39, 25 (2022), section III.
    """
    peak = _parse_peak(peak, half_width, events.detector_shape)
    where = get_device(device)
    offsets = np.arange(-half_width, half_width + 1)
    frequencies = [p + offsets for p in peak]
    waves = [
        where.asarray(_waves(f, n)) for f, n in zip(frequencies, events.detector_shape, strict=True)
    ]
    n_wide = len(offsets)
    values = np.empty((*events.scan_shape, n_wide, n_wide), np.complex64)
    for first, block in track(events.blocks(), "Sidebands"):
        part = where.xp.zeros((block.n_patterns, n_wide * n_wide), np.complex128)
        arrays = (*lists_on(block, where), events.detector_shape[1], *waves)
        _fourier_block.launch(where, block.n_patterns, *arrays, part)
        rows = slice(first, first + block.scan_shape[0])
        values[rows] = where.asnumpy(part).reshape(*block.scan_shape, n_wide, n_wide)
    return Sideband(values, *frequencies)


def find_peak(pattern: np.ndarray) -> tuple[int, int]:
    """Return the Bragg peak of the grating in the FFT of a mean pattern.

    The transform of the disk itself is round: the peak is what exceeds six times the median at the
    same distance from zero by most, beyond four fringes across the illuminated part.

    Parameters
    ----------
    pattern : (Qx, Qy)
        Sum or mean of patterns, without hot pixels.

    Returns
    -------
    peak : (int, int)
        Frequency (u, v) [fringes per detector height, width], the one of the pair ±(u, v) with
        u > 0, or u = 0 and v > 0.

    Raises
    ------
    ParameterError
        If nothing stands out.
    """
    values = np.asarray(pattern, np.float64)
    if values.ndim != 2 or not np.isfinite(values).all() or not values.sum() > 0:
        raise ParameterError("no fringes: the mean pattern is empty or not finite")
    u, v = (np.fft.fftfreq(n, 1 / n).round().astype(int) for n in values.shape)
    cycles = np.hypot(u[:, None] / values.shape[0], v[None, :] / values.shape[1])
    # the width of a uniform disk as bright: its area is (Σ I)² / Σ I²
    width = math.sqrt(values.sum() ** 2 / (values**2).sum() * 4 / math.pi)
    strength = np.abs(np.fft.fft2(values))
    shells = (cycles * max(values.shape)).round().astype(int)
    ripple = math.ceil(max(values.shape) / width)  # shells from one zero of the disk's to the next
    excess = np.where(cycles * width >= 4, strength - 6 * _medians(strength, shells, ripple), 0.0)
    excess[(u[:, None] < 0) | ((u[:, None] == 0) & (v[None, :] < 0))] = 0.0
    if not excess.max() > 0:
        raise ParameterError(
            "no fringes: no Fourier pixel of the mean pattern stands out; give the peak (u, v)"
        )
    row, column = np.unravel_index(int(np.argmax(excess)), excess.shape)
    return int(u[row]), int(v[column])


def demodulate(signal: Sideband, reference: np.ndarray | None = None) -> np.ndarray:
    """Return the complex image of the specimen relative to a reference sideband.

    The Fourier pixels are summed with the conjugate of the reference's as weights, which gives the
    least-squares factor between the two, Σ F F_r* / Σ |F_r|², wherever the disk is on the detector.

    Parameters
    ----------
    signal : Sideband, scan (Rx, Ry)
    reference : (n_rows, n_columns) or (Rx, Ry, n_rows, n_columns) complex, optional
        Sideband in vacuum at the same dose, for all positions or for each, which removes the phase
        that the scan itself adds. Default: the mean of the scan, which fixes the phase up to a
        constant and the amplitude up to a factor.

    Returns
    -------
    image : (Rx, Ry) complex128
        Amplitude [1] and phase [rad] relative to the reference; 0 where nothing was counted.

    Raises
    ------
    ParameterError
        If the reference does not fit, or is zero somewhere.

    References
    ----------
    .. [1] Harvey et al., Physical Review Applied 10, 061001 (2018).
    .. [2] Yasin et al., Microscopy and Microanalysis 24 (S1), 210 (2018).
    """
    reference = signal.mean if reference is None else np.asarray(reference, np.complex128)
    if reference.shape not in (signal.values.shape, signal.values.shape[2:]):
        raise ParameterError(
            f"the reference has shape {reference.shape}; it must be {signal.values.shape[2:]} or "
            f"{signal.values.shape}"
        )
    power = (np.abs(reference) ** 2).sum(axis=(-2, -1))
    if not np.all(power > 0):
        raise ParameterError("the reference has no fringes somewhere: use its mean over the scan")
    image: np.ndarray = (signal.values * reference.conj()).sum(axis=(2, 3)) / power
    return image


def _waves(frequencies: np.ndarray, n: int) -> np.ndarray:
    """Return exp(−2πi f x / n), (frequencies, n), without rounding of large f x."""
    turns = np.outer(frequencies, np.arange(n)) % n
    waves: np.ndarray = np.exp(-2j * np.pi * turns / n)
    return waves


def _medians(values: np.ndarray, shells: np.ndarray, reach: int) -> np.ndarray:
    """Return, for every pixel, the largest median of the shells up to `reach` from its own."""
    order = np.lexsort((values.ravel(), shells.ravel()))
    sizes = np.bincount(shells.ravel())
    middle = np.minimum(np.cumsum(sizes) - sizes + sizes // 2, values.size - 1)
    medians = ndimage.maximum_filter1d(values.ravel()[order][middle], 2 * reach + 1)
    around: np.ndarray = medians[shells]
    return around


def _parse_peak(peak: tuple[int, int], half_width: int, shape: Shape2D) -> tuple[int, int]:
    if not isinstance(half_width, (int, np.integer)) or half_width < 0:
        raise ParameterError(f"half_width is {half_width!r}; give a whole number, 0 or more")
    try:
        u, v = (int(f) for f in peak)
        whole = all(int(f) == f for f in peak)
    except (TypeError, ValueError):
        whole = False
    if not whole or any(abs(f) > n // 2 for f, n in zip((u, v), shape, strict=True)):
        raise ParameterError(
            f"peak is {peak!r}; give two whole numbers of fringes, up to half of {shape}"
        )
    if max(abs(u), abs(v)) <= half_width:
        raise ParameterError(
            f"{half_width} pixels around the peak {(u, v)} reach zero frequency, which has no "
            "fringes: use a smaller half_width"
        )
    return u, v
