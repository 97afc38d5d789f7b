"""Other readings of an owner's text files, for one that lacks the columns that it should have."""

from pyspark.sql import SparkSession

from m6rec.check.findings import Finding, Place
from m6rec.check.readings import is_json_array, likely_readings
from m6rec.config.base import TableSource
from m6rec.errors import TableError
from m6rec.spark.failures import reading
from m6rec.spark.files import files_under, first_bytes
from m6rec.spark.sources import told_format

_LOOKED_AT = 65_536


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
    if kind != "csv":
        return []
    return [
        Finding("problem", place, f"may be meant so: {one.words()}", "set these options if it is")
        for one in likely_readings(start, required)
        if one.options != source.options
    ]
