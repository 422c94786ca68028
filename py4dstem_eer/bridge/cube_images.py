"""Virtual images and virtual diffraction of a sparse cube, from its events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from emdfile import Metadata
from py4DSTEM.braggvectors import Probe
from py4DSTEM.datacube import DataCube, VirtualDiffraction, VirtualImage

from ..errors import CalibrationError, ParameterError
from ..events import EventStore
from ..methods import medians, reductions
from ..methods.fourier_maximum import fourier_shifted_max
from ..methods.fourier_shifts import fourier_shifted_sum
from ..methods.shifted_images import shifted_virtual_image
from ..methods.shifted_patterns import Shift, shifted_sum, weighted_max
from ..methods.virtual_images import virtual_image
from ..progress import shown
from .calibration import detector_pixel

#: Shapes of detectors that virtual images know.
_MODES = (
    *("point", "circle", "circular", "annulus", "annular"),
    *("rectangle", "square", "rectangular", "mask"),
)
_METHODS = ("mean", "max", "median")


class EventImages(DataCube):
    """What a cube's events look like through a detector, or from a part of the scan."""

    if TYPE_CHECKING:

        @property
        def events(self) -> EventStore:
            """The electron events."""

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
                image = virtual_image(self.events, mask)
            else:
                image = shifted_virtual_image(self.events, mask, *shift, subpixel)
        result = VirtualImage(data=image, name=name)
        self._attach(result, "get_virtual_image", "DataCubeVirtualImager", arguments)
        return result if returncalc else None

    def get_virtual_diffraction(
        self,
        method: str,
        mask: Any = None,
        shift_center: bool = False,
        subpixel: bool = False,
        verbose: bool = True,
        name: str = "virtual_diffraction",
        returncalc: bool = True,
    ) -> Any:
        """Combine diffraction patterns; see `py4DSTEM.DataCube.get_virtual_diffraction`."""
        arguments = {
            "method": method,
            "mask": mask,
            "shift_center": shift_center,
            "subpixel": subpixel,
            "verbose": verbose,
            "name": name,
            "returncalc": returncalc,
        }
        weights = self._scan_weights(method, mask)
        shift = self._pattern_shift(method, subpixel) if shift_center else None
        if shift is not None and weights is None:
            arguments["mask"] = weights = np.ones(self.Rshape, bool)  # py4DSTEM notes it down
        with shown(verbose):
            pattern = self._combined(method, weights, shift)
        result = VirtualDiffraction(data=pattern, name=name)
        owner = "DataCubeVirtualDiffraction"
        self._attach(result, "get_virtual_diffraction", owner, arguments)
        return result if returncalc else None

    def get_vacuum_probe(
        self,
        ROI: Any = None,  # noqa: N803
        align: bool = True,
        mask: np.ndarray | None = None,
        threshold: float = 0.0,
        expansion: int = 12,
        opening: int = 3,
        verbose: bool = False,
        returncalc: bool = True,
    ) -> Any:
        """Compute a vacuum probe; see `py4DSTEM.DataCube.get_vacuum_probe`.

        What py4DSTEM does is done here too: a tuple of limits takes a region of that size at the
        first scan position, wherever the limits are, and the first pattern is what others are
        aligned to, but no part of the average. A boolean array takes the region that is meant.

        Raises
        ------
        ParameterError
            If the region or the mask does not fit, or the region has fewer than two positions.
        """
        region = self._vacuum_region(ROI)
        if mask is not None:
            reductions.check_mask(mask, self.Qshape)
        if align:
            # one by one, as each is aligned to the mean of those before; where places correlate
            # equally well, rounding decides, so that no other way gives the same probe
            return super().get_vacuum_probe(
                region, align, mask, threshold, expansion, opening, verbose, returncalc
            )
        region.flat[np.argmax(region)] = False
        mean = reductions.pattern_sum(self.events, region) / region.sum()
        mean = mean if mask is None else mean * mask
        probe = Probe.from_vacuum_data(
            mean, threshold=threshold, expansion=expansion, opening=opening
        )
        self.attach(probe)
        return probe if returncalc else None

    def _vacuum_region(self, roi: Any) -> np.ndarray:
        region = np.zeros(self.Rshape, bool)
        if roi is None:
            region[:] = True
        elif isinstance(roi, (tuple, list)) and len(roi) == 4:
            n_rows, n_columns = np.ones(self.Rshape)[roi[0] : roi[1], roi[2] : roi[3]].shape
            region[:n_rows, :n_columns] = True
        elif np.shape(roi) == self.Rshape:
            region = np.asarray(roi) != 0
        else:
            raise ParameterError(
                f"the region is {roi!r}; give (rx_min, rx_max, ry_min, ry_max) or a boolean array "
                f"of the scan's shape {self.Rshape}"
            )
        if region.sum() < 2:
            raise ParameterError(
                f"the region {roi!r} holds {region.sum()} of the scan's {self.Rshape} positions; "
                "an average probe needs two"
            )
        return region

    def _combined(self, method: str, weights: np.ndarray | None, shift: Shift | None) -> np.ndarray:
        if weights is None:
            return getattr(self.data, method)((0, 1))
        if method == "median":
            return medians.median_pattern(self.events, weights)
        if method == "max" and shift is None and weights.dtype == bool and not weights.any():
            raise ParameterError("the mask selects no scan position: there is no maximum")
        if method == "max" and shift is not None and shift[0].dtype.kind == "f":
            return fourier_shifted_max(self.events, weights, shift)
        if method == "max":
            largest = weighted_max(self.events, weights, shift)
            return largest if shift or weights.dtype != bool else largest.astype(self.data.dtype)
        if shift is None:
            return reductions.pattern_sum(self.events, weights) / np.sum(weights)
        add = shifted_sum if shift[0].dtype.kind == "i" else fourier_shifted_sum
        return add(self.events, weights, shift) / np.sum(weights)

    def _scan_weights(self, method: str, mask: Any) -> np.ndarray | None:
        if method not in _METHODS:
            raise ParameterError(f"method is {method!r}; it must be one of {', '.join(_METHODS)}")
        if mask is None:
            return None
        if np.shape(mask) != self.Rshape:
            raise ParameterError(f"the mask has shape {np.shape(mask)}, the scan has {self.Rshape}")
        weights = np.asarray(mask)
        if weights.dtype.kind not in "biufc" or not np.isfinite(weights).all():
            raise ParameterError("the mask holds something else than finite numbers")
        if weights.dtype.kind == "c" and method != "mean":
            raise ParameterError(
                f"complex numbers have no {method}: take method='mean', or a real mask"
            )
        return weights

    def _pattern_shift(self, method: str, subpixel: bool) -> Shift:
        """Return the pixels, whole or not, by which each pattern comes onto the mean origin."""
        if method == "median":
            raise ParameterError("the median of shifted patterns: take method='mean' or 'max'")
        shift_x, shift_y = self._origin_shift()
        if subpixel:
            return -np.asarray(shift_x, np.float64), -np.asarray(shift_y, np.float64)
        return -np.round(shift_x).astype(np.int64), -np.round(shift_y).astype(np.int64)

    def _attach(self, result: Any, caller: str, owner: str, arguments: dict[str, Any]) -> None:
        """Hang a result in the tree with the metadata that py4DSTEM gives it."""
        called = {"_calling_method": caller, "_calling_class": owner}
        result.metadata = Metadata(name="gen_params", data={**called, **arguments})
        self.attach(result)

    def _detector_mask(
        self, mode: str, geometry: Any, centered: bool, calibrated: bool
    ) -> np.ndarray:
        if mode not in _MODES:
            raise ParameterError(f"mode is {mode!r}; it must be one of {', '.join(_MODES)}")
        if mode == "mask":
            reductions.check_mask(geometry, self.Qshape)
            geometry = np.asarray(geometry)
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
