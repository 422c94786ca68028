"""Cases of the fuzz test in a process of its own, which may crash or hang.

    python tests/fuzz_worker.py "stempy v1" 100 200        # cases 100 to 199
    python tests/fuzz_worker.py stempy 1234 1235 FOLDER    # one case, its files stay in FOLDER

Findings come as lines of JSON, [case, text]. Before each case its number is written to FOLDER/case,
so that who started the process knows where it died.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

#: A case may take so long [s]; kernels may have to be compiled meanwhile.
CASE_SECONDS = 60
# beyond what the process starts with [bytes]
_ADDRESS_SPACE = 2**33


def run(name, cases, folder, seconds=CASE_SECONDS):
    """Yield (case, what is wrong) for those cases of a sample that a reader does not stand.

    The process ends with a traceback if a case takes longer than `seconds`.
    """
    import fuzzing

    sample = fuzzing.load_sample(name, folder / "sample")
    donors = fuzzing.load_donors(sample, folder)
    damaged = folder / "damaged"
    damaged.mkdir(exist_ok=True)
    fuzzing.check_whole(sample, damaged)
    for case in cases:
        (folder / "case").write_text(str(case))
        faulthandler.dump_traceback_later(seconds, exit=True)
        finding = fuzzing.check_case(sample, case, donors, damaged)
        faulthandler.cancel_dump_traceback_later()
        if finding:
            yield case, finding


def supervise(name, cases, folder, worker=__file__):
    """Yield as `run` does, from worker processes; one that dies is a finding, and replaced."""
    first = cases.start
    while first < cases.stop:
        own = folder / f"from {first}"
        own.mkdir()
        command = [sys.executable, worker, name, str(first), str(cases.stop), str(own)]
        environment = {**os.environ, "NUMBA_NUM_THREADS": "1"}
        ended = subprocess.run(command, capture_output=True, text=True, env=environment)
        yield from (tuple(json.loads(line)) for line in ended.stdout.splitlines())
        if ended.returncode == 0:
            return
        last = own / "case"
        if not last.exists():
            raise RuntimeError(f"{name}: the worker did not start: {ended.stderr}")
        case = int(last.read_text())
        yield case, f"the process ended with {ended.returncode}: {ended.stderr[-4000:]}"
        first = case + 1


def main(name, first, last, folder=None):
    faulthandler.enable()
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + _ADDRESS_SPACE,) * 2)
    with tempfile.TemporaryDirectory() as temporary:
        for finding in run(name, range(int(first), int(last)), Path(folder or temporary)):
            sys.stdout.write(json.dumps(finding) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
