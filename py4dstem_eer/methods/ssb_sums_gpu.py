"""The sums of single-sideband ptychography for a GPU: a thread for every scan frequency.

On a CPU a thread takes a row of scan frequencies, run by run, and adds to memory that its cache
holds. On a GPU neighbouring threads take neighbouring columns of a row: in every run they read
neighbouring entries, and each keeps its own sum in registers. Nothing is shared, so no thread waits
for another, and nothing needs atomics. The polynomial of a run is the same for all its threads; it
is found once for every run, by a kernel of its own.

Bytes of a redraw of the paper's case, 1024 × 1024 positions and 232 pixels: 26 M entries of 8 bytes
and 0.19 M runs of 60 bytes, 0.22 GB, which an H200 reads in 0.05 ms at 4.8 TB/s, and an H100 in
0.07 ms; the sums and the spectrum are 0.03 GB more, as is the inverse FFT. 3000 pixels are 2.8 GB
and 0.6 ms. An entry costs about 45 instructions in single precision, 1.2 · 10⁹ in all, or 0.03 ms
on either. Occupancy: 1025 rows × 416 columns are 13 000 warps of 32 threads, and 132
multiprocessors hold 8 400 of them at a time; a warp passes over the 240 runs of its row, and works
in a quarter. These are estimates, not measured.
"""

from __future__ import annotations

import math

import numpy as np

from ..device import kernel
from .overlap_runs import LEFT, RIGHT, TRIPLE
from .ssb_snr_sums import covered
from .ssb_sums import cos_sin, line, triple_turn

_ONE, _ZERO, _HALF = np.float32(1), np.float32(0), np.float32(0.5)
#: float32 of a run: seven coefficients and the unit of its entries, a sector of memory.
LINE = 8
#: For least squares: two polynomials, squares and positions of two shifted rows, step, and unit.
TWO_LINES = 20


@kernel
def find_lines(
    r, row, pixel, side, first, length, unit, kx, ky, row_wx, column_wy, chi_k, table,
    n_scan_rows, n_regular, lines,
):  # fmt: skip
    """Find the polynomial that turns the entries of one run of double overlaps."""
    lines[r, 7] = unit[r]
    if side[r] < 2:
        i, p, n = row[r], pixel[r], length[r]
        direction = -1.0 if i == n_scan_rows else 1.0
        sign = 1.0 if side[r] == 1 else -1.0
        step = direction * column_wy[1] if n_regular > 1 else 0.0
        middle = direction * column_wy[first[r]] + 0.5 * (n - 1) * step
        wx, wy = kx[p] + sign * row_wx[i], ky[p] + sign * middle
        found = line(table, wx, wy, sign * step, chi_k[p], -sign / (2 * math.pi))
        for c in range(7):
            lines[r, c] = found[c]


@kernel
def sum_overlaps(
    item, lanes, row_ptr, pixel, side, first, length, start, kx, ky, row_wx, column_wy, chi_k,
    table, lines, g_re, g_im, n_scan_rows, triple, sum_re, sum_im,
):  # fmt: skip
    """Add up the right, left and, if asked, triple overlaps of one scan frequency.

    What `ssb_sums.add_double_overlaps` and `add_triple_overlaps` do for a row.
    """
    i, column = item // lanes, item % lanes
    right_re, right_im, left_re, left_im = _ZERO, _ZERO, _ZERO, _ZERO
    triple_re, triple_im = 0.0, 0.0
    for r in range(row_ptr[i], row_ptr[i + 1]):
        j = column - first[r]
        if j < 0 or j >= length[r]:
            continue
        re, im = lines[r, 7] * g_re[start[r] + j], lines[r, 7] * g_im[start[r] + j]
        which = side[r]
        if which < 2:
            t = np.float32(j) - _HALF * np.float32(length[r] - 1)
            x = lines[r, 3] + t * (lines[r, 4] + t * (lines[r, 5] + t * lines[r, 6]))
            cosine, sine = cos_sin(lines[r, 0] + t * (lines[r, 1] + t * (lines[r, 2] + t * x)))
            turned_re, turned_im = re * cosine - im * sine, re * sine + im * cosine
            if which == 0:
                right_re += turned_re
                right_im += turned_im
            else:
                left_re -= turned_re
                left_im -= turned_im
        elif triple:
            p = pixel[r]
            qy = -column_wy[column] if i == n_scan_rows else column_wy[column]
            turn_re, turn_im = triple_turn(kx[p], ky[p], chi_k[p], row_wx[i], qy, table)
            triple_re += re * turn_re - im * turn_im
            triple_im += re * turn_im + im * turn_re
    if column < sum_re.shape[2]:
        sum_re[0, i, column], sum_im[0, i, column] = right_re, right_im
        sum_re[1, i, column], sum_im[1, i, column] = left_re, left_im
        sum_re[2, i, column], sum_im[2, i, column] = triple_re, triple_im


