"""Methods: events and geometry to named arrays. No py4DSTEM, no plotting, no printing."""
