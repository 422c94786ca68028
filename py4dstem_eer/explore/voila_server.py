"""A Voilà that does not outlive its parent, however that ends; `app` runs this file as a script.

It says so by a pipe, the standard input, of which the parent holds the other end: when the parent
is gone, killed even, reading comes to an end. That works on every system.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

#: [s] the server may take to end its kernels.
_ENDING = 20.0


def _end_with_the_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGINT)  # as from the keyboard: it ends its kernels
    time.sleep(_ENDING)
    os._exit(1)


def main() -> None:
    """Run Voilà with the arguments of the command line until it is interrupted."""
    from voila.app import main as voila

    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    voila()


if __name__ == "__main__":
    here = Path(__file__).parent
    # the modules beside this file are no one else's
    sys.path = [path for path in sys.path if not path or Path(path) != here]
    main()
