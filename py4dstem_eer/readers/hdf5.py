"""HDF5 files opened with care: damage is an error of ours, truncated files show what is left."""

from __future__ import annotations

import contextlib
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import CorruptFileError, EventError, FormatError
from .hdf5_guard import GuardedFile
from .hdf5_superblock import read_superblock

#: HDF5's numbers of its own filters that it allows for lists.
DEFLATE, SHUFFLE = 1, 2
_FLETCHER32, _LZF = 3, 32000
_CHECKSUM_BYTES = 4
# deflate makes data at most about 1000 times smaller
BEST_COMPRESSION = 1100

#: What h5py raises on damaged files, depending on where the damage is.
DAMAGE = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    zlib.error,
)

_WITH_UNIT = re.compile(r"(.+) \(([^()]+)\)$")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading, as a `h5py.File`.

    The end that a truncated file lacks reads as zeros, so that its tables can still be found; who
    reads it has to compare addresses with the file's true size.

    Raises
    ------
    FormatError
        If the file is not HDF5.
    CorruptFileError
        For everything that HDF5 stumbles over, here or inside the block.
    """
    import h5py

    superblock = read_superblock(path)
    if superblock is None:
        raise FormatError(f"{path} is not an HDF5 file")
    try:
        with contextlib.ExitStack() as stack:
            end = max(superblock.end or 0, path.stat().st_size)
            guarded = stack.enter_context(GuardedFile(path, superblock, end))
            yield stack.enter_context(h5py.File(guarded, "r"))
    except (EventError, FileNotFoundError, PermissionError):
        raise
    except DAMAGE as error:
        raise CorruptFileError(
            f"{path} is an HDF5 file but damaged or still being written: {_one_line(error)}"
        ) from error


def attributes(group: Any) -> dict[str, Any]:
    """Return the attributes of a group and of its sub-groups as nested dicts of plain values.

    An attribute named "name (unit)", such as stempy's "process time (s)", becomes a pair
    (value, unit) under "name".
    """
    found: dict[str, Any] = {}
    for name, value in group.attrs.items():
        match = _WITH_UNIT.match(name)
        if match and isinstance(number := plain(value), (int, float, list)):
            found[match[1]] = (tuple(number) if isinstance(number, list) else number, match[2])
        else:
            found[str(name)] = plain(value)
    for name in group:
        item = group.get(name)  # None where a link leads nowhere
        if hasattr(item, "items"):
            found[str(name)] = attributes(item)
    return found


def plain(value: Any) -> Any:
    """Return an attribute's value as a plain Python object; None where HDF5 says empty."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()] if value.ndim else plain(value.item())
    if isinstance(value, np.generic):
        return plain(value.item())
    return value if isinstance(value, (str, int, float, bool, complex, list, tuple)) else None


def check_storage(dataset: Any, path: Path) -> None:
    """Refuse a dataset that HDF5 takes too much memory for, or crashes on, when it is read.

    HDF5 takes the size that a dataset has in its header, and reads chunks without asking whether
    there is room for the checksum in them.

    Raises
    ------
    CorruptFileError
        If it is larger than its file can hold, or stored as HDF5 cannot have stored it.
    """
    if not hasattr(dataset, "chunks"):
        raise CorruptFileError(f"{path}: {dataset.name} is no array; the file is damaged")
    file_bytes = path.stat().st_size
    n_bytes = math.prod(dataset.shape) * dataset.dtype.itemsize
    if dataset.chunks is None:
        end = max(n_bytes, (dataset.id.get_offset() or 0) + dataset.id.get_storage_size())
        fits = end <= file_bytes and _longest_list(dataset, path) <= file_bytes
    else:
        fits = n_bytes <= BEST_COMPRESSION * dataset.id.get_storage_size()
        fits = fits and _sound_chunks(dataset, file_bytes)
    if not fits:
        raise CorruptFileError(
            f"{path}: {dataset.name} of shape {dataset.shape} cannot be in a file of {file_bytes} "
            "bytes as it is stored; the file is damaged"
        )


def _longest_list(dataset: Any, path: Path) -> int:
    """Return the length of the longest text or list in a contiguous dataset of them, or 0."""
    n_elements = math.prod(dataset.shape)
    offset = dataset.id.get_offset()
    if dataset.dtype.kind != "O" or offset is None or n_elements == 0:
        return 0
    words = dataset.id.get_storage_size() // n_elements // 4
    references = np.fromfile(path, "<u4", n_elements * words, offset=offset)
    return int(references[::words].max())


