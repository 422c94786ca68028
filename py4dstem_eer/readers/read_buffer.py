"""Memory that files are read into at the speed of memory."""

from __future__ import annotations

import numpy as np

_PAGE = 4096
_WORD = 8


class ReadBuffer:
    """Memory that is kept from one read to the next.

    The system copies what it has of a file in pages. Some processors do that at a quarter of their
    speed if the target lies a few bytes further in its page than the source does in its own, and
    large arrays of NumPy begin 16 bytes into a page, files at the start of one. So what is read
    gets the same place in its page as in the file.
    """

    def __init__(self) -> None:
        self._memory = np.zeros(0, np.uint8)

    def room(self, n_bytes: int, position: int) -> np.ndarray:
        """Return (n_bytes,) uint8, at a multiple of 8 bytes, for what the file has at `position`.

        What is in it, and in rooms given before, may be anything.
        """
        if len(self._memory) < n_bytes + 2 * _PAGE:
            self._memory = np.zeros(n_bytes + 2 * _PAGE, np.uint8)
        begin = (position - self._memory.ctypes.data) % _PAGE
        begin -= (begin + self._memory.ctypes.data) % _WORD
        begin %= _PAGE
        return self._memory[begin : begin + n_bytes]
