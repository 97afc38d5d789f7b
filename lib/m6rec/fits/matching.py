"""Whether the owner's tables have the same ids as the interactions, however large they are."""

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from m6rec.check.findings import Finding, Place
from m6rec.check.ids import (
    differences_between,
    equal_as_numbers,
    id_text,
    settings_that_unify,
)
from m6rec.check.judging import equal_numbers
from m6rec.check.samples import TableSample, shown
from m6rec.config.base import TableSource
from m6rec.config.run import INTERACTIONS_SOURCE, Config
from m6rec.spark.failures import reading_table
from m6rec.spark.time_limits import within_seconds
from m6rec.spark.values import id_column, owner_column

# Of the ids of the interactions, the share that a table of attributes should have.
_FEW_MATCH = 0.5
# So many ids suffice to estimate the share of all ids that another table has.
_COMPARED = 500
# How many rows are read at first for each id that is looked for. An id may stand in many rows, so
# one row for each would show few of the ids.
_ROWS_OF_AN_ID = 4
_SECONDS = 4.0
SIDES = ("user", "item")


@dataclass(frozen=True)
class OpenedTable:
    """A table and its first rows, as they could be read."""

    place: Place
    source: TableSource
    required: tuple[str, ...]
    frame: DataFrame
    sample: TableSample
    notes: tuple[Finding, ...]

    def first_times(self, name: str, seconds: Column) -> list[tuple[float | None, str]]:
        """The first values of a time column: as `seconds`, and as text.

        `seconds` is null where the text cannot be read as a time.
        """
        given = owner_column(name).cast("string")
        timed = self.frame.where(F.trim(given) != "").select(seconds.alias("read"), given)
        return [(row[0], row[1]) for row in timed.limit(self.sample.rows).collect()]


@dataclass(frozen=True)
class _Matches:
    """Which of some ids a table has."""

    asked: Sequence[str]
    found: frozenset[str]

    @property
    def share(self) -> float:
        return len(self.found) / len(self.asked)

    @property
    def percent(self) -> str:
        return _percent(len(self.found), len(self.asked))


def _percent(part: int, whole: int) -> str:
    """A share rounded down, so that only a whole is 100%."""
    return f"{100 * part // whole}%"


@dataclass(frozen=True)
class _Lookup:
    """Finds ids in whole tables, for at most some seconds in all."""

    config: Config
    ends_at: float = field(default_factory=lambda: time.monotonic() + _SECONDS)

    def ids(self, table: OpenedTable, name: str) -> list[str]:
        """The ids of the first rows."""
        values, settings = table.sample.columns[name].present, self.config.interactions
        return list(dict.fromkeys(text for value in values if (text := id_text(value, settings))))

    def matches(self, ids: Sequence[str], table: OpenedTable, name: str) -> _Matches | None:
        """Which of the ids a table has; None where that cannot be said in time."""
        there = frozenset(self.ids(table, name))
        if table.sample.whole:
            return _Matches(ids, there & frozenset(ids))
        # The first rows of two large tables may have no id in common.
        asked = sorted(ids, key=lambda text: (_checksum(text), text))[:_COMPARED]
        column = id_column(table.frame, name, self.config.interactions)
        # Spark compares a text with hundreds of others one by one where it interprets a query.
        checksum = F.crc32(column.cast("binary"))
        rows = table.frame.select(column.alias("id")).where(checksum.isin(*map(_checksum, asked)))
        with reading_table(table.place.key, table.source):
            found = within_seconds(
                rows.sparkSession,
                self.ends_at - time.monotonic(),
                lambda: _found(rows, len(asked)),
            )
        return None if found is None else _Matches(asked, found & frozenset(asked))


def _checksum(text: str) -> int:
    """What Spark's crc32 gives."""
    return zlib.crc32(text.encode())


def _found(rows: DataFrame, ids: int) -> frozenset[str]:
    """The ids among the rows, or among the first rows alone where these have most of the ids."""
    limit = _ROWS_OF_AN_ID * ids
    first = rows.limit(limit).collect()
    found = frozenset(str(row["id"]) for row in first)
    if len(first) < limit or len(found) >= _FEW_MATCH * ids:
        return found
    return frozenset(str(row["id"]) for row in rows.distinct().collect())


