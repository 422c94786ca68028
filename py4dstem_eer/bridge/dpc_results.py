"""What `EventDPC` found, as py4DSTEM's slices with units."""

from __future__ import annotations

from typing import Any

import numpy as np
from py4DSTEM.data import RealSlice

from ..errors import CalibrationError, ParameterError
from ..methods.field import curl_and_divergence, electric_field
from ..methods.rotation import RelativeRotation
from .dpc_prepared import Prepared
from .results import real_slice, retract

#: Names of all that `EventDPC` hangs in the cube's tree, after its own name.
RESULTS = ("com", "curl", "divergence", "dose", "electric_field", "object_phase")


def from_field(prepared: Prepared, name: str) -> dict[str, RealSlice]:
    """Return all that follows from the field: com, curl, divergence, dose and electric field.

    The dose is left out where it is not known, the electric field without energy and calibration.
    """
    results = {
        "com": _slice(
            prepared, name, "com", prepared.corrected, prepared.com_units, ("CoMx", "CoMy")
        )
    }
    curl, divergence = curl_and_divergence(prepared.corrected, prepared.step or (1.0, 1.0))
    for result, image in (("curl", curl), ("divergence", divergence)):
        results[result] = _slice(prepared, name, result, image, prepared.slope_units)
    if prepared.dose_known:
        results["dose"] = _slice(prepared, name, "dose", prepared.dose, "electrons")
    if prepared.energy is not None and prepared.pixel is not None:
        results["electric_field"] = field_slice(prepared, name)
    return results


def field_slice(
    prepared: Prepared, name: str, thickness: float | None = None, components: bool = False
) -> RealSlice:
    """Return the electric field's magnitude, or its components (Ex, Ey), [V] or [V/Å]."""
    if prepared.energy is None or prepared.pixel is None:
        missing = "beam energy: EventDPC(energy=...) [eV]"
        if prepared.energy is not None:
            missing = "size of a detector pixel: calibrate it, or give force_reciprocal_sampling"
        raise CalibrationError(f"the electric field needs the {missing}")
    field = electric_field(prepared.corrected, prepared.energy, thickness)
    units = "V" if thickness is None else "V/A"
    shown = (field, units, ("Ex", "Ey")) if components else (np.hypot(*field), units)
    return _slice(prepared, name, "electric_field", *shown, thickness=thickness)


def phase_slice(prepared: Prepared, name: str, phase: np.ndarray, **settings: Any) -> RealSlice:
    """Return the phase [rad], or in arbitrary units without calibration."""
    units = "arbitrary" if prepared.step is None or prepared.pixel is None else "rad"
    return _slice(prepared, name, "object_phase", phase, units, None, **settings)


def _slice(
    prepared: Prepared,
    name: str,
    result: str,
    data: np.ndarray,
    units: str,
    labels: tuple[str, ...] | None = None,
    **settings: Any,
) -> RealSlice:
    parameters = {**prepared.parameters, **settings}
    return real_slice(data, f"{name}_{result}", units, prepared.step, labels, parameters)


class DPCResults:
    """The part of `EventDPC` that holds results and hangs them in the cube's tree."""

    def __init__(self, datacube: Any, name: str) -> None:
        self._datacube = datacube
        self.name = name
        self._prepared: Prepared | None = None
        self._results: dict[str, RealSlice] = {}

    def _publish(self, name: str, result: RealSlice) -> RealSlice:
        self._results[name] = result
        if self._datacube is not None:
            self._datacube.attach(result)
        return result

    def _retract(self) -> None:
        """Take all results out of the cube's tree, for what is measured anew is not theirs."""
        if self._datacube is not None:
            retract(self._datacube, self.name, RESULTS)
        self._results = {}

    def _result(self, name: str) -> RealSlice:
        if name not in self._results:
            call = "preprocess() and reconstruct()" if name == "object_phase" else "preprocess()"
            raise ParameterError(f"call {call} first")
        return self._results[name]

    def _ready(self) -> Prepared:
        if self._prepared is None:
            raise ParameterError("call preprocess() first")
        return self._prepared

    @property
    def rotation(self) -> RelativeRotation:
        """Rotation and transpose in use, with uncertainty and whether the data can tell."""
        return self._ready().rotation

    @property
    def rotation_deg(self) -> float:
        """Angle between scan and detector in py4DSTEM's convention [degrees]."""
        return self.rotation.angle_deg

    @property
    def transpose(self) -> bool:
        """Whether detector rows and columns are swapped."""
        return self.rotation.transpose

    @property
    def n_filled(self) -> int:
        """Number of scan positions without electrons, which were interpolated."""
        return self._ready().n_filled

    @property
    def com(self) -> RealSlice:
        """Centre of mass in the frame of the scan: stack (CoMx, CoMy) [Å⁻¹, or px]."""
        return self._result("com")

    @property
    def curl(self) -> RealSlice:
        """∂x CoMy − ∂y CoMx, (Rx, Ry) [Å⁻²]: noise, where the specimen is a phase object."""
        return self._result("curl")

    @property
    def divergence(self) -> RealSlice:
        """∂x CoMx + ∂y CoMy, (Rx, Ry) [Å⁻²]; times 2π, the Laplacian of the phase."""
        return self._result("divergence")

    @property
    def dose(self) -> RealSlice:
        """Electrons that each centre of mass rests on, times the mask, (Rx, Ry)."""
        if not self._ready().dose_known:
            raise ParameterError("the dose of force_com_measured is not known; give force_dose")
        return self._result("dose")

    def electric_field(self, thickness: float | None = None, components: bool = False) -> RealSlice:
        """Return the electric field in the frame of the scan, and keep it in the cube's tree.

        The field that deflects the beam, averaged over the probe's intensity; the descan that was
        removed is a constant or smooth field that is missing in it. See `methods.field`.

        Parameters
        ----------
        thickness : float, optional
            Of the specimen [Å].
        components : bool
            Return the stack (Ex, Ey) instead of the magnitude.

        Returns
        -------
        field : RealSlice
            Projected through the specimen [V], or its mean [V/Å] with a thickness.

        Raises
        ------
        CalibrationError
            If energy or detector pixel are not known.
        """
        field = field_slice(self._ready(), self.name, thickness, components)
        return self._publish("electric_field", field)

    @property
    def object_phase(self) -> RealSlice:
        """Phase of the object, (Rx, Ry) [rad]."""
        return self._result("object_phase")
