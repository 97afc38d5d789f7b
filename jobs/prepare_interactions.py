"""Clean the owner's interactions, number users and items, split, and write the matrix.

Reads the tables of sections interactions, split and features. Writes interactions, quarantine,
user_index, item_index, splits, catalogue and user_item_matrix.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.command_line import check_sources, command_line
from m6rec.config import AttributesSource, Config, InteractionsConfig, TableSource
from m6rec.errors import DataError
from m6rec.lakehouse import Lakehouse, read_source, source_version
from m6rec.stages.cleaning import (
    Cleaned,
    aggregate_pairs,
    check_counts,
    clean_interactions,
    id_column,
)
from m6rec.stages.indexing import extend_index
from m6rec.stages.matrix import user_item_matrix
from m6rec.stages.splitting import split_pairs

_INTERACTIONS = "interactions"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Events:
    """A table of events as the owner has it, at the version that this run reads."""

    label: str
    frame: DataFrame
    config: InteractionsConfig
    version: int | None


@dataclass(frozen=True)
class _Sources:
    """All tables of the owner's, found to exist and to have their columns."""

    interactions: _Events
    test: _Events | None
    validation: _Events | None
    users: DataFrame | None
    items: DataFrame | None

    def events(self) -> list[_Events]:
        """The tables of events that there are."""
        tables = (self.interactions, self.test, self.validation)
        return [table for table in tables if table is not None]


