"""A fit of a run: what it has learned, read back, and what its jobs train it on."""
