"""What one walk through a Timepix3 file finds: blocks of hits with their times, and clock edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

import numpy as np

from ..errors import CorruptFileError, FormatError
from ..progress import track
from . import tpx3_packets as packets
from . import tpx3_time as time
from .options import LINE_MARKS
from .read_buffer import ReadBuffer

# bytes that are read in one go: few at first, as a damaged file is read again from each new start
_FIRST_READ, _LARGEST_READ = 2**16, 2**23
_SEARCH_BYTES = 2**20


@dataclass(frozen=True, eq=False)
class Index:
    """Where and when the hits of a file are.

    Attributes
    ----------
    path : Path
    file_bytes : int
    blocks : (n, BLOCK_COLUMNS) int64
        As `tpx3_time.walk` gives them; B_AT counts bytes of the file.
    edges : dict of (m,) int64
        Times of the edges of each clock signal, ascending [ticks].
    chips : tuple of int
        Numbers of the chips that wrote chunks.
    opened : int, optional
        When the shutter first opened [steps].
    faults : dict of str to int
        Faulty packets and chunks left out, by reason.
    lost_bytes : int
        Bytes that are in no whole packet of a chunk, or missing at the end.
    """

    path: Path
    file_bytes: int
    blocks: np.ndarray
    edges: dict[str, np.ndarray]
    chips: tuple[int, ...]
    opened: int | None
    faults: dict[str, int]
    lost_bytes: int

    @property
    def n_hits(self) -> int:
        """Number of hits."""
        return int(self.blocks[:, time.B_HITS].sum())

    @property
    def first_hit(self) -> int:
        """Time of the earliest hit [steps]; 0 if there is none."""
        return int(self.blocks[:, time.B_FIRST].min()) if len(self.blocks) else 0


class Words:
    """Words of an open file; keeps its buffer between reads."""

    def __init__(self, file: RawIOBase) -> None:
        self._file = file
        self._buffer = ReadBuffer()

    def read(self, pieces: list[tuple[int, int]]) -> np.ndarray:
        """Return the words (n,) int64 of pieces (first byte, words) of the file, one after another.

        What the file does not have is missing at the end. Valid until the next read.
        """
        total = sum(n_words for _, n_words in pieces)
        buffer = self._buffer.room(8 * total, pieces[0][0] if pieces else 0)
        found, target = buffer.view(np.int64), buffer.data
        done = 0
        for first, n_words in pieces:
            self._file.seek(first)
            end = done + 8 * n_words
            while done < end:
                count = self._file.readinto(target[done:end])
                if not count:
                    return found[: done // 8]
                done += count
        return found


def starts_with_chunks(path: Path) -> bool:
    """Return whether the file starts with the header of a chunk, and another follows it."""
    with path.open("rb", buffering=0) as file:
        header = file.read(8) or b""
        if len(header) < 8 or not header.startswith(packets.MAGIC):
            return False
        return _is_followed(file, header, 0, path.stat().st_size)


def build_index(path: Path, skip: bool, span: tuple[int, int] | None = None) -> Index:
    """Walk through a Timepix3 file.

    Parameters
    ----------
    path : Path
    skip : bool
        Whether faulty packets are left out and counted.
    span : (int, int), optional
        Go from the first chunk after the first byte to the second byte; with `skip` only. Times are
        of any rollover then.

    Raises
    ------
    FormatError
        If there is no chunk in the file, or its hits carry no time.
    CorruptFileError
        At the first fault, unless `skip`.
    """
    epoch = 0
    span = span or (0, path.stat().st_size)
    while True:
        walker = _Walker(path, skip, epoch, span)
        shift = walker.run()
        if not shift:
            return walker.index()
        epoch += shift


class _Walker:
    """Reads a file from the start, and gathers what `tpx3_time.walk` finds."""

    def __init__(self, path: Path, skip: bool, epoch: int, span: tuple[int, int]) -> None:
        self._path, self._skip = path, skip
        self._position, self._size = span
        self._state = time.new_state(epoch)
        self._tally = np.zeros(time.N_CODES, np.int64)
        self._block_room = np.empty((2**11, time.BLOCK_COLUMNS), np.int64)
        self._edge_room = np.empty((2**13, 2), np.int64)
        self._blocks: list[np.ndarray] = []
        self._edges: list[np.ndarray] = []
        self._read_bytes = _FIRST_READ
        self._lost_bytes = 0

    def run(self) -> int:
        """Walk to the end of the file, or return by how much the first epoch was wrong [steps]."""
        with self._path.open("rb", buffering=0) as file:
            if self._position > 0:
                self._position = _next_chunk(file, self._position, self._size)
            total = -(-self._size // _LARGEST_READ)
            for _ in track(self._reads(file), "looking for clock edges", total):
                if self._state[time.SHIFT]:
                    return int(self._state[time.SHIFT])
            self._check_end()
        return 0

    def index(self) -> Index:
        """Return what was found."""
        state = self._state
        blocks = _joined(self._blocks, time.BLOCK_COLUMNS)
        edges = _joined(self._edges, 2)
        start = int(blocks[:, time.B_FIRST].min()) if len(blocks) else int(state[time.NOW])
        return Index(
            self._path,
            self._size,
            blocks,
            # every chip of an assembly notes the same edge, at the same time
            {mark: np.unique(edges[edges[:, 0] == k, 1]) for k, mark in enumerate(LINE_MARKS)},
            tuple(chip for chip in range(packets.MOST_CHIPS) if state[time.CHIPS] >> chip & 1),
            time.opened_at(state, start),
            {time.FAULTS[k]: int(self._tally[k]) for k in time.FAULTS if self._tally[k]},
            self._lost_bytes,
        )

    def _reads(self, file: RawIOBase) -> Iterator[None]:
        """Walk through one read after another."""
        words = Words(file)
        while self._size - self._position >= 8:
            n_bytes = min(self._read_bytes, self._size - self._position)
            found = words.read([(self._position, n_bytes // 8)])
            if len(found) == 0:
                raise CorruptFileError(f"{self._path} became shorter while it was read")
            self._read_bytes = min(2 * self._read_bytes, _LARGEST_READ)
            code = self._walk(found)
            if code == time.SHIFTED:
                yield
                return
            self._position += 8 * int(self._state[time.AT])
            if code > time.SHIFTED:
                self._refuse(code)
                self._find_chunk(file)
            yield

    def _walk(self, found: np.ndarray) -> int:
        state = self._state
        state[time.AT] = 0
        code = time.FULL
        while code == time.FULL:
            state[time.BLOCKS] = state[time.EDGES] = 0
            room = self._block_room, self._edge_room
            code = time.walk(found, state, *room, self._tally, self._skip)
            blocks = self._block_room[: state[time.BLOCKS]].copy()
            blocks[:, time.B_AT] = 8 * blocks[:, time.B_AT] + self._position
            self._blocks.append(blocks)
            self._edges.append(self._edge_room[: state[time.EDGES]].copy())
        return code

    def _refuse(self, code: int) -> None:
        """Raise for the fault where the walk stopped, unless such are left out."""
        at = f"{self._path}, byte {self._position} of {self._size}: "
        if code == time.NO_CHUNK and self._position == 0 and not self._skip:
            raise FormatError(f"{at}it starts with no Timepix3 chunk (b'TPX3')")
        if code == time.SUMMED:
            raise FormatError(
                f"{at}{time.FAULTS[code]}, which a scan needs; record with ToA and ToT"
            )
        if not self._skip:
            raise CorruptFileError(
                f'{at}{time.FAULTS[code]}; the file is damaged, errors="skip" leaves such out'
            )

    def _find_chunk(self, file: RawIOBase) -> None:
        """Go on to the next place that looks like the start of a chunk."""
        found = _next_chunk(file, self._position + 1, self._size)
        self._lost_bytes += found - self._position
        self._position, self._read_bytes = found, _FIRST_READ

    def _check_end(self) -> None:
        """Raise if the file is cut off in a chunk, or nothing of it can be read."""
        left = self._size - self._position
        if left or self._state[time.LEFT]:
            if not self._skip:
                raise CorruptFileError(
                    f"{self._path} is truncated: it ends at byte {self._size}, inside a packet or "
                    'before the end of a chunk; errors="skip" takes what is there'
                )
            self._lost_bytes += max(left, 8 * int(self._state[time.LEFT]))
        if not self._state[time.CHIPS]:
            raise FormatError(f"{self._path} holds no Timepix3 chunk of a chip from 0 to 3")
        if self._tally[time.SUMMED] and not any(len(b) for b in self._blocks):
            raise FormatError(f"{self._path}: {time.FAULTS[time.SUMMED]}")


def _joined(parts: list[np.ndarray], n_columns: int) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty((0, n_columns), np.int64)


def _next_chunk(file: RawIOBase, start: int, size: int) -> int:
    """Return where the next chunk starts, at whatever byte; the end of the file if nowhere."""
    while start + 8 <= size:
        file.seek(start)
        data = file.read(_SEARCH_BYTES) or b""
        at = data.find(packets.MAGIC)
        while 0 <= at <= len(data) - 8:
            if _is_followed(file, data[at : at + 8], start + at, size):
                return start + at
            at = data.find(packets.MAGIC, at + 1)
        start += max(1, len(data) - 7)
    return size


def _is_followed(file: RawIOBase, header: bytes, at: int, size: int) -> bool:
    """Return whether another chunk follows the one that starts with `header`, or the end."""
    word = int.from_bytes(header, "little", signed=True)
    end = at + 8 * (1 + packets.chunk_words(word))
    if not packets.is_header(word) or packets.chunk_chip(word) >= packets.MOST_CHIPS:
        return False
    file.seek(end)
    return end >= size or packets.MAGIC.startswith(file.read(4) or b"")
