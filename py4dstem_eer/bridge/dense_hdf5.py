"""Dense patterns left in HDF5 files that py4DSTEM would load whole: EMD and DECTRIS ARINA."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from py4DSTEM.data import Calibration

from ..detector import Shape2D
from ..errors import CorruptFileError, EventWarning, FormatError, ParameterError
from ..readers.hdf5 import DAMAGE

_CALIBRATION = "metadatabundle/calibration"
_DETECTOR = "entry/instrument/detector"
_ANGSTROM_PER_NM = 10.0


@dataclass(frozen=True)
class DenseData:
    """Dense patterns, and what their file says about them.

    Attributes
    ----------
    array : (Rx, Ry, Qx, Qy) array-like
        Indexed with four slices.
    name : str
    calibration : Calibration, optional
    metadata : dict
        Values with units are (value, unit) pairs.
    files : tuple of Path
        Files that are read beside the one that was opened.
    """

    array: Any
    name: str
    calibration: Calibration | None
    metadata: dict[str, Any]
    files: tuple[Path, ...] = ()


class Hdf5Patterns:
    """Patterns of a scan in one or more datasets, read when they are asked for.

    Parameters
    ----------
    path : Path
    names : list of str
        Datasets of shape (n, Qx, Qy), one after the other, or one of (Rx, Ry, Qx, Qy).
    shape : (Rx, Ry, Qx, Qy)
    dtype : dtype
    invalid : (Qx, Qy) bool, optional
        Pixels that hold no measurement and read as zero.
    """

    def __init__(
        self,
        path: Path,
        names: list[str],
        shape: tuple[int, ...],
        dtype: np.dtype,
        invalid: np.ndarray | None = None,
    ) -> None:
        self._path, self._names, self._invalid = path, names, invalid
        self.shape, self.dtype = shape, dtype

    ndim = 4

    def __getitem__(self, key: tuple[slice, slice, slice, slice]) -> np.ndarray:
        """Return the patterns of a part of one scan row."""
        row = key[0].start
        first, last, _ = key[1].indices(self.shape[1])
        with _opened(self._path) as file:
            datasets = [file[name] for name in self._names]
            if datasets[0].ndim == 4:
                part = datasets[0][row, first:last]
            else:
                begin = row * self.shape[1]
                part = _stacked(datasets, begin + first, begin + last)
        if self._invalid is not None:
            part[:, self._invalid] = 0
        return part.reshape(1, *part.shape)


def open_emd(path: Path, datapath: str | None = None) -> DenseData:
    """Find the one dense DataCube of an EMD 1.0 file.

    Parameters
    ----------
    path : Path
    datapath : str, optional
        Which one, where the file has several: its path in the file.

    Raises
    ------
    FormatError, ParameterError
        If there is no DataCube, or several and `datapath` names none of them.
    """
    with _opened(path) as file:
        cubes = list(_cubes(file))
        if not cubes:
            raise FormatError(f"{path} holds no DataCube")
        if len(cubes) > 1 and datapath is None:
            raise ParameterError(f"{path} holds {', '.join(cubes)}; name one: datapath=...")
        name = cubes[0] if datapath is None else datapath.strip("/")
        if name not in cubes:
            raise ParameterError(f"{path} has no DataCube {datapath!r}, but {', '.join(cubes)}")
        data = file[name]["data"]
        root = file[name.split("/")[0]]
        calibration = _calibration(root)
        array = Hdf5Patterns(path, [f"{name}/data"], data.shape, data.dtype)
        files = _files_of([data])
    return DenseData(array, name.split("/")[-1], calibration, {}, files)


def open_arina(path: Path, scan_shape: Shape2D | None = None) -> DenseData:
    """Open a DECTRIS ARINA master file, whose patterns may be in other files beside it.

    py4DSTEM's own reader loads all of them, and keeps 16 of the 32 bits of a count; this one does
    neither. Pixels that the detector's mask calls invalid have no electrons.

    Parameters
    ----------
    path : Path
        Of the master file.
    scan_shape : (int, int), optional
        Default: what the file beside it says, otherwise a square scan.

    Raises
    ------
    ParameterError
        If the patterns do not fill the scan.

    Warns
    -----
    EventWarning
        If the scan is taken for a square one.
    """
    _import_filters()
    with _opened(path) as file:
        names = [f"entry/data/{name}" for name in sorted(file["entry/data"])]
        if not names:
            raise FormatError(f"{path} holds no patterns")
        n_patterns = sum(file[name].shape[0] for name in names)
        detector, dtype = file[names[0]].shape[1:], file[names[0]].dtype
        invalid = _invalid_pixels(file, detector)
        files = (_companion(path), *_files_of([file[name] for name in names]))
    calibration, metadata, noted = _beside(path)
    shape = scan_shape or noted or (math.isqrt(n_patterns),) * 2
    if math.prod(shape) != n_patterns:
        raise ParameterError(
            f"{path}: {n_patterns} patterns do not fill a scan of {shape}; give "
            "scan_shape=(rows, columns)"
        )
    if scan_shape is None and noted is None:
        warnings.warn(
            f"{path} does not say what shape the scan has, and {shape} is a guess; give "
            "scan_shape=(rows, columns)",
            EventWarning,
            stacklevel=4,
        )
    array = Hdf5Patterns(path, names, (*shape, *detector), dtype, invalid)
    if invalid is not None:
        metadata["invalid_pixels"] = int(invalid.sum())
    return DenseData(array, "datacube", calibration, metadata, files)


def _files_of(datasets: list[Any]) -> tuple[Path, ...]:
    """Return the files that the data of datasets are in, to which links and maps may lead."""
    found = set()
    for dataset in datasets:
        own = Path(dataset.file.filename).absolute()
        mapped = [name for name, *_ in dataset.external or ()]
        if dataset.is_virtual:
            mapped += [s.file_name for s in dataset.virtual_sources() if s.file_name != "."]
        found |= {own, *(own.parent / name for name in mapped)}
    return tuple(found)


def _import_filters() -> None:
    """Make the compression of DECTRIS files known to h5py.

    Raises
    ------
    ImportError
        If hdf5plugin is missing.
    """
    try:
        import hdf5plugin  # noqa: F401  registers its filters
    except ImportError as error:
        raise ImportError("ARINA files need hdf5plugin: pip install hdf5plugin") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file by its name, from which links to other files are followed."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except (FormatError, ParameterError, FileNotFoundError, PermissionError):
        raise
    except DAMAGE as error:
        raise CorruptFileError(f"{path} cannot be read: {error}") from error


def _cubes(group: Any) -> Iterator[str]:
    """Walk an EMD tree and yield the path of every dense DataCube."""
    for name in group:
        child = group.get(name)
        if child is None or "emd_group_type" not in child.attrs or not hasattr(child, "keys"):
            continue
        if child.attrs.get("python_class") == "DataCube" and "data" in child:
            yield child.name.strip("/")
        yield from _cubes(child)


def _calibration(root: Any) -> Calibration | None:
    """Return the calibration of a tree, without the links that the tree had."""
    if _CALIBRATION not in root:
        return None
    calibration = Calibration.from_h5(root[_CALIBRATION])
    for link in ("_root_treepath", "_target_paths"):
        calibration._params.pop(link, None)
    return calibration


def _stacked(datasets: list[Any], first: int, last: int) -> np.ndarray:
    """Return patterns first to last of datasets that follow each other."""
    parts, begin = [], 0
    for dataset in datasets:
        end = begin + len(dataset)
        if first < end and begin < last:
            parts.append(dataset[max(first, begin) - begin : min(last, end) - begin])
        begin = end
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _invalid_pixels(file: Any, detector: tuple[int, ...]) -> np.ndarray | None:
    for name in (f"{_DETECTOR}/detectorSpecific/pixel_mask", f"{_DETECTOR}/pixel_mask"):
        if name in file:
            invalid = file[name][()] != 0
            return invalid if invalid.shape == detector and invalid.any() else None
    return None


def _companion(path: Path) -> Path:
    """Return the path of the microscope's file beside a master file: NAME.h5 for NAME_master.h5."""
    return path.with_name(path.name.replace("_master", ""))


def _beside(path: Path) -> tuple[Calibration | None, dict[str, Any], Shape2D | None]:
    """Return what the microscope's file beside a master file says."""
    companion = _companion(path)
    if companion == path or not companion.exists():
        return None, {}, None
    with _opened(companion) as file:
        known = dict(file["STEM Metadata"].attrs) if "STEM Metadata" in file else {}
    numbers = {name: float(np.ravel(value)[0]) for name, value in known.items()}
    calibration, metadata, shape = None, {}, None
    if "Pixel Size" in numbers:
        calibration = Calibration()
        calibration.set_R_pixel_size(numbers["Pixel Size"] * _ANGSTROM_PER_NM)
        calibration.set_R_pixel_units("A")
    if "High Tension" in numbers:
        metadata["energy"] = (numbers["High Tension"], "eV")
    if {"NumPixelsX", "NumPixelsY"} <= set(numbers):
        shape = (int(numbers["NumPixelsY"]), int(numbers["NumPixelsX"]))
    return calibration, metadata, shape
