"""Toy files of electron events; the README shows their layout."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from py4dstem_eer import EventStore
from py4dstem_eer.errors import CorruptFileError, FormatError, ParameterError

NAME = "toy"
USES = {"scan_shape", "keep_flyback"}
EXTENSIONS = {".toy"}

MAGIC = b"TOYEVENT"
HEADER = np.dtype([("magic", "S8"), ("shape", "<u4", 4), ("step", "<f8")])


def recognises(path: Path) -> bool:
    """Return whether the file begins as toy files do."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def open_source(path, options):
    """Open a toy file, reading its header and the lengths of its lists."""
    if not recognises(path):
        raise FormatError(f"{path} is no toy file: it does not begin with {MAGIC!r}")
    return ToySource(path, options.scan_shape, options.keep_flyback)


class ToySource:
    """The events of an open toy file; a `py4dstem_eer.streams.EventSource`."""

    def __init__(self, path, scan_shape=None, keep_flyback=True):
        shape, step = read_header(path)
        self.path = path
        self.columns = shape[1] if scan_shape is None else scan_shape[1]
        rows = shape[0] if scan_shape is None else scan_shape[0]
        if rows * self.columns != shape[0] * shape[1]:
            raise ParameterError(f"{path} has {shape[:2]} patterns, no scan of {scan_shape}")
        if not keep_flyback and self.columns < 2:
            raise ParameterError(f"{path} has one scan column; keep_flyback=False leaves none")
        self.keep_flyback = keep_flyback
        self.scan_shape = (rows, self.columns if keep_flyback else self.columns - 1)
        self.detector_shape = shape[2:]
        self.metadata = {"format": NAME, "R_pixel_size": (step, "A")}
        self.first_event, self.indptr = read_lengths(path, rows * self.columns)
        self.nbytes = self.indptr.nbytes

    @property
    def count_dtype(self):
        """Only reading tells, so the largest."""
        return np.dtype(np.uint32)

    def events_per_row(self):
        """Return the electrons of every scan row."""
        per_pattern = np.diff(self.indptr).reshape(-1, self.columns)
        return per_pattern[:, : self.scan_shape[1]].sum(axis=1)

    def read_rows(self, start, stop):
        """Return scan rows start to stop."""
        indptr = self.indptr[start * self.columns : stop * self.columns + 1]
        pixels = np.fromfile(
            self.path, "<u4", indptr[-1] - indptr[0], offset=self.first_event + 4 * int(indptr[0])
        )
        outside = np.flatnonzero(pixels >= math.prod(self.detector_shape))
        if len(outside):
            pattern = np.searchsorted(indptr - indptr[0], outside[0], "right") - 1
            raise CorruptFileError(
                f"{self.path}, pattern {start * self.columns + pattern}: an event lies outside "
                f"the detector, {self.detector_shape}"
            )
        shape = (stop - start, self.columns)
        rows = EventStore.from_lists(
            shape, self.detector_shape, indptr - indptr[0], pixels, metadata=self.metadata
        )
        return rows if self.keep_flyback else rows[:, : self.scan_shape[1]]


def read_header(path):
    """Return the shape (Rx, Ry, Qx, Qy) and the pixel size of the scan [Å]."""
    header = np.fromfile(path, HEADER, 1)
    if len(header) == 0:
        raise CorruptFileError(f"{path} ends inside its header")
    shape = tuple(int(n) for n in header[0]["shape"])
    if not 0 < shape[2] * shape[3] < 2**32:
        raise CorruptFileError(f"{path} has a detector of {shape[2:]}")
    return shape, float(header[0]["step"])


def read_lengths(path, n_patterns):
    """Return where the events begin [bytes], and where each pattern does among them."""
    file_bytes, first_event = path.stat().st_size, HEADER.itemsize + 4 * n_patterns
    if first_event > file_bytes:  # before memory is asked for
        raise CorruptFileError(f"{path} of {file_bytes} bytes cannot have {n_patterns} patterns")
    lengths = np.fromfile(path, "<u4", n_patterns, offset=HEADER.itemsize)
    indptr = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    if first_event + 4 * int(indptr[-1]) != file_bytes:
        raise CorruptFileError(
            f"{path} has {file_bytes} bytes, its {indptr[-1]} events end at byte "
            f"{first_event + 4 * int(indptr[-1])}"
        )
    return first_event, indptr
