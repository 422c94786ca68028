"""Which pixels of a sensor count nothing, from a mask or the camera's gain reference."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..detector import Shape2D
from ..errors import FormatError, ParameterError

TIFF_INSTALL_LINE = 'python -m pip install "py4dstem-eer[formats]"'

_NPY_MAGIC = b"\x93NUMPY"
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_defects(defects: str | os.PathLike[str] | np.ndarray | None, shape: Shape2D) -> np.ndarray:
    """Return the defect pixels of a sensor.

    Parameters
    ----------
    defects : path, array or None
        Image at the resolution of the sensor, or the path of one (.npy, or TIFF as in the .gain
        files of Falcon cameras). Of booleans: True is a defect. Of numbers: a gain, and a defect
        is where it is 0 or no number.
    shape : (int, int)
        Rows and columns of the sensor.

    Returns
    -------
    defects : (rows * columns,) bool
        Of length 0 if there are none.

    Raises
    ------
    FileNotFoundError, FormatError
        If there is no such file, or it holds no image.
    ParameterError
        If the image does not fit the sensor, or every pixel would be a defect.
    """
    if defects is None:
        return np.zeros(0, bool)
    if isinstance(defects, np.ndarray):
        image = _of_sensor(defects, shape)
    else:
        image = _read_image(Path(defects), shape)
    bad = image if image.dtype == bool else (image == 0) | ~np.isfinite(image)
    if bad.all():
        raise ParameterError(
            "defects says that every pixel is a defect: in a mask of booleans True is a defect, "
            "in a gain image 0 is"
        )
    return bad.ravel() if bad.any() else np.zeros(0, bool)


def _of_sensor(image: Any, shape: Shape2D) -> Any:
    """Return an image, not read yet perhaps, if it fits the sensor."""
    if image.shape != shape or image.dtype.kind not in "buif":
        raise ParameterError(
            f"defects is an image {image.shape} of {image.dtype}; the sensor has {shape} pixels, "
            "give booleans or numbers of that shape"
        )
    return image


def _read_image(path: Path, shape: Shape2D) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {os.fspath(path)!r} (option defects)")
    with path.open("rb") as file:
        start = file.read(8)
    if not start.startswith((_NPY_MAGIC, *_TIFF_MAGIC)):
        raise FormatError(f"{path} (option defects) starts with {start!r}; give .npy or TIFF")
    read = _read_npy if start.startswith(_NPY_MAGIC) else _read_tiff
    try:
        return read(path, shape)
    except (ImportError, MemoryError, ParameterError):
        raise
    except Exception as error:  # whatever tifffile meets first
        raise FormatError(f"{path} (option defects) is damaged: {error!r}") from error


def _read_npy(path: Path, shape: Shape2D) -> np.ndarray:
    # mapped, what the header promises is compared with the file before memory is taken for it
    return np.array(_of_sensor(np.load(path, mmap_mode="r", allow_pickle=False), shape))


def _read_tiff(path: Path, shape: Shape2D) -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise ImportError(
            f"reading TIFF (defects=...) needs tifffile: {TIFF_INSTALL_LINE}"
        ) from error
    with tifffile.TiffFile(path) as file:
        return _of_sensor(file.pages[0], shape).asarray()
