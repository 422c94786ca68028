"""The sparse cube: a py4DSTEM DataCube that holds events instead of a dense array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from emdfile import Metadata
from py4DSTEM.data import Calibration
from py4DSTEM.datacube import DataCube, VirtualImage

from ..detector import bin_map, crop_map
from ..errors import ParameterError
from ..events import EventStore
from ..methods import com, reductions
from ..methods.shifted_images import shifted_virtual_image
from ..progress import shown
from . import emd
from .view import EventView


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
    def from_dense(cls, data: Any, name: str | None = None) -> SparseDataCube:
        """Build from dense counts.

        Parameters
        ----------
        data : DataCube, or (Rx, Ry, Qx, Qy) array of whole numbers
            A DataCube passes on its name and a copy of its calibration.
        name : str, optional
        """
        if not isinstance(data, DataCube):
            return cls(EventStore.from_dense(np.asanyarray(data)), name or "datacube")
        calibration = data.calibration.copy(name="calibration")
        return cls(EventStore.from_dense(data.data), name or data.name, calibration)

    def to_dense(self, dtype: Any = None) -> DataCube:
        """Return the dense cube with a copy of the calibration, if it fits the memory budget.

        Parameters
        ----------
        dtype : dtype, optional
            Default: the smallest unsigned integer that holds every count.

        Raises
        ------
        MemoryBudgetError
        """
        dense = np.asarray(self.data, dtype)
        return DataCube(dense, self.name, calibration=self.calibration.copy(name="calibration"))

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

    def copy(self) -> SparseDataCube:
        """Return a cube of the same events with its own calibration."""
        return SparseDataCube(self.events, self.name, self.calibration.copy(name="calibration"))

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
        if return_mask is not False or test_config:
            # no pattern is read: py4DSTEM's own answer
            return super().get_virtual_image(**{**arguments, "returncalc": returncalc})
        mask = self._detector_mask(mode, geometry, centered, calibrated)
        with shown(verbose):
            if shift_center:
                image = shifted_virtual_image(self.events, mask, *self._origin_shift(), subpixel)
            else:
                image = reductions.virtual_image(self.events, mask)
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
        if mode == "mask":
            reductions.check_mask(geometry, self.Qshape)
        in_pixels = self.get_calibrated_detector_geometry(
            self.calibration, mode, geometry, centered, calibrated
        )
        try:
            return self.make_detector(self.Qshape, mode, in_pixels)
        except (AssertionError, IndexError, UnboundLocalError) as error:
            raise ParameterError(f"mode {mode!r} with geometry {geometry!r}: {error}") from error

    def _origin_shift(self) -> tuple[np.ndarray, np.ndarray]:
        shift = self.calibration.get_origin_shift()
        if shift is None or any(s is None for s in shift):
            raise ParameterError("shift_center needs an origin: cube.calibration.set_origin(...)")
        return shift

    def bin_Q(self, N: int, dtype: Any = None) -> SparseDataCube:  # noqa: N802, N803
        """Bin the detector by N in place and return the cube; leftover edges are cropped.

        Parameters
        ----------
        N : int
        dtype : optional
            Ignored: counts never overflow here.
        """
        if N == 1:
            return self
        self._data = EventView(self.events.mapped(bin_map(self.Qshape, N)))
        calibration = self.calibration
        self._reset_detector_axes(calibration.get_Q_pixel_size() * N)
        calibration.set_Q_pixel_size(calibration.get_Q_pixel_size() * N)
        return self

    def crop_Q(self, ROI: tuple[int, int, int, int]) -> SparseDataCube:  # noqa: N802, N803
        """Crop the detector to (row_min, row_max, col_min, col_max) in place; return the cube."""
        self._data = EventView(self.events.mapped(crop_map(self.Qshape, ROI)))
        self._reset_detector_axes(self.calibration.get_Q_pixel_size())
        return self

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
    """Take the scan step from a file's metadata, when it is there."""
    if "scan_step" in metadata:
        (step, _), units = metadata["scan_step"]
        calibration.set_R_pixel_size(float(step))
        calibration.set_R_pixel_units(units)


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
