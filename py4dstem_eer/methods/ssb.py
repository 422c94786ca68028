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
from ..optics import Aberrations, Geometry
from ..progress import track
from .aperture_grid import ApertureGrid
from .overlap_runs import OverlapRuns, overlap_runs
from .ssb_sums import add_double_overlaps, add_triple_overlaps, evaluate_chi, finish_object

SIDEBANDS = ("both", "left", "right")
#: Detector pixels whose images are Fourier transformed at a time.
_PIXELS_PER_BATCH = 32
#: Scan positions whose patterns stay in the cache while their pixels are sorted into images.
_POSITIONS_PER_BLOCK = 1024


@dataclass(frozen=True)
class OverlapStore:
    """All that a reconstruction needs: the entries of G(k, Q) where disks overlap.

    Attributes
    ----------
    geometry : Geometry
    runs : OverlapRuns
        Which pixel and scan frequency each entry belongs to.
    g_re, g_im : (entries,) float32
        Real and imaginary part of G(k, Q) [electrons], on the device.
    total : float
        Electrons on the small detector, in all patterns.
    device : Device
    """

    geometry: Geometry
    runs: OverlapRuns
    g_re: Any
    g_im: Any
    total: float
    device: Device

    @property
    def nbytes(self) -> int:
        """Bytes of the entries and of the table of runs."""
        tables = (self.runs.pixel, self.runs.side, self.runs.first, self.runs.length)
        return int(self.g_re.nbytes + self.g_im.nbytes + 4 * tables[0].nbytes)


@kernel
def _gather_row(
    i, row_ptr, pixel, first, length, start, n_scan_rows, batch, planes, n_columns, g_re, g_im
):
    """Copy the runs of one row, and of one batch of pixels, out of their Fourier planes."""
    # the row beyond the scan's own repeats the highest frequency, conjugated
    source = n_scan_rows // 2 if i == n_scan_rows else i
    sign = -1 if i == n_scan_rows else 1
    for r in range(row_ptr[i], row_ptr[i + 1]):
        plane = pixel[r] - batch
        if plane >= 0 and plane < planes.shape[0]:
            for j in range(length[r]):
                value = planes[plane, source * n_columns + first[r] + j]
                g_re[start[r] + j] = value.real
                g_im[start[r] + j] = sign * value.imag


@kernel
def _sort_into_images(block, stack, first, size, images):
    """Turn patterns, side by side, into one image for each pixel."""
    begin = block * size
    end = min(begin + size, stack.shape[0])
    for pixel in range(images.shape[0]):
        for position in range(begin, end):
            images[pixel, position] = stack[position, first + pixel]


@kernel
def _sum_pixels(position, stack, image):
    total = stack[position, 0] * 0.0
    for pixel in range(stack.shape[1]):
        total += stack[position, pixel]
    image[position] = total


def bright_field_image(stack: Any, scan_shape: tuple[int, int], device: str = "cpu") -> np.ndarray:
    """Return the electrons on all aperture pixels at every scan position, (Rx, Ry) float32."""
    where = get_device(device)
    image = where.xp.empty(len(stack), np.float32)
    _sum_pixels.launch(where, len(stack), stack, image)
    return where.asnumpy(image).reshape(scan_shape)


