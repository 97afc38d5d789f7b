"""Infer the kind of feature of each attribute column from its type and a sample of its values."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec.check.binaries import holds_no_pictures
from m6rec.check.names import is_unnamed
from m6rec.check.numbers import numbers_as_text
from m6rec.check.objects import fields_of_objects
from m6rec.check.samples import ColumnSample, TableSample
from m6rec.check.shares import holds_for_share
from m6rec.check.times import read_dates
from m6rec.check.types import COLUMN_TYPES, TypeGroup
from m6rec.check.vectors import lengths_of_vectors, numbers_in_text
from m6rec.check.writing import AS_IS, Writing, writing_of_numbers, writing_of_texts
from m6rec.config.data import AttributesSource, FeatureKind
from m6rec.errors import TableError
from m6rec.spark.samples import first_vector, type_group
from m6rec.spark.values import FractionType, owner_column, quoted
from m6rec.stages.features.vectors import holds_several
from m6rec.stages.features.vocabularies import (
    BRACKETS,
    OTHER_SEPARATORS,
    SEPARATED_SHARE,
    SEPARATOR,
    WHITESPACE,
    is_in_brackets,
    values_in_brackets,
)

SAMPLE_ROWS = 4_000

# Kinds that follow from the type; all other types but text are left out.
_KINDS: Mapping[TypeGroup, FeatureKind] = {
    "whole number": "numeric",
    "fraction": "numeric",
    "truth value": "numeric",
    "date": "numeric",
    "timestamp": "numeric",
    "local timestamp": "numeric",
    "list": "multi_valued",
    "bytes": "image",
}
_MOST_VALUES = 0.9
_SIGNS = (SEPARATOR, *OTHER_SEPARATORS)
# The share of texts that may have a sign which separates nothing.
_ACCIDENTS = 0.001
# Thai, Lao, Burmese, Khmer, kana and the Chinese characters.
_UNSPACED_SIGN = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
_TEXT_WORDS = 4.0
_TEXT_DISTINCT = 0.5
_ID_DISTINCT = 0.9
_TOKEN_REPEATS = 5.0
_MINIMUM_FOR_ID = 20
_MINIMUM_ALL_DISTINCT = 5
_MINIMUM_ROW_NUMBERS = 20
_FIRST_DATE, _LAST_DATE = 19000101, 20991231
# Arrays of floats are vectors if this share of them has one length, of at least `_LEAST_LENGTH`.
_ONE_LENGTH_SHARE = 0.9
_LEAST_LENGTH = 2
_SHOWN_FIELDS = 3
_TREATMENT_OF_ARRAYS: Mapping[FeatureKind, str] = {
    "embedding": "vectors of your own making",
    "multi_valued": "several values",
    "ignore": "left out: its vectors are of several lengths; kinds can say otherwise",
}


@dataclass(frozen=True)
class ColumnKinds:
    """What the columns of an attribute table are.

    Attributes:
        kinds: of every column but the id.
        writings: how columns that are not plain are written, of numbers or of several values.
    """

    kinds: dict[str, FeatureKind]
    writings: dict[str, Writing]


def kinds_of_attributes(
    frame: DataFrame, source: AttributesSource, id_parts: Sequence[str] = ()
) -> ColumnKinds:
    """The kinds of the columns of an attribute table, by what the configuration says of it.

    `id_parts` are columns that are a part of the id.
    """
    # A title is text: without this, its values would look like ids, since no two are equal.
    titles = () if source.title is None else (source.title,)
    overrides: dict[str, FeatureKind] = dict.fromkeys(titles, "text")
    overrides |= dict.fromkeys(id_parts, "ignore")
    overrides |= source.stated_kinds
    return infer_columns(frame, source.id, overrides, source.date_formats)


def infer_columns(
    frame: DataFrame,
    id_column: str,
    overrides: Mapping[str, FeatureKind],
    date_formats: Mapping[str, str] | None = None,
) -> ColumnKinds:
    """The kind of every column but the id; `overrides` take precedence.

    `date_formats` say how dates are written; their columns are numeric by `overrides`.

    Numbers, booleans, dates and timestamps are numeric, an array of text or numbers is
    multi_valued, one of floats of nearly always one length an embedding, and binary is image.
    Strings are judged by `kind_of_strings` on the rows with the
    smallest hash of the id, a sample that does not depend on the partitioning; by the same sample
    `separator_of` tells where several values in a text are split. Other types, numbers
    that count the rows, and columns that a program has named are ignored.

    Raises:
        TableError: an override names a column that the table does not have.
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
        if isinstance(field.dataType, T.StringType)
        and overrides.get(field.name, "numeric") in {"numeric", "multi_valued"}
    ]
    numbers = [
        field.name
        for field in fields
        if isinstance(field.dataType, T.IntegralType | FractionType)
        and overrides.get(field.name, "numeric") == "numeric"
    ]
    rows, ranges = _ranges(frame, numbers)
    looked_at = [*strings, *(name for name in numbers if ranges[name].may_be_dates)]
    sampled = _sample(frame, id_column, looked_at) if looked_at else {}
    for name in strings:
        if overrides.get(name) == "multi_valued" and not _present(sampled[name]):
            given = frame.where(F.trim(owner_column(name)) != "")
            sampled |= _sample(given, id_column, [name])
    arrays = [
        field
        for field in fields
        if type_group(field.dataType) == "vector" and field.name not in overrides
    ]
    lengths = _sample_lengths(frame, id_column, arrays)
    whole = [f.name for f in fields if _may_count_rows(f, overrides)]
    counters = _row_numbers(frame, rows, {name: ranges[name] for name in whole})
    kinds: dict[str, FeatureKind] = {}
    for field in fields:
        if field.name in overrides:
            kinds[field.name] = overrides[field.name]
        elif is_unnamed(field.name) or field.name in counters:
            kinds[field.name] = "ignore"
        elif field.name in strings:
            kinds[field.name] = kind_of_strings(sampled[field.name])
        elif field.name in lengths:
            several = holds_several(field.dataType) is True
            kinds[field.name] = kind_of_arrays(lengths[field.name], several)
        else:
            kinds[field.name] = _KINDS.get(type_group(field.dataType), "ignore")
    written = {
        name: _writing_of_texts(_present(sampled[name]), kinds[name])
        if name in strings
        else writing_of_numbers(sampled[name])
        for name in sampled
        if kinds[name] in {"numeric", "multi_valued"}
    }
    found = {name: one for name, one in written.items() if one is not None and one != AS_IS}
    stated = {name: Writing(date_format=one) for name, one in (date_formats or {}).items()}
    return ColumnKinds(kinds, {**found, **stated})


