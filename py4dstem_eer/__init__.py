"""Electron-event 4D-STEM data as a first-class citizen of py4DSTEM."""

__version__ = "0.1.0"
