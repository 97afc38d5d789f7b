"""What guards compare: drift, the rank of embeddings, and changes against other runs."""
