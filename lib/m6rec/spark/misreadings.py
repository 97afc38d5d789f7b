"""Text files that Spark reads without an error, but not as they were meant."""

from pyspark.sql import SparkSession

from m6rec.check.findings import Finding, Place
from m6rec.check.readings import WIDE, encoding_of, has_line_breaks, header_of
from m6rec.check.samples import TableSample, shown, shown_names
from m6rec.config.base import TableSource
from m6rec.spark.failures import reading_table
from m6rec.spark.files import files_under, first_bytes
from m6rec.spark.sources import inferred_format

# What Spark reads in place of a byte that the encoding does not have.
_REPLACEMENT = "\ufffd"
# Each is opened, which takes a tenth of a second in an object store.
_MOST_HEADERS = 20


def misreadings(
    spark: SparkSession, place: Place, source: TableSource, sample: TableSample
) -> list[Finding]:
    """What Spark reads differently from how it was meant, in a table of text files."""
    if source.path is None or inferred_format(spark, source) not in {"csv", "json"}:
        return []
    is_csv = inferred_format(spark, source) == "csv"
    files = files_under(spark, source.path)
    if not files:
        return []
    with reading_table(place.key, source):
        start = first_bytes(spark, files[0])
        found = _of_encoding(place, source, sample, start)
        if is_csv and source.option("encoding") is None and source.option("charset") is None:
            separator = source.option("sep") or source.option("delimiter") or ","
            found += _of_line_breaks(place, source, start, separator)
            if (source.option("header") or "true").lower() == "true":
                found += _of_headers(spark, place, files, separator)
    return found


def _of_encoding(
    place: Place, source: TableSource, sample: TableSample, start: bytes
) -> list[Finding]:
    broken = [
        (name, text)
        for name, column in sample.columns.items()
        for text in [next((t for t in column.texts if _REPLACEMENT in t), None)]
        if column.group == "text" and text is not None
    ]
    if not broken:
        return []
    name, text = broken[0]
    encoding = encoding_of(start)
    given = source.option("encoding") or source.option("charset")
    # Spark ends lines at single bytes, and in these encodings each character has two.
    whole_files = (source.option("multiline") or "").lower() == "true"
    ends_lines = whole_files or not encoding.startswith(WIDE)
    is_read_so = given is not None and encoding.startswith(given.upper()) and ends_lines
    if encoding == "UTF-8" or is_read_so:
        words = f"holds {shown(text)}, in which characters were lost before it was written"
        return [Finding("warning", place.of(name), words)]
    words = (
        f"holds {shown(text)}, as a file in {encoding} does where it is read in another encoding;"
        " different ids may become one"
    )
    whole = ", multiLine: true" if encoding.startswith(WIDE) else ""
    mend = f"set options: {{encoding: {encoding}{whole}}}"
    return [Finding("problem", place.of(name), words, mend)]


def _of_line_breaks(
    place: Place, source: TableSource, start: bytes, separator: str
) -> list[Finding]:
    is_read_so = (source.option("multiline") or "").lower() == "true"
    if is_read_so or source.option("quote") is not None or not has_line_breaks(start, separator):
        return []
    words = "has values with line breaks within quotes, each of which would end a row"
    return [Finding("problem", place, words, "set options: {multiLine: true}")]


def _of_headers(
    spark: SparkSession, place: Place, files: list[str], separator: str
) -> list[Finding]:
    """Files whose header has other columns: CSV is read by the place of its columns."""
    headers = {
        file: header_of(first_bytes(spark, file), separator) for file in files[:_MOST_HEADERS]
    }
    first = next((header for header in headers.values() if header), ())
    for file, header in headers.items():
        shared = min(len(header), len(first))
        # A file with more columns at the end is read as the others are.
        if header[:shared] != first[:shared]:
            words = (
                f"the file {file.rsplit('/', 1)[-1]} has the columns {shown_names(header)}, and"
                f" others have {shown_names(first)}; columns of CSV are read by their place"
            )
            mend = "write all files alike, or leave others out by a path such as part-*.csv"
            return [Finding("problem", place, words, mend)]
    return []