@kernel
def find_two_lines(
    r, row, pixel, first, length, unit, kx, ky, row_wx, column_wy, chi_k, table, n_scan_rows,
    n_regular, lines,
):  # fmt: skip
    """Find both polynomials of one run, and where its shifted rows lie, for least squares."""
    i, p, n = row[r], pixel[r], length[r]
    direction = -1.0 if i == n_scan_rows else 1.0
    step = direction * column_wy[1] if n_regular > 1 else 0.0
    middle = direction * column_wy[first[r]] + 0.5 * (n - 1) * step
    mx, my, px, py = kx[p] - row_wx[i], ky[p] - middle, kx[p] + row_wx[i], ky[p] + middle
    minus = line(table, mx, my, -step, chi_k[p], -1 / (2 * math.pi))
    plus = line(table, px, py, step, chi_k[p], 1 / (2 * math.pi))
    for c in range(7):
        lines[r, c] = minus[c]
        lines[r, 7 + c] = plus[c]
    lines[r, 14], lines[r, 15], lines[r, 16], lines[r, 17] = mx * mx, my, px * px, py
    lines[r, 18], lines[r, 19] = step, unit[r]


@kernel
def sum_least_squares(
    item, lanes, row_ptr, pixel, side, first, length, start, lines, coverage, g_re, g_im, aperture,
    per_width, sums,
):  # fmt: skip
    """Add up the sums of least squares of one scan frequency; see `ssb_snr_sums`."""
    i, column = item // lanes, item % lanes
    edge, slope = np.float32(aperture), np.float32(per_width)
    num_re, num_im, weight = _ZERO, _ZERO, _ZERO
    for r in range(row_ptr[i], row_ptr[i + 1]):
        j = column - first[r]
        if j < 0 or j >= length[r]:
            continue
        t = np.float32(j) - _HALF * np.float32(length[r] - 1)
        c = np.float32(coverage[pixel[r]])
        gamma_re, gamma_im = _ZERO, _ZERO
        if side[r] != LEFT:
            f = covered(lines[r, 14], lines[r, 15] - t * lines[r, 18], edge, slope, c)
            x = lines[r, 3] + t * (lines[r, 4] + t * (lines[r, 5] + t * lines[r, 6]))
            cosine, sine = cos_sin(lines[r, 0] + t * (lines[r, 1] + t * (lines[r, 2] + t * x)))
            gamma_re += f * cosine
            gamma_im += f * sine
        if side[r] != RIGHT:
            f = covered(lines[r, 16], lines[r, 17] + t * lines[r, 18], edge, slope, c)
            x = lines[r, 10] + t * (lines[r, 11] + t * (lines[r, 12] + t * lines[r, 13]))
            cosine, sine = cos_sin(lines[r, 7] + t * (lines[r, 8] + t * (lines[r, 9] + t * x)))
            gamma_re -= f * cosine
            gamma_im -= f * sine
        if side[r] == TRIPLE:
            weight += (gamma_re * gamma_re + gamma_im * gamma_im) / c
        re, im = lines[r, 19] * g_re[start[r] + j], lines[r, 19] * g_im[start[r] + j]
        num_re += (re * gamma_re + im * gamma_im) / c
        num_im += (im * gamma_re - re * gamma_im) / c
    if column < sums.shape[2]:
        sums[0, i, column], sums[1, i, column] = num_re, num_im
        sums[2, i, column] += weight
