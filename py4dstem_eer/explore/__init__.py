"""The interactive panel: a state object without widgets, and a thin Jupyter view of it."""

from .. import bridge  # noqa: F401  before any module here, see registration.py
