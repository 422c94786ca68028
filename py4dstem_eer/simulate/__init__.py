"""A small forward model: specimens, and the electron events that a scan of them would give."""

from __future__ import annotations

from .forward import Camera, SimulatedScan, simulate_events
from .specimen import band_limited, crystal_phase, nanotube_phase, single_atoms_phase

__all__ = [
    "Camera",
    "SimulatedScan",
    "band_limited",
    "crystal_phase",
    "nanotube_phase",
    "simulate_events",
    "single_atoms_phase",
]
