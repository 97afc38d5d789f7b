"""What cleaning and forgetting have in common: all tables of a lake, and the files behind them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from pyspark.sql import SparkSession

from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.schemas import TABLES

_AT_ONCE = 4
_CHECK = "spark.databricks.delta.retentionDurationCheck.enabled"
FromTable = TypeVar("FromTable")


def existing_tables(lakehouse: Lakehouse) -> list[str]:
    """The tables of the lake that are there, and the published lists."""
    names = [PUBLISHED, *TABLES] if lakehouse.by_path else list(TABLES)
    return [name for name in names if lakehouse.exists(name)]


def for_each(names: Sequence[str], function: Callable[[str], FromTable]) -> list[FromTable]:
    """Call a function for several tables at once, since each call waits more than it computes."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(function, names))


def vacuum(lakehouse: Lakehouse, names: Sequence[str], retain_hours: int | None = None) -> None:
    """Delete the files that no version of the last hours needs; Delta's safe period by default."""
    retain = "" if retain_hours is None else f" RETAIN {retain_hours} HOURS"
    for_each(names, lambda name: lakehouse.spark.sql(f"VACUUM {lakehouse.sql_name(name)}{retain}"))


def vacuumed_bytes(lakehouse: Lakehouse, name: str) -> int:
    """The bytes of the files that `vacuum` would delete now, of at most a thousand files."""
    rows = lakehouse.spark.sql(f"VACUUM {lakehouse.sql_name(name)} DRY RUN").collect()
    return sum(_size_of(lakehouse.spark, row[0]) for row in rows)


@contextmanager
def any_retention(spark: SparkSession) -> Iterator[None]:
    """Delta keeps from deleting files within its safe period unless it is told otherwise."""
    before = spark.conf.get(_CHECK, "true")
    spark.conf.set(_CHECK, "false")
    try:
        yield
    finally:
        spark.conf.set(_CHECK, str(before))


def _size_of(spark: SparkSession, path: str) -> int:
    jvm: Any = spark._jvm
    place = jvm.org.apache.hadoop.fs.Path(path)
    context: Any = spark.sparkContext._jsc
    status = place.getFileSystem(context.hadoopConfiguration()).getFileStatus(place)
    return 0 if status.isDirectory() else int(status.getLen())
