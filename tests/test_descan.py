"""Descan fits: against py4DSTEM's fit_origin."""

import os

import numpy as np
import pytest

from py4dstem_eer.errors import ParameterError
from py4dstem_eer.methods.descan import MODELS, RobustFit, fit_descan

SHAPE = (23, 31)


def fit_origin(*args, **options):
    if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
        pytest.skip("py4DSTEM cannot be imported under the CUDA simulator")
    from py4DSTEM.process.calibration import fit_origin as theirs

    return theirs(*args, **options)


@pytest.fixture
def field():
    rng = np.random.default_rng(0)
    x, y = np.linspace(0, 1, SHAPE[0])[:, None], np.linspace(0, 1, SHAPE[1])[None]
    drift = np.stack([3 * x - y + 2 * x * x * y, 200 + x * y * 4 - y**2])
    return drift + 0.1 * rng.normal(size=(2, *SHAPE))


@pytest.mark.parametrize("model", MODELS)
def test_agrees_with_py4dstem(field, model):
    expected = fit_origin((field[0], field[1]), fitfunction=model)[:2]
    np.testing.assert_allclose(fit_descan(field, model), expected, atol=1e-6)


@pytest.mark.parametrize("model", [m for m in MODELS if m != "constant"])
def test_agrees_with_py4dstem_on_part_of_the_scan(field, model):
    valid = np.random.default_rng(1).random(SHAPE) > 0.3
    expected = fit_origin((field[0], field[1]), mask=valid.copy(), fitfunction=model)[:2]
    broken = np.where(valid, field, np.nan)
    np.testing.assert_allclose(fit_descan(broken, model), expected, atol=1e-6)
    np.testing.assert_allclose(fit_descan(field, model, valid), expected, atol=1e-6)


@pytest.mark.parametrize("model", ["plane", "parabola", "bezier_two"])
@pytest.mark.parametrize(("steps", "threshold"), [(3, 2), (1, 1.3), (5, 1.5)])
def test_robust_fit_agrees_with_py4dstem(field, model, steps, threshold):
    field[0, 3, 4] += 2
    options = {"robust": True, "robust_steps": steps, "robust_thresh": threshold}
    expected = fit_origin((field[0], field[1]), fitfunction=model, **options)[:2]
    ours = fit_descan(field, model, robust=RobustFit(steps, threshold))
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert np.abs(ours - fit_descan(field, model)).max() > 1e-4


@pytest.mark.parametrize("model", ["plane", "parabola"])
def test_robust_fit_ignores_outliers(field, model):
    clean = fit_descan(field, model)
    field[0, 3, 4] += 500
    field[1, 10, :3] -= 300
    robust = fit_descan(field, model, robust=RobustFit())
    assert np.abs(robust - clean).max() < 0.2
    assert np.abs(fit_descan(field, model) - clean).max() > 0.2


def test_masked_constant_is_the_mean_of_the_valid(field):
    valid = np.zeros(SHAPE, bool)
    valid[4, 5] = valid[7, 1] = True
    fitted = fit_descan(field, "constant", valid)
    np.testing.assert_allclose(fitted[:, 0, 0], field[:, valid].mean(axis=1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (7, 1)])
@pytest.mark.parametrize("model", MODELS)
def test_scans_too_small_for_the_model_are_fitted_all_the_same(shape, model):
    field = np.random.default_rng(0).normal(size=(2, *shape))
    fitted = fit_descan(field, model)
    assert np.isfinite(fitted).all()
    residual = field - fitted
    assert (residual**2).sum() <= (field**2).sum() + 1e-9


def test_wrong_input(field):
    with pytest.raises(ParameterError, match=r"'cubic'.*plane"):
        fit_descan(field, "cubic")
    with pytest.raises(ParameterError, match="no scan position is valid"):
        fit_descan(np.full((2, 4, 5), np.nan))
    with pytest.raises(ParameterError, match="shape"):
        fit_descan(field, valid=np.ones((3, 3), bool))
    field[0, 2, 3] = np.inf
    with pytest.raises(ParameterError, match=r"\(2, 3\) is not finite"):
        fit_descan(field, valid=np.ones(SHAPE, bool))
    with pytest.raises(ParameterError, match="positive"):
        RobustFit(threshold=0)