def kinds_of_sample(
    sample: TableSample, attributes: AttributesSource
) -> dict[str, tuple[FeatureKind, str]]:
    """The kind of every column but the id by a table's first rows, and what becomes of it."""
    given = {name: (kind, "as the config says") for name, kind in attributes.stated_kinds.items()}
    for name, pattern in attributes.date_formats.items():
        given[name] = "numeric", _treatment_of_dates(pattern)
    if attributes.title is not None:
        given.setdefault(attributes.title, ("text", "as the config says"))
    return {
        name: given[name] if name in given else _inferred(column, sample)
        for name, column in sample.columns.items()
        if name != attributes.id
    }


def _inferred(column: ColumnSample, sample: TableSample) -> tuple[FeatureKind, str]:
    kind, treatment = _by_type_and_values(column, sample)
    return kind, treatment if column.present or kind == "ignore" else "no value in the first rows"


def _by_type_and_values(column: ColumnSample, sample: TableSample) -> tuple[FeatureKind, str]:
    if is_unnamed(column.name):
        return "ignore", "left out: it has no name of its own"
    if column.group == "text":
        kind = kind_of_strings([str(value) for value in column.present])
        return kind, _treatment_of_text(kind, column)
    if column.group == "vector":
        several = column.type.startswith("array<array")
        kind = kind_of_arrays(lengths_of_vectors(column), several)
        return kind, _TREATMENT_OF_ARRAYS[kind]
    if column.group in {"whole number", "fraction"}:
        return _inferred_of_numbers(column, sample.rows >= _MINIMUM_ROW_NUMBERS)
    treatment = COLUMN_TYPES[column.group].attribute
    if column.group == "bytes" and holds_no_pictures(column):
        treatment = "left out: no picture begins as these bytes do"
    elif column.group == "nested" and re.search("struct<|map<", column.type) is None:
        treatment = "left out"
    elif column.group == "nested":
        treatment = f"left out; name {column.name}.FIELD in kinds to read a field"
    return _KINDS.get(column.group, "ignore"), treatment


