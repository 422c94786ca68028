"""The cells of the DPC and parallax tutorials, and the first half of phase retrieval 02."""

from __future__ import annotations

import numpy as np
import py4DSTEM
from beside import run_on_both

ENERGY = 80e3


def calibrate(datacube, truth):
    calibration = datacube.calibration
    calibration.set_R_pixel_size(truth.pixel)
    calibration.set_R_pixel_units("A")
    calibration.set_Q_pixel_size(truth.reciprocal_pixel)
    calibration.set_Q_pixel_units("A^-1")


def dpc_01(datacube, truth):
    """Images of pixels of the bright-field disk, and the phase from the centre of mass."""
    calibrate(datacube, truth)
    row, column = (round(c) for c in truth.disk_center)
    rows, columns = np.array([row, row + 3, row - 2]), np.array([column, column - 4, column + 1])
    pixels = [datacube.data[:, :, row, column], datacube.data[:, :, rows, columns]]
    frequency = datacube.calibration.get_Q_pixel_size()
    assert datacube.calibration.get_Q_pixel_units() == "A^-1"
    dpc = py4DSTEM.process.phase.DPC(datacube=datacube, energy=ENERGY, verbose=False)
    dpc.preprocess(
        plot_center_of_mass=False,
        plot_rotation=False,
        force_com_rotation=0,
        force_com_transpose=False,
    )
    dpc.reconstruct(max_iter=8, progress_bar=False)
    dpc.visualize()
    return [pixels, frequency, dpc._com_x, dpc._com_y, dpc.object_phase]


def test_dpc_01(phase_scan):
    phase = run_on_both(dpc_01, *phase_scan)[-1]
    truth = phase_scan[1].visible_phase()
    assert np.corrcoef(phase.ravel(), truth.ravel())[0, 1] > 0.8


def dpc_from_events(datacube, truth):
    """Give py4DSTEM's own DPC a centre of mass that was measured from the events."""
    calibrate(datacube, truth)
    measured = datacube.get_com() if hasattr(datacube, "get_com") else None
    dpc = py4DSTEM.process.phase.DPC(datacube=datacube, energy=ENERGY, verbose=False)
    dpc.preprocess(
        force_com_measured=measured,
        plot_center_of_mass=False,
        plot_rotation=False,
        force_com_rotation=0,
    )
    return dpc.reconstruct(max_iter=4, progress_bar=False).object_phase


def test_dpc_from_measured_centres(phase_scan):
    assert run_on_both(dpc_from_events, *phase_scan).std() > 0.001


def parallax_01(datacube, truth):
    """Lower the dose of a copy, look at bright-field images, and align them."""
    calibrate(datacube, truth)
    dose = datacube.copy()
    rng = np.random.default_rng(3)
    dose.data = rng.poisson(datacube.data * 0.5)
    mean = dose.get_dp_mean()
    bright_field_mask = mean.data > 0.5 * mean.data.max()
    stack = dose[:, :, bright_field_mask]
    parallax = py4DSTEM.process.phase.Parallax(datacube=dose, energy=ENERGY, verbose=False)
    parallax.preprocess(
        edge_blend=4, threshold_intensity=0.5, plot_average_bf=False, normalize_images=True
    )
    parallax.reconstruct(
        reset=True, max_alignment_bin=4, plot_aligned_bf=False, plot_convergence=False,
        progress_bar=False,
    )  # fmt: skip
    return [np.asarray(dose.data).sum(), mean, stack, parallax.recon_BF, parallax._xy_shifts]


def test_parallax_01(phase_scan):
    electrons, _, stack, bright_field, shifts = run_on_both(parallax_01, *phase_scan)
    assert 0.4 < electrons / phase_scan[0].sum() < 0.6
    assert stack.shape[:2] == (24, 20)
    assert stack.shape[2] == len(shifts) > 100
    assert bright_field.std() > 0


def phase_retrieval_02(datacube, truth):
    """Look at the data, then DPC, parallax and a few iterations of ptychography."""
    calibrate(datacube, truth)
    mean = datacube.get_dp_mean()
    radius, row, column = datacube.get_probe_size(mean.data)
    bright = datacube.get_virtual_image("circle", ((row, column), radius), name="bright_field")
    dark = datacube.get_virtual_image("annulus", ((row, column), (radius, 99)), name="dark_field")
    datacube.tree()
    dpc = py4DSTEM.process.phase.DPC(datacube=datacube, energy=ENERGY, verbose=False)
    dpc.preprocess(plot_center_of_mass=False, plot_rotation=False)
    dpc.reconstruct(max_iter=4, progress_bar=False)
    ptychography = py4DSTEM.process.phase.SingleslicePtychography(
        datacube=datacube,
        energy=ENERGY,
        semiangle_cutoff=truth.geometry.semiangle,
        object_padding_px=(4, 4),
        verbose=False,
    )
    ptychography.preprocess(
        plot_center_of_mass=False,
        plot_rotation=False,
        plot_probe_overlaps=False,
        force_com_rotation=0,
        force_com_transpose=False,
    )
    ptychography.reconstruct(num_iter=2, step_size=0.5, progress_bar=False, reset=True)
    rotation = dpc._rotation_best_rad
    found = [np.angle(ptychography.object), np.abs(ptychography.probe), ptychography.error]
    return [radius, (row, column), bright, dark, rotation, dpc.object_phase, found]


def test_phase_retrieval_02(phase_scan):
    radius, center = run_on_both(phase_retrieval_02, *phase_scan)[:2]
    assert abs(radius - phase_scan[1].disk_radius) < 1
    assert np.hypot(*np.subtract(center, phase_scan[1].disk_center)) < 0.5
