"""Columns of an owner's table as ids, times and numbers, whatever type they have."""

import re

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec.check.ids import DOMAIN_END, INTEGER_ID, composed
from m6rec.check.numbers import (
    NEGATIVE_OF_ACCOUNTS,
    ODD_DIGITS,
    SIGNS_OF_ACCOUNTS,
    SPACES,
    TYPOGRAPHIC_MINUS,
    DecimalSign,
    number_pattern,
)
from m6rec.check.samples import shown_type
from m6rec.check.times import PARTS_OF_A_SECOND
from m6rec.config.data import InteractionsConfig, outside_quotes
from m6rec.errors import TableError
from m6rec.spark.runtimes import cast_or_null

FractionType = T.FloatType | T.DoubleType | T.DecimalType
# Parquet readers disagree about the calendar before 1900, and no event log is that old.
_EARLIEST_SECONDS = -2_208_988_800
_LATEST_SECONDS = 253_402_300_799
# A zone is what follows the time of day.
_WITH_ZONE = r":\d{1,2}(:\d{1,2}([.]\d*)?)?\s*[A-Za-z+-]"
_ZONE_LETTERS = frozenset("VzOXxZ")
_FRACTION_AFTER_SECONDS = re.compile(r"(?<=HHmmss)S+$")
_WEEKDAY, _NAME_OF_WEEKDAY = re.compile(r"E+\.?,?\s*"), r"^\p{L}+\.?,?\s*"
_INTEGER_ID = f"^{INTEGER_ID}$"
# What Python takes for white space, of which Java's \\s is the part in ASCII.
_SPACE = r"\s\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


def quoted(name: str) -> str:
    """A column's name in Spark's SQL."""
    return "`" + name.replace("`", "``") + "`"


def owner_column(name: str) -> Column:
    """The column of that name, whatever characters it holds."""
    return F.col(quoted(name))


def try_cast(name: str, kind: str) -> Column:
    """A column as another type; null where it cannot be."""
    return cast_or_null(owner_column(name), kind)


def id_column(frame: DataFrame, name: str, config: InteractionsConfig) -> Column:
    """The id column `name` of an owner's table, as string.

    A whole number is its digits. A fraction stays as it is, for cleaning to refuse it.

    Raises:
        TableError: its type is neither string nor a number.
    """
    kind = frame.schema[name].dataType
    if not isinstance(kind, T.StringType | T.IntegralType | FractionType):
        raise TableError(
            f"id column {name} has type {shown_type(kind.simpleString())}, expected string or a"
            " whole number; cast it in the source"
        )
    return as_id(text_column(frame, name), config)


def text_column(frame: DataFrame, name: str) -> Column:
    """A column of an owner's table as text.

    A number that is whole is its digits, for pandas has whole numbers as fractions where one is
    missing.
    """
    return as_text(owner_column(name), frame.schema[name].dataType)


def as_text(column: Column, kind: T.DataType) -> Column:
    """A column of that type as text; a number that is whole is its digits."""
    return _digits(column, kind) if isinstance(kind, FractionType) else column.cast("string")


def as_id(text: Column, config: InteractionsConfig) -> Column:
    """The text of an id as the tables of a run hold it."""
    if "form" in config.unify_ids:
        text = F.udf(_composed, "string", useArrow=True)(text)
    if config.trim_ids:
        text = F.regexp_replace(text, f"^[{_SPACE}]+|[{_SPACE}]+$", "")
    if "case" in config.unify_ids:
        text = F.lower(text)
    if config.normalise_ids == "integer":
        sign = F.when(F.regexp_extract(text, _INTEGER_ID, 1) == "-", "-").otherwise("")
        digits = F.regexp_extract(text, _INTEGER_ID, 2)
        signed = F.when(digits == "0", digits).otherwise(F.concat(sign, digits))
        text = F.when(text.rlike(_INTEGER_ID), signed).otherwise(text)
    return text


def _composed(text: str | None) -> str | None:
    return None if text is None else composed(text)


def item_id_column(frame: DataFrame, name: str, config: InteractionsConfig) -> Column:
    """The item's id of a table: where there are domains, an id counts within its domain alone.

    Null where there are domains, and the row has no usable one or no id.

    Raises:
        TableError: a column is neither string nor a number.
    """
    text = id_column(frame, name, config)
    if config.columns.domain is None:
        return text
    domain = id_column(frame, config.columns.domain, config)
    usable = (F.trim(domain) != "") & ~domain.contains(DOMAIN_END) & (F.trim(text) != "")
    return F.when(usable, id_within(domain, text))


