"""The interactive panel: a state object without widgets, and a thin Jupyter view of it."""