def _inferred_of_numbers(column: ColumnSample, many: bool) -> tuple[FeatureKind, str]:
    if column.group == "whole number" and many and _counts_rows(column.values):
        return "ignore", "left out: it counts the rows; kinds can say otherwise"
    pattern = writing_of_numbers(column.present).date_format
    return "numeric", "a number" if pattern is None else _treatment_of_dates(pattern)


def kind_of_arrays(lengths: Sequence[int], several: bool) -> FeatureKind:
    """Judge a column of arrays of floats by how long they are.

    Args:
        lengths: of the arrays or, where rows have several, of the first of each row.
        several: whether rows have several arrays.
    """
    filled = Counter(length for length in lengths if length > 0)
    common, rows = filled.most_common(1)[0] if filled else (0, 0)
    if common >= _LEAST_LENGTH and rows >= _ONE_LENGTH_SHARE * filled.total():
        return "embedding"
    return "ignore" if several else "multi_valued"


def _treatment_of_text(kind: FeatureKind, column: ColumnSample) -> str:
    match kind:
        case "numeric":
            return _treatment_of_numbers(column)
        case "multi_valued":
            separator = separator_of(column.texts)
            names = {WHITESPACE: "white space", BRACKETS: "commas within brackets"}
            return f"several values, split at {names.get(separator, repr(separator))}"
        case "embedding":
            return f"{_TREATMENT_OF_ARRAYS[kind]}, written as text"
        case "categorical":
            return "categories"
        case "text":
            return "its words"
        case "ignore":
            return _treatment_of_ignored(column)
        case "text_embedding" | "image" | "video":
            raise AssertionError(f"kind {kind} is of columns for which the config names it")
        case _:
            assert_never(kind)


def _treatment_of_ignored(column: ColumnSample) -> str:
    if not column.texts:
        return "left out: no value"
    if read_dates(column.texts) is not None:
        return "left out: day and month of its dates could be either"
    fields = fields_of_objects(column.texts)
    if fields is not None:
        asked = " or ".join(f"{column.name}.{name}" for name in fields[:_SHOWN_FIELDS])
        return f"left out: it holds objects; name {asked} in kinds to read a field"
    return "left out: nearly all values differ"


def _treatment_of_dates(pattern: str | None) -> str:
    how = "" if pattern is None else f", by the format {pattern}"
    return f"{COLUMN_TYPES['date'].attribute}{how}"


def _treatment_of_numbers(column: ColumnSample) -> str:
    dates, found = read_dates(column.texts), numbers_as_text(column.texts)
    if dates is not None or found is None:
        return _treatment_of_dates(None if dates is None else dates.format)
    if not found.decimal_sign:
        return "a number"
    unit = f", in {found.unit}" if found.unit else ""
    if found.without_unit:
        unit += f", which {found.without_unit} of {len(column.texts)} lack"
    missing = f"; {', '.join(map(repr, found.others[:3]))} missing" if found.others else ""
    return f"a number, with {found.decimal_sign!r} before the fraction{unit}{missing}"


def _may_count_rows(field: T.StructField, overrides: Mapping[str, FeatureKind]) -> bool:
    return isinstance(field.dataType, T.IntegralType) and field.name not in overrides


@dataclass(frozen=True)
class _Range:
    """The numbers of a column: how many, the least and the largest; None where there is none."""

    count: int
    low: Any
    high: Any

    @property
    def may_be_dates(self) -> bool:
        """Whether all could be dates such as 20240301."""
        return self.count > 0 and self.low >= _FIRST_DATE and self.high <= _LAST_DATE


