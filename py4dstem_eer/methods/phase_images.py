"""Phases of whole images, in threads: what is left of a redraw after its transform."""

from __future__ import annotations

import math

import numpy as np

from ..device import kernel


@kernel
def _take_phase(row, image, phase):
    for column in range(image.shape[1]):
        phase[row, column] = math.atan2(image[row, column].imag, image[row, column].real)


@kernel
def _wrap(row, phase, wrapped):
    for column in range(phase.shape[1]):
        turns = math.floor(phase[row, column] / (2 * math.pi) + 0.5)
        wrapped[row, column] = phase[row, column] - 2 * math.pi * turns


def phase_of(image: np.ndarray) -> np.ndarray:
    """Return the phase of a complex64 image from −π to π, (rows, columns) float32 [rad]."""
    phase = np.empty(image.shape, np.float32)
    _take_phase.on_cpu(len(image), image, phase)
    return phase


def wrapped(phase: np.ndarray) -> np.ndarray:
    """Return a float32 phase brought to −π … π by whole turns; inside of that, as it is [rad]."""
    result = np.empty_like(phase)
    _wrap.on_cpu(len(phase), phase, result)
    return result
