"""Whole jobs for the command line: a file in, results and a picture out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import CalibrationError, EventError, ParameterError
from .methods.overview import overview
from .methods.rotation import RelativeRotation
from .optics import parse_semiangle
from .progress import shown
from .readers import ANY_FORMAT, detect, existing_file, format_names
from .report import format_of
from .writers import check_keeps, target_format
from .writers.atomic import atomic_path
from .writers.targets import check_not_read, check_writable, same_file

_METHOD_OPTIONS = (
    *("force_scan_sampling", "force_angular_sampling", "force_reciprocal_sampling"),
    *("force_com_rotation", "force_com_transpose"),
)


def convert(
    source: Path,
    target: Path,
    to: str | None = None,
    *,
    threshold: float | None = None,
    **options: Any,
) -> str:
    """Convert a file of events, or of dense patterns that py4DSTEM opens, into one of events.

    Scan rows are streamed. The calibration goes along: all of it into EMD, and what is a number
    into the other formats, see `SparseDataCube.export`, with a warning that names the rest.

    Parameters
    ----------
    source, target : Path
    to : {"emd", "stempy", "raw_csr"}, optional
        Default: by the extension of `target`; .h5 is stempy if `source` is EMD, otherwise EMD.
    threshold : float, optional
        For dense patterns that are no counts, see `bridge.dense.open_dense`.
    **options
        Options of `open_events`, or `format` and those of `open_dense`.

    Returns
    -------
    description : str
        What was written.

    Raises
    ------
    ParameterError
        If a file would be replaced or deleted that the data are read from; nothing is written.
    FileNotFoundError, PermissionError
        If there is no such file to read, or nothing can be written at `target`.
    """
    existing_file(source)
    _check_outputs(source, target)
    kind = options.get("format")
    if kind in (None, ANY_FORMAT):
        kind = detect(source) or kind
    shared = "stempy" if kind == "emd" else "emd"
    to = target_format(target, to, shared)  # refuses before anything is opened
    cube = _open_any(source, kind, threshold, options)
    check_keeps(target, to, cube.events.files)
    from .bridge.export import export

    written = export(cube, target, to)
    return f"{written}, scan {cube.events.scan_shape}, detector {cube.events.detector_shape}"


def _open_any(
    source: Path, kind: str | None, threshold: float | None, options: dict[str, Any]
) -> Any:
    """Open events or dense patterns as a cube that stays on the disk."""
    is_dense_emd = kind == "emd" and detect(source) is None  # py4DSTEM has that name, too
    if kind in (ANY_FORMAT, *format_names()) and not is_dense_emd:
        if threshold is not None:
            raise ParameterError(
                f"threshold={threshold} means nothing for {source}: it holds electron events"
            )
        return _open(source, {"mem": "MEMMAP", **options})
    from .bridge.dense import open_dense

    given = {name: options[name] for name in options if name not in ("format", "mem")}
    return open_dense(source, kind, threshold=threshold, **given)


def _check_outputs(source: Path, *targets: Path) -> None:
    """Refuse targets that cannot be written, to write over the source, or two things into one."""
    if any(same_file(source, target) for target in targets):
        raise ParameterError(f"IN and OUT are the same file: {source}")
    if len({os.path.realpath(path) for path in targets}) < len(targets):
        raise ParameterError(f"results and picture would be the same file: {targets[0]}")
    for target in targets:
        check_writable(target)


def _outputs(file: Path, output: Path | None, suffix: str) -> tuple[Path, Path]:
    """Return where results and picture go, before anything is computed."""
    target = output or file.with_name(f"{file.stem}_{suffix}.h5")
    picture = target.with_suffix(".png")
    _check_outputs(file, target, picture)
    return target, picture


def run_ssb(
    file: Path,
    aberrations: Mapping[str, float],
    *,
    semiangle_cutoff: float | None = None,
    detector_size: int = 18,
    sideband: str = "both",
    weighting: str | None = None,
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
    target, picture = _outputs(file, output, "ssb")
    method_options, reader_options = _split(options)
    cube = _open(file, reader_options)
    check_not_read(cube.events.files, (target, picture))
    from .bridge.ssb import EventSSB

    method = EventSSB(
        energy=_energy(cube, energy),
        datacube=cube,
        semiangle_cutoff=semiangle_cutoff,
        polar_parameters=aberrations,
        device=device,
    )
    method.preprocess(detector_size=detector_size, **method_options)
    method.reconstruct(sideband=sideband, weighting=weighting)
    cube.get_dp_mean()
    files = _save(cube, method.visualize, target, picture)
    return {"reconstruction": method, **files}


def run_dpc(
    file: Path,
    *,
    method: str = "direct",
    low_pass: float = 0.0,
    high_pass: float = 0.0,
    energy: float | None = None,
    semiangle_cutoff: float | None = None,
    center: tuple[float, float] | None = None,
    bf_radius: float | None = None,
    device: str = "cpu",
    output: Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Give an overview of a file and its phase by DPC, reading it once; EMD file and picture.

    Mean pattern, bright and dark field, rings, centre of mass and dose come from one sweep over the
    events, which stay in the file.

    Returns
    -------
    report : dict
        What to tell the user.
    """
    target, picture = _outputs(file, output, "dpc")
    method_options, reader_options = _split(options)
    cube = _open(file, {"mem": "MEMMAP", **reader_options})
    check_not_read(cube.events.files, (target, picture))
    from .bridge.dpc import EventDPC
    from .bridge.overview import attach_overview, draw_overview

    if energy is None:
        energy = cube.events.metadata.get("energy", (None, ""))[0]
    dpc = EventDPC(datacube=cube, energy=energy, device=device)
    with shown():
        found = overview(cube.events, center=center, bf_radius=bf_radius, device=device)
    _calibrate_by_disk(method_options, found.disk.radius, semiangle_cutoff)
    dpc.preprocess(force_com_measured=tuple(found.com), force_dose=found.dose, **method_options)
    dpc.reconstruct(method=method, low_pass=low_pass, high_pass=high_pass)
    results = attach_overview(cube, found, method_options.get("force_scan_sampling"))
    files = _save(cube, lambda: draw_overview(results, found, dpc), target, picture)
    (row, column), radius = found.disk.center, found.disk.radius
    return {
        "electrons": f"{int(found.dose.sum()):,}; {found.dose.mean():.1f} per pattern",
        "disk": f"centre ({row:.1f}, {column:.1f}), radius {radius:.1f} px",
        "rotation": _rotation_text(dpc.rotation),
        **files,
    }


