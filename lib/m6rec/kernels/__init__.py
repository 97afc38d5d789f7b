"""Numerical kernels on arrays, by NumPy, SciPy and numba; nothing here imports Spark."""
