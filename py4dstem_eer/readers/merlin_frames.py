"""Frames of a Merlin acquisition: read in blocks, checked, and turned into events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from ..errors import CorruptFileError
from . import merlin_kernels
from .merlin_encoding import LOW_PLANE_BITS, WORD_BYTES
from .merlin_files import Acquisition
from .merlin_header import MAGIC, NUMBER_DIGITS
from .merlin_kernels import NO_HEADER, OTHER_GEOMETRY
from .read_buffer import ReadBuffer
from .stamps import check_unchanged

#: Bytes of frames that are decoded in one go: few enough to stay in the processor's cache.
BLOCK_BYTES = 2**23
_HEADERS_PER_READ = 2**14


class FrameReader:
    """The open files of an acquisition, as one row of frames; a context manager.

    Frames are counted from 0 through all files. They are copied from the file rather than mapped:
    that is as fast, and a file that is cut off meanwhile does not end the process.
    """

    def __init__(self, acquisition: Acquisition) -> None:
        self._acquisition = acquisition
        self._frame_bytes = acquisition.frame_bytes
        self._firsts = np.cumsum([0, *(file.n_frames for file in acquisition.files)])
        self._buffer = ReadBuffer()
        self._open: tuple[int, BinaryIO] | None = None

    def __enter__(self) -> FrameReader:
        for file in self._acquisition.files:
            check_unchanged(file.path, file.stamp)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open is not None:
            self._open[1].close()

    def frames(self, first: int, last: int) -> np.ndarray:
        """Return the bytes of frames first to last, and a word more; good until the next call."""
        n_bytes = (last - first) * self._frame_bytes
        done, buffer = 0, np.empty(0, np.uint8)
        for number, begin, end in self._parts(first, last):
            position = begin * self._frame_bytes
            if not done:
                buffer = self._buffer.room(n_bytes + WORD_BYTES, position)
            size = (end - begin) * self._frame_bytes
            self._fill(number, position, buffer[done : done + size])
            done += size
        return buffer

    def heads(self, first: int, last: int) -> tuple[np.ndarray, int]:
        """Return the beginnings of the headers of frames first to last, and the bytes of each."""
        size = len(MAGIC) + NUMBER_DIGITS + len(self._acquisition.header.geometry)
        buffer = self._buffer.room((last - first) * size + WORD_BYTES, 0)
        done = 0
        for number, begin, end in self._parts(first, last):
            for frame in range(begin, end):
                self._fill(number, frame * self._frame_bytes, buffer[done : done + size])
                done += size
        return buffer, size

    def _parts(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Yield (file, first frame in it, last frame in it) of a run of frames."""
        number = int(np.searchsorted(self._firsts, first, "right")) - 1
        while first < last:
            begin, end = (int(n) for n in self._firsts[number : number + 2])
            stop = min(last, end)
            if first < stop:
                yield number, first - begin, stop - begin
            first, number = stop, number + 1

    def _fill(self, number: int, position: int, target: np.ndarray) -> None:
        file = self._file(number)
        file.seek(position)
        done = 0
        while done < len(target):
            count = file.readinto(target[done:].data)  # type: ignore[attr-defined]
            if not count:
                path = self._acquisition.files[number].path
                frame = position // self._frame_bytes
                raise CorruptFileError(
                    f"{path} ends before its frame {frame} is complete; it was whole when it was "
                    "opened, open it again"
                )
            done += count

    def _file(self, number: int) -> BinaryIO:
        if self._open is None or self._open[0] != number:
            if self._open is not None:
                self._open[1].close()
            path = self._acquisition.files[number].path
            self._open = number, path.open("rb", buffering=0)
        return self._open[1]