@dataclass(frozen=True)
class _Pairs:
    """User-item pairs of the sources; user_id and item_id, or the indices in their place."""

    interactions: DataFrame
    test: DataFrame | None
    validation: DataFrame | None

    def all(self) -> list[DataFrame]:
        """Those that there are."""
        frames = (self.interactions, self.test, self.validation)
        return [frame for frame in frames if frame is not None]

    def map(self, function: Callable[[DataFrame], DataFrame]) -> "_Pairs":
        """Each of them through `function`."""
        return _Pairs(
            function(self.interactions),
            None if self.test is None else function(self.test),
            None if self.validation is None else function(self.validation),
        )


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Prepare the interactions of a run.

    Raises:
        TableError: a source is missing, lacks a column or has one of a wrong type; raised
            before any compute.
        DataError: rows were lost, or no interaction was left.
    """
    sources = _open_sources(lakehouse.spark, config)
    try:
        pairs = _clean(lakehouse, sources)
        _extend_indices(lakehouse, pairs, sources)
        _split(lakehouse, pairs, config)
        _write_catalogue(lakehouse, sources)
        _write_matrix(lakehouse, sources)
    finally:
        # The stages persist what they read twice.
        lakehouse.spark.catalog.clearCache()


def _open_sources(spark: SparkSession, config: Config) -> _Sources:
    check_sources(spark, config)
    mapped = config.interactions
    names = mapped.columns
    optional = (names.time, names.weight, names.event_type)
    present = tuple(name for name in optional if name is not None)
    version, frame = _at_version(
        spark, mapped.source, (names.user, names.item, *present, *names.context)
    )
    return _Sources(
        _Events(_INTERACTIONS, frame, mapped, version),
        _open_held_out(spark, "split.test", config.split.test, mapped),
        _open_held_out(spark, "split.validation", config.split.validation, mapped),
        _open_attributes(spark, config.features.users, c.USER_ID),
        _open_attributes(spark, config.features.items, c.ITEM_ID),
    )


def _at_version(
    spark: SparkSession, source: TableSource, required: tuple[str, ...]
) -> tuple[int | None, DataFrame]:
    """Read a source pinned to one version, so that all passes see the same rows."""
    read_source(spark, source, required)
    version = source_version(spark, source)
    pinned = source.model_copy(update={"version": version})
    return version, read_source(spark, pinned, required)


def _open_held_out(
    spark: SparkSession, label: str, source: TableSource | None, config: InteractionsConfig
) -> _Events | None:
    if source is None:
        return None
    names = config.columns
    version, frame = _at_version(spark, source, (names.user, names.item))
    return _Events(label, frame, _held_out_config(config, frame.columns), version)


def _held_out_config(config: InteractionsConfig, found: list[str]) -> InteractionsConfig:
    """The mapping for a held-out table, in which all columns but the ids are optional.

    Its events are judged alone: no minimum of interactions, no decay, and where it has no
    weights each pair is positive.
    """
    names = config.columns
    kept = {
        "time": names.time if names.time in found else None,
        "weight": names.weight if names.weight in found else None,
        "event_type": names.event_type if names.event_type in found else None,
        "context": tuple(name for name in names.context if name in found),
    }
    weighed = kept["weight"] is not None or kept["event_type"] is not None
    return config.model_copy(
        update={
            "columns": names.model_copy(update=kept),
            "event_weights": config.event_weights if kept["event_type"] else {},
            "half_life_days": None,
            "positive_minimum": config.positive_minimum if weighed else None,
            "minimum_user_interactions": 1,
            "minimum_item_interactions": 1,
            "maximum_events_per_user_per_day": None,
        }
    )


def _open_attributes(
    spark: SparkSession, attributes: AttributesSource | None, name: str
) -> DataFrame | None:
    """The ids (as `name`, string) and titles of an attribute table."""
    if attributes is None:
        return None
    title = () if attributes.title is None else (attributes.title,)
    _, frame = _at_version(spark, attributes.source, (attributes.id, *title, *attributes.kinds))
    titles = F.lit(None) if attributes.title is None else frame[f"`{attributes.title}`"]
    named = frame.select(
        id_column(frame, attributes.id).alias(name), titles.cast("string").alias("title")
    )
    # An id that stands twice gets one of its titles, the same in each run.
    return named.where(F.trim(name) != "").groupBy(name).agg(F.max("title").alias("title"))


def _clean(lakehouse: Lakehouse, sources: _Sources) -> _Pairs:
    """Write interactions and quarantine, check their counts, and combine events to pairs."""
    cleaned = {events.label: _clean_one(events) for events in sources.events()}
    main = cleaned[sources.interactions.label]
    lakehouse.write("interactions", main.interactions)
    lakehouse.write("quarantine", _quarantine(cleaned))
    _check_cleaning(lakehouse, sources, cleaned)
    return _Pairs(
        aggregate_pairs(lakehouse.read("interactions"), sources.interactions.config),
        _held_out_pairs(sources.test, cleaned),
        _held_out_pairs(sources.validation, cleaned),
    ).map(lambda frame: frame.persist())


def _clean_one(events: _Events) -> Cleaned:
    cleaned = clean_interactions(events.frame, events.config, datetime.now(UTC), events.version)
    cleaned.labelled.persist()
    return cleaned


def _quarantine(cleaned: dict[str, Cleaned]) -> DataFrame:
    """The refused rows of all tables; the reason of a held-out table's row names the table."""
    together = cleaned[_INTERACTIONS].quarantine
    for label, table in cleaned.items():
        if label != _INTERACTIONS:
            reason = F.concat(F.lit(f"{label}: "), c.REASON).alias(c.REASON)
            refused = table.quarantine.select(c.RAW, reason, c.SOURCE_VERSION)
            together = together.unionByName(refused)
    return together


def _check_cleaning(lakehouse: Lakehouse, sources: _Sources, cleaned: dict[str, Cleaned]) -> None:
    """Check that no row was lost between the sources and what has been written."""
    rows_in = sum(events.frame.count() for events in sources.events())
    written = lakehouse.read("interactions").count()
    held_out = sum(
        table.interactions.count() for label, table in cleaned.items() if label != _INTERACTIONS
    )
    quarantined = lakehouse.read("quarantine").count()
    _log.info("%d rows in, %d kept, %d quarantined", rows_in, written + held_out, quarantined)
    check_counts(rows_in, written + held_out, quarantined)
    if written == 0:
        raise DataError(
            f"no row of {sources.interactions.frame.count()} interactions was kept; see the reasons"
            f" in table {lakehouse.address('quarantine')} and correct the mapping in the config"
        )


def _held_out_pairs(events: _Events | None, cleaned: dict[str, Cleaned]) -> DataFrame | None:
    if events is None:
        return None
    return aggregate_pairs(cleaned[events.label].interactions, events.config)


