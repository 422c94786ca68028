"""Everything that touches py4DSTEM."""