class Decoder:
    """Turns the bytes of frames into events.

    Parameters
    ----------
    acquisition : Acquisition
    """

    def __init__(self, acquisition: Acquisition) -> None:
        encoding = acquisition.encoding
        self._header_bytes = acquisition.header.n_bytes
        self._geometry = np.frombuffer(acquisition.header.geometry, np.uint8)
        self._encoding = encoding
        self._low_plane = encoding.plane_bytes if encoding.n_planes == 2 else 0
        lanes = range(encoding.bits - 1, 64, encoding.bits)
        self._high = np.uint64(sum(1 << bit for bit in lanes))
        n_pixels = encoding.detector_shape[0] * encoding.detector_shape[1]
        per_segment = n_pixels // len(encoding.segments)
        self._words = -(-per_segment * encoding.bits // 64)

    @property
    def count_dtype(self) -> np.dtype | None:
        """Dtype of the counts in a frame, None if they are all one."""
        return (
            None if self._encoding.bits == 1 else np.min_scalar_type(self._encoding.largest_count)
        )

    def numbers(self, heads: np.ndarray, size: int) -> np.ndarray:
        """Return the frame numbers (n,) int64 in the beginnings of headers, of `size` bytes each.

        In place of a number stands what is wrong with the header.
        """
        starts = np.arange(len(heads) // size) * size
        numbers = np.empty(len(starts), np.int64)
        merlin_kernels.read_numbers.on_cpu(len(starts), heads, starts, self._geometry, numbers)
        return numbers

    def count(self, frames: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers (n,) int64 of frames, as `numbers` does, and their hit pixels (n,).

        Parameters
        ----------
        frames : (bytes,) uint8
        starts : (n,) int64
            Where in it the header of each frame begins.
        """
        numbers, lengths = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
        merlin_kernels.count_events.on_cpu(
            len(starts),
            frames,
            starts,
            self._header_bytes,
            self._geometry,
            self._encoding.plane_bytes,
            self._low_plane,
            self._high,
            numbers,
            lengths,
        )
        return numbers, lengths

    def few_numbers(self, buffer: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Return the numbers (n,) int64 of frames, as `numbers` does, without compiled code.

        That takes 13 µs for each: for thousands less than loading what is compiled.
        """
        geometry = self._geometry.tobytes()
        size = len(MAGIC) + NUMBER_DIGITS + len(geometry)
        heads = (buffer[start : start + size].tobytes() for start in starts.tolist())
        read = merlin_kernels.frame_number.py_func
        return np.array([read(head, 0, geometry) for head in heads], np.int64)

    def electrons(self, frames: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Return the electrons (n,) int64 of frames, as `count` takes them, by NumPy alone.

        Of frames without a header too.
        """
        bits, n_planes = self._encoding.bits, self._encoding.n_planes
        n_bytes = self._encoding.frame_bytes
        padded = np.zeros((len(starts), -(-n_bytes // WORD_BYTES) * WORD_BYTES), np.uint8)
        for row, start in zip(padded, starts + self._header_bytes, strict=True):
            row[:n_bytes] = frames[start : start + n_bytes]
        if bits == 1:
            n_set = merlin_kernels.population.py_func(padded.view(np.uint64))
            return n_set.sum(axis=1).astype(np.int64)
        planes = padded[:, :n_bytes].reshape(len(starts), n_planes, self._encoding.plane_bytes)
        sums = planes.view(f">u{bits // 8}").sum(axis=2, dtype=np.int64)
        return sums[:, 0] if n_planes == 1 else (sums[:, 0] << LOW_PLANE_BITS) + sums[:, 1]

    def fill(
        self, frames: np.ndarray, starts: np.ndarray, lengths: np.ndarray, out: np.ndarray
    ) -> np.ndarray | None:
        """Write the hit pixels of frames to `out`, and return their counts, None if all are one.

        `lengths` are those that `count` gave for the same bytes.
        """
        encoding, ends = self._encoding, np.cumsum(lengths)
        place = (frames, starts, self._header_bytes, encoding.segments, self._words)
        if self.count_dtype is None:
            merlin_kernels.fill_bits.on_cpu(len(starts), *place, ends, lengths, out)
            return None
        counts = np.empty(len(out), self.count_dtype)
        word = (self._low_plane, encoding.bits, self._high)
        merlin_kernels.fill_values.on_cpu(len(starts), *place, *word, ends, lengths, out, counts)
        return counts


def read_numbers(acquisition: Acquisition) -> np.ndarray:
    """Return the numbers (n_frames,) int64 in the headers of all frames, reading nothing else."""
    decoder = Decoder(acquisition)
    found = [np.zeros(0, np.int64)]
    with FrameReader(acquisition) as reader:
        for first in range(0, acquisition.n_frames, _HEADERS_PER_READ):
            last = min(first + _HEADERS_PER_READ, acquisition.n_frames)
            heads, size = reader.heads(first, last)
            found.append(decoder.numbers(heads, size))
    return np.concatenate(found)


def check_ends(acquisition: Acquisition) -> None:
    """Raise if the last frame of a file has not the number that its place calls for.

    Raises
    ------
    CorruptFileError
        Naming the first frame with a wrong header, in any file.
    """
    decoder = Decoder(acquisition)
    lengths = np.array([file.n_frames for file in acquisition.files])
    # the only frame of a file is its first, whose header was compared when the file was found
    ends = np.cumsum(lengths)[lengths > 1] - 1
    with FrameReader(acquisition) as reader:
        # one after the other, as a head is good until the next one is read
        heads = (reader.heads(end, end + 1)[0] for end in ends.tolist())
        found = [int(decoder.few_numbers(head, np.zeros(1, np.int64))[0]) for head in heads]
    if found != (ends + acquisition.first_number).tolist():
        refuse(acquisition, np.arange(acquisition.n_frames), read_numbers(acquisition))


def refuse(acquisition: Acquisition, frames: np.ndarray, numbers: np.ndarray) -> None:
    """Raise unless the frames have the numbers that their places call for.

    Parameters
    ----------
    acquisition : Acquisition
    frames : (n,) int64
        Places of the frames, from 0 through all files.
    numbers : (n,) int64
        What their headers say.

    Raises
    ------
    CorruptFileError
        Naming the first frame that has not.
    """
    expected = frames + acquisition.first_number
    wrong = numbers != expected
    if not wrong.any():
        return
    at = int(np.argmax(wrong))
    number, file, position = int(numbers[at]), *_place(acquisition, int(frames[at]))
    what = {
        NO_HEADER: "there is no header where it should begin",
        OTHER_GEOMETRY: "its header does not agree with that of the first frame about the detector",
    }.get(number, f"its header says that it is frame {number}: frames are missing or repeated")
    raise CorruptFileError(
        f"{file}, frame {int(expected[at])} at byte {position}: {what}; "
        'errors="skip" drops damaged frames'
    )


def _place(acquisition: Acquisition, frame: int) -> tuple[Path, int]:
    file, at = acquisition.place(frame)
    return file.path, at * acquisition.frame_bytes
