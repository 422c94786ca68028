"""`py4dstem-eer bench`: this package, its peers and the machine's floor, in one run."""

from __future__ import annotations

from .report import Row, as_table, run_bench

__all__ = ["Row", "as_table", "run_bench"]
