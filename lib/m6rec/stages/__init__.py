"""Stages: each turns DataFrames into DataFrames by calling kernels on their partitions."""
