"""Models trained on the cluster."""
