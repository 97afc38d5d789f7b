"""What is done to finished runs: guarding, publishing, cleaning, forgetting, repeating."""
