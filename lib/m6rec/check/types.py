"""The only list of the types that columns have, and what each is understood as in each role."""

from dataclasses import dataclass
from typing import Literal

TypeGroup = Literal[
    "text",
    "whole number",
    "fraction",
    "truth value",
    "date",
    "timestamp",
    "local timestamp",
    "bytes",
    "list",
    "vector",
    "nested",
    "other",
]


@dataclass(frozen=True)
class TypeRow:
    """How columns of a group of types are understood in each role; None where they are refused.

    Attributes:
        spark: the names of Spark's types.
        user_or_item: as an id.
        time: as the time of an event.
        weight: as a weight or rating.
        attribute: as an attribute whose kind the config does not name.
    """

    spark: str
    user_or_item: str | None
    time: str | None
    weight: str | None
    attribute: str


COLUMN_TYPES: dict[TypeGroup, TypeRow] = {
    "text": TypeRow(
        "string, varchar, char",
        "as it is; see `trim_ids`, `unify_ids` and `normalise_ids`",
        "by `time_format` or `time_unit`; without them as the first rows are written",
        "as numbers, also `1,234` and `12 kg`",
        "a number, or for dates such as `2024-03-18`, `24.12.2024` or `20240301` one of seconds,"
        " where nearly all values are (see `date_formats`); a vector where they are lists of"
        " fractions such as `[0.5, -1.2]`; several values where a separator is common, or lists"
        " are; left out where they are JSON objects, of which `column.field` is read where `kinds`"
        " names it;"
        " categories where values recur; text where they are sentences; else left out",
    ),
    "whole number": TypeRow(
        "tinyint, smallint, int, bigint; unsigned 32-bit",
        "its digits",
        "by `time_unit`, or by `time_format` such as `yyyyMMdd`",
        "as it is",
        "a number, of seconds where all are dates such as `20240301`; left out where it counts the"
        " rows",
    ),
    "fraction": TypeRow(
        "float, double, decimal; unsigned 64-bit",
        "its digits, where it is whole; the others go to `quarantine`",
        "by `time_unit`",
        "as it is",
        "a number",
    ),
    "truth value": TypeRow("boolean", None, None, "1 and 0", "a number, 1 and 0"),
    "date": TypeRow("date", None, "midnight in `time_zone`", None, "a number of seconds"),
    "timestamp": TypeRow("timestamp", None, "as it is", None, "a number of seconds"),
    "local timestamp": TypeRow(
        "timestamp_ntz; Parquet's timestamps without zone",
        None,
        "the time in `time_zone`",
        None,
        "a number of seconds",
    ),
    "bytes": TypeRow("binary", None, None, None, "an item's image, or with `kinds` its video"),
    "list": TypeRow(
        "array of text, whole numbers, decimals or truth values",
        None,
        None,
        None,
        "several values",
    ),
    "vector": TypeRow(
        "array of float or double, array of such arrays; vectors of Spark ML",
        None,
        None,
        None,
        "a vector, or several, of your own making where nearly all are of one length; else several"
        " values, and arrays of arrays are left out",
    ),
    "nested": TypeRow(
        "struct, map, array of struct", None, None, None, "left out; name `column.field` to read it"
    ),
    "other": TypeRow("interval, variant, void, geometry, geography", None, None, None, "left out"),
}
