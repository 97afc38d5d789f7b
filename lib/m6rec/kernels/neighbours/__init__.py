"""Item-item weights, user neighbours and content."""
