"""Electrons of camera frames from Falcon's bit streams.

A stream is read from the lowest bit of its first byte on. A code is a number of pixels to skip
(7 bits, say) and, for an electron, its position below the pixel (2 bits across, 2 down). The
largest number stands for no electron, and is followed at once by the next code; where the pixels
end, so does the frame.

::

    skip 3, electron │ skip 127 │ skip 127 │ skip 20, electron │ … │ skip up to the end

Long runs of the largest number, which are nothing but set bits, are found in one step for a whole
64-bit word, so that the time goes with the electrons and not with the pixels.

References
----------
.. [1] Guo, Franken, Deng, ..., Hong, IUCrJ 7, 860 (2020), the event representation.
.. [2] "EER file format documentation 3.0", Thermo Fisher Scientific, 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..compiled import scalar_function, trailing_zeros
from ..detector import Shape2D
from ..device import kernel

#: Fault codes of a frame.
NO_END, OVERRUN = 16, 17
FAULTS = {
    NO_END: "its stream breaks off before the last pixel",
    OVERRUN: "its stream runs past the last pixel: a bit of it is wrong, or its size is",
}
#: Words after each stream that the decoder may look at.
SPARE_WORDS = 2

_ONE = np.uint64(1)
_TOP = np.uint64(63)
_LOW_BITS = np.uint64(0xFFFFFFFF)
# an insertion into longer rows takes too long; those are sorted later
_LONG_ROW = 32


@dataclass(frozen=True)
class Code:
    """The bits of a code.

    Attributes
    ----------
    skip, horizontal, vertical : int
        Bits of the number of pixels skipped, and of the position below a pixel.
    wasteful : bool
        Whether numbers that stand for no electron are followed by unused position bits, as in
        files of the first prototypes.
    """

    skip: int
    horizontal: int
    vertical: int
    wasteful: bool = False

    @property
    def whole(self) -> int:
        """Bits of the code of an electron."""
        return self.skip + self.horizontal + self.vertical

    @property
    def overflow(self) -> int:
        """Bits of a code without electron."""
        return self.whole if self.wasteful else self.skip

    @property
    def superres(self) -> int:
        """Bits of position that both axes have."""
        return min(self.horizontal, self.vertical)

    def most_electrons(self, n_bits: np.ndarray, n_pixels: int) -> np.ndarray:
        """Return how many electrons streams can hold at most; negative if too short for none.

        Parameters
        ----------
        n_bits : (n,) int64
        n_pixels : int
            Of the frame.
        """
        # every pixel is skipped or hit: bits that the skipping takes hold no electrons
        codes = max(1, n_pixels // (2**self.skip - 1) - 1)
        most = (n_bits - self.skip * codes) // (self.whole - self.skip)
        too_short = n_bits < self.skip * codes
        most = np.clip(most, 0, np.minimum(n_bits // self.whole, n_pixels))
        return np.where(too_short, -1, most)


@dataclass(frozen=True, eq=False)
class Streams:
    """Streams of some frames in memory.

    Attributes
    ----------
    words : (m,) uint64
        With `SPARE_WORDS` after each stream.
    firsts : (n,) int64
        First word of each stream.
    n_bits : (n,) int64
    """

    words: np.ndarray
    firsts: np.ndarray
    n_bits: np.ndarray


@dataclass(frozen=True, eq=False)
class Camera:
    """The pixels of the frames, and what is made of them.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the sensor.
    superres : int
        Bits of position that are kept.
    defects : (rows * columns,) bool
        Pixels whose electrons are dropped; of length 0 if there are none.
    """

    shape: Shape2D
    superres: int
    defects: np.ndarray

    @property
    def n_pixels(self) -> int:
        """Pixels of the sensor."""
        return self.shape[0] * self.shape[1]

    @property
    def detector_shape(self) -> Shape2D:
        """Rows and columns of the detector that the positions fall on."""
        return self.shape[0] << self.superres, self.shape[1] << self.superres


@dataclass(frozen=True, eq=False)
class Electrons:
    """Decoded frames.

    Attributes
    ----------
    lengths : (n,) int64
        Electrons of each frame; 0 where it has a fault.
    faults : (n,) uint8
    """

    lengths: np.ndarray
    faults: np.ndarray
    _found: np.ndarray
    _starts: np.ndarray

    def copy_to(self, out: np.ndarray) -> None:
        """Write the flat detector indices of all frames, one after the other, (sum,) uint."""
        targets = np.cumsum(self.lengths) - self.lengths
        _copy.on_cpu(len(targets), self._found, self._starts, targets, self.lengths, out)


def decode(streams: Streams, code: Code, camera: Camera, dtype: np.dtype) -> Electrons:
    """Decode frames.

    Parameters
    ----------
    streams : Streams
    code : Code
    camera : Camera
    dtype : dtype
        uint16 or uint32, for flat indices on the detector.
    """
    most = np.maximum(code.most_electrons(streams.n_bits, camera.n_pixels), 0)
    ends = np.cumsum(most)
    found = np.empty(int(ends[-1]) if len(ends) else 0, dtype)
    lengths, faults = np.zeros(len(most), np.int64), np.zeros(len(most), np.uint8)
    _decode.on_cpu(
        len(most),
        (streams.words, streams.firsts, streams.n_bits),
        (code.skip, code.horizontal, code.vertical, code.overflow, _runs(code)),
        (camera.shape[1], camera.n_pixels, camera.superres, camera.defects),
        found,
        ends - most,
        ends,
        lengths,
        faults,
    )
    return Electrons(lengths, faults, found, ends - most)


def _runs(code: Code) -> np.ndarray:
    """Return how many codes without electron begin a word whose lowest 0 is bit k, (65,)."""
    # an electron's code must still fit behind them
    most = 1 if code.wasteful else (64 - code.whole) // code.skip
    return np.minimum(np.arange(65) // code.skip, most).astype(np.uint8)


@scalar_function
def _window(words, bit):
    """Return the 64 bits from `bit` on."""
    low, high = words[bit >> 6], words[(bit >> 6) + 1]
    shift = np.uint64(bit & 63)
    return (low >> shift) | ((high << _ONE) << (_TOP - shift))


@scalar_function
def _fault_at_end(exact, end, limit):
    """Return the fault of a frame whose pixels end, exactly or not, with the bit before `end`."""
    if end > limit:
        return NO_END
    return 0 if exact else OVERRUN


@scalar_function
def _subpixel(bits, n_bits, superres):
    """Return the position below a pixel in steps of 2**-superres; its highest bit is inverted."""
    kept = bits & ((1 << n_bits) - 1)
    return (kept ^ ((1 << n_bits) >> 1)) >> (n_bits - superres)


@scalar_function
def _insert(flat, first, at, found):
    """Put a pixel at its place among found[first:at], which ascend."""
    while at > first and found[at - 1] > flat:
        found[at] = found[at - 1]
        at -= 1
    found[at] = flat


@kernel
def _decode(i, streams, code, camera, found, starts, ends, lengths, faults):
    words, firsts, n_bits = streams
    skip, horizontal, vertical, overflow, runs = code
    width, n_pixels, superres, defects = camera
    largest = (1 << skip) - 1
    bit = firsts[i] * 64
    limit = bit + n_bits[i]
    position, row, row_end = 0, 0, width
    at, row_first = starts[i], starts[i]
    fault = NO_END
    while bit < limit:
        window = _window(words, bit)
        run = np.int64(runs[trailing_zeros(~window)])
        if run > 0 and position + run * largest >= n_pixels:
            # the frame may end in the middle of the run
            run, rest = divmod(n_pixels - position, largest)
            fault = _fault_at_end(run > 0 and rest == 0, bit + run * overflow, limit)
            break
        bit += run * overflow
        position += run * largest
        value = np.int64((window >> np.uint64(run * overflow)) & _LOW_BITS)
        pixels = value & largest
        position += pixels
        if position >= n_pixels:
            fault = _fault_at_end(position == n_pixels, bit + skip, limit)
            break
        if pixels == largest:
            bit += overflow
            continue
        bit += skip + horizontal + vertical
        if at == ends[i]:
            break
        if len(defects) > 0 and defects[position]:
            position += 1
            continue
        if superres == 0:
            found[at] = position
        else:
            if position >= row_end:
                row_first = at
            while position >= row_end:
                row_end += width
                row += 1
            x = _subpixel(value >> skip, horizontal, superres)
            y = _subpixel(value >> (skip + horizontal), vertical, superres)
            column = position + width - row_end
            flat = (((row << superres) + y) * width << superres) + (column << superres) + x
            # rows of the detector are interleaved in a row of pixels
            _insert(flat, row_first if at - row_first < _LONG_ROW else at, at, found)
        at += 1
        position += 1
    faults[i] = fault
    lengths[i] = at - starts[i] if fault == 0 else 0


@kernel
def _copy(i, found, starts, targets, lengths, out):
    start, target = starts[i], targets[i]
    for e in range(lengths[i]):
        out[target + e] = found[start + e]
