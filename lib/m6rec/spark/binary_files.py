"""Read files as bytes from any file system that Spark reads, in the executors."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec.spark.files import whole_name
from m6rec.spark.runtimes import frame_of_arrow

_RECORDS_PER_BATCH = "spark.sql.execution.arrow.maxRecordsPerBatch"


@contextmanager
def records_per_batch(spark: SparkSession, records: int) -> Iterator[None]:
    """Queries that start within it send rows to Python workers in batches of `records`.

    Rows that hold whole files would fill the memory in batches of thousands.
    """
    before = spark.conf.get(_RECORDS_PER_BATCH)
    spark.conf.set(_RECORDS_PER_BATCH, str(records))
    try:
        yield
    finally:
        spark.conf.set(_RECORDS_PER_BATCH, str(before))


def contents_of(paths: DataFrame) -> DataFrame:
    """The files that are there, of some paths with a scheme: path string, content binary.

    Whole folders are read, since a look at each file would be a call each. Spark lists no file
    whose name begins with _ or a point.

    Args:
        paths: path string; may repeat.
    """
    spark = paths.sparkSession
    name = F.regexp_extract("path", r"^(.*)/([^/]*)$", 2)
    wanted = paths.distinct().select(
        "path", F.regexp_extract("path", r"^(.*)/[^/]*$", 1).alias("folder"), name.alias("name")
    )
    named = [row["folder"] for row in wanted.select("folder").distinct().collect()]
    found = [(one, whole) for one in sorted(named) if (whole := whole_name(spark, one)) is not None]
    if not found:
        return paths.select("path", F.lit(None).cast("binary").alias("content")).limit(0)
    rows = pa.Table.from_pylist([{"folder": one, "whole": whole} for one, whole in found])
    folders = frame_of_arrow(spark, rows, "folder string, whole string")
    keyed = wanted.join(F.broadcast(folders), "folder").select(
        "path", F.concat_ws("/", "whole", "name").alias("listed")
    )
    reader = spark.read.format("binaryFile").option("ignoreMissingFiles", "true")
    # The name of a folder is no pattern.
    reader = reader.option("__globPaths__", "false")
    files = reader.load(sorted({whole for _, whole in found}))
    files = files.select(F.col("path").alias("listed"), "content")
    return files.join(F.broadcast(keyed), "listed").select("path", "content")
