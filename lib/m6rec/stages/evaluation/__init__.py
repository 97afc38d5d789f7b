"""Metrics of lists and errors of ratings as tables."""
