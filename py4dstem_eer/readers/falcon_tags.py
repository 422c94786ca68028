"""What the tables of BigTIFF pages say: a few tags of one number, and where the data are."""

from __future__ import annotations

import numpy as np

from ..compiled import scalar_function

WIDTH, HEIGHT, COMPRESSION = 256, 257, 259
SKIP_BITS, HORIZONTAL_BITS, VERTICAL_BITS = 65007, 65008, 65009
#: Tags of one number that are kept of every page, in the columns of `Pages.numbers`.
NUMBERS = (WIDTH, HEIGHT, COMPRESSION, SKIP_BITS, HORIZONTAL_BITS, VERTICAL_BITS)
#: Compression of the three versions of the event representation.
EVENT_COMPRESSIONS = (65000, 65001, 65002)
#: An entry of a table; these follow the number of them, 8 bytes.
ENTRY = np.dtype([("tag", "<u2"), ("kind", "<u2"), ("count", "<u8"), ("value", "<u8")])
#: Of the kinds of values [bytes]: BYTE, ASCII, SHORT, LONG, UNDEFINED, LONG8.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 16: 8}

_STRIP_OFFSETS, _STRIP_BYTES = 273, 279
_WANTED = np.array([*NUMBERS, _STRIP_OFFSETS, _STRIP_BYTES])
_N_NUMBERS = len(NUMBERS)
_WIDTHS = np.array([SIZES.get(kind, 0) for kind in range(max(SIZES) + 1)])
_ENTRY_BYTES = ENTRY.itemsize


def entries_of(buffer: np.ndarray, place: int) -> np.ndarray:
    """Return a copy of the entries (n,) `ENTRY` of the table at a place of a buffer of bytes."""
    n_tags = int(buffer[place : place + 8].view("<u8")[0])
    return buffer[place + 8 : place + 8 + n_tags * ENTRY.itemsize].copy().view(ENTRY)


def find_entry(entries: np.ndarray, tag: int) -> np.void | None:
    """Return the first entry of a tag, or None if there is none."""
    hits = np.flatnonzero(entries["tag"] == tag)
    return entries[hits[0]] if len(hits) else None


def number_of(entry: np.void) -> int:
    """Return the single number that an entry holds, -1 if it is no whole number."""
    width = SIZES.get(int(entry["kind"]), 0)
    return int(entry["value"]) % 256**width if width else -1


def parse_tables(
    buffer: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what tables say.

    Parameters
    ----------
    buffer : (bytes,) uint8
    places : (n,) int64
        Where tables are that lie whole in the buffer.

    Returns
    -------
    numbers : (n, 6) int64
        Values of the tags `NUMBERS`; -1 where a page has no such tag of one number.
    located : (n, 2, 3) uint64
        Kind, count and value of the first entry with the offsets of strips, and of that with their
        sizes; zeros where there is none.
    inline : (n, 2) int64
        The values of these entries as single numbers; -1 if they are no whole numbers, and other
        numbers below 0 if they are too large for an int64.
    """
    numbers = np.full((len(places), _N_NUMBERS), -1, np.int64)
    located = np.zeros((len(places), 2, 3), np.int64)
    inline = np.full((len(places), 2), -1, np.int64)
    _parse(buffer, places, numbers, located, inline)
    return numbers, located.view(np.uint64), inline


@scalar_function
def load_word(buffer, at):
    """Return the little-endian integer of 8 bytes; negative if it does not fit an int64."""
    word = np.int64(0)
    for k in range(8):
        word |= np.int64(buffer[np.uint64(at + k)]) << (8 * k)
    return word


@scalar_function
def _load_short(buffer, at):
    return np.int64(buffer[at]) | np.int64(buffer[at + 1]) << 8


@scalar_function
def _number(kind, value):
    width = _WIDTHS[kind] if kind < len(_WIDTHS) else 0
    if width == 0:
        return np.int64(-1)
    return value if width == 8 else value & ((np.int64(1) << (8 * width)) - 1)


@scalar_function
def _column(tag):
    """Return which of the wanted tags one is, or -1."""
    for k in range(len(_WANTED)):
        if _WANTED[k] == tag:
            return k
    return -1


@scalar_function
def _parse(buffer, places, numbers, located, inline):
    for page in range(len(places)):
        found = 0
        for e in range(load_word(buffer, places[page])):
            at = places[page] + 8 + _ENTRY_BYTES * e
            column = _column(_load_short(buffer, at))
            if column < 0 or found >> column & 1:  # the first of a tag counts
                continue
            found |= 1 << column
            kind, count = _load_short(buffer, at + 2), load_word(buffer, at + 4)
            value = load_word(buffer, at + 12)
            if column >= _N_NUMBERS:
                strips = column - _N_NUMBERS
                located[page, strips, 0] = kind
                located[page, strips, 1] = count
                located[page, strips, 2] = value
                inline[page, strips] = _number(kind, value)
            elif count == 1:
                numbers[page, column] = _number(kind, value)
