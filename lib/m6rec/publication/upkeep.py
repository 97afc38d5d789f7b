"""What cleaning and forgetting have in common: all tables of a lake, and the files behind them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pyspark.sql import SparkSession

from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.schemas import TABLES
from m6rec.spark.local_delta import remove_unused_files
from m6rec.spark.session import is_local, queries_over_few, with_settings

_TABLES_AT_ONCE = 4
_LISTING_TASKS = "spark.sql.sources.parallelPartitionDiscovery.parallelism"
_CHECK = "spark.databricks.delta.retentionDurationCheck.enabled"
# Two commits that say that files were deleted, which table `runs` says, too. To read a table's log
# anew after each of them takes longer than to delete the files.
_LOGGING = "spark.databricks.delta.vacuum.logging.enabled"
FromTable = TypeVar("FromTable")


def existing_tables(lakehouse: Lakehouse) -> list[str]:
    """The tables of the lake that are there, and the published lists."""
    names = [PUBLISHED, *TABLES] if lakehouse.by_path else list(TABLES)
    return [name for name in names if lakehouse.exists(name)]


def for_each(names: Sequence[str], function: Callable[[str], FromTable]) -> list[FromTable]:
    """Call a function for several tables at once, since each call waits more than it computes."""
    with ThreadPoolExecutor(_TABLES_AT_ONCE) as pool:
        return list(pool.map(function, names))


def vacuum(lakehouse: Lakehouse, names: Sequence[str], retain_hours: int | None = None) -> None:
    """Delete the files that no version of the last hours needs; Delta's safe period by default."""
    retain = "" if retain_hours is None else f" RETAIN {retain_hours} HOURS"
    spark = lakehouse.spark

    def vacuum_one(name: str) -> None:
        folder = lakehouse.local_folder(name)
        # Only where no earlier version is kept, the latest one tells which files are needed.
        if folder is None or retain_hours != 0 or not remove_unused_files(folder):
            spark.sql(f"VACUUM {lakehouse.sql_name(name)}{retain}")

    # Delta refuses to delete files within its safe period unless it is told otherwise.
    check = str(spark.conf.get(_CHECK, "true")) if retain_hours is None else "false"
    settings = {_CHECK: check, _LOGGING: "false", **_few_tasks(spark)}
    with queries_over_few(spark), with_settings(spark, settings):
        for_each(names, vacuum_one)


def vacuumed_bytes(lakehouse: Lakehouse, names: Sequence[str]) -> list[int]:
    """For each table, the bytes of the files that `vacuum` would delete now.

    Delta tells of at most a thousand files of a table.
    """
    spark = lakehouse.spark

    def measure(name: str) -> int:
        rows = spark.sql(f"VACUUM {lakehouse.sql_name(name)} DRY RUN").collect()
        return sum(_size_of(spark, row[0]) for row in rows)

    with queries_over_few(spark), with_settings(spark, _few_tasks(spark)):
        return for_each(names, measure)


def _few_tasks(spark: SparkSession) -> dict[str, str]:
    """To list folders, Spark starts ten thousand tasks unless it is told otherwise."""
    # Folders on one disk are listed no sooner by more tasks.
    of_a_core = 1 if is_local(spark) else 4
    return {_LISTING_TASKS: str(of_a_core * spark.sparkContext.defaultParallelism)}


def _size_of(spark: SparkSession, path: str) -> int:
    jvm: Any = spark._jvm
    place = jvm.org.apache.hadoop.fs.Path(path)
    context: Any = spark.sparkContext._jsc
    status = place.getFileSystem(context.hadoopConfiguration()).getFileStatus(place)
    return 0 if status.isDirectory() else int(status.getLen())
