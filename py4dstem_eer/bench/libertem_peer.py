"""LiberTEM, to be measured beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


class LiberTem:
    """A raw_csr data set and what is summed over it, in this process: the inline executor."""

    def __init__(self, path: Path) -> None:
        from libertem.api import Context

        self._path = str(path)
        self._context = Context.make_with("inline")
        self._data_set = self.opened()

    def opened(self) -> Any:
        return self._context.load("raw_csr", self._path)

    def sum(self) -> Any:
        from libertem.udf.sum import SumUDF

        return self._context.run_udf(self._data_set, SumUDF())

    def com(self) -> Any:
        from libertem.udf.com import CoMUDF

        return self._context.run_udf(self._data_set, CoMUDF())

    def image(self, mask: np.ndarray) -> Any:
        from libertem.udf.masks import ApplyMasksUDF

        udf = ApplyMasksUDF(mask_factories=[lambda: mask.astype(np.float32)])
        return self._context.run_udf(self._data_set, udf)