def _sound_chunks(dataset: Any, file_bytes: int) -> bool:
    """Return whether all chunks are in the file, and have room for what the filters need."""
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(k)[0] for k in range(plist.get_nfilters())]
    least = _CHECKSUM_BYTES if _FLETCHER32 in filters else 0
    whole = math.prod(dataset.chunks) * dataset.id.get_type().get_size()
    compressing = [k for k, code in enumerate(filters) if code in (DEFLATE, _LZF)]
    sound = [set(filters) <= {DEFLATE, SHUFFLE, _FLETCHER32, _LZF}]

    def look(chunk: Any) -> None:
        inside = chunk.byte_offset is not None and chunk.byte_offset + chunk.size <= file_bytes
        # HDF5 reads beyond a chunk that says it is not compressed, and is short
        compressed = any(not chunk.filter_mask >> k & 1 for k in compressing)
        sound.append(inside and chunk.size >= (least if compressed else max(least, whole)))

    dataset.id.chunk_iter(look)
    return all(sound)


def raw_elements(dataset: Any, path: Path, element_bytes: int) -> np.ndarray | None:
    """Return the elements of a one-dimensional dataset as they are in the file.

    HDF5 itself gives out no references to lists, and reserves memory for a list before it checks
    the reference; so that the references have to be looked at first.

    Parameters
    ----------
    dataset : h5py.Dataset (n,)
    path : Path
        Its file.
    element_bytes : int
        Size of an element in the file.

    Returns
    -------
    raw : (n, element_bytes) uint8, or None if it is stored with filters other than HDF5's own

    Raises
    ------
    CorruptFileError
        If some of it is beyond the end of the file.
    """
    file_bytes = path.stat().st_size
    n_elements = dataset.shape[0]
    with path.open("rb") as file:
        if dataset.chunks is None:
            offset = dataset.id.get_offset()
            if offset is None:
                return None if n_elements else np.zeros((0, element_bytes), np.uint8)
            size = n_elements * element_bytes
            data = _read_exactly(file, offset, size, file_bytes, (path, 0, element_bytes))
            return np.frombuffer(data, np.uint8).reshape(n_elements, element_bytes)
        return _chunked_elements(dataset, file, file_bytes, (path, n_elements, element_bytes))


def _chunked_elements(
    dataset: Any, file: BinaryIO, file_bytes: int, what: tuple[Path, int, int]
) -> np.ndarray | None:
    path, n_elements, element_bytes = what
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(k)[0] for k in range(plist.get_nfilters())]
    if not set(filters) <= {DEFLATE, SHUFFLE}:
        return None
    length = dataset.chunks[0]
    raw = np.zeros((n_elements, element_bytes), np.uint8)
    for k in range(dataset.id.get_num_chunks()):
        chunk = dataset.id.get_chunk_info(k)
        first = chunk.chunk_offset[0]
        where = (path, first, element_bytes)
        data = _read_exactly(file, chunk.byte_offset, chunk.size, file_bytes, where)
        used = [code for j, code in enumerate(filters) if not chunk.filter_mask >> j & 1]
        elements = _decoded(bytes(data), used, length, element_bytes)
        raw[first : first + length] = elements[: max(0, n_elements - first)]
    return raw


def _decoded(data: bytes, filters: list[int], length: int, element_bytes: int) -> np.ndarray:
    size = length * element_bytes
    for code in reversed(filters):
        if code == DEFLATE:
            data = zlib.decompressobj().decompress(data, size)
        else:
            shuffled = np.frombuffer(data, np.uint8).reshape(element_bytes, -1)
            data = shuffled.T.tobytes()
    return np.frombuffer(data, np.uint8, size).reshape(length, element_bytes)


def _read_exactly(
    file: BinaryIO, offset: int, size: int, file_bytes: int, what: tuple[Path, int, int]
) -> bytearray:
    path, first, element_bytes = what
    if offset + size > file_bytes:
        frame = first + max(0, file_bytes - offset) // element_bytes
        raise CorruptFileError(
            f"{path} has {file_bytes} bytes, but a table in it would end at byte {offset + size}: "
            f"nothing can be told of frame {frame} and those that follow"
        )
    data = bytearray(size)
    file.seek(offset)
    if file.readinto(data) != size:  # type: ignore[attr-defined]
        raise CorruptFileError(f"{path} became shorter while it was read; open it again")
    return data


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