def _ranges(frame: DataFrame, columns: list[str]) -> tuple[int, dict[str, _Range]]:
    """How many rows there are, and the range of each column of numbers."""
    if not columns:
        return 0, {}
    types = {field.name: field.dataType for field in frame.schema}
    facts = ["count(1) as n"]
    for k, name in enumerate(columns):
        value = quoted(name)
        if isinstance(types[name], FractionType):
            value = f"if(isnan(cast({value} as double)), null, {value})"
        facts += [f"min({value}) as l{k}", f"max({value}) as h{k}", f"count({value}) as c{k}"]
    row = frame.selectExpr(*facts).collect()[0]
    ranges = {
        name: _Range(row[f"c{k}"], row[f"l{k}"], row[f"h{k}"]) for k, name in enumerate(columns)
    }
    return row["n"], ranges


def _row_numbers(frame: DataFrame, rows: int, ranges: Mapping[str, _Range]) -> set[str]:
    """The columns that count the rows: all whole numbers from 0 or 1 on, each once."""
    if rows < _MINIMUM_ROW_NUMBERS:
        return set()
    candidates = [
        name
        for name, one in ranges.items()
        if one.count == rows and one.low in {0, 1} and one.high - one.low == rows - 1
    ]
    if not candidates:
        return set()
    distinct = frame.agg(*(F.count_distinct(owner_column(name)) for name in candidates)).first()
    counts = () if distinct is None else tuple(distinct)
    return {name for name, count in zip(candidates, counts, strict=True) if count == rows}


def _counts_rows(values: Sequence[object]) -> bool:
    whole = [value for value in values if isinstance(value, int)]
    if len(whole) < len(values) or not whole or min(whole) not in {0, 1}:
        return False
    return sorted(whole) == list(range(min(whole), min(whole) + len(whole)))


def kind_of_strings(values: Sequence[str | None]) -> FeatureKind:
    """Judge a column of strings by the first of these rules that holds.

    - ignore: there is no value at all.
    - numeric: every value is a number without a leading zero; or nearly every value but words such
      as n/a is one with a unit, a currency or separators of thousands.
    - numeric: nearly every value is a date, of one way to write it; where day and month of all
      could be either, ignore.
    - ignore: nearly every value is an object as JSON or Python writes it, or a list of such.
    - embedding: nearly every value is a list of numbers, with fractions and of one length.
    - multi_valued: a tenth of the values contain `|`; or a tenth contain a comma, a semicolon or
      another of `OTHER_SEPARATORS`, and the parts between these recur and are not more than the
      distinct values; or nearly every value is a list in brackets of values that recur; or values
      are lists of words of a small vocabulary, in which a word is used 5 times or more on average,
      and there are more distinct values than words.
    - text: values have 4 words or more on average, and at least half of them are distinct. In a
      script without spaces two characters count as a word.
    - ignore: nearly all values are distinct, as ids and names are.
    - categorical: none of the above.
    """
    present = _present(values)
    if not present:
        return "ignore"
    if writing_of_texts(present) is not None:
        return "numeric"
    if read_dates(present) is not None or fields_of_objects(present) is not None:
        return "ignore"
    if _are_vectors(present):
        return "embedding"
    if _separator(present) is not None or _lists_words(present):
        return "multi_valued"
    return _kind_of_single_values(present)


def _present(values: Sequence[str | None]) -> list[str]:
    return [value.strip() for value in values if value is not None and value.strip()]


def _are_vectors(values: list[str]) -> bool:
    """Whether texts are vectors, as CSV holds them; whole numbers alone may as well be codes."""
    if not holds_for_share(values, _ONE_LENGTH_SHARE, lambda value: "." in value):
        return False
    lengths = [len(found) if (found := numbers_in_text(value)) else 0 for value in values]
    common, rows = Counter(lengths).most_common(1)[0]
    return common >= _LEAST_LENGTH and rows >= _ONE_LENGTH_SHARE * len(values)


def _writing_of_texts(values: list[str], kind: FeatureKind) -> Writing | None:
    if kind == "multi_valued":
        return Writing(separator=separator_of(values))
    return writing_of_texts(values)


