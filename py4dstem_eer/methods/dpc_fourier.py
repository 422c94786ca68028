"""Fourier integration of a gradient field, on a mirrored or a padded scan."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..device import Device
from ..parameters import parse_real
from .dpc_filters import Filters, blur, butterworth, gaussian_transfer


def integrate_mirrored(
    com: Any,
    step: tuple[float, float],
    regularisation: tuple[float, float],
    filters: Filters,
    where: Device,
) -> Any:
    """Integrate the field as sine series along, cosine series across each edge."""
    shape, xp, options = com.shape[1:], where.xp, where.fft_options()
    qx = (xp.arange(shape[0]) / (2 * shape[0] * step[0]))[:, None]
    qy = (xp.arange(shape[1]) / (2 * shape[1] * step[1]))[None, :]
    series = xp.zeros(shape)
    for axis, q in enumerate((qx, qy)):
        term = where.fft.dst(com[axis], type=2, axis=axis, **options)
        term = where.fft.dct(term, type=2, axis=1 - axis, overwrite_x=True, **options)
        # the sine series begins at the first frequency, the cosine series at zero
        later, earlier = [slice(None)] * 2, [slice(None)] * 2
        later[axis], earlier[axis] = slice(1, None), slice(None, -1)
        series[tuple(later)] -= q[tuple(later)] * term[tuple(earlier)]
    series *= inverse_square(qx, qy, *regularisation)
    for transfer in (
        butterworth(qx, qy, filters, xp),
        gaussian_transfer(shape, filters, step[0], xp),
    ):
        if transfer is not None:
            series *= transfer
    return where.fft.idctn(series, type=2, overwrite_x=True, **options)


def integrate_padded(
    com: Any,
    shape: tuple[int, int],
    step: tuple[float, float],
    regularisation: tuple[float, float],
    filters: Filters,
    where: Device,
) -> Any:
    """Integrate the field on a periodic scan of `shape`, with zeros around it."""
    qx, qy = frequencies(shape, step, where.xp)
    numerators = (without_nyquist(qx, shape[0], 0), without_nyquist(qy, shape[1], 1))
    total = sum(
        n * padded_rfft2(part, shape, where) for n, part in zip(numerators, com, strict=True)
    )
    total *= -1j * inverse_square(qx, qy, *regularisation)
    envelope = butterworth(qx, qy, filters, where.xp)
    if envelope is not None:
        total *= envelope
    phase = where.fft.irfft2(total, shape, **where.fft_options())
    phase = blur(phase, gaussian_transfer(shape, filters, step[0], where.xp), where)
    return phase[: com.shape[1], : com.shape[2]]


def frequencies(shape: tuple[int, int], step: tuple[float, float], xp: Any) -> tuple[Any, Any]:
    """Return the frequencies (Rx, 1) and (1, Ry // 2 + 1) of a real FFT [Å⁻¹]."""
    qx = xp.fft.fftfreq(shape[0], step[0])[:, None]
    return qx, xp.fft.rfftfreq(shape[1], step[1])[None, :]


def without_nyquist(q: Any, n: int, axis: int) -> Any:
    """Return frequencies with Nyquist's set to 0: its sign is unknown, so it has no derivative."""
    if n % 2:
        return q
    q = q.copy()
    q.swapaxes(0, axis)[n // 2] = 0
    return q


def padded_rfft2(image: Any, shape: tuple[int, int], where: Device) -> Any:
    """Return the real FFT of an image padded with zeros, without transforming rows of zeros."""
    options = where.fft_options()
    rows = where.fft.rfft(image, n=shape[1], axis=1, **options)
    return where.fft.fft(rows, n=shape[0], axis=0, **options)


def inverse_square(qx: Any, qy: Any, low_pass: float, high_pass: float) -> Any:
    """Return 1 / (λ₁ + q² + λ₂ q⁴) [Å²], and 0 at q = 0, where a gradient knows nothing."""
    squared = qx**2 + qy**2
    denominator = high_pass + squared + low_pass * squared**2
    denominator[0, 0] = math.inf
    return 1 / denominator


def padded_shape(shape: tuple[int, ...], padding_factor: float) -> tuple[int, int]:
    """Return the shape of the padded scan, as py4DSTEM rounds it."""
    factor = parse_real(padding_factor, "padding_factor", at_least=1)
    rows, columns = np.round(np.array(shape) * factor).astype(int)
    return int(rows), int(columns)
