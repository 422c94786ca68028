"""How the pixels of a Merlin frame lie in its bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..detector import Shape2D
from ..errors import CorruptFileError, FormatError
from .merlin_header import FrameHeader

WORD_BYTES = 8
#: Bits of a pixel in the second of two planes.
LOW_PLANE_BITS = 12
_MOST_PIXELS = 2**31 - 1
_NUMBER_BITS = {"U08": 8, "U16": 16, "U32": 32}
#: Bits that a pixel takes in raw frames, by the depth of the counters.
_RAW_BITS = {1: 1, 6: 8, 12: 16, 24: 16}


@dataclass(frozen=True, eq=False)
class Encoding:
    """The way from bytes to pixels, in big-endian words of 64 bits.

    Attributes
    ----------
    detector_shape : (int, int)
    bits : int
        Bits of a pixel in a word: 1, 8, 16 or 32.
    plane_bytes : int
        Bytes in which every pixel occurs once.
    n_planes : int
        Two if the lower 12 bits of every pixel follow behind the higher 12 bits of all.
    segments : (n, 3) int64
        Runs of pixels in the order of the detector, each of the same length: where its first word
        begins [bytes], how far it is to the next word [bytes], and whether the first pixel of a
        word is in its highest bits (1) or its lowest (0).
    """

    detector_shape: Shape2D
    bits: int
    plane_bytes: int
    n_planes: int
    segments: np.ndarray

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame without its header."""
        return self.n_planes * self.plane_bytes

    @property
    def largest_count(self) -> int:
        """Largest number that a pixel can hold, whatever its depth is said to be."""
        return (2**self.bits - 1) << (LOW_PLANE_BITS if self.n_planes == 2 else 0)


def encoding_of(header: FrameHeader, path: Path) -> Encoding:
    """Return how the frames with such a header are encoded.

    Raises
    ------
    FormatError
        If it is a way that cannot be read.
    CorruptFileError
        If the size of the detector is impossible.
    """
    if not 0 < header.width * header.height <= _MOST_PIXELS:
        raise CorruptFileError(
            f"{path}: its frames have an impossible size, {header.height} x {header.width}"
        )
    if header.pixel_type in _NUMBER_BITS:
        return _of_numbers(header)
    if header.pixel_type != "R64":
        raise _unknown(header, path, f"pixels of type {header.pixel_type}")
    if header.bit_depth not in _RAW_BITS:
        depth = header.fields[-1]
        raise _unknown(header, path, f"raw frames of a counter depth of {depth!r}")
    if header.n_chips == 1:
        return _of_raw_chip(header, path)
    return _of_raw_quad(header, path)


def _of_numbers(header: FrameHeader) -> Encoding:
    """Return the encoding of an assembled image, row by row."""
    shape, bits = (header.height, header.width), _NUMBER_BITS[header.pixel_type]
    segments = np.array([[0, WORD_BYTES, 1]])
    return Encoding(shape, bits, math.prod(shape) * bits // 8, 1, segments)


def _of_raw_chip(header: FrameHeader, path: Path) -> Encoding:
    """Return the encoding of what one chip sends, row by row."""
    bits, n_planes = _raw_bits(header), 2 if header.bit_depth == 24 else 1
    if header.width % n_planes:
        raise _unknown(header, path, f"raw frames {header.width} pixels wide in two halves")
    shape = (header.height, header.width // n_planes)
    _check_words(header, path, shape[1])
    segments = np.array([[0, WORD_BYTES, 0]])
    return Encoding(shape, bits, math.prod(shape) * bits // 8, n_planes, segments)


def _of_raw_quad(header: FrameHeader, path: Path) -> Encoding:
    """Return the encoding of what four chips send, a row of each in turn.

    The order is fourth, third, second, first; the first two are the upper half of the detector,
    the last two its lower half and upside down.
    """
    side = header.height
    if header.n_chips != 4 or header.layout != "2x2" or header.width != 4 * side:
        raise _unknown(header, path, "raw frames other than of one chip or of a quad of 2x2 chips")
    if header.bit_depth == 24:
        raise _unknown(header, path, "raw frames of four chips with a counter depth of 24")
    _check_words(header, path, side)
    bits = _raw_bits(header)
    row_bytes = side * bits // 8
    first, second, third, fourth = 3, 2, 1, 0
    rows = np.arange(side)[:, None]
    upper = (4 * rows + [first, second]) * row_bytes
    # rotated by 180 degrees: last row first, and last word of a row first
    lower = (4 * rows[::-1] + [third, fourth]) * row_bytes + row_bytes - WORD_BYTES
    segments = np.empty((4 * side, 3), np.int64)
    segments[: 2 * side] = np.stack(np.broadcast_arrays(upper.ravel(), WORD_BYTES, 0), axis=1)
    segments[2 * side :] = np.stack(np.broadcast_arrays(lower.ravel(), -WORD_BYTES, 1), axis=1)
    return Encoding((2 * side, 2 * side), bits, 4 * side * row_bytes, 1, segments)


def _raw_bits(header: FrameHeader) -> int:
    return _RAW_BITS[header.bit_depth or 0]


def _check_words(header: FrameHeader, path: Path, columns: int) -> None:
    if columns * _raw_bits(header) % (8 * WORD_BYTES):
        raise _unknown(header, path, f"raw rows of {columns} pixels, no whole number of words")


def _unknown(header: FrameHeader, path: Path, what: str) -> FormatError:
    return FormatError(
        f"{path} holds {what}, which cannot be read (header: {header.pixel_type}, "
        f"{header.width} x {header.height}, {header.n_chips} chips as {header.layout}); save it "
        "as U08, U16 or U32 with the software of the detector"
    )
