"""Sums of squared curl and divergence of a field over tiles of the scan, in one pass."""

from __future__ import annotations

import numpy as np

from ..device import get_device, kernel
from ..errors import ParameterError

# The sums are taken in tiles: many, to measure how they scatter, and longer than the reach of noise
# through the differences, two positions.
_TILES_PER_AXIS = 16
_SMALLEST_TILE = 3
_N_SUMS = 6


@kernel
def _tile_sums(tile, com, edges_x, edges_y, step_x, step_y, sums):
    n_columns = len(edges_y) - 1
    row, column = tile // n_columns, tile % n_columns
    for i in range(edges_x[row], edges_x[row + 1]):
        for j in range(edges_y[column], edges_y[column + 1]):
            xx = (com[0, i + 1, j] - com[0, i - 1, j]) / step_x
            xy = (com[0, i, j + 1] - com[0, i, j - 1]) / step_y
            yx = (com[1, i + 1, j] - com[1, i - 1, j]) / step_x
            yy = (com[1, i, j + 1] - com[1, i, j - 1]) / step_y
            curl, div = yx - xy, xx + yy
            sums[tile, 0] += curl * curl
            sums[tile, 1] += div * div
            sums[tile, 2] += curl * div
            # of the transposed field, where x and y change their names
            curl, div = xx - yy, yx + xy
            sums[tile, 3] += curl * curl
            sums[tile, 4] += div * div
            sums[tile, 5] += curl * div


def curl_sums(com: np.ndarray, step: tuple[float, float], device: str) -> np.ndarray:
    """Return Σk², Σd² and Σkd of curl k and divergence d, and of the transposed field's, per tile.

    Parameters
    ----------
    com : (2, Rx, Ry)
        Field [any unit], finite.
    step : (float, float)
        Scan step along (row, column) [any unit].
    device : {"cpu", "gpu"}

    Returns
    -------
    sums : (6, tiles) float64
        By central differences at the inner positions.

    Raises
    ------
    ParameterError
        If the field is not finite, or the scan smaller than 3 × 3 positions.
    """
    com = _parse_field(com)
    where = get_device(device)
    edges = [_tile_edges(n) for n in com.shape[1:]]
    n_tiles = (len(edges[0]) - 1) * (len(edges[1]) - 1)
    sums = where.xp.zeros((n_tiles, _N_SUMS))
    arrays = (where.asarray(com), where.asarray(edges[0]), where.asarray(edges[1]))
    _tile_sums.launch(where, n_tiles, *arrays, float(step[0]), float(step[1]), sums)
    return where.asnumpy(sums).T


def _parse_field(com: np.ndarray) -> np.ndarray:
    com = np.ascontiguousarray(com, np.float64)
    if com.ndim != 3 or com.shape[0] != 2 or min(com.shape[1:]) < 3:
        raise ParameterError(
            f"a field of shape {com.shape} has no curl; give force_com_rotation and "
            "force_com_transpose for scans smaller than 3 × 3 positions"
        )
    if not np.isfinite(com).all():
        raise ParameterError("the centre of mass is not finite everywhere; fill it first")
    return com


def _tile_edges(n: int) -> np.ndarray:
    """Split the inner positions 1 … n − 2 of an axis."""
    n_tiles = min(_TILES_PER_AXIS, max(1, (n - 2) // _SMALLEST_TILE))
    return np.linspace(1, n - 1, n_tiles + 1).round().astype(np.int64)
