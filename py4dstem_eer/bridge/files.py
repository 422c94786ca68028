"""py4DSTEM's import_file, read and save, taught about events."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emdfile import Node
from py4DSTEM.io.importfile import import_file as _import_dense
from py4DSTEM.io.read import read as _read_emd
from py4DSTEM.io.save import save as _save_emd

from ..detector import bin_map
from ..errors import CorruptFileError, EventError, ParameterError
from ..progress import shown
from ..readers import ANY_FORMAT, detect, format_names, open_events
from ..readers.emd import check_whole
from ..writers.atomic import atomic_path
from ..writers.targets import check_not_read
from . import emd, emd_hook
from .cube import SparseDataCube
from .dpc_results import DPCResults
from .results import restore_units
from .ssb_results import SSBResults

_APPEND_MODES = ("a", "+", "append", "oa", "ao", "o+", "+o", "appendover")
_WRITE_MODES = ("w", "write")


def import_file(
    filepath: str | os.PathLike[str],
    mem: str = "RAM",
    binfactor: int = 1,
    filetype: str | None = None,
    **options: Any,
) -> Any:
    """Open a file; one of electron events gives a `SparseDataCube`.

    What is no event file goes to py4DSTEM's own function untouched.

    Parameters
    ----------
    filepath : path
    mem : {"RAM", "MEMMAP"}
        Load the events, or leave them on disk and stream scan rows.
    binfactor : int
        Bin the detector while loading.
    filetype : str, optional
        Default: events are recognised by content. "eer" is any event format, or name one:
        "stempy", "falcon", "merlin", "tpx3", "raw_csr", "emd", or a name that another package
        adds. Other names are py4DSTEM's.
    **options
        For events those of `py4dstem_eer.open_events`, for others those of py4DSTEM's readers.

    Returns
    -------
    SparseDataCube, or what py4DSTEM's own function returns
    """
    if filetype in (None, ANY_FORMAT):
        filetype = detect(filepath) or filetype
    if filetype not in (ANY_FORMAT, *format_names()):
        return _import_dense(filepath, mem=mem, binfactor=binfactor, filetype=filetype, **options)
    with shown():
        if filetype == "emd":
            cube = _import_own(filepath, mem, **options)
        else:
            cube = SparseDataCube(open_events(filepath, format=filetype, mem=mem, **options))
    if binfactor != 1:
        bin_map(cube.Qshape, binfactor)  # refuses what is no bin factor
        cube.bin_Q(binfactor)
    return cube


def _import_own(filepath: Any, mem: str, keep_flyback: bool = True, **options: Any) -> Any:
    """Open the one cube of an EMD file with its calibration and its results."""
    # refuses what is no file of ours and options that mean nothing, and reads no event
    open_events(filepath, "emd", mem="MEMMAP", keep_flyback=keep_flyback, **options)
    with _damage_named(filepath):
        found = read(filepath, mem=mem)
    cube = _only_cube(found, filepath)
    if cube.calibration is None:  # py4DSTEM only warns, and no method would work
        raise CorruptFileError(f"{filepath} has events, but the calibration of their tree is lost")
    return cube if keep_flyback else cube.crop_R((0, cube.R_Nx, 0, cube.R_Ny - 1))


@contextlib.contextmanager
def _damage_named(filepath: Any) -> Iterator[None]:
    """Turn whatever a damaged tree makes emdfile, py4DSTEM and h5py raise into a CorruptFileError.

    They know no special errors for it. What is raised by this package's own code goes through.
    """
    try:
        yield
    except (EventError, FileNotFoundError, PermissionError, MemoryError, ImportError):
        raise
    except Exception as error:  # whatever a damaged tree makes others raise
        raised_in = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1]
        if raised_in.f_globals.get("__name__", "").startswith(f"{__package__.split('.')[0]}."):
            raise
        said = " ".join(str(error).split())
        raise CorruptFileError(
            f"{filepath} has events, but its EMD tree is damaged: {type(error).__name__}: {said}"
        ) from error


def read(
    filepath: str | os.PathLike[str], *arguments: Any, mem: str = "RAM", **options: Any
) -> Any:
    """Read an EMD file; nodes with events come back as `SparseDataCube`.

    Parameters
    ----------
    filepath : path
    mem : {"RAM", "MEMMAP"}
        Load the events, or leave them in the file and stream scan rows.
    *arguments, **options
        Those of `py4DSTEM.read`.
    """
    if mem not in ("RAM", "MEMMAP"):
        raise ParameterError(f'mem is {mem!r}; it must be "RAM" or "MEMMAP"')
    if isinstance(filepath, (str, os.PathLike)) and Path(filepath).is_file():
        check_whole(Path(filepath))
    emd_hook.switch(True)  # stay the last module, whatever was imported since
    with emd.streaming(mem == "MEMMAP"):
        found = _read_emd(filepath, *arguments, **options)
    if isinstance(found, Node):
        restore_units(found)
    return found


def save(
    filepath: str | os.PathLike[str],
    data: Any,
    mode: str = "w",
    emdpath: str | None = None,
    tree: bool | None = True,
) -> None:
    """Save to an EMD file; parameters are those of `py4DSTEM.save`.

    A tree with events is written to a temporary file first, so that an interrupted save leaves an
    existing file as it was.

    Raises
    ------
    ParameterError
        If `data` is an `EventSSB` or `EventDPC`; the message says how their results are saved. If
        the file would replace another than an EMD file that events are streamed from.
    """
    _refuse_methods(data)
    path = Path(filepath)
    cubes = list(_event_cubes(data))
    if not cubes or (mode in _WRITE_MODES and emdpath is None and path.exists()):
        _save_emd(filepath, data, mode=mode, emdpath=emdpath, tree=tree)
        return
    if path.is_file() and detect(path) != "emd":  # of which the events are there again afterwards
        streamed = [cube.events.files for cube in cubes if not cube.events.in_memory]
        check_not_read(itertools.chain(*streamed), [path])
    with atomic_path(path) as part, shown():
        appends = mode in _APPEND_MODES or emdpath is not None
        if appends and path.exists():
            shutil.copyfile(path, part)
        _save_emd(str(part), data, mode=mode, emdpath=emdpath, tree=tree)


def _refuse_methods(data: Any) -> None:
    """Say how to save what a reconstruction found, instead of the reconstruction."""
    if not isinstance(data, (DPCResults, SSBResults)):
        return
    raise ParameterError(
        f"{type(data).__name__} is no data to save; save one result, py4DSTEM.save(path, "
        "method.object_phase), or all that hang in the tree of the cube, py4DSTEM.save(path, "
        "datacube), without its events if tree=None is added"
    )


def _event_cubes(data: Any) -> Iterator[SparseDataCube]:
    """Iterate over the cubes of events that are in what is saved; some come more than once."""
    if isinstance(data, (list, tuple)):
        for item in data:
            yield from _event_cubes(item)
    if isinstance(data, SparseDataCube):
        yield data
    if isinstance(data, Node):
        for branch in [data._branch] if data.root is None else [data._branch, data.root._branch]:
            yield from _cubes_below(branch)


def _only_cube(found: Any, filepath: Any) -> SparseDataCube:
    if isinstance(found, list):
        raise ParameterError(
            f"{filepath} holds several trees, {', '.join(found)}: read one of them with "
            "py4DSTEM.read(filepath, datapath=...)"
        )
    nodes = [found] if isinstance(found, SparseDataCube) else []
    if not nodes and isinstance(found, Node):
        nodes = list(_cubes_below(found._branch))
    if len(nodes) != 1:
        raise ParameterError(
            f"{filepath} holds {len(nodes)} event cubes; use py4DSTEM.read with datapath"
        )
    return nodes[0]


def _cubes_below(branch: Any) -> Iterator[SparseDataCube]:
    for node in branch._dict.values():
        if isinstance(node, SparseDataCube):
            yield node
        yield from _cubes_below(node._branch)
