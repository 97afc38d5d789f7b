"""The owner's tables as a run reads them: each at one version, with the columns that it needs."""

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.check.events import EventReading, read_events
from m6rec.config.base import TableSource
from m6rec.config.data import (
    AttributesSource,
    InteractionColumns,
    InteractionsConfig,
    SuspiciousUsersConfig,
)
from m6rec.config.run import Config
from m6rec.spark.samples import first_rows
from m6rec.spark.sources import (
    check_sources,
    has_column,
    load_source,
    read_source,
    source_version,
    with_columns,
)
from m6rec.spark.values import owner_column
from m6rec.stages.features.attributes import attribute_id

INTERACTIONS = "interactions"


@dataclass(frozen=True)
class Events:
    """A table of events as the owner has it, at the version that this run reads.

    Attributes:
        label: the name of the table in reasons and messages.
        frame: its rows.
        config: how they are read.
        version: the version; None for what has none.
        reading: what was inferred of this from its first rows.
        drops_malformed: whether Spark leaves out rows that it cannot parse.
    """

    label: str
    frame: DataFrame
    config: InteractionsConfig
    version: int | None
    reading: EventReading
    drops_malformed: bool = False


@dataclass(frozen=True)
class Sources:
    """All tables of the owner's, found to exist and to have their columns.

    Attributes:
        interactions, test, validation: tables of events.
        users, items: ids and titles.
    """

    interactions: Events
    test: Events | None
    validation: Events | None
    users: DataFrame | None
    items: DataFrame | None

    def events(self) -> list[Events]:
        """The tables of events that the owner gave."""
        tables = (self.interactions, self.test, self.validation)
        return [table for table in tables if table is not None]


def open_sources(spark: SparkSession, config: Config) -> Sources:
    """Open every table of the owner's at one version.

    Raises:
        TableError: a table does not exist or lacks a column; the message names the config's key.
    """
    check_sources(spark, config)
    mapped = config.interactions
    version, frame = _at_version(spark, mapped.source, columns_of_events(mapped))
    reading = _reading(INTERACTIONS, mapped.source, frame, mapped)
    held_out = (
        _open_held_out(spark, "split.test", config.split.test, mapped),
        _open_held_out(spark, "split.validation", config.split.validation, mapped),
    )
    return Sources(
        Events(INTERACTIONS, frame, mapped, version, reading, _drops_malformed(mapped.source)),
        *held_out,
        _open_attributes(spark, config.features.users, c.USER_ID, mapped),
        _open_attributes(spark, config.features.items, c.ITEM_ID, mapped),
    )


def _reading(
    label: str,
    source: TableSource,
    frame: DataFrame,
    config: InteractionsConfig,
    known: EventReading | None = None,
) -> EventReading:
    """How times and weights are written, inferred from the first rows where they are text."""
    names = config.columns
    types = dict(frame.dtypes)
    no_pattern = config.time_format is None and config.time_unit == "timestamp"
    asked = (names.time, names.weight) if no_pattern else (names.weight,)
    # Numbers can be dates such as 20240301; for other types nothing has to be inferred.
    looked_at = [
        name
        for name in asked
        if name is not None
        and (types[name] == "string" or (name == names.time and _is_number(types[name])))
    ]
    if not looked_at:
        return EventReading()
    sample = first_rows(frame, label, source, looked_at, needed=looked_at)
    return read_events(sample.columns, config, known)


def _is_number(kind: str) -> bool:
    return kind in {"int", "bigint", "float", "double"} or kind.startswith("decimal")


def _at_version(
    spark: SparkSession,
    source: TableSource,
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
) -> tuple[int | None, DataFrame]:
    """Read a source pinned to one version, so that all passes see the same rows."""
    version = source_version(spark, source)
    pinned = source.model_copy(update={"version": version, "timestamp": None})
    frame = load_source(spark, pinned)
    there = (name for name in optional if has_column(frame, name))
    return version, with_columns(frame, pinned, (*required, *there))


def columns_of_events(config: InteractionsConfig) -> tuple[str, ...]:
    """The owner's columns that a table of events has."""
    names = config.columns
    optional = (names.time, names.weight, names.event_type, *names.context)
    present = (name for name in optional if name is not None)
    return (names.user, names.item, *names.parts_of_item_id, *present)


