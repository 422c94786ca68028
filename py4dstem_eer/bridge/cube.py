"""The sparse cube: a py4DSTEM DataCube that holds events instead of a dense array."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from emdfile import Metadata
from py4DSTEM.data import Calibration
from py4DSTEM.datacube import DataCube, VirtualImage

from ..detector import bin_map, crop_map
from ..errors import CalibrationError, EventWarning, ParameterError
from ..events import EventStore
from ..methods import com, reductions
from ..methods.shifted_images import shifted_virtual_image
from ..progress import shown
from . import emd
from .calibration import copied, detector_pixel
from .export import export
from .view import EventView

#: Relative difference of row and column steps that a calibration can gloss over.
_STEP_TOLERANCE = 0.01
#: Shapes of detectors that virtual images know.
_MODES = (
    *("point", "circle", "circular", "annulus", "annular"),
    *("rectangle", "square", "rectangular", "mask"),
)


class SparseDataCube(DataCube):
    """A 4D-STEM data set as a list of electron hits.

    It is a `py4DSTEM.DataCube` whose `data` is a lazy view of the events: methods work on the
    events, in time and memory proportional to their number.

    Parameters
    ----------
    events : EventStore, scan (Rx, Ry), detector (Qx, Qy)
    name : str
        Name in the EMD tree.
    calibration : Calibration, optional
        Default: pixels, with what the file's metadata say about the scan step.
    """

    def __init__(
        self,
        events: EventStore,
        name: str = "datacube",
        calibration: Calibration | None = None,
    ) -> None:
        if not isinstance(events, EventStore):
            raise ParameterError(
                f"events is a {type(events).__name__}; use SparseDataCube.from_dense for arrays"
            )
        if 0 in events.shape:
            raise ParameterError(
                f"the cube is empty: a scan of {events.scan_shape} positions on a detector of "
                f"{events.detector_shape} pixels"
            )
        DataCube.__init__(self, data=EventView(events), name=name, calibration=calibration)
        if events.metadata:
            self.metadata = Metadata(name="acquisition", data=_emd_values(events.metadata))
        if calibration is None:
            _calibrate_from(self.calibration, events.metadata)

    @classmethod
    def from_dense(
        cls, data: Any, name: str | None = None, threshold: float | None = None
    ) -> SparseDataCube:
        """Build from dense patterns, a few at a time; a memory map is never loaded whole.

        Parameters
        ----------
        data : DataCube, or (Rx, Ry, Qx, Qy) array of whole numbers
            A DataCube passes on its name and a copy of its calibration.
        name : str, optional
        threshold : float, optional
            For data that are no counts: every pixel with at least this value is one electron, all
            others are none.

        Raises
        ------
        ParameterError
            If the data are not 4-D or, without a threshold, not a count everywhere; the message
            names the first such position, pixel and value.
        """
        if not isinstance(data, DataCube):
            events = EventStore.from_dense(np.asanyarray(data), threshold=threshold)
            return cls(events, name or "datacube")
        events = EventStore.from_dense(data.data, threshold=threshold)
        return cls(events, name or data.name, copied(data.calibration))

    def to_dense(self, dtype: Any = None) -> DataCube:
        """Return the dense cube with a copy of the calibration, if it fits the memory budget.

        Parameters
        ----------
        dtype : dtype, optional
            Default: the smallest unsigned integer that holds every count.

        Raises
        ------
        MemoryBudgetError
        ParameterError
            If some count does not fit the dtype.
        """
        self._check_holds_counts(np.dtype(dtype or self.data.dtype))
        dense = np.asarray(self.data, dtype)
        return DataCube(dense, self.name, calibration=copied(self.calibration))

    def _check_holds_counts(self, dtype: np.dtype) -> None:
        if dtype.kind not in "iu" or np.can_cast(self.data.dtype, dtype):
            return
        largest = int(reductions.pattern_max(self.events).max(initial=0))
        if largest > np.iinfo(dtype).max:
            raise ParameterError(f"a pixel has {largest} electrons, more than {dtype} holds")

    @property
    def events(self) -> EventStore:
        """The electron events."""
        return self.data.events

    @property
    def data(self) -> EventView:
        """Lazy view of shape (Rx, Ry, Qx, Qy)."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        view = value if isinstance(value, EventView) else EventView(EventStore.from_dense(value))
        self._data = view

    def export(self, path: str | os.PathLike[str], format: str | None = None) -> None:
        """Write the events, with the calibration, to a file; scan rows are streamed.

        Parameters
        ----------
        path : path
            Takes the file only once it is whole; until then, what was there stays.
        format : {"stempy", "emd", "raw_csr"}, optional
            Default: by the extension; .emd and .py4dstem are EMD as `py4DSTEM.save` writes it, with
            the results in the cube's tree, .toml is raw_csr (three arrays lie beside it), .h5 and
            .hdf5 are stempy.

        Raises
        ------
        ParameterError
            If the extension belongs to no format and none is given.
        """
        export(self, path, format)

    def copy(self) -> SparseDataCube:
        """Return a cube of the same events with its own calibration."""
        return SparseDataCube(self.events, self.name, copied(self.calibration))

    def get_com(self, mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the centre of mass of every pattern, in O(events).

        The pair is what `force_com_measured` takes, here and in py4DSTEM.

        Parameters
        ----------
        mask : (Qx, Qy), optional
            Weight of every detector pixel.

        Returns
        -------
        com_x, com_y : (Rx, Ry) float64
            Along detector (rows, columns) [px]; NaN where there is no electron.
        """
        centre, _ = com.centre_of_mass(self.events, mask)
        return centre[0], centre[1]

    def get_virtual_image(
        self,
        mode: str,
        geometry: Any,
        centered: bool = False,
        calibrated: bool = False,
        shift_center: bool = False,
        subpixel: bool = False,
        verbose: bool = True,
        dask: bool = False,
        return_mask: Any = False,
        name: str = "virtual_image",
        returncalc: bool = True,
        test_config: bool = False,
    ) -> Any:
        """Calculate a virtual image from the events; see `py4DSTEM.DataCube.get_virtual_image`."""
        arguments = {
            "mode": mode,
            "geometry": geometry,
            "centered": centered,
            "calibrated": calibrated,
            "shift_center": shift_center,
            "subpixel": subpixel,
            "verbose": verbose,
            "dask": dask,
            "return_mask": return_mask,
            "name": name,
            "returncalc": True,
            "test_config": test_config,
        }
        mask = self._detector_mask(mode, geometry, centered, calibrated)
        shift = self._origin_shift() if shift_center else None
        if return_mask is not False or test_config:
            # masks and printed settings are py4DSTEM's own; it reads no pattern for a mask
            return super().get_virtual_image(**{**arguments, "returncalc": returncalc})
        with shown(verbose):
            if shift is None:
                image = reductions.virtual_image(self.events, mask)
            else:
                image = shifted_virtual_image(self.events, mask, *shift, subpixel)
        result = VirtualImage(data=image, name=name)
        result.metadata = Metadata(
            name="gen_params",
            data={
                "_calling_method": "get_virtual_image",
                "_calling_class": "DataCubeVirtualImager",
                **arguments,
            },
        )
        self.attach(result)
        return result if returncalc else None

    def _detector_mask(
        self, mode: str, geometry: Any, centered: bool, calibrated: bool
    ) -> np.ndarray:
        if mode not in _MODES:
            raise ParameterError(f"mode is {mode!r}; it must be one of {', '.join(_MODES)}")
        if mode == "mask":
            reductions.check_mask(geometry, self.Qshape)
        else:
            self._check_detector_calibration(centered, calibrated)
        try:
            in_pixels = self.get_calibrated_detector_geometry(
                self.calibration, mode, geometry, centered, calibrated
            )
            if mode != "mask" and any(np.isnan(n) for part in in_pixels for n in np.ravel(part)):
                raise ParameterError(f"mode {mode!r} with geometry {geometry!r}: some of it is NaN")
            return self.make_detector(self.Qshape, mode, in_pixels)
        except (AssertionError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise ParameterError(f"mode {mode!r} with geometry {geometry!r}: {error}") from error

    def _check_detector_calibration(self, centered: bool, calibrated: bool) -> None:
        """Raise CalibrationError unless geometries can be turned into detector pixels."""
        if centered:
            origin = self.calibration.get_origin_mean()
            if origin is None or not all(o is not None and np.isfinite(o) for o in origin):
                raise CalibrationError(
                    f"centered=True needs an origin, the mean origin is {origin}: set one with "
                    "cube.calibration.set_origin((qx, qy))"
                )
        if calibrated and self.calibration.get_Q_pixel_units() != "A^-1":
            raise CalibrationError(
                "calibrated=True needs detector pixels in 'A^-1', they are in "
                f"{self.calibration.get_Q_pixel_units()!r}: use cube.calibration.set_Q_pixel_size "
                "and set_Q_pixel_units"
            )
        if calibrated:
            detector_pixel(self.calibration)

    def _origin_shift(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the shift of every pattern's origin from the mean (Rx, Ry) [px]."""
        shift = self.calibration.get_origin_shift()
        if shift is None:
            raise CalibrationError("shift_center needs an origin: cube.calibration.set_origin(...)")
        if any(np.shape(s) != self.Rshape for s in shift):
            raise CalibrationError(
                f"shift_center needs an origin for every position of the scan {self.Rshape}; "
                f"the calibration's has shape {np.shape(shift[0])}"
            )
        if not all(np.isfinite(s).all() for s in shift):
            raise CalibrationError("the origin is not a finite number at every scan position")
        return shift

    def bin_Q(self, N: int, dtype: Any = None) -> SparseDataCube:  # noqa: N802, N803
        """Bin the detector by N in place and return the cube; leftover edges are cropped.

        Parameters
        ----------
        N : int
        dtype : optional
            Ignored: counts never overflow here.
        """
        binning = bin_map(self.Qshape, N)
        if N == 1:
            return self
        pixel = detector_pixel(self.calibration) * N
        self._data = EventView(self.events.mapped(binning))
        self._reset_detector_axes(pixel)
        self.calibration.set_Q_pixel_size(pixel)
        return self

    def crop_Q(self, ROI: tuple[int, int, int, int]) -> SparseDataCube:  # noqa: N802, N803
        """Crop the detector to (row_min, row_max, col_min, col_max) in place; return the cube."""
        self._data = EventView(self.events.mapped(crop_map(self.Qshape, ROI)))
        self._reset_detector_axes(self.calibration.get_Q_pixel_size())
        return self

    def crop_R(self, ROI: tuple[int, int, int, int]) -> SparseDataCube:  # noqa: N802, N803
        """Crop the scan to (row_min, row_max, col_min, col_max) in place; return the cube."""
        crop_map(self.Rshape, ROI)  # refuses what selects nothing
        return super().crop_R(ROI)

    def set_scan_shape(self, Rshape: tuple[int, int]) -> SparseDataCube:  # noqa: N803
        """Arrange the patterns as a scan of another shape (Rx, Ry) in place; return the cube."""
        self._data = EventView(self.events.reshaped(Rshape))
        units, step = self.calibration.get_R_pixel_units(), self.calibration.get_R_pixel_size()
        for axis in (0, 1):
            self.set_dim(axis, np.arange(self.shape[axis]) * step, units=units)
        return self

    def bin_R(self, N: int) -> SparseDataCube:  # noqa: N802, N803
        """Bin the scan by N in place and return the cube; leftover edges are cropped."""
        self._data = EventView(self.events.binned_scan(N))
        self._coarsen_scan(N)
        return self

    def thin_R(self, N: int) -> SparseDataCube:  # noqa: N802, N803
        """Keep every N-th scan row and column in place and return the cube."""
        rows, columns = (n // N * N for n in self.Rshape)
        self._data = EventView(self.events[:rows:N, :columns:N])
        self._coarsen_scan(N)
        return self

    def _coarsen_scan(self, factor: int) -> None:
        size = self.calibration.get_R_pixel_size() * factor
        units = self.calibration.get_R_pixel_units()
        for axis, name in ((0, "Rx"), (1, "Ry")):
            self.set_dim(axis, np.arange(self.shape[axis]) * size, units=units, name=name)
        self.calibration.set_R_pixel_size(size)

    def _reset_detector_axes(self, pixel: float) -> None:
        """Count both detector axes from zero again, as py4DSTEM does after a crop."""
        units = self.calibration.get_Q_pixel_units()
        for axis, name in ((2, "Qx"), (3, "Qy")):
            self.set_dim(axis, np.arange(self.shape[axis]) * pixel, units=units, name=name)

    def to_h5(self, group: Any) -> Any:
        """Write the cube's events and metadata into an HDF5 group; nothing becomes dense."""
        return emd.write_cube(self, group)

    @classmethod
    def from_h5(cls, group: Any) -> SparseDataCube:
        """Read a cube from an HDF5 group."""
        return emd.read_cube(cls, group)


def _calibrate_from(calibration: Calibration, metadata: Mapping[str, Any]) -> None:
    """Take pixel sizes from a file's metadata, when they are there."""
    if "scan_step" in metadata:
        (row_step, column_step), units = metadata["scan_step"]
        if abs(row_step - column_step) > _STEP_TOLERANCE * row_step:
            warnings.warn(
                f"the scan steps differ along rows and columns, {row_step} and {column_step} "
                f"{units}; py4DSTEM's calibration has room for one: the first is used",
                EventWarning,
                stacklevel=4,
            )
        calibration.set_R_pixel_size(float(row_step))
        calibration.set_R_pixel_units(units)
    for space in ("R", "Q"):
        if f"{space}_pixel_size" in metadata:
            size, units = metadata[f"{space}_pixel_size"]
            getattr(calibration, f"set_{space}_pixel_size")(float(size))
            getattr(calibration, f"set_{space}_pixel_units")(units)
    if "QR_rotation" in metadata:
        calibration.set_QR_rotation(float(metadata["QR_rotation"][0]))
        calibration.set_QR_flip(bool(metadata.get("QR_flip", False)))


def _emd_values(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata in the types that an EMD file keeps."""
    return {str(key): _emd_value(value) for key, value in metadata.items()}


def _emd_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _emd_values(value)
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str):
        return {"value": _emd_value(value[0]), "units": value[1]}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind not in "biufc":
        return str(value.tolist())
    if value is None or isinstance(value, (str, bool, int, float, np.ndarray)):
        return value
    if isinstance(value, (tuple, list)) and all(isinstance(v, (int, float)) for v in value):
        return tuple(value)
    return str(value)
