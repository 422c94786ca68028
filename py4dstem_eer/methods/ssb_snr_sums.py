"""The sums of the least-squares phase, see `ssb_snr`: a part for good, the rest in every redraw.

Most entries lie in one shifted disk only. There |γ̄|² is f², whatever the aberrations, so a redraw
has one phase factor to find, and two sums to add to; only where both disks overlap does it find two
factors, and Σ |γ̄|²/c. Σ |G|²/c and the number of entries are found once.
"""

from __future__ import annotations

import math

import numpy as np

from ..compiled import inlined_function, scalar_function
from ..device import kernel
from .overlap_runs import LEFT, TRIPLE
from .ssb_sums import cos_sin, line

_ONE, _ZERO, _HALF = np.float32(1), np.float32(0), np.float32(0.5)
#: Planes of `add_least_squares`: real and imaginary part of Σ G γ̄*/c, and Σ |γ̄|²/c.
N_SUMS = 3
#: Planes of `add_fixed_sums`: Σ |γ̄|²/c over single overlaps, Σ |G|²/c, the number of entries.
N_FIXED = 3


@scalar_function
def covered(square, y, edge, slope, most):
    """Return the part of a pixel, at most its own `most`, in a shifted disk.

    The pixel is at the distance √(square + y²) from the middle of the disk of radius `edge`;
    `slope` is one over its width.
    """
    inside = _HALF + (edge - np.float32(math.sqrt(square + y * y))) * slope
    return min(max(inside, _ZERO), most)


@kernel
def add_fixed_sums(
    item, lanes, row_ptr, pixel, side, first, length, start, g_re, g_im, unit, kx, ky, coverage,
    row_wx, column_wy, aperture, per_width, fixed,
):  # fmt: skip
    """Add up what no aberration changes, of one row; `lanes` items share it."""
    i, lane = item // lanes, item % lanes
    edge, slope = np.float32(aperture), np.float32(per_width)
    for r in range(row_ptr[i], row_ptr[i + 1]):
        p, c = pixel[r], np.float32(coverage[pixel[r]])
        sign = 1.0 if side[r] == LEFT else -1.0
        square = np.float32((kx[p] + sign * row_wx[i]) ** 2)
        for j in range((lane - first[r]) % lanes, length[r], lanes):
            column = first[r] + j
            re, im = unit[r] * g_re[start[r] + j], unit[r] * g_im[start[r] + j]
            fixed[1, i, column] += (re * re + im * im) / c
            fixed[2, i, column] += _ONE
            if side[r] != TRIPLE:
                part = covered(square, np.float32(ky[p] + sign * column_wy[column]), edge, slope, c)
                fixed[0, i, column] += part * part / c


@inlined_function
def _add_single_overlap(
    wx, wy, step, chi_k, table, sign, c, edge, slope, unit, n, run_re, run_im, num_re, num_im
):
    """Add a run in one shifted disk: γ̄ = −sign·f·e^(…), see `ssb_sums.add_double_overlaps`."""
    c0, c1, c2, c3, c4, c5, c6 = line(table, wx, wy, step, chi_k, -sign / (2 * math.pi))
    square, y0, dy = np.float32(wx * wx), np.float32(wy), np.float32(step)
    weight, middle = np.float32(-sign) * unit / c, _HALF * np.float32(n - 1)
    for j in range(n):
        t = np.float32(j) - middle
        x = c0 + t * (c1 + t * (c2 + t * (c3 + t * (c4 + t * (c5 + t * c6)))))
        cosine, sine = cos_sin(x)
        f = weight * covered(square, y0 + t * dy, edge, slope, c)
        re, im = np.float32(run_re[j]), np.float32(run_im[j])
        num_re[j] += f * (re * cosine - im * sine)
        num_im[j] += f * (re * sine + im * cosine)


@inlined_function
def _add_triple_overlap(
    mx, my, px, py, step, chi_k, table, c, edge, slope, unit, n, run_re, run_im, num_re, num_im,
    weight,
):  # fmt: skip
    """Add a run in both shifted disks: γ̄ = f₋ e^i(χ(k) − χ(k−Q)) − f₊ e^i(χ(k+Q) − χ(k))."""
    scale = 1 / (2 * math.pi)
    m0, m1, m2, m3, m4, m5, m6 = line(table, mx, my, -step, chi_k, -scale)
    p0, p1, p2, p3, p4, p5, p6 = line(table, px, py, step, chi_k, scale)
    mx2, my0 = np.float32(mx * mx), np.float32(my)
    px2, py0 = np.float32(px * px), np.float32(py)
    dy, middle = np.float32(step), _HALF * np.float32(n - 1)
    per_c, units_per_c = _ONE / c, unit / c
    for j in range(n):
        t = np.float32(j) - middle
        f_minus = covered(mx2, my0 - t * dy, edge, slope, c)
        f_plus = covered(px2, py0 + t * dy, edge, slope, c)
        x = m0 + t * (m1 + t * (m2 + t * (m3 + t * (m4 + t * (m5 + t * m6)))))
        cos_m, sin_m = cos_sin(x)
        x = p0 + t * (p1 + t * (p2 + t * (p3 + t * (p4 + t * (p5 + t * p6)))))
        cos_p, sin_p = cos_sin(x)
        gamma_re = f_minus * cos_m - f_plus * cos_p
        gamma_im = f_minus * sin_m - f_plus * sin_p
        re, im = np.float32(run_re[j]), np.float32(run_im[j])
        num_re[j] += units_per_c * (re * gamma_re + im * gamma_im)
        num_im[j] += units_per_c * (im * gamma_re - re * gamma_im)
        weight[j] += per_c * (gamma_re * gamma_re + gamma_im * gamma_im)


# "reassoc" would cancel the rounding by addition and subtraction
@kernel(fastmath={"contract", "nsz"})
def add_least_squares(
    i, row_ptr, pixel, side, first, length, start, g_re, g_im, unit, kx, ky, coverage, chi_k, table,
    row_wx, column_wy, n_regular, aperture, per_width, sums,
):  # fmt: skip
    """Add up one row: Σ G γ̄*/c (two planes), and Σ |γ̄|²/c where disks overlap three times."""
    edge, slope = np.float32(aperture), np.float32(per_width)
    step = column_wy[1] if n_regular > 1 else 0.0
    for r in range(row_ptr[i], row_ptr[i + 1]):
        p, column, n = pixel[r], first[r], length[r]
        c, turned = np.float32(coverage[p]), chi_k[p]
        wx, wy = row_wx[i], column_wy[column] + 0.5 * (n - 1) * step
        run_re, run_im = g_re[start[r] : start[r] + n], g_im[start[r] : start[r] + n]
        num_re, num_im = sums[0, i, column : column + n], sums[1, i, column : column + n]
        if side[r] == TRIPLE:
            weight = sums[2, i, column : column + n]
            minus_x, minus_y, plus_x, plus_y = kx[p] - wx, ky[p] - wy, kx[p] + wx, ky[p] + wy
            _add_triple_overlap(
                minus_x, minus_y, plus_x, plus_y, step, turned, table, c, edge, slope, unit[r], n,
                run_re, run_im, num_re, num_im, weight,
            )  # fmt: skip
        else:
            sign = 1.0 if side[r] == LEFT else -1.0
            _add_single_overlap(
                kx[p] + sign * wx, ky[p] + sign * wy, sign * step, turned, table, sign, c, edge,
                slope, unit[r], n, run_re, run_im, num_re, num_im,
            )  # fmt: skip