def open_events(
    spark: SparkSession,
    label: str,
    source: TableSource,
    config: InteractionsConfig,
    known: EventReading | None = None,
) -> Events:
    """Open a table of events of any users, in which all columns but the ids are optional.

    There is no minimum of interactions, since all that is known of a user counts. Where the first
    rows do not show how times and weights are written, `known` decides.

    Raises:
        TableError: the table does not exist or lacks the column of users or items.
    """
    return _open_with_optional(spark, label, source, config, _history_config, known)


def _open_held_out(
    spark: SparkSession, label: str, source: TableSource | None, config: InteractionsConfig
) -> Events | None:
    if source is None:
        return None
    return _open_with_optional(spark, label, source, config, _held_out_config)


def _open_with_optional(
    spark: SparkSession,
    label: str,
    source: TableSource,
    config: InteractionsConfig,
    adapted: Callable[[InteractionsConfig, list[str]], InteractionsConfig],
    known: EventReading | None = None,
) -> Events:
    names = config.columns
    ids = (names.user, names.item, *names.parts_of_item_id)
    named = (names.time, names.weight, names.event_type, *names.context)
    optional = tuple(name for name in named if name is not None)
    version, frame = _at_version(spark, source, ids, optional)
    own = adapted(config, frame.columns)
    reading = _reading(label, source, frame, own, known)
    return Events(label, frame, own, version, reading, _drops_malformed(source))


def _drops_malformed(source: TableSource) -> bool:
    return (source.option("mode") or "").upper() == "DROPMALFORMED"


def _history_config(config: InteractionsConfig, found: list[str]) -> InteractionsConfig:
    """The mapping for histories, in which all columns but the ids are optional."""
    columns = _columns_among(config.columns, found)
    weighed = columns.weight is not None or columns.event_type is not None
    timed = columns.time is not None
    return config.model_copy(
        update={
            "columns": columns,
            "event_weights": config.event_weights if columns.event_type else {},
            "half_life_days": config.half_life_days if timed else None,
            "positive_minimum": config.positive_minimum if weighed else None,
            "minimum_user_interactions": 1,
            "minimum_item_interactions": 1,
            "maximum_events_per_user_per_day": (
                config.maximum_events_per_user_per_day if timed else None
            ),
        }
    )


def _held_out_config(config: InteractionsConfig, found: list[str]) -> InteractionsConfig:
    """The mapping for a held-out table, in which all columns but the ids are optional.

    Each of its events is judged by itself: there is no minimum of interactions and no decay, and
    where the table has no weights, every pair is positive.
    """
    alone = {
        "half_life_days": None,
        "maximum_events_per_user_per_day": None,
        "suspicious_users": SuspiciousUsersConfig(),
    }
    return _history_config(config, found).model_copy(update=alone)


def _columns_among(names: InteractionColumns, found: list[str]) -> InteractionColumns:
    """The columns that a table has."""
    kept = {
        "time": names.time if names.time in found else None,
        "weight": names.weight if names.weight in found else None,
        "event_type": names.event_type if names.event_type in found else None,
        "context": tuple(name for name in names.context if name in found),
    }
    return names.model_copy(update=kept)


def read_column_of_items(
    spark: SparkSession, items: AttributesSource, column: str, config: InteractionsConfig
) -> DataFrame:
    """The owner's table of items, which has this column and those that make an item's id.

    Raises:
        TableError: the table does not exist or lacks one of them.
    """
    return read_source(spark, items.source, (items.id, column, *config.columns.parts_of_item_id))


def _open_attributes(
    spark: SparkSession,
    attributes: AttributesSource | None,
    name: str,
    config: InteractionsConfig,
) -> DataFrame | None:
    """The ids (as `name`, string) and titles of an attribute table."""
    if attributes is None:
        return None
    id_parts = config.columns.parts_of_item_id if name == c.ITEM_ID else ()
    required = (*attributes.named_columns, *id_parts)
    _, frame = _at_version(spark, attributes.source, required)
    return ids_and_titles(frame, attributes, name, config)


def ids_and_titles(
    frame: DataFrame, attributes: AttributesSource, name: str, config: InteractionsConfig
) -> DataFrame:
    """The ids (as `name`, string) and titles of a table of attributes, a row for each id."""
    ids = attribute_id(frame, attributes, config, name)
    titles = F.lit(None) if attributes.title is None else owner_column(attributes.title)
    named = frame.select(ids.alias(name), titles.cast("string").alias("title"))
    # An id that stands twice gets one of its titles, the same in each run.
    return named.where(F.trim(name) != "").groupBy(name).agg(F.max("title").alias("title"))
