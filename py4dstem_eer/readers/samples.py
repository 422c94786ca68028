"""What a part of a large file says about all of it, for `py4dstem-eer info`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..detector import Shape2D
from ..errors import MissingOptionError


@dataclass(frozen=True, eq=False)
class Sample:
    """What a part of a file says about all of it.

    Attributes
    ----------
    part : float
        Of the file that was looked at.
    facts : mapping
        As in the metadata of a source; estimates say that they are.
    per_pattern : (n,) int64
        Electrons of the patterns that lie whole in that part.
    scan_shape : (int, int), optional
        Rows and columns of the scan, if the options say it, or the file does.
    detector_shape : (int, int), optional
    count_dtype : dtype, optional
        Of dense patterns, as in a source.
    n_electrons : int, optional
        In all patterns of the file, estimated.
    doubt : str
        Why the options seem not to fit the file, if they do not.
    missing : MissingOptionError, optional
        What only the user knows.
    n_positions : int, optional
        Scan positions, if their number is known and the scan shape is not.
    mean : float, optional
        Electrons of a pattern, on average. Default: of those in `per_pattern`.
    """

    part: float
    facts: Mapping[str, Any]
    per_pattern: np.ndarray
    scan_shape: Shape2D | None = None
    detector_shape: Shape2D | None = None
    count_dtype: np.dtype | None = None
    n_electrons: int | None = None
    doubt: str = ""
    missing: MissingOptionError | None = None
    n_positions: int | None = None
    mean: float | None = None


@dataclass(frozen=True)
class Estimate:
    """A number that pieces tell of a file.

    Attributes
    ----------
    value : float
    error : float
        By which it may be wrong; infinite if that cannot be told.
    seen : int
        How many things that were seen tell it.
    """

    value: float
    error: float
    seen: int

    def fits(self, number: float) -> bool:
        """Return whether it may be that number, as far as the pieces tell."""
        return abs(number - self.value) <= self.error

    def __str__(self) -> str:
        """Say it with the digits that it has."""
        return about(self.value, self.seen)


def rounded(number: float, seen: int) -> int:
    """Return a number estimated from so many that were seen, with the digits that these give."""
    digits = min(3, len(str(math.isqrt(seen))))
    return round(float(f"{number:.{digits}g}"))


def about(number: float, seen: int) -> str:
    """Return a number estimated from so many that were seen, in words."""
    return f"about {rounded(number, seen):,}"
