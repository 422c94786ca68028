"""Centre of mass of every diffraction pattern, in one pass over the events."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from ..compiled import scalar_function
from ..device import Device, get_device, kernel
from ..errors import EventError, ParameterError
from ..events import EventStore
from ..progress import track
from .blocks import filling, has_small_counts, lists_on
from .reductions import check_mask

#: Every pixel counts once.
NO_MASK = np.zeros(0, np.float64)


@scalar_function
def row_of(index, multiplier, shift):
    """Return index // Qy."""
    # A hardware division for every event takes longer than reading it; see `row_divider`.
    return (np.uint64(index) * multiplier) >> shift


@kernel
def _moments(
    p, indptr, indices, counts, columns, multiplier, shift, weights, row_sums, column_sums
):
    """Add up whole numbers, where counts are bytes."""
    rows = np.uint64(0)
    total = np.uint64(0)
    own = indices[indptr[p] : indptr[p + 1]]  # views, see `event_lists`
    electrons = np.uint64(len(own))
    if len(counts) > 0:
        own_counts = counts[indptr[p] : indptr[p + 1]]
        electrons = np.uint64(0)
        for k in range(len(own_counts)):
            count = np.uint64(own_counts[k])
            electrons += count
            # known to have 32 bits, it is multiplied in vectors
            rows += np.uint64(np.uint32(row_of(own[k], multiplier, shift))) * count
            total += np.uint64(own[k]) * count
    else:
        for k in range(len(own)):
            rows += row_of(own[k], multiplier, shift)
            total += np.uint64(own[k])
    weights[p] = electrons
    row_sums[p] = rows
    column_sums[p] = float(total) - columns * float(rows)


@kernel(fastmath={"reassoc"})
def _weighted_moments(
    p, indptr, indices, counts, mask, columns, multiplier, shift, weights, row_sums, column_sums
):
    total = 0.0
    rows = 0.0
    cols = 0.0
    first = indptr[p]
    own = indices[first : indptr[p + 1]]
    for k in range(len(own)):
        weight = float(counts[first + k]) if len(counts) > 0 else 1.0
        if len(mask) > 0:
            weight *= mask[own[k]]
        row = float(np.int32(row_of(own[k], multiplier, shift)))
        total += weight
        rows += weight * row
        cols += weight * (float(own[k]) - columns * row)
    weights[p] = total
    row_sums[p] = rows
    column_sums[p] = cols