def _extend_indices(lakehouse: Lakehouse, pairs: _Pairs, sources: _Sources) -> None:
    for name, id_name, index_name, attributes in (
        ("user_index", c.USER_ID, c.USER_INDEX, sources.users),
        ("item_index", c.ITEM_ID, c.ITEM_INDEX, sources.items),
    ):
        existing = lakehouse.read(name) if lakehouse.exists(name) else None
        new = extend_index(_counted_ids(pairs, attributes, id_name), existing, id_name, index_name)
        lakehouse.append_new(name, new, (id_name,))


def _counted_ids(pairs: _Pairs, attributes: DataFrame | None, id_name: str) -> DataFrame:
    """Each id of this run with its number of pairs, in the owner's interactions alone.

    Ties in lists go by index: what is held out must not decide them.
    """
    held_out = [frame.select(id_name, F.lit(0).alias("n")) for frame in pairs.all()[1:]]
    counted = [pairs.interactions.select(id_name, F.lit(1).alias("n")), *held_out]
    if attributes is not None:
        counted.append(attributes.select(id_name, F.lit(0).alias("n")))
    together = counted[0]
    for frame in counted[1:]:
        together = together.unionByName(frame)
    return together.groupBy(id_name).agg(F.sum("n").alias(c.INTERACTION_COUNT))


def _split(lakehouse: Lakehouse, pairs: _Pairs, config: Config) -> None:
    indexed = pairs.map(lambda frame: _indexed(lakehouse, frame))
    splits = split_pairs(
        indexed.interactions,
        config.split,
        config.seed,
        config.interactions.columns.time is not None,
        indexed.test,
        indexed.validation,
    )
    lakehouse.write("splits", splits)
    if indexed.test is not None:
        offered = sum(frame.where(c.POSITIVE).count() for frame in indexed.all()[1:])
        offered += pairs.interactions.count()
        removed = offered - lakehouse.read("splits").count()
        _log.info("%d pairs stood in more than one of train, validation and test", removed)


def _indexed(lakehouse: Lakehouse, pairs: DataFrame) -> DataFrame:
    """Pairs with indices in place of ids, and the items' ids as numbers, persisted."""
    users = lakehouse.read("user_index").select(c.USER_ID, c.USER_INDEX)
    number = F.col(c.ITEM_ID).try_cast("long").alias(c.ITEM_NUMBER)
    items = lakehouse.read("item_index").select(c.ITEM_ID, c.ITEM_INDEX, number)
    joined = pairs.join(items, on=c.ITEM_ID, how="inner").join(users, on=c.USER_ID, how="inner")
    return joined.drop(c.USER_ID, c.ITEM_ID).persist()


def _write_catalogue(lakehouse: Lakehouse, sources: _Sources) -> None:
    """All items of this run's pairs, of any fold, and those of the attribute table."""
    index = lakehouse.read("item_index").select(c.ITEM_ID, c.ITEM_INDEX)
    seen = lakehouse.read("splits").select(c.ITEM_INDEX).distinct()
    items = index.join(seen, on=c.ITEM_INDEX, how="inner").withColumn(
        "title", F.lit(None).cast("string")
    )
    if sources.items is not None:
        described = index.join(sources.items, on=c.ITEM_ID, how="inner")
        items = (
            items.unionByName(described)
            .groupBy(c.ITEM_INDEX, c.ITEM_ID)
            .agg(F.max("title").alias("title"))
        )
    lakehouse.write("catalogue", items)


def _write_matrix(lakehouse: Lakehouse, sources: _Sources) -> None:
    splits = lakehouse.read("splits")
    users = splits.select(c.USER_INDEX)
    if sources.users is not None:
        index = lakehouse.read("user_index").select(c.USER_ID, c.USER_INDEX)
        users = index.join(sources.users, on=c.USER_ID, how="inner").select(c.USER_INDEX)
    else:
        users = users.limit(0)
    lakehouse.write("user_item_matrix", user_item_matrix(splits, users))


if __name__ == "__main__":
    command_line("prepare_interactions", run, __doc__)