def _rotation_text(rotation: RelativeRotation) -> str:
    """Describe a rotation, with its error where it was measured."""
    error = f" ± {rotation.uncertainty_deg:.1f}" if rotation.uncertainty_deg else ""
    return f"{rotation.angle_deg:.1f}{error} degrees, transpose {rotation.transpose}"


def explore(
    file: Path,
    aberrations: Mapping[str, float],
    say: Callable[[str], None],
    *,
    browser: bool = True,
    port: int | None = None,
    output: Path | None = None,
    **options: Any,
) -> None:
    """Serve the interactive panel for a file until it is interrupted, see `explore.app.serve`."""
    format_of(file, options.get("format"))
    from .explore.app import cell, serve

    arguments = {
        **{k: str(v.absolute()) if isinstance(v, Path) else v for k, v in options.items()},
        "file": str(file.absolute()),
        "aberrations": dict(aberrations),
        "output": str((output or file.with_name(f"{file.stem}_panel.h5")).absolute()),
    }
    serve(cell(f"{__name__}.open_panel", arguments), say, browser, port)


def open_panel(file: str, **options: Any) -> Any:
    """Return the widget of the interactive panel for a file, or one that says what is wrong.

    Parameters are those of `explore`, with paths as text.
    """
    from IPython.utils.capture import capture_output

    from .explore.explorer import noted
    from .explore.panel import panel_that_says

    try:
        # progress bars and warnings would stand above the panel
        with capture_output():
            panel, notes = noted(lambda: _panel_of(Path(file), **options))
    except (EventError, OSError, ImportError) as error:
        return panel_that_says(str(error))
    panel.note(notes)
    return panel.show()


def _panel_of(
    file: Path,
    aberrations: Mapping[str, float],
    output: str,
    energy: float | None = None,
    semiangle_cutoff: float | None = None,
    detector_size: int = 18,
    orders: int = 3,
    device: str = "cpu",
    **options: Any,
) -> Any:
    from .explore.panel import InteractiveSSB

    method_options, reader_options = _split(options)
    cube = _open(file, reader_options)
    return InteractiveSSB(
        cube,
        preprocess={"detector_size": detector_size, **method_options},
        orders=orders,
        output=output,
        energy=_energy(cube, energy),
        semiangle_cutoff=semiangle_cutoff,
        polar_parameters=aberrations,
        device=device,
        verbose=False,
    )


def _calibrate_by_disk(options: dict[str, Any], radius: float, semiangle: float | None) -> None:
    """Set the detector pixel that makes the disk's radius the semi-angle [mrad], if it is given."""
    if semiangle is None:
        return
    if any(name in options for name in _METHOD_OPTIONS[1:3]):
        raise ParameterError("give the size of a detector pixel or semiangle_cutoff, not both")
    options["force_angular_sampling"] = parse_semiangle(semiangle) / radius


def _split(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the options of the method from those of the reader."""
    method = {name: options[name] for name in _METHOD_OPTIONS if name in options}
    return method, {name: options[name] for name in options if name not in method}


def _open(file: Path, options: dict[str, Any]) -> Any:
    """Open an event file as a cube, with the calibration that it may bring along."""
    format_name = format_of(file, options.pop("format", None))
    show = warnings.showwarning  # the command line's own, that the import would replace
    import py4DSTEM

    warnings.showwarning = show
    return py4DSTEM.import_file(file, filetype=format_name, **options)


def _energy(cube: Any, energy: float | None) -> float:
    if energy is not None:
        return energy
    if "energy" not in cube.events.metadata:
        raise CalibrationError("the file does not say the beam energy; give --energy [eV]")
    return float(cube.events.metadata["energy"][0])


def _save(cube: Any, draw: Callable[[], Any], target: Path, picture: Path) -> dict[str, Path]:
    """Write what hangs in the cube's tree, without the events, and a picture."""
    import matplotlib.pyplot as plt
    import py4DSTEM

    py4DSTEM.save(str(target), cube, mode="o", tree=None)
    draw()
    with atomic_path(picture) as part:
        # pyplot's own draws twice; the usual level takes longer, and images full of noise no less
        plt.gcf().savefig(part, format="png", dpi=120, pil_kwargs={"compress_level": 3})
    plt.close("all")
    return {"results": target, "picture": picture}
