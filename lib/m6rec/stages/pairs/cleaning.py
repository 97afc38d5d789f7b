"""Clean the owner's events to trusted interactions, and combine these to user-item pairs.

No row is lost: each is either kept or put into quarantine with the first reason that applies. What
a row shows by itself (ids, weight, time, event type) is judged first. What it shows only beside
others (exact duplicates, users with inhuman rates, suspicious users) is judged next.
`aggregate_pairs` then combines the kept events of a user with an item to one weighted pair.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.check.events import EventReading
from m6rec.check.ids import DOMAIN_END, id_text
from m6rec.check.weights import LARGEST_WEIGHT
from m6rec.config.data import (
    Duplicates,
    InteractionColumns,
    InteractionsConfig,
    SuspiciousUsersConfig,
)
from m6rec.errors import DataError
from m6rec.spark.runtimes import SPATIAL
from m6rec.spark.values import (
    holds_type,
    id_column,
    id_within,
    is_fraction,
    number_in_text,
    owner_column,
    text_column,
    time_column,
    try_cast,
)
from m6rec.stages.pairs.aggregation import decay
from m6rec.stages.pairs.suspicion import suspicious_users

NO_USER_ID = "null or empty user id"
NO_ITEM_ID = "null or empty item id"
BAD_WEIGHT = "weight missing or not a number"
NO_DOMAIN = "null or empty domain"
BAD_DOMAIN = f"domain with {DOMAIN_END!r}"
INFINITE_WEIGHT = "weight NaN or infinite"
NEGATIVE_WEIGHT = "weight negative"
BAD_TIME = "time missing, unparsable or before 1900"
FUTURE_TIME = "time in the future"
UNKNOWN_EVENT_TYPE = "unknown event type"
DUPLICATE = "exact duplicate"
INHUMAN_RATE = "user with an inhuman rate"
NOT_WHOLE_USER_ID = "user id not a whole number"
NOT_WHOLE_ITEM_ID = "item id not a whole number"
NOT_A_USER = "not a user"
BEYOND_FLOAT = "weight beyond float"
OF_TIMES = (BAD_TIME, FUTURE_TIME)
_WITHOUT_A_USER = (NO_USER_ID, NOT_WHOLE_USER_ID, NOT_A_USER, INHUMAN_RATE)
_DIGITS = r"^-?\d+$"
_AS_THE_SCHEMA_SAYS = EventReading()
_VALUES = "_values"

_INTERACTION_COLUMNS = (
    c.USER_ID,
    c.ITEM_ID,
    c.EVENT_TIME,
    c.EVENT_TYPE,
    c.WEIGHT,
    c.CONTEXT,
)


@dataclass(frozen=True)
class Cleaned:
    """What cleaning has made of a source.

    Attributes:
        interactions: user_id, item_id, event_time, event_type, weight, context.
        quarantine: raw (the row as JSON), reason, source_version.
        labelled: all rows with their reason, which is null where the row is kept, and, where users
            are judged, with `suspicion`, null for users who are not suspicious.
        judged: all rows, each with the reason that it shows by itself, without other rows.
        refused: the rows of `quarantine` that have such a reason.
        follows_labelled: whether `interactions` are selected from `labelled`. Then it pays to
            persist `labelled`, for rows to be shuffled once; else reading the source again costs
            less.
    """

    interactions: DataFrame
    quarantine: DataFrame
    labelled: DataFrame
    judged: DataFrame
    refused: DataFrame
    follows_labelled: bool


def clean_interactions(
    source: DataFrame,
    config: InteractionsConfig,
    now: datetime,
    source_version: int | None,
    reading: EventReading = _AS_THE_SCHEMA_SAYS,
    are_ratings: bool = False,
    latest: datetime | None = None,
    in_whole_rows: bool = False,
) -> Cleaned:
    """Divide the rows of `source` into interactions and quarantine.

    A weight is the weight column times event_weights[event type], where each is 1 if it is not
    configured. It halves with every `half_life_days` before the latest kept event. (The wall clock
    plays no part, so a later run agrees.) Equal rows without a time count as repeated events where
    the duplicates policy is `sum`; in all other cases only one of them is kept.

    Args:
        source: the owner's table.
        config: the section interactions.
        now: no event can be later.
        source_version: the version of the table.
        reading: how times and weights are written, where the schema does not say it.
        are_ratings: whether weights are ratings, which may be negative.
        latest: the time up to which weights decay, in place of that of the latest kept event.
        in_whole_rows: whether a row has to be read with all its columns to be kept, where Spark
            drops those that it cannot parse.

    Raises:
        TableError: an id column is neither string nor a number, or a numeric time has no unit.
    """
    judged = judged_by_themselves(source, config, now, reading, are_ratings)
    judges_users = config.suspicious_users.action != "keep" or _refuses_rates(config)
    follows_labelled = judges_users or in_whole_rows
    labelled = judged
    if judges_users or _refuses_duplicates(config):
        owned = _with_owner(judged)
        rated = _judge_rates(_judge_duplicates(owned, config), config).drop(c.OWNER)
        labelled = _judge_suspicion(rated, config.suspicious_users)
    accepted = (labelled if follows_labelled else judged).where(F.col(c.REASON).isNull())
    kept = accepted
    if _refuses_duplicates(config) and not follows_labelled:
        kept = _distinct(accepted, config)
    interactions = decay(kept, config, latest, accepted).select(*_INTERACTION_COLUMNS)

    def refused(rows: DataFrame) -> DataFrame:
        version = F.lit(source_version).cast("long").alias(c.SOURCE_VERSION)
        return rows.where(F.col(c.REASON).isNotNull()).select(c.RAW, c.REASON, version)

    return Cleaned(
        interactions, refused(labelled), labelled, judged, refused(judged), follows_labelled
    )


def judged_by_themselves(
    source: DataFrame,
    config: InteractionsConfig,
    now: datetime | Column,
    reading: EventReading = _AS_THE_SCHEMA_SAYS,
    are_ratings: bool = False,
) -> DataFrame:
    """All rows of `source` with their reason as far as a row shows it by itself.

    Arguments and what is raised are those of `clean_interactions`.
    """
    mapped = _map_columns(source, config, reading)
    fractions = {
        ours
        for ours, theirs in ((c.USER_ID, config.columns.user), (c.ITEM_ID, config.columns.item))
        if is_fraction(source.schema[theirs].dataType)
    }
    negative = are_ratings or config.cancellations == "cancel"
    return _judge_rows(mapped, config, now, fractions, negative)


def named_users(labelled: DataFrame, config: InteractionsConfig) -> DataFrame:
    """user_id of each user whom any row names, be it kept or refused for what else it holds."""
    reason = F.coalesce(c.REASON, F.lit(""))
    named = ~_blank(c.USER_ID) & ~reason.isin(*_WITHOUT_A_USER) & ~_is_nobody(config)
    return labelled.where(named).select(c.USER_ID).distinct()


def without_times(labelled: DataFrame, config: InteractionsConfig) -> DataFrame:
    """user_id, item_id of rows that were refused for their time alone: the user has the item."""
    rows = labelled.where(F.col(c.REASON).isin(*OF_TIMES))
    if config.event_weights:
        # Types are judged after times.
        rows = rows.where(F.col(c.EVENT_TYPE).isin(*config.event_weights))
    return rows.select(c.USER_ID, c.ITEM_ID)


def check_counts(rows_in: int, kept: int, quarantined: int) -> None:
    """Check that rows in = rows kept + rows quarantined.

    Raises:
        DataError: they differ.
    """
    if rows_in != kept + quarantined:
        raise DataError(
            f"cleaning read {rows_in} rows but kept {kept} and quarantined {quarantined},"
            f" {kept + quarantined} together; did the source change while it was read?"
            " Give it at a version, or run again"
        )


def _map_columns(source: DataFrame, config: InteractionsConfig, reading: EventReading) -> DataFrame:
    """The owner's columns under the names of `m6rec.columns`, and the row as JSON."""
    names = config.columns
    event_type = F.lit(None).cast("string")
    if names.event_type is not None:
        event_type = text_column(source, names.event_type)
    domain = () if names.domain is None else (id_column(source, names.domain, config),)
    return source.select(
        id_column(source, names.user, config).alias(c.USER_ID),
        id_column(source, names.item, config).alias(c.ITEM_ID),
        *(column.alias(c.DOMAIN) for column in domain),
        time_column(source, config, reading.time_format).alias(c.EVENT_TIME),
        event_type.alias(c.EVENT_TYPE),
        _raw_weight(source, names, reading).alias(c.WEIGHT),
        _context(source, names).alias(c.CONTEXT),
        F.to_json(F.struct(*_written(source)), {"ignoreNullFields": "false"}).alias(c.RAW),
    )


