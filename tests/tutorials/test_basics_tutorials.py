"""The cells of the basics tutorials 00 to 02, and of the detection part of strain mapping."""

from __future__ import annotations

import numpy as np
import py4DSTEM
from beside import run_on_both
from tutorial_data import CENTRE


def basics_00(datacube, folder):
    """Preprocess raw data, calibrate them, write and read a file."""
    raw = {"shape": datacube.data.shape, "dims": datacube.dims, "units": datacube.dim_units}
    datacube.filter_hot_pixels(thresh=8)
    datacube.bin_Q(2)
    datacube.calibration.set_R_pixel_size(2.0)
    datacube.calibration.set_R_pixel_units("nm")
    datacube.calibration.set_Q_pixel_size(0.02)
    datacube.calibration.set_Q_pixel_units("A^-1")
    path = folder / f"{type(datacube).__name__}.h5"
    py4DSTEM.save(str(path), datacube, mode="o")
    found = py4DSTEM.read(str(path))
    return {**raw, "names": datacube.dim_names, "saved": datacube, "found": found}


def test_basics_00(bragg_counts, tmp_path):
    counts = bragg_counts.copy()
    counts[:, :, 5, 50] = 60_000  # a hot pixel
    found = run_on_both(basics_00, counts, tmp_path)["found"]
    assert found.Qshape == (32, 30)
    assert found.data.max() < 10_000
    assert found.calibration.get_R_pixel_units() == "nm"


def basics_01(datacube):
    """Look at patterns, place virtual detectors, make images and diffraction patterns."""
    shapes = [datacube.shape, datacube.Rshape, datacube.Qshape, (datacube.R_Nx, datacube.Q_Ny)]
    patterns = [datacube.data[2, 3], datacube.data[2, 3, :, :], datacube[2, 3]]
    dp_mean, dp_max = datacube.get_dp_mean(), datacube.get_dp_max()
    py4DSTEM.show([dp_mean, dp_max], scaling="log", cmap="inferno")
    radius, row, column = datacube.get_probe_size(dp_mean.data)
    center = (row, column)
    disk, ring = (center, radius + 3), (center, (radius + 3, 1e3))
    square = (8, 20, 10, 24)
    datacube.position_detector(mode="circle", geometry=disk)
    datacube.position_detector(mode="annular", geometry=ring, data=dp_max)
    images = [
        datacube.get_virtual_image(mode="circle", geometry=disk, name="bright_field"),
        datacube.get_virtual_image(mode="annulus", geometry=ring, name="dark_field"),
        datacube.get_virtual_image(mode="rectangle", geometry=square, name="square"),
        datacube.get_virtual_image(mode="point", geometry=(17, 27), name="pixel"),
        datacube.get_virtual_image(mode="mask", geometry=dp_max.data > 8, name="bright"),
    ]
    py4DSTEM.show(images[0])
    bright = images[0].data < np.median(images[0].data)
    diffraction = [
        datacube.get_virtual_diffraction("mean", mask=bright, name="in_crystal"),
        datacube.get_virtual_diffraction("max", mask=~bright, name="elsewhere"),
    ]
    rxs, rys = np.array([1, 2, 4]), np.array([0, 3, 6])
    py4DSTEM.visualize.show_image_grid(lambda i: datacube.data[rxs[i], rys[i], :, :], 1, 3)
    tree = list(datacube._branch._dict)
    return [shapes, patterns, dp_mean, dp_max, (radius, center), images, diffraction, tree]


def test_basics_01(bragg_counts):
    run_on_both(basics_01, bragg_counts)


def detect(datacube):
    """Find Bragg disks by a probe measured in vacuum, and calibrate the origin."""
    vacuum = np.zeros(datacube.Rshape, bool)
    vacuum[:, 0] = True
    probe = datacube.get_vacuum_probe(ROI=vacuum)
    radius, row, column = py4DSTEM.process.calibration.get_probe_size(probe.probe)
    kernel = probe.get_kernel(mode="sigmoid", origin=(row, column), radii=(radius, 4 * radius))
    options = {
        "minRelativeIntensity": 0.02, "minPeakSpacing": 8, "edgeBoundary": 4, "sigma": 1,
        "maxNumPeaks": 20, "subpixel": "poly", "corrPower": 0.9,
    }  # fmt: skip
    chosen = np.array([1, 3, 5]), np.array([2, 4, 6])
    some = datacube.find_Bragg_disks(data=chosen, template=probe.kernel, **options)
    one = datacube.find_Bragg_disks(data=(2, 2), template=probe.kernel, **options)
    peaks = datacube.find_Bragg_disks(template=probe.kernel, **options)
    found = [peaks.raw[at].data for at in np.ndindex(datacube.Rshape)]
    histogram = peaks.histogram(mode="raw")
    measured = peaks.measure_origin(center_guess=CENTRE)
    fitted = peaks.fit_origin(plot=False, returncalc=True)
    datacube.calibration.set_Q_pixel_size(0.02)
    peaks.calibrate()
    centred = peaks.histogram(mode="cal", sampling=2)
    return {
        "probe": probe.data,
        "radius": radius,
        "kernel": kernel,
        "some": [points.data for points in some],
        "one": one.data,
        "all": found,
        "histogram": histogram.data,
        "origin": measured,
        "fit": fitted[:4],
        "centred": centred.data,
    }


def test_basics_02_and_strain_01(bragg_counts):
    found = run_on_both(detect, bragg_counts)
    assert abs(found["radius"] - 4) < 1
    assert all(5 <= len(points) <= 20 for points in found["some"])


def test_local_averages_and_masks(bragg_counts):
    def cells(datacube):
        datacube.get_dp_mean()
        near = [datacube.get_local_ave_dp(rx, ry) for rx, ry in ((2, 3), (0, 0), (5, 6))]
        beamstop = datacube.get_beamstop_mask(threshold=0.9, distance_edge=1, returncalc=True)
        return [near, beamstop]

    run_on_both(cells, bragg_counts)


def clustering_prefiltering(datacube):
    """Repair pixels and walk through blocks of the data."""
    mask = np.zeros(datacube.Qshape, bool)
    mask[5, 50] = True
    datacube.median_filter_masked_pixels(mask)
    total = np.zeros(datacube.Qshape)
    for row in range(datacube.R_Nx):
        total += np.asarray(datacube.data[row : row + 1]).sum((0, 1))
    empty = np.empty_like(datacube.data)
    return [total, np.array(empty.shape), np.zeros(datacube.data.shape).shape]


def test_clustering_prefiltering(bragg_counts):
    counts = bragg_counts.copy()
    counts[:, :, 5, 50] = 4000
    total = run_on_both(clustering_prefiltering, counts)[0]
    assert total[5, 50] < 400
