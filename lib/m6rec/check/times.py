"""How a column of times is written: the unit of numbers, and the format of text."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from m6rec.check.numbers import NO_NUMBER
from m6rec.check.objects import fields_of_objects
from m6rec.check.samples import SAMPLED_ROWS, WRITE_ROW_BY_ROW, ColumnSample, shown
from m6rec.check.shares import found_for_share
from m6rec.config.data import InteractionsConfig, TimeUnit

Shape = Literal[
    "timestamp", "epoch", "compact", "number", "numeric", "han", "named", "year_last", "other"
]

# The years 1980 to 2100 as seconds since 1970. In other units, times have other magnitudes.
EARLIEST_EPOCH, _LATEST_EPOCH = 3.2e8, 4.1e9
# The most hours that a time zone is ahead of UTC.
FARTHEST_ZONE_HOURS = 14.0
SET_TIME_FORMAT = (
    'set interactions.time_format to how times are written, such as "dd.MM.yyyy HH:mm", or write'
    " timestamps in the source where no pattern of Spark's reads them (names of months in another"
    " language, weeks, quarters)"
)
SET_SEVERAL_FORMATS = (
    'set interactions.time_format to all ways, each in brackets, such as "[yyyy-MM-dd][dd.MM.yyyy]"'
)
PARTS_OF_A_SECOND: dict[TimeUnit, float] = {
    "seconds": 1.0,
    "milliseconds": 1e3,
    "microseconds": 1e6,
    "nanoseconds": 1e9,
}
_ZONE = r"(?P<zone> ?(?:Z|GMT|UTC|[+-]\d{2}(?::?\d{2})?))?"
# Browsers write a narrow space before the half of the day.
_HALF = r"[ \u202f]?[AaPp][Mm]"
_CLOCK = r"(?:(?P<gap>,? +(?:at +)?|T|:)"
_CLOCK += r"(?P<hour>\d{1,2})(?P<colon>[:.])(?P<minute>\d{2})(?P<second>(?P=colon)\d{2})?"
_CLOCK += rf"(?P<part>[.,]\d{{1,9}})?(?P<half>{_HALF})?{_ZONE})?"
# Halves of a day and a comma before the fraction Spark reads by a pattern alone.
_AS_SPARK_READS = re.compile(
    rf"(?!.*(\d{_HALF}$|:\d{{2}},\d))"
    r"\d{4}(-\d{1,2}(-\d{1,2}([ T]\d{1,2}:\d{1,2}(:\d{1,2}(\.\d*)?)?.*)?)?)?",
    re.ASCII,
)
_ISO_DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?( ?(Z|UTC|GMT|[+-]\d{2}(:?\d{2})?))?)?",
    re.ASCII,
)
_EPOCH = re.compile(r"\d{9,19}(\.\d*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_COMPACT = re.compile(
    r"(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
    r"(?P<rest>(?P<gap>[ T]?)(?P<clock>\d{4}(\d{2}(\d{3})?)?)(?P<zone>Z|[+-]\d{4})?)?",
    re.ASCII,
)
_NUMERIC = re.compile(
    rf"(?P<a>\d{{1,4}})(?P<s>[./-])(?P<b>\d{{1,2}})(?P=s)(?P<c>\d{{1,4}}){_CLOCK}",
    re.ASCII,
)
# As Chinese, Japanese and Koreans write dates.
_HAN = re.compile(
    rf"(?P<a>\d{{4}})(?P<s>年|년 ?)(?P<b>\d{{1,2}})(?P<t>月|월 ?)(?P<c>\d{{1,2}})(?P<e>[日일])"
    rf"{_CLOCK}",
    re.ASCII,
)
# Also with a weekday before them, as in letters, and as web servers write them.
_NAMED = re.compile(
    rf"((?P<weekday>[A-Za-z]{{3,9}})(?P<w>,? ))?"
    rf"(?P<a>\d{{1,2}}|[A-Za-z]{{3,9}})(?P<s>[ /-])(?P<b>\d{{1,2}}|[A-Za-z]{{3,9}})(?P<t>,? |[/-])"
    rf"(?P<c>\d{{4}}|\d{{2}}){_CLOCK}",
    re.ASCII,
)
# As the command date, C and Java write times.
_YEAR_LAST = re.compile(
    r"((?P<weekday>[A-Za-z]{3,9}) )?(?P<a>[A-Za-z]{3,9})(?P<s> )(?P<pad> ?)(?P<b>\d{1,2})"
    rf" (?P<hour>\d{{1,2}}):\d{{2}}:\d{{2}}{_ZONE} (?P<c>\d{{4}})",
    re.ASCII,
)
_MONTHS, _LONGEST_MONTH = 12, 31
_MONTH_NAMES = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september"),
    *("october", "november", "december"),
)
_SHORT_NAME = 3
_SHORT_NAMES = tuple(name[:_SHORT_NAME] for name in _MONTH_NAMES)
# Other years are rarely those of a date of an attribute.
_EARLIEST_YEAR, _LATEST_YEAR = 1900, 2100
# How a date begins that Spark reads without a pattern.
YEAR_FIRST = r"^\d{4}-"
_YEAR_DIGITS, _DATE_DIGITS = 4, 8
# A sample is read by a format where nearly all of its values are.
_NEARLY_ALL = 0.9


@dataclass(frozen=True)
class TimeReading:
    """How a time column is read.

    Attributes:
        format: Spark's pattern; None where Spark's own reading of timestamps or `unit` suffices.
        problem: why it cannot be read; empty where it can be.
        remedy: lines of the configuration, any one of which mends it.
        said: what was inferred from the values, because the configuration does not say it.
    """

    format: str | None = None
    problem: str = ""
    remedy: str = ""
    said: str = ""


def read_times(column: ColumnSample, config: InteractionsConfig) -> TimeReading:
    """How the times of a column are read by a configuration."""
    if config.time_format is not None:
        return TimeReading(config.time_format)
    if column.group in {"whole number", "fraction"}:
        return _read_numbers(column, config.time_unit)
    if column.group == "text":
        return _read_texts(column, config.time_unit)
    if column.group not in {"date", "timestamp", "local timestamp"}:
        named = f"name {column.first_field or 'another column'} in interactions.columns.time"
        return TimeReading(
            problem=f"has type {column.shown_type}, expected a timestamp, a date, a number or text",
            remedy=WRITE_ROW_BY_ROW if column.has_a_field_for_each_row else named,
        )
    if config.time_unit != "timestamp":
        return TimeReading(
            problem=f"has type {column.shown_type}, and interactions.time_unit is"
            f" {config.time_unit}",
            remedy="set interactions.time_unit: timestamp",
        )
    return TimeReading()


def is_iso_date(text: str) -> bool:
    """Whether a text is a date, with or without a time of day, as Spark reads it."""
    return _ISO_DATE.fullmatch(text) is not None


def read_dates(texts: Sequence[str]) -> TimeReading | None:
    """How the values of an attribute write dates; None where they are not dates.

    Words such as n/a stand for missing values. Of the other values nearly all have to be dates that
    are written alike, with years of four digits: versions and sizes look like those with two.
    """
    given = [text for text in texts if text.lower() not in NO_NUMBER]
    shapes: list[Shape] | None = found_for_share(given, _NEARLY_ALL, _date_shape)
    if not shapes:
        return None
    shape, count = Counter(shapes).most_common(1)[0]
    if count < _NEARLY_ALL * len(given):
        return None
    own = [text for text in given if _date_shape(text) == shape]
    if shape != "compact":
        return _read_shape(shape, own, "")
    # Codes of eight digits look so, too.
    return TimeReading(_compact_pattern(own)) if count == len(given) else None


# A value is asked for several times: for its column's kind, its format and what is wrong there.
@lru_cache(maxsize=2 * SAMPLED_ROWS)
def _date_shape(text: str) -> Shape | None:
    """How a date is written; None for a text that cannot be a date."""
    if is_iso_date(text):
        return "timestamp"
    if len(text) == _DATE_DIGITS and _COMPACT.fullmatch(text):
        return "compact"
    for shape, pattern in _SHAPES_OF_PARTS:
        match = pattern.fullmatch(text)
        if match is not None and _can_be_a_date(match):
            return shape
    return None


def _can_be_a_date(match: re.Match[str]) -> bool:
    parts = match["a"], match["b"], match["c"]
    names = [part.lower() for part in parts if part.isalpha()]
    years = [int(part) for part in parts if part.isdigit() and len(part) == _YEAR_DIGITS]
    days = [int(part) for part in parts if part.isdigit() and len(part) != _YEAR_DIGITS]
    # A name is the month. Without a name, one of two numbers is.
    if len(names) + len(days) != 2 or len(years) != 1 or (match.re is _NAMED and not names):
        return False
    named = all(name in _MONTH_NAMES or name in _SHORT_NAMES for name in names)
    months = [day for day in days if 1 <= day <= _MONTHS]
    in_a_month = all(1 <= day <= _LONGEST_MONTH for day in days)
    of_our_time = _EARLIEST_YEAR <= years[0] <= _LATEST_YEAR
    return named and in_a_month and of_our_time and bool(names or months)


def epoch_unit(numbers: Sequence[float]) -> TimeUnit | None:
    """The unit in which the median of the numbers is a time from 1980 to 2100."""
    if not numbers:
        return None
    middle = sorted(numbers)[len(numbers) // 2]
    for unit, parts in PARTS_OF_A_SECOND.items():
        if EARLIEST_EPOCH <= middle / parts <= _LATEST_EPOCH:
            return unit
    return None


def _read_numbers(column: ColumnSample, unit: TimeUnit) -> TimeReading:
    numbers = [float(value) for value in column.present if not isinstance(value, str | None)]
    digits = [f"{number:.0f}" for number in numbers]
    example = shown(column.present[0]) if numbers else "none"
    # Milliseconds of some years look like dates, too. Only a configured unit rules dates out.
    are_dates = numbers and all(map(_COMPACT.fullmatch, digits)) and len(set(map(len, digits))) == 1
    if are_dates and (unit == "timestamp" or len(digits[0]) == _DATE_DIGITS):
        return _compact(unit, _compact_pattern(digits), example)
    return _read_epoch(numbers, unit, example, column.type)


def _read_epoch(numbers: list[float], unit: TimeUnit, example: str, kind: str) -> TimeReading:
    likely = epoch_unit(numbers)
    if unit == "timestamp":
        remedy = f"set interactions.time_unit: {likely}"
        if likely is None:
            remedy = (
                "set interactions.time_unit: seconds, milliseconds, microseconds or nanoseconds;"
                " where it counts days, as spreadsheets do, write timestamps in the source"
            )
        return TimeReading(
            problem=f"is a number ({kind}, such as {example}), and interactions.time_unit is"
            " timestamp",
            remedy=remedy,
        )
    if likely is not None and likely != unit:
        own = (number for number in numbers if epoch_unit([number]) == likely)
        example = f"{next(own):.0f}"
        return TimeReading(
            problem=f"holds {likely} since 1970, such as {example}, by their magnitude, and"
            f" interactions.time_unit is {unit}",
            remedy=f"set interactions.time_unit: {likely}",
        )
    return TimeReading()


def _compact(unit: TimeUnit, pattern: str, example: str) -> TimeReading:
    if unit != "timestamp":
        return TimeReading(
            problem=f"holds dates such as {example}, and interactions.time_unit is {unit}",
            remedy=f"set interactions.time_format: {pattern} and leave out time_unit",
        )
    return _inferred(pattern, example)


def _inferred(pattern: str, example: str) -> TimeReading:
    return TimeReading(
        pattern,
        said=f"{example} is read by the format {pattern}, inferred from the first rows",
        remedy=f'to be sure, set interactions.time_format: "{pattern}"',
    )


def _read_texts(column: ColumnSample, unit: TimeUnit) -> TimeReading:
    texts = [text for text in column.texts if text.lower() not in NO_NUMBER]
    shapes = Counter(map(_shape, texts))
    if not shapes:
        return TimeReading()
    shape = shapes.most_common(1)[0][0]
    own = [text for text in texts if _shape(text) == shape]
    example = shown(own[0])
    # A number of four digits looks like a year.
    are_counted = unit != "timestamp" and all(map(_NUMBER.fullmatch, own))
    if shape in {"epoch", "number"} or (shape == "timestamp" and are_counted):
        return _read_epoch([float(text) for text in own], unit, example, "text")
    if shape == "compact":
        return _compact(unit, _compact_pattern(own), example)
    if unit != "timestamp":
        return TimeReading(
            problem=f"holds text such as {example}, and interactions.time_unit is {unit}",
            remedy=f"write {unit} since 1970 as digits in the source"
            if shape == "other"
            else "leave out interactions.time_unit",
        )
    # What Spark reads without a pattern it may read of the others, too.
    if shape in {"timestamp", "other"} or len(own) >= _NEARLY_ALL * len(texts):
        return _read_shape(shape, own, column.name)
    return _of_others(example, next(text for text in texts if _shape(text) != shape))


def _of_others(example: str, other: str) -> TimeReading:
    """Times of which many are not written as most are."""
    return _unknown(other) if _shape(other) == "other" else _several_ways(example, shown(other))


def _read_shape(shape: Shape, texts: list[str], name: str) -> TimeReading:
    if shape == "other":
        return _within(texts, name) or _unknown(texts[0])
    pattern = dict(_SHAPES_OF_PARTS).get(shape)
    if pattern is None:
        return TimeReading()
    found = [match for text in texts if (match := pattern.fullmatch(text)) is not None]
    without_zone = next((match for match in found if match["hour"] and not match["zone"]), None)
    with_zone = next((match for match in found if match["zone"]), None)
    if with_zone is not None and without_zone is not None:
        # A pattern with a zone would take UTC for what has none, whatever time_zone says.
        return _several_ways(shown(with_zone[0]), shown(without_zone[0]))
    if shape == "numeric":
        return _read_numeric_dates(found)
    pattern_of: dict[Shape, Callable[[Sequence[re.Match[str]]], str]] = {
        "han": _han_pattern,
        "named": _named_pattern,
        "year_last": _year_last_pattern,
    }
    return _inferred(pattern_of[shape](found), shown(texts[0]))


def _within(texts: Sequence[str], name: str) -> TimeReading | None:
    """What to do where texts hold times within objects or quotes; None for other texts."""
    fields = fields_of_objects(texts)
    if fields:
        return TimeReading(
            problem=f"holds objects such as {shown(texts[0])}, expected times",
            remedy=f"name a field of them, such as {name}.{fields[0]}, in"
            " interactions.columns.time",
        )
    quote = texts[0][0]
    if quote in "'\"" and all(text[0] == text[-1] == quote for text in texts):
        return TimeReading(
            problem=f"has quotes around all times, such as {shown(texts[0])}",
            remedy=f"set options: {{quote: {quote!r}}} of its source, or take them out of the file",
        )
    return None


def _several_ways(example: str, other: str) -> TimeReading:
    return TimeReading(
        problem=f"holds times that are written in several ways, such as {example} and {other}",
        remedy=SET_SEVERAL_FORMATS,
    )


def _unknown(text: str) -> TimeReading:
    return TimeReading(
        problem=f"holds {shown(text)}, which is written as no time that is known",
        remedy=SET_TIME_FORMAT,
    )


# Where a text fits two of these, the first one wins.
_SHAPES: tuple[tuple[Shape, re.Pattern[str]], ...] = (
    ("compact", _COMPACT),
    ("timestamp", _AS_SPARK_READS),
    ("epoch", _EPOCH),
    ("number", _NUMBER),
    ("numeric", _NUMERIC),
    ("han", _HAN),
    ("named", _NAMED),
    ("year_last", _YEAR_LAST),
)


_SHAPES_OF_PARTS = tuple(
    one for one in _SHAPES if one[0] in {"numeric", "han", "named", "year_last"}
)


def _shape(text: str) -> Shape:
    shape: Shape = next((name for name, found in _SHAPES if found.fullmatch(text)), "other")
    if shape == "number" and epoch_unit([float(text)]) is not None:
        return "epoch"
    return shape


def _compact_pattern(texts: list[str]) -> str:
    match = _COMPACT.fullmatch(texts[0])
    if match is None or not match["rest"]:
        return "yyyyMMdd"
    gap = _literal(match["gap"])
    zone = "XX" if match["zone"] else ""
    return f"yyyyMMdd{gap}{'HHmmssSSS'[: len(match['clock'])]}{zone}"


def _layout(match: re.Match[str]) -> tuple[str, bool, bool]:
    """The sign between the parts of a date, and whether a year of four digits is first or last."""
    return match["s"], len(match["a"]) == _YEAR_DIGITS, len(match["c"]) == _YEAR_DIGITS


def _read_numeric_dates(dates: Sequence[re.Match[str]]) -> TimeReading:
    layout, count = Counter(map(_layout, dates)).most_common(1)[0]
    found = [match for match in dates if _layout(match) == layout]
    if count < _NEARLY_ALL * len(dates):
        other = next(match for match in dates if _layout(match) != layout)
        return _several_ways(shown(found[0][0]), shown(other[0]))
    sign = found[0]["s"]
    clock = _clock_pattern(found)
    example = shown(found[0][0])
    if len(found[0]["a"]) == _YEAR_DIGITS:
        return _inferred(f"yyyy{sign}M{sign}d{clock}", example)
    year = "yyyy" if len(found[0]["c"]) == _YEAR_DIGITS else "yy"
    if year == "yy" and _may_begin_with_years(found):
        first, last = f"yy{sign}M{sign}d{clock}", f"d{sign}M{sign}yy{clock}"
        if any(int(match["a"]) > _LONGEST_MONTH for match in found):
            return _inferred(first, example)
        return TimeReading(
            problem=f"day and year of {example} could be either in all of the first rows",
            remedy=f'set interactions.time_format: "{first}" or "{last}"',
        )
    day_first = any(int(match["a"]) > _MONTHS for match in found)
    month_first = any(int(match["b"]) > _MONTHS for match in found)
    # Wherever dates are written with points, the day comes first.
    if sign == "." and not month_first:
        day_first = True
    orders = {True: f"d{sign}M{sign}{year}{clock}", False: f"M{sign}d{sign}{year}{clock}"}
    if day_first == month_first:
        why = (
            f"day and month of {example} could be either in all of the first rows"
            if not day_first
            else f"in some rows the day comes first, and in others the month ({example})"
        )
        return TimeReading(
            problem=why,
            remedy=f'set interactions.time_format: "{orders[True]}" or "{orders[False]}"',
        )
    return _inferred(orders[day_first], example)


def _may_begin_with_years(found: Sequence[re.Match[str]]) -> bool:
    """Whether dates with years of two digits may have the year first.

    Then the last number is the day, and days take more different values than years.
    """
    firsts, lasts = ({int(match[part]) for match in found} for part in "ac")
    are_days = max(lasts) <= _LONGEST_MONTH and min(lasts) > 0
    are_months = all(1 <= int(match["b"]) <= _MONTHS for match in found)
    return are_days and are_months and len(firsts) < len(lasts)


def _clock_pattern(found: Sequence[re.Match[str]]) -> str:
    """The pattern of the time of day, with what some values lack in brackets."""
    clocks = [match for match in found if match["hour"]]
    if not clocks:
        return ""
    first = clocks[0]
    gap = _literal(first["gap"])
    halves = any(match["half"] for match in clocks)
    pattern = f"{gap}{'h' if halves else 'H'}{first['colon']}mm"
    with_seconds = sum(match["second"] is not None for match in clocks)
    seconds = f"{first['colon']}ss"
    part = next((match["part"] for match in clocks if match["part"]), None)
    if part is not None:
        seconds += f"[{part[0]}SSSSSSSSS]"
    if with_seconds:
        pattern += seconds if with_seconds == len(clocks) else f"[{seconds}]"
    if halves:
        half = next(match["half"] for match in clocks if match["half"])
        pattern += f"{half[:-2]}a"
    pattern += _zone_pattern([match["zone"] for match in clocks if match["zone"]])
    return pattern if len(clocks) == len(found) else f"[{pattern}]"


def _literal(text: str) -> str:
    """A text in a pattern, where letters that stand for themselves are in quotes."""
    return re.sub(r"[A-Za-z]+", r"'\g<0>'", text)


def _zone_pattern(zones: Sequence[str]) -> str:
    """The pattern of zones, which all times of a column have or none."""
    if not zones:
        return ""
    gap = " " * zones[0].startswith(" ")
    names = [zone for zone in zones if zone.strip().isalpha() and zone.strip() != "Z"]
    offsets = [zone.strip() for zone in zones if not zone.strip().isalpha()]
    # X reads Z as well.
    letters = "X" * (
        3 if offsets and ":" in offsets[0] else 2 if not offsets or len(offsets[0]) > 3 else 1
    )
    if not names:
        return f"{gap}{letters}"
    return f"{gap}z" if len(names) == len(zones) else f"{gap}[{letters}][z]"


def _han_pattern(found: Sequence[re.Match[str]]) -> str:
    first = found[0]
    return f"yyyy{first['s']}M{first['t']}d{first['e']}{_clock_pattern(found)}"


def _named_pattern(found: Sequence[re.Match[str]]) -> str:
    first = found[0]
    month = _month_letters(match["b"] if match["a"].isdigit() else match["a"] for match in found)
    parts = ("d", month) if first["a"].isdigit() else (month, "d")
    year = "yyyy" if len(first["c"]) == _YEAR_DIGITS else "yy"
    weekday = f"EEE{first['w']}" if first["weekday"] else ""
    date = f"{parts[0]}{first['s']}{parts[1]}{first['t']}{year}"
    return f"{weekday}{date}{_clock_pattern(found)}"


def _year_last_pattern(found: Sequence[re.Match[str]]) -> str:
    first = found[0]
    weekday = "EEE " if first["weekday"] else ""
    # C writes a second space before a day of one digit.
    day = "[ ]d" if any(match["pad"] for match in found) else "d"
    zone = _zone_pattern([match["zone"] for match in found if match["zone"]])
    return f"{weekday}{_month_letters(match['a'] for match in found)} {day} H:mm:ss{zone} yyyy"


def _month_letters(names: Iterable[str]) -> str:
    # "May" is both short and long, so that the longest name decides.
    return "MMM" if max(map(len, names)) <= _SHORT_NAME else "MMMM"
