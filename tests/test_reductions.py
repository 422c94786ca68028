"""Sums over events: against the dense truth, on every device, however the rows are split."""

import os

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from py4dstem_eer import EventStore
from py4dstem_eer.detector import bin_map, crop_map, select_map
from py4dstem_eer.errors import EventError, ParameterError
from py4dstem_eer.methods import blocks, fourier_maximum, fourier_shifts, reductions
from py4dstem_eer.methods.shifted_images import shifted_virtual_image
from py4dstem_eer.methods.virtual_images import virtual_image

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
EXAMPLES = 5 if SIMULATED else 30
SHAPE = (5, 4, 6, 7)


def counts(shape=SHAPE, largest=300, seed=0):
    rng = np.random.default_rng(seed)
    data = np.minimum(rng.poisson(0.4, shape), largest)
    data[tuple(n // 2 for n in shape[:2])] = 0
    data[-1, 0, 2, 3] = largest
    return data


class Split(EventStore):
    """A store that hands its rows out in given blocks."""

    def __init__(self, store, cuts):
        lists = (store.indptr, store.indices, store.counts)
        super().__init__(store.scan_shape, store.detector_shape, *lists)
        self.cuts = sorted({0, *cuts, store.scan_shape[0]})

    def blocks(self):
        for start, stop in zip(self.cuts, self.cuts[1:], strict=False):
            yield start, self.read_rows(start, stop)


def real_mask(seed=1):
    return np.random.default_rng(seed).normal(size=SHAPE[2:])


MASKS = {
    "bool": real_mask() > 0,
    "int": np.round(10 * real_mask()).astype(int),
    "float32": real_mask().astype(np.float32),
    "float64": real_mask(),
    "complex": real_mask() * np.exp(1j * real_mask(2)),
}
SCAN_MASK = np.random.default_rng(3).normal(size=SHAPE[:2])
WEIGHTS = {
    "bool": SCAN_MASK > 0,
    "int": np.round(3 * SCAN_MASK).astype(int),
    "float": SCAN_MASK,
    "complex": SCAN_MASK * 1j,
    "nothing": np.zeros(SHAPE[:2], bool),
}
SHIFTS = tuple(np.random.default_rng(4).normal(0, 5, (2, *SHAPE[:2])))


def everything(store, device="cpu"):
    """Every reduction of a store, for comparison."""
    stack = reductions.binned_stack(store, bin_map(SHAPE[2:], 2), np.dtype(np.uint32), device)
    return {
        "sum": reductions.pattern_sum(store, device=device),
        "weighted": reductions.pattern_sum(store, SCAN_MASK, device),
        "max": reductions.pattern_max(store, device),
        "image": virtual_image(store, MASKS["float64"], device),
        "electrons": reductions.electrons_per_position(store, device),
        "largest": reductions.largest_per_position(store, device),
        "stack": np.asarray(stack),
        "shifted": shifted_virtual_image(store, MASKS["float64"], *SHIFTS, True),
    }


@pytest.mark.parametrize("largest", [1, 200, 300, 70000])
def test_sums_and_maxima(device, largest):
    data = counts(largest=largest)
    store = EventStore.from_dense(data)
    total = reductions.pattern_sum(store, device=device)
    assert total.dtype == np.int64
    np.testing.assert_array_equal(total, data.sum((0, 1)))
    brightest = reductions.pattern_max(store, device)
    assert brightest.dtype == np.uint32
    np.testing.assert_array_equal(brightest, data.max((0, 1)))
    electrons = reductions.electrons_per_position(store, device)
    assert electrons.dtype == np.int64
    np.testing.assert_array_equal(electrons, data.sum((2, 3)))
    np.testing.assert_array_equal(reductions.largest_per_position(store, device), data.max((2, 3)))


@pytest.mark.parametrize("most", [255, 256, 257, 513, 1030])
def test_sum_of_patterns_in_which_every_hit_is_one_electron(most):
    hits = np.array([[0, 1, most - 1], [most, most // 2, 255]])
    data = (np.arange(2 * most)[:, None, None] < hits).reshape(2, most, *hits.shape)
    store = EventStore.from_dense(data)
    assert store.counts is None
    np.testing.assert_array_equal(reductions.pattern_sum(store), hits)
    np.testing.assert_array_equal(reductions.pattern_sum(Split(store, [1])), hits)


@given(
    data=hnp.arrays(np.uint8, (23, 2, 3, 4), elements=st.sampled_from([0, 1, 2, 128, 254, 255])),
    cuts=st.sets(st.integers(1, 22), max_size=2),
)
def test_sum_of_patterns_with_bytes_of_electrons(data, cuts):
    store = EventStore.from_dense(data)
    expected = data.sum((0, 1), dtype=np.int64)
    np.testing.assert_array_equal(reductions.pattern_sum(Split(store, cuts)), expected)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weighted_sums(device, kind):
    data, weights = counts(), WEIGHTS[kind]
    total = reductions.pattern_sum(EventStore.from_dense(data), weights, device)
    expected = np.einsum("xy,xyij->ij", weights.astype(complex), data)
    assert np.iscomplexobj(total) is (kind == "complex")
    assert np.issubdtype(total.dtype, np.integer) is (kind in ("bool", "int", "nothing"))
    np.testing.assert_allclose(total, expected, rtol=1e-12, atol=1e-12)


def fourier_shifted(pattern, shift):
    """A pattern turned wave by wave, from the definition of the transform."""
    spectrum = np.fft.fft2(pattern)
    for axis, n in enumerate(pattern.shape):
        turn = np.exp(-2j * np.pi * shift[axis] * np.fft.fftfreq(n))
        spectrum = spectrum * (turn[:, None] if axis == 0 else turn)
    return np.fft.ifft2(spectrum).real


@pytest.mark.parametrize("detector", [(6, 7), (6, 8), (7, 5), (5, 8), (1, 4), (2, 2)])
@pytest.mark.parametrize("kind", ["bool", "int", "float", "nothing"])
@pytest.mark.parametrize("largest", [1, 300])
def test_maximum_of_patterns_shifted_by_fractions(detector, kind, largest, monkeypatch):
    data = np.random.default_rng(5).poisson(0.5, (*SHAPE[:2], *detector)).clip(0, largest)
    data[1, 2].flat[0] = largest
    monkeypatch.setattr(fourier_maximum, "_BATCH_BYTES", 3 * 8 * detector[0] * detector[1])
    store = Split(EventStore.from_dense(data), [1, 3])
    found = fourier_maximum.fourier_shifted_max(store, WEIGHTS[kind], SHIFTS)
    expected = np.zeros(detector)
    for at in np.ndindex(SHAPE[:2]):
        moved = fourier_shifted(data[at], [s[at] for s in SHIFTS])
        expected = np.maximum(expected, moved * WEIGHTS[kind][at])
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("detector", [(0, 5), (4, 0), (0, 0)])
@pytest.mark.parametrize("kind", ["float", "complex"])
def test_shifted_patterns_without_pixels(detector, kind):
    store = EventStore.from_dense(np.zeros((*SHAPE[:2], *detector), np.uint8))
    total = fourier_shifts.fourier_shifted_sum(store, WEIGHTS[kind], SHIFTS)
    assert total.shape == reductions.pattern_sum(store).shape == detector
    if kind == "float":
        largest = fourier_maximum.fourier_shifted_max(store, WEIGHTS[kind], SHIFTS)
        assert largest.shape == detector


@pytest.mark.parametrize("kind", MASKS)
def test_virtual_images(device, kind):
    data, mask = counts(), MASKS[kind]
    image = virtual_image(EventStore.from_dense(data), mask, device)
    assert image.dtype == (np.complex128 if kind == "complex" else np.float64)
    np.testing.assert_allclose(image, (data * mask).sum((2, 3)), rtol=1e-6, atol=1e-6)
    assert image[tuple(n // 2 for n in SHAPE[:2])] == 0


def test_virtual_image_of_an_annulus(device):
    data = counts()
    mask = reference.annulus(SHAPE[2:], (2.5, 3.2), 1.0, 2.5)
    image = virtual_image(EventStore.from_dense(data), mask, device)
    np.testing.assert_array_equal(image, reference.virtual_image(data, mask))


@pytest.mark.parametrize("detector", [(1, 1), (4, 8), (5, 13), (257, 260)])
@pytest.mark.parametrize("largest", [1, 255])
@pytest.mark.parametrize("usual", [True, False])
def test_virtual_images_of_small_counts(device, detector, largest, usual, monkeypatch):
    """By bits of the mask on detectors of usual size, by weights on others."""
    monkeypatch.setattr(blocks, "_USUAL_PIXELS", detector[0] * detector[1] - (not usual))
    rng = np.random.default_rng(detector[0])
    data = (rng.random((3, 2, *detector)) < 0.2) * rng.integers(1, largest + 1, detector)
    data[0, 0] = 0
    data[1, 1, 0, 0] = largest
    mask = rng.random(detector) < 0.5
    store = EventStore.from_dense(data)
    assert (store.counts is None) == (largest == 1)
    for through in (mask, ~mask, mask.T.copy().T):
        image = virtual_image(store, through, device)
        np.testing.assert_array_equal(image, (data * through).sum((2, 3)))


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.float32])
def test_binned_stacks(device, dtype):
    data = counts()
    store = EventStore.from_dense(data)
    stack = reductions.binned_stack(store, bin_map(SHAPE[2:], 2), np.dtype(dtype), device)
    assert stack.dtype == dtype
    expected = reference.binned(data, 2)
    np.testing.assert_array_equal(np.asarray(stack).reshape(expected.shape), expected)
    cropped = reductions.binned_stack(
        store, crop_map(SHAPE[2:], (1, 5, 2, 6)), np.dtype(dtype), device
    )
    expected = data[:, :, 1:5, 2:6]
    np.testing.assert_array_equal(np.asarray(cropped).reshape(expected.shape), expected)


def test_a_stack_of_no_pixel(device):
    store = EventStore.from_dense(counts())
    nothing = select_map(SHAPE[2:], np.zeros(0, int))
    assert reductions.binned_stack(store, nothing, np.dtype(np.uint8), device).shape == (20, 0)


@pytest.mark.parametrize("subpixel", [False, True])
@pytest.mark.parametrize("kind", MASKS)
def test_shifted_images(kind, subpixel):
    """The mask of every position, rolled and mixed from its four neighbours."""
    data, mask = counts(), MASKS[kind]
    image = shifted_virtual_image(EventStore.from_dense(data), mask, *SHIFTS, subpixel)
    for rx, ry in np.ndindex(SHAPE[:2]):
        x, y = SHIFTS[0][rx, ry], SHIFTS[1][rx, ry]
        if not subpixel:
            x, y = np.round(x), np.round(y)
        i, j = int(np.floor(x)), int(np.floor(y))
        moved = sum(
            np.roll(mask, (i + a, j + b), (0, 1))
            * ((x - i) if a else (1 - x + i))
            * ((y - j) if b else (1 - y + j))
            for a in (0, 1)
            for b in (0, 1)
        )
        np.testing.assert_allclose(image[rx, ry], (data[rx, ry] * moved).sum(), atol=1e-5)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data(), st.tuples(*[st.integers(1, 6)] * 4), st.sampled_from([1, 3, 70000]))
def test_random_cubes(data, shape, largest):
    elements = st.one_of(st.just(0), st.integers(0, largest))
    dense = data.draw(hnp.arrays(np.int64, shape, elements=elements, fill=st.just(0)))
    mask = data.draw(hnp.arrays(np.int8, shape[2:]))
    store = EventStore.from_dense(dense)
    np.testing.assert_array_equal(reductions.pattern_sum(store), dense.sum((0, 1)))
    np.testing.assert_array_equal(reductions.pattern_max(store), dense.max((0, 1)))
    np.testing.assert_array_equal(virtual_image(store, mask), (dense * mask).sum((2, 3)))
    np.testing.assert_array_equal(reductions.electrons_per_position(store), dense.sum((2, 3)))
    np.testing.assert_array_equal(reductions.largest_per_position(store), dense.max((2, 3)))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sets(st.integers(1, SHAPE[0] - 1)))
def test_splitting_the_rows_changes_nothing(cuts):
    store = EventStore.from_dense(counts())
    whole, split = everything(store), everything(Split(store, cuts))
    for name, expected in whole.items():
        np.testing.assert_allclose(split[name], expected, rtol=1e-12, atol=1e-12, err_msg=name)


def test_doubling_the_counts_doubles_every_sum(device):
    once = everything(EventStore.from_dense(counts()), device)
    twice = everything(EventStore.from_dense(2 * counts()), device)
    for name, result in once.items():
        np.testing.assert_allclose(twice[name], 2 * result, rtol=1e-12, atol=1e-12, err_msg=name)


def test_the_order_of_events_does_not_matter(device):
    data = counts(largest=2)
    rng = np.random.default_rng(0)
    lists = [np.repeat(np.arange(42), p.ravel()) for p in data.reshape(-1, *SHAPE[2:])]
    shuffled = [rng.permutation(events) for events in lists]
    indptr = np.r_[0, np.cumsum([len(events) for events in lists])]
    store = EventStore.from_lists(SHAPE[:2], SHAPE[2:], indptr, np.concatenate(shuffled))
    expected = everything(EventStore.from_dense(data), device)
    for name, result in everything(store, device).items():
        np.testing.assert_allclose(result, expected[name], rtol=1e-12, atol=1e-12, err_msg=name)


def test_every_device_gives_the_same(device):
    store = EventStore.from_dense(counts())
    for name, result in everything(store, device).items():
        np.testing.assert_allclose(result, everything(store)[name], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (3, 0, 4, 4), (2, 2, 4, 4)], ids=str)
def test_scans_without_events(device, shape):
    store = EventStore.from_dense(np.zeros(shape, int))
    nothing = np.zeros((4, 4))
    np.testing.assert_array_equal(reductions.pattern_sum(store, device=device), nothing)
    np.testing.assert_array_equal(reductions.pattern_max(store, device), nothing)
    ones = np.ones((4, 4))
    for image in (
        virtual_image(store, ones, device),
        reductions.electrons_per_position(store, device),
        reductions.largest_per_position(store, device),
    ):
        np.testing.assert_array_equal(image, np.zeros(shape[:2]))


def test_wrong_shapes_and_devices():
    store = EventStore.from_dense(counts())
    with pytest.raises(ParameterError, match=r"\(7, 6\).*\(6, 7\)"):
        virtual_image(store, np.ones((7, 6)))
    with pytest.raises(ParameterError, match=r"\(4, 5\).*\(5, 4\)"):
        reductions.pattern_sum(store, np.ones((4, 5)))
    with pytest.raises(ParameterError, match="detector"):
        reductions.binned_stack(store, bin_map((8, 8), 2), np.dtype(np.uint8))
    with pytest.raises(EventError):
        reductions.pattern_sum(store, device="abacus")


@pytest.mark.parametrize("detector", [(0, 4), (3, 0)])
def test_a_detector_without_pixels_gives_zeros(detector):
    store = EventStore.from_dense(np.zeros((3, 2, *detector), np.uint8))
    shifts = np.zeros((3, 2)), np.zeros((3, 2))
    for mask in (np.zeros(detector, bool), np.zeros(detector), np.zeros(detector, complex)):
        for image in (
            virtual_image(store, mask),
            shifted_virtual_image(store, mask, *shifts, True),
        ):
            np.testing.assert_array_equal(image, np.zeros((3, 2)))
            assert image.dtype == (complex if mask.dtype == complex else float)
