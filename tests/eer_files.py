"""Small Falcon files, written bit by bit in lines that share nothing with the package, and the
dense truth that belongs to them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

#: compression, bits to skip pixels, across, down, and whether overflows carry unused bits.
VERSIONS = {
    "v0": (65000, 8, 2, 2, False),
    "v0_waste": (65000, 8, 2, 2, True),
    "v1": (65001, 7, 2, 2, False),
    "v2_7_1_1": (65002, 7, 1, 1, False),
    "v2_7_2_2": (65002, 7, 2, 2, False),
    "v2_8_2_2": (65002, 8, 2, 2, False),
    "v2_5_1_3": (65002, 5, 1, 3, False),
    "v2_10_3_2": (65002, 10, 3, 2, False),
    "v2_4_4_4": (65002, 4, 4, 4, False),
}
SHORT, LONG, UNDEFINED, LONG8 = 3, 4, 7, 16
_WIDTH = {SHORT: "H", LONG: "I", LONG8: "Q"}
ACQUISITION = (
    '<metadata><item name="acquisitionID">A-007</item>'
    '<item name="exposureTime" unit="s">2.5</item>'
    '<item name="meanDoseRate" unit="e/pixel/s">0.75</item>'
    '<item name="numberOfFrames">35</item>'
    '<item name="cameraName">EF-Falcon</item>'
    '<item name="serialNumber">0042</item>'
    '<item name="sensorPixelSize.width" unit="m">1e-10</item>'
    '<item name="timestamp">2026-01-02T03:04:05+00:00</item></metadata>'
)


@dataclass
class Frame:
    """Pixels hit, ascending, and the true position below each, from 0 on."""

    flat: np.ndarray
    across: np.ndarray
    down: np.ndarray


def random_frame(rng, shape, n_electrons, version):
    _, _, horizontal, vertical, _ = VERSIONS[version]
    n_pixels = shape[0] * shape[1]
    flat = np.sort(rng.choice(n_pixels, min(n_electrons, n_pixels), replace=False))
    across = rng.integers(0, 2**horizontal, len(flat))
    return Frame(flat, across, rng.integers(0, 2**vertical, len(flat)))


def random_frames(rng, n, shape, version, mean=8):
    """Return frames of which the first are special: empty, only the last pixel, full."""
    special = [0, None, shape[0] * shape[1], 1]
    frames = []
    for k in range(n):
        amount = special[k] if k < len(special) else int(rng.poisson(mean))
        frame = random_frame(rng, shape, 1 if amount is None else amount, version)
        if amount is None:
            frame.flat[:] = shape[0] * shape[1] - 1
        frames.append(frame)
    return frames


class Bits:
    """Bits in the order of the stream."""

    def __init__(self):
        self.text = []

    def put(self, value, width):
        self.text.append(format(value, f"0{width}b")[::-1] if width else "")

    def packed(self, multiple):
        text = "".join(self.text)
        text += "0" * (-len(text) % (8 * multiple))
        return int(text[::-1] or "0", 2).to_bytes(len(text) // 8, "little")


def encode(frame, shape, version, end=True, multiple=8):
    """Return the stream of a frame, filled up with zeros to a multiple of bytes."""
    _, skip, horizontal, vertical, waste = VERSIONS[version]
    bits = Bits()

    def advance(pixels):
        while pixels >= 2**skip - 1:
            bits.put(2**skip - 1, skip)
            if waste:
                bits.put((0, 15, 5)[pixels // (2**skip - 1) % 3], 4)  # they mean nothing
            pixels -= 2**skip - 1
        bits.put(pixels, skip)

    here = 0
    for flat, across, down in zip(frame.flat, frame.across, frame.down, strict=True):
        advance(int(flat) - here)
        # the highest bit is kept inverted
        bits.put(int(across) ^ 2 ** (horizontal - 1), horizontal)
        bits.put(int(down) ^ 2 ** (vertical - 1), vertical)
        here = int(flat) + 1
    if end:
        advance(shape[0] * shape[1] - here)
        bits.put(0, horizontal + vertical)
        bits.put(0, 16)  # imagecodecs does not look at a code in the last bits
    return bits.packed(multiple)


@dataclass
class Page:
    """A page: its tags as {number: (kind, values or bytes)}, and its strips."""

    tags: dict
    strips: list = field(default_factory=list)


def frame_page(stream, shape, version, n_strips=1, texts=None):
    compression, skip, horizontal, vertical, _ = VERSIONS[version]
    tags = {
        256: (LONG, [shape[1]]),
        257: (LONG, [shape[0]]),
        258: (SHORT, [1]),
        259: (SHORT, [compression]),
        262: (SHORT, [1]),
        277: (SHORT, [1]),
        278: (LONG, [-(-shape[0] // n_strips)]),
    }
    if compression == 65002:
        tags |= {65007: (SHORT, [skip]), 65008: (SHORT, [horizontal]), 65009: (SHORT, [vertical])}
    for tag, text in (texts or {}).items():
        tags[tag] = (UNDEFINED, text.encode())
    cuts = [len(stream) * k // n_strips for k in range(n_strips + 1)]
    return Page(tags, [stream[a:b] for a, b in pairwise(cuts)])


def image_page(image, texts=None):
    """Return a page of 16-bit numbers as they are."""
    tags = {
        256: (LONG, [image.shape[1]]),
        257: (LONG, [image.shape[0]]),
        258: (SHORT, [16]),
        259: (SHORT, [1]),
        262: (SHORT, [1]),
        277: (SHORT, [1]),
        278: (LONG, [image.shape[0]]),
    }
    tags |= {tag: (UNDEFINED, text.encode()) for tag, text in (texts or {}).items()}
    return Page(tags, [image.astype("<u2").tobytes()])


def write_pages(path, pages, strip_kind=LONG8, gap=0):
    """Write BigTIFF: for each page its strips, long values, table; `gap` shifts what follows."""
    data = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
    link = 8

    def append(raw):
        data.extend(bytes(gap))
        data.extend(raw)
        return len(data) - len(raw)

    for page in pages:
        offsets = [append(strip) for strip in page.strips]
        tags = {273: (strip_kind, offsets), 279: (strip_kind, [len(s) for s in page.strips])}
        entries = []
        for number, (kind, values) in sorted({**tags, **page.tags}.items()):
            raw = (
                values
                if kind == UNDEFINED
                else struct.pack(f"<{len(values)}{_WIDTH[kind]}", *values)
            )
            place = raw.ljust(8, b"\0") if len(raw) <= 8 else struct.pack("<Q", append(raw))
            entries.append(struct.pack("<HHQ", number, kind, len(values)) + place)
        table = append(struct.pack("<Q", len(entries)) + b"".join(entries) + bytes(8))
        data[link : link + 8] = struct.pack("<Q", table)
        link = len(data) - 8
    path.write_bytes(data)


def write_frames(path, frames, shape, version, n_strips=1, final_image=False, **how):
    """Write frames with an acquisition text, after an image of their sum if that is asked for."""
    pages = []
    if final_image:
        text = '<metadata><item name="binning">1</item></metadata>'
        total = dense(frames, shape, version).sum(axis=0)
        pages.append(image_page(total, {65001: ACQUISITION, 65006: text}))
    for k, frame in enumerate(frames):
        texts = {65002: f'<metadata><item name="frameID">{k}</item></metadata>'}
        if not pages:
            texts[65001] = ACQUISITION
        pages.append(frame_page(encode(frame, shape, version), shape, version, n_strips, texts))
    write_pages(path, pages, **how)


def dense(frames, shape, version, superres=0):
    """Return the counts of every frame (n, rows, columns), on a grid 2**superres times finer."""
    _, _, horizontal, vertical, _ = VERSIONS[version]
    fine = 2**superres
    array = np.zeros((len(frames), shape[0] * fine, shape[1] * fine), np.int64)
    for k, frame in enumerate(frames):
        row, column = frame.flat // shape[1], frame.flat % shape[1]
        row = row * fine + frame.down * fine // 2**vertical
        column = column * fine + frame.across * fine // 2**horizontal
        array[k, row, column] += 1
    return array


def make(path, version="v1", seed=0, scan=(5, 7), shape=(12, 9), mean=8, per_position=1, **how):
    """Write a random file; return its frames and the dense truth at superres 0."""
    rng = np.random.default_rng(seed)
    n = scan[0] * scan[1] * per_position
    frames = random_frames(rng, n, shape, version, mean)
    write_frames(path, frames, shape, version, **how)
    truth = dense(frames, shape, version).reshape(*scan, per_position, *shape).sum(axis=2)
    return frames, truth
