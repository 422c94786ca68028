"""Everything that touches py4DSTEM."""

import py4DSTEM  # noqa: F401  before any module here, see registration.py