def prepare(
    stack: Any,
    grid: ApertureGrid,
    scan_shape: tuple[int, int],
    total: float,
    geometry: Geometry,
    device: str = "cpu",
    reach: float = 0.0,
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
    reach : float
        How far beyond the aperture's edge a shifted disk still counts [rad].

    Raises
    ------
    ParameterError
        If the scan is a line, all patterns are empty, or no scan frequency lies in an overlap.
    """
    if min(scan_shape) < 2:
        raise ParameterError(f"the scan has shape {scan_shape}; ptychography needs two dimensions")
    if not total > 0:
        raise ParameterError("all patterns are empty on the bright-field disk")
    where = get_device(device)
    runs = overlap_runs(scan_shape, grid, geometry, reach)
    if runs.n_entries == 0:
        raise ParameterError(
            f"no scan frequency lies in a disk overlap: a scan of {scan_shape} positions in steps "
            f"of {geometry.scan_step} Å is too small or too coarse for {geometry.semiangle:g} mrad"
        )
    g_re, g_im = _gather(stack, runs, where)
    return OverlapStore(geometry, runs, g_re, g_im, float(total), where)


def _gather(stack: Any, runs: OverlapRuns, where: Device) -> tuple[Any, Any]:
    g_re = where.xp.empty(runs.n_entries, np.float32)
    g_im = where.xp.empty(runs.n_entries, np.float32)
    tables = (runs.row_ptr, runs.pixel, runs.first, runs.length, runs.start)
    on_device = tuple(where.asarray(table) for table in tables)
    n_columns = runs.scan_shape[1] // 2 + 1
    batches = range(0, stack.shape[1], _PIXELS_PER_BATCH)
    for batch in track(batches, "Fourier transforms along the scan"):
        planes = _scan_transforms(stack, batch, runs, where)
        sizes = (runs.scan_shape[0], batch, planes, n_columns)
        _gather_row.launch(where, runs.n_rows, *on_device, *sizes, g_re, g_im)
    return g_re, g_im


def _scan_transforms(stack: Any, first: int, runs: OverlapRuns, where: Device) -> Any:
    """Return the real FFTs of a batch of pixels' images, flat, (pixels, Rx * (Ry // 2 + 1))."""
    n_positions = stack.shape[0]
    n_pixels = min(_PIXELS_PER_BATCH, stack.shape[1] - first)
    images = where.xp.empty((n_pixels, n_positions), np.float32)
    n_blocks = -(-n_positions // _POSITIONS_PER_BLOCK)
    _sort_into_images.launch(where, n_blocks, stack, first, _POSITIONS_PER_BLOCK, images)
    images = images.reshape(n_pixels, *runs.scan_shape)
    return where.fft.rfft2(images, **where.fft_options()).reshape(n_pixels, -1)


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
    spectrum = _spectrum(store, _sums(store, aberrations, triple_overlap), sideband)
    image = where.fft.ifft2(spectrum, overwrite_x=True, **where.fft_options())
    scale = math.prod(store.runs.scan_shape) / store.total
    finish_object.launch(where, len(image), image, np.float32(scale))
    return where.asnumpy(image)


def _sums(store: OverlapStore, aberrations: Aberrations, triple_overlap: bool) -> Any:
    """Return the sums over right, left and triple overlaps, (3, rows, Ry // 2 + 1) complex64."""
    where, runs = store.device, store.runs
    table = where.asarray(aberrations.chi_table(store.geometry.wavelength))
    kx, ky = where.asarray(runs.kx), where.asarray(runs.ky)
    chi_k = where.xp.empty(len(runs.kx), np.float64)
    evaluate_chi.launch(where, len(runs.kx), kx, ky, table, chi_k)
    tables = (runs.row_ptr, runs.pixel, runs.side, runs.first, runs.length, runs.start)
    arguments = (
        *(where.asarray(a) for a in tables),
        *(store.g_re, store.g_im, kx, ky, chi_k, table),
        *(where.asarray(runs.row_wx), where.asarray(runs.column_wy)),
        *(runs.scan_shape[0], runs.n_regular),
    )
    shape = (3, runs.n_rows, runs.scan_shape[1] // 2 + 1)
    re, im = where.xp.zeros(shape, np.float32), where.xp.zeros(shape, np.float32)
    add_double_overlaps.launch(where, runs.n_rows, *arguments, re, im)
    if triple_overlap:
        add_triple_overlaps.launch(where, runs.n_rows, *arguments, re, im)
    return re + np.complex64(1j) * im


def _spectrum(store: OverlapStore, sums: Any, sideband: str) -> Any:
    """Place the sums in the full plane of scan frequencies.

    γ(k, −Q) = −γ*(k, Q), and the double overlaps swap sides: the value at −Q is minus the conjugate
    of the other side's value at Q.
    """
    runs, xp = store.runs, store.device.xp
    n_rows, n_columns = runs.scan_shape
    right, left, triple = sums
    if sideband == "both":
        here = there = right + left + triple
    else:
        one, other = (right, left) if sideband == "right" else (left, right)
        here, there = 2 * one + triple, 2 * other + triple
    spectrum = xp.empty((n_rows, n_columns), np.complex64)
    spectrum[:, : here.shape[1]] = here[:n_rows]
    n_paired = runs.n_regular - 1
    mirrored = -there[:n_rows, 1 : n_paired + 1].conj()
    # row −i, column −c
    spectrum[:, n_columns - n_paired :] = xp.roll(mirrored[::-1, ::-1], 1, axis=0)
    if n_rows % 2 == 0:
        spectrum[n_rows // 2, n_columns - n_paired :] = here[n_rows, 1 : n_paired + 1][::-1]
    spectrum[0, 0] = store.total
    return spectrum


def aperture_function(
    store: OverlapStore, grid: ApertureGrid, aberrations: Aberrations
) -> np.ndarray:
    """Return A(k) = exp(−iχ(k)) inside the aperture, on the small detector, complex64."""
    runs = store.runs
    values = np.empty(len(runs.kx))
    table = aberrations.chi_table(store.geometry.wavelength)
    evaluate_chi.launch(get_device("cpu"), len(values), runs.kx, runs.ky, table, values)
    aperture = np.zeros(grid.shape, np.complex64)
    aperture.ravel()[grid.pixels] = np.exp(-1j * values)
    return aperture
