"""The command line: `py4dstem-eer COMMAND`. Names and units are those of the Python API."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import click

from .command_options import given, reader_options
from .errors import EventError
from .optics import POLAR_ALIASES, POLAR_SYMBOLS
from .writers import TARGETS

_PATH = click.Path(path_type=Path)
#: Shells report a program that a signal ended by this, plus the signal's number.
_SIGNALLED = 128


def _clear_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Say what was wrong, or is doubtful, in one line instead of a traceback."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            with _ended_as_by_ctrl_c(), warnings.catch_warnings():
                warnings.showwarning = _show_warning
                command(*arguments, **options)
        except (EventError, ImportError, OSError) as error:
            raise click.ClickException(str(error)) from error

    return wrapped


@contextlib.contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Let a request to terminate unwind the command, so that no unfinished file stays behind."""
    at_first = signal.getsignal(signal.SIGTERM)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or at_first is not signal.SIG_DFL:
        yield
        return

    def end(number: int, _frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # another one would break off the cleaning up
        sys.exit(_SIGNALLED + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, at_first)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Say a warning in one line, without the place in the code."""
    click.echo(f"Warning: {' '.join(str(message).split())}", err=True)


def _reader_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `py4dstem_eer.open_events`, the same words everywhere."""
    for option in (
        reader_options,
        click.option("--format", help="Name of the format; default: recognised by content."),
        click.option(
            "--mem",
            type=click.Choice(["RAM", "MEMMAP"]),
            help="Load the events, or stream them.  [default: RAM for ssb, otherwise MEMMAP]",
        ),
    ):
        command = option(command)
    return command


def _calibration_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--energy", type=float, help="Beam energy [eV]; default: from the file."),
        click.option("--force-scan-sampling", type=float, help="Scan step [Å]."),
        click.option("--force-angular-sampling", type=float, help="Detector pixel [mrad]."),
        click.option("--force-reciprocal-sampling", type=float, help="Detector pixel [1/Å]."),
        click.option("--force-com-rotation", type=float, help="Scan-detector angle [degrees]."),
        click.option("--force-com-transpose/--no-com-transpose", default=None),
        click.option("--device", type=click.Choice(["cpu", "gpu"]), default="cpu"),
        click.option("--output", type=_PATH, help="EMD file; default: FILE_<method>.h5."),
    ):
        command = option(command)
    return command


@click.group()
@click.version_option(package_name="py4dstem-eer")
def main() -> None:
    """Electron-event 4D-STEM data: look at, convert and reconstruct files."""


@main.command()
@click.argument("file", type=_PATH)
@_reader_options
@_clear_errors
def info(file: Path, **options: Any) -> None:
    """Say what is in FILE."""
    from .report import describe

    click.echo(describe(file, **given(options)))


@main.command()
@click.argument("source", metavar="IN", type=_PATH)
@click.argument("target", metavar="OUT", type=_PATH)
@click.option("--to", type=click.Choice(TARGETS), help="Format of OUT; default: its extension.")
@click.option(
    "--threshold", type=float,
    help="For dense data that are no counts: a pixel from this value on is one electron.",
)  # fmt: skip
@_reader_options
@_clear_errors
def convert(source: Path, target: Path, to: str | None, **options: Any) -> None:
    """Convert IN to events in OUT, streaming scan rows.

    IN is a file of events, or of dense patterns that py4DSTEM opens (dm4, empad, arina, EMD, ...;
    --format takes py4DSTEM's names too, --scan-shape says the scan where the file does not).
    Dense counts are kept exactly; other dense data are refused unless there is a --threshold.

    OUT.emd is EMD, OUT.toml is raw_csr; OUT.h5 is stempy if IN is EMD, and EMD otherwise.
    """
    from . import progress, workflow

    with progress.shown():
        written = workflow.convert(source, target, to, **given(options))
    click.echo(f"wrote {target} ({written})")


@main.command()
@click.argument("file", type=_PATH)
@click.option("--semiangle-cutoff", type=float, help="Convergence semi-angle [mrad].")
@click.option("--detector-size", type=int, default=18, show_default=True, help="Small detector.")
@click.option(
    "--aberration", "-a", "aberrations", multiple=True, metavar="NAME=VALUE",
    help=f"[Å, rad]; {', '.join(POLAR_ALIASES)}, {', '.join(POLAR_SYMBOLS[:3])}, …",
)  # fmt: skip
@click.option("--sideband", type=click.Choice(["both", "left", "right"]), default="both")
@click.option(
    "--weighting", type=click.Choice(["snr", "sum"]),
    help="snr: least squares; sum: as py4DSTEM.  [default: snr, and sum for one sideband]",
)  # fmt: skip
@_calibration_options
@_reader_options
@_clear_errors
def ssb(file: Path, aberrations: tuple[str, ...], **options: Any) -> None:
    """Reconstruct the phase of FILE by single-sideband ptychography: EMD file and PNG."""
    from . import workflow

    coefficients = dict(_parse_aberration(text) for text in aberrations)
    _report(workflow.run_ssb(file, coefficients, **given(options)))


