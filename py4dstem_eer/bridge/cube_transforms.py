"""A sparse cube cropped, binned, padded, turned and repaired, by what is done to its events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from py4DSTEM.datacube import DataCube
from py4DSTEM.preprocess import filter_hot_pixels

from ..detector import bin_map, binned_shape, crop_map
from ..errors import ParameterError, UnsupportedOperationError
from ..events import EventStore
from ..memory import check_dense
from ..methods.pixel_repair import with_local_medians
from ..methods.reductions import check_mask
from .calibration import detector_pixel
from .view import EventView

#: Pixels that py4DSTEM's search for hot pixels compares.
_NEIGHBOURHOOD = 21

Cube = TypeVar("Cube", bound="EventTransforms")


class EventTransforms(DataCube):
    """Methods that change a cube in place and return it; the events stay whole electrons."""

    if TYPE_CHECKING:
        _data: EventView

        @property
        def events(self) -> EventStore:
            """The electron events."""

    def bin_Q(self: Cube, N: int, dtype: Any = None) -> Cube:  # noqa: N802, N803
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
        self._data = self._data.showing(self.events.mapped(binning))
        self._reset_detector_axes(pixel)
        self.calibration.set_Q_pixel_size(pixel)
        return self

    def crop_Q(self: Cube, ROI: tuple[int, int, int, int]) -> Cube:  # noqa: N802, N803
        """Crop the detector to (row_min, row_max, col_min, col_max) in place; return the cube."""
        self._data = self._data.showing(self.events.mapped(crop_map(self.Qshape, ROI)))
        self._reset_detector_axes(self.calibration.get_Q_pixel_size())
        return self

    def crop_R(self: Cube, ROI: tuple[int, int, int, int]) -> Cube:  # noqa: N802, N803
        """Crop the scan to (row_min, row_max, col_min, col_max) in place; return the cube."""
        crop_map(self.Rshape, ROI, "scan")  # refuses what selects nothing
        return super().crop_R(ROI)

    def set_scan_shape(self: Cube, Rshape: tuple[int, int]) -> Cube:  # noqa: N803
        """Arrange the patterns as a scan of another shape (Rx, Ry) in place; return the cube."""
        self._data = self._data.showing(self.events.reshaped(Rshape))
        step, units = self.calibration.get_R_pixel_size(), self.calibration.get_R_pixel_units()
        for axis in (0, 1):  # what the user called them, they still are
            self.set_dim(axis, np.arange(self.shape[axis]) * step, units=units)
        return self

    def bin_R(self: Cube, N: int) -> Cube:  # noqa: N802, N803
        """Bin the scan by N in place and return the cube; leftover edges are cropped."""
        self._data = self._data.showing(self.events.binned_scan(N))
        self._coarsen_scan(N)
        return self

    def thin_R(self: Cube, N: int) -> Cube:  # noqa: N802, N803
        """Keep every N-th scan row and column in place and return the cube."""
        rows, columns = (n * N for n in binned_shape(self.Rshape, N, "scan"))
        self._data = self._data.showing(self.events[:rows:N, :columns:N])
        self._coarsen_scan(N)
        return self

    def _coarsen_scan(self, factor: int) -> None:
        size = self.calibration.get_R_pixel_size() * factor
        self._reset_scan_axes(size)
        self.calibration.set_R_pixel_size(size)

    def _reset_scan_axes(self, step: float) -> None:
        """Count both scan axes from zero again."""
        units = self.calibration.get_R_pixel_units()
        for axis, name in ((0, "Rx"), (1, "Ry")):
            self.set_dim(axis, np.arange(self.shape[axis]) * step, units=units, name=name)

    def _reset_detector_axes(self, pixel: float) -> None:
        """Count both detector axes from zero again, as py4DSTEM does after a crop."""
        units = self.calibration.get_Q_pixel_units()
        for axis, name in ((2, "Qx"), (3, "Qy")):
            self.set_dim(axis, np.arange(self.shape[axis]) * pixel, units=units, name=name)

    def bin_Q_mmap(self, *arguments: Any, **options: Any) -> Any:  # noqa: N802
        """Refuse; py4DSTEM's variant of `bin_Q` for memory maps gives floating-point numbers."""
        raise UnsupportedOperationError(
            "bin_Q_mmap is for dense memory maps; bin_Q(N) bins events where they are, and leaves "
            "those of a file on disk"
        )

    def resample_Q(  # noqa: N802
        self,
        N: Any = None,  # noqa: N803
        output_size: Any = None,
        method: str = "bilinear",
        conserve_array_sums: bool = False,
    ) -> DataCube:
        """Interpolate the detector onto another grid, which gives a dense cube, in place.

        Interpolated electrons are fractions: this cube becomes an ordinary `DataCube`, if that
        fits the memory budget. `bin_Q` and `crop_Q` keep events.

        Parameters
        ----------
        N, output_size, method, conserve_array_sums
            As in `py4DSTEM.DataCube.resample_Q`.

        Raises
        ------
        MemoryBudgetError
        """
        scale = np.asarray(1 if N is None else N, np.float64).max()
        shape = np.multiply(self.Qshape, scale) if output_size is None else np.asarray(output_size)
        n_bytes = 8 * self.R_N * int(np.ceil(shape).prod())
        check_dense(n_bytes, "the resampled cube")
        dense = DataCube(np.asarray(self.data) if method == "fourier" else self.data)
        dense.calibration.set_Q_pixel_size(self.calibration.get_Q_pixel_size())
        dense.resample_Q(N, output_size, method, conserve_array_sums)
        self._become_dense(np.asarray(dense.data))
        self.calibration.set_Q_pixel_size(dense.calibration.get_Q_pixel_size())
        return self

    def filter_hot_pixels(
        self, thresh: float, ind_compare: int = 1, return_mask: bool = False
    ) -> Any:
        """Replace hot pixels by local medians, as `py4DSTEM.DataCube.filter_hot_pixels`.

        Parameters
        ----------
        thresh : float
            Excess of a pixel of the mean pattern that makes it hot [electrons].
        ind_compare : int
            Which of the 21 pixels around it, from the brightest on, it is compared with.
        return_mask : bool

        Returns
        -------
        cube : SparseDataCube
            This one.
        mask : (Qx, Qy) bool, if asked for
        """
        if ind_compare not in range(-_NEIGHBOURHOOD, _NEIGHBOURHOOD):
            raise ParameterError(f"ind_compare is {ind_compare!r}; give 0 to {_NEIGHBOURHOOD - 1}")
        mean = DataCube(self.data.mean((0, 1))[None, None])
        _, mask = filter_hot_pixels(mean, thresh, ind_compare, return_mask=True)
        if mask.any():
            self._data = self._data.showing(with_local_medians(self.events, mask, (1, 2)))
        return (self, mask) if return_mask is True else self

    def median_filter_masked_pixels(self, mask: np.ndarray, kernel_width: int = 3) -> Any:
        """Replace masked pixels by local medians, as `py4DSTEM.DataCube` does; return the cube.

        Parameters
        ----------
        mask : (Qx, Qy) bool
        kernel_width : int
            Width of the window [px].
        """
        check_mask(mask, self.Qshape)
        if not isinstance(kernel_width, (int, np.integer)) or kernel_width < 1:
            raise ParameterError(f"kernel_width is {kernel_width!r}; give a positive integer")
        reach = (kernel_width // 2, (kernel_width + 1) // 2)
        bad = np.asarray(mask) != 0
        if bad.any():
            self._data = self._data.showing(with_local_medians(self.events, bad, reach))
        return self

    def _become_dense(self, array: np.ndarray) -> None:
        """Turn this very object into the dense cube that holds `array`."""
        del self._data
        self.__dict__["data"] = array
        self.__class__ = DataCube  # type: ignore[assignment]
        self.calibrate()
