"""The compiled inner part of the forward model: exit waves, and electrons drawn from patterns."""

from __future__ import annotations

import math

import numpy as np

from ..compiled import scalar_function
from ..device import kernel

#: Marks an electron that missed the camera.
LOST = -1

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_TO_UNIT_53 = 1.0 / 9007199254740992.0
_TO_UNIT_32 = 1.0 / 4294967296.0
_LOW_32 = np.uint64(0xFFFFFFFF)
_HIGH_32 = np.uint64(32)
#: Random numbers set aside for each electron: one for its pixel, the others for tries inside it.
_NUMBERS_PER_ELECTRON = 64


@scalar_function
def random_bits(key, counter):
    """Return 64 random bits for a `key` and a `counter` [uint64].

    The SplitMix64 generator, entered at any point of its sequence: no state, so that it does not
    matter which thread asks.

    References
    ----------
    .. [1] Steele, Lea and Flood, OOPSLA 2014, doi:10.1145/2660193.2660195.
    """
    z = key + counter * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


@kernel
def exit_waves(i, positions, probe, transmission, waves):
    """Write probe times specimen at position i.

    Parameters
    ----------
    i : int
    positions : (items, 2) int64
        Object pixel (row, column).
    probe : (n, n) complex64
        Its middle is pixel (n/2, n/2).
    transmission : (rows + n, columns + n) complex64
        Padded by n/2 pixels on all sides.
    waves : (items, n, n) complex64
        Output.
    """
    top, left = positions[i, 0], positions[i, 1]
    for a in range(probe.shape[0]):
        for b in range(probe.shape[1]):
            waves[i, a, b] = probe[a, b] * transmission[top + a, left + b]


@scalar_function
def first_above(cumulative, value):
    """Return the first index whose cumulative sum exceeds `value`, by bisection."""
    low, high = 0, len(cumulative) - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > value:
            high = middle
        else:
            low = middle + 1
    return low


@scalar_function
def camera_pixel(row, column, affine, shape):
    """Return the flat camera pixel that a frequency (row, column) hits, or LOST.

    Parameters
    ----------
    row, column : float
        Frequency in the scan's frame [1/window].
    affine : (2, 3) float64
        From frequency to camera position [px, pixel centres at integers].
    shape : (2,) int64
        Camera rows and columns.
    """
    r = math.floor(affine[0, 0] * row + affine[0, 1] * column + affine[0, 2] + 0.5)
    c = math.floor(affine[1, 0] * row + affine[1, 1] * column + affine[1, 2] + 0.5)
    if r < 0 or c < 0 or r >= shape[0] or c >= shape[1]:
        return LOST
    return int(r) * shape[1] + int(c)


@scalar_function
def place_inside(row, column, radius, key, counter):
    """Return a random point (row, column) inside a frequency pixel.

    Where the aperture's edge cuts through the pixel, the point lies inside the aperture: the pixel
    is dimmer by the part that is cut off, so together the edge comes out sharp.

    Parameters
    ----------
    row, column : int
        Frequency pixel [1/window].
    radius : float
        Radius of the aperture [1/window].
    key, counter : uint64
        See `random_bits`; the numbers from `counter` on are used.
    """
    touched = math.hypot(max(abs(row) - 0.5, 0.0), max(abs(column) - 0.5, 0.0)) < radius
    r, c = 0.0, 0.0
    for trial in range(_NUMBERS_PER_ELECTRON - 1):
        bits = random_bits(key, counter + np.uint64(trial))
        r = row + (bits >> _HIGH_32) * _TO_UNIT_32 - 0.5
        c = column + (bits & _LOW_32) * _TO_UNIT_32 - 0.5
        if not touched or r * r + c * c < radius * radius:
            break
    return r, c


@kernel
def draw_electrons(i, spectra, first, radius, affine, shape, seed, position, cumulative, pixels):
    """Draw the electrons of pattern i, each at a random place in the frequency pixel that it hits.

    Parameters
    ----------
    i : int
    spectra : (items, n, n) complex64
        Waves on the camera, zero frequency in the corner.
    first : (items + 1,) int64
        Pattern i owns electrons first[i] to first[i + 1].
    radius : float
        Radius of the aperture [1/window].
    affine, shape
        See `camera_pixel`.
    seed, position : int
        Decide, with i, the random numbers.
    cumulative : (items, n * n) float64
        Scratch.
    pixels : (electrons,) int32
        Output.
    """
    n = spectra.shape[1]
    total = 0.0
    for a in range(n):
        for b in range(n):
            wave = spectra[i, a, b]
            total += wave.real * wave.real + wave.imag * wave.imag
            cumulative[i, a * n + b] = total
    key = random_bits(np.uint64(seed), np.uint64(position + i))
    for e in range(first[i], first[i + 1]):
        counter = np.uint64(_NUMBERS_PER_ELECTRON * (e - first[i]))
        bits = random_bits(key, counter) >> np.uint64(11)
        hit = first_above(cumulative[i], total * bits * _TO_UNIT_53)
        row, column = hit // n, hit % n
        row -= n if 2 * row >= n else 0
        column -= n if 2 * column >= n else 0
        r, c = place_inside(row, column, radius, key, counter + np.uint64(1))
        pixels[e] = camera_pixel(r, c, affine, shape)
