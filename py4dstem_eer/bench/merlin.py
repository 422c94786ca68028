"""Opening Merlin acquisitions, beside LiberTEM and beside reading the bytes."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..readers import open_events
from .report import Row, installed
from .timing import best_time, single_time

_CHIP = 256
_DISTINCT = 64
_BLOCK_BYTES = 2**23
#: Pixel type, counter depth, chips, bits of a pixel in the file, hit pixels.
_Case = tuple[str, int, int, int, float]
_CASES: dict[str, _Case] = {
    "R64, 1 bit, one chip": ("R64", 1, 1, 1, 0.005),
    "R64, 1 bit, quad": ("R64", 1, 4, 1, 0.005),
    "U08, 6 bit, one chip": ("U08", 6, 1, 8, 0.02),
    "U16, 12 bit, one chip": ("U16", 12, 1, 16, 0.02),
}


def rows(full: bool) -> Iterator[Row]:
    """Measure files of about 500 MB (full) or 100 MB."""
    for name, case in _CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            yield from _measured(name, case, Path(folder), 500 if full else 100)


def _measured(name: str, case: _Case, folder: Path, megabytes: int) -> Iterator[Row]:
    path, few = folder / "scan.mib", folder / "few.mib"
    scan = (write_scan(path, megabytes, *case) // 64, 64)
    size = path.stat().st_size
    ours = best_time(lambda: open_events(path, scan_shape=scan), 3)
    floor = best_time(lambda: _read(path))
    target = f"<= {size / 1e6:.0f} ms, 1 GB/s" if "1 bit" in name else ""
    yield Row(f"open {name}, {size / 1e6:.0f} MB", ours, "s", floor=floor, target=target)
    if installed("libertem"):
        _libertem_sum(few, (write_scan(few, 1, *case) // 64, 64))()  # compiles
        theirs = single_time(_libertem_sum(path, scan))
        yield Row("  beside summing all patterns", ours, "s", "LiberTEM", theirs)


def write_scan(
    path: Path,
    megabytes: int,
    pixel_type: str,
    depth: int,
    n_chips: int,
    bits: int,
    occupied: float,
) -> int:
    """Write a file of random frames, at least so large; return the number of frames."""
    rng = np.random.default_rng(0)
    n_pixels = n_chips * _CHIP**2
    shape = (_DISTINCT, n_pixels)
    hit = rng.random(shape, np.float32) < occupied
    if bits == 1:
        pixels = np.packbits(hit, axis=1)
    else:
        pixels = (hit * rng.integers(1, 2**depth, shape)).astype(f">u{bits // 8}").view(np.uint8)
    header_bytes = 384 if n_chips == 1 else 768
    n_frames = 64 * -(-megabytes * 10**6 // (64 * (header_bytes + pixels.shape[1])))
    with path.open("wb") as file:
        for k in range(n_frames):
            head = _header(k + 1, pixel_type, depth, n_chips, header_bytes)
            file.write(head + pixels[k % _DISTINCT].tobytes())
    return n_frames


def _header(number: int, pixel_type: str, depth: int, n_chips: int, size: int) -> bytes:
    layout = "1x1" if n_chips == 1 else "2x2"
    return (
        (
            f"MQ1,{number:06d},{size:05d},{n_chips:02d},{_CHIP * n_chips:04d},{_CHIP:04d},"
            f"{pixel_type},{layout:>6},{2**n_chips - 1:02X},2024-01-01 00:00:00.000000,0.001000,"
            f"0,0,0,{'2.000000E+1,' * 8}MQ1A,2024-01-01T00:00:00.000000000Z,1000000ns,{depth},"
        )
        .encode()
        .ljust(size, b"\0")
    )


def _read(path: Path) -> None:
    block = bytearray(_BLOCK_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(block):
            pass


def _libertem_sum(path: Path, scan: tuple[int, int]) -> Callable[[], object]:
    """Return a call that sums all patterns in LiberTEM's threads."""
    import libertem.api as lt
    from libertem.io.dataset.base import BufferedBackend
    from libertem.udf.sum import SumUDF

    context = lt.Context.make_with("threads")
    data = context.load("mib", path=str(path), nav_shape=scan, io_backend=BufferedBackend())
    return functools.partial(context.run_udf, data, SumUDF())
