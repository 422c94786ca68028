"""The files of one Merlin acquisition: which they are, and whether they fit together."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import CorruptFileError, EventError
from .merlin_encoding import Encoding, encoding_of
from .merlin_header import (
    Companion,
    FrameHeader,
    is_companion,
    read_companion,
    read_frame_header,
    read_start,
)
from .stamps import stamp_of

_SUFFIX = ".mib"
#: Acquisitions begin with frame 1; some software counts from 0.
_FIRST_NUMBERS = (0, 1)


@dataclass(frozen=True, eq=False)
class DataFile:
    """One file of frames.

    Attributes
    ----------
    path : Path
    header : FrameHeader
        Of its first frame.
    n_frames : int
        Whole frames.
    rest : int
        Bytes after them.
    stamp : tuple
        Changes when the file does.
    """

    path: Path
    header: FrameHeader
    encoding: Encoding
    n_frames: int
    rest: int
    stamp: tuple[int, ...]

    @property
    def frame_bytes(self) -> int:
        """Bytes from one header to the next."""
        return self.header.n_bytes + self.encoding.frame_bytes

    @property
    def begins(self) -> bool:
        """Whether this is the first file of an acquisition."""
        return self.header.number in _FIRST_NUMBERS


@dataclass(frozen=True, eq=False)
class Acquisition:
    """The files of one acquisition, in order.

    Attributes
    ----------
    path : Path
        What the user opened.
    companion : Companion, optional
        The .hdr file.
    files : tuple of DataFile
        At least one.
    """

    path: Path
    companion: Companion | None
    files: tuple[DataFile, ...]

    @property
    def header(self) -> FrameHeader:
        """The first header."""
        return self.files[0].header

    @property
    def encoding(self) -> Encoding:
        """How all frames are encoded."""
        return self.files[0].encoding

    @property
    def frame_bytes(self) -> int:
        """Bytes from one header to the next."""
        return self.files[0].frame_bytes

    @property
    def n_frames(self) -> int:
        """Whole frames in all files."""
        return sum(file.n_frames for file in self.files)

    @property
    def n_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.n_frames * self.frame_bytes + file.rest for file in self.files)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Paths of all files, with that of the .hdr file."""
        companion = () if self.companion is None else (self.companion.path,)
        return (*companion, *(file.path for file in self.files))

    @property
    def first_number(self) -> int:
        """Number that the first frame of the acquisition has, or should have."""
        return self.header.number if self.files[0].begins else 1

    def place(self, frame: int) -> tuple[DataFile, int]:
        """Return the file of a frame, counted from 0 through all files, and where in it."""
        for file in self.files:
            if frame < file.n_frames:
                return file, frame
            frame -= file.n_frames
        raise IndexError(f"there are {self.n_frames} frames")


def open_acquisition(path: Path, skip: bool) -> Acquisition:
    """Find all files that belong to the one that is opened, a .mib file or its .hdr file.

    Parameters
    ----------
    path : Path
    skip : bool
        Whether files are left out that cannot be read, or are missing.

    Raises
    ------
    FileNotFoundError
        If a .hdr file has no files of frames.
    FormatError
        If it is neither, or the frames are encoded in a way that cannot be read.
    CorruptFileError
        If the files do not fit together.
    """
    opened, companion_path, candidates = _found(path)
    companion = None if companion_path is None else read_companion(companion_path)
    if opened in candidates:
        files = _joined(candidates, candidates.index(opened), skip)
    else:
        files = _lead_by(opened, candidates, skip)
    acquisition = Acquisition(path, companion, tuple(files))
    _check_companion(acquisition)
    if not skip:
        _check_complete(acquisition)
    return acquisition


def _found(path: Path) -> tuple[Path, Path | None, list[Path]]:
    """Return the file to begin with, the .hdr file, and all that may be of this acquisition.

    Those of a link are beside it, or else beside what it points to.
    """
    companion, candidates = _candidates(path)
    if not path.is_symlink() or (companion is not None and any(map(_has_bytes, candidates))):
        return path, companion, candidates
    target = path.resolve()
    there, others = _candidates(target)
    led = there is not None and any(map(_has_bytes, others))
    if led or (companion is None and len(candidates) == 1 < len(others)):
        return target, there, others
    return path, companion, candidates


def _has_bytes(path: Path) -> bool:
    return path.stat().st_size > 0


def _candidates(path: Path) -> tuple[Path | None, list[Path]]:
    """Return the .hdr file, if there is one, and all that may be files of this acquisition."""
    if is_companion(read_start(path)):
        return path, _named_after(path.parent, path.stem, with_itself=True)
    own = path.with_suffix(".hdr")
    if path.suffix.lower() != _SUFFIX:
        return own if own.exists() else None, [path]
    if own.exists():
        return own, _named_after(path.parent, path.stem, with_itself=True)
    digits = re.search(r"\d*$", path.stem)
    n_digits = 0 if digits is None else len(digits[0])
    for kept in range(n_digits - 1, -1, -1):
        stem = path.stem[: len(path.stem) - n_digits + kept]
        shared = path.with_name(f"{stem}.hdr")
        if stem and shared.exists():
            return shared, _named_after(path.parent, stem, with_itself=True)
    if not n_digits:
        return None, [path]
    return None, _named_after(path.parent, path.stem[:-n_digits], with_itself=False)


