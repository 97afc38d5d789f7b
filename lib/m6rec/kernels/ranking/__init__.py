"""From members to lists: scores, the weights of the hybrid, top-N selection, reasons."""
