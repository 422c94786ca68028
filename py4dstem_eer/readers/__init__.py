"""File formats: bytes to `EventStore` and plain metadata with units."""
