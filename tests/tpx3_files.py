"""Small Timepix3 streams written packet by packet, and the slow obvious truth that belongs to them.

Hits have times in steps of 25/16 ns, clock edges in ticks of 25/96 ns.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np

from py4dstem_eer.readers import tpx3_index

TICK = Fraction(25, 96 * 10**9)  # [s]
ROLLOVER = 2**34  # of hits [steps]
EDGES = {"tdc1_rise": 0xF, "tdc1_fall": 0xA, "tdc2_rise": 0xE, "tdc2_fall": 0xB}


def hit(step, row, column, tot=10):
    """Return the packet of a hit on a chip."""
    coarse = -(-step // 16)  # FToA counts backwards from the next coarse tick
    fine = 16 * coarse - step
    toa, spidr = coarse % 2**14, coarse // 2**14 % 2**16
    double_column, superpixel = column // 2, row // 4
    address = double_column * 2**9 + superpixel * 2**3 + (column % 2) * 4 + row % 4
    return 0xB << 60 | address << 44 | toa << 30 | tot << 20 | fine << 16 | spidr


def edge(tick, mark, counter=0):
    coarse, fine = divmod(tick, 12)
    fields = (0x6 << 60, EDGES[mark] << 56, counter % 4096 << 44, coarse % 2**35 << 9)
    return sum(fields) + (fine + 1 << 5)


def heartbeat(step):
    """Return the two packets of the global time."""
    time = step // 16
    return [0x44 << 56 | time % 2**32 << 16, 0x45 << 56 | (time >> 32) << 16]


def shutter(step):
    return 0x5F << 56 | step // 16 << 12


def header(n_words, chip=0):
    return 8 * n_words << 48 | chip << 32 | 0x33585054


def stream(packets, longest=7):
    """Return bytes of (chip, word) pairs, in chunks of one chip and at most `longest` words."""
    words, start = [], 0
    while start < len(packets):
        stop = start
        while stop < min(len(packets), start + longest) and packets[stop][0] == packets[start][0]:
            stop += 1
        words += [header(stop - start, packets[start][0]), *(w for _, w in packets[start:stop])]
        start = stop
    return np.array(words, np.uint64).tobytes()


def shuffled(timed, lateness, rng):
    """Return (chip, word) pairs of (step, chip, word) that come up to `lateness` steps late."""
    arrival = [step + rng.integers(0, lateness + 1) for step, *_ in timed]
    return [timed[k][1:] for k in np.argsort(arrival, kind="stable")]


def on_detector(chip, row, column, n_chips):
    """Return the pixel of an assembled detector that a pixel of a chip is."""
    if n_chips == 1:
        return row, column
    return {
        0: (row, column + 256),
        1: (511 - row, 511 - column),
        2: (511 - row, 255 - column),
        3: (row, column),
    }[chip]


class Scan:
    """Lines of a scan and random hits in and around them.

    Parameters
    ----------
    shape : (int, int)
    chips : sequence of int
    dwell, flyback, start : int
        [ticks]
    per_line : float
        Mean number of hits from the start of a line to that of the next.
    jitter : int
        Lines start up to so much late, and last up to so much longer [ticks].
    """

    def __init__(self, shape, chips=(0,), dwell=960, flyback=2000, start=5000, per_line=30,
                 jitter=0, seed=0, side=256):  # fmt: skip
        rng = np.random.default_rng(seed)
        self.shape, self.chips, self.dwell = shape, chips, Fraction(dwell)
        period = shape[1] * dwell + flyback
        late, longer = rng.integers(0, jitter + 1, (2, shape[0])).tolist()
        self.starts = [start + k * period + late[k] for k in range(shape[0])]
        self.stops = [
            s + shape[1] * dwell + more for s, more in zip(self.starts, longer, strict=True)
        ]
        low, high = (start - flyback) // 6, (start + shape[0] * period) // 6
        n = int(shape[0] * per_line)
        drawn = (rng.integers(low, high, n), rng.choice(chips, n), *rng.integers(0, side, (2, n)))
        self.hits = list(zip(*(values.tolist() for values in drawn), strict=True))

    def marks(self, start="tdc1_rise", end="tdc1_fall"):
        """Return (step, chip, word) of the clock edges, which every chip notes."""
        edges = [(t, start) for t in self.starts] + [(t, end) for t in self.stops]
        return [(t // 6, chip, edge(t, mark)) for t, mark in sorted(edges) for chip in self.chips]

    def packets(self, marks=True):
        """Return (step, chip, word) of everything, in order of time."""
        hits = [(step, chip, hit(step, row, col)) for step, chip, row, col in self.hits]
        return sorted(hits + (self.marks() if marks else []))

    def position(self, step, dwell=None):
        """Return the scan position of a time, or None; without a dwell each line is divided."""
        for line, (start, stop) in enumerate(zip(self.starts, self.stops, strict=True)):
            if start <= 6 * step < stop:
                own = dwell or Fraction(stop - start, self.shape[1])
                column = int((6 * step - start) / own)
                return (line, column) if column < self.shape[1] else None
        return None

    def truth(self, dwell=None):
        """Return Counter{(scan row, column, detector row, column): hits}."""
        found = Counter()
        for step, chip, row, column in self.hits:
            place = self.position(step, dwell)
            if place is not None:
                found[(*place, *on_detector(chip, row, column, len(self.chips)))] += 1
        return found


def as_counter(store):
    """Return the events of a store as `Scan.truth` does."""
    store = store.load()
    found = Counter()
    for p in range(store.n_patterns):
        for e in range(store.indptr[p], store.indptr[p + 1]):
            place = (*divmod(p, store.scan_shape[1]),
                     *divmod(int(store.indices[e]), store.detector_shape[1]))  # fmt: skip
            found[place] += 1 if store.counts is None else int(store.counts[e])
    return found


def clustered(hits, radius, window):
    """Return (step, (row, column) as fractions) of the electrons of (step, row, column, tot)."""
    group = list(range(len(hits)))
    for a in range(len(hits)):
        for b in range(a):
            (t, y, x, _), (u, v, w, _) = hits[a], hits[b]
            if abs(t - u) <= window and abs(y - v) <= radius and abs(x - w) <= radius:
                old, new = group[a], group[b]
                group = [new if g == old else g for g in group]
    electrons = []
    for g in sorted(set(group)):
        members = [hits[k] for k in range(len(hits)) if group[k] == g]
        weight = sum(tot for *_, tot in members)
        row = Fraction(sum(y * tot for _, y, _, tot in members), weight)
        column = Fraction(sum(x * tot for _, _, x, tot in members), weight)
        electrons.append((min(t for t, *_ in members), row, column))
    return electrons


def words_read(monkeypatch):
    """Return a list to which every read of a file adds the number of its words."""
    read = []
    original = tpx3_index.Words.read
    monkeypatch.setattr(
        tpx3_index.Words,
        "read",
        lambda self, pieces: read.append(sum(n for _, n in pieces)) or original(self, pieces),
    )
    return read
