"""Small Merlin files of every kind, written pixel by pixel with nothing from the package."""

from __future__ import annotations

import numpy as np

#: Pixel type, bits of the counters.
NUMBERS = (("U08", 1), ("U08", 6), ("U16", 12), ("U32", 24))
RAW = (("R64", 1), ("R64", 6), ("R64", 12), ("R64", 24))
#: Pixel type, bits of the counters, layout of the chips: all that can be read.
KINDS = (
    *((kind, depth, layout) for kind, depth in NUMBERS for layout in ("1x1", "2x2", "2x2G", "4x1")),
    *((kind, depth, "1x1") for kind, depth in RAW),
    *((kind, depth, "2x2") for kind, depth in RAW if depth != 24),
)
_CHIPS = {"1x1": 1, "2x2": 4, "2x2G": 4, "4x1": 4, "2x1": 2}
_DACS = "3RX," + ",".join(f"{dac:03d}" for dac in range(27))


def image_shape(layout, side=64):
    """Return the shape of an image by chips of side x side pixels, smaller than they really are."""
    return {
        "1x1": (side, side),
        "2x2": (2 * side, 2 * side),
        "2x2G": (2 * side + 2, 2 * side + 2),
        "4x1": (side, 4 * side),
    }[layout]


def random_images(rng, n_frames, shape, depth, density=0.02):
    """Return counts (n_frames, rows, columns); some frames empty, some pixels at their limit."""
    hit = rng.random((n_frames, *shape)) < density
    hit[rng.random(n_frames) < 0.15] = False
    values = np.minimum(rng.geometric(0.3, hit.shape), 2**depth - 1)
    values[rng.random(hit.shape) < 0.1] = 2**depth - 1
    return np.where(hit, values, 0).astype(np.uint32)


def frame_header(number, kind, depth, layout, width, height, size=None, more=""):
    chips = _CHIPS[layout]
    size = size or (384 if chips == 1 else 768)
    text = (
        f"MQ1,{number:06d},{size:05d},{chips:02d},{width:04d},{height:04d},{kind},{layout:>6},"
        f"{2**chips - 1:02X},2024-02-03 04:05:06.{number % 10**6:06d},0.002500,0,0,0,"
        "2.000000E+1,5.110000E+2," + "0.000000E+0," * 6
    )
    text += ",".join([_DACS] * chips) + ","
    text += f"MQ1A,2024-02-03T04:05:06.{number % 10**6:06d}000Z,2500000ns,{depth},{more}"
    assert len(text) <= size
    return text.encode().ljust(size, b"\0")


def words_of(row, depth):
    """Return a row of raw pixels as bytes: big-endian words whose last bits are the first pixel."""
    bits = {1: 1, 6: 8, 12: 16}[depth]
    per_word = 64 // bits
    out = b""
    for first in range(0, len(row), per_word):
        word = 0
        for k, value in enumerate(row[first : first + per_word].tolist()):
            word |= value << (bits * k)
        out += word.to_bytes(8, "big")
    return out


def raw_rows(image, layout):
    """Return the rows that a single chip, or the four of a quad, send together."""
    if layout == "1x1":
        return list(image)
    side = len(image) // 2
    upright = [image[:side, :side], image[:side, side:]]
    rotated = [image[side:, :side][::-1, ::-1], image[side:, side:][::-1, ::-1]]
    first, second, third, fourth = *upright, *rotated
    return [np.concatenate(chips) for chips in zip(fourth, third, second, first, strict=True)]


def pixels(image, kind, depth, layout):
    """Return (bytes, width, height) of a frame, width and height as its header has them."""
    if kind != "R64":
        dtype = {"U08": ">u1", "U16": ">u2", "U32": ">u4"}[kind]
        return image.astype(dtype).tobytes(), image.shape[1], image.shape[0]
    rows = raw_rows(image, layout)
    if depth == 24:
        halves = [[row >> 12 for row in rows], [row & 4095 for row in rows]]
        data = b"".join(words_of(row, 12) for half in halves for row in half)
        return data, 2 * len(rows[0]), len(rows)
    return b"".join(words_of(row, depth) for row in rows), len(rows[0]), len(rows)


def frames(images, kind, depth, layout, first=1, **header):
    """Return every frame with its header, as bytes."""
    out = []
    for k, image in enumerate(images):
        data, width, height = pixels(image, kind, depth, layout)
        out.append(frame_header(first + k, kind, depth, layout, width, height, **header) + data)
    return out


def write_hdr(path, n_frames, per_trigger=1, scan=None, depth=None, newline="\r\n"):
    """Write a .hdr file; `scan` is (rows, columns)."""
    lines = [
        "HDR,\t",
        "Time and Date Stamp (day, mnth, yr, hr, min, s):\t03/02/2024 04:05:06",
        "Chip ID:\tW1_A2, - , - , - ",
        "Chip Type (Medipix 3.0, Medipix 3.1, Medipix 3RX):\tMedipix 3RX",
        f"Frames in Acquisition (Number):\t{n_frames}",
        f"Frames per Trigger (Number):\t{per_trigger}",
        "Sensor Bias (V):\t120 V",
        "Medipix Clock (MHz):\t160MHz",
        "Readout System:\tMerlin Quad",
        "Software Version:\t1.5.0.197",
    ]
    if depth is not None:
        lines.append(f"Counter Depth (number):\t{depth}")
    if scan is not None:
        lines += [f"ScanX:\t{scan[1]}", f"ScanY:\t{scan[0]}"]
    text = newline.join([*lines, "End\t"])
    path.write_bytes(text.encode().ljust(2048))


def write(path, scan=(3, 4), kind="R64", depth=1, layout="1x1", seed=0, hdr="triggers", **options):
    """Write a random scan, with its .hdr file; return the counts (Rx, Ry, Qx, Qy).

    `hdr` says how it tells the shape of the scan: "triggers", "scan", "nothing", or None for no
    .hdr file. Options are those of `random_images` and `frame_header`, and `shape` of the image or
    `side` of a chip.
    """
    rng = np.random.default_rng(seed)
    side = options.pop("side", 64)
    shape = options.pop("shape", None) or image_shape(layout, side)
    density = options.pop("density", 0.02)
    n_frames = scan[0] * scan[1]
    images = random_images(rng, n_frames, shape, depth, density)
    path.write_bytes(b"".join(frames(images, kind, depth, layout, **options)))
    told = {"depth": depth, "scan": scan if hdr == "scan" else None}
    if hdr is not None:
        per_trigger = scan[1] if hdr == "triggers" else 1
        write_hdr(path.with_suffix(".hdr"), n_frames, per_trigger, **told)
    return images.reshape(*scan, *shape)


def write_parts(folder, name, lengths, scan, seed=0, numbers=None, hdr=True):
    """Write an acquisition in several small files; return its counts and the paths."""
    rng = np.random.default_rng(seed)
    images = random_images(rng, sum(lengths), (64, 64), 1)
    whole = frames(images, "R64", 1, "1x1")
    paths, done = [], 0
    for k, length in enumerate(lengths):
        number = k if numbers is None else numbers[k]
        paths.append(folder / f"{name}{number}.mib")
        paths[-1].write_bytes(b"".join(whole[done : done + length]))
        done += length
    if hdr:
        write_hdr(folder / f"{name}.hdr", sum(lengths), scan[1], depth=1)
    return images.reshape(*scan, 64, 64), paths