def holds_type(kind: T.DataType, sought: tuple[type[T.DataType], ...]) -> bool:
    """Whether a type is one of those that are sought, or has one within it, to any depth."""
    if isinstance(kind, T.StructType):
        inner = [field.dataType for field in kind.fields]
    elif isinstance(kind, T.MapType):
        inner = [kind.keyType, kind.valueType]
    else:
        inner = [kind.elementType] if isinstance(kind, T.ArrayType) else []
    return isinstance(kind, sought) or any(holds_type(one, sought) for one in inner)


def id_within(domain: Column, item: Column) -> Column:
    """The id of an item of a domain among the items of all domains."""
    return F.concat(domain, F.lit(DOMAIN_END), item)


def domain_of(item: Column) -> Column:
    """The domain of an item's id among those of all domains."""
    return F.substring_index(item, DOMAIN_END, 1)


def is_fraction(kind: T.DataType) -> bool:
    """Whether numbers of a type need not be whole."""
    return isinstance(kind, FractionType)


def _digits(column: Column, kind: T.DataType) -> Column:
    if isinstance(kind, T.DecimalType):
        whole = column.cast(T.DecimalType(38, 0))
        if kind.scale == 0:
            return column.cast("string")
        return F.when(column == F.floor(column), whole.cast("string")).otherwise(
            column.cast("string")
        )
    number = F.when(~F.isnan(column), column)
    whole = cast_or_null(number, "decimal(38,0)").cast("string")
    return F.when(number % 1 == 0, whole).otherwise(number.cast("string"))


def time_column(frame: DataFrame, config: InteractionsConfig, inferred: str | None) -> Column:
    """The time column as a timestamp; null where it cannot be read, or is not of an event log.

    Args:
        frame: the owner's table.
        config: names the column, its unit, its zone and its format.
        inferred: the format that the first rows show, where the config names none.

    Raises:
        TableError: a numeric time has no unit, or one that is no number has.
    """
    name = config.columns.time
    if name is None:
        return F.lit(None).cast("timestamp")
    _check_time_type(frame, name, config, inferred)
    pattern = config.time_format or inferred
    parts = PARTS_OF_A_SECOND.get(config.time_unit)
    kind = frame.schema[name].dataType
    if pattern is not None:
        text = F.trim(as_text(owner_column(name), kind))
        return _bounded(_by_pattern(frame, text, pattern, config.time_zone))
    if parts is not None:
        seconds = try_cast(name, "double") / parts
        # An ANSI cast of a number out of range fails the job, so the number is bounded first.
        bounded = F.when(seconds.between(_EARLIEST_SECONDS, _LATEST_SECONDS), seconds)
        return F.timestamp_micros(F.round(bounded * 1e6).cast("long"))
    if isinstance(kind, T.StringType):
        has_zone = owner_column(name).rlike(_WITH_ZONE)
        local = _in_zone(frame, try_cast(name, "timestamp_ntz"), config.time_zone)
        return _bounded(F.when(has_zone, try_cast(name, "timestamp")).otherwise(local))
    if isinstance(kind, T.TimestampNTZType | T.DateType):
        return _bounded(_in_zone(frame, owner_column(name).cast("timestamp_ntz"), config.time_zone))
    return _bounded(try_cast(name, "timestamp"))


def _check_time_type(
    frame: DataFrame, name: str, config: InteractionsConfig, inferred: str | None
) -> None:
    kind = frame.schema[name].dataType
    numeric, textual = isinstance(kind, T.NumericType), isinstance(kind, T.StringType)
    written_as_number = config.time_unit != "timestamp"
    if config.time_format is not None or inferred is not None:
        return
    if numeric and not written_as_number:
        raise TableError(
            f"time column {name} is a number, expected a timestamp; set interactions.time_unit"
            " to seconds, milliseconds, microseconds or nanoseconds"
        )
    if not (numeric or textual) and written_as_number:
        raise TableError(
            f"time column {name} has type {shown_type(kind.simpleString())}, expected"
            f" {config.time_unit}; set interactions.time_unit to timestamp"
        )


