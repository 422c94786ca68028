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
from .aperture_grid import ApertureGrid
from .overlap_runs import OverlapRuns, overlap_runs
from .run_tables import RunTables
from .ssb_gather import ENTRY_BYTES, PIXELS_PER_BATCH, check_precision, gather
from .ssb_sums import (
    add_double_overlaps,
    add_triple_overlaps,
    evaluate_chi,
    finish_object,
    place_spectrum,
)
from .ssb_sums_gpu import LINE, find_lines, sum_overlaps

SIDEBANDS = ("both", "left", "right")
#: Weights of the right and the left double overlap.
_SIDE_WEIGHTS = {
    "both": (np.float32(1), np.float32(1)),
    "left": (np.float32(0), np.float32(2)),
    "right": (np.float32(2), np.float32(0)),
}
MEMORY_ADVICE = (
    "lower detector_size, crop or bin the scan with crop_R or bin_R, or use another device"
)


@dataclass(frozen=True)
class OverlapStore:
    """All that a reconstruction needs: the entries of G(k, Q) where disks overlap.

    Attributes
    ----------
    geometry : Geometry
    runs : OverlapRuns
        Which pixel and scan frequency each entry belongs to.
    tables : RunTables
        The same on the device.
    g_re, g_im : (entries,) float32 or int16
        Real and imaginary part of G(k, Q), in units of its run, on the device.
    unit : (runs,) float32
        [electrons]; ones if the entries are float32.
    total : float
        Electrons on the small detector, in all patterns.
    device : Device
    """

    geometry: Geometry
    runs: OverlapRuns
    tables: RunTables
    g_re: Any
    g_im: Any
    unit: Any
    total: float
    device: Device

    @property
    def nbytes(self) -> int:
        """Bytes of the entries and of the table of runs."""
        tables = (self.runs.pixel, self.runs.side, self.runs.first, self.runs.length, self.unit)
        return int(self.entry_bytes + sum(table.nbytes for table in tables))

    @property
    def entry_bytes(self) -> int:
        """Bytes of the entries, which a redraw reads once."""
        return int(self.g_re.nbytes + self.g_im.nbytes)

    @property
    def entries(self) -> tuple[Any, Any, Any]:
        """Real and imaginary parts, and the units of the runs."""
        return self.g_re, self.g_im, self.unit


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
    precision: str = "full",
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
    precision : {"full", "half"}
        "full" keeps the entries as float32. "half" keeps 16 bits of each part, in units of the
        largest of its run (the neighbouring scan frequencies in one row, of one pixel): half of the
        memory, with errors up to 2⁻¹⁶ of that largest. On crystals, films and particles of 30 × 32
        positions and 400 electrons per pattern the phase changes by up to 4e-6 rad: by 2e-5 of its
        standard error, root mean square; on noise of 1024 × 1024 positions by 1e-4 of it.

    Raises
    ------
    ParameterError
        If the scan is a line, all patterns are empty, no scan frequency lies in an overlap, or
        `precision` is neither.
    """
    check_precision(precision)
    if min(scan_shape) < 2:
        raise ParameterError(f"the scan has shape {scan_shape}; ptychography needs two dimensions")
    if not total > 0:
        raise ParameterError("all patterns are empty on the bright-field disk")
    where = get_device(device)
    runs = overlap_runs(scan_shape, grid, geometry, reach, device)
    if runs.n_entries == 0:
        raise ParameterError(
            f"no scan frequency lies in a disk overlap: a scan of {scan_shape} positions in steps "
            f"of {geometry.scan_step} Å is too small or too coarse for {geometry.semiangle:g} mrad"
        )
    batch_bytes = min(PIXELS_PER_BATCH, stack.shape[1]) * 12 * math.prod(scan_shape)
    n_bytes = ENTRY_BYTES[precision] * runs.n_entries + batch_bytes
    with where.holding(n_bytes, "SSB of this scan", MEMORY_ADVICE):
        tables = RunTables.of(runs, where)
        entries = gather(stack, runs, tables, where, precision == "half")
    return OverlapStore(geometry, runs, tables, *entries, float(total), where)


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
    image = reconstruct_on_device(store, aberrations, sideband, triple_overlap)
    return store.device.asnumpy(image)


def reconstruct_on_device(
    store: OverlapStore,
    aberrations: Aberrations,
    sideband: str = "both",
    triple_overlap: bool = False,
) -> Any:
    """Return what `reconstruct` does, where the store is."""
    if sideband not in SIDEBANDS:
        raise ParameterError(f"sideband is {sideband!r}; it must be one of {', '.join(SIDEBANDS)}")
    where = store.device
    sums = _sums(store, aberrations, triple_overlap)
    spectrum = where.xp.empty(store.runs.scan_shape, np.complex64)
    arguments = (store.runs.n_regular, *sums, *_SIDE_WEIGHTS[sideband], np.float32(store.total))
    n_items = where.lanes * len(spectrum)
    place_spectrum.launch(where, n_items, where.lanes, *arguments, spectrum)
    image = where.fft.ifft2(spectrum, overwrite_x=True, **where.fft_options())
    scale = math.prod(store.runs.scan_shape) / store.total
    finish_object.launch(where, n_items, where.lanes, image, np.float32(scale))
    return image


def _sums(store: OverlapStore, aberrations: Aberrations, triple_overlap: bool) -> tuple[Any, Any]:
    """Return the sums of right, left and triple overlaps, (3, rows, Ry // 2 + 1), re and im."""
    where, runs, tables = store.device, store.runs, store.tables
    table, chi_k = evaluated_chi(store, aberrations)
    shape = (3, runs.n_rows, runs.scan_shape[1] // 2 + 1)
    re, im = where.xp.zeros(shape, np.float32), where.xp.zeros(shape, np.float32)
    sizes = (runs.scan_shape[0], runs.n_regular)
    if where.name == "gpu":
        lines = where.resident(where.xp.empty((len(runs.pixel), LINE), np.float32))
        of_run = (tables.row, *tables.runs[1:5])
        arguments = (*of_run, store.unit, *tables.angles, chi_k, table, *sizes, lines)
        find_lines.launch(where, len(runs.pixel), *arguments)
        arguments = (tables.lanes, *tables.runs, *tables.angles, chi_k, table, lines)
        entries = (store.g_re, store.g_im, sizes[0], triple_overlap, re, im)
        sum_overlaps.launch(where, tables.lanes * runs.n_rows, *arguments, *entries)
        return re, im
    kx, ky, *frequencies = tables.angles
    arguments = (*tables.runs, *store.entries, kx, ky, chi_k, table, *frequencies, *sizes)
    add_double_overlaps.launch(where, runs.n_rows, *arguments, re, im)
    if triple_overlap:
        add_triple_overlaps.launch(where, runs.n_rows, *arguments, re, im)
    return re, im


def evaluated_chi(store: OverlapStore, aberrations: Aberrations) -> tuple[Any, Any]:
    """Return the table of χ, and χ at every aperture pixel [rad], on the device."""
    where, tables = store.device, store.tables
    table = where.resident(aberrations.chi_table(store.geometry.wavelength))
    chi_k = where.resident(where.xp.empty(len(store.runs.kx), np.float64))
    evaluate_chi.launch(where, len(store.runs.kx), tables.kx, tables.ky, table, chi_k)
    return table, chi_k


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
