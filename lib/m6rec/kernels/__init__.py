"""Numerical kernels on arrays: numpy, numba and torch; nothing here imports Spark."""
