"""One small file of each format, for the tests that hold for every reader."""

from __future__ import annotations

import stempy_files


def write_stempy(folder):
    path = folder / "events.h5"
    stempy_files.make(path, "v3", seed=3)
    return path, {}


#: A function of a folder that writes an example there, with its companion files and nothing else,
#: and returns its path and the options that it needs. One line for each new format.
EXAMPLES = {
    "stempy": write_stempy,
}
