"""Three-beam holograms, from the definition: the +1 beam passes the specimen, the others vacuum."""

import numpy as np

SHAPE = (7, 6, 46, 53)
FRINGES = (5, -7)  # across the detector's height and width


def specimen(shape=SHAPE[:2]):
    """Transmission of a smooth specimen with a vacuum column, (Rx, Ry) complex."""
    x, y = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    phase = 2.5 * np.sin(2.4 * y) * (0.4 + x)
    amplitude = 1 - 0.4 * y * x
    transmission = amplitude * np.exp(1j * phase)
    transmission[:, 0] = 1
    return transmission


def means(transmission, beams=(0.5, 1.0, 0.5), dose=1.0, drift=0.0, shape=SHAPE):
    """Mean counts (Rx, Ry, Qx, Qy) of beams −1, 0, +1 in a disk off the middle.

    `drift` turns the phase of the +1 beam by that much along the scan [rad per row], as a scan that
    is not exactly at the pivot does.
    """
    rows, columns = np.indices(shape[2:])
    aperture = np.hypot(rows - 21.3, columns - 27.8) < 17
    turns = FRINGES[0] * rows / shape[2] + FRINGES[1] * columns / shape[3]
    wave = np.exp(2j * np.pi * turns)
    turned = transmission * np.exp(1j * drift * np.arange(transmission.shape[0]))[:, None]
    psi = beams[1] + beams[0] / wave + beams[2] * turned[:, :, None, None] * wave
    return dose * aperture * np.abs(psi) ** 2
