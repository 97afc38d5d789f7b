"""The tables of the owner's: how they are read, checked, and pinned to a version."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from delta.tables import DeltaTable
from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from m6rec.config.base import TableSource, is_path
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


def table_of_ids(
    spark: SparkSession, place: str, names: tuple[str, ...]
) -> tuple[TableSource, str]:
    """A table that is named on the command line, and its column of ids.

    Args:
        spark: the session.
        place: a name of the catalogue, or the path of a Delta table or of a file whose name says
            its format.
        names: what the column may be called; another name is taken where it is the only column.

    Raises:
        TableError: the table cannot be read, or has several columns and none of these.
    """
    suffix = Path(place).suffix.removeprefix(".")
    if suffix in {"csv", "json", "parquet"}:
        source = TableSource.model_validate({"path": place, "format": suffix})
    else:
        source = TableSource(path=place) if is_path(place) else TableSource(table=place)
    found = read_source(spark, source, ()).columns
    column = next((name for name in names if name in found), None)
    if column is None and len(found) != 1:
        raise TableError(
            f"table {place} has the columns {found}, and none of them is {' or '.join(names)};"
            " rename the column with the ids"
        )
    return source, column or found[0]


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


def source_versions(spark: SparkSession, config: Config) -> dict[str, int]:
    """The version that each source of the config has now, by key; only Delta tables have one."""
    found = {}
    for key, source, _ in sources_of(config):
        try:
            version = source_version(spark, source)
        except AnalysisException:
            # A view has none, and a table that is missing is told of where it is read.
            version = None
        if version is not None:
            found[key] = version
    return found


def at_versions(config: Config, versions: Mapping[str, int]) -> Config:
    """The config whose sources are read at these versions."""
    if not versions:
        return config
    places = {
        key if isinstance(config.value(key), TableSource) else f"{key}.source": version
        for key, version in versions.items()
    }
    return config.replaced({f"{place}.version": version for place, version in places.items()})


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