def separator_of(values: list[str]) -> str:
    """What separates the values of texts that hold several.

    Where nothing shows that they do, but the configuration says so, it is the sign that most texts
    have, or white space where hardly a text has one.
    """
    found = _separator(values)
    if found is not None:
        return found
    if _lists_words(values):
        return WHITESPACE
    if values and holds_for_share(values, _MOST_VALUES, is_in_brackets):
        return BRACKETS
    counts = {sign: sum(sign in value for value in values) for sign in _SIGNS}
    most = max(_SIGNS, key=lambda sign: counts[sign])
    return most if counts[most] > _ACCIDENTS * len(values) else WHITESPACE


def _separator(values: list[str]) -> str | None:
    """What separates the several values of texts; None where they are single."""
    least = SEPARATED_SHARE * len(values)
    if holds_for_share(values, _MOST_VALUES, is_in_brackets):
        parts = [part for value in values for part in values_in_brackets(value)]
        return BRACKETS if len(parts) > len(set(parts)) else None
    if sum(SEPARATOR in value for value in values) >= least:
        return SEPARATOR
    # These separators stand in prose and names, too, so they count only between recurring values.
    for sign in OTHER_SEPARATORS:
        if sum(sign in value for value in values) >= least and _recur(values, sign):
            return sign
    return None


def _recur(values: list[str], sign: str) -> bool:
    """Whether values between separators recur in other combinations, unlike words of prose."""
    parts = [part.strip() for value in values for part in value.split(sign) if part.strip()]
    return len(set(parts)) <= len(set(values)) and len(parts) > len(set(parts))


def _lists_words(values: list[str]) -> bool:
    words = [word for value in values for word in value.split()]
    vocabulary = len(set(words))
    distinct = len(set(values))
    combined = len(words) > len(values) and distinct > vocabulary
    # Long values of a small vocabulary are prose where hardly any value occurs twice.
    short = len(words) < _TEXT_WORDS * len(values) or distinct < _TEXT_DISTINCT * len(values)
    return combined and short and len(words) >= _TOKEN_REPEATS * vocabulary


def _word_count(value: str) -> float:
    """How many words a text has; in a script without spaces two characters make one."""
    if value.isascii():
        return len(value.split())
    unspaced = len(_UNSPACED_SIGN.findall(value))
    return len(_UNSPACED_SIGN.sub(" ", value).split()) + unspaced / 2


def _kind_of_single_values(values: list[str]) -> FeatureKind:
    words = sum(map(_word_count, values))
    distinct = len(set(values))
    if words >= _TEXT_WORDS * len(values) and distinct >= _TEXT_DISTINCT * len(values):
        return "text"
    if len(values) >= _MINIMUM_FOR_ID and distinct >= _ID_DISTINCT * len(values):
        return "ignore"
    if len(values) >= _MINIMUM_ALL_DISTINCT and distinct == len(values):
        return "ignore"
    return "categorical"


def _sample(frame: DataFrame, id_column: str, columns: list[str]) -> dict[str, list[str | None]]:
    return _sample_values(frame, id_column, {name: owner_column(name) for name in columns})


def _sample_lengths(
    frame: DataFrame, id_column: str, fields: list[T.StructField]
) -> dict[str, list[int]]:
    """The lengths of the arrays of each column, of several the first of each row that has any."""
    if not fields:
        return {}
    firsts = {
        field.name: F.expr(first_vector(quoted(field.name)))
        if holds_several(field.dataType)
        else owner_column(field.name)
        for field in fields
    }
    sizes = {name: F.when(first.isNotNull(), F.size(first)) for name, first in firsts.items()}
    sampled = _sample_values(frame, id_column, sizes)
    return {name: [one for one in sampled[name] if one is not None] for name in sampled}


def _sample_values(
    frame: DataFrame, id_column: str, columns: Mapping[str, Column]
) -> dict[str, list[Any]]:
    """The values of columns in the rows with the smallest hash of the id."""
    identity = owner_column(id_column).cast("string")
    values = (column.alias(f"c{k}") for k, column in enumerate(columns.values()))
    rows = (
        frame.select(identity.alias("id"), *values)
        .orderBy(F.xxhash64("id"), "id")
        .limit(SAMPLE_ROWS)
        .collect()
    )
    return {name: [row[f"c{k}"] for row in rows] for k, name in enumerate(columns)}
