"""Arrays as 8-bit pictures for the screen: contrast, spectra, trotters, profiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import fft, ndimage

from ..errors import ParameterError

#: Pixels from which the percentiles of a larger image are taken.
_SAMPLE = 1 << 16
_LARGEST_SPECTRUM = 384
_LEVELS = 256
#: Percentile of a trotter's magnitudes that is shown at full brightness.
_BRIGHT = 90
COLORMAPS = ("magma", "gray", "viridis", "inferno", "RdBu_r")


@dataclass(frozen=True)
class Picture:
    """An image as the screen shows it.

    Attributes
    ----------
    data : (rows, columns) uint8
    low, high : float
        Values of level 0 and 255.
    """

    data: np.ndarray
    low: float
    high: float


def scaled(image: np.ndarray, low: float, high: float) -> Picture:
    """Return an image in 256 levels between two values; flat images are level 0."""
    span = high - low
    factor = (_LEVELS - 1) / span if span > 0 else 0.0
    levels = (image - np.float32(low)) * np.float32(factor) + np.float32(0.5)
    np.clip(levels, 0, _LEVELS - 1, out=levels)
    return Picture(levels.astype(np.uint8), low, high)


def limits(image: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Return two percentiles of an image, of a regular sample of its pixels if it is large."""
    every = max(image.size // _SAMPLE, 1) | 1  # odd: not the same columns in every row
    found = np.percentile(image.ravel()[::every], (low, high))
    return float(found[0]), float(found[1])


def parse_percentiles(low: Any, high: Any) -> tuple[float, float]:
    """Return two percentiles if they are in order and between 0 and 100."""
    if not all(isinstance(p, (int, float)) for p in (low, high)) or not 0 <= low < high <= 100:
        raise ParameterError(
            f"contrast is from {low!r} to {high!r}; give two percentiles, the lower one first"
        )
    return float(low), float(high)


def log_power(image: np.ndarray) -> np.ndarray:
    """Return log₁₀ of an image's power spectrum, frequency zero in the middle and left out."""
    spectrum = fft.rfft2(np.asarray(image, np.float32), workers=-1)
    spectrum[0, 0] = 0
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    columns = image.shape[1]
    whole = np.empty(image.shape, np.float32)
    half = power.shape[1]
    whole[:, :half] = power
    mirrored = power[:, 1 : columns - half + 1][:, ::-1]
    whole[:, half:] = np.roll(mirrored[::-1], 1, axis=0)
    floor = whole.max() * np.float32(1e-12) + np.finfo(np.float32).tiny
    return fft.fftshift(np.log10(whole + floor))


@dataclass(frozen=True)
class Profile:
    """Values along a line.

    Attributes
    ----------
    length : float
        [px]
    values : (n,) float32
    """

    length: float
    values: np.ndarray


def line_profile(image: np.ndarray, line: tuple[float, float, float, float]) -> Profile:
    """Return the image along a line from (row, column) to (row, column) [px], interpolated.

    Raises
    ------
    ParameterError
        If an end lies outside the image.
    """
    ends = np.reshape(line, (2, 2)).astype(float)
    highest = np.array(image.shape) - 0.5
    if not np.isfinite(ends).all() or (ends < -0.5).any() or (ends > highest).any():
        raise ParameterError(f"the profile's line {tuple(line)} leaves the image {image.shape}")
    length = math.dist(*ends)
    n = max(2, math.ceil(2 * length) + 1)
    places = ends[0][:, None] + np.linspace(0, 1, n) * (ends[1] - ends[0])[:, None]
    values = ndimage.map_coordinates(np.asarray(image, np.float32), places, order=1, mode="nearest")
    return Profile(length, values)


def trotter_levels(images: np.ndarray) -> np.ndarray:
    """Return phases and magnitudes of complex images, each scaled to its large magnitudes.

    Parameters
    ----------
    images : (n, m, m) complex

    Returns
    -------
    levels : (n, m, m, 2) uint8
        Phase from −π to π, magnitude.
    """
    size = np.abs(images)
    large = np.array([np.percentile(i[i > 0], _BRIGHT) if i.any() else 1.0 for i in size])
    phase = (np.angle(images) / (2 * math.pi) + 0.5) * _LEVELS
    magnitude = np.minimum(size / large[:, None, None], 1) * (_LEVELS - 1)
    return np.stack([np.mod(phase, _LEVELS), magnitude], axis=-1).astype(np.uint8)


def flatness(images: np.ndarray) -> np.ndarray:
    """Return |Σ G| / Σ |G| of complex images: 1 if the phase is the same everywhere."""
    summed, total = np.abs(images.sum(axis=(1, 2))), np.abs(images).sum(axis=(1, 2))
    return np.asarray(summed / np.where(total > 0, total, 1))


@dataclass(frozen=True)
class SpectrumPicture:
    """The power spectrum of the scan, as far as disks overlap.

    Attributes
    ----------
    data : (rows, columns) uint8
        log₁₀ of the power.
    first : (int, int)
        Frequency index (row, column) of the first pixel.
    bin : int
        Frequencies along a side of a pixel.
    """

    data: np.ndarray
    first: tuple[int, int]
    bin: int


def spectrum_picture(power: np.ndarray) -> SpectrumPicture:
    """Return a picture of a power spectrum with frequency zero in the middle; peaks survive."""
    middle = np.array(power.shape) // 2
    filled = np.argwhere(power > 0)
    if not len(filled):
        filled = middle[None]
    half = np.abs(filled - middle).max(axis=0)
    low, high = np.maximum(middle - half, 0), np.minimum(middle + half + 1, power.shape)
    cut = power[low[0] : high[0], low[1] : high[1]]
    size = -(-max(cut.shape) // _LARGEST_SPECTRUM)
    padded = np.pad(cut, [(0, -n % size) for n in cut.shape])
    blocks = padded.reshape(padded.shape[0] // size, size, padded.shape[1] // size, size)
    largest = blocks.max(axis=(1, 3))
    there = largest > 0
    logs = np.log10(largest, out=np.zeros(largest.shape, np.float32), where=there)
    shown = np.percentile(logs[there], (5, 99.9)) if there.any() else (0.0, 1.0)
    data = scaled(np.where(there, logs, shown[0]), *map(float, shown)).data
    first = low - middle
    return SpectrumPicture(data, (int(first[0]), int(first[1])), size)


@cache
def lookup_table(name: str) -> bytes:
    """Return a matplotlib colour map, 256 × (red, green, blue)."""
    from matplotlib import colormaps

    if name not in COLORMAPS:
        raise ParameterError(f"colormap is {name!r}; it must be one of {COLORMAPS}")
    levels: np.ndarray = colormaps[name](np.arange(_LEVELS), bytes=True)
    return levels[:, :3].tobytes()


@cache
def hue_table() -> bytes:
    """Return the colours of phases from −π to π, 256 × (red, green, blue), as py4DSTEM's."""
    from ..bridge.figures import complex_colours

    phases = (np.arange(_LEVELS) + 0.5) / _LEVELS * 2 * math.pi - math.pi
    colours = complex_colours(np.exp(1j * phases)[None])[0, :, :3]
    return np.clip(np.rint(colours * 255), 0, 255).astype(np.uint8).tobytes()
