"""Files that are packed: what holds the events is inside."""

from __future__ import annotations

from pathlib import Path

#: How packed files begin.
_STARTS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
}


def packing_hint(path: Path) -> str:
    """Return how a file is packed and what to do, to add to a message; "" if it is not."""
    with path.open("rb") as file:
        start = file.read(max(map(len, _STARTS)))
    for magic, name in _STARTS.items():
        if start.startswith(magic):
            return f"; it is compressed with {name}: unpack it first"
    return ""
