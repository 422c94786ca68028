"""What a Merlin detector writes beside the pixels: the header of each frame, and the .hdr file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..detector import Shape2D
from ..errors import CorruptFileError, FormatError

MAGIC = b"MQ1,"
#: Digits that a frame number has at most; there are six, and more once they are used up.
NUMBER_DIGITS = 12

_START = re.compile(
    rb"MQ1,(?P<number>\d{1,12})(?P<geometry>,(?P<size>\d{1,5}),(?P<chips>\d{1,3}),"
    rb"(?P<width>\d{1,6}),(?P<height>\d{1,6}),(?P<type>[A-Z]\d\d),"
    rb" *(?P<layout>\d+x\d+G?) *,(?P<select>[0-9A-Fa-f]+),)"
)
_START_BYTES = 128
_COMPANION_BYTES = 2**16
_COMPANION_KEYS = (b"Frames in Acquisition", b"Counter Depth")
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")
#: Name here, key there, unit, of what the .hdr file says about the detector.
_DESCRIBED = (
    ("chip_type", "Chip Type (Medipix 3.0, Medipix 3.1, Medipix 3RX)", ""),
    ("chip_mode", "Chip Mode  (SPM, CSM, CM, CSCM)", ""),
    ("gain", "Gain", ""),
    ("gap_fill_mode", "Gap Fill Mode", ""),
    ("sensor_bias", "Sensor Bias (V)", "V"),
    ("medipix_clock", "Medipix Clock (MHz)", "MHz"),
    ("readout_system", "Readout System", ""),
    ("software_version", "Software Version", ""),
    ("acquisition_time", "Time and Date Stamp (day, mnth, yr, hr, min, s)", ""),
)


@dataclass(frozen=True)
class FrameHeader:
    """The text in front of the pixels of a frame.

    Attributes
    ----------
    number : int
        Of the frame in its acquisition, which begins with 1.
    n_bytes : int
        Size of the header.
    n_chips : int
    width, height : int
        As the header has them: raw frames are counted in chips side by side.
    pixel_type : str
        "U08", "U16" and "U32" are numbers, "R64" is as read out.
    layout : str
        Of the chips: "1x1", "2x2", "2x2G" with gaps between them, "Nx1".
    geometry : bytes
        The part of the text that all frames of an acquisition have in common.
    fields : tuple of str
        Everything.
    """

    number: int
    n_bytes: int
    n_chips: int
    width: int
    height: int
    pixel_type: str
    layout: str
    geometry: bytes
    fields: tuple[str, ...]

    @property
    def bit_depth(self) -> int | None:
        """Bits of the counters, 1, 6, 12 or 24; None if the header does not say."""
        return int(self.fields[-1]) if self.fields[-1].isdecimal() else None

    def described(self) -> dict[str, Any]:
        """Return what the header says about the exposure; what has another form is left out."""
        found: dict[str, Any] = {
            "timestamp": self._timestamp(),
            "exposure": _with_unit(self._exposure(), "s"),
            "thresholds": _with_unit(self._thresholds(), "keV"),
            "bit_depth": self.bit_depth,
            "pixel_type": self.pixel_type,
            "chip_layout": self.layout,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _timestamp(self) -> str | None:
        with_zone = [field for field in self.fields if re.fullmatch(r"[-\d]+T[:.\d]+Z", field)]
        return next(iter([*with_zone, *self.fields[9:10]]), None)

    def _exposure(self) -> float | None:
        for field in self.fields:
            if re.fullmatch(r"\d+ns", field):
                return int(field[:-2]) / 1e9
        return _number(self.fields[10]) if len(self.fields) > 10 else None

    def _thresholds(self) -> tuple[float, ...] | None:
        numbers = [_number(field) for field in self.fields[14:22]]
        found = tuple(number for number in numbers if number is not None)
        return found if len(found) == 8 else None


@dataclass(frozen=True)
class Companion:
    """The .hdr file of an acquisition.

    Attributes
    ----------
    path : Path
    items : mapping
        Its lines, key to value.
    """

    path: Path
    items: Mapping[str, str]

    @property
    def scan_shape(self) -> Shape2D | None:
        """Scan rows and columns, where the software was told them."""
        rows, columns = self._whole("ScanY"), self._whole("ScanX")
        return (rows, columns) if rows and columns else None

    @property
    def n_frames(self) -> int | None:
        """Frames that the acquisition was to have."""
        return self._whole("Frames in Acquisition (Number)")

    @property
    def frames_per_trigger(self) -> int | None:
        """Frames that follow one trigger: a scan line, if there is more than one."""
        return self._whole("Frames per Trigger (Number)")

    @property
    def counter_depth(self) -> int | None:
        """Bits of the counters."""
        return self._whole("Counter Depth (number)")

    def described(self) -> dict[str, Any]:
        """Return what the file says about the detector."""
        found: dict[str, Any] = {}
        chips = [chip.strip() for chip in self.items.get("Chip ID", "").split(",")]
        chips = [chip for chip in chips if chip.strip("- ")]
        if chips:
            found["chip_ids"] = ", ".join(chips)
        for name, key, unit in _DESCRIBED:
            text = self.items.get(key, "").strip()
            value = _with_unit(_leading_number(text), unit) if unit else text
            if value:
                found[name] = value
        return found

    def _whole(self, key: str) -> int | None:
        text = self.items.get(key, "").strip()
        if not text:
            return None
        if not re.fullmatch(r"\d{1,18}", text):
            raise CorruptFileError(
                f"{self.path} is damaged: {key!r} is {text!r}, expected a whole number"
            )
        return int(text)


def is_companion(start: bytes) -> bool:
    """Return whether the first bytes of a file are those of a Merlin .hdr file."""
    return start.startswith(b"HDR,") and any(key in start for key in _COMPANION_KEYS)


def read_start(path: Path) -> bytes:
    """Return as much of the beginning of a file as a .hdr file has."""
    with path.open("rb") as file:
        return file.read(_COMPANION_BYTES)


def read_companion(path: Path) -> Companion:
    """Read a .hdr file.

    Raises
    ------
    CorruptFileError
        If it is none.
    """
    start = read_start(path)
    if not is_companion(start):
        raise CorruptFileError(
            f"{path} lies beside Merlin frames but is no Merlin .hdr file: it starts with "
            f"{start[:16]!r}; if it belongs to something else, rename it"
        )
    lines = [line.partition("\t") for line in start.decode("utf-8", "replace").splitlines()]
    return Companion(path, {key.rstrip(": "): value.strip() for key, _, value in lines})


def read_frame_header(file: BinaryIO, position: int, path: Path) -> FrameHeader:
    """Read the header that begins at `position` [bytes] of an open file.

    Raises
    ------
    FormatError
        If there is no header at the beginning of the file.
    CorruptFileError
        If it is damaged or not complete.
    """
    file.seek(position)
    start = file.read(_START_BYTES)
    match = _START.match(start)
    if match is None:
        kind = CorruptFileError if position or start.startswith(MAGIC[:3]) else FormatError
        raise kind(
            f"{path}: there is no header of a Merlin frame at byte {position}, but {start[:48]!r}"
        )
    n_bytes = int(match["size"])
    file.seek(position)
    header = file.read(n_bytes)
    if len(header) < n_bytes or n_bytes < len(MAGIC) + NUMBER_DIGITS + len(match["geometry"]):
        raise CorruptFileError(
            f"{path}: the header of the frame at byte {position} should have {n_bytes} bytes, "
            f"{len(header)} are there"
        )
    text = header.partition(b"\0")[0].decode("ascii", "replace").rstrip(", \r\n")
    return FrameHeader(
        int(match["number"]),
        n_bytes,
        int(match["chips"]),
        int(match["width"]),
        int(match["height"]),
        match["type"].decode(),
        match["layout"].decode(),
        match["geometry"],
        tuple(field.strip() for field in text.split(",")),
    )


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _leading_number(text: str) -> float | None:
    match = _NUMBER.match(text)
    return None if match is None else float(match[0])


def _with_unit(value: Any, unit: str) -> tuple[Any, str] | None:
    return None if value is None else (value, unit)
