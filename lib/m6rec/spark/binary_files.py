"""Read files as bytes from any file system that Spark reads, in the executors."""

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec.spark.files import folder_exists

_RECORDS_PER_BATCH = "spark.sql.execution.arrow.maxRecordsPerBatch"


@contextmanager
def records_per_batch(spark: SparkSession, records: int) -> Iterator[None]:
    """Within it, the rows that start on their way to Python workers go in batches of so many.

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

    Whole folders are read, since a look at each file would be a call each.

    Args:
        paths: path string; may repeat.
    """
    spark = paths.sparkSession
    wanted = paths.distinct().persist()
    folders = wanted.select(F.regexp_extract("path", r"^(.*)/[^/]*$", 1).alias("folder"))
    found = [
        row["folder"]
        for row in folders.distinct().orderBy("folder").collect()
        if folder_exists(spark, row["folder"])
    ]
    if not found:
        return spark.createDataFrame([], "path string, content binary")
    return _files_in(spark, found).join(F.broadcast(wanted), "path", "semi")


def _files_in(spark: SparkSession, folders: list[str]) -> DataFrame:
    reader = spark.read.format("binaryFile").option("ignoreMissingFiles", "true")
    return reader.load(folders).select("path", "content")
