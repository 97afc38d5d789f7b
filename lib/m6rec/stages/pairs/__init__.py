"""From events to the user-item matrix: cleaning, indexing, splitting, the catalogue."""
