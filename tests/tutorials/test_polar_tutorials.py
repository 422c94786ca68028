"""The polar part of the flow-line tutorial."""

from __future__ import annotations

import numpy as np
import py4DSTEM
from beside import run_on_both
from tutorial_data import CENTRE


def flowlines_01(datacube):
    """Find the origin of every pattern, transform to polar coordinates, and find peaks."""
    dp_mean, dp_max = datacube.get_dp_mean(), datacube.get_dp_max()
    probe = datacube.get_probe_size(dp_max.data)
    origins = py4DSTEM.process.calibration.get_origin(datacube, r=6, rscale=1.2)
    fitted = py4DSTEM.process.calibration.fit_origin(origins[:2], fitfunction="plane")
    datacube.calibration.set_origin((fitted[0], fitted[1]))
    datacube.calibration.set_ellipse((1.0, 1.0, 0.0))
    polar = py4DSTEM.PolarDatacube(datacube, qmin=2.0, qmax=28.0, qstep=1.0, n_annular=60)
    first, second = polar.data[2, 3], polar.data[4, 1]
    polar.calculate_radial_statistics(plot_results_mean=False, plot_results_var=False)
    ring = datacube.get_virtual_image(
        mode="annulus", geometry=((0, 0), (10, 18)), centered=True, name="ring"
    )
    polar.find_peaks(sigma_annular_deg=8, sigma_radial_px=1, threshold_abs=0.5)
    peaks = [polar.peaks[at].data for at in np.ndindex(datacube.Rshape)]
    statistics = [polar.radial_mean, polar.radial_var]
    return [dp_mean, dp_max, probe, origins, fitted, first, second, statistics, ring, peaks]


def test_flowlines_01(bragg_counts):
    found = run_on_both(flowlines_01, bragg_counts)
    rows, columns = found[3][:2]
    assert abs(np.median(rows) - CENTRE[0]) < 0.5
    assert abs(np.median(columns) - CENTRE[1]) < 0.5
