"""Damage done to small files of every format, and what a reader may do with them.

A case is a number: it decides which file of an example is damaged and how, the same on every
machine. `check_case` writes the damaged files, reads them in every way, and returns what is wrong
with the outcome, or None. A reader may give a valid store, or an error of `py4dstem_eer.errors`
that names the file; and FileNotFoundError where a companion file is missing.
"""

from __future__ import annotations

import re
import tracemalloc
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from format_examples import EXAMPLES, VARIANTS

from py4dstem_eer.errors import EventError, EventWarning, ParameterError
from py4dstem_eer.readers import detect, load_reader, open_events

#: Memory that reading may take: so many times the files, and so much more [bytes].
TIMES_FILE, FIXED_BYTES = 64, 2**25
#: Of the process as a whole, for the interpreter, threads, and what others of them do [bytes].
ACCIDENT_BYTES = 2**26
STATUS, PEAK_RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PEAK = re.compile(r"VmHWM:\s+(\d+) kB")
_WIDTHS = (1, 2, 4, 8)
_NUMBERS = re.compile(rb"\d+")
_TEXTS = (b"0", b"-1", b"1", b"7", b"65536", b"4294967295", b"999999999999", b"1e300", b"nan", b"x")
_HEAD_BYTES = 2048
_ROWS_ALONE = 8


@dataclass
class Sample:
    """An example as bytes."""

    reader: str
    main: str
    options: dict
    files: dict[str, bytes]


def load_sample(name, folder):
    """Return the example or the variant called `name`, written to an empty folder first."""
    reader, write = VARIANTS[name] if name in VARIANTS else (name, EXAMPLES[name])
    folder.mkdir(parents=True)
    path, options = write(folder)
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return Sample(reader, str(Path(path).relative_to(folder)), options, files)


def load_donors(sample, folder):
    """Return contents to splice with: those of all samples of the format, and of another."""
    names = dict.fromkeys([*samples_of(sample.reader), "stempy"])
    samples = [load_sample(name, folder / f"donor {name}") for name in names]
    return [data for donor in samples for data in donor.files.values() if data]


def samples_of(reader):
    """Return the names of all samples of a format."""
    return [reader, *(name for name, (of, _) in VARIANTS.items() if of == reader)]


# damage


def cut(data, rng, donors):
    return data[: rng.integers(len(data) + 1)]


def flip_bits(data, rng, donors):
    for at in rng.integers(0, len(data), rng.integers(1, 9)):
        data[at] ^= 1 << rng.integers(8)
    return data


