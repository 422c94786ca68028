"""Digital Micrograph files, made tag by tag."""

from __future__ import annotations

import struct

import numpy as np

LONG, FLOAT, DOUBLE, USHORT, ULONG, ARRAY = 3, 6, 7, 4, 5, 20
CODES = {"uint16": USHORT, "uint32": ULONG, "float32": FLOAT}


def write_dm(path, tree, version=4):
    """Write a Digital Micrograph file with the tags of nested dicts; lists are unnamed groups."""
    word = ">I" if version == 3 else ">Q"

    def wide(*numbers):
        return b"".join(struct.pack(word, number) for number in numbers)

    def value(data):
        if isinstance(data, str):
            units = data.encode("utf-16-le")
            return wide(3, ARRAY, USHORT, len(data)), units
        if isinstance(data, np.ndarray):
            return wide(3, ARRAY, CODES[data.dtype.name], data.size), data.tobytes()
        if isinstance(data, int):
            return wide(1, LONG), struct.pack("<i", data)
        kind, code = (DOUBLE, "<d") if version == 4 else (FLOAT, "<f")
        return wide(1, kind), struct.pack(code, data)

    def entry(name, data):
        label = name.encode()
        if isinstance(data, (dict, list)):
            body = group(data)
            size = wide(len(body)) if version == 4 else b""
            return struct.pack(">BH", 20, len(label)) + label + size + body
        info, raw = value(data)
        body = b"%%%%" + info + raw
        size = wide(len(body)) if version == 4 else b""
        return struct.pack(">BH", 21, len(label)) + label + size + body

    def group(data):
        pairs = data.items() if isinstance(data, dict) else [("", item) for item in data]
        entries = [entry(name, item) for name, item in pairs]
        return struct.pack(">BB", 1, 0) + wide(len(entries)) + b"".join(entries)

    body = group(tree)
    path.write_bytes(struct.pack(">I", version) + wide(len(body)) + struct.pack(">I", 1) + body)