def centre_of_mass(
    events: EventStore, mask: np.ndarray | None = None, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Return the centre of mass of every diffraction pattern.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    mask : (Qx, Qy) bool or real, optional
        Weight of every detector pixel, not negative.
    device : {"cpu", "gpu"}

    Returns
    -------
    com : (2, Rx, Ry) float64
        Position (row, column) [detector px, pixel centres at integers]; NaN where nothing was
        counted.
    weight : (Rx, Ry) float64
        Electrons, times the mask, that each position rests on.

    Raises
    ------
    ParameterError
        If the mask has another shape than the detector, or is not a weight everywhere.

    References
    ----------
    .. [1] Pelz et al., IEEE Signal Process. Mag. 39, 25 (2022), Eq. 4.
    """
    where = get_device(device)
    weights = where.asarray(NO_MASK if mask is None else parse_mask(mask, events.detector_shape))
    moments = np.empty((3, *events.scan_shape))
    for first, block in track(events.blocks(), "Centre of mass"):
        fill_moments(moments, first, block, weights, where)
    return from_moments(moments)


def centre_of_mass_dense(
    data: Any, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the centre of mass of dense patterns, one scan row in memory at a time.

    Parameters
    ----------
    data : (Rx, Ry, Qx, Qy) array-like
    mask : (Qx, Qy) bool or real, optional

    Returns
    -------
    com, weight
        As `centre_of_mass`.

    Raises
    ------
    ParameterError
        If the data hold a value that is not finite, or the mask does not fit.
    """
    detector = (data.shape[2], data.shape[3])
    weights = np.ones(detector) if mask is None else parse_mask(mask, detector).reshape(detector)
    rows, columns = np.indices(detector, dtype=np.float64)
    operators = np.stack([weights, weights * rows, weights * columns]).reshape(3, -1)
    moments = np.empty((3, *data.shape[:2]))
    for rx in track(range(data.shape[0]), "Centre of mass"):
        moments[:, rx] = operators @ np.asarray(data[rx], np.float64).reshape(data.shape[1], -1).T
    if not np.isfinite(moments).all():
        position = tuple(int(i) for i in np.argwhere(~np.isfinite(moments).all(axis=0))[0])
        raise ParameterError(f"the pattern at scan position {position} holds NaN or infinity")
    return from_moments(moments)


def fill_empty(com: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the field with empty positions interpolated from what was measured around them.

    An empty position gets the centre of mass of all electrons in the 3 × 3 positions around it;
    where these are empty too, positions are pooled 2 × 2 and the rule is applied again. So every
    gap is filled from the smallest neighbourhood that was measured, pooled counts keep noisy
    positions from spreading, and the cost stays O(positions) however large the gap is.

    Parameters
    ----------
    com : (2, Rx, Ry)
        Field; ignored where `weight` is 0.
    weight : (Rx, Ry)
        Electrons behind each position.

    Returns
    -------
    com : (2, Rx, Ry) float64
        Finite everywhere.
    n_filled : int
        Number of positions that were interpolated.

    Raises
    ------
    EventError
        If every position is empty.
    """
    empty = ~(weight > 0)
    check_measured(weight)
    n_filled = int(np.count_nonzero(empty))
    if n_filled == 0:
        return np.array(com, np.float64), 0
    weight = np.where(empty, 0.0, weight)
    sums = np.where(empty, 0.0, com) * weight
    return np.where(empty, _neighbourhood_mean(np.stack([*sums, weight])), com), n_filled


def check_measured(weight: np.ndarray) -> None:
    """Raise an EventError if every position is empty, see `fill_empty`."""
    if not (weight > 0).any():
        raise EventError(
            f"all {weight.size} patterns are empty: there is no centre of mass; check the mask and "
            "the file"
        )


def parse_mask(mask: np.ndarray, detector_shape: tuple[int, int]) -> np.ndarray:
    """Return a detector mask as flat weights: bytes of booleans, which stay cached, or float64.

    Raises
    ------
    ParameterError
        If its shape is wrong, or a value is complex, negative, NaN or infinite.
    """
    check_mask(mask, detector_shape)
    mask = np.asarray(mask)
    if mask.dtype.kind not in "biuf" or not np.isfinite(mask).all() or (mask < 0).any():
        raise ParameterError(
            f"the mask ({mask.dtype}) must hold finite weights that are not negative, or booleans"
        )
    return mask.astype(np.uint8 if mask.dtype == np.bool_ else np.float64).ravel()


def fill_moments(
    moments: np.ndarray, first: int, block: EventStore, mask: Any, where: Device
) -> None:
    """Put Σ weight, Σ weight·row, Σ weight·column of a block's patterns into (3, Rx, Ry).

    Parameters
    ----------
    moments : (3, Rx, Ry) float64
    first : int
        Scan row that the block starts at.
    block : EventStore
    mask : (Qx * Qy,) or `NO_MASK`
        Weight of every detector pixel, on the device.
    where : Device
    """
    indptr, indices, counts = lists_on(block, where)
    detector = (float(block.detector_shape[1]), *row_divider(block.detector_shape))
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(filling(m, first, block, where)) for m in moments]
        lists = (indptr, indices, counts)
        if has_small_counts(block) and len(mask) == 0:
            _moments.launch(where, block.n_patterns, *lists, *detector, *parts)
        else:
            _weighted_moments.launch(where, block.n_patterns, *lists, mask, *detector, *parts)


def row_divider(detector_shape: tuple[int, int]) -> tuple[np.uint64, np.uint64]:
    """Return (multiplier, shift) such that index // Qy = (index · multiplier) >> shift, exactly.

    With multiplier = ⌊2ˢ / Qy⌋ + 1 the quotient is exact while index · Qy < 2ˢ, and the product
    stays below 2⁶⁴ if Qx · 2ˢ < 2⁶³ (Granlund & Montgomery, PLDI 1994).
    """
    rows, columns = detector_shape
    shift = 63 - rows.bit_length()
    if rows * columns**2 >= 2**shift:
        raise ParameterError(f"a detector of {rows} × {columns} pixels is too large")
    return np.uint64(2**shift // max(columns, 1) + 1), np.uint64(shift)


def from_moments(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn Σ w, Σ w·row, Σ w·column, (3, Rx, Ry), into the centre of mass and Σ w, in place.

    It is NaN where nothing was counted.
    """
    weight, com = moments[0], moments[1:]
    counted = weight > 0
    np.divide(com, weight, out=com, where=counted)
    com[:, ~counted] = np.nan
    return com, weight


def _neighbourhood_mean(sums: np.ndarray) -> np.ndarray:
    """Return the weighted mean around every position from (Σ w·x, Σ w·y, Σ w) per position."""
    around = _sum_of_neighbours(sums)
    missing = ~(around[2] > 0)
    around[2][missing] = 1.0  # any number: these are replaced below
    mean = around[:2] / around[2]
    if missing.any():
        coarse = _neighbourhood_mean(_pooled(sums)).repeat(2, axis=1).repeat(2, axis=2)
        mean = np.where(missing, coarse[:, : sums.shape[1], : sums.shape[2]], mean)
    return mean


def _sum_of_neighbours(sums: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        padded = np.pad(sums, [(int(a == axis), int(a == axis)) for a in range(3)])
        n = sums.shape[axis]
        sums = np.add.reduce([padded.take(range(s, s + n), axis) for s in range(3)])
    return sums


def _pooled(sums: np.ndarray) -> np.ndarray:
    odd_rows, odd_columns = sums.shape[1] % 2, sums.shape[2] % 2
    padded = np.pad(sums, [(0, 0), (0, odd_rows), (0, odd_columns)])
    shape = (3, padded.shape[1] // 2, 2, padded.shape[2] // 2, 2)
    return padded.reshape(shape).sum(axis=(2, 4))
