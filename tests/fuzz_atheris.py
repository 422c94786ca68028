"""Damage found by the lines of code it reaches: run by hand, with atheris installed.

    python tests/fuzz_atheris.py "stempy v1" -max_total_time=600

The arguments after the name of the sample are libFuzzer's. What an input did wrong is told as
`fuzzing` tells it, and the input is kept as ``crash-...``: its first byte chooses one of the files
of the sample, the others are its content. Compiled kernels are not followed, only Python.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

PACKAGE = Path(__file__).parents[1] / "py4dstem_eer"
_COMPILED = ("kernel", "scalar_function", "numba", "njit")


def compiled():
    """Return the names of the modules that instrumentation would break."""
    files = [f for f in PACKAGE.rglob("*.py") if any(w in f.read_text() for w in _COMPILED)]
    parts = [file.relative_to(PACKAGE.parent).with_suffix("").parts for file in files]
    return [".".join(names) for names in parts]


with atheris.instrument_imports(include=["py4dstem_eer"], exclude=compiled()):
    import fuzzing

    from py4dstem_eer.readers import FORMATS, load_reader

    for name in FORMATS:
        load_reader(name)


def main(name, *arguments):
    folder = Path(tempfile.mkdtemp(prefix="py4dstem_eer_atheris_"))
    sample = fuzzing.load_sample(name, folder / "sample")
    names, damaged, corpus = sorted(sample.files), folder / "damaged", folder / "corpus"
    damaged.mkdir()
    corpus.mkdir()
    for k, file in enumerate(names):
        (corpus / f"whole{k}").write_bytes(bytes([k]) + sample.files[file])

    def check(data):
        if data:
            files = {**sample.files, names[data[0] % len(names)]: data[1:]}
            fuzzing.write_files(files, damaged)
            fuzzing.check_files(sample, files, damaged)

    fuzzing.check_whole(sample, damaged)  # compiles
    largest = 2 * max(len(data) for data in sample.files.values())
    options = [f"-max_len={largest}", "-timeout=60", "-rss_limit_mb=4096", *arguments]
    atheris.Setup([sys.argv[0], str(corpus), *options], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
