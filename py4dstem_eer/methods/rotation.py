"""Rotation and transpose between detector and scan, in closed form.

The centre of mass of an electron wave is a gradient, so its curl vanishes in the right frame. With
k and d the curl and divergence of the measured field, the field rotated by θ has

    curl' = k cos θ + d sin θ,        div' = d cos θ − k sin θ,

    Σ curl'² = A + B cos 2θ + C sin 2θ,   A, B = (Σk² ± Σd²) / 2,   C = Σ k d,

and Σ div'² = 2A − Σ curl'²: least curl and most divergence are the same angle, found from three
sums. py4DSTEM tries 179 angles on the mean of |curl'|.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

from ..errors import EventWarning
from ..parameters import parse_flag, parse_real
from .curl_sums import curl_sums

#: The angle counts as decided when Σ curl'² varies with it by more than this many standard errors.
#: Of pure noise none of 1500 fields does from 16 × 21 positions on, one in 80 at 10 × 15.
ANGLE_SIGNIFICANCE = 5.0
#: The same for the difference between the two transposes, whose sign is a single comparison:
#: fringes in one direction, which fit both alike, pass in fewer than 1 of 100 fields.
TRANSPOSE_SIGNIFICANCE = 3.0
#: Standard deviation [deg] of an angle about which nothing is known: uniform over 180°.
UNKNOWN_ANGLE_DEG = 180 / math.sqrt(12)
# Fewer tiles say nothing about how the sums over them scatter.
_FEWEST_TILES = 8


@dataclass(frozen=True)
class RelativeRotation:
    """How the detector is turned against the scan.

    Attributes
    ----------
    angle_deg : float
        θ in py4DSTEM's convention: CoM_x = cos θ x − sin θ y, CoM_y = sin θ x + cos θ y [deg]. A
        measured angle lies in (−90, 90]: curl and divergence cannot tell θ from θ + 180°, and like
        py4DSTEM we take the one nearer to 0.
    transpose : bool
        Whether x and y are swapped before they are rotated.
    uncertainty_deg : float
        Standard error of the angle [deg]; 0 for a given one, 52° where nothing is known.
    angle_decided, transpose_decided : bool
        False if the data cannot tell: noise alone would give as clear an answer.
    """

    angle_deg: float
    transpose: bool
    uncertainty_deg: float = 0.0
    angle_decided: bool = True
    transpose_decided: bool = True

    @property
    def undecided(self) -> bool:
        """Whether the data cannot tell the angle, the transpose, or either."""
        return not (self.angle_decided and self.transpose_decided)

    def apply(self, com: np.ndarray) -> np.ndarray:
        """Return the field (2, Rx, Ry) in the frame of the scan."""
        x, y = com[::-1] if self.transpose else com
        cos, sin = math.cos(math.radians(self.angle_deg)), math.sin(math.radians(self.angle_deg))
        return np.stack([cos * x - sin * y, sin * x + cos * y])


@dataclass(frozen=True)
class _Choice:
    """One transpose and angle θ [rad], with the sums Σk², Σd², Σkd of every tile, (3, tiles)."""

    transpose: bool
    sums: np.ndarray
    angle: float

    @property
    def curl(self) -> np.ndarray:
        """Σ curl'² of every tile."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return cos * cos * self.sums[0] + sin * sin * self.sums[1] + 2 * cos * sin * self.sums[2]

    @property
    def divergence(self) -> np.ndarray:
        """Σ div'² of every tile."""
        return self.sums[0] + self.sums[1] - self.curl

    @property
    def product(self) -> np.ndarray:
        """Σ curl' div' of every tile: half the slope of Σ curl'² with θ."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        difference = self.sums[1] - self.sums[0]
        return cos * sin * difference + (cos * cos - sin * sin) * self.sums[2]


def solve_rotation(
    com: np.ndarray,
    force_rotation: float | None = None,
    force_transpose: bool | None = None,
    maximize_divergence: bool = False,
    step: tuple[float, float] = (1.0, 1.0),
    device: str = "cpu",
    warn: bool = True,
) -> RelativeRotation:
    """Return rotation and transpose that leave the field the least curl.

    The angle's standard error follows from how Σ curl' div', whose zero defines it, scatters over
    tiles of the scan; the angle is decided if Σ curl'² varies with θ by `ANGLE_SIGNIFICANCE` times
    what that scatter explains (its error is then below 5.8°). The transpose is decided if Σ curl'²
    (or Σ div'²) of the alternatives differ by `TRANSPOSE_SIGNIFICANCE` times their own scatter.

    Parameters
    ----------
    com : (2, Rx, Ry)
        Field with descan removed [any unit], finite.
    force_rotation : float, optional
        The known angle [deg].
    force_transpose : bool, optional
        The known transpose.
    maximize_divergence : bool
        Choose the transpose by the larger divergence, instead of the smaller curl.
    step : (float, float)
        Scan step along (row, column) [any unit].
    device : {"cpu", "gpu"}
    warn : bool
        Warn if the data cannot tell.

    Returns
    -------
    rotation : RelativeRotation

    Warns
    -----
    EventWarning
        If the data cannot tell.

    Raises
    ------
    ParameterError
        If the field or the angle is not finite, the transpose no truth value, or the scan smaller
        than 3 × 3 positions.
    """
    if force_rotation is not None:
        parse_real(force_rotation, "force_com_rotation", unit="degrees")
    if force_transpose is not None:
        force_transpose = parse_flag(force_transpose, "force_com_transpose")
    if force_rotation is not None and force_transpose is not None:
        return RelativeRotation(float(force_rotation), force_transpose)
    sums = curl_sums(com, step, device)
    choices = [
        _choice(transpose, sums[3 * transpose : 3 * transpose + 3], force_rotation)
        for transpose in (False, True)
        if force_transpose is None or transpose == force_transpose
    ]
    result = _decide(choices, maximize_divergence, force_rotation is None)
    if warn:
        warn_if_undecided(result)
    return result


def squared_curl(
    com: np.ndarray,
    angles_deg: np.ndarray,
    step: tuple[float, float] = (1.0, 1.0),
    device: str = "cpu",
) -> np.ndarray:
    """Return Σ curl'² of the rotated field and, in a second row, of the transposed field's.

    Parameters
    ----------
    com : (2, Rx, Ry)
        Field, finite.
    angles_deg : (n,)
        Rotation angles [deg].
    step, device
        As `solve_rotation`.

    Returns
    -------
    curl : (2, n) float64
    """
    sums = curl_sums(com, step, device).reshape(2, 3, -1)
    angles = np.radians(np.asarray(angles_deg, np.float64))
    return np.array(
        [[_Choice(bool(t), sums[t], angle).curl.sum() for angle in angles] for t in range(2)]
    )


def _choice(transpose: bool, sums: np.ndarray, force_rotation: float | None) -> _Choice:
    if force_rotation is not None:
        return _Choice(transpose, sums, math.radians(force_rotation))
    curl, divergence, product = sums.sum(axis=1)
    angle = 0.5 * math.atan2(-2 * product, divergence - curl)
    return _Choice(transpose, sums, math.pi / 2 if angle <= -math.pi / 2 else angle)


def _decide(choices: list[_Choice], by_divergence: bool, measured: bool) -> RelativeRotation:
    def badness(choice: _Choice) -> np.ndarray:
        return -choice.divergence if by_divergence else choice.curl

    best = min(choices, key=lambda choice: badness(choice).sum())  # the first wins a tie
    uncertainty, decided = _angle_error(best) if measured else (0.0, True)
    difference = badness(choices[0]) - badness(choices[-1])
    return RelativeRotation(
        math.degrees(best.angle),
        best.transpose,
        uncertainty,
        decided,
        len(choices) == 1
        or bool(abs(difference.sum()) > TRANSPOSE_SIGNIFICANCE * _scatter(difference)),
    )


def _angle_error(choice: _Choice) -> tuple[float, bool]:
    """Return the standard error of the angle [deg], and whether it is decided."""
    slope = float((choice.divergence - choice.curl).sum())  # of Σ curl' div' with θ
    scatter = _scatter(choice.product)
    if not slope > 0:
        return UNKNOWN_ANGLE_DEG, False
    error = min(math.degrees(scatter / slope), UNKNOWN_ANGLE_DEG)
    return error, slope / 2 > ANGLE_SIGNIFICANCE * scatter


def _scatter(tiles: np.ndarray) -> float:
    """Return the standard error of a sum over tiles, from how they differ."""
    n = len(tiles)
    if n < _FEWEST_TILES:
        return math.inf
    return math.sqrt(n * float(np.var(tiles, ddof=1)))


def warn_if_undecided(result: RelativeRotation) -> None:
    """Warn that the data cannot tell the rotation, the transpose, or either."""
    if result.undecided:
        unknown = " and ".join(
            name
            for name, decided in (
                ("rotation", result.angle_decided),
                ("transpose", result.transpose_decided),
            )
            if not decided
        )
        warnings.warn(
            f"the data cannot tell the {unknown} between scan and detector (best: "
            f"{result.angle_deg:.0f} ± {result.uncertainty_deg:.0f}°, transpose "
            f"{result.transpose}); give force_com_rotation and force_com_transpose",
            EventWarning,
            stacklevel=3,
        )
