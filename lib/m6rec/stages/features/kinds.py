"""Infer the kind of feature of each attribute column from its type and a sample of its values."""

import re
from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec.config.data import FeatureKind
from m6rec.errors import TableError

SAMPLE_ROWS = 4_000
SEPARATOR = "|"

# A code, such as a zip code, may have a leading zero, but a number has none.
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*|\d*\.\d+|\d+\.\d*)([eE][+-]?\d+)?")
_SEPARATED_SHARE = 0.1
_TEXT_WORDS = 4.0
_TEXT_DISTINCT = 0.5
_ID_DISTINCT = 0.9
_TOKEN_REPEATS = 5.0
_MINIMUM_FOR_ID = 20


def infer_kinds(
    frame: DataFrame, id_column: str, overrides: Mapping[str, FeatureKind]
) -> dict[str, FeatureKind]:
    """The kind of every column but the id; `overrides` take precedence.

    Numbers, booleans, dates and timestamps are numeric, array<string> is multi_valued and binary is
    image. Strings are judged by `kind_of_strings` on the rows with the smallest hash of the id, a
    sample that does not depend on the partitioning. Other types are ignored.

    Raises:
        TableError: an override names a column that the table does not have, or several columns
            are images.
    """
    unknown = sorted(set(overrides) - set(frame.columns))
    if unknown:
        raise TableError(
            f"kinds names the columns {unknown}, which the attribute table doesn't have; it has"
            f" {frame.columns}; correct features.*.kinds in the config"
        )
    fields = [field for field in frame.schema.fields if field.name != id_column]
    strings = [
        field.name
        for field in fields
        if isinstance(field.dataType, T.StringType) and field.name not in overrides
    ]
    sampled = _sample(frame, id_column, strings) if strings else {}
    kinds: dict[str, FeatureKind] = {}
    for field in fields:
        if field.name in overrides:
            kinds[field.name] = overrides[field.name]
        elif field.name in sampled:
            kinds[field.name] = kind_of_strings(sampled[field.name])
        else:
            kinds[field.name] = _kind_of_type(field.dataType)
    return _with_one_image(kinds, overrides)


def _with_one_image(
    kinds: dict[str, FeatureKind], overrides: Mapping[str, FeatureKind]
) -> dict[str, FeatureKind]:
    """The kinds where an image that is given leaves no other column one."""
    images = [name for name, kind in kinds.items() if kind == "image"]
    given = [name for name in images if name in overrides]
    if len(images) > 1 and len(given) != 1:
        raise TableError(
            f"the attribute table has the image columns {images}, and a row has one image; set the"
            " kind of all but one to ignore in features.*.kinds"
        )
    others = [name for name in images if given and name not in given]
    return kinds | dict.fromkeys(others, "ignore")


def kind_of_strings(values: Sequence[str | None]) -> FeatureKind:
    """Judge a column of strings by the first of these rules that holds.

    - ignore: there is no value at all.
    - numeric: every value is a number without a leading zero.
    - multi_valued: a tenth of the values contain `|`; or values are lists of words of a small
      vocabulary, in which a word is used 5 times or more on average, and there are more distinct
      values than words.
    - text: values have 4 words or more on average, and at least half of them are distinct.
    - ignore: nearly all values are distinct, as ids and names are.
    - categorical: none of the above.
    """
    present = [value.strip() for value in values if value is not None and value.strip()]
    if not present:
        return "ignore"
    if all(_NUMBER.fullmatch(value) for value in present):
        return "numeric"
    if _has_separator(present) or _lists_words(present):
        return "multi_valued"
    return _kind_of_single_values(present)


def _has_separator(values: list[str]) -> bool:
    return sum(SEPARATOR in value for value in values) >= _SEPARATED_SHARE * len(values)


def _lists_words(values: list[str]) -> bool:
    words = [word for value in values for word in value.split()]
    vocabulary = len(set(words))
    distinct = len(set(values))
    combined = len(words) > len(values) and distinct > vocabulary
    # Long values of a small vocabulary are prose where hardly any value occurs twice.
    short = len(words) < _TEXT_WORDS * len(values) or distinct < _TEXT_DISTINCT * len(values)
    return combined and short and len(words) >= _TOKEN_REPEATS * vocabulary


def _kind_of_single_values(values: list[str]) -> FeatureKind:
    words = sum(len(value.split()) for value in values)
    distinct = len(set(values))
    if words >= _TEXT_WORDS * len(values) and distinct >= _TEXT_DISTINCT * len(values):
        return "text"
    if len(values) >= _MINIMUM_FOR_ID and distinct >= _ID_DISTINCT * len(values):
        return "ignore"
    return "categorical"


def _sample(frame: DataFrame, id_column: str, columns: list[str]) -> dict[str, list[str | None]]:
    identity = F.col(f"`{id_column}`").cast("string")
    rows = (
        frame.select(identity.alias("id"), *(F.col(f"`{name}`") for name in columns))
        .orderBy(F.xxhash64("id"), "id")
        .limit(SAMPLE_ROWS)
        .collect()
    )
    return {name: [row[name] for row in rows] for name in columns}


def _kind_of_type(kind: T.DataType) -> FeatureKind:
    if isinstance(kind, T.NumericType | T.BooleanType | T.DateType | T.TimestampType):
        return "numeric"
    if isinstance(kind, T.ArrayType) and isinstance(kind.elementType, T.StringType):
        return "multi_valued"
    if isinstance(kind, T.BinaryType):
        return "image"
    return "ignore"
