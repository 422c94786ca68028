"""Specimens: where the atoms are, and the phase images that they make."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.fft

from ..errors import ParameterError
from .atoms import Grid, projected_phase

CARBON, TITANIUM, OXYGEN, STRONTIUM, TELLURIUM, TANTALUM, GOLD = 6, 22, 8, 38, 52, 73, 79

_BOND = 1.42  # carbon-carbon bond of graphene [Å]
_INNER_TUBE = (14, 0)  # zigzag
_OUTER_TUBE = (13, 13)  # armchair; the walls are 3.3 Å apart
_WIRE_PERIOD = 3.4  # distance of tantalum atoms along the wire [Å]
_TELLURIUM_RADIUS = 2.2  # distance of tellurium atoms from the wire's axis [Å]
_WIRE_TURNS = 1  # turns of the wire about its axis along one period of the image
_SPECKS = 6
_PEROVSKITE = 3.905  # lattice constant of SrTiO3 [Å]


def nanotube_phase(
    shape: tuple[int, int] = (256, 256),
    pixel: float = 0.32,
    energy: float = 80e3,
    seed: int = 0,
) -> np.ndarray:
    """Return the phase of a double-walled carbon nanotube with a tantalum telluride wire inside.

    The tube lies along the diagonal of the image, where it closes on itself: the image is periodic.
    Its walls are rolled graphene sheets (zigzag inside, armchair outside), the wire is a twisted
    chain of TaTe3, and a few specks of amorphous carbon stick to the outside. The rest is vacuum.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    pixel : float
        Pixel size [Å].
    energy : float
        Beam energy [eV].
    seed : int
        Decides how the tube is turned about its axis, and where the specks are.

    Returns
    -------
    phase : (rows, columns) float32 [rad]
    """
    grid = Grid.parse(shape, pixel)
    rng = np.random.default_rng(seed)
    length = float(np.hypot(*grid.size))
    walls = [_tube(*tube, length, rng) for tube in (_INNER_TUBE, _OUTER_TUBE)]
    tantalum, tellurium = _wire(length, rng)
    specks = _specks(length, _tube_radius(*_OUTER_TUBE), rng)
    atoms = {CARBON: np.concatenate([*walls, specks]), TANTALUM: tantalum, TELLURIUM: tellurium}
    placed = {number: _along_diagonal(points, grid) for number, points in atoms.items()}
    return projected_phase(grid, energy, placed)


def single_atoms_phase(
    shape: tuple[int, int] = (256, 256),
    pixel: float = 0.32,
    energy: float = 80e3,
    seed: int = 0,
    heavy: int = GOLD,
    heavy_density: float = 0.01,
    film_density: float = 3.0,
) -> np.ndarray:
    """Return the phase of an amorphous carbon film with single heavy atoms on it.

    Parameters
    ----------
    shape, pixel, energy, seed
        As for `nanotube_phase`.
    heavy : int
        Atomic number of the heavy atoms.
    heavy_density, film_density : float
        Heavy and carbon atoms per area [Å⁻²].

    Returns
    -------
    phase : (rows, columns) float32 [rad]
    """
    grid = Grid.parse(shape, pixel)
    rng = np.random.default_rng(seed)
    densities = {CARBON: film_density, heavy: heavy_density}
    area = float(np.prod(grid.size))
    atoms = {
        number: rng.random((max(1, round(density * area)), 2)) * grid.size
        for number, density in densities.items()
    }
    return projected_phase(grid, energy, atoms)


def crystal_phase(
    shape: tuple[int, int] = (128, 128),
    pixel: float = 0.32,
    energy: float = 80e3,
    layers: int = 2,
    vacancies: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """Return the phase of a thin perovskite crystal (SrTiO3) seen along [001].

    The lattice constant is strained a little so that whole cells fill the image.

    Parameters
    ----------
    shape, pixel, energy
        As for `nanotube_phase`.
    layers : int
        Thickness in unit cells.
    vacancies : float
        Fraction of the oxygen columns that are missing.
    seed : int
        Decides which ones are.

    Returns
    -------
    phase : (rows, columns) float32 [rad]
    """
    grid = Grid.parse(shape, pixel)
    if layers < 1 or not 0 <= vacancies < 1:
        raise ParameterError(f"layers is {layers} (at least 1), vacancies {vacancies} (0 to 1)")
    cells = np.maximum(1, np.rint(grid.size / _PEROVSKITE)).astype(int)
    corners = np.stack(np.meshgrid(*map(np.arange, cells), indexing="ij"), -1).reshape(-1, 2)

    def site(row: float, column: float) -> np.ndarray:
        return (corners + np.array([row, column])) / cells * grid.size

    oxygen = np.concatenate([site(0.5, 0.5), site(0.5, 0.0), site(0.0, 0.5)])
    oxygen = oxygen[np.random.default_rng(seed).random(len(oxygen)) >= vacancies]
    atoms = {STRONTIUM: site(0, 0), TITANIUM: site(0.5, 0.5), OXYGEN: oxygen}
    return projected_phase(grid, energy, atoms) * np.float32(layers)


def band_limited(
    image: np.ndarray, step: float | tuple[float, float], max_frequency: float
) -> np.ndarray:
    """Return a periodic real image without the spatial frequencies above `max_frequency`.

    Parameters
    ----------
    image : (rows, columns) array
    step : float or (float, float)
        Pixel size along (row, column) [Å].
    max_frequency : float
        Largest frequency that is kept [Å⁻¹]; 2α/λ is the most that a bright-field method sees.
    """
    steps: Any = np.broadcast_to(step, 2)
    qx = scipy.fft.fftfreq(image.shape[0], steps[0])[:, None]
    qy = scipy.fft.rfftfreq(image.shape[1], steps[1])[None, :]
    spectrum = scipy.fft.rfft2(image)
    spectrum[np.hypot(qx, qy) > max_frequency] = 0
    return scipy.fft.irfft2(spectrum, s=image.shape)


def _tube_radius(n: int, m: int) -> float:
    """Return the radius [Å] of the (n, m) carbon nanotube."""
    return _BOND * math.sqrt(3 * (n * n + n * m + m * m)) / (2 * math.pi)


def _tube(n: int, m: int, length: float, rng: np.random.Generator) -> np.ndarray:
    """Return the atoms (along, across) [Å] of a zigzag (m = 0) or armchair (m = n) tube.

    A rectangular cell of four atoms is repeated around and along the tube; `length` [Å] is met by
    straining the bonds a little.
    """
    cell = np.array([[0, 0], [1 / 2, 1 / 2], [1 / 3, 0], [5 / 6, 1 / 2]])  # (armchair, zigzag)
    sides = np.array([3 * _BOND, math.sqrt(3) * _BOND])
    if m == n:
        cell, sides = cell[:, ::-1], sides[::-1]
    rings = max(1, round(length / sides[0]))
    along, around = np.meshgrid(np.arange(rings), np.arange(n), indexing="ij")
    along = (along[..., None] + cell[:, 0]) * length / rings
    angle = (around[..., None] + cell[:, 1]) * 2 * math.pi / n + rng.uniform(0, 2 * math.pi)
    across = _tube_radius(n, m) * np.sin(angle)
    return np.stack([along.ravel(), across.ravel()], axis=1)


def _wire(length: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the tantalum and tellurium atoms (along, across) [Å] of a twisted TaTe3 chain."""
    n = max(1, round(length / _WIRE_PERIOD))
    tantalum = np.stack([np.arange(n) * length / n, np.zeros(n)], axis=1)
    along = (np.arange(n) + 0.5)[:, None] * length / n + np.zeros(3)
    # every second triangle is turned by 60°
    angle = np.arange(3) * 2 * math.pi / 3 + (np.arange(n) % 2)[:, None] * math.pi / 3
    angle += 2 * math.pi * _WIRE_TURNS * along / length + rng.uniform(0, 2 * math.pi)
    across = _TELLURIUM_RADIUS * np.sin(angle)
    return tantalum, np.stack([along.ravel(), across.ravel()], axis=1)


def _specks(length: float, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Return the atoms (along, across) [Å] of amorphous carbon specks on a tube of `radius` [Å]."""
    centres = rng.uniform(0, length, _SPECKS)
    sides = np.where(rng.random(_SPECKS) < 0.5, -1.0, 1.0)
    sizes = rng.uniform(2.0, 4.5, _SPECKS)
    specks = []
    for centre, side, size in zip(centres, sides, sizes, strict=True):
        points = rng.normal(0, size / 2, (round(2.5 * size**2), 2))
        specks.append(points + np.array([centre, side * (radius + size / 2)]))
    return np.concatenate(specks)


def _along_diagonal(points: np.ndarray, grid: Grid) -> np.ndarray:
    """Return image positions (row, column) [Å] of points given along and across the diagonal."""
    axis = grid.size / np.hypot(*grid.size)
    across = np.array([-axis[1], axis[0]])
    return points[:, :1] * axis + points[:, 1:] * across
