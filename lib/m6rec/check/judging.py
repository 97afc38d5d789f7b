"""Judge the first values of columns in their roles: as ids, weights, event types."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from m6rec.check.events import read_events
from m6rec.check.findings import ColumnView, Finding, Place, Severity
from m6rec.check.ids import (
    DOMAIN_END,
    GROUPED_DIGITS,
    EqualNumbers,
    equal_as_numbers,
    fractions_among,
    id_text,
    look_alikes,
    loses_digits,
    settings_that_unify,
    written_with_exponent,
)
from m6rec.check.numbers import (
    LARGEST_NUMBER,
    NO_NUMBER,
    NumbersAsText,
    is_number,
    maybe_thousands,
    numbers_as_text,
    several_units,
    value_of,
)
from m6rec.check.objects import fields_of_objects
from m6rec.check.samples import (
    WRITE_ROW_BY_ROW,
    CellValue,
    ColumnSample,
    as_spark_writes,
    shown,
)
from m6rec.check.times import TimeReading, is_iso_date, read_dates
from m6rec.check.types import COLUMN_TYPES, TypeGroup
from m6rec.check.vectors import holds_several_in_text
from m6rec.check.weights import LARGEST_WEIGHT, outside_the_run
from m6rec.config.data import FeatureKind, InteractionsConfig
from m6rec.config.run import Config
from m6rec.errors import likely_spelling

# The shares of rows without an id, and without another value that an event needs, above which they
# are reported. Some rows without an id are found in most tables.
_MISSING_IDS, _MISSING_VALUES = 0.5, 0.05
# The share of ids that are equal as numbers above which they are a way of writing and no dirt.
_FEW_EQUAL_NUMBERS = 0.05


def findings_of_ids(
    column: ColumnSample,
    table: Place,
    settings: InteractionsConfig,
    most_missing: float = _MISSING_IDS,
) -> Iterator[Finding]:
    """What is wrong or doubtful with a column of ids, of which a share may be missing."""
    place = table.of(column.name)
    if COLUMN_TYPES[column.group].user_or_item is None:
        yield Finding(
            "problem",
            place,
            f"has type {column.shown_type}, such as {first_example(column)}, expected text or whole"
            " numbers as ids",
            _other_id(column),
        )
        return
    fractions = fractions_among(column.present)
    if fractions:
        hardly_ids = 2 * len(fractions) > len(column.present)
        yield Finding(
            "problem" if hardly_ids else "warning",
            place,
            f"{len(fractions)} of {len(column.present)} ids have a fraction, such as"
            f" {fractions[0]}, and ids are whole numbers or text; such rows are not used",
            "name another column, or cast it in the source",
        )
    inexact = loses_digits(column.present, column.type)
    if inexact is not None:
        yield Finding(
            "warning",
            place,
            f"holds {inexact:.0f} as {column.type}, whose last digits may be lost",
            "write ids as text or bigint in the source",
        )
    ids = [text for value in column.present if (text := id_text(value, settings))]
    yield from findings_of_missing(column, place, most_missing)
    alike = look_alikes(ids) if column.group == "text" else None
    if alike is not None and not _quoted_behind_spaces(ids):
        counted = [
            f"{alike.padded} ids with spaces around them" if alike.padded else "",
            f"{alike.alike} ids that differ only in spaces, case or Unicode form"
            if alike.alike
            else "",
        ]
        example = " and ".join(shown(text) for text in alike.example)
        words = " and ".join(part for part in counted if part)
        remedy = settings_that_unify(alike.differences)
        yield Finding("warning", place, f"has {words}, such as {example}", remedy)
    yield from _of_wrapped_ids(ids, place)
    equal = equal_as_numbers(ids) if column.group == "text" else None
    if equal is not None:
        yield equal_numbers(place, equal, settings)


def findings_of_missing(
    column: ColumnSample, place: Place, most: float = _MISSING_VALUES
) -> Iterator[Finding]:
    """Rows without a value, where all or more than the share `most` have none."""
    missing = len(column.values) - len(column.texts)
    if column.values and not column.texts:
        yield Finding("problem", place, "is empty in all of the first rows", "name another column")
    elif missing > most * len(column.values):
        words = f"is empty in {missing} of the first {len(column.values)} rows, which are not used"
        yield Finding("warning", place, words)


def findings_of_domains(
    column: ColumnSample, table: Place, settings: InteractionsConfig
) -> Iterator[Finding]:
    """What is wrong or doubtful with a column of the domains of items."""
    yield from findings_of_ids(column, table, settings, _MISSING_VALUES)
    domains = [id_text(value, settings) for value in column.present]
    divided = [domain for domain in domains if domain is not None and DOMAIN_END in domain]
    if divided:
        words = f"{len(divided)} of {len(domains)} domains hold {DOMAIN_END!r}, such as"
        yield Finding(
            "warning",
            table.of(column.name),
            f"{words} {shown(divided[0])}, and such rows are not used",
            "write them with another sign in the source",
        )


def findings_of_contexts(
    column: ColumnSample, table: Place, contexts: Mapping[str, Mapping[str, str]]
) -> Iterator[Finding]:
    """Values of `recommend.contexts` that a column does not have, of which all rows are known."""
    if not column.values:
        return
    there = list(dict.fromkeys(map(as_spark_writes, column.present)))
    if there:
        others, remedy = ", ".join(map(shown, there[:3])), "correct recommend.contexts"
    else:
        others, remedy = "no value at all", "see what has emptied the column"
    for context, values in contexts.items():
        value = values.get(column.name)
        if value is not None and value not in there:
            asked = f"has no {shown(value)}, which recommend.contexts asks for in {context!r}"
            found = likely_spelling(value, there) or f"; it has {others}"
            yield Finding("problem", table.of(column.name), f"{asked}{found}", remedy)


def _other_id(column: ColumnSample) -> str:
    """What to do about a column whose type cannot be that of an id."""
    if column.has_a_field_for_each_row:
        return WRITE_ROW_BY_ROW
    if column.first_field is not None:
        return f"name a field of it, such as {column.first_field}"
    if column.group in {"list", "vector"} or column.type.startswith("array"):
        return "make a view with a row for each, by explode in SQL"
    if column.group == "bytes":
        return (
            "cast it in the source or, where Parquet has its text as bytes, set"
            " spark.sql.parquet.binaryAsString to true in the properties file"
        )
    return "name another column, or cast it in the source"


def _of_wrapped_ids(ids: list[str], place: Place) -> Iterator[Finding]:
    """Ids that a reader has left in quotes, that are JSON, or that a spreadsheet has shortened."""
    behind = _quoted_behind_spaces(ids)
    if behind:
        words = (
            f"{len(behind)} of {len(ids)} ids have a space and quotes, such as {shown(behind[0])}"
        )
        remedy = "set options: {ignoreLeadingWhiteSpace: true}"
        yield Finding("warning", place, words, remedy)
    quoted = [text for text in ids if len(text) > 2 and text[0] == text[-1] and text[0] in "'\""]
    if ids and len(quoted) == len(ids):
        words = f"all ids have quotes around them, such as {shown(quoted[0])}"
        yield Finding("warning", place, words, f"set options: {{quote: {quoted[0][0]!r}}}")
    nested = [text for text in ids if _is_json(text)]
    if nested:
        words = f"{len(nested)} of {len(ids)} ids are JSON, such as {shown(nested[0])}"
        field = next(iter(fields_of_objects(nested) or ("id",)))
        remedy = f"name the field that is the id, such as {place.column}.{field}"
        yield Finding("warning", place, words, remedy)
    shortened = written_with_exponent(ids)
    if shortened:
        words = (
            f"{len(shortened)} of {len(ids)} ids are written with an exponent, such as"
            f" {shown(shortened[0])}, as spreadsheets write long numbers without their last digits"
        )
        yield Finding("warning", place, words, "write the column anew from its source, as text")


def _quoted_behind_spaces(ids: list[str]) -> list[str]:
    """The ids whose quotes a reader of CSV has kept, since a space stands before them."""
    return [text for text in ids if text[:1] == " " and text.strip()[:1] == text[-1:] == '"']


def _is_json(text: str) -> bool:
    if text[:1] + text[-1:] not in {"{}", "[]"}:
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def equal_numbers(
    place: Place, equal: EqualNumbers, settings: InteractionsConfig, other: str = ""
) -> Finding:
    """Ids that are one number; the first of the two stands in `other` where that is given.

    A few may be dirt, which is in the first rows of one day and not of another, and no reason to
    stop a run. Nor are ids that are to be told apart by the configuration.
    """
    pair = equal.pair
    where = f", of {other}," if other else ""
    remedy = "set interactions.normalise_ids: integer, or none if they are two"
    if any(map(GROUPED_DIGITS.fullmatch, pair)):
        remedy = "write all without signs between thousands in the source"
    is_stated = "normalise_ids" in settings.model_fields_set
    return Finding(
        "warning" if is_stated or equal.share <= _FEW_EQUAL_NUMBERS else "problem",
        place,
        f"holds {shown(pair[1])}, which is the same number as {shown(pair[0])}{where} but another"
        " id",
        remedy,
    )


def findings_of_repeats(
    column: ColumnSample, table: Place, settings: InteractionsConfig
) -> Iterator[Finding]:
    """Ids that stand in several rows of a table of attributes."""
    counted = Counter(text for v in column.present if (text := id_text(v, settings)))
    repeated = sum(counted.values()) - len(counted)
    if repeated:
        yield Finding(
            "warning",
            table.of(column.name),
            f"{repeated} of the first rows repeat an id, such as"
            f" {shown(counted.most_common(1)[0][0])}; one row of each id is used, the same in each"
            " run",
        )


def findings_of_weights(column: ColumnSample, table: Place, config: Config) -> Iterator[Finding]:
    """What is wrong or doubtful with a column of weights or ratings."""
    place = table.of(column.name)
    if COLUMN_TYPES[column.group].weight is None:
        yield Finding(
            "problem",
            place,
            f"has type {column.shown_type}, such as {first_example(column)}, expected numbers as"
            " weights",
            WRITE_ROW_BY_ROW
            if column.has_a_field_for_each_row
            else "name another column in interactions.columns.weight",
        )
        return
    yield from findings_of_missing(column, place)
    if column.values and not column.texts:
        return
    found = numbers_as_text(column.texts) if column.group == "text" else None
    numbers = _numbers(column, found)
    if column.group == "text":
        if found is None and len(numbers) < len(column.texts) / 2:
            units = several_units(column.texts)
            words = (
                f"numbers of several units, {', '.join(units)}" if units else first_example(column)
            )
            yield Finding(
                "problem",
                place,
                f"holds {words}, expected numbers{' of one' if units else ''} as weights",
                "name another column in interactions.columns.weight or, where these are types of"
                " events, name it in interactions.columns.event_type, with event_weights",
            )
            return
        if found is not None and found.decimal_sign:
            unit = f" and the unit {found.unit}" if found.unit else ""
            yield Finding(
                "note",
                place,
                f"holds numbers such as {first_example(column)}, with {found.decimal_sign!r} before"
                f" the fraction{unit}",
            )
        if found is not None:
            yield from _of_thousands(column, found, place)
        if found is not None and found.has_several_units:
            yield _of_several_units(found, place)
        if found is not None and found.without_unit:
            yield Finding(
                "warning",
                place,
                f"{found.without_unit} of {len(column.texts)} values have no unit where others have"
                f" {found.unit}; all are taken as they stand",
                "write all in one unit in the source",
            )
    yield from _of_unreadable(column, found, place)
    apart = outside_the_run(numbers)
    if apart is not None:
        yield Finding(
            "warning",
            place,
            f"{numbers.count(apart)} of {len(numbers)} values are {apart:g}, apart from the others"
            f" ({_run(numbers, apart)}), as a value that stands for a missing one is",
            f"if it does, set source.missing_values: {{{column.name}: [{apart:g}]}}",
        )
    yield from _of_signs([number for number in numbers if number != apart], place, config)
    large = next((number for number in numbers if abs(number) > LARGEST_WEIGHT), None)
    if large is not None:
        yield Finding(
            "warning",
            place,
            f"holds {large:.9g}, too large to compute with ({LARGEST_WEIGHT:g} at most); such rows"
            " go to quarantine",
        )


def _of_unreadable(
    column: ColumnSample, found: NumbersAsText | None, place: Place
) -> Iterator[Finding]:
    """Weights that are not finite numbers."""
    signs = found if found is not None and found.decimal_sign else None
    values = column.texts if column.group == "text" else column.present
    others = [
        str(value)
        for value in values
        if _finite(value) is None and not (signs is not None and signs.reads(str(value)))
    ]
    if others:
        yield Finding(
            "warning",
            place,
            f"{len(others)} of {len(values)} weights are not finite numbers, such as"
            f" {shown(others[0])}, and go to quarantine",
        )


def _of_signs(numbers: list[float], place: Place, config: Config) -> Iterator[Finding]:
    """Negative weights and weights of 0, and what becomes of them."""
    settings, count = config.interactions, len(numbers)
    negative = [number for number in numbers if number < 0]
    if negative and config.ratings.enabled and settings.weighting != "binary":
        yield Finding(
            "warning",
            place,
            f"ratings such as {negative[0]:g} weigh 0 under interactions.weighting:"
            f" {settings.weighting}",
            "set interactions.weighting: binary",
        )
    if config.ratings.enabled:
        return
    if negative and settings.cancellations == "quarantine":
        yield Finding(
            "warning",
            place,
            f"{len(negative)} of {count} weights are negative, such as {negative[0]:g}, and go to"
            " quarantine",
            "where they are ratings, set ratings.enabled: true; where they cancel orders, set"
            " interactions.cancellations: cancel",
        )
    if 0.0 in numbers:
        zero = numbers.count(0.0)
        yield Finding(
            "note",
            place,
            f"{zero} of {count} weights are 0: such items count as seen, and not as liked",
        )


def _run(numbers: list[float], apart: float) -> str:
    others = [number for number in numbers if number != apart]
    return f"{min(others):g} to {max(others):g}"


def _numbers(column: ColumnSample, written: NumbersAsText | None) -> list[float]:
    """The finite numbers of a column, whose texts are written so."""
    numbers: Iterable[float | None] = map(_finite, column.present)
    if written is not None and written.decimal_sign:
        texts = filter(written.reads, column.texts)
        numbers = (value_of(text, written.decimal_sign) for text in texts)
    return [number for number in numbers if number is not None and math.isfinite(number)]


def _finite(value: CellValue) -> float | None:
    """A value as a finite number, as Spark casts it; None where it is none."""
    if value is None or not str(value).isascii():
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


# For each kind, the groups of types that its columns can have.
_SINGLE: frozenset[TypeGroup] = frozenset(
    ("text", "whole number", "fraction", "truth value", "date", "timestamp", "local timestamp")
)
_ALL_TYPES: frozenset[TypeGroup] = frozenset(COLUMN_TYPES)
_TYPES_OF_KINDS: Mapping[FeatureKind, frozenset[TypeGroup]] = {
    "numeric": _SINGLE,
    "categorical": _SINGLE | {"list"},
    "multi_valued": _SINGLE | {"list", "vector"},
    "text": _SINGLE | {"list"},
    "text_embedding": _SINGLE | {"list"},
    "image": frozenset(("text", "bytes")),
    "video": frozenset(("text", "bytes")),
    # `findings_of_vectors` judges columns of vectors by their values.
    "embedding": _ALL_TYPES,
    "ignore": _ALL_TYPES,
}


def findings_of_kinds(
    columns: Mapping[str, ColumnSample], kinds: Mapping[str, FeatureKind], table: Place
) -> Iterator[Finding]:
    """Columns that cannot be of the kind that the configuration gives them."""
    for name, kind in kinds.items():
        column = columns.get(name)
        if column is None:
            continue
        if kind not in {"ignore", "embedding"} and column.values and not column.texts:
            yield Finding("warning", table.of(name), "is empty in all of the first rows")
        elif column.group not in _TYPES_OF_KINDS[kind]:
            found = f"has type {column.shown_type}, such as {first_example(column)}"
            words = f"{found}, and cannot be {kind}"
            yield Finding("problem", table.of(name), words, "give the column another kind")
        elif kind == "numeric" and column.group == "text":
            yield from _of_numbers_in_text(column, table.of(name))


def _of_numbers_in_text(column: ColumnSample, place: Place) -> Iterator[Finding]:
    """A column that the configuration calls numeric, with hardly any number or date in its text."""
    texts = [text for text in column.texts if text.lower() not in NO_NUMBER]
    dates = read_dates(texts)
    if dates is not None:
        yield from _of_dates(dates, place, "problem")
        return
    others = [text for text in texts if not (is_number(text) or is_iso_date(text))]
    if len(others) * 2 > len(texts):
        words = f"{len(others)} of {len(texts)} values are not numbers, such as {shown(others[0])}"
        remedy = "give the column another kind" if len(others) == len(texts) else ""
        severity: Severity = "problem" if len(others) == len(texts) else "warning"
        yield Finding(severity, place, f"{words}, and kinds says numeric", remedy)
        return
    numbers = numbers_as_text(texts)
    if numbers is not None:
        yield from _of_thousands(column, numbers, place)
        yield from _of_other_units(texts, numbers, place)
        return
    lost = [text for text in texts if _finite(text) is None and not is_iso_date(text)]
    if lost:
        yield Finding(
            "warning",
            place,
            f"{len(lost)} of {len(texts)} values, such as {shown(lost[0])}, count as missing, for"
            f" {_why_no_numbers(texts, others)}",
            "write plain numbers, of one unit, in the source, or give the column another kind",
        )


def _why_no_numbers(texts: Sequence[str], others: Sequence[str]) -> str:
    """Why a column is not read as numbers though most of its texts are some."""
    units = several_units(texts)
    if units:
        return f"the column has numbers of several units, {', '.join(units)}"
    if others:
        return f"{len(others)} others are not numbers, such as {shown(others[0])}"
    return "not all of them are plain"


def _of_other_units(
    texts: Sequence[str], written: NumbersAsText, place: Place
) -> Iterator[Finding]:
    """The few numbers whose unit is not that of most, which become missing."""
    if written.only_unit:
        apart = [text for text in texts if is_number(text.strip()) and not written.reads(text)]
        yield Finding(
            "warning",
            place,
            f"{len(apart)} of {len(texts)} values, such as {shown(apart[0])}, have another unit"
            f" than the others ({written.unit}), and count as missing",
            "write all in one unit in the source",
        )


def findings_of_large_numbers(column: ColumnSample, table: Place) -> Iterator[Finding]:
    """Numbers of an attribute that are too large to compute with."""
    if column.group not in {"text", "fraction"}:
        return
    numbers = _numbers(column, None)
    large = [number for number in numbers if abs(number) > LARGEST_NUMBER]
    if large:
        yield Finding(
            "warning",
            table.of(column.name),
            f"{len(large)} of {len(numbers)} values are too large to compute with, such as"
            f" {large[0]:g} ({LARGEST_NUMBER:g} at most), and count as missing",
        )


def findings_of_inferred_kinds(
    columns: Mapping[str, ColumnSample], table: Place
) -> Iterator[Finding]:
    """Columns of text that can be read in two ways, or are vectors that no text can be read as."""
    for name, column in columns.items():
        if holds_several_in_text(column):
            words = f"holds several vectors a row as text, such as {shown(column.texts[0])}"
            remedy = (
                "make a column of arrays of arrays of it in the source, where it is JSON by"
                f" from_json({name}, 'array<array<float>>') in SQL, or set"
                f" kinds: {{{name}: ignore}}"
            )
            yield Finding(
                "warning", table.of(name), f"{words}, which are not read as vectors", remedy
            )
        dates = read_dates(column.texts) if column.group == "text" else None
        if dates is not None:
            yield from _of_dates(dates, table.of(name), "warning")
        numbers = numbers_as_text(column.texts) if column.group == "text" and not dates else None
        if numbers is not None:
            yield from _of_thousands(column, numbers, table.of(name))
            yield from _of_other_units(column.texts, numbers, table.of(name))
        if numbers is not None and numbers.has_several_units:
            yield _of_several_units(numbers, table.of(name))


def _of_thousands(column: ColumnSample, written: NumbersAsText, place: Place) -> Iterator[Finding]:
    """Numbers whose point may stand between thousands, and is read as the sign of a fraction."""
    doubtful = maybe_thousands(column.texts) if written.decimal_sign != "," else None
    if doubtful is not None:
        whole = doubtful.replace(".", "")
        words = f"holds '{doubtful}', which may be {whole} and is read as {float(doubtful):g}"
        remedy = f"where it is {whole}, write all without signs between thousands in the source"
        yield Finding("warning", place, words, remedy)


def _of_several_units(numbers: NumbersAsText, place: Place) -> Finding:
    return Finding(
        "warning",
        place,
        f"holds amounts in {numbers.unit}; all are taken as they stand",
        "write all in one currency in the source",
    )


def _of_dates(dates: TimeReading, place: Place, severity: Severity) -> Iterator[Finding]:
    """Dates whose day and month could be either."""
    if dates.problem:
        left_out = "" if severity == "problem" else ", so that the column is left out"
        remedy = (
            f"set date_formats: {{{place.column}: dd/MM/yyyy}}, or as they are written, or set the"
            " column's kind"
        )
        yield Finding(severity, place, f"{dates.problem}{left_out}", remedy)


def findings_of_event_types(
    column: ColumnSample,
    table: Place,
    settings: InteractionsConfig,
    has_listed: Callable[[], bool],
) -> Iterator[Finding]:
    """Event types that have no weight.

    Args:
        column: the first rows.
        table: where they stand.
        settings: the weights of event types.
        has_listed: asks whether any later row has a type with a weight; called only if none of the
            first rows has.
    """
    weights = settings.event_weights
    if not weights:
        return
    present = list(map(as_spark_writes, column.present))
    missing = len(column.values) - len(present)
    if missing:
        words = f"{missing} of the first {len(column.values)} rows have no event type"
        yield Finding("warning", table.of(column.name), f"{words}, and go to quarantine")
    unknown = list(dict.fromkeys(text for text in present if text not in weights))
    if unknown:
        known = any(text in weights for text in present) or has_listed()
        yield Finding(
            "warning" if known else "problem",
            table.of(column.name),
            f"has event types that interactions.event_weights does not list, such as"
            f" {', '.join(map(shown, unknown[:3]))}; they go to quarantine",
            "list them in interactions.event_weights, with 0 for what is no interaction",
        )


def views_of_events(columns: Mapping[str, ColumnSample], config: Config) -> dict[str, ColumnView]:
    """How the columns that the configuration names in a table of events are understood."""
    settings = config.interactions
    names, reading = settings.columns, read_events(columns, settings)
    roles = {names.user: ("user", "the user's id"), names.item: ("item", "the item's id")}
    if names.time is not None:
        how = settings.time_format or reading.time_format or settings.time_unit
        zone = settings.time_zone
        roles[names.time] = ("time", f"a time by {how}, in {zone} where it has no zone")
    if names.weight is not None:
        kind = "rating" if config.ratings.enabled else "weight"
        roles[names.weight] = (kind, f"under weighting: {settings.weighting}")
    if names.event_type is not None:
        roles[names.event_type] = ("event type", "weighs what event_weights says")
    if names.domain is not None:
        roles[names.domain] = ("domain", "the item's id counts within it")
    roles |= dict.fromkeys(names.context, ("context", "is kept beside the event"))
    return {
        name: view_of_column(columns[name], kind, treatment)
        for name, (kind, treatment) in roles.items()
        if name in columns
    }


def view_of_column(column: ColumnSample, kind: str, treatment: str) -> ColumnView:
    """How a column was understood."""
    return ColumnView(column.name, column.type, kind, column.nulls, column.examples, treatment)


def first_example(column: ColumnSample) -> str:
    """A value of a column, as it is shown to a person."""
    return column.examples[0] if column.examples else "null"
