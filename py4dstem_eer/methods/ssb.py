"""Single-sideband ptychography from a compact store of overlap entries.

Of the four-dimensional G(k, Q), the Fourier transform of the data along the scan, only the entries
in which the aperture overlaps a shifted one carry phase. They are gathered once; for new
aberrations they are weighted and summed again, and one inverse FFT gives the object.

References
----------
.. [1] Pelz et al., IEEE Signal Processing Magazine 39(1), 25 (2022), Eqs. 2 and 3.
.. [2] Rodenburg, McCallum & Nellist, Ultramicroscopy 48, 304 (1993).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..device import Device, get_device, kernel
from ..errors import ParameterError
from ..optics import Aberrations, Geometry, chi
from ..progress import track
from .overlaps import NO_MIRROR, ApertureGrid, OverlapFrequencies, overlap_frequencies

SIDEBANDS = ("both", "left", "right")
#: Detector pixels whose images are Fourier transformed at a time.
_PIXELS_PER_BATCH = 16
#: Triple-overlap entries with a smaller |γ| carry no phase; py4DSTEM's threshold.
_GAMMA_THRESHOLD = 1e-3


@dataclass(frozen=True)
class OverlapStore:
    """All that a reconstruction needs: the entries of G(k, Q) where disks overlap.

    Attributes
    ----------
    geometry : Geometry
    frequencies : OverlapFrequencies
    wx, wy : (pixels,) float64
        Scattering angles of the detector pixels [rad].
    indptr : (frequencies + 1,) int64
        Start of every scan frequency's entries.
    pixel : (entries,) uint16 or uint32
        Detector pixel k of every entry.
    g : (entries,) complex64
        G(k, Q) [electrons].
    total : float
        Electrons on the small detector, in all patterns.
    """

    geometry: Geometry
    frequencies: OverlapFrequencies
    wx: np.ndarray
    wy: np.ndarray
    indptr: Any
    pixel: Any
    g: Any
    total: float
    device: Device

    @property
    def nbytes(self) -> int:
        """Bytes of the entries."""
        return int(self.indptr.nbytes + self.pixel.nbytes + self.g.nbytes)


@kernel
def _count_overlaps(i, qx, qy, wx, wy, limit, n_entries):
    total = 0
    for p in range(len(wx)):
        minus = (wx[p] - qx[i]) ** 2 + (wy[p] - qy[i]) ** 2 < limit
        plus = (wx[p] + qx[i]) ** 2 + (wy[p] + qy[i]) ** 2 < limit
        total += 1 if minus or plus else 0
    n_entries[i] = total


@kernel
def _gather_overlaps(i, qx, qy, wx, wy, limit, first, source, conjugate, planes, fill, pixel, g):
    at = fill[i]
    for b in range(planes.shape[0]):
        p = first + b
        minus = (wx[p] - qx[i]) ** 2 + (wy[p] - qy[i]) ** 2 < limit
        plus = (wx[p] + qx[i]) ** 2 + (wy[p] + qy[i]) ** 2 < limit
        if minus or plus:
            value = planes[b, source[i]]
            g[at] = value.conjugate() if conjugate[i] else value
            pixel[at] = p
            at += 1
    fill[i] = at


@kernel
def _sum_overlaps(i, indptr, pixel, g, qx, qy, wx, wy, limit, chi_k, table, triple, sums):
    """Add up one scan frequency: right, left and triple overlaps, each freed of its aberrations."""
    right = 0j
    left = 0j
    both = 0j
    for e in range(indptr[i], indptr[i + 1]):
        p = pixel[e]
        mx, my = wx[p] - qx[i], wy[p] - qy[i]
        px, py = wx[p] + qx[i], wy[p] + qy[i]
        minus = mx * mx + my * my < limit
        plus = px * px + py * py < limit
        if minus and not plus:
            angle = chi_k[p] - chi(mx, my, table)
            right += g[e] * complex(math.cos(angle), -math.sin(angle))
        elif plus and not minus:
            angle = chi(px, py, table) - chi_k[p]
            left -= g[e] * complex(math.cos(angle), -math.sin(angle))
        elif triple:
            # γ = e^ia − e^ib = 2i sin((a − b)/2) e^i(a + b)/2
            a = chi_k[p] - chi(mx, my, table)
            b = chi(px, py, table) - chi_k[p]
            sine = math.sin((a - b) / 2)
            if 2 * abs(sine) > _GAMMA_THRESHOLD:
                turned = g[e] * complex(-math.sin((a + b) / 2), -math.cos((a + b) / 2))
                both += turned if sine > 0 else -turned
    sums[i, 0] = right
    sums[i, 1] = left
    sums[i, 2] = both


@kernel
def _sum_power(i, indptr, g, power):
    total = 0.0
    for e in range(indptr[i], indptr[i + 1]):
        total += g[e].real * g[e].real + g[e].imag * g[e].imag
    power[i] = total


@kernel
def _evaluate_chi(p, wx, wy, table, values):
    values[p] = chi(wx[p], wy[p], table)


def prepare(
    stack: Any,
    grid: ApertureGrid,
    scan_shape: tuple[int, int],
    total: float,
    geometry: Geometry,
    device: str = "cpu",
) -> OverlapStore:
    """Fourier transform the bright-field pixels' images and keep what lies in overlaps.

    Parameters
    ----------
    stack : (Rx * Ry, pixels)
        Electrons of every aperture pixel of `grid` at every scan position, on the device.
    grid : ApertureGrid
    scan_shape : (int, int)
        (Rx, Ry), at least two rows and two columns.
    total : float
        Electrons on the whole small detector, in all patterns.
    geometry : Geometry
    device : {"cpu", "gpu"}

    Raises
    ------
    ParameterError
        If the scan is a line, all patterns are empty, or the scan step is so coarse that no scan
        frequency lies in an overlap.
    """
    if min(scan_shape) < 2:
        raise ParameterError(f"the scan has shape {scan_shape}; ptychography needs two dimensions")
    if total <= 0:
        raise ParameterError("all patterns are empty on the bright-field disk")
    where = get_device(device)
    frequencies = overlap_frequencies(scan_shape, geometry)
    coordinates = _coordinates(frequencies, grid.wx, grid.wy, geometry, where)
    n_entries = where.xp.zeros(len(frequencies), np.int64)
    _count_overlaps.launch(where, len(frequencies), *coordinates, n_entries)
    indptr = where.xp.zeros(len(frequencies) + 1, np.int64)
    indptr[1:] = where.xp.cumsum(n_entries)
    if int(indptr[-1]) == 0:
        raise ParameterError(
            "no scan frequency lies in a disk overlap: the scan is too small or coarse"
        )
    pixel, g = _gather(stack, frequencies, coordinates, indptr, where)
    return OverlapStore(
        geometry, frequencies, grid.wx, grid.wy, indptr, pixel, g, float(total), where
    )


def _gather(
    stack: Any, frequencies: OverlapFrequencies, coordinates: tuple, indptr: Any, where: Device
) -> tuple[Any, Any]:
    n_pixels = stack.shape[1]
    g = where.xp.empty(int(indptr[-1]), np.complex64)
    pixel = where.xp.empty(len(g), np.uint16 if n_pixels <= 2**16 else np.uint32)
    fill = indptr[:-1].copy()
    source, conjugate = where.asarray(frequencies.source), where.asarray(frequencies.conjugate)
    starts = range(0, n_pixels, _PIXELS_PER_BATCH)
    for first in track(starts, "Fourier transforms along the scan"):
        planes = _scan_transforms(stack[:, first : first + _PIXELS_PER_BATCH], frequencies, where)
        _gather_overlaps.launch(
            where, len(frequencies), *coordinates, first, source, conjugate, planes, fill, pixel, g
        )
    return pixel, g


def _scan_transforms(columns: Any, frequencies: OverlapFrequencies, where: Device) -> Any:
    """Return the real FFT of each pixel's image, flattened, (pixels, Rx * (Ry // 2 + 1))."""
    images = where.xp.ascontiguousarray(columns.T).astype(np.float32)
    images = images.reshape(-1, *frequencies.scan_shape)
    planes = where.fft.rfft2(images, **where.fft_options())
    return planes.reshape(len(images), -1)


