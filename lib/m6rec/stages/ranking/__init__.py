"""Lists, recommendations and embeddings, and the users on whom members are validated."""
