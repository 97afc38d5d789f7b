"""Text files that Spark reads without an error, but not as they were meant."""

from collections.abc import Callable
from functools import partial

from pyspark.sql import SparkSession

from m6rec.check.encodings import encoding_of, line_beyond_ascii, shows_another
from m6rec.check.findings import Finding, Place
from m6rec.check.readings import (
    WIDE,
    has_line_breaks,
    has_quotes_after_backslashes,
    header_of,
    uneven_lines,
)
from m6rec.check.samples import TableSample, shown, shown_names
from m6rec.config.base import TableSource
from m6rec.spark.failures import reading_table
from m6rec.spark.files import bytes_beyond_ascii, files_and_largest, first_bytes
from m6rec.spark.sources import inferred_format

# What Spark reads in place of a byte that the encoding does not have.
_REPLACEMENT = "\ufffd"
# Each is opened, which takes a tenth of a second in an object store.
_MOST_HEADERS = 20
# By one name alone a row is not taken for the header.
_FEWEST_NAMES = 2
# Where Spark puts the text of a row that it does not read.
CORRUPT = "_corrupt_record"


def misreadings(
    spark: SparkSession, place: Place, source: TableSource, sample: TableSample
) -> list[Finding]:
    """What Spark reads differently from how it was meant, in a table of text files."""
    if source.path is None or inferred_format(spark, source) not in {"csv", "json"}:
        return []
    is_csv = inferred_format(spark, source) == "csv"
    files, largest = files_and_largest(spark, source.path)
    if not files:
        return []
    with reading_table(place.key, source):
        start = first_bytes(spark, largest)
        found = _of_malformed_objects(place, sample)
        beyond_ascii = partial(bytes_beyond_ascii, spark, files)
        found += _of_encoding(place, source, sample, start, beyond_ascii)
        if is_csv and source.option("encoding") is None and source.option("charset") is None:
            separator = source.option("sep") or source.option("delimiter") or ","
            found += _of_line_breaks(place, source, start, separator) or _of_uneven_lines(
                place, source, start, separator
            )
            found += _of_repeated_headers(place, sample)
            if (source.option("header") or "true").lower() == "true":
                found += _of_headers(spark, place, files, separator)
    return found


def _of_encoding(
    place: Place,
    source: TableSource,
    sample: TableSample,
    start: bytes,
    beyond_ascii: Callable[[], bytes],
) -> list[Finding]:
    broken = [
        (name, text)
        for name, column in sample.columns.items()
        for text in [next((t for t in column.texts if _REPLACEMENT in t), None)]
        if column.group == "text" and text is not None
    ]
    given = source.option("encoding") or source.option("charset")
    if not broken:
        return _of_given_encoding(place, start, given)
    name, text = broken[0]
    if start.isascii():
        start = beyond_ascii()
    encoding = encoding_of(start)
    # Spark ends lines at single bytes, and in these encodings each character has two.
    whole_files = (source.option("multiline") or "").lower() == "true"
    ends_lines = whole_files or not encoding.startswith(WIDE)
    is_read_so = given is not None and encoding.startswith(given.upper()) and ends_lines
    if encoding == "UTF-8" or is_read_so:
        words = f"holds {shown(text)}, in which characters were lost before it was written"
        return [Finding("warning", place.of(name), words)]
    words = (
        f"holds {shown(text)}, as a file in {encoding} does where it is read in another encoding;"
        f" different ids may become one{_in_encoding(start, encoding)}"
    )
    whole = ", multiLine: true" if encoding.startswith(WIDE) else ""
    remedy = f"set options: {{encoding: {encoding}{whole}}}"
    return [Finding("problem", place.of(name), words, remedy)]


def _of_given_encoding(place: Place, start: bytes, given: str | None) -> list[Finding]:
    """An encoding of the configuration that gives other characters than were meant."""
    likely = None if given is None else shows_another(start, given)
    if given is None or likely is None:
        return []
    words = (
        f"seems to be in {likely}, and options name {given}, in which a line is"
        f" {shown(line_beyond_ascii(start, given))}{_in_encoding(start, likely)}"
    )
    return [Finding("warning", place, words, f"set options: {{encoding: {likely}}}")]


def _in_encoding(start: bytes, encoding: str) -> str:
    """A line of a file in an encoding, for a person to judge by."""
    if encoding.startswith(WIDE):
        return ""
    return f"; in {encoding} a line is {shown(line_beyond_ascii(start, encoding))}"


def _of_line_breaks(
    place: Place, source: TableSource, start: bytes, separator: str
) -> list[Finding]:
    is_read_so = (source.option("multiline") or "").lower() == "true"
    if is_read_so or source.option("quote") is not None or not has_line_breaks(start, separator):
        return []
    words = "has values with line breaks within quotes, each of which would end a row"
    return [Finding("problem", place, words, "set options: {multiLine: true}")]


def _of_uneven_lines(
    place: Place, source: TableSource, start: bytes, separator: str
) -> list[Finding]:
    """Lines of which Spark leaves out values, or takes some for those of other columns."""
    others = ("quote", "escape", "multiline", "comment", "linesep", "mode")
    has_header = (source.option("header") or "true").lower() == "true"
    if not has_header or any(source.option(name) is not None for name in others):
        return []
    if has_quotes_after_backslashes(start, separator):
        words = "has quotes after a backslash within quotes, where its values would end"
        remedy = """set options: {escape: '\\'}"""
        return [Finding("problem", place, words, remedy)]
    uneven, lines = uneven_lines(start, separator)
    if not uneven:
        return []
    words = (
        f"{len(uneven)} of the first {lines} lines do not have as many values as the header, such"
        f" as {shown(uneven[0])}: what is beyond is left out, and what lacks is missing"
    )
    remedy = f"where values hold {shown(separator)}, write them in quotes"
    return [Finding("warning", place, words, remedy)]


def _of_repeated_headers(place: Place, sample: TableSample) -> list[Finding]:
    """Rows that are the header, as files have that were put together."""
    columns = list(sample.columns.items())[:_FEWEST_NAMES]
    if len(columns) < _FEWEST_NAMES:
        return []
    named = [[value == name for value in column.values] for name, column in columns]
    repeated = sum(map(all, zip(*named, strict=True)))
    if not repeated:
        return []
    words = f"{repeated} of the first {sample.rows} rows are the header again"
    return [Finding("warning", place, words, "take them out of the file")]


def _of_malformed_objects(place: Place, sample: TableSample) -> list[Finding]:
    """Lines of JSON that are no objects, of which Spark reads nothing."""
    corrupt = sample.columns.get(CORRUPT)
    if corrupt is None or not corrupt.present:
        return []
    words = (
        f"{len(corrupt.present)} of the first {sample.rows} rows are no JSON objects, such as"
        f" {shown(corrupt.present[0])}, and nothing is read of them"
    )
    return [Finding("warning", place, words, "write them again, one object a line")]


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
            remedy = "write all files alike, or leave others out by a path such as part-*.csv"
            return [Finding("problem", place, words, remedy)]
    return []