def _coordinates(
    frequencies: OverlapFrequencies,
    wx: np.ndarray,
    wy: np.ndarray,
    geometry: Geometry,
    where: Device,
) -> tuple:
    arrays = tuple(where.asarray(a) for a in (frequencies.wx, frequencies.wy, wx, wy))
    return (*arrays, (geometry.semiangle * 1e-3) ** 2)


def reconstruct(
    store: OverlapStore,
    aberrations: Aberrations,
    sideband: str = "both",
    triple_overlap: bool = False,
) -> np.ndarray:
    """Return the object for one set of aberrations.

    Parameters
    ----------
    store : OverlapStore
    aberrations : Aberrations
        In the scan's frame.
    sideband : {"both", "left", "right"}
        Which double overlaps to use: of the aperture with the one at k + Q ("left"), at k − Q
        ("right"), or both. A single one counts twice, so that phases compare.
    triple_overlap : bool
        Use the region where all three disks overlap too.

    Returns
    -------
    object : (Rx, Ry) complex64
        With py4DSTEM's convention for the amplitude, a → 2 − a.
    """
    if sideband not in SIDEBANDS:
        raise ParameterError(f"sideband is {sideband!r}; it must be one of {', '.join(SIDEBANDS)}")
    where = store.device
    sums = _weighted_sums(store, aberrations, triple_overlap)
    spectrum = _spectrum(store, sums, sideband)
    n_positions = math.prod(store.frequencies.scan_shape)
    image = where.fft.ifft2(spectrum, **where.fft_options()) * (n_positions / store.total)
    image = where.asnumpy(image)
    amplitude = np.abs(image)
    # exp(i·angle) is image/|image|, but for an empty pixel
    phasor = np.divide(image, amplitude, out=np.ones_like(image), where=amplitude > 0)
    return ((2 - amplitude) * phasor).astype(np.complex64)


