"""What a Falcon file says about its acquisition, as numbers with units."""

from __future__ import annotations

import math
import re
from typing import Any
from xml.etree.ElementTree import ParseError, XMLParser

from ..errors import CorruptFileError
from .falcon_container import Pages, read_text

#: Tags of metadata, and what they are called here.
_ACQUISITION, _FRAME, _FINAL_IMAGE = 65001, 65002, 65006
# as little as a number can be without a loss: no leading zeros, no more digits than are exact
_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,15})")


def read_metadata(pages: Pages, has_final_image: bool) -> dict[str, dict[str, Any]]:
    """Return what a file has of "acquisition", "first_frame" and "final_image".

    Parameters
    ----------
    pages : Pages
    has_final_image : bool
        Whether the first page is an image.

    Returns
    -------
    metadata : dict of dicts
        Values with a unit are (value, unit) pairs.

    Raises
    ------
    CorruptFileError
        If one of them is damaged.
    """
    wanted = {"acquisition": (0, _ACQUISITION), "first_frame": (int(has_final_image), _FRAME)}
    if has_final_image:
        wanted["final_image"] = (0, _FINAL_IMAGE)
    found = {name: read_text(pages, page, tag) for name, (page, tag) in wanted.items()}
    if found["acquisition"] is None and has_final_image:
        found["acquisition"] = read_text(pages, 1, _ACQUISITION)
    return {
        name: _parse(text, f"{pages.path}, {name.replace('_', ' ')}")
        for name, text in found.items()
        if text is not None
    }


def _parse(text: bytes, where: str) -> dict[str, Any]:
    """Return the items of a text ``<metadata><item name="" unit="">value</item> ...``."""
    items = _Items()
    try:
        parser = XMLParser(target=items)
        parser.feed(text.rstrip(b"\0"))
        parser.close()
    except (ParseError, ValueError, LookupError) as error:
        raise CorruptFileError(
            f'{where}: its metadata are damaged, {error}; errors="skip" reads the file without them'
        ) from error
    return items.found


class _Items:
    """Takes what the parser finds, without building a tree."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self._name, self._unit = "", ""
        self._text: list[str] = []

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        # entities that it may define can grow without limit, or name other files
        raise ValueError("they define a document type, which metadata of a camera never do")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "item":
            self._name, self._unit = attributes.get("name", ""), attributes.get("unit", "")
            self._text = []

    def data(self, text: str) -> None:
        self._text.append(text)

    def end(self, tag: str) -> None:
        if tag == "item" and self._name:
            value = _value("".join(self._text).strip())
            self.found[self._name] = (value, self._unit) if self._unit else value
            self._name = ""

    def close(self) -> None:
        pass


def _value(text: str) -> int | float | str:
    """Return a text as a number where it is one."""
    if _WHOLE.fullmatch(text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return text
    # identifiers of digits stay texts, and so does what no calculation can use
    return number if math.isfinite(number) and re.search(r"[.eE]", text) else text