def time_by_pattern(text: Column, pattern: str) -> Column:
    """Text as a timestamp; null where it is not written by the pattern.

    What has no zone is in that of the session.
    """
    if (weekday := _WEEKDAY.match(pattern)) is not None:
        # Spark reads no names of weekdays, and the date says which it is.
        pattern, text = pattern[weekday.end() :], F.regexp_replace(text, _NAME_OF_WEEKDAY, "")
    if (fraction := _FRACTION_AFTER_SECONDS.search(pattern)) is not None:
        # Spark takes the first digits for a year of seven where nothing divides the seconds.
        pattern = f"{pattern[: fraction.start()]}.{fraction[0]}"
        text = F.regexp_replace(text, rf"(\d{{{len(fraction[0])}}})$", ".$1")
    return F.try_to_timestamp(text, F.lit(pattern))


def _by_pattern(frame: DataFrame, text: Column, pattern: str, zone: str) -> Column:
    parsed = time_by_pattern(text, pattern)
    if not _has_zone(pattern):
        return _in_zone(frame, parsed.cast("timestamp_ntz"), zone)
    # One of several alternatives in brackets may be a whole date without a zone, which is read in
    # the configured zone.
    local = [way for way in _in_brackets(pattern) if "y" in way and not _has_zone(way)]
    read = (time_by_pattern(text, way).cast("timestamp_ntz") for way in local)
    return F.coalesce(*(_in_zone(frame, time, zone) for time in read), parsed)


def _has_zone(pattern: str) -> bool:
    return bool(_ZONE_LETTERS & set(outside_quotes(pattern)))


def _in_brackets(pattern: str) -> list[str]:
    """What stands in the outermost brackets of a pattern."""
    found, depth, start = [], 0, 0
    for place, sign in enumerate(pattern):
        if sign == "[":
            depth += 1
            start = place + 1 if depth == 1 else start
        elif sign == "]":
            depth -= 1
            found += [pattern[start:place]] if depth == 0 else []
    return found


def _in_zone(frame: DataFrame, local: Column, zone: str) -> Column:
    """The moment of a local time, whatever the session's zone is."""
    if zone != frame.sparkSession.conf.get("spark.sql.session.timeZone"):
        local = F.convert_timezone(F.lit(zone), F.current_timezone(), local)
    return local.cast("timestamp")


def _bounded(time: Column) -> Column:
    seconds = F.unix_timestamp(time)
    return F.when(seconds.between(_EARLIEST_SECONDS, _LATEST_SECONDS), time)


def number_in_text(text: Column, decimal_sign: DecimalSign, only_unit: str = "") -> Column:
    """Text as a double, as `check.numbers` reads it; null where it is no number.

    Where `only_unit` names a unit, a number with another one is none.
    """
    if decimal_sign == "":
        return cast_or_null(text, "double")
    text = _with_leading_sign(text)
    pattern = number_pattern(only_unit)
    signed = F.concat(F.regexp_extract(text, pattern, 1), F.regexp_extract(text, pattern, 2))
    digits = F.regexp_replace(signed, f"[{SPACES}]", "")
    commas = F.length(F.regexp_replace(digits, "[^,]", ""))
    points = F.length(F.regexp_replace(digits, "[^.]", ""))
    both = (commas > 0) & (points > 0)
    last_is_comma = F.length(F.regexp_extract(digits, r"[.]([^.]*,[^.]*)$", 1)) > 0
    grouped = digits.rlike(r"^[+-]?[1-9]\d{0,2}([.,]\d{3})+$")
    comma_ends = ~grouped | F.lit(decimal_sign == ",")
    point_ends = ~grouped | F.lit(decimal_sign == ".")
    decimal_comma = (
        F.when(both, last_is_comma)
        .when(commas > 0, (commas == 1) & comma_ends)
        .otherwise((points > 1) | ((points == 1) & ~point_ends))
    )
    by_comma = F.regexp_replace(F.regexp_replace(digits, "[.]", ""), ",", ".")
    by_point = F.regexp_replace(digits, ",", "")
    plain = F.when(decimal_comma, by_comma).otherwise(by_point)
    return cast_or_null(F.when(~digits.rlike(ODD_DIGITS), plain), "double")


def _with_leading_sign(text: Column) -> Column:
    text = F.translate(text, TYPOGRAPHIC_MINUS, "-")
    bare = F.regexp_replace(text, SIGNS_OF_ACCOUNTS, "")
    return F.when(text.rlike(NEGATIVE_OF_ACCOUNTS), F.concat(F.lit("-"), bare)).otherwise(text)
