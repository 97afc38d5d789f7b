"""Which runtime the tests run in: the main lane, or one with another Spark."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pyspark
import pytest
from threadpoolctl import threadpool_info

from m6rec.spark.runtimes import SPATIAL

needs_petastorm = pytest.mark.skipif(
    importlib.util.find_spec("petastorm") is None,
    reason="this lane has no Petastorm, which reads nothing with a current PyArrow",
)


def _blas_of_numpy() -> str:
    """The processor for which NumPy's BLAS has chosen its kernels."""
    folder = str(Path(np.__file__).parent)
    found = (info for info in threadpool_info() if info["filepath"].startswith(folder))
    return next((str(info.get("architecture")) for info in found), "")


ROWS_ARE_ROUNDED_ALIKE = _blas_of_numpy() not in {"Haswell", "Zen"}

needs_rows_rounded_alike = pytest.mark.skipif(
    not ROWS_ARE_ROUNDED_ALIKE,
    reason="BLAS's kernel for AVX2 rounds a row of a product by its place; it is what NumPy 1.23"
    " takes on all processors of AMD",
)

needs_spatial_types = pytest.mark.skipif(
    not SPATIAL, reason="before 4.2, Spark has no types for geometries and geographies"
)

# All that a lane cannot pass; docs/versions.md has the same with the tests' names.
LEFT_OUT = (needs_petastorm, needs_rows_rounded_alike, needs_spatial_types)

# As spark-submit.sh has it.
LANE = os.environ.get("LANE", "main")
LOCK_FILE = f"{'lock' if LANE == 'main' else LANE}.txt"


def hadoop_aws_package() -> str:
    """The file system of S3 for the lane's Spark, of the Hadoop that comes with it."""
    return f"org.apache.hadoop:hadoop-aws:{hadoop_version()}"


def hadoop_version() -> str:
    """The version of Hadoop that Spark comes with."""
    jar = next((Path(pyspark.__file__).parent / "jars").glob("hadoop-client-api-*.jar"))
    return jar.stem.removeprefix("hadoop-client-api-")
