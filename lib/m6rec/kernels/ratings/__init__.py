"""Prediction of ratings."""
