"""Rows of the table that `py4dstem-eer bench` prints."""

from __future__ import annotations

import importlib
import importlib.util
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ..device import get_device, n_threads
from ..errors import ParameterError

#: Name of a part of the benchmark -> module with a function `rows(full)`.
PARTS = {
    "reductions": "py4dstem_eer.bench.reductions",
    "files": "py4dstem_eer.bench.files",
    "falcon": "py4dstem_eer.bench.falcon",
    "merlin": "py4dstem_eer.bench.merlin",
    "raw_csr": "py4dstem_eer.bench.raw_csr",
    "tpx3": "py4dstem_eer.bench.tpx3",
    "ssb": "py4dstem_eer.bench.ssb",
    "dpc": "py4dstem_eer.bench.dpc",
    "overview": "py4dstem_eer.bench.overview",
}


@dataclass(frozen=True)
class Row:
    """One line: what was done, how long it took here and elsewhere.

    Attributes
    ----------
    what : str
    ours : float
        [unit]
    unit : str
    peer : str
        Who else did it; empty if nobody.
    theirs : float or None
        [unit]
    floor : float or None
        What the machine needs at least [unit]: reading the data once, writing what is kept.
    target : str
        What is to be reached.
    """

    what: str
    ours: float
    unit: str = "s"
    peer: str = ""
    theirs: float | None = None
    floor: float | None = None
    target: str = ""


#: What `run_bench` measures with device="gpu".
GPU_PART = {"gpu": "py4dstem_eer.bench.gpu"}


def run_bench(
    parts: list[str], full: bool, say: Callable[[str], None], device: str = "cpu"
) -> dict[str, Any]:
    """Run parts of the benchmark, printing each line as it is measured.

    Parameters
    ----------
    parts : list of str
        Names in `PARTS`; empty for all.
    full : bool
        The sizes of the published figures, which take minutes; otherwise smaller ones.
    say : callable
        Prints one line.
    device : {"cpu", "gpu"}
        "gpu" measures SSB and binning on the GPU, instead of the parts.

    Returns
    -------
    results : dict
        Machine, and the rows of every part; ready for JSON.
    """
    modules = PARTS if get_device(device).name == "cpu" else GPU_PART
    unknown = set(parts) - set(modules)
    if unknown:
        raise ParameterError(f"unknown part {', '.join(unknown)}; there are {', '.join(modules)}")
    results: dict[str, Any] = {"machine": _machine(), "full": full, "rows": {}}
    say(", ".join(f"{k} {v}" for k, v in results["machine"].items()))
    say(as_table([]))
    for part in parts or list(modules):
        rows = importlib.import_module(modules[part]).rows(full)
        results["rows"][part] = [asdict(row) for row in _told(rows, say)]
    return results


def installed(package: str) -> bool:
    """Return whether a peer is there to be measured."""
    return importlib.util.find_spec(package) is not None


def as_table(rows: list[Row]) -> str:
    """Return the heading, or rows below it; behind each floor, the part of ours that it is."""
    if not rows:
        return f"{'':<46}{'ours':>12}{'floor':>12}{'part':>6}{'peer':>22}{'ratio':>9}  target"
    return "\n".join(_line(row) for row in rows)


def _told(rows: Iterator[Row | str], say: Callable[[str], None]) -> Iterator[Row]:
    """Print rows and remarks as they come, and pass the rows on."""
    for row in rows:
        if isinstance(row, str):
            say(row)
            continue
        say(_line(row))
        yield row


def _line(row: Row) -> str:
    peer = "" if row.theirs is None else f"{row.peer} {_quantity(row.theirs, row.unit)}"
    ratio = "" if row.theirs is None else f"{row.theirs / row.ours:.1f}x"
    floor = "" if row.floor is None else _quantity(row.floor, row.unit)
    part = "" if row.floor is None else f"{row.floor / row.ours:.2f}"
    ours = _quantity(row.ours, row.unit)
    return f"{row.what:<46}{ours:>12}{floor:>12}{part:>6}{peer:>22}{ratio:>9}  {row.target}"


def _quantity(value: float, unit: str) -> str:
    if unit != "s":
        return f"{value:.3g} {unit}"
    if value < 1e-3:
        return f"{1e6 * value:.1f} us"
    return f"{1e3 * value:.1f} ms" if value < 1 else f"{value:.2f} s"


def _machine() -> dict[str, str]:
    return {"processor": platform.processor() or platform.machine(), "threads": str(n_threads())}