def _written(source: DataFrame) -> list[str | Column]:
    """The columns that a row as JSON has: all but those of which Spark makes no JSON."""
    fields = source.schema.fields
    written = [one.name for one in fields if not holds_type(one.dataType, SPATIAL)]
    # As one name where it can be: a table may have thousands of columns.
    return ["*"] if len(written) == len(fields) else [*map(owner_column, written)]


def _raw_weight(source: DataFrame, names: InteractionColumns, reading: EventReading) -> Column:
    if names.weight is None:
        return F.lit(1.0)
    if isinstance(source.schema[names.weight].dataType, T.StringType):
        return number_in_text(owner_column(names.weight), reading.decimal_sign, reading.only_unit)
    return try_cast(names.weight, "double")


def _context(source: DataFrame, names: InteractionColumns) -> Column:
    if not names.context:
        return F.lit(None).cast("map<string,string>")
    entries: list[Column] = []
    for name in names.context:
        entries += [F.lit(name), text_column(source, name)]
    return F.create_map(*entries)


def _event_factor(config: InteractionsConfig) -> Column:
    """The event type's weight; null where it is unknown."""
    entries: list[Column] = []
    for name, weight in config.event_weights.items():
        entries += [F.lit(name), F.lit(float(weight))]
    # In ANSI mode, indexing a map by an unknown key would fail; try_element_at gives null.
    return F.try_element_at(F.create_map(*entries), F.col(c.EVENT_TYPE))