def findings_between(opened: Mapping[str, OpenedTable], config: Config) -> Iterator[Finding]:
    """Compare the ids of every table with those of the interactions."""
    main = opened.get(INTERACTIONS_SOURCE)
    if main is None:
        return
    lookup = _Lookup(config)
    # A table of attributes is searched for ids of the interactions. For any other table the
    # interactions are searched, possibly all of them, in what is left of the same seconds.
    of_attributes_first = sorted(opened.items(), key=lambda one: not _is_of_attributes(one[0]))
    for key, table in of_attributes_first:
        names = {side: name for side in SIDES if (name := _id_name(key, side, config)) is not None}
        names = {side: name for side, name in names.items() if name in table.sample.columns}
        if table is main or not names:
            continue
        if "item" in names:
            yield from _of_domains(main, table, lookup)
        if key.endswith("excluded_items"):
            yield from _of_exclusions(main, table, names["item"], lookup)
        numbers = list(_of_numbers(main, table, names, lookup))
        yield from numbers
        if numbers:
            continue
        if _is_of_attributes(key):
            [(side, name)] = names.items()
            yield from _of_attributes(main, table, side, name, lookup)
        else:
            yield from _of_ids_of_events(main, table, names, lookup)


def _is_of_attributes(key: str) -> bool:
    return key.startswith("features.")


def _of_domains(main: OpenedTable, table: OpenedTable, lookup: _Lookup) -> Iterator[Finding]:
    """Whether the interactions have any domain of a table of items."""
    name = lookup.config.interactions.columns.domain
    if name is None:
        return
    own, theirs = lookup.ids(main, name), lookup.ids(table, name)
    if not own or not theirs or not frozenset(own).isdisjoint(theirs):
        return
    found = lookup.matches(theirs, main, name)
    if found is None or found.found:
        return
    unified = settings_that_unify(differences_between(theirs, own))
    yield Finding(
        "problem" if table.place.key == "features.items" else "warning",
        table.place.of(name),
        f"none of its domains is in the interactions: {shown(theirs[0])} here, {shown(own[0])}"
        " there",
        unified or "write its domains as the interactions have them",
    )


def _of_exclusions(
    main: OpenedTable, table: OpenedTable, name: str, lookup: _Lookup
) -> Iterator[Finding]:
    """Whether every item of the interactions is left out."""
    if lookup.config.interactions.columns.domain is not None:
        # Where there are domains, items of several of them may have one id.
        return
    own = lookup.ids(main, _column_of_interactions("item", lookup.config))
    found = lookup.matches(own, table, name) if own else None
    if found is not None and len(found.found) == len(found.asked):
        yield Finding(
            "warning",
            table.place.of(name),
            f"has all {len(found.asked)} items of the interactions that were looked for: lists hold"
            " at most other ones",
            "correct recommend.rules.excluded_items",
        )


def _of_numbers(
    main: OpenedTable, table: OpenedTable, names: Mapping[str, str], lookup: _Lookup
) -> Iterator[Finding]:
    """Ids that are the same number and not the same text, of both tables."""
    for side, name in names.items():
        column = _column_of_interactions(side, lookup.config)
        own, theirs = lookup.ids(main, column), lookup.ids(table, name)
        equal = equal_as_numbers(own, theirs)
        if equal is not None and equal_as_numbers(own) is None and equal_as_numbers(theirs) is None:
            where, settings = f"column {column} of the interactions", lookup.config.interactions
            yield equal_numbers(table.place.of(name), equal, settings, where)


