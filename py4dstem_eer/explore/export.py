"""What leaves the panel: a Python expression, an EMD file, a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..bridge.figures import draw_image
from ..bridge.files import save
from ..bridge.results import real_slice
from ..bridge.ssb import EventSSB
from ..errors import ParameterError
from ..writers.atomic import atomic_path
from . import source
from .settings import Settings

_DPI = 150
_EMD_SUFFIXES = (".h5", ".hdf5", ".emd", ".py4dstem")


def python_call(ssb: EventSSB, settings: Settings) -> str:
    """Return the expression that makes the same image from the same data.

    Its names `EventSSB` and `cube` are those of the class and of the data cube.
    """
    geometry = ssb.geometry
    beam = {"energy": geometry.energy, "datacube": "cube", "semiangle_cutoff": geometry.semiangle}
    lines = (
        f"EventSSB({_keywords(beam)})",
        f".preprocess({_keywords(source.preprocessing(ssb) | settings.preparation)})",
        f".reconstruct({_keywords(settings.reconstruction)})",
    )
    return "".join(lines)


def _keywords(values: dict[str, Any]) -> str:
    return ", ".join(f"{k}={v if k == 'datacube' else repr(v)}" for k, v in values.items())


def save_results(ssb: EventSSB, settings: Settings, path: Path, overwrite: bool) -> None:
    """Write phase and amplitude, with all parameters, to an EMD file.

    Parameters
    ----------
    ssb : EventSSB
        Reconstructed with `settings`.
    settings : Settings
    path : Path
        Ends in .h5, .hdf5, .emd or .py4dstem, which py4DSTEM reads.
    overwrite : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    ParameterError
        If the name ends otherwise, or the file is there.
    """
    _check(path, _EMD_SUFFIXES, overwrite)
    parameters = {
        **ssb.object_phase.metadata["parameters"]._params,
        "preprocess": source.preprocessing(ssb),
        "reconstruct": settings.reconstruction,
        "python": python_call(ssb, settings),
    }
    step = ssb.geometry.scan_step
    images = (("object_phase", ssb.object_phase), ("object_amplitude", ssb.object_amplitude))
    phase, amplitude = (
        real_slice(i.data, name, i.units, step, None, parameters) for name, i in images
    )
    phase.attach(amplitude)  # one tree: reading it needs no name
    with atomic_path(path) as part:
        save(part, phase, mode="o")


def save_picture(
    path: Path,
    image: Any,
    title: str,
    between: tuple[float, float],
    colormap: str,
    overwrite: bool,
) -> None:
    """Write an image with its scale bar and colour bar as PNG.

    Parameters
    ----------
    path : Path
    image : RealSlice or DiffractionSlice
    title : str
    between : (float, float)
        Values of the ends of the colour bar.
    colormap : str
        Of matplotlib.
    overwrite : bool
        Whether a file that is there may be replaced.
    """
    from matplotlib.figure import Figure

    _check(path, (".png",), overwrite)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axis = figure.add_subplot()
    draw_image(axis, image, title, cmap=colormap)
    axis.images[0].set_clim(*between)
    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=_DPI)


def _check(path: Path, suffixes: tuple[str, ...], overwrite: bool) -> None:
    if path.suffix.lower() not in suffixes:
        raise ParameterError(f"{path.name!r} must end in {' or '.join(suffixes)}")
    if path.exists() and not overwrite:
        raise ParameterError(f"{path} is there already; choose another name")