def _judge_rows(
    rows: DataFrame,
    config: InteractionsConfig,
    now: datetime | Column,
    fractions: set[str],
    negative_allowed: bool,
) -> DataFrame:
    """Add `reason` for what a row shows by itself, and apply the event weights."""
    weight = F.col(c.WEIGHT)
    infinite = F.isnan(weight) | (F.abs(weight) == float("inf"))
    reason = (
        F.when(_blank(c.USER_ID), NO_USER_ID)
        .when(_blank(c.ITEM_ID), NO_ITEM_ID)
        .when(weight.isNull(), BAD_WEIGHT)
        .when(infinite, INFINITE_WEIGHT)
        .when(F.abs(weight) > LARGEST_WEIGHT, BEYOND_FLOAT)
    )
    if not negative_allowed:
        reason = reason.when(weight < 0, NEGATIVE_WEIGHT)
    for name, words in ((c.USER_ID, NOT_WHOLE_USER_ID), (c.ITEM_ID, NOT_WHOLE_ITEM_ID)):
        if name in fractions:
            reason = reason.when(~F.col(name).rlike(_DIGITS), words)
    if config.columns.domain is not None:
        reason = reason.when(_blank(c.DOMAIN), NO_DOMAIN)
        reason = reason.when(F.col(c.DOMAIN).contains(DOMAIN_END), BAD_DOMAIN)
    if config.not_a_user:
        reason = reason.when(_is_nobody(config), NOT_A_USER)
    if config.columns.time is not None:
        time = F.col(c.EVENT_TIME)
        reason = reason.when(time.isNull(), BAD_TIME).when(time > F.lit(now), FUTURE_TIME)
    factor = F.lit(1.0)
    if config.event_weights:
        factor = _event_factor(config)
        known = F.coalesce(F.col(c.EVENT_TYPE).isin(*config.event_weights), F.lit(False))
        reason = reason.when(~known, UNKNOWN_EVENT_TYPE)
    weighed = weight * factor
    if any(one < 0 for one in config.event_weights.values()):
        # What comes back has a type of its own, a negative quantity, or both.
        weighed = F.when(factor < 0, -F.abs(weighed)).otherwise(weighed)
    judged = rows.withColumn(c.REASON, reason).withColumn(c.WEIGHT, weighed)
    if config.columns.domain is None:
        return judged
    within = id_within(F.col(c.DOMAIN), F.col(c.ITEM_ID))
    is_named = F.col(c.REASON).isNull() | F.col(c.REASON).isin(*OF_TIMES)
    named = F.when(is_named, within).otherwise(F.col(c.ITEM_ID))
    return judged.withColumn(c.ITEM_ID, named).drop(c.DOMAIN)


def _is_nobody(config: InteractionsConfig) -> Column:
    nobody = [id_text(name, config) for name in config.not_a_user]
    return F.col(c.USER_ID).isin(*nobody)


def _blank(name: str) -> Column:
    return F.col(name).isNull() | ~F.col(name).rlike(r"\S")


def _with_owner(rows: DataFrame) -> DataFrame:
    """Add the key of the one shuffle that all windows share, which is the user of an accepted row.

    Refused rows get a key of their own, so that a million null ids do not meet in one task.
    """
    accepted = F.col(c.REASON).isNull()
    owner = F.when(accepted, F.xxhash64(c.USER_ID)).otherwise(F.xxhash64(c.RAW))
    return rows.withColumn(c.OWNER, owner)


