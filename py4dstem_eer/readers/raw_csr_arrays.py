"""The three arrays of a raw CSR data set, mapped into memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import CorruptFileError
from .raw_csr_sidecar import ArrayFile, Sidecar
from .stamps import check_unchanged, stamp_of


@dataclass(frozen=True, eq=False)
class Arrays:
    """Maps of the files; frame f owns entries indptr[f] to indptr[f + 1], unless it is damaged.

    Attributes
    ----------
    indptr : (n_frames + 1,) integer
    indices, data : (n_entries,) integer; integer or float
    stamps : dict
        What changes when one of the files is changed, by path.
    """

    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray
    stamps: dict[Path, tuple[int, ...]]

    @property
    def n_frames(self) -> int:
        """Frames in the files."""
        return len(self.indptr) - 1

    @property
    def n_entries(self) -> int:
        """Entries in the files."""
        return len(self.indices)

    @property
    def n_bytes(self) -> int:
        """Bytes of the files, without what belongs to no frame."""
        return self.indptr.nbytes + self.indices.nbytes + self.data.nbytes

    def bounds(self, first: int, last: int) -> np.ndarray:
        """Return where frames first to last begin, and the last ends, (last - first + 1,) int64.

        Frames beyond the last of the file are empty.
        """
        stored = self.indptr[min(first, self.n_frames) : min(last, self.n_frames) + 1]
        bounds = np.empty(last - first + 1, np.int64)
        bounds[: len(stored)] = stored
        bounds[len(stored) :] = bounds[len(stored) - 1]
        return bounds

    def misplaced(self, bounds: np.ndarray) -> np.ndarray:
        """Return which of the frames between `bounds` end before they begin, or lie outside."""
        begin, end = bounds[:-1], bounds[1:]
        return (end < begin) | (begin < 0) | (end > self.n_entries)

    def check_unchanged(self) -> None:
        """Raise if a file is not what it was when it was mapped."""
        for path, stamp in self.stamps.items():
            check_unchanged(path, stamp)


def map_arrays(sidecar: Sidecar, skip: bool) -> Arrays:
    """Map the arrays of a data set.

    Parameters
    ----------
    sidecar : Sidecar
    skip : bool
        Truncated files are used as far as they go.

    Raises
    ------
    FileNotFoundError
        If one is not there.
    CorruptFileError
        If they do not fit each other.
    """
    files = (sidecar.indptr, sidecar.indices, sidecar.data)
    indptr, indices, data = (_mapped(file, sidecar.path, skip) for file in files)
    n_entries = min(len(indices), len(data))
    if len(indptr) == 0:
        raise CorruptFileError(f"{sidecar.indptr.path}, of {sidecar.path}, has no frame 0")
    if len(indices) != len(data) and not skip:
        raise CorruptFileError(
            f"{sidecar.path}: {len(indices)} indices and {len(data)} values should be the same "
            f"number{_first_lost(indptr, n_entries)}"
        )
    if int(indptr[-1]) > n_entries and not skip:
        raise CorruptFileError(
            f"{sidecar.path}: the frames have {indptr[-1]} entries, {sidecar.indices.path.name} "
            f"has {n_entries}{_first_lost(indptr, n_entries)}"
        )
    stamps = {file.path: stamp_of(file.path) for file in files}
    return Arrays(indptr, indices[:n_entries], data[:n_entries], stamps)


def _mapped(file: ArrayFile, described: Path, skip: bool) -> np.ndarray:
    _check_is_file(file, described)
    n_bytes = file.path.stat().st_size
    n_items, rest = divmod(n_bytes, file.dtype.itemsize)
    if rest and not skip:
        raise CorruptFileError(
            f"{file.path}, of {described}, has {n_bytes} bytes, which are no whole number of "
            f"{file.dtype}, from item {n_items} on; is it truncated?"
        )
    if n_items == 0:
        return np.zeros(0, file.dtype)
    return np.asarray(np.memmap(file.path, file.dtype, "r", shape=(n_items,)))


def _check_is_file(file: ArrayFile, described: Path) -> None:
    try:
        is_file, exists = file.path.is_file(), file.path.exists()
    except OSError as error:
        raise CorruptFileError(f"{described}: {file.name}_file is no file name: {error}") from error
    if not exists:
        raise FileNotFoundError(f"there is no file {file.path}, the {file.name} of {described}")
    if not is_file:
        raise CorruptFileError(f"{file.path}, the {file.name} of {described}, is no file")


def _first_lost(indptr: np.ndarray, n_entries: int) -> str:
    frame = int(np.searchsorted(indptr, n_entries, "right")) - 1
    return (
        f': nothing can be told of frame {max(frame, 0)} and those that follow; errors="skip" '
        "drops such frames"
    )
