"""The sparse cube: a py4DSTEM DataCube that holds events instead of a dense array."""

from __future__ import annotations

import datetime
import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from emdfile import Metadata
from py4DSTEM.data import Calibration
from py4DSTEM.datacube import DataCube

from .. import event_layout
from ..errors import EventError, EventWarning, ParameterError, UnsupportedOperationError
from ..events import EventStore
from ..memory import GIB
from ..methods import com, reductions
from . import emd
from .calibration import copied
from .calibration_items import calibrate_from
from .cube_images import EventImages
from .cube_transforms import EventTransforms
from .export import export
from .view import EventView, view_of_dense


class SparseDataCube(EventImages, EventTransforms):
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
            calibrate_from(self.calibration, events.metadata)

    @classmethod
    def from_dense(
        cls, data: Any, name: str | None = None, threshold: float | None = None
    ) -> SparseDataCube:
        """Build from dense patterns, a few at a time; a memory map is never loaded whole.

        Parameters
        ----------
        data : DataCube, or (Rx, Ry, Qx, Qy) array of whole numbers
            A DataCube passes on its name and a copy of its calibration. Patterns keep an unsigned
            dtype; of others they are uint16, or wider where counts are larger.
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
        if isinstance(data, DataCube):
            array, calibration = data.data, copied(data.calibration)
            name = name or data.name
        else:
            array, calibration = np.asanyarray(data), None
        events = EventStore.from_dense(array, threshold=threshold)
        cube = cls(events, name or "datacube", calibration)
        if threshold is None:
            cube._data = view_of_dense(array, events)
        return cube

    def to_dense(self, dtype: Any = None) -> DataCube:
        """Return the dense cube with a copy of the calibration, if it fits the memory budget.

        Parameters
        ----------
        dtype : dtype, optional
            Default: that of `data`.

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
        if not isinstance(value, EventView):
            try:
                value = view_of_dense(value, EventStore.from_dense(value))
            except EventError as error:
                self._accept_dense(value, error)
                return
        self._data = value

    def _accept_dense(self, value: Any, error: EventError) -> None:
        """Become a dense cube if `value` is a 4-D array of numbers that are no counts."""
        is_array = isinstance(value, np.ndarray) and value.ndim == 4
        if not is_array or value.dtype.kind not in "fic":
            raise error
        warnings.warn(
            "the new data are no electron counts: this cube becomes a dense DataCube of "
            f"{value.nbytes / GIB:.3g} GiB",
            EventWarning,
            stacklevel=3,
        )
        self._become_dense(value)

    def export(self, path: str | os.PathLike[str], format: str | None = None) -> None:
        """Write the events, with the calibration, to a file; scan rows are streamed.

        EMD files keep all of the calibration, the others what is a number: pixel sizes, rotation,
        origin (of all positions, its mean), ellipse and the probe's semi-angle.

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
            If the extension belongs to no format and none is given, or if a file would be replaced
            or deleted that the events are streamed from.
        FileNotFoundError, PermissionError
            If nothing can be written there.

        Warns
        -----
        EventWarning
            If some of the calibration is left out; names what it is.
        """
        export(self, path, format)

    def copy(self) -> SparseDataCube:
        """Return a cube of the same events with its own calibration."""
        cube = SparseDataCube(self.events, self.name, copied(self.calibration))
        cube._data = self._data.copy()
        cube._reset_detector_axes(self.calibration.get_Q_pixel_size())
        return cube

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

    def get_slice(self, label: str, name: str | None = None) -> Any:
        """Refuse; a cube of events is no stack of cubes."""
        raise UnsupportedOperationError(
            f"a sparse cube is no stack and has no slice {label!r}: index cube.data[rx, ry], or "
            "cut with crop_R and crop_Q"
        )

    def to_h5(self, group: Any) -> Any:
        """Write the cube's events and metadata into an HDF5 group; nothing becomes dense."""
        return emd.write_cube(self, group)

    @classmethod
    def from_h5(cls, group: Any) -> SparseDataCube:
        """Read a cube from an HDF5 group."""
        return emd.read_cube(cls, group)


def _emd_values(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata in the types that an EMD file keeps."""
    return {str(key): _emd_value(value) for key, value in metadata.items()}


def _emd_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _emd_values(value)
    is_quantity = isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str)
    if is_quantity and not isinstance(value[0], str):
        return {"value": _emd_value(value[0]), "units": value[1]}
    if isinstance(value, (np.datetime64, np.timedelta64, datetime.date)):
        return event_layout.time_text(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "mM":
        return _emd_value(value.astype(str).tolist())
    if isinstance(value, np.ndarray) and value.dtype.kind not in "biufc":
        return str(value.tolist())
    if value is None or isinstance(value, (str, bool, int, float, np.ndarray)):
        return value
    if isinstance(value, (tuple, list)) and value:
        for kind in ((int, float), str):  # of one kind, EMD keeps them
            if all(isinstance(v, kind) for v in value):
                return tuple(value)
    return str(value)
