"""Metrics of lists and errors of predicted ratings, as rows of tables."""
