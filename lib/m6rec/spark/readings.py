"""Other readings of an owner's text files, for one that lacks the columns that it should have."""

from pyspark.sql import SparkSession

from m6rec.check.findings import Finding, Place
from m6rec.check.readings import is_json_array, likely_readings
from m6rec.check.samples import SAMPLED_ROWS, shown
from m6rec.config.base import TableSource
from m6rec.errors import TableError
from m6rec.spark.failures import reading
from m6rec.spark.files import files_under, first_bytes
from m6rec.spark.sources import load_source, told_format

_LOOKED_AT = 65_536
_CORRUPT = "_corrupt_record"


def readings_of(
    spark: SparkSession, place: Place, source: TableSource, required: tuple[str, ...]
) -> list[Finding]:
    """How a table of text files might be read; nothing where its files cannot be."""
    if source.path is None:
        return []
    try:
        with reading(place.key, source):
            kind = told_format(spark, source)
            files = files_under(spark, source.path) if kind in {"csv", "json"} else []
            start = first_bytes(spark, files[0], _LOOKED_AT) if files else b""
    except TableError:
        # That it cannot be read has been said.
        return []
    if kind == "json" and is_json_array(start):
        words = "holds one JSON array, and not an object a line"
        return [Finding("problem", place, words, "set options: {multiLine: true}")]
    found = malformed_rows(spark, place, source)
    if kind != "csv":
        return found
    return found + [
        Finding("problem", place, f"may be meant so: {one.words()}", "set these options if it is")
        for one in likely_readings(start, required)
        if one.options and one.options != source.options
    ]


def malformed_rows(spark: SparkSession, place: Place, source: TableSource) -> list[Finding]:
    """How many of the first rows are malformed, where options say that they are not kept."""
    mode = (source.option("mode") or "").upper()
    if mode not in {"FAILFAST", "DROPMALFORMED"}:
        return []
    kept = {name: value for name, value in source.options.items() if name.lower() != "mode"}
    lenient = source.model_copy(update={"options": kept})
    schema = load_source(spark, lenient, place.key).schema.add(_CORRUPT, "string")
    rows = load_source(spark, lenient, place.key, schema).limit(SAMPLED_ROWS).collect()
    bad = [row[_CORRUPT] for row in rows if row[_CORRUPT] is not None]
    if not bad:
        return []
    words = f"{len(bad)} of the first {len(rows)} rows are malformed, such as {shown(bad[0])}"
    if mode == "DROPMALFORMED":
        return [Finding("warning", place, f"{words}; they are dropped under mode {mode}")]
    return [Finding("problem", place, f"{words}, and options say mode {mode}")]
