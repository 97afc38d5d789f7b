"""The tables of the owner's: how they are read, checked, and pinned to a version."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from delta.tables import DeltaTable
from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.check.names import find_columns
from m6rec.check.samples import shown_names
from m6rec.config.base import TableSource, is_path
from m6rec.config.data import InteractionsConfig
from m6rec.config.run import Config, columns_of_lists, sources_of
from m6rec.errors import TableError
from m6rec.spark.failures import CHANGE_FEED, NO_VERSIONS, THROWN, reading_table
from m6rec.spark.files import format_of_files, without_glob
from m6rec.spark.json_samples import schema_of_sample
from m6rec.spark.parquet_columns import (
    parquet_schema,
    readable_columns,
    readable_columns_of_all,
)
from m6rec.spark.runtimes import (
    cast_or_null,
    delta_table_named,
    reads_versions_of_delta_alone,
)
from m6rec.spark.session import check_classic, keeping_settings, with_settings
from m6rec.spark.values import id_column, item_id_column, owner_column, quoted

_CORRECT_NAMES = "correct the column names"
_TIMES = (T.TimestampType, T.TimestampNTZType)
# Parquet's timestamps in nanoseconds, as pandas writes them, are read as numbers and divided.
_NANOSECONDS_AS_NUMBERS = "spark.sql.legacy.parquet.nanosAsLong"
# How the type of such a column begins in Parquet's schema.
_NANOSECONDS = "TIMESTAMP(NANOS"
_MERGED = "spark.sql.parquet.mergeSchema"
# Folders such as user_id=007 hold values. Spark would read the number 7, which is another user.
_NUMBERS_IN_FOLDERS = "spark.sql.sources.partitionColumnTypeInference.enabled"
# Spark 4 knows UTF-8, UTF-16, UTF-32 and ISO-8859-1, and Java those of all countries.
_ENCODINGS_OF_JAVA = "spark.sql.legacy.javaCharsets"
# Columns that differ only in case are told apart by Spark from then on.
_CASE_COUNTS = "spark.sql.caseSensitive"
_TIME_ZONE = "spark.sql.session.timeZone"


@contextmanager
def session_for_sources(spark: SparkSession) -> Iterator[None]:
    """Read tables in this block, and give the session back with its owner's settings.

    Its days are those of UTC meanwhile, whatever the zone of the machine or of the owner is.
    """
    set_here = (_NANOSECONDS_AS_NUMBERS, _NUMBERS_IN_FOLDERS, _ENCODINGS_OF_JAVA, _CASE_COUNTS)
    with keeping_settings(spark, set_here), with_settings(spark, {_TIME_ZONE: "UTC"}):
        yield


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


def read_source(
    spark: SparkSession, source: TableSource, required: tuple[str, ...], key: str = ""
) -> DataFrame:
    """Read a table of the owner's, with the `required` columns under these names.

    A column is found whatever the case and the space around its name, and `column.field` within a
    struct or within JSON in a column of text. What stands for no value becomes null.

    Raises:
        TableError: the table does not exist, cannot be read, or lacks a column; the message begins
            with `key`.
    """
    return with_columns(load_source(spark, source, key), source, required, key)


def load_source(
    spark: SparkSession, source: TableSource, key: str = "", schema: T.StructType | None = None
) -> DataFrame:
    """A table of the owner's as it is, or as a schema has it.

    Raises:
        ClusterError: the session is Spark Connect.
        TableError: the table does not exist or cannot be read; the message begins with `key`.
    """
    check_classic(spark)
    with reading_table(key, source):
        try:
            frame = _load(spark, source, schema)
        except AnalysisException as error:
            if "COLUMN_ALREADY_EXISTS" not in str(error):
                raise
            spark.conf.set(_CASE_COUNTS, "true")
            frame = _load(spark, source, schema)
        return _with_plain_vectors(frame)


def _with_plain_vectors(frame: DataFrame) -> DataFrame:
    """A table whose vectors of Spark ML are arrays of numbers."""
    vectors = [field.name for field in frame.schema if field.dataType.simpleString() == "vector"]
    if not vectors:
        return frame
    # It imports pandas, which takes half a second that most tables need not wait for.
    from pyspark.ml.functions import vector_to_array  # noqa: PLC0415

    return frame.withColumns({name: vector_to_array(owner_column(name)) for name in vectors})


def with_columns(
    frame: DataFrame, source: TableSource, required: tuple[str, ...], key: str = ""
) -> DataFrame:
    """A loaded table with the `required` columns under these names, as `read_source` gives it.

    Raises:
        TableError: a column is missing, or two could be it; the message begins with `key`.
    """
    place = f"{key}: table {source.name}" if key else f"table {source.name}"
    asked = (*required, *source.missing_values)
    matches = find_columns(frame.columns, asked)
    nested = {name: _field_of(frame, name) for name in matches.missing}
    missing = [name for name, column in nested.items() if column is None]
    if missing:
        raise TableError(
            f"{place} has no column {missing}; it has {shown_names(frame.columns)};"
            f" {_other_place(frame, source, missing)}"
        )
    if matches.doubtful:
        name, alike = next(iter(matches.doubtful.items()))
        raise TableError(
            f"{place} has no column {name}, and the columns {list(alike)} have nearly that name;"
            " give one of them exactly in the config"
        )
    ours = {there: asked for asked, there in matches.renamed.items()}
    absent = source.missing_values
    if not ours and not nested and not absent:
        return frame
    columns = {ours.get(name, name): owner_column(name) for name in frame.columns}
    columns |= {name: column for name, column in nested.items() if column is not None}
    types = {ours.get(field.name, field.name): field.dataType for field in frame.schema.fields}
    for name, values in absent.items():
        columns[name] = _without(columns[name], types.get(name, T.StringType()), values)
    return frame.select(*(column.alias(name) for name, column in columns.items()))


def _other_place(frame: DataFrame, source: TableSource, missing: Sequence[str]) -> str:
    """What to do about missing columns: where they may be instead."""
    return (
        _repeated(frame, missing)
        or _within(frame.schema, missing)
        or _in_path(source, missing)
        or _in_another_script(frame, missing)
        or _CORRECT_NAMES
    )


def _in_another_script(frame: DataFrame, missing: Sequence[str]) -> str:
    """What to do where a column has a missing name but for some letters that may look alike."""
    same_length = (pair for pair in product(missing, frame.columns) if len({*map(len, pair)}) == 1)
    for name, there in same_length:
        others = [pair for pair in zip(name, there, strict=True) if len({*pair}) > 1]
        is_alike = 2 * len(others) <= len(name)
        if is_alike and all(ours.isascii() != theirs.isascii() for ours, theirs in others):
            ours, theirs = others[0]
            letter = unicodedata.name(theirs, f"U+{ord(theirs):04X}")
            return f"{there!r} has {letter} in place of {ours!r}; correct it here or there"
    return ""


def _in_path(source: TableSource, missing: Sequence[str]) -> str:
    """What to do where a missing column names a folder of the path, such as day=2024-03-18."""
    folders = (source.path or "").split("/")
    for k, folder in enumerate(folders):
        name = folder.partition("=")[0]
        if "=" in folder and name in missing:
            above = "/".join(folders[:k])
            return f"{folder} in its path has {name}: set options: {{basePath: {above}}}"
    return ""


def has_column(frame: DataFrame, name: str) -> bool:
    """Whether `with_columns` finds the column in a loaded table, or several that it could be."""
    return not find_columns(frame.columns, (name,)).missing or _field_of(frame, name) is not None


def _within(schema: T.StructType, missing: Sequence[str]) -> str:
    """What to do where a missing column is a field of another, or of each object of a list."""
    for place, is_listed in _fields_within(schema, "", False):
        name = next((name for name in missing if f".{place}".endswith(f".{name}")), None)
        if name is not None and is_listed:
            return f"{place} is in a list: make a view with a row for each, by explode in SQL"
        if name is not None:
            return f"name {place} in the config in place of {name}"
    return ""


def _fields_within(kind: T.DataType, place: str, is_listed: bool) -> Iterator[tuple[str, bool]]:
    """The fields of structs to any depth, each with whether it is in a list."""
    while isinstance(kind, T.ArrayType):
        kind, is_listed = kind.elementType, True
    if isinstance(kind, T.StructType):
        for field in kind.fields:
            inner = f"{place}.{field.name}".removeprefix(".")
            if place:
                yield inner, is_listed
            yield from _fields_within(field.dataType, inner, is_listed)


def _repeated(frame: DataFrame, missing: Sequence[str]) -> str:
    """What to do where a missing column stands several times in the header of a CSV file.

    Spark then adds the column's place to its name, also where the names differ in case.
    """
    for name in missing:
        numbered = re.compile(rf"{re.escape(name)}\d+", re.IGNORECASE)
        named = [column for column in frame.columns if numbered.fullmatch(column)]
        if len(named) > 1:
            return f"several columns are named {name}: name one of {named} in the config"
    return ""


def _field_of(frame: DataFrame, name: str) -> Column | None:
    """The field `column.field` of a struct, a map, or objects of JSON in a text, to any depth.

    Of a list of structs it is the list of their fields.
    """
    parts = name.split(".")
    kind: T.DataType = frame.schema
    is_listed = False
    for k, part in enumerate(parts):
        if k > 0 and isinstance(kind, T.StringType) and not is_listed:
            text = F.col(".".join(map(quoted, parts[:k])))
            return _field_of_objects(text, parts[k:])
        # Spark takes a field out of one list, and not of lists within it.
        if isinstance(kind, T.ArrayType) and not is_listed:
            kind, is_listed = kind.elementType, True
        if isinstance(kind, T.MapType) and isinstance(kind.keyType, T.StringType) and not is_listed:
            kind = kind.valueType
        elif isinstance(kind, T.StructType) and part in kind.names:
            kind = kind[part].dataType
        else:
            return None
    return F.col(".".join(map(quoted, parts)))


def _field_of_objects(text: Column, parts: Sequence[str]) -> Column:
    """A field of an object in JSON; of a list of objects, that of each as a list."""
    path = "".join(f"['{part}']" for part in parts)
    of_each = F.get_json_object(text, f"$[*]{path}")
    # Spark writes no list around a single one.
    listed = F.when(of_each.startswith("["), of_each).otherwise(
        F.concat(F.lit("["), of_each, F.lit("]"))
    )
    return F.when(F.ltrim(text).startswith("["), listed).otherwise(
        F.get_json_object(text, f"${path}")
    )


def _without(column: Column, kind: T.DataType, values: tuple[str, ...]) -> Column:
    """A column with null in place of values that stand for a missing one, as text or as numbers."""
    numbers = [float(value) for value in values if _is_finite(value)]
    stands_for_none = column.cast("string").isin(*values)
    if numbers and isinstance(kind, T.NumericType | T.StringType):
        stands_for_none |= F.coalesce(cast_or_null(column, "double").isin(*numbers), F.lit(False))
    return F.when(~F.coalesce(stands_for_none, F.lit(True)), column)


def _is_finite(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False


def read_ids(
    spark: SparkSession,
    source: TableSource,
    names: Mapping[str, str],
    config: InteractionsConfig,
) -> DataFrame:
    """The id columns of a table of the owner's as strings, and nothing else.

    Args:
        spark: the session.
        source: the table.
        names: the owner's column for each of ours.
        config: how ids are written.

    Raises:
        TableError: the table does not exist, cannot be read, or lacks a column.
    """
    id_parts = config.columns.parts_of_item_id if c.ITEM_ID in names else ()
    frame = read_source(spark, source, (*names.values(), *id_parts))
    return frame.select(
        *(
            (item_id_column if ours == c.ITEM_ID else id_column)(frame, theirs, config).alias(ours)
            for ours, theirs in names.items()
        )
    )


def source_at(spark: SparkSession, place: str) -> TableSource:
    """A table that is named on the command line.

    Args:
        spark: the session.
        place: a name of the catalogue or of a temporary view, or the path of a Delta table or of a
            file whose name says its format.
    """
    suffix = Path(place).suffix.removeprefix(".")
    if suffix in {"csv", "json", "parquet"}:
        return TableSource.model_validate({"path": place, "format": suffix})
    is_name = not is_path(place) or ("/" not in place and spark.catalog.tableExists(place))
    return TableSource(table=place) if is_name else TableSource(path=place)


def table_of_ids(
    spark: SparkSession, place: str, names: tuple[str, ...]
) -> tuple[TableSource, str]:
    """A table that is named on the command line, and its column of ids.

    Args:
        spark: the session.
        place: as for `source_at`.
        names: what the column may be called; another name is taken where it is the only column
            and is surely a name.

    Raises:
        TableError: the table cannot be read, or has several columns and none of these; or its file
            may have no header, so that its first id would be taken for one.
    """
    source = source_at(spark, place)
    frame = read_source(spark, source, ())
    found = frame.columns
    column = next((name for name in names if has_column(frame, name)), None)
    if column is None and len(found) != 1:
        raise TableError(
            f"table {place} has the columns {found}, and none of them is {' or '.join(names)};"
            " rename the column with the ids"
        )
    if column is None and source.path is not None and inferred_format(spark, source) == "csv":
        raise TableError(
            f"table {place} has one column, and its first line is {found[0]!r}, which is neither"
            f" {' nor '.join(names)}; write the name of the column into the first line, so that"
            " the first id is not taken for it"
        )
    return source, column or found[0]


def source_version(spark: SparkSession, source: TableSource) -> int | None:
    """The Delta version that reading `source` gives, or None for what has no versions."""
    if source.version is not None:
        return source.version
    if source.path is not None and inferred_format(spark, source) != "delta":
        return None
    with reading_table("", source):
        table = _delta_table(spark, source)
        if table is None:
            return None
        if source.timestamp is not None:
            return _version_at(table, source.timestamp)
        return latest_version(spark, table)


def has_change_feed(spark: SparkSession, source: TableSource) -> bool:
    """Whether a Delta table keeps its change data feed now."""
    table = _delta_table(spark, source)
    row = None if table is None else table.detail().select("properties").first()
    return row is not None and (row["properties"] or {}).get(CHANGE_FEED, "").lower() == "true"


def time_of_version(spark: SparkSession, source: TableSource, version: int) -> datetime | None:
    """When a version of a Delta table was committed; None where there is no such version."""
    try:
        with reading_table("", source):
            table = _delta_table(spark, source)
            if table is None:
                return None
            row = table.history().where(F.col("version") == version).select("timestamp").first()
    except TableError:
        # A missing table is reported where it is read.
        return None
    found: datetime | None = None if row is None else row["timestamp"]
    return found


def source_versions(spark: SparkSession, config: Config) -> dict[str, int]:
    """The version that each source of the config has now, by key; only Delta tables have one."""
    found = {}
    for key, source, _ in sources_of(config):
        try:
            version = source_version(spark, source)
        except TableError:
            # A missing table is reported where it is read.
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
    pinned: dict[str, Any] = {}
    for place, version in places.items():
        pinned[f"{place}.version"] = version
        if config.value(f"{place}.timestamp") is not None:
            pinned[f"{place}.timestamp"] = None
    return config.replaced(pinned)


def _delta_table(spark: SparkSession, source: TableSource) -> DeltaTable | None:
    if source.path is not None:
        return DeltaTable.forPath(spark, source.path)
    try:
        return delta_table_named(spark, source.name)
    except AnalysisException:
        # A view, or a table of another format, has no versions.
        return None


def _version_at(table: DeltaTable, moment: str) -> int | None:
    """The version that was the latest at a moment.

    Raises:
        TableError: the table was made later, or the moment is no time.
    """
    history = table.history().select("version", "timestamp")
    made = F.min("timestamp").cast("string").alias("made")
    at = cast_or_null(F.lit(moment), "timestamp")
    version = F.max(F.when(F.col("timestamp") <= at, F.col("version"))).alias("version")
    row = history.agg(version, made, F.max(at).alias("at")).first()
    if row is not None and row["at"] is None:
        raise TableError(f"source.timestamp {moment} is no time; write it as in 2026-11-01 12:00")
    if row is None or row["version"] is None:
        made_at = "" if row is None else f"; it was made {row['made']}"
        raise TableError(
            f"the table had no version at {moment}{made_at}; set source.timestamp to a later time,"
            " such as 2026-11-01 12:00"
        )
    return int(row["version"])


def inferred_format(spark: SparkSession, source: TableSource) -> str:
    """The format of the files of a source: as configured, or as the files show it.

    Raises:
        TableError: the files do not show it.
    """
    if source.format != "auto" or source.path is None:
        return source.format
    with reading_table("", source):
        return format_of_files(spark, source.path)


def _load(
    spark: SparkSession, source: TableSource, schema: T.StructType | None = None
) -> DataFrame:
    reader = spark.read.options(**source.options)
    if schema is not None:
        reader = reader.schema(schema)
    if source.option("encoding") is not None or source.option("charset") is not None:
        spark.conf.set(_ENCODINGS_OF_JAVA, "true")
    version = source.version
    if version is None and source.timestamp is not None:
        version = source_version(spark, source)
    if version is not None:
        reader = reader.option("versionAsOf", version)
    if source.table is not None:
        return _load_by_name(spark, reader, source, version)
    path = source.path or ""
    kind = inferred_format(spark, source)
    if kind == "json" and schema is None:
        sampled = schema_of_sample(spark, source)
        reader = reader if sampled is None else reader.schema(sampled)
    if kind == "csv":
        if source.option("header") is None:
            reader = reader.option("header", "true")
        if source.option("escape") is None:
            reader = reader.option("escape", '"')
    if kind == "parquet":
        spark.conf.set(_NANOSECONDS_AS_NUMBERS, "true")
    if without_glob(path):
        reader = reader.option("__globPaths__", "false")
    spark.conf.set(_NUMBERS_IN_FOLDERS, "false")
    if kind == "parquet":
        frame = _load_parquet(spark, reader, path, merges_files(spark, source))
        return _without_nanoseconds(spark, frame)
    return reader.format(kind).load(path)


def _load_by_name(
    spark: SparkSession, reader: DataFrameReader, source: TableSource, version: int | None
) -> DataFrame:
    """A table or view of the catalogue, or a temporary view, with the files that it has now.

    Spark lists the files of a table without versions once in a session, unless it is told to look
    again. What a temporary view reads stays as its owner made it.

    Raises:
        TableError: a version is asked for, and Spark would silently ignore it.
    """
    name = source.name
    spark_asks = version is not None and not reads_versions_of_delta_alone()
    if not spark_asks and _delta_table(spark, source) is None:
        if version is not None:
            raise TableError(NO_VERSIONS)
        if not spark.catalog.getTable(name).isTemporary:
            spark.catalog.refreshTable(name)
    return reader.table(name)


def merges_files(spark: SparkSession, source: TableSource) -> bool:
    """Whether the columns of a table of Parquet are those of all of its files."""
    asked = source.option("mergeschema") or spark.conf.get(_MERGED, "false")
    return str(asked).lower() == "true"


def _load_parquet(
    spark: SparkSession, reader: DataFrameReader, path: str, merges: bool
) -> DataFrame:
    """Files of Parquet, without the columns of types that Spark does not read.

    Spark would fail in a task, whose trace would stand in the log of each job, or while it merges
    schemas. Given a schema it merges none, so if schemas are to be merged, the one given here is
    that of all files.
    """
    readable = readable_columns(spark, path)
    if not readable.others:
        try:
            return reader.parquet(path)
        except THROWN:
            if not merges:
                raise
            readable = readable_columns_of_all(spark, path)
            if not readable.others:
                raise
    elif merges:
        readable = readable_columns_of_all(spark, path)
    return reader.schema(readable.columns).parquet(path)


def _without_nanoseconds(spark: SparkSession, frame: DataFrame) -> DataFrame:
    """Timestamps in nanoseconds as timestamps; a file's footer says which numbers are such.

    Raises:
        TableError: the first and the last file differ in this.
    """
    numbers = [
        field.name for field in frame.schema.fields if isinstance(field.dataType, T.LongType)
    ]
    has_times = any(isinstance(field.dataType, _TIMES) for field in frame.schema.fields)
    if not numbers and not has_times:
        return frame
    files = sorted(map(unquote, frame.inputFiles()))
    if not files or (not numbers and len(files) == 1):
        return frame
    schemas = [parquet_schema(spark, file) for file in (files[0], files[-1])[: len(files)]]
    kinds, of_last = (_nanosecond_columns(schema) for schema in (schemas[0], schemas[-1]))
    # A column may have come later.
    mixed = [
        name
        for name in sorted(set(kinds) ^ set(of_last))
        if all(schema.containsField(name) for schema in schemas)
    ]
    if mixed:
        raise TableError(
            f"column {mixed[0]} is in nanoseconds in one of the files {files[0]} and {files[-1]},"
            " and not in the other, and Spark reads all files of a table alike; write them alike,"
            " as pandas does with to_parquet(..., coerce_timestamps='us')"
        )
    if not set(numbers) & set(kinds):
        return frame
    columns = []
    for name in frame.columns:
        column = owner_column(name)
        if name in kinds and name in numbers:
            # Whole microseconds before and after 1970, in whole numbers throughout.
            thousandth = F.expr(f"({quoted(name)} - pmod({quoted(name)}, 1000)) div 1000")
            column = F.timestamp_micros(thousandth)
            if not kinds[name]:
                since = F.make_dt_interval(
                    secs=(thousandth.cast("decimal(20,0)") / 1_000_000).cast("decimal(18,6)")
                )
                column = F.lit("1970-01-01 00:00:00").cast("timestamp_ntz") + since
        columns.append(column.alias(name))
    return frame.select(*columns)


def _nanosecond_columns(schema: Any) -> dict[str, bool]:
    """The columns of nanoseconds in a file of that schema, each with whether it has a zone."""
    # Of thousands of columns each call of a method counts, and the whole schema is one.
    if _NANOSECONDS not in str(schema.toString()):
        return {}
    kinds = {
        str(field.getName()): str(field.getLogicalTypeAnnotation()) for field in schema.getFields()
    }
    return {
        name: kind.endswith("true)")
        for name, kind in kinds.items()
        if kind.startswith(_NANOSECONDS)
    }


def check_sources(spark: SparkSession, config: Config) -> None:
    """Open every source of the config and check its columns, before any compute.

    Raises:
        TableError: tables do not exist or lack a column; the message names the config's keys.
    """
    problems = []
    for key, source, required in (*sources_of(config), *columns_of_lists(config)):
        try:
            read_source(spark, source, required, key)
        except TableError as error:
            problems.append(str(error))
    if problems:
        raise TableError("\n".join(problems))
