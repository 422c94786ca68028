"""Electrons from the clusters of hits that they leave on a Timepix3 chip.

Two hits belong together if they are near in place and time, or linked by others that are. A cluster
is one event, at the time of its first hit and the centroid of its hits weighted by their ToT.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from ..device import kernel, scalar_function
from ..errors import ParameterError
from . import tpx3_packets as packets
from .options import ReaderOptions
from .tpx3_hits import N_REASONS, STRIDE, Target, Work, find_line, locate, steps, time_in_block
from .tpx3_time import B_AT, B_CHIP, B_FIRST, B_LAST, B_LEFT, B_WORDS

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
        window = self._window * packets.TICKS_PER_STEP
        self.margins = window, (LONGEST + 1) * window + packets.TICKS_PER_STEP
        self._settings = np.array([options.cluster_radius, self._window, factor], np.int64)
        self._target = target
        self.facts: dict[str, Any] = {
            "events": "clusters of hits",
            "cluster_radius": (options.cluster_radius, "px"),
            "cluster_time": (seconds, "s"),
            "superres": options.superres,
        }

    def sort(self, work: Work) -> np.ndarray:
        """Count electrons and sort them in, as `tpx3_hits.HitSorter.sort` does hits.

        Raises
        ------
        ParameterError
            If a cluster has no end.
        """
        tally = np.zeros((len(work.bounds) - 1, N_REASONS + 1), np.int64)
        tables = self._target.tables(work.first)
        _sort_part.on_cpu(len(tally), *work.stream, *tables, self._settings, *work.events, tally)
        total = tally.sum(axis=0)
        if total[N_REASONS]:
            raise ParameterError(
                f"{total[N_REASONS]} clusters of hits go on for more than "
                f"{LONGEST * self._window * 1.5625e-9:.3g} s: electrons come too fast to be told "
                "apart; make cluster_time or cluster_radius smaller, or take each hit for an event"
            )
        return total[:N_REASONS]


@kernel
def _sort_part(
    part, words, blocks, bounds, starts, stops, spans, places, chips, settings,
    filled, indptr, out, tally
):  # fmt: skip
    """Put the electrons of bounds[part] <= t < bounds[part + 1] into their positions."""
    low, high, window = steps(bounds[part]), steps(bounds[part + 1]), settings[_WINDOW]
    span = (low - window, high + (LONGEST + 1) * window + 1)
    n_hits = _gather(words, blocks, span, chips, places, np.empty((0, 4), np.int64))
    hits = np.empty((n_hits, 4), np.int64)
    _gather(words, blocks, span, chips, places, hits)
    hits = hits[np.argsort(hits[:, 0])]
    shape = (places[STRIDE], places[STRIDE])
    parent = _linked(hits, shape, settings)
    sums = np.zeros((n_hits, 4), np.int64)
    for k in range(n_hits):
        root = _root(parent, k)
        sums[root, 0] += hits[k, 3]
        sums[root, 1] += hits[k, 3] * hits[k, 1]
        sums[root, 2] += hits[k, 3] * hits[k, 2]
        sums[root, 3] = hits[k, 0] - hits[root, 0]
    line = np.int64(0)
    for k in range(n_hits):
        time = hits[k, 0]
        if parent[k] != k or time < low or time >= high:
            continue
        if sums[k, 3] > LONGEST * window:
            tally[part, N_REASONS] += 1
            continue
        ticks = time * packets.TICKS_PER_STEP
        line = find_line(ticks, line, starts)
        position, reason, _, _ = locate(ticks, line, starts, stops, spans, places)
        if position < 0 or position >= len(filled):
            tally[part, reason] += 1
            continue
        if out is not None:
            entry = indptr[position] + filled[position]
            if entry < indptr[position + 1]:
                out[entry] = _centroid(sums[k], shape[1], settings[_FACTOR])
        filled[position] += 1


@scalar_function
def _gather(words, blocks, span, chips, places, hits):
    """Write time, row, column and weight of the hits in a span of time; return their number."""
    n_hits = 0
    for b in range(len(blocks)):
        first = blocks[b, B_FIRST]
        if blocks[b, B_LAST] < span[0] or first >= span[1]:
            continue
        at, stop = blocks[b, B_AT], blocks[b, B_AT] + blocks[b, B_WORDS]
        left, chip = blocks[b, B_LEFT], blocks[b, B_CHIP]
        while at < stop:
            if left == 0:
                left, chip = packets.chunk_words(words[at]), packets.chunk_chip(words[at])
                at += 1
                continue
            end = min(stop, at + left)
            for word in words[at:end] if chip < packets.MOST_CHIPS else words[:0]:
                time = time_in_block(word, first)
                if packets.kind(word) == packets.HIT and span[0] <= time < span[1]:
                    if n_hits < len(hits):
                        _write_hit(hits[n_hits], word, time, chips[chip], places[STRIDE])
                    n_hits += 1
            left -= end - at
            at = end
    return n_hits


@scalar_function
def _write_hit(hit, word, time, chip, stride):
    row, column = packets.hit_pixel(word)
    index = chip[1] + chip[0] * (row * stride + column)
    hit[0], hit[1], hit[2] = time, index // stride, index % stride
    hit[3] = max(1, packets.hit_charge(word))


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
