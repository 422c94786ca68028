"""What `EventDPC.preprocess` leaves: the field in the frame of the scan, and how it was found."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..methods.com import fill_empty
from ..methods.rotation import RelativeRotation, solve_rotation
from .dpc_inputs import Measured, warn_empty

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What `EventDPC.preprocess` leaves for all that follows.

    Attributes
    ----------
    measured : (2, Rx, Ry)
        Centre of mass [px], NaN where a pattern is empty.
    normalized : (2, Rx, Ry)
        Descan removed [Å⁻¹, or px].
    corrected : (2, Rx, Ry)
        In the frame of the scan [Å⁻¹, or px].
    dose : (Rx, Ry)
        Electrons behind each position, 1 or 0 where they are not known.
    dose_known : bool
    n_filled : int
        Positions without electrons.
    n_hot : int
        Hot pixels left out.
    rotation : RelativeRotation
    step : (float, float) or None
        Scan step [Å].
    pixel : float or None
        Detector pixel [Å⁻¹].
    energy : float or None
        [eV]
    padding_factor : float
    """

    measured: np.ndarray
    normalized: np.ndarray
    corrected: np.ndarray
    dose: np.ndarray
    dose_known: bool
    n_filled: int
    n_hot: int
    rotation: RelativeRotation
    step: tuple[float, float] | None
    pixel: float | None
    energy: float | None
    padding_factor: float

    @property
    def parameters(self) -> dict[str, Any]:
        """How the field was found, for the metadata of every result."""
        return {
            "rotation_deg": self.rotation.angle_deg,
            "rotation_uncertainty_deg": self.rotation.uncertainty_deg,
            "transpose": self.rotation.transpose,
            "interpolated_positions": self.n_filled,
            "hot_pixels_left_out": self.n_hot,
        }

    @property
    def com_units(self) -> str:
        """Unit of the centre of mass."""
        return "pixels" if self.pixel is None else "A^-1"

    @property
    def slope_units(self) -> str:
        """Unit of the centre of mass over that of the scan."""
        if self.step is None:
            return "1" if self.pixel is None else "A^-1/pixel"
        return "pixels/A" if self.pixel is None else "A^-2"


def prepare_field(
    found: Measured,
    shifts: np.ndarray,
    forced: tuple[float | None, bool | None, bool],
    device: str,
    pixel: float | None,
    **kept: Any,
) -> Prepared:
    """Fill what is empty, remove the descan, and turn the field into the frame of the scan.

    Parameters
    ----------
    found : Measured
    shifts : broadcastable to (2, Rx, Ry)
        Descan [px].
    forced : (float or None, bool or None, bool)
        Rotation [degrees], transpose, and whether divergence is maximized instead.
    device : {"cpu", "gpu"}
    pixel : float or None
        Detector pixel [Å⁻¹].
    **kept
        What else `Prepared` keeps.
    """
    normalized, n_filled = fill_empty(found.com - shifts, found.dose)
    warn_empty(n_filled, found.dose.size, stacklevel=4)
    normalized *= 1.0 if pixel is None else pixel
    rotation = solve_rotation(normalized, *forced, device=device)
    _log.info("rotation between scan and detector: %s", rotation)
    return Prepared(
        measured=found.com,
        normalized=normalized,
        corrected=rotation.apply(normalized),
        dose=found.dose,
        dose_known=found.dose_known,
        n_filled=n_filled,
        n_hot=found.n_hot,
        rotation=rotation,
        pixel=pixel,
        **kept,
    )
