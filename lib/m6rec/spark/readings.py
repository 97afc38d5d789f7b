"""What is left out when a table's files are read, and other ways to read text files."""

import json
from contextlib import suppress
from typing import Any

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from m6rec.check.findings import Finding, Place, Severity
from m6rec.check.readings import (
    foreign_format,
    is_json_array,
    likely_readings,
    line_of_header,
)
from m6rec.check.samples import SAMPLED_ROWS, shown
from m6rec.config.base import TableSource
from m6rec.errors import TableError, likely_spelling
from m6rec.spark.failures import reading_table
from m6rec.spark.files import (
    delta_table_around,
    files_and_largest,
    files_under,
    first_bytes,
    sized_files_under,
    whole_name,
)
from m6rec.spark.misreadings import CORRUPT
from m6rec.spark.parquet_columns import readable_columns, readable_columns_of_all
from m6rec.spark.sources import inferred_format, load_source, merges_files

# Options of all formats of files.
_OPTIONS_OF_FILES = (
    *("pathGlobFilter", "recursiveFileLookup", "modifiedBefore", "modifiedAfter", "basePath"),
    *("ignoreCorruptFiles", "ignoreMissingFiles"),
)


def readings_of(
    spark: SparkSession, place: Place, source: TableSource, required: tuple[str, ...]
) -> list[Finding]:
    """How a table of text files might be read; nothing where its files cannot be."""
    if source.path is None:
        return []
    try:
        with reading_table(place.key, source):
            kind = inferred_format(spark, source)
            is_text = kind in {"csv", "json"}
            files, largest = files_and_largest(spark, source.path) if is_text else ([], "")
            start = first_bytes(spark, largest) if files else b""
    except TableError:
        # An earlier finding says that it cannot be read.
        return []
    foreign = foreign_format(start)
    if foreign is not None:
        return [Finding("problem", place, f"its file {largest} is {foreign}")]
    nested = files_left_out(spark, place, source, "problem")
    if nested:
        return nested
    if files and not start.strip():
        return [Finding("problem", place, f"its file {largest} is empty", "give one with rows")]
    found = [*unknown_options(spark, place, source), *malformed_rows(spark, place, source)]
    match kind:
        case "json":
            found += _of_json(place, start)
        case "parquet":
            found += files_of_delta(spark, place, source)
            found += _in_other_files(spark, place, source, required)
            with suppress(TableError):
                found += columns_left_out(spark, place, source, "problem", required)
        case "csv" if start.startswith(b"sep="):
            words = f"begins with {shown(_first_line(start))}, a line that only Excel reads"
            found.append(Finding("problem", place, words, "take the line out of the file"))
        case "csv" if not start.startswith(b"#") and (line := line_of_header(start, required)):
            words = f"its header is line {line}, and the lines before it do not belong to a table"
            found.append(Finding("problem", place, words, "take these out of the file"))
        case "csv":
            found += [
                Finding("problem", place, f"may be meant so: {one.words()}", "set these if it is")
                for one in likely_readings(start, required)
                if one.options and one.options != source.options
            ]
    return found


def _of_json(place: Place, start: bytes) -> list[Finding]:
    if is_json_array(start):
        words = "holds one JSON array, and not an object a line"
        return [Finding("problem", place, words, "set options: {multiLine: true}")]
    first = _first_line(start)
    try:
        is_object = isinstance(json.loads(first), dict)
    except ValueError:
        is_object = False
    if is_object or not first:
        return []
    words = f"begins with {shown(first)}, expected a JSON object a line"
    remedy = "where objects take several lines, set options: {multiLine: true}"
    return [Finding("problem", place, words, remedy)]


def _first_line(start: bytes) -> str:
    return start.decode("utf-8-sig", "replace").strip().partition("\n")[0].strip()


def _in_other_files(
    spark: SparkSession, place: Place, source: TableSource, required: tuple[str, ...]
) -> list[Finding]:
    """Whether the columns that one file of Parquet lacks are in others."""
    if source.option("mergeschema") is not None:
        return []
    options = {**source.options, "mergeSchema": "true"}
    try:
        merged = load_source(spark, source.model_copy(update={"options": options}), place.key)
    except TableError:
        return []
    known = set(load_source(spark, source, place.key).columns)
    there = [name for name in required if name in merged.columns and name not in known]
    if not there:
        return []
    words = f"some of its files have the columns {there}, and others do not"
    remedy = "where these are to be null there, set options: {mergeSchema: true}"
    return [Finding("problem", place, words, remedy)]


def columns_left_out(
    spark: SparkSession,
    place: Place,
    source: TableSource,
    severity: Severity = "note",
    names: tuple[str, ...] | None = None,
) -> list[Finding]:
    """The columns of Parquet, among some, whose types Spark does not read."""
    if source.path is None or inferred_format(spark, source) != "parquet":
        return []
    of_files = readable_columns_of_all if merges_files(spark, source) else readable_columns
    others = of_files(spark, source.path).others
    there = load_source(spark, source, place.key).columns if others else []
    return [
        Finding(
            severity,
            place.of(name),
            f"has Parquet's type {kind}, which Spark does not read, and is left out",
            "cast it in the source to what is to be read",
        )
        for name, kind in others.items()
        if name not in there and (names is None or name in names)
    ]


