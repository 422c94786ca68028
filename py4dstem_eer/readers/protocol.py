"""What a format has to offer, built in or from another package.

A format is one module. Another package adds one by an entry point, in its ``pyproject.toml``::

    [project.entry-points."py4dstem_eer.formats"]
    toy = "py4dstem_eer_toy"

where ``toy`` is the name of the format, which users type as ``format="toy"``, and
``py4dstem_eer_toy`` the module, which is imported when a file is first looked at that no built-in
format recognises, or that the user says is of this format. ``examples/toy_format`` is a complete
package.

Everything else follows: `open_events` checks the user's options and builds an `EventStore` from the
source, in memory or streamed; `py4DSTEM.import_file` and the command line make a cube of it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from ..streams import EventSource
from .options import ReaderOptions


class Reader(Protocol):
    """What the module of a format offers.

    Everything it imports beyond NumPy, h5py and this package belongs inside functions.

    A module may have a function ``sample(path, options)`` too, where opening a large file takes
    longer than a second: it returns a `samples.Sample`, or None for a file that is small enough to
    be opened. `py4dstem-eer info` calls it.
    """

    #: The name of the format; that of the entry point.
    NAME: str
    #: Names of those fields of `ReaderOptions` that mean something for this format. The user may
    #: give no others, so that no option is ignored silently.
    USES: Collection[str]
    #: Lower-case file extensions, with dot, that no other format uses; often none. They only count
    #: for files whose content no format recognises.
    EXTENSIONS: Collection[str]

    def recognises(self, path: Path) -> bool:
        """Return whether the content of the file is of this format.

        It is asked about every file that a user opens, so that it looks at a few bytes only, and
        returns False rather than raise, whatever is in the file. A damaged file of this format is
        one of this format.

        Parameters
        ----------
        path : Path
            Of an existing file, absolute; not a directory.
        """

    def open_source(self, path: Path, options: ReaderOptions) -> EventSource:
        """Open the file for reading, checking all that can be checked without reading events.

        It may be called for files that `recognises` does not. What the file promises is compared
        with its size before memory is asked for.

        Parameters
        ----------
        path : Path
            Of an existing file, absolute; not a directory, and not empty.
        options : ReaderOptions
            Checked; those not in `USES` have their defaults.

        Returns
        -------
        source : EventSource
            `metadata` has at least "format", the name of the format.

        Raises
        ------
        MissingOptionError
            If an option is needed that only the user knows; name it as ``option=``.
        ParameterError
            If the options do not fit the file; say which would.
        FormatError
            If the file is not of this format.
        CorruptFileError, EventRangeError
            If it is damaged, naming the file and the frame; with errors="skip", only if nothing of
            it can be told. What is dropped is counted, frames in ``metadata["skipped_frames"]``,
            and in an `EventWarning`.
        """