def _weighted_sums(store: OverlapStore, aberrations: Aberrations, triple_overlap: bool) -> Any:
    where, geometry = store.device, store.geometry
    relative = aberrations.relative_to_detector(geometry.rotation, geometry.transpose)
    table = where.asarray(relative.chi_table(geometry.wavelength))
    *arrays, limit = _coordinates(store.frequencies, store.wx, store.wy, geometry, where)
    chi_k = where.xp.empty(len(store.wx), np.float64)
    _evaluate_chi.launch(where, len(store.wx), arrays[2], arrays[3], table, chi_k)
    sums = where.xp.empty((len(store.frequencies), 3), np.complex128)
    _sum_overlaps.launch(
        where,
        len(store.frequencies),
        store.indptr,
        store.pixel,
        store.g,
        *arrays,
        limit,
        chi_k,
        table,
        triple_overlap,
        sums,
    )
    return sums


def _spectrum(store: OverlapStore, sums: Any, sideband: str) -> Any:
    """Place the sums in the full plane of scan frequencies.

    γ(k, −Q) = −γ*(k, Q), and the double overlaps swap sides: the value at −Q is minus the conjugate
    of the other side's value at Q.
    """
    where, frequencies = store.device, store.frequencies
    right, left, both = sums[:, 0], sums[:, 1], sums[:, 2]
    here, there = {
        "both": (right + left + both, right + left + both),
        "right": (2 * right + both, 2 * left + both),
        "left": (2 * left + both, 2 * right + both),
    }[sideband]
    spectrum = where.xp.zeros(math.prod(frequencies.scan_shape), np.complex64)
    spectrum[where.asarray(frequencies.target)] = here
    paired = frequencies.mirror != NO_MIRROR
    spectrum[where.asarray(frequencies.mirror[paired])] = -there[where.asarray(paired)].conj()
    spectrum[0] = store.total
    return spectrum.reshape(frequencies.scan_shape)


def aperture_function(
    store: OverlapStore, grid: ApertureGrid, aberrations: Aberrations
) -> np.ndarray:
    """Return A(k) = exp(−iχ(k)) inside the aperture, on the small detector, complex64."""
    geometry = store.geometry
    relative = aberrations.relative_to_detector(geometry.rotation, geometry.transpose)
    table = relative.chi_table(geometry.wavelength)
    values = np.empty(len(grid.wx))
    _evaluate_chi.launch(get_device("cpu"), len(values), grid.wx, grid.wy, table, values)
    aperture = np.zeros(grid.shape, np.complex64)
    aperture.ravel()[grid.pixels] = np.exp(-1j * values)
    return aperture


def strongest_trotters(
    store: OverlapStore, grid: ApertureGrid, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return G(k, Q) at the n scan frequencies with the most power in their overlaps.

    Parameters
    ----------
    store : OverlapStore
    grid : ApertureGrid
    n : int

    Returns
    -------
    images : (n, m, m) complex64
        On the small detector, strongest first, zero outside overlaps [electrons].
    qx, qy : (n,) float64
        Scan frequencies in the detector's frame [Å⁻¹].
    """
    where, frequencies = store.device, store.frequencies
    if not 0 < n <= len(frequencies):
        raise ParameterError(f"{n} trotters were asked for; there are {len(frequencies)}")
    power = power_spectrum(store)
    power[frequencies.conjugate] = 0  # their partners show the same
    chosen = np.argsort(-power)[:n]
    indptr = where.asnumpy(store.indptr)
    images = np.zeros((n, grid.shape[0] * grid.shape[1]), np.complex64)
    for image, i in zip(images, chosen, strict=True):
        entries = slice(int(indptr[i]), int(indptr[i + 1]))
        image[grid.pixels[where.asnumpy(store.pixel[entries])]] = where.asnumpy(store.g[entries])
    wavelength = store.geometry.wavelength
    return (
        images.reshape(n, *grid.shape),
        frequencies.wx[chosen] / wavelength,
        frequencies.wy[chosen] / wavelength,
    )


def power_spectrum(store: OverlapStore) -> np.ndarray:
    """Return Σ|G|² over the overlaps of every stored scan frequency, (frequencies,) float64."""
    where = store.device
    power = where.xp.empty(len(store.frequencies), np.float64)
    _sum_power.launch(where, len(store.frequencies), store.indptr, store.g, power)
    return where.asnumpy(power)
