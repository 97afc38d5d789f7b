"""The tables of the owner's: how they are read, checked, and pinned to a version."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from delta.tables import DeltaTable
from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from m6rec.config.base import TableSource
from m6rec.config.run import Config, sources_of
from m6rec.errors import TableError


def latest_version(spark: SparkSession, table: DeltaTable) -> int | None:
    """The latest version of a Delta table, or None where its history is empty.

    Open-source Delta's log answers in milliseconds; `history` is a query over the log's files.
    """
    try:
        jvm: Any = spark._jvm
        nothing = getattr(getattr(jvm.scala, "None$"), "MODULE$")
        return int(table._jdt.deltaLog().update(False, nothing, nothing).version())
    except Py4JError:
        # Databricks' own Delta has other classes behind the same table.
        return _version_in_history(table)


def _version_in_history(table: DeltaTable) -> int | None:
    row = table.history(1).select("version").first()
    return None if row is None else int(row["version"])


def read_source(spark: SparkSession, source: TableSource, required: tuple[str, ...]) -> DataFrame:
    """Read a table of the owner's and check that it has the `required` columns.

    Raises:
        TableError: it does not exist, cannot be read, or lacks a column.
    """
    try:
        frame = _load_source(spark, source)
    except AnalysisException as error:
        reason = str(error).splitlines()[0]
        raise TableError(f"cannot read {source.format} table {source.name}: {reason}") from error
    missing = [column for column in required if column not in frame.columns]
    if missing:
        raise TableError(
            f"table {source.name} has no column {missing}; it has {frame.columns};"
            " correct the column names in the config"
        )
    return frame


def read_ids(spark: SparkSession, source: TableSource, names: Mapping[str, str]) -> DataFrame:
    """The id columns of a table of the owner's as strings, and nothing else.

    Args:
        spark: the session.
        source: the table.
        names: the owner's column for each of ours.

    Raises:
        TableError: the table does not exist, cannot be read, or lacks a column.
    """
    frame = read_source(spark, source, tuple(names.values()))
    return frame.select(
        *(frame[f"`{theirs}`"].cast("string").alias(ours) for ours, theirs in names.items())
    )


def source_version(spark: SparkSession, source: TableSource) -> int | None:
    """The Delta version that reading `source` gives, or None for other formats."""
    if source.format != "delta":
        return None
    if source.version is not None:
        return source.version
    table = (
        DeltaTable.forPath(spark, source.path)
        if source.path is not None
        else DeltaTable.forName(spark, source.name)
    )
    return latest_version(spark, table)


def _load_source(spark: SparkSession, source: TableSource) -> DataFrame:
    reader = spark.read.options(**source.options)
    if source.version is not None:
        reader = reader.option("versionAsOf", source.version)
    if source.table is not None:
        return reader.table(source.table)
    if source.format == "csv" and "header" not in source.options:
        reader = reader.option("header", "true")
    if source.path is not None and "://" not in source.path and not Path(source.path).exists():
        raise TableError(
            f"{source.format} table {source.path} does not exist; correct the path in the config"
        )
    return reader.format(source.format).load(source.path)


def check_sources(spark: SparkSession, config: Config) -> None:
    """Open every source of the config and check its columns, before any compute.

    Raises:
        TableError: a table does not exist or lacks a column; the message names the config's key.
    """
    for key, source, required in sources_of(config):
        try:
            read_source(spark, source, required)
        except TableError as error:
            raise TableError(f"{key}: {error}") from error
