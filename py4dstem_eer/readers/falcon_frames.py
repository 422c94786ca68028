"""The camera frames of a Falcon file: which pages they are, their code, their streams of bits."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..detector import Shape2D
from ..errors import CorruptFileError, FormatError
from . import falcon_stream, falcon_strips
from .falcon_container import Pages
from .falcon_stream import SPARE_WORDS, Code, Streams
from .falcon_tags import COMPRESSION, EVENT_COMPRESSIONS, HEIGHT, NUMBERS, WIDTH

#: Fault codes of a frame beside those of its page and of its stream.
OTHER_KIND, TOO_SHORT = 8, 9
FAULTS = {
    falcon_strips.NO_STRIPS: "its page does not say where its data are",
    falcon_strips.OUTSIDE_FILE: "its data lie beyond the end of the file",
    OTHER_KIND: "the shape or the code of its page is not that of the other frames",
    TOO_SHORT: "its data are too short for the pixels of a frame",
    **falcon_stream.FAULTS,
}

#: reads(numbers of frames) -> their streams.
Read = Callable[[np.ndarray], Streams]

_MOST_PIXELS = 2**31 - 1
_PROTOTYPE, _FIXED, _VARIABLE = EVENT_COMPRESSIONS
_CODES = {_PROTOTYPE: Code(8, 2, 2), _FIXED: Code(7, 2, 2)}
_SKIP_RANGE, _POSITION_RANGE = range(4, 15), range(1, 5)
_DEFAULT_BITS = (7, 2, 2)


@dataclass(frozen=True, eq=False)
class Frames:
    """The camera frames in a file, in order.

    Attributes
    ----------
    path : Path
    shape : (int, int)
        Rows and columns of the sensor.
    compression : int
        65000, 65001 or 65002, the version of the representation.
    code : Code
    faults : (n,) uint8
        Codes of `FAULTS`; 0 for frames that look sound.
    n_bytes : (n,) int64
        Length of each stream.
    strip_ptr, offsets, sizes : (n + 1,), (strips,), (strips,) int64
        As in `Pages`.
    """

    path: Path
    shape: Shape2D
    compression: int
    code: Code
    faults: np.ndarray
    n_bytes: np.ndarray
    strip_ptr: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.faults)

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        tables = (self.faults, self.n_bytes, self.strip_ptr, self.offsets, self.sizes)
        return sum(table.nbytes for table in tables)

    def with_code(self, code: Code) -> Frames:
        """Return the same frames, in another code."""
        return replace(self, code=code)

    @contextlib.contextmanager
    def session(self) -> Iterator[Read]:
        """Open the file and give the function that reads streams of frames without fault."""
        # not mapped into memory: a file cut off meanwhile would kill the process
        with self.path.open("rb", buffering=0) as file:

            def read(numbers: np.ndarray) -> Streams:
                streams = _room(self.n_bytes[numbers])
                target = memoryview(streams.words.view(np.uint8))  # type: ignore[arg-type]
                for number, word in zip(numbers.tolist(), streams.firsts.tolist(), strict=True):
                    self._read_frame(file, number, target[8 * word :])
                return streams

            yield read

    def _read_frame(self, file: BinaryIO, number: int, target: memoryview) -> None:
        """Read the strips of a frame, one after the other, into the beginning of `target`."""
        at = 0
        for strip in range(self.strip_ptr[number], self.strip_ptr[number + 1]):
            size = int(self.sizes[strip])
            file.seek(int(self.offsets[strip]))
            if file.readinto(target[at : at + size]) != size:  # type: ignore[attr-defined]
                raise CorruptFileError(
                    f"{self.path}, frame {number}: the file became shorter while it was read"
                )
            at += size


def find_frames(pages: Pages) -> tuple[Frames, bool]:
    """Return the frames among the pages, and whether the first page is an image of their sum.

    Raises
    ------
    FormatError
        If no page holds events.
    CorruptFileError
        If the frames have an impossible shape or code.
    """
    is_event = np.isin(pages.column(COMPRESSION), EVENT_COMPRESSIONS)
    if not is_event.any():
        raise FormatError(
            f"{pages.path} holds no electron events: its {len(pages.numbers)} pages have "
            f"compression {_listed(pages.column(COMPRESSION))}, those of Falcon files 65000, 65001 "
            "or 65002"
        )
    first = int(not is_event[0])
    numbers = pages.numbers[first:]
    common = _most_frequent(numbers[is_event[first:]])
    kind = dict(zip(NUMBERS, common.tolist(), strict=True))
    shape, code = _shape(kind, pages.path), _code(kind, pages.path)
    ptr = pages.strip_ptr[first:]
    running = np.concatenate(([0], np.cumsum(pages.sizes)))
    faults = pages.faults[first:].copy()
    n_bytes = np.where(faults == 0, running[ptr[1:]] - running[ptr[:-1]], 0)
    faults[(faults == 0) & (numbers != common).any(axis=1)] = OTHER_KIND
    short = code.most_electrons(8 * n_bytes, math.prod(shape)) < 0
    faults[(faults == 0) & short] = TOO_SHORT
    frames = Frames(
        pages.path, shape, kind[COMPRESSION], code, faults, n_bytes, ptr, pages.offsets, pages.sizes
    )
    return frames, first == 1


def _room(n_bytes: np.ndarray) -> Streams:
    """Return room for streams of so many bytes, with zeros where they end."""
    lengths = -(-n_bytes // 8) + SPARE_WORDS
    ends = np.cumsum(lengths)
    words = np.empty(int(lengths.sum()), "<u8")
    for k in range(1, SPARE_WORDS + 2):
        words[np.maximum(ends - k, ends - lengths)] = 0
    return Streams(words, ends - lengths, 8 * n_bytes)


def _listed(values: np.ndarray) -> str:
    return ", ".join(str(value) for value in np.unique(values)[:5])


def _most_frequent(numbers: np.ndarray) -> np.ndarray:
    """Return the row that comes most often."""
    if (numbers == numbers[0]).all():
        return numbers[0]
    rows, counts = np.unique(numbers, axis=0, return_counts=True)
    return rows[counts.argmax()]


def _shape(kind: dict[int, int], path: Path) -> Shape2D:
    shape = kind[HEIGHT], kind[WIDTH]
    if min(shape) < 1 or math.prod(shape) > _MOST_PIXELS:
        raise CorruptFileError(f"{path}, frame 0: its frames have an impossible shape, {shape}")
    return shape


def _code(kind: dict[int, int], path: Path) -> Code:
    if kind[COMPRESSION] != _VARIABLE:
        return _CODES[kind[COMPRESSION]]
    given = [kind[tag] for tag in NUMBERS[3:]]
    bits = [d if b == -1 else b for b, d in zip(given, _DEFAULT_BITS, strict=True)]
    ranges = (_SKIP_RANGE, _POSITION_RANGE, _POSITION_RANGE)
    if any(b not in r for b, r in zip(bits, ranges, strict=True)):
        raise CorruptFileError(
            f"{path}, frame 0: codes of {bits[0]} bits to skip pixels and {bits[1]}, {bits[2]} "
            "bits of position are impossible: there are 4 to 14, and 1 to 4"
        )
    skip, horizontal, vertical = bits
    return Code(skip, horizontal, vertical)
