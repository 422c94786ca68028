"""Every public method and property of a DataCube: as on the dense cube, or refused by name."""

import contextlib
import inspect
import io
import types

import h5py
import matplotlib
import numpy as np
import pytest
from emdfile import Array, Metadata, Node
from py4DSTEM import DataCube, PolarDatacube
from py4DSTEM.braggvectors import BraggVectors
from py4DSTEM.data import QPoints

from py4dstem_eer import SparseDataCube
from py4dstem_eer.errors import UnsupportedOperationError

matplotlib.use("Agg")

SHAPE = (5, 4, 32, 28)
DISKS = {(0, 0): 9.0, (9, 2): 2.0, (-9, -2): 2.0, (2, -9): 1.5, (-2, 9): 1.5}


def crystal(shape=SHAPE, seed=1):
    """Counts of a drifting disk with Bragg disks around it, a hot pixel, and an empty pattern."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape[2:])
    data = np.zeros(shape, np.int64)
    for rx, ry in np.ndindex(shape[:2]):
        mean = np.full(shape[2:], 0.03)
        for (dr, dc), height in DISKS.items():
            r0, c0 = 15.3 + 0.4 * rx + dr, 14.2 - 0.3 * ry + dc
            mean += height * (np.hypot(rows - r0, columns - c0) < 3.2)
        data[rx, ry] = rng.poisson(mean)
    data[:, :, 3, 24] += 40
    data[:, :, 4, 25] += 20
    data[0, 3] = 0
    return data.astype(np.uint8)


def origin(cube):
    rx, ry = np.indices(cube.Rshape)
    return 15.3 + 0.4 * rx, 14.2 - 0.3 * ry


def pair():
    cubes = (SparseDataCube.from_dense(crystal()), DataCube(crystal()))
    for cube in cubes:
        calibration = cube.calibration
        calibration.set_Q_pixel_size(0.05)
        calibration.set_Q_pixel_units("A^-1")
        calibration.set_R_pixel_size(2.0)
        calibration.set_R_pixel_units("A")
        calibration.set_origin(origin(cube))
    return cubes


def printed(call):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        call()
    return text.getvalue()


def probe_kernel(shape=SHAPE[2:], radius=3.2):
    rows, columns = np.indices(shape)
    probe = (np.hypot(rows - shape[0] // 2, columns - shape[1] // 2) < radius).astype(float)
    return np.roll(probe, (-(shape[0] // 2), -(shape[1] // 2)), axis=(0, 1)) / probe.sum()


BRAGG = {
    "minPeakSpacing": 4,
    "edgeBoundary": 2,
    "minRelativeIntensity": 0.05,
    "sigma_cc": 1.0,
    "subpixel": "poly",
}


def root(pattern):
    return np.sqrt(pattern.astype(float))


def bragg(cube, **options):
    return cube.find_Bragg_disks(template=probe_kernel(), **BRAGG, **options)


def scan_mask(cube):
    return np.add.outer(np.arange(cube.R_Nx), np.arange(cube.R_Ny)) % 3 != 1


def scan_weights(cube, sign=1):
    return np.random.default_rng(4).normal(1, 0.6 if sign > 0 else 1.5, cube.Rshape)


def detector_mask(cube):
    return np.random.default_rng(5).random(cube.Qshape)


def polar(cube):
    PolarDatacube(cube, n_annular=12, qstep=2.0, qmax=12)
    return cube


def local(cube, **options):
    positions = [(2, 2), (0, 0), (0, 3), (4, 0), (4, 3), (0, 1), (4, 1), (2, 0), (2, 3)]
    options = {"sigma": 1, **options}
    if "braggmask" in options:
        options = {**options, "braggvectors": bragg(cube), "braggmask_radius": 3}
    return [cube.get_local_ave_dp(rx, ry, **options) for rx, ry in positions]


def in_a_file(cube, then):
    with h5py.File("cube.h5", "w", driver="core", backing_store=False) as file:
        return then(file, cube.to_h5(file))


def child(cube, name="child"):
    cube.tree(Node(name))
    return cube.tree(name)


def with_tree(cube):
    child(cube).tree(Array(np.arange(3.0), name="leaf"))
    cube.get_dp_mean()
    return cube


def positioned(cube, *arguments, **options):
    """Return what `position_detector` draws."""
    from matplotlib import pyplot

    nothing = cube.position_detector(*arguments, **options)
    drawn = [np.ma.filled(im.get_array(), -1) for im in pyplot.gcf().axes[0].images]
    pyplot.close("all")
    return nothing, drawn


VIRTUAL_IMAGES = [
    ("point", (15, 14)),
    ("circle", ((15.3, 14.2), 4)),
    ("circular", ((15, 14), 4)),
    ("annular", ((15, 14), (4, 11.5))),
    ("annulus", ((15, 14), (4, 11))),
    ("rectangle", (3, 9, 2, 20)),
    ("square", (3, 9, 2, 8)),
    ("rectangular", (3, 90, 2.4, 20)),
]
CALIBRATED = [("circle", ((0.0, 0.0), 0.3)), ("annular", ((0.0, 0.0), (0.2, 0.5)))]
MASKED = ["bool", "float", "complex", "int"]


def virtual_image(*arguments, **options):
    return lambda cube: cube.get_virtual_image(*arguments, verbose=False, **options)


def masked_image(kind, **options):
    def image(cube):
        mask = (4 * detector_mask(cube)).astype(kind) * (1.5 + 1j if kind == "complex" else 1)
        return cube.get_virtual_image("mask", mask, verbose=False, **options)

    return image


def diffraction(method, make_mask=None, **options):
    def pattern(cube):
        mask = None if make_mask is None else make_mask(cube)
        return cube.get_virtual_diffraction(method, mask, verbose=False, **options)

    return pattern


SHIFTS = [{"shift_center": True}, {"shift_center": True, "subpixel": True}]
SCAN_MASKS = [
    None,
    scan_mask,
    scan_weights,
    lambda cube: scan_weights(cube, -1),
    lambda cube: -np.ones(cube.Rshape),
    lambda cube: scan_mask(cube).astype(int) * 3,
]

#: Name of a method or property: calls that give the dense cube's result and leave the same cube.
SAME = {
    **{
        name: [lambda cube, name=name: getattr(cube, name)]
        for name in (
            *("shape", "Rshape", "Qshape", "R_Nx", "R_Ny", "R_N", "Q_Nx", "Q_Ny", "rank", "depth"),
            *("rnx", "rny", "rn", "qnx", "qny", "rshape", "qshape"),
            *("R_pixel_size", "R_pixel_units", "Q_pixel_size", "Q_pixel_units"),
            *("rpixsize", "rpixunit", "qpixsize", "qpixunit"),
            *("rxx", "ryy", "qxx", "qyy", "rxx_raw", "ryy_raw", "qxx_raw", "qyy_raw"),
            *("dims", "dim_names", "dim_units", "calibration", "metadata", "treekeys", "root"),
        )
    },
    **{name: [lambda c, n=name: getattr(c, n)(2)] for name in ("dim", "get_dim")},
    "get_dim_name": [lambda c: c.get_dim_name(1)],
    "get_dim_units": [lambda c: c.get_dim_units(3)],
    "set_dim": [lambda c: c.set_dim(2, [0, 0.2], units="mrad", name="angle")],
    "set_dim_name": [lambda c: c.set_dim_name(0, "slow")],
    "set_dim_units": [lambda c: c.set_dim_units(0, "nm")],
    "qxxs": [lambda c: c.qxxs(1, 2)],
    "qyys": [lambda c: c.qyys(1, 2)],
    "calibrate": [lambda c: (c.calibration._params.update(Q_pixel_size=3), c.calibrate())],
    # the tree
    "add": [lambda c: c.add(np.ones(3), "three"), lambda c: c.add(Node("node"))],
    "attach": [lambda c: c.attach(Node("node")), lambda c: c.attach(DataCube(np.ones(SHAPE)))],
    "tree": [
        lambda c: c.tree(Node("node")),
        lambda c: with_tree(c).tree("child/leaf"),
        lambda c: printed(lambda: with_tree(c).tree()),
        lambda c: with_tree(c).tree(cut=True),
    ],
    "add_to_tree": [lambda c: c.add_to_tree(Node("node"))],
    "force_add_to_tree": [lambda c: c.force_add_to_tree(DataCube(np.ones(SHAPE), "other"))],
    "get_from_tree": [lambda c: with_tree(c).get_from_tree("child")],
    "show_tree": [lambda c: printed(lambda: with_tree(c).show_tree(True))],
    "cut": [lambda c: with_tree(c).tree("child").cut(), lambda c: c.cut()],
    "graft": [lambda c: c.graft(DataCube(np.ones(SHAPE), "other"))],
    "newnode": [lambda c: c.newnode],
    "to_h5": [lambda c: in_a_file(with_tree(c), lambda file, group: group.name)],
    "from_h5": [lambda c: in_a_file(c, lambda file, group: type(c).from_h5(group))],
    "copy": [lambda c: with_tree(c).copy()],
    # images
    "get_virtual_image": [
        *(virtual_image(*where) for where in VIRTUAL_IMAGES),
        *(virtual_image(*where, **shift) for where in VIRTUAL_IMAGES[1:4] for shift in SHIFTS),
        *(virtual_image(*w, centered=True, calibrated=True) for w in CALIBRATED),
        *(
            virtual_image(*w, centered=True, calibrated=True, **s)
            for w in CALIBRATED
            for s in SHIFTS
        ),
        *(masked_image(kind) for kind in MASKED),
        *(masked_image(kind, **shift) for kind in MASKED[:3] for shift in SHIFTS),
        virtual_image(*VIRTUAL_IMAGES[1], return_mask=True),
        virtual_image(*VIRTUAL_IMAGES[1], return_mask=(2, 1), **SHIFTS[0]),
        virtual_image(*VIRTUAL_IMAGES[1], return_mask=(2, 1), **SHIFTS[1]),
        virtual_image(*VIRTUAL_IMAGES[1], returncalc=False, name="bright"),
    ],
    "get_calibrated_detector_geometry": [
        lambda c: c.get_calibrated_detector_geometry(
            c.calibration, "circle", ((0, 0), 0.2), True, True
        )
    ],
    "make_detector": [lambda c: c.make_detector(c.Qshape, "circle", ((15, 14), 4))],
    "make_bragg_mask": [
        lambda c: c.make_bragg_mask(c.Qshape, (9, 2), (2, -9), 2.5, (15, 14), 10.0, True)
    ],
    "position_detector": [
        lambda c: positioned(c, "circle", ((15, 14), 4)),
        lambda c: positioned(c, "circle", ((15, 14), 4), data=(2, 1), shift_center=True),
        lambda c: positioned(with_tree(c), "annular", ((15, 14), (4, 9)), invert=True),
        lambda c: positioned(c, "circle", ((15, 14), 4), data=np.ones(c.Qshape)),
    ],
    # patterns
    "get_virtual_diffraction": [
        *(diffraction(m, mask) for m in ("mean", "max", "median") for mask in SCAN_MASKS),
        *(
            diffraction(m, mask, **s)
            for m in ("mean", "max")
            for mask in SCAN_MASKS
            for s in SHIFTS
        ),
        diffraction("mean", lambda c: scan_weights(c) * np.exp(1j * scan_weights(c))),
        *(diffraction("mean", lambda c: scan_weights(c) * (1 + 2j), **shift) for shift in SHIFTS),
        diffraction("mean", lambda c: np.zeros(c.Rshape, bool)),
        diffraction("median", lambda c: np.zeros(c.Rshape, bool)),
        diffraction("max", returncalc=False, name="brightest"),
    ],
    "get_dp_mean": [lambda c: c.get_dp_mean(), lambda c: c.get_dp_mean(returncalc=False)],
    "get_dp_max": [lambda c: c.get_dp_max()],
    "get_dp_median": [lambda c: c.get_dp_median()],
    "get_local_ave_dp": [
        local,
        lambda c: local(polar(c), radial_bksb=True),
        lambda c: local(c, braggmask=True),
        lambda c: local(polar(c), radial_bksb=True, braggmask=True),
    ],
    "get_radial_bkgrnd": [lambda c: polar(c).get_radial_bkgrnd(2, 1)],
    "get_radial_bksb_dp": [lambda c: polar(c).get_radial_bksb_dp(2, 1, sigma=0)],
    "get_braggmask": [lambda c: c.get_braggmask(bragg(c), 1, 2, 3)],
    # probe, origin, disks
    "get_vacuum_probe": [
        lambda c: c.get_vacuum_probe(opening=1),
        lambda c: c.get_vacuum_probe(ROI=(1, 4, 0, 2), opening=1, threshold=0.1, expansion=3),
        lambda c: c.get_vacuum_probe(ROI=scan_mask(c), opening=1, mask=detector_mask(c)),
        lambda c: c.get_vacuum_probe(align=False, opening=1),
        lambda c: c.get_vacuum_probe(ROI=(1, 4, 1, 3), align=False, opening=1, returncalc=False),
        lambda c: c.get_vacuum_probe(
            ROI=scan_mask(c), align=False, opening=1, mask=detector_mask(c)
        ),
    ],
    "get_probe_size": [
        lambda c: (c.get_dp_mean(), c.get_probe_size()),
        lambda c: c.get_probe_size(c.data[2, 2].astype(float), N=20, write_to_cal=False),
        lambda c: (c.get_dp_mean(), c.get_probe_size(returncal=False)),
    ],
    "get_beamstop_mask": [
        lambda c: c.get_beamstop_mask(threshold=0.5),
        lambda c: c.get_beamstop_mask(use_max_dp=True, sigma=1, scale_radial=0.5, name="stop"),
    ],
    "find_Bragg_disks": [
        bragg,
        lambda c: bragg(c, data=(2, 1)),
        lambda c: bragg(c, data=(np.array([2, 0]), np.array([1, 1]))),
        lambda c: bragg(c, data=scan_mask(c)),
        lambda c: bragg(polar(c), radial_bksb=True),
        lambda c: bragg(c, filter_function=root, corrPower=0.8, sigma_dp=0.5, name="filtered"),
    ],
    # changes in place
    "bin_Q": [lambda c: c.bin_Q(1), lambda c: c.bin_Q(2), lambda c: c.bin_Q(3, np.uint32)],
    "bin_R": [lambda c: c.bin_R(1), lambda c: c.bin_R(2)],
    "thin_R": [lambda c: c.thin_R(1), lambda c: c.thin_R(2)],
    "crop_Q": [lambda c: c.crop_Q((2, 20, 3, 90)), lambda c: c.crop_Q([2, -3, -9, -1])],
    "crop_R": [lambda c: c.crop_R((1, 4, 0, 3))],
    "pad_Q": [
        lambda c: c.pad_Q(1.3),
        lambda c: c.pad_Q((1.0, 2.0)),
        lambda c: c.pad_Q(output_size=(33, 34)),
    ],
    "resample_Q": [
        lambda c: c.resample_Q(0.5),
        lambda c: c.resample_Q((0.5, 0.25), conserve_array_sums=True),
        lambda c: c.resample_Q(output_size=(16, 20), method="bilinear"),
        lambda c: c.resample_Q(output_size=(16, 20), method="fourier"),
        lambda c: c.resample_Q(1.5, method="fourier"),
    ],
    "set_scan_shape": [lambda c: c.set_scan_shape((2, 10))],
    "swap_RQ": [lambda c: c.swap_RQ()],
    "swap_Rxy": [lambda c: c.swap_Rxy()],
    "swap_Qxy": [lambda c: c.swap_Qxy()],
    "filter_hot_pixels": [
        lambda c: c.filter_hot_pixels(8),
        lambda c: c.filter_hot_pixels(0.5, ind_compare=3, return_mask=True),
        lambda c: printed(lambda: c.filter_hot_pixels(1000)),
    ],
    "median_filter_masked_pixels": [
        lambda c: c.median_filter_masked_pixels(detector_mask(c) < 0.1),
        lambda c: c.median_filter_masked_pixels(detector_mask(c) < 0.1, kernel_width=4),
        lambda c: c.median_filter_masked_pixels(detector_mask(c) < 0.3, 5),
        lambda c: c.median_filter_masked_pixels(np.zeros(c.Qshape, bool)),
    ],
}

#: What is refused, by a call, and the method that the message names.
REFUSED = {
    "bin_Q_mmap": (lambda c: c.bin_Q_mmap(2), r"bin_Q\(N\)"),
    "get_slice": (lambda c: c.get_slice("probe"), "crop_R"),
}


def public(cls):
    return {name for name in dir(cls) if not name.startswith("_")}


def test_every_name_is_in_one_of_the_lists():
    assert not set(SAME) & set(REFUSED)
    assert public(DataCube) == set(SAME) | set(REFUSED)


def test_instances_have_the_same_attributes():
    sparse, dense = pair()
    own = {"data", *vars(dense)} - {name for name in vars(dense) if name.startswith("_")}
    assert all(hasattr(sparse, name) for name in own)
    assert {name for name in vars(dense) if name not in vars(sparse)} == {"data"}


def test_arguments_are_those_of_the_dense_cube():
    for name in public(DataCube):
        ours, theirs = (inspect.getattr_static(cls, name) for cls in (SparseDataCube, DataCube))
        if not isinstance(ours, types.FunctionType) or name in REFUSED:
            continue
        names = [p.name for p in inspect.signature(theirs).parameters.values()]
        defaults = [p.default for p in inspect.signature(theirs).parameters.values()]
        mine = list(inspect.signature(ours).parameters.values())
        assert [p.name for p in mine] == names, name
        assert [p.default for p in mine] == defaults, name


# comparison


def assert_same(ours, theirs):
    if isinstance(theirs, DataCube):
        assert isinstance(ours, DataCube)
        assert_same_node(ours, theirs)
        np.testing.assert_allclose(np.asarray(ours.data), theirs.data, rtol=1e-6, atol=1e-6)
        assert_same_axes(ours, theirs)
    elif isinstance(theirs, BraggVectors):
        assert type(ours) is type(theirs)
        assert_same_node(ours, theirs)
        for rx, ry in np.ndindex(theirs.Rshape):
            assert_same(ours.raw[rx, ry].data, theirs.raw[rx, ry].data)
    elif isinstance(theirs, QPoints):
        assert type(ours) is type(theirs)
        assert_same(ours.data, theirs.data)
    elif isinstance(theirs, Array):
        assert type(ours) is type(theirs)
        assert_same_node(ours, theirs)
        assert_same(ours.data, theirs.data)
        assert_same_axes(ours, theirs)
        assert ours.units == theirs.units
    elif isinstance(theirs, Node):
        assert type(ours) is type(theirs)
        assert_same_node(ours, theirs)
    elif isinstance(theirs, Metadata):
        assert type(ours) is type(theirs)
        assert_same(ours._params, theirs._params)
    elif isinstance(theirs, np.ma.MaskedArray):
        np.testing.assert_array_equal(np.ma.getmaskarray(ours), np.ma.getmaskarray(theirs))
        np.testing.assert_allclose(ours.filled(0), theirs.filled(0), rtol=1e-7, atol=1e-9)
    elif isinstance(theirs, np.ndarray) and theirs.dtype.names:
        assert ours.dtype == theirs.dtype
        for name in theirs.dtype.names:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6)
    elif isinstance(theirs, np.ndarray):
        assert type(ours) is np.ndarray
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, (tuple, list)):
        assert type(ours) is type(theirs)
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            assert_same(mine, other)
    elif isinstance(theirs, float):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    elif isinstance(theirs, types.FunctionType):
        assert ours.__code__ is theirs.__code__
    else:
        assert type(ours) is type(theirs)
        assert ours == theirs


def assert_same_node(ours, theirs):
    assert ours.name == theirs.name
    assert list(ours._branch.keys()) == list(theirs._branch.keys())
    assert (ours.root is None) == (theirs.root is None)
    assert ours._treepath == theirs._treepath
    assert_same(dict(ours.metadata), dict(theirs.metadata))
    for name in list(theirs._branch.keys()):
        assert_same(ours._branch[name], theirs._branch[name])


def assert_same_axes(ours, theirs):
    assert ours.shape == theirs.shape
    assert tuple(ours.dim_names) == tuple(theirs.dim_names)
    assert tuple(ours.dim_units) == tuple(theirs.dim_units)
    for mine, other in zip(ours.dims, theirs.dims, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)


CALLS = [pytest.param(call, id=f"{name}-{i}") for name in SAME for i, call in enumerate(SAME[name])]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("call", CALLS)
def test_results_and_effects_are_those_of_the_dense_cube(call):
    sparse, dense = pair()
    ours, theirs = call(sparse), call(dense)
    assert (ours is sparse) == (theirs is dense)
    assert_same(ours, theirs)
    assert_same(sparse, dense)
    assert_same(sparse.calibration, dense.calibration)
    if isinstance(sparse, SparseDataCube):
        sparse.events.validate()


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_names_what_to_call(name):
    call, instead = REFUSED[name]
    with pytest.raises(UnsupportedOperationError, match=instead):
        call(pair()[0])
