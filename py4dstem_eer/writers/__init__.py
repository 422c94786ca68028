"""File formats, the other way: `EventStore` to bytes."""
