"""Descan: the smooth drift of the beam's centre over the scan, fitted and removed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ParameterError

#: Powers of (row, column) in each model. They span what py4DSTEM's functions of the same names
#: span, and every model is linear in its coefficients: one small linear solve, no search.
MODELS: dict[str, tuple[tuple[int, int], ...]] = {
    "constant": ((0, 0),),
    "plane": ((0, 0), (1, 0), (0, 1)),
    "parabola": ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (1, 1)),
    "bezier_two": tuple((a, b) for a in range(3) for b in range(3)),
}


@dataclass(frozen=True)
class RobustFit:
    """Refits without outliers, with the meaning of py4DSTEM's `fit_origin`.

    Attributes
    ----------
    steps : int
        Number of refits.
    threshold : float
        Positions further from the fit than this many root-mean-square residuals are left out.
    """

    steps: int = 3
    threshold: float = 2.0

    def __post_init__(self) -> None:
        if self.steps < 0 or not self.threshold > 0:
            raise ParameterError(f"{self}: steps and threshold must be positive")


def fit_descan(
    com: np.ndarray,
    fit_function: str = "plane",
    valid: np.ndarray | None = None,
    robust: RobustFit | None = None,
) -> np.ndarray:
    """Return the smooth field that fits the measured centres of mass best.

    Parameters
    ----------
    com : (2, Rx, Ry)
        Measured field [any unit]; may be NaN where `valid` is False.
    fit_function : {"plane", "parabola", "bezier_two", "constant"}
        Model, as in py4DSTEM.
    valid : (Rx, Ry) bool, optional
        Positions to fit. Default: where the field is finite.
    robust : RobustFit, optional
        Refit without outliers; each component has its own.

    Returns
    -------
    fitted : (2, Rx, Ry) float64
        [unit of `com`], defined everywhere.

    Raises
    ------
    ParameterError
        If the model is unknown, the mask has another shape than the scan, no position is valid, or
        a valid one is not finite.
    """
    if fit_function not in MODELS:
        raise ParameterError(
            f"fit_function is {fit_function!r}; it must be one of {', '.join(MODELS)}"
        )
    com = np.asarray(com, np.float64)
    valid = _parse_valid(com, valid)
    terms = MODELS[fit_function]
    if robust is None:
        return np.stack([_least_squares(axis, valid, terms) for axis in com])
    return np.stack([_robust(axis, valid, terms, robust) for axis in com])


def _parse_valid(com: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    finite = np.isfinite(com).all(axis=0)
    if valid is None:
        valid = finite
    valid = np.asarray(valid, bool)
    if valid.shape != com.shape[1:]:
        raise ParameterError(f"the mask has shape {valid.shape}, the scan has {com.shape[1:]}")
    if not valid.any():
        raise ParameterError("no scan position is valid: there is nothing to fit the descan to")
    if not finite[valid].all():
        position = tuple(int(i) for i in np.argwhere(valid & ~finite)[0])
        raise ParameterError(f"the centre of mass at valid scan position {position} is not finite")
    return valid


def _robust(
    values: np.ndarray, valid: np.ndarray, terms: tuple[tuple[int, int], ...], robust: RobustFit
) -> np.ndarray:
    kept = valid
    fitted = _least_squares(values, kept, terms)
    for _ in range(robust.steps):
        squared = np.where(valid, values - fitted, 0.0) ** 2
        # as py4DSTEM: the mean runs over all positions, those left out before included
        limit = robust.threshold**2 * squared.sum() / np.count_nonzero(valid)
        kept = kept & (squared <= limit)
        if not kept.any():
            raise ParameterError(
                f"robust fitting left no position: raise the threshold of {robust.threshold}"
            )
        fitted = _least_squares(values, kept, terms)
    return fitted


def _least_squares(
    values: np.ndarray, kept: np.ndarray, terms: tuple[tuple[int, int], ...]
) -> np.ndarray:
    """Fit a sum of products of Legendre polynomials to the kept values.

    The products are separable, so normal equations and fit are small matrix products over the
    scan and no (positions, terms) matrix is ever built; Legendre polynomials keep them well
    conditioned.
    """
    a, b = (list(powers) for powers in zip(*terms, strict=True))
    along_rows, along_columns = (_polynomials(n) for n in values.shape)
    mask = kept.astype(np.float64)
    right = (along_rows.T @ np.where(kept, values, 0.0) @ along_columns)[a, b]
    squares_x, squares_y = _products(along_rows), _products(along_columns)
    overlap = (squares_x.T @ mask @ squares_y).reshape(3, 3, 3, 3)
    normal = overlap[np.array(a)[:, None], a, np.array(b)[:, None], b]
    coefficients = np.zeros((3, 3))
    # least norm where there are too few positions for all terms
    coefficients[a, b] = np.linalg.lstsq(normal, right, rcond=None)[0]
    return along_rows @ coefficients @ along_columns.T


def _polynomials(n: int) -> np.ndarray:
    """Return the Legendre polynomials of degree 0 to 2 on the scan's range, (n, 3)."""
    return np.polynomial.legendre.legvander(np.linspace(-1, 1, n), 2)


def _products(polynomials: np.ndarray) -> np.ndarray:
    """Return all products of two polynomials, (n, 9)."""
    return (polynomials[:, :, None] * polynomials[:, None, :]).reshape(len(polynomials), -1)