def files_of_delta(spark: SparkSession, place: Place, source: TableSource) -> list[Finding]:
    """Whether files of a Delta table are read without its log."""
    if source.path is None or inferred_format(spark, source) != "parquet":
        return []
    folder = delta_table_around(spark, source.path)
    if folder is None:
        return []
    words = (
        f"is of the Delta table {folder} and is read as parquet: its files also hold rows that were"
        " changed or deleted since"
    )
    remedy = f"set path: {folder} and leave out format"
    return [Finding("problem", place, words, remedy)]


def files_left_out(
    spark: SparkSession, place: Place, source: TableSource, severity: Severity = "warning"
) -> list[Finding]:
    """The files in folders that Spark does not look into: those that are named by no column."""
    if source.path is None or inferred_format(spark, source) == "delta":
        return []
    looks_everywhere = (source.option("recursivefilelookup") or "").lower() == "true"
    root = None if looks_everywhere else whole_name(spark, source.path)
    if root is None:
        return []
    files = files_under(spark, source.path)
    folders = [file.removeprefix(root).strip("/").split("/")[:-1] for file in files]
    left_out = ["/".join(parts) for parts in folders if any("=" not in part for part in parts)]
    if not left_out:
        return _files_beside_folders(place, folders)
    words = (
        f"{len(left_out)} of {len(files)} files lie in folders such as {left_out[0]}, into which"
        " Spark does not look"
    )
    remedy = "to read them, set options: {recursiveFileLookup: true}"
    return [Finding(severity, place, words, remedy)]


def _files_beside_folders(place: Place, folders: list[list[str]]) -> list[Finding]:
    """The files that lie beside folders that name values, of which Spark reads none."""
    named = next(("/".join(parts) for parts in folders if parts), None)
    beside = sum(not parts for parts in folders)
    if named is None or not beside:
        return []
    words = (
        f"{beside} of {len(folders)} files lie beside folders such as {named}, and Spark reads only"
        " the files in such folders"
    )
    remedy = (
        "move them into such folders or, to read all without the columns of the folders' names, set"
        " options: {recursiveFileLookup: true}"
    )
    return [Finding("warning", place, words, remedy)]


def columns_in_folders(
    spark: SparkSession, place: Place, source: TableSource, names: tuple[str, ...]
) -> list[Finding]:
    """The columns, among some, whose values stand in the names of folders."""
    if source.path is None or inferred_format(spark, source) == "delta":
        return []
    with reading_table(place.key, source):
        files = sized_files_under(spark, source.path, 1)
    parts = (part.partition("=") for file, _ in files for part in file.split("/")[:-1])
    named = {name: f"{name}={value}" for name, sign, value in parts if sign}
    return [
        Finding(
            "note",
            place.of(name),
            f"is read from folders such as {named[name]}, as the text that stands there",
        )
        for name in names
        if name in named
    ]


def unknown_options(spark: SparkSession, place: Place, source: TableSource) -> list[Finding]:
    """The options that Spark's reader of a format does not know, and silently leaves aside."""
    if source.path is None or not source.options:
        return []
    kind = inferred_format(spark, source)
    known = _known_options(spark, kind)
    if not known:
        return []
    in_lower_case = {name.lower() for name in known}
    found = []
    for name in source.options:
        # Settings of file systems, such as fs.s3a.endpoint, are given beside those of the reader.
        if name.lower() in in_lower_case or "." in name:
            continue
        likely = likely_spelling(name, known)
        words = (
            f"options name {name}, which Spark's reader of {kind} does not know and leaves aside"
        )
        found.append(Finding("warning", place, words, f"remove it or correct its spelling{likely}"))
    return found


def _known_options(spark: SparkSession, kind: str) -> set[str]:
    """The options of Spark's reader of a format; none where they are not known."""
    jvm: Any = spark._jvm
    sql = jvm.org.apache.spark.sql
    try:
        match kind:
            case "csv":
                options = sql.catalyst.csv.CSVOptions.getAllOptions()
            case "json":
                options = sql.catalyst.json.JSONOptions.getAllOptions()
            case "parquet":
                options = sql.execution.datasources.parquet.ParquetOptions.getAllOptions()
            case _:
                return set()
        return {*str(options.mkString(",")).split(","), *_OPTIONS_OF_FILES}
    except (Py4JError, TypeError):
        # Other makes of Spark have other classes.
        return set()


def malformed_rows(spark: SparkSession, place: Place, source: TableSource) -> list[Finding]:
    """How many of the first rows are malformed, where options say that they are not kept."""
    mode = (source.option("mode") or "").upper()
    if mode not in {"FAILFAST", "DROPMALFORMED"}:
        return []
    kept = {name: value for name, value in source.options.items() if name.lower() != "mode"}
    lenient = source.model_copy(update={"options": kept})
    schema = load_source(spark, lenient, place.key).schema.add(CORRUPT, "string")
    rows = load_source(spark, lenient, place.key, schema).limit(SAMPLED_ROWS).collect()
    bad = [row[CORRUPT] for row in rows if row[CORRUPT] is not None]
    if not bad:
        return []
    words = f"{len(bad)} of the first {len(rows)} rows are malformed, such as {shown(bad[0])}"
    if mode == "DROPMALFORMED":
        return [Finding("warning", place, f"{words}; they are dropped under mode {mode}")]
    return [Finding("problem", place, f"{words}, and options say mode {mode}")]
