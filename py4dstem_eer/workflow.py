"""Whole jobs for the command line: a file in, results and a picture out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import CalibrationError, FormatError, ParameterError
from .readers import detect, open_events
from .writers.atomic import atomic_path

_METHOD_OPTIONS = (
    *("force_scan_sampling", "force_angular_sampling", "force_reciprocal_sampling"),
    *("force_com_rotation", "force_com_transpose"),
)


def convert(source: Path, target: Path, to: str | None = None, **options: Any) -> str:
    """Convert between stempy and EMD files.

    Parameters
    ----------
    source, target : Path
    to : {"stempy", "emd"}, optional
        Default: "emd" for every format but EMD, which becomes "stempy".
    **options
        Options of `open_events`.

    Returns
    -------
    description : str
        What was written.
    """
    if Path(os.path.realpath(source)) == Path(os.path.realpath(target)):
        raise ParameterError(f"IN and OUT are the same file: {source}")
    to = to or ("stempy" if options.get("format", detect(source)) == "emd" else "emd")
    events = open_events(source, **{"mem": "MEMMAP", **options})
    if to == "stempy":
        from .writers.stempy import write_stempy

        write_stempy(target, events)
    else:
        import py4DSTEM

        from .bridge.cube import SparseDataCube

        py4DSTEM.save(str(target), SparseDataCube(events), mode="o")
    return f"{to}, scan {events.scan_shape}, {target.stat().st_size / 1e6:.1f} MB"


def run_ssb(
    file: Path,
    aberrations: Mapping[str, float],
    *,
    semiangle_cutoff: float | None = None,
    detector_size: int = 18,
    sideband: str = "both",
    energy: float | None = None,
    device: str = "cpu",
    output: Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Reconstruct by SSB; write an EMD file and a picture beside it.

    Returns
    -------
    report : dict
        What to tell the user.
    """
    method_options, reader_options = _split(options)
    cube = _open(file, reader_options)
    from .bridge.ssb import EventSSB

    method = EventSSB(
        energy=_energy(cube, energy),
        datacube=cube,
        semiangle_cutoff=semiangle_cutoff,
        polar_parameters=aberrations,
        device=device,
    )
    method.preprocess(detector_size=detector_size, **method_options)
    method.reconstruct(sideband=sideband)
    files = _save(cube, method, file, output, "ssb")
    return {"reconstruction": method, **files}


def run_dpc(
    file: Path,
    *,
    method: str = "direct",
    low_pass: float = 0.0,
    high_pass: float = 0.0,
    energy: float | None = None,
    device: str = "cpu",
    output: Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Reconstruct by DPC; write an EMD file and a picture beside it.

    Returns
    -------
    report : dict
        What to tell the user.
    """
    method_options, reader_options = _split(options)
    cube = _open(file, reader_options)
    from .bridge.dpc import EventDPC

    known_energy = energy or cube.events.metadata.get("energy", (None, ""))[0]
    dpc = EventDPC(datacube=cube, energy=known_energy, device=device)
    dpc.preprocess(**method_options)
    dpc.reconstruct(method=method, low_pass=low_pass, high_pass=high_pass)
    files = _save(cube, dpc, file, output, "dpc")
    rotation = f"{dpc.rotation_deg:.1f} degrees, transpose {dpc.transpose}"
    return {"rotation": rotation, **files}


def _split(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the options of the method from those of the reader."""
    method = {name: options[name] for name in _METHOD_OPTIONS if name in options}
    return method, {name: options[name] for name in options if name not in method}


def _open(file: Path, options: dict[str, Any]) -> Any:
    """Open an event file as a cube, with the calibration that it may bring along."""
    format_name = options.pop("format", None) or detect(file)
    if format_name is None:
        raise FormatError(f"{file} is no electron-event file; name its --format if it is one")
    import py4DSTEM

    return py4DSTEM.import_file(file, filetype=format_name, **options)


def _energy(cube: Any, energy: float | None) -> float:
    if energy is not None:
        return energy
    if "energy" not in cube.events.metadata:
        raise CalibrationError("the file does not say the beam energy; give --energy [eV]")
    return float(cube.events.metadata["energy"][0])


def _save(cube: Any, method: Any, file: Path, output: Path | None, suffix: str) -> dict[str, Path]:
    """Write the mean pattern and the results of a method, and draw them."""
    import matplotlib.pyplot as plt
    import py4DSTEM

    cube.get_dp_mean()
    target = output or file.with_name(f"{file.stem}_{suffix}.h5")
    py4DSTEM.save(str(target), cube, mode="o", tree=None)
    method.visualize()
    picture = target.with_suffix(".png")
    with atomic_path(picture) as part:
        plt.savefig(part, format="png", dpi=120)
    plt.close("all")
    return {"results": target, "picture": picture}
