"""Lists, recommendations, embeddings, and the validation of what ranks."""
