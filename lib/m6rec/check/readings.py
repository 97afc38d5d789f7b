"""Likely options for a text file that Spark does not read as it was meant."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from m6rec.check.encodings import encoding_of

# What files of other formats begin with, what they are, and what to do.
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive, as workbooks of Excel are; unpack it, or write it as CSV"),
    (b"\xd0\xcf\x11\xe0", "a workbook of Excel; write its sheet as CSV"),
    (b"SQLite format 3", "a database of SQLite; write its table as CSV"),
    (b"ORC", "ORC; make a table of the catalogue of it, and name that in source.table"),
    (b"Obj\x01", "Avro; make a table of the catalogue of it, and name that in source.table"),
    (b"ARROW1", "Feather, a format of Arrow; write it as Parquet"),
    (b"\x1f\x8b", "compressed by gzip; end its name in .gz"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard; end its name in .zst"),
    (b"BZh", "compressed by bzip2; end its name in .bz2"),
    (b"\xfd7zXZ\x00", "compressed by xz, which Spark does not read; compress it by gzip"),
    (b"PAR1", "Parquet; set format: parquet"),
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself by git lfs pull"),
    (b"<!DOCTYPE", "a page of HTML, as one that asks to sign in; fetch the file itself"),
    (b"<html", "a page of HTML, as one that asks to sign in; fetch the file itself"),
    (b"<?xml", "XML; write its rows as CSV or JSON"),
    (b"\x80\x04\x95", "an object that Python has pickled; write it as Parquet"),
    (b"\x80\x05\x95", "an object that Python has pickled; write it as Parquet"),
    (b"\x89HDF\r\n", "HDF5; write its table as Parquet"),
    (b"\x93NUMPY", "an array of NumPy; write it as Parquet"),
)
# Encodings with several bytes for each character, some of which Spark takes for ends of lines.
WIDE = "UTF-16"
_SEPARATORS = (",", ";", "\t", "||", "|", "::", "~", "^", "\x01")
# The standard's first, which is taken where others would do as well.
_QUOTES = ('"', "'")
_COMMENT = "#"
_SHOWN_ROWS = 2
# A title and its date, an empty line: reports have some lines before their header.
_MOST_LINES_BEFORE = 30
_SHOWN_CELL = 60


@dataclass(frozen=True)
class LikelyReading:
    """One way to read a file.

    Attributes:
        options: options of Spark's reader that are not its defaults.
        rows: its first rows.
        names: its columns, empty without a header.
    """

    options: dict[str, str]
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def words(self) -> str:
        """The options and the first rows, for a person to choose by."""
        options = ", ".join(f"{name}: {json.dumps(value)}" for name, value in self.options.items())
        rows = " / ".join(" | ".join(cell[:_SHOWN_CELL] for cell in row) for row in self.rows)
        names = f"columns {list(self.names)}, " if self.names else ""
        return f"options: {{{options}}} gives {names}rows {rows}"


def likely_readings(start: bytes, needed: tuple[str, ...]) -> list[LikelyReading]:
    """The ways to read the start of a CSV file as columns, the likeliest first.

    Args:
        start: the first bytes.
        needed: the columns that the configuration names.
    """
    encoding = encoding_of(start)
    text = _decoded(start, encoding)
    found = [
        reading
        for separator in _SEPARATORS
        for quote in _QUOTES
        for reading in _with_separator(text, separator, quote, encoding, needed)
    ]
    best = max((_score(reading, needed) for reading in found), default=(0, 0))
    return [
        reading
        for reading in found
        if _score(reading, needed) == best
        and best > (0, 1)
        # A file without any separator is read alike whatever the separator is.
        and (best[1] != 1 or "sep" not in reading.options)
    ]


def has_line_breaks(start: bytes, separator: str) -> bool:
    """Whether the start of a CSV file has line breaks within quotes.

    If it does, all rows have one width, but not all lines do. Where a quote is never closed, the
    rest of the file becomes one value, so that not all rows have one width.
    """
    text = _text_of(start)
    rows = [row for row in _rows(text, separator) if row]
    # The last row may be cut.
    rows = rows if text.endswith("\n") else rows[:-1]
    widths = {len(row) for row in rows}
    if len(widths) != 1 or not any("\n" in cell for row in rows for cell in row):
        return False
    lines = (next(_rows(line, separator), ()) for line in text.splitlines() if line)
    return any(len(line) != len(rows[0]) for line in lines)


def uneven_lines(start: bytes, separator: str) -> tuple[list[str], int]:
    """The lines of the start of a CSV file that do not have as many values as its header.

    Beside them, how many lines there are. Empty values at the end of a line do not count.
    """
    text = _text_of(start)
    lines = [line.rstrip("\r") for line in text.split("\n")]
    # The last line may be cut.
    lines = [line for line in lines[:-1] if line]
    rows = [next(_rows(line, separator), ()) for line in lines]
    width = len(rows[0]) if rows else 0
    uneven = [
        line for line, row in zip(lines, rows, strict=True) if len(row) < width or any(row[width:])
    ]
    return uneven, max(len(lines) - 1, 0)


def has_quotes_after_backslashes(start: bytes, separator: str) -> bool:
    """Whether quotes within quotes stand after a backslash, as MySQL and Spark write them."""
    ends = re.escape(separator)
    text = _text_of(start)
    return (
        re.search(rf'(?:^|{ends})"[^"\n]*[^"\n\\]\\"(?!{ends}|\r?$|")', text, re.MULTILINE)
        is not None
    )


def line_of_header(start: bytes, needed: tuple[str, ...]) -> int | None:
    """The line of a CSV file after its first that has all needed columns; None without one."""
    text = _text_of(start)
    for number, line in enumerate(text.splitlines()[1:_MOST_LINES_BEFORE], 2):
        for separator in _SEPARATORS:
            names = {cell.strip().casefold() for row in _rows(line, separator) for cell in row}
            if needed and names.issuperset(name.casefold() for name in needed):
                return number
    return None


def header_of(start: bytes, separator: str) -> tuple[str, ...]:
    """The first row of a CSV file, whatever its case and white space; empty where the file is."""
    first = next(_rows(_text_of(start), separator), ())
    return tuple(cell.strip().casefold() for cell in first)


def foreign_format(start: bytes) -> str | None:
    """The words for a file of a format that is not read, and what to do; None for other files."""
    return next((words for sign, words in _FOREIGN if start.startswith(sign)), None)


def is_json_array(start: bytes) -> bool:
    """Whether a file is one JSON array, and not an object a line."""
    return _text_of(start).lstrip("\ufeff \r\n\t").startswith("[")


def _text_of(start: bytes) -> str:
    """The first bytes of a file as text, in the encoding that they show."""
    return _decoded(start, encoding_of(start))


def _decoded(start: bytes, encoding: str) -> str:
    return start.decode(encoding, errors="replace").lstrip("\ufeff")


def _with_separator(
    text: str, separator: str, quote: str, encoding: str, needed: tuple[str, ...]
) -> Iterator[LikelyReading]:
    if quote != _QUOTES[0] and not text.startswith(quote):
        return
    is_commented = text.startswith(_COMMENT)
    if is_commented:
        kept = (line for line in text.splitlines(True) if not line.startswith(_COMMENT))
        text = "".join(kept)
    rows = list(_rows(text, separator, quote))
    # The last row may be cut.
    rows = [row for row in (rows[:-1] if len(rows) > _SHOWN_ROWS + 1 else rows) if row]
    if not rows:
        return
    options = {} if separator == "," else {"sep": separator}
    if quote != _QUOTES[0]:
        options["quote"] = quote
    if encoding != "UTF-8":
        options["encoding"] = encoding
    if encoding.startswith(WIDE) or any("\n" in cell for row in rows for cell in row):
        options["multiLine"] = "true"
    if is_commented:
        options["comment"] = _COMMENT
    names = tuple(cell.strip() for cell in rows[0])
    has_header = _has_header(rows, needed)
    if not has_header:
        options["header"] = "false"
    body = rows[1:] if has_header else rows
    yield LikelyReading(options, names if has_header else (), tuple(body[:_SHOWN_ROWS]))


def _rows(text: str, separator: str, quote: str = _QUOTES[0]) -> Iterator[tuple[str, ...]]:
    # The csv module separates by one character.
    single = separator if len(separator) == 1 else "\x1f"
    replaced = text if len(separator) == 1 else text.replace(separator, single)
    try:
        lines = io.StringIO(replaced, newline="")
        for row in csv.reader(lines, delimiter=single, quotechar=quote):
            yield tuple(row)
    except csv.Error:
        # What the csv module does not read, such as a value longer than its limit, ends the rows.
        return


def _has_header(rows: list[tuple[str, ...]], needed: tuple[str, ...]) -> bool:
    first = {cell.strip().casefold() for cell in rows[0]}
    if first & {name.casefold() for name in needed}:
        return True
    return not any(cell.strip().lstrip("+-").replace(".", "", 1).isdigit() for cell in rows[0])


def _score(reading: LikelyReading, needed: tuple[str, ...]) -> tuple[int, int]:
    """How many of the needed columns a reading has, and how many columns of equal rows.

    Columns without any value do not count: they lie between the halves of a separator.
    """
    named = {name.casefold() for name in reading.names}
    rows = [row for row in (reading.names, *reading.rows) if row]
    filled = sum(map(any, zip(*rows, strict=False)))
    return (
        sum(name.casefold() in named for name in needed),
        filled if len({len(row) for row in rows}) == 1 else 0,
    )
