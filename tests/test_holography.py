"""STEM holography: against the dense FFT of every pattern, and the truth of three beams."""

import numpy as np
import pytest
from conftest import SIMULATOR
from holograms import FRINGES, SHAPE, means, specimen
from hypothesis import given, settings
from hypothesis import strategies as st
from test_com import Blocks

from py4dstem_eer import EventStore
from py4dstem_eer.errors import ParameterError
from py4dstem_eer.methods.holography import demodulate, find_peak, sideband

EXAMPLES = 3 if SIMULATOR else 15
DOUBLE = (2 * FRINGES[0], 2 * FRINGES[1])


def counts(dose=1.0, seed=0, **options):
    data = np.random.default_rng(seed).poisson(means(specimen(), dose=dose, **options))
    data[3, 2] = 0
    return data


def dense_block(data, peak, half_width):
    """Those pixels of the FFT of every pattern."""
    spectra = np.fft.fft2(data, axes=(2, 3))
    offsets = np.arange(-half_width, half_width + 1)
    return spectra[:, :, (peak[0] + offsets)[:, None], (peak[1] + offsets)[None, :]]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("peak", [FRINGES, (-4, 3), (0, 26), (23, 0)])
def test_equals_the_dense_fft(device, several, peak):
    data = counts() if several else np.minimum(counts(), 1)
    half_width = 0 if max(map(abs, peak)) > 20 else 2
    found = sideband(EventStore.from_dense(data), peak, half_width, device)
    expected = dense_block(data, peak, half_width)
    assert found.values.dtype == np.complex64
    np.testing.assert_allclose(found.values, expected, atol=2e-6 * data.sum((2, 3)).max())
    assert not found.values[3, 2].any()
    np.testing.assert_array_equal(found.rows, peak[0] + np.arange(-half_width, half_width + 1))
    np.testing.assert_array_equal(found.columns, peak[1] + np.arange(-half_width, half_width + 1))


@settings(max_examples=EXAMPLES, deadline=None)
@given(cuts=st.sets(st.integers(0, SHAPE[0])), factor=st.sampled_from([1, 2, 300]))
def test_splits_change_nothing_and_counts_scale(cuts, factor):
    once = sideband(EventStore.from_dense(counts()), FRINGES).values
    more = sideband(Blocks(EventStore.from_dense(factor * counts()), cuts), FRINGES).values
    np.testing.assert_allclose(more, factor * once, rtol=1e-6)


@pytest.mark.parametrize(
    ("peak", "beams"), [(DOUBLE, (0.5, 1.0, 0.5)), (FRINGES, (0.0, 1.0, 1.0))], ids=["±1", "0 +1"]
)
def test_amplitude_and_phase_of_the_specimen(peak, beams):
    """Beams of which one passed the specimen: T itself, but for tails of the disk's transform."""
    weak = 2**-20  # whole numbers of electrons, of which this many are one
    data = np.round(means(specimen(), beams) / weak).astype(np.int64)
    signal = sideband(EventStore.from_dense(data), peak)
    vacuum = signal.values[:, 0].mean(axis=0)
    np.testing.assert_allclose(demodulate(signal, vacuum), specimen(), atol=0.05)


def test_of_noisy_patterns():
    data = np.random.default_rng(0).poisson(means(specimen(), dose=30.0))
    signal = sideband(EventStore.from_dense(data), DOUBLE)
    image = demodulate(signal, signal.values[:, 0].mean(axis=0))
    assert np.abs(np.angle(image / specimen())).std() < 0.1
    assert np.abs(np.abs(image) - np.abs(specimen())).max() < 0.15


def test_a_vacuum_scan_takes_the_scans_own_phase_away():
    weak, drift = 2**-20, 0.7
    data, vacuum = (
        EventStore.from_dense(np.round(means(t, drift=drift) / weak).astype(np.int64))
        for t in (specimen(), np.ones(SHAPE[:2]))
    )
    signal, reference = (sideband(store, DOUBLE) for store in (data, vacuum))
    np.testing.assert_allclose(demodulate(signal, reference.values), specimen(), atol=0.05)
    single = demodulate(signal, reference.values[0, 0])
    turned = specimen() * np.exp(1j * drift * np.arange(SHAPE[0]))[:, None]
    np.testing.assert_allclose(single, turned, atol=0.06)


def test_without_a_reference_a_constant_is_free():
    signal = sideband(EventStore.from_dense(counts(30.0)), DOUBLE)
    image = demodulate(signal)
    ratio = image[0] / demodulate(signal, signal.values[:, 0].mean(axis=0))[0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=0.05)
    assert image[3, 2] == 0
    assert image.mean() == pytest.approx(1, abs=1e-5)


class TestFindPeak:
    def test_finds_the_fringes(self):
        assert find_peak(counts().sum((0, 1))) == FRINGES
        assert find_peak(counts().mean((0, 1))) == FRINGES
        transposed = counts().sum((0, 1)).T
        assert find_peak(transposed) == (-FRINGES[1], -FRINGES[0])  # of the pair, u > 0

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(
        fringes=st.tuples(st.integers(0, 40), st.integers(-40, 40)).filter(
            lambda f: np.hypot(*f) > 12 and (f[0] > 0 or f[1] > 0)
        ),
        center=st.tuples(st.floats(40, 56), st.floats(50, 70)),
        contrast=st.floats(0.2, 1),
    )
    def test_of_any_direction(self, fringes, center, contrast):
        rows, columns = np.indices((96, 120))
        disk = np.hypot(rows - center[0], columns - center[1]) < 36
        turns = fringes[0] * rows / 96 + fringes[1] * columns / 120
        pattern = 20 * disk * (1 + contrast * np.cos(2 * np.pi * turns + 1))
        pattern = np.random.default_rng(0).poisson(pattern)
        u, v = find_peak(pattern)
        assert abs(u - fringes[0]) <= 1
        assert abs(v - fringes[1]) <= 1

    @pytest.mark.parametrize("radius", [8, 17, 30])
    def test_a_disk_without_fringes_has_none(self, radius):
        rows, columns = np.indices((64, 72))
        disk = np.hypot(rows - 30.2, columns - 37.1) < radius
        for dose in (0.3, 1e4):
            with pytest.raises(ParameterError, match="give the peak"):
                find_peak(np.random.default_rng(1).poisson(dose * disk))

    @pytest.mark.parametrize("pattern", [np.zeros((8, 9)), np.full((8, 9), np.nan), np.ones(5)])
    def test_nothing_to_look_at(self, pattern):
        with pytest.raises(ParameterError, match="no fringes"):
            find_peak(pattern)


@pytest.mark.parametrize(
    ("peak", "half_width", "match"),
    [
        ((5, 7, 9), 2, "peak"),
        ((5.5, 7), 2, "peak"),
        ("ab", 2, "peak"),
        ((24, 0), 2, "half of"),
        ((2, -2), 2, "zero frequency"),
        ((5, 7), -1, "half_width"),
        ((5, 7), 1.5, "half_width"),
    ],
)
def test_wrong_peaks(peak, half_width, match):
    with pytest.raises(ParameterError, match=match):
        sideband(EventStore.from_dense(counts()), peak, half_width)


def test_wrong_references():
    signal = sideband(EventStore.from_dense(counts()), FRINGES)
    with pytest.raises(ParameterError, match=r"\(5, 5\)"):
        demodulate(signal, np.ones((3, 3)))
    with pytest.raises(ParameterError, match="no fringes somewhere"):
        demodulate(signal, signal.values)  # of itself, with an empty pattern
