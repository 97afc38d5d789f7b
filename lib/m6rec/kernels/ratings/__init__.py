"""Rating prediction: biases, regressions on who rates what, and their blend."""
