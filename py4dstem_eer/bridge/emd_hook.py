"""What emdfile finds when it looks for the class called "Node".

emdfile resolves class names among loaded modules that set `_emd_hook`; the last one wins. This
module offers a `Node` that reads nodes with events as cubes and leaves all others to emdfile.
"""

from __future__ import annotations

import sys
from typing import Any

import emdfile

from .cube import SparseDataCube
from .emd import holds_events

_emd_hook = False


class Node(emdfile.Node):
    """Reads a stock node, as what it is or as the cube that it holds."""

    @classmethod
    def from_h5(cls, group: Any) -> emdfile.Node:
        """Return a `SparseDataCube` if the group holds events, otherwise emdfile's own node."""
        if holds_events(group):
            return SparseDataCube.from_h5(group)
        return emdfile.Node.from_h5(group)


def switch(on: bool) -> None:
    """Let emdfile find this module, as the last one that has a class called "Node", or not."""
    global _emd_hook
    _emd_hook = on
    sys.modules[__name__] = sys.modules.pop(__name__)