def set_extremes(data, rng, donors):
    """Overwrite whole numbers, mostly at the head where counts and sizes are."""
    head = min(len(data), _HEAD_BYTES)
    for _ in range(rng.integers(1, 4)):
        width = int(rng.choice(_WIDTHS))
        top = 8 * width
        values = (0, 1, 2**top - 1, 2 ** (top - 1), 2 ** (top - 1) - 1, 2 ** (top * 5 // 8))
        value = int(values[rng.integers(len(values))])
        at = int(rng.integers(head if rng.random() < 0.6 else len(data)))
        if rng.random() < 0.5:
            at -= at % width
        piece = value.to_bytes(width, "big" if rng.random() < 0.2 else "little")
        data[at : at + width] = piece[: len(data) - at]
    return data


def set_sizes(data, rng, donors):
    """Replace a whole number that may be a size or a place: small, at a multiple of its width."""
    width = int(rng.choice((4, 8)))
    numbers = np.frombuffer(data[: len(data) // width * width], f"<u{width}")
    found = np.flatnonzero((numbers > 0) & (numbers <= 2 * len(data)))
    if len(found) == 0:
        return set_extremes(data, rng, donors)
    for at in found[rng.integers(0, len(found), rng.integers(1, 3))] * width:
        value = 2 ** int(rng.integers(8 * width)) - int(rng.integers(2))
        data[at : at + width] = value.to_bytes(width, "little")
    return data


def set_numbers(data, rng, donors):
    """Replace a number that is written as text."""
    found = list(_NUMBERS.finditer(data[:_HEAD_BYTES]))
    if not found:
        return set_extremes(data, rng, donors)
    match = found[rng.integers(len(found))]
    data[match.start() : match.end()] = _TEXTS[rng.integers(len(_TEXTS))]
    return data


def splice(data, rng, donors):
    """Join the beginning of this file and the end of another."""
    other = donors[rng.integers(len(donors))]
    return data[: rng.integers(len(data) + 1)] + other[rng.integers(len(other) + 1) :]


def paste(data, rng, donors):
    """Write a piece of this or another file over this one."""
    other = donors[rng.integers(len(donors))]
    length = int(rng.integers(1, 512))
    source, target = (int(rng.integers(max(1, len(d) - length))) for d in (other, data))
    piece = other[source : source + length]
    data[target : target + len(piece)] = piece
    return data


def repeat_block(data, rng, donors):
    start, stop = _block(data, rng)
    return data[:stop] + data[start:stop] * int(rng.integers(1, 4)) + data[stop:]


def remove_block(data, rng, donors):
    start, stop = _block(data, rng)
    return data[:start] + data[stop:]


def randomise_rest(data, rng, donors):
    """Keep the magic bytes, or a head, and nothing else."""
    kept = int(rng.choice((4, 8, 16, 64, 512)))
    return data[:kept] + bytearray(rng.bytes(max(0, len(data) - kept)))


def _block(data, rng):
    unit = int(rng.choice((1, 8, 64, 512)))
    start = int(rng.integers(len(data))) // unit * unit
    return start, start + unit * int(rng.integers(1, 9))


KINDS = (
    cut,
    flip_bits,
    flip_bits,
    set_extremes,
    set_extremes,
    set_sizes,
    set_numbers,
    splice,
    paste,
    repeat_block,
    remove_block,
    randomise_rest,
)


def damaged(sample, case, donors):
    """Return the files of a sample with the damage number `case`, and what it is."""
    rng = np.random.default_rng([zlib.crc32(sample.main.encode()), case])
    files, names, done = dict(sample.files), sorted(sample.files), []
    for _ in range(1 + (rng.random() < 0.2)):
        name = names[rng.integers(len(names))]
        if name != sample.main and rng.random() < 0.03:
            files.pop(name, None)
            done.append(f"{name} removed")
        elif files.get(name):
            kind = KINDS[rng.integers(len(KINDS))]
            files[name] = bytes(kind(bytearray(files[name]), rng, donors))
            done.append(f"{kind.__name__} in {name}")
    return files, ", ".join(done)


# reading


class FoundError(AssertionError):
    """A reader did what it must not do."""


@dataclass
class Outcome:
    """What reading gave: a store, or an error."""

    store: object = None
    error: Exception | None = None

    def __str__(self):
        return "a read" if self.error is None else f"{type(self.error).__name__}: {self.error}"


def check_case(sample, case, donors, folder):
    """Return what is wrong with the reading of a damaged file, or None."""
    files, damage = damaged(sample, case, donors)
    write_files(files, folder)
    try:
        loaded = check_files(sample, files, folder)
    except FoundError as finding:
        return f"{damage}: {finding}"
    unread = files == sample.files and loaded.error is not None
    return f"{damage} changes nothing, but gives {loaded}" if unread else None


def check_whole(sample, folder):
    """Raise FoundError unless the files are read as they are; compiles what reading them needs."""
    write_files(sample.files, folder)
    loaded = check_files(sample, sample.files, folder)
    if loaded.error is not None:
        raise FoundError(f"the file is whole, but gives {loaded}")


def write_files(files, folder):
    for old in folder.rglob("*"):
        if old.is_file() and str(old.relative_to(folder)) not in files:
            old.unlink()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def check_files(sample, files, folder):
    """Return the outcome in memory; raise FoundError unless every way to read ends as it may."""
    path = folder / sample.main
    limited(files, "detect", lambda: detect(path))
    loaded = attempt(sample, files, path, "RAM")
    streamed = attempt(sample, files, path, "MEMMAP")
    expect_agreement(loaded, streamed, "RAM and MEMMAP")
    if "errors" in load_reader(sample.reader).USES:
        skipped = attempt(sample, files, path, "RAM", errors="skip")
        if loaded.error is None:
            expect_agreement(loaded, skipped, "errors='raise' and 'skip'")
        expect_agreement(
            skipped, attempt(sample, files, path, "MEMMAP", errors="skip"), "skip, RAM and MEMMAP"
        )
    return loaded


def attempt(sample, files, path, mem, **options):
    """Read the files in one way."""

    def read():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", EventWarning)
            store = open_events(path, sample.reader, mem=mem, **{**sample.options, **options})
            return by_rows(store) if mem == "MEMMAP" else store

    def judged():
        try:
            store = read()
            store.validate()
            return Outcome(store)
        except (EventError, FileNotFoundError) as error:
            return Outcome(error=permitted(error, sample, path))

    return limited(files, f"{mem} {options}", judged)


def by_rows(store):
    """Return the events of a streamed store after counting them and reading it row by row."""
    electrons = counted(store)
    whole = store.load()
    if electrons is not None:
        expect_counted(electrons, whole)
    if store.n_events != whole.n_events:
        raise FoundError(f"{store.n_events} events promised, {whole.n_events} read")
    n_rows = store.scan_shape[0]
    for row in range(min(n_rows, _ROWS_ALONE)):
        expect_same(store.read_rows(row, row + 1), whole.read_rows(row, row + 1), f"row {row}")
    return whole


def counted(store):
    """Return the electrons of all patterns, the error that ends it, or None if it must be read."""
    try:
        return None if store.electrons is None else store.electrons(0, store.n_patterns)
    except EventError as error:
        return error


def expect_counted(electrons, whole):
    if isinstance(electrons, EventError):
        raise FoundError(f"the events can be read but not counted: {electrons!r}")
    counts = np.ones(len(whole.indices)) if whole.counts is None else whole.counts
    ends = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])[whole.indptr]
    if not np.array_equal(electrons, np.diff(ends)):
        raise FoundError(f"{electrons} electrons are counted, {np.diff(ends)} read")


def permitted(error, sample, path):
    """Return an error that a reader may raise."""
    cause = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            raise FoundError(f"too much memory was asked for: {cause}")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, FileNotFoundError) and len(sample.files) == 1:
        raise FoundError(f"there is one file, yet {error!r}")
    if str(path.parent) not in str(error) and not isinstance(error, ParameterError):
        raise FoundError(f"the error names no file: {error!r}")
    return error


def limited(files, what, read):
    """Return read(), unless it raises something else, or takes too much memory."""
    total = sum(map(len, files.values()))
    for again in (True, False):
        result, asked, touched = measured(what, read)
        within = asked <= TIMES_FILE * total + FIXED_BYTES
        if within and touched <= TIMES_FILE * total + FIXED_BYTES + ACCIDENT_BYTES:
            break
        if not again:  # once may be a kernel that was compiled
            raise FoundError(f"{what} took {max(asked, touched)} bytes for {total} of files")
    return result


def measured(what, read):
    """Return read(), the bytes that Python and NumPy asked for, and those of the process used.

    Tracing stays on: where it is stopped, a thread that is just ending can crash (cpython#128679,
    which Python 3.11 has).
    """
    before = resident(reset_peak=True)
    if not tracemalloc.is_tracing():
        tracemalloc.start()
    tracemalloc.clear_traces()
    try:
        result = read()
        asked = tracemalloc.get_traced_memory()[1]
    except FoundError:
        raise
    except Exception as error:
        raise FoundError(f"{what} raised {error!r}") from error
    return result, asked, resident() - before


def resident(reset_peak=False):
    """Return the largest memory of this process since the last reset [bytes]; 0 if unknown."""
    if not PEAK_RESET.exists():
        return 0
    if reset_peak:
        PEAK_RESET.write_text("5")
    return int(PEAK.search(STATUS.read_text())[1]) * 1024


def expect_agreement(a, b, what):
    if (a.error is None) != (b.error is None) or type(a.error) is not type(b.error):
        raise FoundError(f"{what} disagree: {a}; {b}")
    if a.error is None:
        expect_same(a.store, b.store, what)


def expect_same(a, b, what):
    if a.shape != b.shape:
        raise FoundError(f"{what}: shapes {a.shape} and {b.shape}")
    counts = [np.ones(len(s.indices)) if s.counts is None else s.counts for s in (a, b)]
    pairs = ((a.indptr, b.indptr), (a.indices, b.indices), counts)
    if not all(np.array_equal(x, y) for x, y in pairs):
        raise FoundError(f"{what}: different events")