@main.command()
@click.argument("file", type=_PATH)
@click.option("--semiangle-cutoff", type=float, help="Convergence semi-angle [mrad].")
@click.option("--detector-size", type=int, default=18, show_default=True, help="Small detector.")
@click.option(
    "--aberration", "-a", "aberrations", multiple=True, metavar="NAME=VALUE",
    help="To begin with; as for ssb.",
)  # fmt: skip
@click.option("--orders", type=click.IntRange(1, 5), default=3, show_default=True,
              help="Highest order of the aberrations with a control.")  # fmt: skip
@click.option("--browser/--no-browser", default=True, help="Open the page, or print its address.")
@click.option("--port", type=click.IntRange(1, 65535), help="Default: a free one.")
@_calibration_options
@_reader_options
@_clear_errors
def explore(file: Path, aberrations: tuple[str, ...], **options: Any) -> None:
    """Turn the aberration knobs on FILE in the browser, and watch the phase.

    The page is served on this computer only, and its address carries a token. --output is the name
    that the panel proposes for its results.
    """
    from . import workflow

    coefficients = dict(_parse_aberration(text) for text in aberrations)
    workflow.explore(file, coefficients, click.echo, **given(options))


@main.command()
@click.argument("file", type=_PATH)
@click.option("--method", type=click.Choice(["direct", "iterative"]), default="direct")
@click.option("--semiangle-cutoff", type=float, help="[mrad]; calibrates the detector by the disk.")
@click.option("--center", type=float, nargs=2, help="Disk (row column) [px]; default: measured.")
@click.option("--bf-radius", type=float, help="Disk [px]; default: measured.")
@click.option("--low-pass", type=float, default=0.0, help="λ₂ of the paper.")
@click.option("--high-pass", type=float, default=0.0, help="λ₁ of the paper.")
@_calibration_options
@_reader_options
@_clear_errors
def dpc(file: Path, **options: Any) -> None:
    """Give an overview of FILE and its phase from the centre of mass, reading it once.

    Mean pattern, bright field, annular dark field, rings, quadrants, centre of mass, curl,
    divergence, dose and phase go to an EMD file, the main ones to a PNG.
    """
    from . import workflow

    _report(workflow.run_dpc(file, **given(options)))


@main.command()
@click.option("--output", type=_PATH, default=Path(), help="Directory; default: this one.")
@_clear_errors
def demo(output: Path) -> None:
    """Simulate a scan of a filled nanotube, open it, and reconstruct its phase."""
    from .demo import run_demo

    run_demo(output, click.echo)


@main.command()
@click.argument("parts", nargs=-1, metavar="[reductions|files|ssb|dpc]...")
@click.option("--full", is_flag=True, help="The sizes of the published figures; takes minutes.")
@click.option("--scaling", is_flag=True, help="SSB from 128² to 1024² positions instead.")
@click.option("--device", type=click.Choice(["cpu", "gpu"]), default="cpu", help="gpu: SSB there.")
@click.option("--json", "target", type=_PATH, help="Write the results to this file too.")
@_clear_errors
def bench(
    parts: tuple[str, ...], full: bool, scaling: bool, device: str, target: Path | None
) -> None:
    """Measure this machine: our times, the peers' on the same data, and the floor."""
    import json

    from .bench import run_bench
    from .writers.atomic import atomic_path

    if scaling:
        from .bench.ssb import scaling as measure

        results: dict[str, Any] = {"scaling": [vars(row) for row in measure(click.echo)]}
    else:
        results = run_bench(list(parts), full, click.echo, device)
    if target is not None:
        with atomic_path(target) as part:
            part.write_text(json.dumps(results, indent=1))


def _parse_aberration(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise click.BadParameter(f"{text!r}; write NAME=VALUE, e.g. defocus=50") from None


def _report(results: dict[str, Any]) -> None:
    for name, value in results.items():
        click.echo(f"{name + ':':<16}{value}")


if __name__ == "__main__":
    main()
