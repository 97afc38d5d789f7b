"""Measure finished lists before they are published, and compare them with published ones."""