def _of_attributes(
    main: OpenedTable, table: OpenedTable, side: str, name: str, lookup: _Lookup
) -> Iterator[Finding]:
    """What share of the interactions' ids a table of attributes has, and what is missing."""
    own = lookup.ids(main, _column_of_interactions(side, lookup.config))
    theirs = lookup.ids(table, name)
    if not own or not theirs:
        return
    place, found = table.place.of(name), lookup.matches(own, table, name)
    if found is None:
        yield _too_large(place)
        return
    both = ""
    if main.sample.whole and table.sample.whole:
        both = f", and {_percent(len(found.found), len(theirs))} of its ids are in the interactions"
    words = (
        f"has {found.percent} of {'the ' if found.asked is own else ''}{len(found.asked)} {side}"
        f" ids of the interactions' first rows{both}"
    )
    unified = settings_that_unify(differences_between(own, theirs))
    if not found.found:
        missing = f"{shown(theirs[0])} here, {shown(own[0])} there"
        remedy = f"name in features.{side}s.id the column with the ids that interactions use"
        yield Finding("problem", place, f"{words}: {missing}", unified or remedy)
    elif found.share < _FEW_MATCH:
        missing = next(text for text in found.asked if text not in found.found)
        words = f"{words}; it lacks {shown(missing)}, for example"
        yield Finding("warning", place, words, unified)
    else:
        yield Finding("fact", place, words)


def _of_ids_of_events(
    main: OpenedTable, table: OpenedTable, names: Mapping[str, str], lookup: _Lookup
) -> Iterator[Finding]:
    """How many ids of a table of held-out events, or of a rule, the interactions have."""
    unmatched: dict[str, _UnmatchedIds] = {}
    for side, name in names.items():
        column = _column_of_interactions(side, lookup.config)
        own, theirs = lookup.ids(main, column), lookup.ids(table, name)
        if not own or not theirs:
            continue
        place, common = table.place.of(name), frozenset(own) & frozenset(theirs)
        if common and not main.sample.whole:
            # The exact share would take a search of all interactions, so only the matches in their
            # first rows are reported.
            words = f"{len(common)} of its ids are among the first rows of the interactions"
            yield Finding("fact", place, words)
            continue
        found = lookup.matches(theirs, main, column)
        if found is None:
            yield _too_large(place)
        elif found.found:
            words = f"the interactions have {found.percent} of {len(found.asked)} of its ids"
            yield Finding("fact", place, words)
        else:
            example = f"{side} {shown(theirs[0])} here, {shown(own[0])} there"
            unified = settings_that_unify(differences_between(theirs, own))
            unmatched[side] = _UnmatchedIds(place, example, unified)
    if table.place.key.startswith("split.") and len(unmatched) == len(SIDES):
        examples = "; ".join(one.example for one in unmatched.values())
        remedies = [one.remedy for one in unmatched.values() if one.remedy]
        remedy = remedies[0] if remedies else "write its ids as the interactions have them"
        words = f"none of its users and none of its items is in the interactions: {examples}"
        yield Finding("problem", table.place, words, remedy)
        return
    for side, one in unmatched.items():
        words = f"none of its {side}s is in the interactions ({one.example})"
        follows = _what_follows(table.place.key, side)
        yield Finding("warning", one.place, f"{words}: {follows}", one.remedy)


@dataclass(frozen=True)
class _UnmatchedIds:
    """Ids that the interactions do not have: their column, an example, and what would mend it."""

    place: Place
    example: str
    remedy: str


def _what_follows(key: str, side: str) -> str:
    if key.startswith("split."):
        return f"all its {side}s are new"
    if key.endswith("allowed_items"):
        return "lists hold at most new items"
    return "nothing is left out by them"


def _too_large(place: Place) -> Finding:
    words = f"was not compared with the interactions: that would take more than {_SECONDS:.0f} s"
    return Finding("fact", place, words)


def _column_of_interactions(side: str, config: Config) -> str:
    names = config.interactions.columns
    return names.user if side == "user" else names.item


def _id_name(key: str, side: str, config: Config) -> str | None:
    """The column of a table with the ids of a side; None where it has none."""
    rules = config.recommend.rules
    if key in {"split.test", "split.validation"}:
        return _column_of_interactions(side, config)
    if key == f"features.{side}s":
        attributes = config.features.users if side == "user" else config.features.items
        return None if attributes is None else attributes.id
    if key.endswith("_items") and side == "item":
        table = rules.allowed_items if key.endswith("allowed_items") else rules.excluded_items
        return None if table is None else table.item
    if key.endswith("excluded_pairs") and rules.excluded_pairs is not None:
        return rules.excluded_pairs.user if side == "user" else rules.excluded_pairs.item
    return None
