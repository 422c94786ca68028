"""The SSB kernels against the slow dense reference, on every device there is.

Nothing here imports py4DSTEM, which does not load under numba's CUDA simulator.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference

from py4dstem_eer.errors import MemoryBudgetError, ParameterError
from py4dstem_eer.events import EventStore
from py4dstem_eer.methods import reductions, ssb, ssb_gather, trotters
from py4dstem_eer.methods.aperture_grid import aperture_grid
from py4dstem_eer.methods.bright_field import Disk
from py4dstem_eer.optics import Aberrations, Geometry

ENERGY, SEMIANGLE, RADIUS = 80e3, 25.0, 6.3
PIXEL = SEMIANGLE * 1e-3 / reference.wavelength(ENERGY) / RADIUS
CENTER = (6.7, 8.2)
POLAR = {"C10": -150.0, "C12": 60.0, "phi12": 0.4, "C21": 2e3, "phi21": 1.0}


def counts(scan, seed=0):
    return np.random.default_rng(seed).poisson(2.0, (*scan, 14, 16)).astype(np.uint16)


def prepared(data, device, rotation=0.3, transpose=True, precision="full"):
    geometry = Geometry(ENERGY, SEMIANGLE, (0.5, 0.5), rotation, transpose)
    grid = aperture_grid(data.shape[2:], Disk(CENTER, RADIUS), PIXEL, geometry, None)
    events = EventStore.from_dense(data)
    stack = reductions.binned_stack(events, grid.pixel_map, np.dtype(np.uint8), device)
    total = float(data.sum())
    settings = (data.shape[:2], total, geometry, device)
    return ssb.prepare(stack, grid, *settings, precision=precision), grid


def phase_difference(a, b):
    return np.abs(np.angle(np.exp(1j * (np.angle(a) - np.angle(b))))).max()


@pytest.mark.parametrize("scan", [(5, 6), (4, 7)])
@pytest.mark.parametrize(
    ("sideband", "triple_overlap"),
    [("both", False), ("both", True), ("left", False), ("right", False)],
)
def test_object_equals_the_dense_reference(scan, sideband, triple_overlap, device):
    data = counts(scan)
    store, _ = prepared(data, device)
    ours = ssb.reconstruct(store, Aberrations.parse(POLAR), sideband, triple_overlap)
    truth = reference.ssb(
        data,
        (np.arange(14) - CENTER[0]) * PIXEL,
        (np.arange(16) - CENTER[1]) * PIXEL,
        step=(0.5, 0.5),
        energy=ENERGY,
        semiangle=SEMIANGLE,
        polar=POLAR,
        rotation=0.3,
        transpose=True,
        sideband=sideband,
        triple_overlap=triple_overlap,
    )
    if sideband != "both":  # one sideband counts twice
        truth = truth.mean() + 2 * (truth - truth.mean())
    assert phase_difference(ours, truth) <= 1e-5


def entries_by_frequency(store):
    """Yield (scan row, column, pixel, side, G) of every stored entry, rows of the FFT."""
    runs = store.runs
    re, im, unit = (store.device.asnumpy(a) for a in store.entries)
    g = np.repeat(unit, runs.length) * (re + 1j * im)
    for row in range(runs.n_rows):
        for r in range(runs.row_ptr[row], runs.row_ptr[row + 1]):
            for j in range(runs.length[r]):
                column = runs.first[r] + j
                if row == runs.scan_shape[0]:  # the other half of the highest frequency
                    place = (row // 2, runs.scan_shape[1] - column)
                else:
                    place = (row, column)
                yield *place, runs.pixel[r], runs.side[r], g[runs.start[r] + j]


@pytest.mark.parametrize("scan", [(5, 6), (4, 7), (6, 4), (2, 2)])
@pytest.mark.parametrize(("rotation", "transpose"), [(0.0, False), (0.3, True)])
def test_entries_are_those_of_the_dense_transform(scan, rotation, transpose, device):
    data = counts(scan)
    store, grid = prepared(data, device, rotation, transpose)
    g = np.fft.fft2(data.astype(float), axes=(0, 1)).reshape(*scan, -1)[:, :, grid.pixels]
    qx, qy = reference.scan_frequencies(scan, (0.5, 0.5), rotation, transpose)
    wavelength, radius = store.geometry.wavelength, store.geometry.aperture_radius
    kx, ky = grid.wx / wavelength, grid.wy / wavelength
    seen = set()
    for row, column, pixel, side, value in entries_by_frequency(store):
        q = qx[row, column], qy[row, column]
        minus = np.hypot(kx[pixel] - q[0], ky[pixel] - q[1]) < radius
        plus = np.hypot(kx[pixel] + q[0], ky[pixel] + q[1]) < radius
        assert side == {(True, False): 0, (False, True): 1, (True, True): 2}[minus, plus]
        np.testing.assert_allclose(value, g[row, column, pixel], rtol=1e-4, atol=1e-3)
        seen.add((row, column, pixel))
        # −Q follows from Q
        seen.add((-row % scan[0], -column % scan[1], pixel))
    for row, column in np.ndindex(scan):
        q = qx[row, column], qy[row, column]
        minus = np.hypot(kx - q[0], ky - q[1]) < radius
        plus = np.hypot(kx + q[0], ky + q[1]) < radius
        for pixel in np.flatnonzero(minus | plus):
            assert (row, column, pixel) in seen or (row, column) == (0, 0)


@pytest.mark.parametrize("scan", [(5, 6), (4, 7)])
def test_half_precision_errs_by_half_a_unit(scan, device):
    data = counts(scan)
    full, half = (prepared(data, device, precision=p)[0] for p in ("full", "half"))
    assert half.entry_bytes == full.entry_bytes / 2
    asnumpy, lengths = full.device.asnumpy, full.runs.length
    for exact, kept in zip(full.entries[:2], half.entries[:2], strict=True):
        error = np.repeat(asnumpy(half.unit), lengths) * asnumpy(kept) - asnumpy(exact)
        assert (np.abs(error) <= np.repeat(asnumpy(half.unit), lengths) * 0.502).all()
    largest = np.maximum(*(np.abs(asnumpy(part)) for part in full.entries[:2]))
    of_run = np.maximum.reduceat(largest, full.runs.start[:-1])
    np.testing.assert_allclose(asnumpy(half.unit), of_run / 32767, rtol=1e-5)


@pytest.mark.parametrize("triple_overlap", [False, True])
def test_half_precision_gives_the_same_phase(triple_overlap, device):
    data, knobs = counts((6, 7)), Aberrations.parse(POLAR)
    full, half = (prepared(data, device, precision=p) for p in ("full", "half"))
    phases = (ssb.reconstruct(s, knobs, triple_overlap=triple_overlap) for s, _ in (full, half))
    assert phase_difference(*phases) <= 2e-5
    expected = trotters.power_spectrum(full[0])
    np.testing.assert_allclose(trotters.power_spectrum(half[0]), expected, rtol=1e-3)
    ours, theirs = (trotters.trotters(*s, [(1, 0), (2, 1)]).images for s in (half, full))
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_an_unknown_precision_is_refused():
    with pytest.raises(ParameterError, match=r"'double'.*full.*half"):
        prepared(counts((5, 6)), "cpu", precision="double")


def test_probe(device):
    store, grid = prepared(counts((5, 6)), device)
    probe = ssb.aperture_function(store, grid, Aberrations.parse(POLAR))
    kx = (np.arange(14) - CENTER[0]) * PIXEL
    ky = (np.arange(16) - CENTER[1]) * PIXEL
    polar = reference.relative_angles(POLAR, 0.3, True)
    wavelength = reference.wavelength(ENERGY)
    truth = reference.aperture(polar, *np.meshgrid(kx, ky, indexing="ij"), wavelength, SEMIANGLE)
    np.testing.assert_allclose(probe, truth, atol=1e-5)
    assert math.isclose(abs(probe).max(), 1, abs_tol=1e-6)


def test_a_scan_too_small_for_any_overlap_is_refused():
    geometry = Geometry(ENERGY, SEMIANGLE, (0.1, 0.1))
    grid = aperture_grid((14, 16), Disk(CENTER, RADIUS), PIXEL, geometry, None)
    with pytest.raises(ParameterError, match="no scan frequency"):
        ssb.prepare(np.ones((4, len(grid.pixels)), np.uint8), grid, (2, 2), 1.0, geometry)


def test_too_little_memory_is_explained(monkeypatch):
    geometry = Geometry(ENERGY, SEMIANGLE, (0.5, 0.5))
    grid = aperture_grid((14, 16), Disk(CENTER, RADIUS), PIXEL, geometry, None)
    stack = np.ones((30, len(grid.pixels)), np.uint8)

    class OutOfMemoryError(MemoryError):  # as cupy's
        pass

    def fail(*_):
        raise OutOfMemoryError("out of memory allocating 9 bytes")

    monkeypatch.setattr(ssb_gather, "_scan_transforms", fail)
    with pytest.raises(MemoryBudgetError, match=r"needs .* GiB .*lower detector_size, crop or bin"):
        ssb.prepare(stack, grid, (5, 6), 1.0, geometry)
