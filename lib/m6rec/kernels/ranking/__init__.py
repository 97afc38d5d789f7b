"""From members to lists: scores, weights of the hybrid, top-N, reasons."""
