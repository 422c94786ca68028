"""The sums of single-sideband ptychography: entries of G freed of their aberrations, added up.

The inner loop of `add_double_overlaps` is what a turn of an aberration knob waits for. Along a run,
χ is a polynomial of one variable, so an entry costs a Horner rule of degree 6, one sine and cosine
from short polynomials, and a complex multiplication: plain arithmetic that compiles to vectors.
"""

from __future__ import annotations

import math

import numpy as np

from ..compiled import scalar_function
from ..device import kernel
from ..optics import chi

#: Triple-overlap entries with a smaller |γ| carry no phase; py4DSTEM's threshold.
GAMMA_THRESHOLD = 1e-3

# adding and subtracting 3·2²² rounds a float32 to the nearest integer
_ROUND = np.float32(12582912.0)
_ONE, _TWO = np.float32(1), np.float32(2)
# sin πx and cos πx for |x| ≤ 1/2, least squares at Chebyshev points, errors 3e-11 and 2e-10
_S0, _S1, _S2, _S3, _S4, _S5 = np.array(
    [3.1415926535, -5.1677127646, 2.5501633189, -0.5992521978, 0.0820504018, -0.0070283864],
    np.float32,
)
_C0, _C1, _C2, _C3, _C4, _C5 = np.array(
    [0.9999999998, -4.9348021371, 4.0587091596, -1.3352120031, 0.2349373138, -0.0243963243],
    np.float32,
)


@scalar_function
def _along_row(table, wx, power):
    """Return the coefficient of wy^power of χ(wx, wy) for one wx."""
    value = 0.0
    for step in range(7):
        a = 6 - step
        if a <= 6 - power:
            value = value * wx + table[a, power]
    return value


@scalar_function
def line(table, wx, wy, step, chi_k, scale):
    """Return scale·(χ(wx, wy + t·step) − χ_k) as float32 coefficients of t, constant first.

    With a scale of ±1/2π these are turns, of which the constant needs its fraction only.
    """
    b0, b1, b2 = _along_row(table, wx, 0), _along_row(table, wx, 1), _along_row(table, wx, 2)
    b3, b4, b5 = _along_row(table, wx, 3), _along_row(table, wx, 4), _along_row(table, wx, 5)
    b6 = _along_row(table, wx, 6)
    # Taylor's expansion around wy: derivatives over factorials
    a0 = b0 + wy * (b1 + wy * (b2 + wy * (b3 + wy * (b4 + wy * (b5 + wy * b6)))))
    a1 = b1 + wy * (2 * b2 + wy * (3 * b3 + wy * (4 * b4 + wy * (5 * b5 + wy * 6 * b6))))
    a2 = b2 + wy * (3 * b3 + wy * (6 * b4 + wy * (10 * b5 + wy * 15 * b6)))
    a3 = b3 + wy * (4 * b4 + wy * (10 * b5 + wy * 20 * b6))
    a4 = b4 + wy * (5 * b5 + wy * 15 * b6)
    a5 = b5 + wy * 6 * b6
    s2 = step * step
    s4 = s2 * s2
    turns = scale * (a0 - chi_k)
    return (
        np.float32(turns - math.floor(turns)),
        np.float32(scale * a1 * step),
        np.float32(scale * a2 * s2),
        np.float32(scale * a3 * s2 * step),
        np.float32(scale * a4 * s4),
        np.float32(scale * a5 * s4 * step),
        np.float32(scale * b6 * s4 * s2),
    )


@scalar_function
def cos_sin(turns):
    """Return cos and sin of 2π·turns for a float32, from the half angle."""
    x = turns - ((turns + _ROUND) - _ROUND)
    y = x * x
    s = x * (_S0 + y * (_S1 + y * (_S2 + y * (_S3 + y * (_S4 + y * _S5)))))
    c = _C0 + y * (_C1 + y * (_C2 + y * (_C3 + y * (_C4 + y * _C5))))
    return _ONE - _TWO * s * s, _TWO * s * c


@kernel
def evaluate_chi(p, kx, ky, table, values):
    """Evaluate χ [rad] at one detector pixel."""
    values[p] = chi(kx[p], ky[p], table)


