"""py4DSTEM's own phase classes on a sparse cube, against the same on the dense cube."""

import warnings

import matplotlib
import numpy as np
import py4DSTEM
import pytest
from py4DSTEM.process import phase

from py4dstem_eer import SparseDataCube, set_dense_budget
from py4dstem_eer.errors import MemoryBudgetError
from py4dstem_eer.simulate import nanotube_phase, simulate_events

matplotlib.use("Agg")

ENERGY, SEMIANGLE = 80e3, 25.0
QUIET = {"plot_center_of_mass": False, "plot_rotation": False}


@pytest.fixture(scope="module")
def events():
    found, _ = simulate_events(
        nanotube_phase((12, 11), 0.4),
        0.4,
        detector_shape=(24, 24),
        disk_center=(11.5, 11.5),
        disk_radius=6.0,
        electrons_per_pattern=400,
        rotation=0.2,
        flyback=False,
        seed=3,
    )
    return found


def pair(events):
    sparse = SparseDataCube(events)
    dense = sparse.to_dense(np.uint16)
    for cube in (sparse, dense):
        cube.calibration.set_R_pixel_size(0.4)
        cube.calibration.set_R_pixel_units("A")
        cube.calibration.set_Q_pixel_size(SEMIANGLE / 6.0)
        cube.calibration.set_Q_pixel_units("mrad")
    return sparse, dense


def dpc(cube, **options):
    result = phase.DPC(datacube=cube, energy=ENERGY, verbose=False)
    result.preprocess(force_com_rotation=11.0, force_com_transpose=False, **QUIET, **options)
    return result.reconstruct(max_iter=4, progress_bar=False).object_phase


def parallax(cube):
    result = phase.Parallax(datacube=cube, energy=ENERGY, verbose=False)
    result.preprocess(edge_blend=2, plot_average_bf=False, threshold_intensity=0.5)
    result.reconstruct(alignment_bin_values=[4, 2], plot_aligned_bf=False, progress_bar=False)
    return result.recon_BF


def ssb(cube):
    result = phase.SSB(
        datacube=cube, energy=ENERGY, semiangle_cutoff=SEMIANGLE, rolloff=0, verbose=False
    )
    result.preprocess(
        force_com_rotation=11.0,
        force_com_transpose=False,
        plot_overlap_trotters=False,
        crop_around_bf_disk=False,
        **QUIET,
    )
    return result.reconstruct(progress_bar=False, num_jobs=1).object


def ptychography(cube, **options):
    result = phase.SingleslicePtychography(
        datacube=cube, energy=ENERGY, semiangle_cutoff=SEMIANGLE, verbose=False
    )
    result.preprocess(
        force_com_rotation=11.0,
        force_com_transpose=False,
        plot_probe_overlaps=False,
        **QUIET,
        **options,
    )
    result.reconstruct(num_iter=2, step_size=0.5, progress_bar=False, seed_random=1)
    return result.object


def run(job, cube, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(job(cube, **options))


CASES = {
    "dpc": (dpc, {}),
    "dpc, masked": (dpc, {"dp_mask": np.hypot(*(np.indices((24, 24)) - 11.5)) < 9}),
    "parallax": (parallax, {}),
    "ssb": (ssb, {}),
    "ptychography": (ptychography, {}),
    "ptychography, binned": (
        ptychography,
        {"diffraction_intensities_shape": (12, 12), "reshaping_method": "bin"},
    ),
    "ptychography, resampled": (ptychography, {"diffraction_intensities_shape": (16, 16)}),
    "ptychography, resampled by FFT": (
        ptychography,
        {"diffraction_intensities_shape": (16, 16), "reshaping_method": "fourier"},
    ),
    "ptychography, padded": (ptychography, {"padded_diffraction_intensities_shape": (28, 28)}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_result_is_that_of_the_dense_cube(events, case):
    job, options = CASES[case]
    ours, theirs = (run(job, cube, **options) for cube in pair(events))
    assert ours.shape == theirs.shape
    assert np.std(np.angle(theirs) if np.iscomplexobj(theirs) else theirs) > 0
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("job", [dpc, ssb, ptychography])
def test_a_cube_made_smaller_fits(events, job):
    sparse, dense = pair(events)
    set_dense_budget(12 * 11 * 12 * 12 * 4)
    try:
        with pytest.raises(MemoryBudgetError, match=r"bin_Q.*EventSSB"):
            run(job, sparse)
        ours = run(job, sparse.bin_Q(2))
    finally:
        set_dense_budget(None)
    theirs = run(job, dense.bin_Q(2))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_centres_of_mass_from_events_need_no_dense_cube(events):
    sparse, dense = pair(events)
    set_dense_budget(0)
    try:
        com = sparse.get_com()
    finally:
        set_dense_budget(None)
    forced = {"force_com_rotation": 11.0, "force_com_transpose": False}
    results = []
    for cube, options in ((None, {"force_com_measured": com}), (dense, {})):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = py4DSTEM.process.phase.DPC(datacube=cube, energy=ENERGY, verbose=False)
            results.append(result.preprocess(**forced, **QUIET, **options))
    for name in ("_com_measured_x", "_com_measured_y"):
        np.testing.assert_allclose(*(getattr(result, name) for result in results), rtol=1e-5)
    # without a cube py4DSTEM knows no pixel sizes: the field is in pixels
    ratio = results[0]._com_x / results[1]._com_x
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=1e-3)