def _judge_duplicates(rows: DataFrame, config: InteractionsConfig) -> DataFrame:
    """Give all rows but one of each set of equal accepted rows a reason."""
    if not _refuses_duplicates(config):
        return rows
    accepted = F.col(c.REASON).isNull()
    mapped = (c.USER_ID, c.ITEM_ID, c.EVENT_TIME, c.EVENT_TYPE, c.WEIGHT, c.REASON)
    same = Window.partitionBy(c.OWNER, *mapped, F.map_values(c.CONTEXT)).orderBy(c.RAW)
    return (
        rows.repartition(F.col(c.OWNER))
        .withColumn("_repeated", accepted & (F.row_number().over(same) > 1))
        .withColumn(c.REASON, F.when(F.col("_repeated"), DUPLICATE).otherwise(F.col(c.REASON)))
        .drop("_repeated")
    )


def _distinct(accepted: DataFrame, config: InteractionsConfig) -> DataFrame:
    """One of each set of equal rows: those that `_judge_duplicates` keeps.

    The rows as they came take no part in it, and they are most of the bytes. The window sorts the
    rows; `distinct` would put them into two hash tables, which takes three times as long.
    """
    values: tuple[Column, ...] = ()
    context = F.lit(None).cast("map<string,string>")
    if config.columns.context:
        values = (F.map_values(c.CONTEXT).alias(_VALUES),)
        context = F.map_from_arrays(F.array(*map(F.lit, config.columns.context)), F.col(_VALUES))
    columns = (c.USER_ID, c.ITEM_ID, c.EVENT_TIME, c.EVENT_TYPE, c.WEIGHT)
    owned = accepted.select(F.xxhash64(c.USER_ID).alias(c.OWNER), *columns, *values)
    same = Window.partitionBy(*owned.columns).orderBy(c.OWNER)
    numbered = owned.repartition(F.col(c.OWNER)).withColumn("_number", F.row_number().over(same))
    return numbered.where(F.col("_number") == 1).select(*columns, context.alias(c.CONTEXT))


def _refuses_duplicates(config: InteractionsConfig) -> bool:
    """Whether of equal rows only one is kept."""
    return config.columns.time is not None or not _repetition_counts(config.duplicates)


def _refuses_rates(config: InteractionsConfig) -> bool:
    """Whether users with too many events on any day are refused."""
    return config.maximum_events_per_user_per_day is not None


def _repetition_counts(duplicates: Duplicates) -> bool:
    """Whether an event that comes twice says more than one that comes once."""
    match duplicates:
        case "sum":
            return True
        case "max" | "last":
            return False
        case _:
            assert_never(duplicates)


def _judge_rates(rows: DataFrame, config: InteractionsConfig) -> DataFrame:
    """Give all accepted rows of users with too many events on any day a reason."""
    maximum = config.maximum_events_per_user_per_day
    if maximum is None:
        return rows
    accepted = F.col(c.REASON).isNull()
    user = Window.partitionBy(c.OWNER, c.USER_ID)
    day = Window.partitionBy(c.OWNER, c.USER_ID, F.to_date(c.EVENT_TIME))
    inhuman = accepted & (F.col("_busiest") > maximum)
    return (
        rows.withColumn("_daily", F.sum(accepted.cast("long")).over(day))
        .withColumn("_busiest", F.max("_daily").over(user))
        .withColumn(c.REASON, F.when(inhuman, INHUMAN_RATE).otherwise(F.col(c.REASON)))
        .drop("_daily", "_busiest")
    )


def _judge_suspicion(rows: DataFrame, config: SuspiciousUsersConfig) -> DataFrame:
    """Add `suspicion`, and let accepted rows of suspicious users weigh less, or give a reason."""
    if config.action == "keep":
        return rows
    accepted = F.col(c.REASON).isNull()
    against = suspicious_users(rows.where(accepted), config)
    judged = rows.join(against, c.USER_ID, how="left").withColumn(
        c.SUSPICION, F.when(accepted, F.col(c.SUSPICION))
    )
    match config.action:
        case "weight":
            factor = F.when(F.col(c.SUSPICION).isNotNull(), config.weight).otherwise(1.0)
            return judged.withColumn(c.WEIGHT, F.col(c.WEIGHT) * factor)
        case "quarantine":
            return judged.withColumn(c.REASON, F.coalesce(c.REASON, c.SUSPICION))
        case _:
            assert_never(config.action)