# "reassoc" would cancel the rounding by addition and subtraction
@kernel(fastmath={"contract", "nsz"})
def add_double_overlaps(
    i, row_ptr, pixel, side, first, length, start, g_re, g_im, unit, kx, ky, chi_k, table,
    row_wx, column_wy, n_scan_rows, n_regular, sum_re, sum_im,
):  # fmt: skip
    """Add up the right (0) and left (1) overlaps of one row of scan frequencies.

    Right of Q: γ = A*(k) A(k − Q), the entry is turned by χ(k − Q) − χ(k); left of Q:
    γ = −A(k) A*(k + Q), it is turned by χ(k) − χ(k + Q) and changes its sign.
    """
    direction = -1.0 if i == n_scan_rows else 1.0
    for r in range(row_ptr[i], row_ptr[i + 1]):
        which = side[r]
        if which > 1:
            continue
        p, column, n = pixel[r], first[r], length[r]
        sign = 1.0 if which == 1 else -1.0
        # the highest frequency of an even number of columns stands alone, and counts as negative
        step = direction * column_wy[1] if n_regular > 1 else 0.0
        begin = direction * column_wy[column]
        half = 0.5 * (n - 1)
        wx, wy = kx[p] + sign * row_wx[i], ky[p] + sign * (begin + half * step)
        scale = -sign / (2 * math.pi)
        c0, c1, c2, c3, c4, c5, c6 = line(table, wx, wy, sign * step, chi_k[p], scale)
        weight = np.float32(-sign) * unit[r]
        middle = np.float32(half)
        # views whose indices are plainly not negative let the loop become vectors
        run_re, run_im = g_re[start[r] : start[r] + n], g_im[start[r] : start[r] + n]
        out_re = sum_re[which, i, column : column + n]
        out_im = sum_im[which, i, column : column + n]
        for j in range(n):
            t = np.float32(j) - middle
            x = c0 + t * (c1 + t * (c2 + t * (c3 + t * (c4 + t * (c5 + t * c6)))))
            cosine, sine = cos_sin(x)
            re, im = np.float32(run_re[j]), np.float32(run_im[j])
            out_re[j] += weight * (re * cosine - im * sine)
            out_im[j] += weight * (re * sine + im * cosine)


@scalar_function
def triple_turn(kx, ky, chi_k, qx, qy, table):
    """Return γ*/|γ| of an entry where three disks overlap, or zero where γ is.

    With a = χ(k) − χ(k − Q) and b = χ(k + Q) − χ(k): γ = e^ia − e^ib
    = 2i sin((a − b)/2) e^i(a + b)/2.
    """
    a = chi_k - chi(kx - qx, ky - qy, table)
    b = chi(kx + qx, ky + qy, table) - chi_k
    sine = math.sin((a - b) / 2)
    if 2 * abs(sine) <= GAMMA_THRESHOLD:
        return 0.0, 0.0
    sign = 1.0 if sine > 0 else -1.0
    return -sign * math.sin((a + b) / 2), -sign * math.cos((a + b) / 2)


@kernel
def add_triple_overlaps(
    i, row_ptr, pixel, side, first, length, start, g_re, g_im, unit, kx, ky, chi_k, table,
    row_wx, column_wy, n_scan_rows, n_regular, sum_re, sum_im,
):  # fmt: skip
    """Add up the triple overlaps of one row of scan frequencies."""
    direction = -1.0 if i == n_scan_rows else 1.0
    for r in range(row_ptr[i], row_ptr[i + 1]):
        if side[r] != 2:
            continue
        p = pixel[r]
        for j in range(length[r]):
            column = first[r] + j
            qy = direction * column_wy[column]
            turn_re, turn_im = triple_turn(kx[p], ky[p], chi_k[p], row_wx[i], qy, table)
            re, im = unit[r] * g_re[start[r] + j], unit[r] * g_im[start[r] + j]
            sum_re[2, i, column] += re * turn_re - im * turn_im
            sum_im[2, i, column] += re * turn_im + im * turn_re


@kernel
def place_spectrum(
    item, lanes, n_regular, sum_re, sum_im, weight_right, weight_left, total, spectrum
):
    """Place the sums in one row of the full plane of scan frequencies; `lanes` items share it.

    γ(k, −Q) = −γ*(k, Q), and the double overlaps swap sides: the value at −Q is minus the conjugate
    of the other side's value at Q.
    """
    row, lane = item // lanes, item % lanes
    n_rows, n_columns = spectrum.shape
    for column in range(lane, n_columns, lanes):
        mirrored = column > n_columns // 2
        source = n_columns - column if mirrored else column
        i, negative = row, False
        if mirrored:
            negative = 2 * row != n_rows
            i = (n_rows - row) % n_rows if negative else n_rows
        right = weight_left if negative else weight_right
        left = weight_right if negative else weight_left
        re = right * sum_re[0, i, source] + left * sum_re[1, i, source] + sum_re[2, i, source]
        im = right * sum_im[0, i, source] + left * sum_im[1, i, source] + sum_im[2, i, source]
        if row == 0 and column == 0:
            re, im = total, total * 0
        spectrum[row, column] = complex(-re if negative else re, im)


@kernel
def finish_object(item, lanes, image, scale):
    """Scale a row of the object and invert its amplitude, a → 2 − a, as py4DSTEM does.

    `lanes` items share a row.
    """
    row, lane = item // lanes, item % lanes
    for column in range(lane, image.shape[1], lanes):
        re, im = image[row, column].real * scale, image[row, column].imag * scale
        amplitude = math.sqrt(re * re + im * im)
        if amplitude > 0:
            factor = (2 - amplitude) / amplitude
            image[row, column] = complex(re * factor, im * factor)
        else:
            image[row, column] = 2