def _named_after(folder: Path, stem: str, with_itself: bool) -> list[Path]:
    """Return the data files called like `stem` and a number, in the order of the numbers."""
    pattern = re.compile(re.escape(stem) + r"(\d*)" + re.escape(_SUFFIX), re.IGNORECASE)
    names = os.listdir(folder)
    companions = {name for name in names if name.lower().endswith(".hdr")}
    found = []
    for name in names:
        match = pattern.fullmatch(name)
        if match is None or not name.startswith(stem):
            continue
        alone = bool(match[1]) and f"{name[: -len(_SUFFIX)]}.hdr" in companions
        if not alone and (match[1] or with_itself):
            found.append((int(match[1] or -1), name))
    return [folder / name for _, name in sorted(found)]


def _joined(candidates: list[Path], at: int, skip: bool) -> list[DataFile]:
    """Return the files of the acquisition that candidates[at] belongs to."""
    opened = _read_file(candidates[at])
    before: list[DataFile] = []  # from the last to the first
    for path in reversed(candidates[:at]):
        if (before or [opened])[-1].begins:
            break
        file = _neighbour(path, opened, skip)
        if file and not _alike(file, opened):
            break
        before += [file] if file else []
    after: list[DataFile] = []
    for path in candidates[at + 1 :]:
        file = _neighbour(path, opened, skip)
        if file and (file.begins or not _alike(file, opened)):
            break
        after += [file] if file else []
    return [*reversed(before), opened, *after]


def _lead_by(path: Path, candidates: list[Path], skip: bool) -> list[DataFile]:
    """Return the files that a .hdr file leads to."""
    present = list(filter(_has_bytes, candidates))
    if not present:
        raise FileNotFoundError(
            f"{path} belongs to {path.stem}{_SUFFIX}, or to {path.stem}0{_SUFFIX} and so on, and "
            "there is no such file with frames in its folder"
        )
    files = _joined(present, 0, skip)
    belonging = {file.path for file in files}
    beyond = [candidate for candidate in present[1:] if candidate not in belonging]
    if beyond and files[0].path.stem != path.stem:
        raise CorruptFileError(
            f"{path} has several acquisitions beside it: one begins with {files[0].path.name}, "
            f"and {beyond[0].name} is not a part of it; open one of the two"
        )
    return files


def _alike(a: DataFile, b: DataFile) -> bool:
    return a.header.geometry == b.header.geometry and a.frame_bytes == b.frame_bytes


def _neighbour(path: Path, opened: DataFile, skip: bool) -> DataFile | None:
    """Return a file of the same name but for its number, or None if there is nothing in it."""
    if not _has_bytes(path):
        return None
    try:
        return _read_file(path, opened)
    except EventError:
        if skip:
            return None
        raise


def _read_file(path: Path, like: DataFile | None = None) -> DataFile:
    """Return a file of frames; those encoded as in `like` share its description."""
    stamp = stamp_of(path)
    with path.open("rb") as file:
        header = read_frame_header(file, 0, path)
    if like is not None and _same_kind(header, like.header):
        encoding = like.encoding
    else:
        encoding = encoding_of(header, path)
    n_frames, rest = divmod(path.stat().st_size, header.n_bytes + encoding.frame_bytes)
    return DataFile(path, header, encoding, n_frames, rest, stamp)


def _same_kind(a: FrameHeader, b: FrameHeader) -> bool:
    return a.geometry == b.geometry and a.fields[-1] == b.fields[-1]


def _check_companion(acquisition: Acquisition) -> None:
    """Raise if the .hdr file is that of another acquisition."""
    if acquisition.companion is None:
        return
    told, found = acquisition.companion.counter_depth, acquisition.header.bit_depth
    if told is not None and found is not None and told != found:
        raise CorruptFileError(
            f"{acquisition.companion.path} says that the counters have {told} bits, "
            f"{acquisition.files[0].path} that they have {found}; if they do not belong together, "
            "rename one"
        )


def _check_complete(acquisition: Acquisition) -> None:
    """Raise if frames are missing before, between or at the end of the files."""
    expected = acquisition.first_number
    for file in acquisition.files:
        if file.header.number != expected:
            raise CorruptFileError(
                f"{file.path} begins with frame {file.header.number}, not {expected}: the frames "
                'before it are missing, is there another file? errors="skip" leaves their '
                "patterns empty"
            )
        expected += file.n_frames
        if file.rest:
            raise CorruptFileError(
                f"{file.path}, frame {expected}: the file is truncated, {file.rest} of the "
                f'{file.frame_bytes} bytes of the frame are there; errors="skip" drops it'
            )
