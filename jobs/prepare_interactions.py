"""Clean the owner's interactions, number users and items, split, and write the matrix.

The owner's tables are those that the sections interactions, split and features of the config name.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.data import InteractionsConfig
from m6rec.config.run import Config
from m6rec.fits.events_of_run import write_events_of_run
from m6rec.fits.fit import Fit
from m6rec.fits.sources import INTERACTIONS, Events, Sources, open_sources
from m6rec.job_records import PREPARE_INTERACTIONS
from m6rec.lakehouse import Lakehouse
from m6rec.runs import Job
from m6rec.spark.runtimes import cast_or_null
from m6rec.spark.session import queries_over
from m6rec.spark.values import domain_of
from m6rec.stages.pairs.aggregation import (
    aggregate_folds,
    aggregate_pairs,
    occasions_of_held_out,
    occasions_of_pairs,
)
from m6rec.stages.pairs.cleaning import (
    FUTURE_TIME,
    OF_TIMES,
    Cleaned,
    check_counts,
    clean_interactions,
    without_times,
)
from m6rec.stages.pairs.indexing import extend_index
from m6rec.stages.pairs.matrix import with_seen
from m6rec.stages.pairs.outcome import (
    check_new_items,
    check_split,
    counts_by_reason,
    counts_by_suspicion,
    hours_ahead,
    in_a_line,
    refuse_empty,
)
from m6rec.stages.pairs.splitting import split_users
from m6rec.stages.pairs.user_rows import matrix_of, pairs_of, user_rows

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pairs:
    """The user-item pairs of each source, by user_id and item_id or by their dense indices.

    Attributes:
        interactions, test, validation: of the owner's tables.
        untimed: user_id, item_id of the interactions that were refused for their time alone; None
            where there are none.
    """

    interactions: DataFrame
    test: DataFrame | None
    validation: DataFrame | None
    untimed: DataFrame | None

    def all(self) -> list[DataFrame]:
        """The tables of pairs that the owner gave."""
        frames = (self.interactions, self.test, self.validation)
        return [frame for frame in frames if frame is not None]

    def map(self, function: Callable[[DataFrame], DataFrame]) -> "_Pairs":
        """Each of them through `function`."""
        return _Pairs(
            function(self.interactions),
            None if self.test is None else function(self.test),
            None if self.validation is None else function(self.validation),
            self.untimed,
        )


def run(lakehouse: Lakehouse, config: Config, fits: Sequence[str] = c.FITS) -> None:
    """Prepare the interactions of a run; without the selection fit, no validation is held out.

    Raises:
        TableError: a source is missing, lacks a column or has one of a wrong type; raised
            before any compute.
        DataError: rows were lost, or no interaction was left.
    """
    sources = open_sources(lakehouse.spark, config)
    rows = {events.label: events.frame.count() for events in sources.events()}
    try:
        with queries_over(lakehouse.spark, sum(rows.values())):
            pairs = _clean(lakehouse, sources, config, rows)
            _extend_indices(lakehouse, pairs, sources, config)
            users = _split(lakehouse, pairs, sources, config, fits)
            _write_catalogue(lakehouse, sources, config)
            final = Fit(lakehouse, config, c.FINAL)
            write_events_of_run(final, sources.interactions.reading)
            matrix = matrix_of(users, fits)
            for events in _seen_besides(lakehouse, sources, config, pairs.untimed):
                matrix = with_seen(matrix, _left_out(lakehouse, events))
            lakehouse.write("user_item_matrix", matrix)
    finally:
        # The stages persist what they read twice.
        lakehouse.spark.catalog.clearCache()


def _clean(
    lakehouse: Lakehouse, sources: Sources, config: Config, rows: Mapping[str, int]
) -> _Pairs:
    """Write interactions and quarantine, check their counts, and combine events to pairs."""
    are_ratings = config.ratings.enabled
    cleaned = {events.label: _clean_one(events, are_ratings) for events in sources.events()}
    lakehouse.write("interactions", cleaned[INTERACTIONS].interactions)
    reasons = _check_cleaning(lakehouse, sources, cleaned, rows)
    return _Pairs(
        aggregate_pairs(lakehouse.read("interactions"), sources.interactions.config, are_ratings),
        _held_out_pairs(sources.test, cleaned, are_ratings),
        _held_out_pairs(sources.validation, cleaned, are_ratings),
        _untimed(cleaned[INTERACTIONS], sources.interactions.config, reasons),
    ).map(lambda frame: frame.persist())


def _clean_one(events: Events, are_ratings: bool) -> Cleaned:
    cleaned = clean_interactions(
        events.frame,
        events.config,
        datetime.now(UTC),
        events.version,
        events.reading,
        are_ratings,
        in_whole_rows=events.drops_malformed,
    )
    if cleaned.follows_labelled:
        cleaned.labelled.persist()
    elif events.label != INTERACTIONS:
        # Those of the main table are read where they have been written.
        cleaned.interactions.persist()
    return cleaned


def _check_cleaning(
    lakehouse: Lakehouse, sources: Sources, cleaned: dict[str, Cleaned], rows: Mapping[str, int]
) -> dict[str, int]:
    """Write what was refused; check that no row was lost between sources and what is written.

    Returns:
        How many rows were refused, by reason.
    """
    rows_in = sum(
        _rows_in(events, cleaned[events.label], rows[events.label]) for events in sources.events()
    )
    written = lakehouse.read("interactions").count()
    held_out = sum(
        table.interactions.count() for label, table in cleaned.items() if label != INTERACTIONS
    )
    reasons = {}
    if rows_in == written + held_out:
        # Nothing was refused, and to find this anew would take a pass over all rows.
        lakehouse.write_rows("quarantine", [])
    else:
        reasons = _write_quarantine(lakehouse, cleaned, with_duplicates=False)
    if rows_in > written + held_out + sum(reasons.values()):
        reasons = _write_quarantine(lakehouse, cleaned, with_duplicates=True)
    quarantined = sum(reasons.values())
    _log.info("%d rows in, %d kept, %d quarantined", rows_in, written + held_out, quarantined)
    check_counts(rows_in, written + held_out, quarantined)
    if reasons:
        print(f"{quarantined} rows went to quarantine: {in_a_line(reasons)}", flush=True)
    suspicious = sources.interactions.config.suspicious_users
    if suspicious.action == "weight":
        counts = counts_by_suspicion(cleaned[INTERACTIONS].labelled)
        print(
            f"{sum(counts.values())} rows weigh {suspicious.weight:g} times as much:"
            f" {in_a_line(counts) or 'none'}",
            flush=True,
        )
    hours = hours_ahead(cleaned[INTERACTIONS].judged) if FUTURE_TIME in reasons else None
    if hours is not None:
        _log.warning(
            "times lie up to %.1f hours in the future; where they have no zone, set"
            " interactions.time_zone to theirs, such as Asia/Tokyo",
            hours,
        )
    if written == 0:
        refuse_empty(lakehouse.read("quarantine"), reasons, lakehouse.address("quarantine"))
    return reasons


def _untimed(
    cleaned: Cleaned, config: InteractionsConfig, reasons: Mapping[str, int]
) -> DataFrame | None:
    if not reasons.keys() & {*OF_TIMES}:
        # To look for such rows would take a pass over all.
        return None
    return without_times(cleaned.labelled if cleaned.follows_labelled else cleaned.judged, config)


def _write_quarantine(
    lakehouse: Lakehouse, cleaned: dict[str, Cleaned], with_duplicates: bool
) -> dict[str, int]:
    """Write the refused rows of all tables; return how many there are by reason.

    Most tables have no exact duplicates, and to find them takes a sort of all rows. The reason of a
    held-out table's row names the table.
    """
    frames = []
    for label, table in cleaned.items():
        is_whole = with_duplicates or table.follows_labelled
        frame = table.quarantine if is_whole else table.refused
        if label != INTERACTIONS:
            reason = F.concat(F.lit(f"{label}: "), c.REASON).alias(c.REASON)
            frame = frame.select(c.RAW, reason, c.SOURCE_VERSION)
        frames.append(frame)
    lakehouse.write("quarantine", reduce(DataFrame.unionByName, frames))
    return counts_by_reason(lakehouse.read("quarantine"))


def _rows_in(events: Events, cleaned: Cleaned, rows: int) -> int:
    """How many rows a source has, without malformed ones where the owner has these dropped."""
    if not events.drops_malformed:
        return rows
    # Spark counts a row that it does not parse, and then drops it where its values are needed.
    parsed = cleaned.labelled.count()
    print(
        f"{events.label}: {rows - parsed} malformed rows were dropped, as options.mode"
        " DROPMALFORMED says",
        flush=True,
    )
    return parsed


def _held_out_pairs(
    events: Events | None, cleaned: dict[str, Cleaned], are_ratings: bool
) -> DataFrame | None:
    if events is None:
        return None
    return aggregate_pairs(cleaned[events.label].interactions, events.config, are_ratings)


def _extend_indices(lakehouse: Lakehouse, pairs: _Pairs, sources: Sources, config: Config) -> None:
    for name, id_name, index_name, attributes in (
        ("user_index", c.USER_ID, c.USER_INDEX, sources.users),
        ("item_index", c.ITEM_ID, c.ITEM_INDEX, sources.items),
    ):
        # Numbers follow on all that are given, also in a run that reads an index as it once was.
        latest = lakehouse.version(name) if lakehouse.exists(name) else None
        existing = None if latest is None else lakehouse.read(name, latest)
        counted = _counted_ids(pairs, attributes, id_name)
        if id_name == c.ITEM_ID and config.holds_out_items:
            # The split holds out whole items: the order of their indices would reveal how popular
            # they are in what is held out, so that all counts are 0.
            counted = counted.withColumn(c.INTERACTION_COUNT, F.lit(0).cast("long"))
        new = extend_index(counted, existing, id_name, index_name)
        lakehouse.append_new(name, new, (id_name,), number=index_name)


def _counted_ids(pairs: _Pairs, attributes: DataFrame | None, id_name: str) -> DataFrame:
    """Each id of this run with its number of pairs, in the owner's interactions alone.

    Ties in lists go by index, so pairs of held-out tables do not count. A split of the run's own is
    made after this, and its held-out pairs do: items that a ranker scores alike, as those that a
    sparse one does not score at all, stand in the order of their popularity in all interactions.
    """
    held_out = [frame.select(id_name, F.lit(0).alias("n")) for frame in pairs.all()[1:]]
    counted = [pairs.interactions.select(id_name, F.lit(1).alias("n")), *held_out]
    if attributes is not None:
        counted.append(attributes.select(id_name, F.lit(0).alias("n")))
    together = counted[0]
    for frame in counted[1:]:
        together = together.unionByName(frame)
    return together.groupBy(id_name).agg(F.sum("n").alias(c.INTERACTION_COUNT))


def _split(
    lakehouse: Lakehouse, pairs: _Pairs, sources: Sources, config: Config, fits: Sequence[str]
) -> DataFrame:
    """Write splits; return the rows of users that the matrix is made of."""
    repeats = config.ranks_repeats
    if repeats:
        events = lakehouse.read("interactions")
        occasions = occasions_of_pairs(
            events, pairs.interactions, config.interactions, config.ratings.enabled
        )
        pairs = replace(pairs.map(occasions_of_held_out), interactions=occasions)
    indexed = pairs.map(lambda frame: _indexed(lakehouse, frame))
    given = _users_with_attributes(lakehouse, sources)
    users = split_users(
        indexed.interactions,
        config.split,
        config.seed,
        config.interactions.columns.time is not None,
        indexed.test,
        indexed.validation,
        repeats,
        c.SELECTION in fits,
        () if repeats else fits,
        None if repeats else given,
    )
    if repeats:
        folds = aggregate_folds(pairs_of(users), config.interactions, config.ratings.enabled)
        users = user_rows(folds, (), fits, given)
    users = users.persist()
    lakehouse.write("splits", pairs_of(users))
    check_split(lakehouse.read("splits"), config.interactions, config.split)
    if config.evaluate.ranks_cold_items:
        check_new_items(lakehouse.read("splits"))
    if indexed.test is not None and not repeats:
        offered = sum(frame.where(c.POSITIVE).count() for frame in indexed.all()[1:])
        offered += pairs.interactions.count()
        removed = offered - lakehouse.read("splits").count()
        _log.info("%d pairs stood in more than one of train, validation and test", removed)
    return users


def _users_with_attributes(lakehouse: Lakehouse, sources: Sources) -> DataFrame | None:
    if sources.users is None:
        return None
    index = lakehouse.read("user_index").select(c.USER_ID, c.USER_INDEX)
    return index.join(sources.users, on=c.USER_ID, how="inner").select(c.USER_INDEX)


def _seen_besides(
    lakehouse: Lakehouse, sources: Sources, config: Config, untimed: DataFrame | None
) -> Iterator[DataFrame]:
    """Tables with user_id, item_id of events beside the pairs that lists leave out for the user."""
    if untimed is not None and config.recommend.rules.masks_disliked:
        yield untimed
    others = (sources.users, sources.items, sources.test, sources.validation)
    # Users and items that a minimum leaves out are in lists where other tables have them, too.
    if config.masks_what_minima_leave_out and any(one is not None for one in others):
        yield lakehouse.read("interactions")


def _left_out(lakehouse: Lakehouse, events: DataFrame) -> DataFrame:
    """user_index, item_index of the events of which no pair was made, where lists know both."""
    users = lakehouse.read("user_index").select(c.USER_ID, c.USER_INDEX)
    items = lakehouse.read("catalogue").select(c.ITEM_ID, c.ITEM_INDEX)
    keys = [c.USER_INDEX, c.ITEM_INDEX]
    indexed = events.join(items, c.ITEM_ID).join(users, c.USER_ID).select(keys)
    return indexed.join(lakehouse.read("splits"), keys, how="left_anti")


def _indexed(lakehouse: Lakehouse, pairs: DataFrame) -> DataFrame:
    """Pairs with indices in place of ids, and the items' ids as numbers."""
    users = lakehouse.read("user_index").select(c.USER_ID, c.USER_INDEX)
    # Where there are domains, numbers of different ones say nothing of each other.
    number = cast_or_null(F.col(c.ITEM_ID), "long").alias(c.ITEM_NUMBER)
    items = lakehouse.read("item_index").select(c.ITEM_ID, c.ITEM_INDEX, number)
    joined = pairs.join(items, on=c.ITEM_ID, how="inner").join(users, on=c.USER_ID, how="inner")
    return joined.drop(c.USER_ID, c.ITEM_ID)


def _write_catalogue(lakehouse: Lakehouse, sources: Sources, config: Config) -> None:
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
    domain = F.lit(None).cast("string")
    if config.interactions.columns.domain is not None:
        domain = domain_of(F.col(c.ITEM_ID))
    lakehouse.write("catalogue", items.withColumn(c.DOMAIN, domain))


JOB = Job(PREPARE_INTERACTIONS, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
