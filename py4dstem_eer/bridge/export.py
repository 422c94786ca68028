"""A cube into a file of any format that can be written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..writers import EMD, check_keeps, load_writer, target_format
from .calibration_items import NAMES, as_metadata

if TYPE_CHECKING:
    from .cube import SparseDataCube


def export(
    cube: SparseDataCube,
    path: str | os.PathLike[str],
    format: str | None = None,
    shared: str = "stempy",
) -> str:
    """Write a cube, streaming scan rows, and return the name of the format.

    Parameters are those of `SparseDataCube.export`; `shared` is the format of .h5 files.
    """
    format = target_format(path, format, shared)
    if not cube.events.in_memory:
        check_keeps(path, format, cube.events.files)
    if format == EMD:
        from .files import save

        save(path, cube, mode="o")
    else:
        others = {k: v for k, v in cube.events.metadata.items() if k not in NAMES}
        if others.get("keep_flyback") is False:  # said of the new file, it would drop one more
            others["flyback_column"] = False
        calibration = as_metadata(cube.calibration, format)
        load_writer(format)(path, cube.events, {**others, **calibration})
    return format
