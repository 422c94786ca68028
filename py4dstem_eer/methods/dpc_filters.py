"""What shapes the spectrum of a DPC phase: regularisation and py4DSTEM's filters."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ..device import Device
from ..parameters import parse_real

#: scipy.ndimage cuts its Gaussian off at this many standard deviations.
_GAUSSIAN_REACH = 4.0


@dataclass(frozen=True)
class Filters:
    """py4DSTEM's filters of the phase, with its names, units and meaning.

    Attributes
    ----------
    q_lowpass, q_highpass : float, optional
        Cut-off of the Butterworth filters [Å⁻¹]; None or 0 for none.
    butterworth_order : float
        Their order; smaller is smoother.
    gaussian_filter_sigma : float, optional
        Standard deviation of a Gaussian blur [Å]; None or 0 for none.

    Raises
    ------
    ParameterError
        If one is negative or not finite.
    """

    q_lowpass: float | None = None
    q_highpass: float | None = None
    butterworth_order: float = 2.0
    gaussian_filter_sigma: float | None = None

    def __post_init__(self) -> None:
        for name in ("q_lowpass", "q_highpass", "gaussian_filter_sigma"):
            value = getattr(self, name)
            if value is not None:
                parse_real(value, name, at_least=0)
        parse_real(self.butterworth_order, "butterworth_order", above=0)


def parse_regularisation(low_pass: float, high_pass: float) -> tuple[float, float]:
    """Return λ₂ [Å²] and λ₁ [Å⁻²] if both are finite and not negative."""
    return (
        parse_real(low_pass, "low_pass", at_least=0),
        parse_real(high_pass, "high_pass", at_least=0),
    )


def butterworth(qx: Any, qy: Any, filters: Filters, xp: ModuleType) -> Any | None:
    """Return the filters' transfer at frequencies (qx, qy) [Å⁻¹], or None if there is no filter.

    The mean passes, as in py4DSTEM.
    """
    if not (filters.q_lowpass or filters.q_highpass):
        return None
    q = xp.sqrt(qx**2 + qy**2)
    order = 2 * filters.butterworth_order
    transfer = xp.ones_like(q)
    if filters.q_highpass:
        transfer *= 1 - 1 / (1 + (q / filters.q_highpass) ** order)
    if filters.q_lowpass:
        transfer *= 1 / (1 + (q / filters.q_lowpass) ** order)
    transfer[0, 0] = 1
    return transfer


def gaussian_transfer(
    shape: tuple[int, int], filters: Filters, step: float, xp: ModuleType
) -> Any | None:
    """Return what the Gaussian blur does to each term of a cosine series, or None for no blur.

    scipy.ndimage's Gaussian mirrors the image at its edges, so in the cosine series (DCT-II) it is
    a product, exactly.

    Parameters
    ----------
    shape : (int, int)
        Shape of the image.
    filters : Filters
    step : float
        Scan step [Å].
    xp : module

    Returns
    -------
    transfer : shape float64, or None
    """
    if not filters.gaussian_filter_sigma:
        return None
    sigma = filters.gaussian_filter_sigma / step
    offsets = np.arange(1, int(_GAUSSIAN_REACH * sigma + 0.5) + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    along = [1 + 2 * np.cos(np.pi / n * np.outer(np.arange(n), offsets)) @ weights for n in shape]
    along = [a / a[0] for a in along]
    return xp.asarray(along[0][:, None] * along[1])


def blur(image: Any, transfer: Any | None, where: Device) -> Any:
    """Return the image after the Gaussian blur of `gaussian_transfer`."""
    if transfer is None:
        return image
    options = where.fft_options()
    series = where.fft.dctn(image, type=2, **options)
    return where.fft.idctn(series * transfer, type=2, **options)
