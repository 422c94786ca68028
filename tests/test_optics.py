"""Wavelength, aberrations and scan geometry."""

from __future__ import annotations

import numpy as np
import py4DSTEM
import pytest
import reference
from py4DSTEM.process.phase.utils import ComplexProbe, polar_aliases, polar_symbols
from py4DSTEM.process.utils.utils import electron_wavelength_angstrom

from py4dstem_eer.errors import CalibrationError, ParameterError
from py4dstem_eer.optics import (
    POLAR_ALIASES,
    POLAR_SYMBOLS,
    Aberrations,
    Geometry,
    chi,
    parse_semiangle,
    wavelength,
)

ENERGY, SEMIANGLE = 80e3, 25.0
LAMBDA = reference.wavelength(ENERGY)


def random_polar(seed=0):
    """All 25 coefficients, each worth some radians at the aperture's edge."""
    rng = np.random.default_rng(seed)
    polar = {}
    for symbol in POLAR_SYMBOLS:
        if symbol.startswith("phi"):
            polar[symbol] = rng.uniform(-np.pi, np.pi)
        else:
            polar[symbol] = rng.uniform(-3, 3) * LAMBDA / (SEMIANGLE * 1e-3) ** (int(symbol[1]) + 1)
    return polar


@pytest.fixture
def k_grid():
    k = np.linspace(-0.7, 0.6, 23)
    return np.meshgrid(k, k[:-2] + 0.01, indexing="ij")


def evaluate(polar, kx, ky):
    table = Aberrations.parse(polar).chi_table(LAMBDA)
    angles = zip((LAMBDA * kx).ravel(), (LAMBDA * ky).ravel(), strict=True)
    return np.array([chi(wx, wy, table) for wx, wy in angles]).reshape(kx.shape)


@pytest.mark.parametrize(
    ("energy", "known"), [(80e3, 0.0417572), (200e3, 0.0250793), (300e3, 0.0196875)]
)
def test_wavelength(energy, known):
    assert wavelength(energy) == pytest.approx(known, abs=1e-6)
    assert wavelength(energy) == pytest.approx(electron_wavelength_angstrom(energy), rel=1e-6)
    assert wavelength(energy) == pytest.approx(reference.wavelength(energy), rel=1e-12)


def test_symbols_are_those_of_py4dstem():
    assert polar_symbols == POLAR_SYMBOLS
    assert polar_aliases == POLAR_ALIASES
    assert py4DSTEM.__version__  # the names above come from the installed py4DSTEM


def test_chi_of_all_symbols_together(k_grid):
    polar = random_polar()
    np.testing.assert_allclose(
        evaluate(polar, *k_grid), reference.chi(polar, *k_grid, LAMBDA), rtol=0, atol=1e-11
    )


@pytest.mark.parametrize("symbol", [s for s in POLAR_SYMBOLS if s.startswith("C")])
def test_chi_of_each_symbol(symbol, k_grid):
    names = (symbol, symbol.replace("C", "phi"))
    polar = {name: value for name, value in random_polar(1).items() if name in names}
    mine = evaluate(polar, *k_grid)
    np.testing.assert_allclose(mine, reference.chi(polar, *k_grid, LAMBDA), rtol=0, atol=1e-11)
    assert np.ptp(mine) > 0.1
    np.testing.assert_allclose(mine, py4dstem_chi(polar, *k_grid), rtol=0, atol=2e-5)


def py4dstem_chi(polar, kx, ky):
    probe = ComplexProbe(energy=ENERGY, gpts=(8, 8), sampling=(1, 1), parameters=dict(polar))
    return probe.evaluate_chi(LAMBDA * np.hypot(kx, ky), np.arctan2(ky, kx))


def test_chi_agrees_with_py4dstem_for_all_symbols(k_grid):
    polar = random_polar(2)
    theirs = py4dstem_chi(polar, *k_grid)
    np.testing.assert_allclose(evaluate(polar, *k_grid), theirs, rtol=1e-5, atol=1e-4)


def test_aliases():
    values = {
        "defocus": 100.0,
        "astigmatism": 20.0,
        "astigmatism_angle": 0.3,
        "coma": 1e3,
        "coma_angle": 0.4,
        "Cs": 1e5,
        "C5": 1e7,
    }
    expected = {
        "C10": -100.0,
        "C12": 20.0,
        "phi12": 0.3,
        "C21": 1e3,
        "phi21": 0.4,
        "C30": 1e5,
        "C50": 1e7,
    }
    polar = Aberrations.parse(values).polar
    assert {name: value for name, value in polar.items() if value} == expected
    assert set(polar) == set(POLAR_SYMBOLS)


@pytest.mark.parametrize(
    ("name", "meant"), [("defocuss", "defocus"), ("Coma", "coma"), ("phi_12", "phi12")]
)
def test_misspelt_name_lists_close_ones(name, meant):
    with pytest.raises(ParameterError, match=f"{name} not a recognized parameter.*{meant}"):
        Aberrations.parse({name: 1.0})


@pytest.mark.parametrize("value", [np.nan, np.inf, None, "7", [1.0]])
def test_aberration_must_be_a_finite_number(value):
    with pytest.raises(ParameterError, match="C10"):
        Aberrations.parse({"C10": value})


@pytest.mark.parametrize("energy", [80, 0, -80e3, np.nan, None, "80e3"])
def test_energy_must_be_in_ev(energy):
    with pytest.raises(CalibrationError, match=r"80e3|80000"):
        wavelength(energy)


@pytest.mark.parametrize("semiangle", [0, -1, np.inf, None, 25e3])
def test_semiangle_must_be_in_mrad(semiangle):
    with pytest.raises(CalibrationError, match="mrad"):
        parse_semiangle(semiangle)


@pytest.mark.parametrize("step", [(0.0, 0.3), (0.3, -1.0), (np.nan, 0.3)])
def test_geometry_needs_a_scan_step(step):
    with pytest.raises(CalibrationError, match="scan step"):
        Geometry(ENERGY, SEMIANGLE, step)


def test_aperture_radius():
    geometry = Geometry(ENERGY, SEMIANGLE, (0.3, 0.3))
    assert geometry.wavelength == pytest.approx(LAMBDA)
    assert geometry.aperture_radius == pytest.approx(0.025 / LAMBDA)
