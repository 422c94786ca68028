"""Electrons from the clusters of hits that they leave on a Timepix3 chip.

Two hits belong together if they are near in place and time, or linked by others that are. A cluster
is one event, at the time of its first hit and the centroid of its hits weighted by their ToT.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from ..compiled import scalar_function
from ..device import kernel
from ..errors import ParameterError
from . import tpx3_packets as packets
from .options import ReaderOptions
from .tpx3_gather import gather
from .tpx3_hits import N_REASONS, STRIDE, Target, Work, place
from .tpx3_order import Keys

DEFAULT_TIME = 100e-9  # [s]
#: A cluster that goes on for so many times the time between its hits is no electron.
LONGEST = 1000
_LARGEST_RADIUS = 16  # [px]
_LARGEST_TIME = 1e-3  # [s]
_MOST_BITS = 4  # of position below a pixel

# what `settings` holds
_RADIUS, _WINDOW, _FACTOR = range(3)


class ClusterSorter:
    """Takes each cluster of hits for an event.

    Parameters
    ----------
    target : Target
    options : ReaderOptions

    Raises
    ------
    ParameterError
        If the size of clusters in space or time, or `superres`, makes no sense.
    """

    def __init__(self, target: Target, options: ReaderOptions) -> None:
        seconds = DEFAULT_TIME if options.cluster_time is None else float(options.cluster_time)
        if options.cluster_radius > _LARGEST_RADIUS or seconds > _LARGEST_TIME:
            raise ParameterError(
                f"cluster_radius={options.cluster_radius} px, cluster_time={seconds} s: no "
                f"electron is so large; at most {_LARGEST_RADIUS} px and {_LARGEST_TIME} s"
            )
        if options.superres > _MOST_BITS:
            raise ParameterError(f"superres is {options.superres}; at most {_MOST_BITS}")
        ticks = Fraction(repr(seconds)) * packets.TICKS_PER_SECOND
        self._window = int(ticks / packets.TICKS_PER_STEP)  # hits are in whole steps
        factor = 2**options.superres
        rows, columns = target.detector_shape
        self.detector_shape = rows * factor, columns * factor
        self.margins = self._window, (LONGEST + 1) * self._window + 1
        self._settings = np.array([options.cluster_radius, self._window, factor], np.int64)
        self._target = target
        self.facts: dict[str, Any] = {
            "events": "clusters of hits",
            "cluster_radius": (options.cluster_radius, "px"),
            "cluster_time": (seconds, "s"),
            "superres": options.superres,
        }

    def sort(self, work: Work) -> tuple[Keys, np.ndarray]:
        """Count electrons and give their keys, as `tpx3_hits.HitSorter.sort` does of hits.

        Raises
        ------
        ParameterError
            If a cluster has no end.
        """
        tables = self._target.tables(work.first)
        keys = Keys.with_room(work.room)
        tally = np.zeros((len(keys.sizes), N_REASONS + 1), np.int64)
        _sort_part.on_cpu(
            len(tally), *work.stream, *tables, self._settings, work.filled, *keys.table, tally
        )
        total = tally.sum(axis=0)
        if total[N_REASONS]:
            raise ParameterError(
                f"{total[N_REASONS]} clusters of hits go on for more than "
                f"{LONGEST * self._window * 1.5625e-9:.3g} s: electrons come too fast to be told "
                "apart; make cluster_time or cluster_radius smaller, or take each hit for an event"
            )
        return keys, total[:N_REASONS]


@kernel
def _sort_part(
    part, words, blocks, bounds, starts, stops, spans, places, chips, settings, filled,
    times, keys, begins, sizes, tally,
):  # fmt: skip
    """Put the electrons of bounds[part] <= t < bounds[part + 1] into their positions."""
    times, keys = times[begins[part] : begins[part + 1]], keys[begins[part] : begins[part + 1]]
    low, high, window = bounds[part], bounds[part + 1], settings[_WINDOW]
    span = low - window, high + (LONGEST + 1) * window + 1
    n_hits = gather(words, blocks, span, places[STRIDE], chips, times, keys)
    hits = _in_order(times[:n_hits], keys, places[STRIDE])
    shape = (places[STRIDE], places[STRIDE])
    parent = _linked(hits, shape, settings)
    sums = _summed(hits, parent)
    n_electrons = 0
    for k in range(n_hits):
        if parent[k] != k or hits[k, 0] < low or hits[k, 0] >= high:
            continue
        if sums[k, 3] > LONGEST * window:
            tally[part, N_REASONS] += 1
            continue
        times[n_electrons] = hits[k, 0]
        keys[n_electrons] = _centroid(sums[k], shape[1], settings[_FACTOR])
        n_electrons += 1
    scan = starts, stops, spans, places
    sizes[part] = place(times[:n_electrons], keys, *scan, filled, tally[part])


@scalar_function
def _in_order(times, marks, stride):
    """Return time, row, column and weight of hits in order of time, (n, 4) int64."""
    hits = np.empty((len(times), 4), np.int64)
    order = np.argsort(times)
    for k in range(len(times)):
        mark = np.int64(marks[order[k]])
        index = mark & 0xFFFFFFFF
        hits[k, 0], hits[k, 1], hits[k, 2] = times[order[k]], index // stride, index % stride
        hits[k, 3] = max(1, mark >> 32)
    return hits


@scalar_function
def _summed(hits, parent):
    """Return weight, weighted rows and columns, and duration of each cluster at its root."""
    sums = np.zeros((len(hits), 4), np.int64)
    for k in range(len(hits)):
        root = _root(parent, k)
        sums[root, 0] += hits[k, 3]
        sums[root, 1] += hits[k, 3] * hits[k, 1]
        sums[root, 2] += hits[k, 3] * hits[k, 2]
        sums[root, 3] = hits[k, 0] - hits[root, 0]
    return sums


@scalar_function
def _linked(hits, shape, settings):
    """Return a tree of hits in order of time whose roots are the first hits of the clusters."""
    parent = np.arange(len(hits))
    # of the hits of a pixel only the youngest matters: those before are linked to it, or too old
    youngest = np.full(shape, -1, np.int32)
    radius = settings[_RADIUS]
    for k in range(len(hits)):
        time, row, column = hits[k, 0], hits[k, 1], hits[k, 2]
        for y in range(max(0, row - radius), min(shape[0], row + radius + 1)):
            for x in range(max(0, column - radius), min(shape[1], column + radius + 1)):
                near = youngest[y, x]
                if near >= 0 and time - hits[near, 0] <= settings[_WINDOW]:
                    a, b = _root(parent, k), _root(parent, near)
                    parent[max(a, b)] = min(a, b)
        youngest[row, column] = k
    return parent


@scalar_function
def _root(parent, k):
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@scalar_function
def _centroid(sums, columns, factor):
    """Return the flat index of a centroid on pixels divided by `factor`; centres are at whole
    numbers.
    """
    row = (2 * sums[1] + sums[0]) * factor // (2 * sums[0])
    column = (2 * sums[2] + sums[0]) * factor // (2 * sums[0])
    return row * columns * factor + column
