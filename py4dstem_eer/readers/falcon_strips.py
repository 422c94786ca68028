"""Where the data of the pages of a Falcon file are: strips, one or several of a page."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from .falcon_tags import SIZES

#: Fault codes of a page; 0 is none.
NO_STRIPS, OUTSIDE_FILE = 1, 2

_NOWHERE = (np.zeros(0, np.uint64),) * 2

#: An entry as Python numbers: kind, count, value.
_Entry = list[int]


class Strips:
    """Where the data of the pages are, collected batch by batch.

    Most batches have a single strip in every page, and are not looked at page by page.
    """

    def __init__(self, file: BinaryIO, file_bytes: int) -> None:
        self._file, self._file_bytes = file, file_bytes
        self._counts = [np.zeros(1, np.int64)]
        self._offsets = [np.zeros(0, np.int64)]
        self._sizes = [np.zeros(0, np.int64)]
        self._faults = [np.zeros(0, np.uint8)]
        self._table_bytes = 0
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, located: np.ndarray, inline: np.ndarray) -> None:
        """Add pages of a batch, given what `parse_tables` says of their strips."""
        self._pending.append((located, inline))

    def end_batch(self) -> None:
        """Take the pages added since the last batch for one."""
        if not self._pending:
            return
        located, inline = (np.concatenate(parts) for parts in zip(*self._pending, strict=True))
        self._pending.clear()
        if (located[:, :, 1] == 1).all():
            self._append(np.ones(len(inline), np.int64), inline[:, 0], inline[:, 1])
            return
        lists = [self._located(offsets, sizes) for offsets, sizes in located.tolist()]
        counts = np.array([len(found[0]) for found in lists])
        joined = [np.concatenate([found[k] for found in lists]) for k in range(2)]
        self._append(counts, joined[0].astype(np.int64), joined[1].astype(np.int64))

    def tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return strip_ptr, offsets, sizes and faults, as in `Pages`."""
        strip_ptr = np.cumsum(np.concatenate(self._counts))
        offsets, sizes = np.concatenate(self._offsets), np.concatenate(self._sizes)
        return strip_ptr, offsets, sizes, np.concatenate(self._faults)

    def _append(self, counts: np.ndarray, offsets: np.ndarray, sizes: np.ndarray) -> None:
        ends = offsets + np.minimum(sizes, self._file_bytes)
        outside = (offsets < 0) | (sizes < 0) | (offsets > self._file_bytes)
        outside |= (sizes > self._file_bytes) | (ends > self._file_bytes)
        faults = np.where(counts == 0, NO_STRIPS, 0).astype(np.uint8)
        page = np.repeat(np.arange(len(counts)), counts)
        faults[page[outside]] = OUTSIDE_FILE
        self._faults.append(faults)
        self._counts.append(counts)
        self._offsets.append(offsets)
        self._sizes.append(sizes)

    def _located(self, offsets: _Entry, sizes: _Entry) -> tuple[np.ndarray, np.ndarray]:
        """Return where the strips of a page are, and their sizes; empty if that cannot be read."""
        if offsets[1] != sizes[1]:
            return _NOWHERE
        starts, lengths = self._values(offsets), self._values(sizes)
        return _NOWHERE if starts is None or lengths is None else (starts, lengths)

    def _values(self, entry: _Entry) -> np.ndarray | None:
        """Return the numbers of an entry, or None if they cannot be read."""
        kind, count, at = entry
        size = SIZES.get(kind, 0) * count
        # lists that overlap would let a small file ask for much memory
        if size == 0 or self._table_bytes + size > self._file_bytes:
            return None
        raw = at.to_bytes(8, "little")[:size]
        if size > 8:
            raw = self._read_list(at, size)
            self._table_bytes += size
        return np.frombuffer(raw, f"<u{SIZES[kind]}") if len(raw) == size else None

    def _read_list(self, at: int, size: int) -> bytes:
        """Return what the file has of a list, nothing if it would reach beyond its end."""
        if at + size > self._file_bytes:
            return b""
        self._file.seek(at)
        return self._file.read(size)
