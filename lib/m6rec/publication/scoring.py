"""Score: lists for the users of a table with the models of a finished run, without training."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.base import TableSource
from m6rec.config.run import Config
from m6rec.errors import TableError
from m6rec.fits.list_maker import EVENT_COLUMNS, KnownOfUsers, ListMaker, with_new_events
from m6rec.fits.sources import open_events
from m6rec.lakehouse import Lakehouse
from m6rec.publication.repeating import given_of_run, with_own_indices
from m6rec.runs import work_of_run
from m6rec.spark.failures import THROWN, in_words
from m6rec.spark.messages import keep_trace
from m6rec.spark.sources import has_column, load_source, read_source, table_of_ids
from m6rec.spark.values import id_column
from m6rec.stages.features.vectors import VectorFacts
from m6rec.stages.pairs.cleaning import Cleaned, named_users
from m6rec.stages.pairs.matrix import with_seen
from m6rec.stages.pairs.outcome import counts_by_reason

USERS, ATTRIBUTES = "--users", "--attributes"
# The key of the config whose table one of the command line has to be like.
_LIKE = {USERS: "interactions", ATTRIBUTES: "features.users"}
# What to do by the config alone.
_BY_CONFIG = re.compile(r"\bset \w|\bconfig\b")


@dataclass(frozen=True)
class GivenUsers:
    """The users who are to have lists, and what is known of them from the command line.

    Attributes:
        users: their events, with the columns of `interactions.columns`, or a table of ids.
        attributes: a table with the columns of `features.users`, whose users have lists as well. It
            counts in place of the run's own table for the users whom it has.
        with_history: whether the events that the run knows of the users count as well.
    """

    users: str
    attributes: str | None = None
    with_history: bool = False


@dataclass(frozen=True)
class Scored:
    """Lists, and what was counted on the way.

    Attributes:
        lists: columns of table `recommendations`.
        users: how many users have lists.
        unknown_users: those of them whom the run does not know.
        events: of these users that were kept.
        unknown_events: those of them whose item the run does not know.
        unknown_items: how many such items there are.
        refused: rows that cleaning refused, by reason.
        vectors: what the given attributes hold of the columns of vectors.
        kept: what the session keeps for `lists`, until `release`.
        refused_users: how many users have lists though cleaning refused all of their rows.
        nameless: rows without an id, by table, of a table of ids and of attributes.
    """

    lists: DataFrame
    users: int
    unknown_users: int
    events: int
    unknown_events: int
    unknown_items: int
    refused: dict[str, int]
    vectors: tuple[VectorFacts, ...] = ()
    kept: tuple[DataFrame, ...] = ()
    refused_users: int = 0
    nameless: dict[str, int] = field(default_factory=dict)

    def release(self) -> None:
        """Have the session forget what it has kept, once the lists are written."""
        for frame in self.kept:
            frame.unpersist()


def list_maker_of(lakehouse: Lakehouse) -> ListMaker:
    """What makes lists with the models of a finished run.

    The owner's rules, attributes and items are read as they are now.

    Raises:
        ConfigError: the run's ranker can only rank for users who were in training.
        DataError: the run is not there, has not finished, or its lists have been removed.
    """
    work = work_of_run(lakehouse)
    given = given_of_run(lakehouse, work)
    # Where the run is small, to ask Spark for its tables takes longer than to make the lists.
    own = with_own_indices(lakehouse, work).with_tables_in_memory()
    return ListMaker(own, given).with_items_read_anew()


def score(maker: ListMaker, given: GivenUsers) -> Scored:
    """Make the lists of the users of a table.

    Users of whom no event is given, or none that cleaning keeps, have the history that the run has
    learned from.

    Raises:
        TableError: a table does not exist or lacks a column.
    """
    ids, cleaned = _read_users(maker, given.users)
    refused: dict[str, int] = {}
    refused_users = 0
    kept = list[DataFrame]()
    named = {given.users: ids}
    events = None
    if cleaned is not None:
        kept.append(cleaned.labelled.persist())
        events, refused = cleaned.interactions, counts_by_reason(cleaned.quarantine)
        if refused:
            refused_users = ids.join(events.select(c.USER_ID), c.USER_ID, "left_anti").count()
    attributes = None
    if given.attributes is not None:
        attributes, named[given.attributes] = _read_attributes(maker, given.attributes)
        ids = ids.unionByName(named[given.attributes])
    users = maker.users(ids.where(_is_id()).distinct()).persist()
    history = _history(maker, users, events, given.with_history).persist()
    own = None
    if attributes is not None and given.attributes is not None:
        with _naming(ATTRIBUTES, given.attributes):
            own = maker.attributes(users, attributes)
    known = KnownOfUsers(users, history, maker.attributes(users), own)
    rows = maker.rows(known, _as_trained(users, events, given.with_history))
    if not given.with_history:
        rows = _with_left_out(maker, rows, users, events)
    lists = maker.lists(maker.inputs(rows, users), datetime.now(UTC))
    unknown = history.join(maker.items, c.ITEM_ID, "left_anti")
    counted = unknown.agg(F.count("*"), F.count_distinct(c.ITEM_ID)).collect()[0]
    return Scored(
        lists.select(F.lit(maker.fit.lakehouse.run_id).alias(c.RUN_ID), "*"),
        users.count(),
        # The index has users of later runs, too, where users have been forgotten since.
        users.join(maker.fit.matrix.select(c.USER_INDEX), c.USER_INDEX, "left_anti").count(),
        history.count(),
        counted[0],
        counted[1],
        refused,
        () if own is None else maker.facts_of_vectors(own),
        (*kept, users, history, maker.items),
        refused_users,
        {place: rows.where(~_is_id()).count() for place, rows in named.items()},
    )


def _is_id() -> Column:
    return F.trim(F.coalesce(c.USER_ID, F.lit(""))) != ""


@contextmanager
def _naming(option: str, place: str) -> Iterator[None]:
    """Name the option in what is wrong with its table.

    The run's config counts, so no change of the config would help.

    Raises:
        TableError: whatever was thrown, in words that name the option, the table and what to do.
    """
    try:
        yield
    except TableError as error:
        said = str(error).removeprefix(f"{option}: ")
    except THROWN as error:
        keep_trace(error)
        said = f"cannot read table {place}: {in_words(error)}"
    else:
        return
    said = said if place in said else f"table {place}: {said}"
    problem, _, remedy = said.rpartition("; ")
    if _BY_CONFIG.search(remedy):
        said = f"{problem}; write it as {_LIKE[option]} is written, which the run has read"
    raise TableError(f"{option}: {said}")


def _read_users(maker: ListMaker, place: str) -> tuple[DataFrame, Cleaned | None]:
    """The ids in a table of users, and its events where it has any."""
    spark, config = maker.fit.spark, maker.fit.config
    columns = config.interactions.columns
    with _naming(USERS, place):
        source, column = table_of_ids(spark, place, (columns.user, c.USER_ID))
        table = load_source(spark, source)
        if not has_column(table, columns.item):
            frame = read_source(spark, source, (column,))
            return frame.select(
                id_column(frame, column, config.interactions).alias(c.USER_ID)
            ), None
        stated = config.interactions.source.missing_values
        absent = {name: values for name, values in stated.items() if has_column(table, name)}
        cleaned = _clean(maker, source.model_copy(update={"missing_values": absent}))
        return named_users(cleaned.labelled, config.interactions), cleaned


def _clean(maker: ListMaker, source: TableSource) -> Cleaned:
    """The events of a table, like those of `interactions`."""
    config: Config = maker.fit.config
    reading = maker.events_of_run.reading
    opened = open_events(maker.fit.spark, USERS, source, config.interactions, reading)
    return maker.cleaned(opened, opened.frame)


def _history(
    maker: ListMaker, users: DataFrame, events: DataFrame | None, with_history: bool
) -> DataFrame:
    if events is None:
        return base_events(maker, users) if with_history else maker.training_events(users)
    own = events.select(*EVENT_COLUMNS)
    if with_history:
        return with_new_events(base_events(maker, users), own)
    others = users.join(events.select(c.USER_ID), c.USER_ID, "left_anti")
    return own.unionByName(maker.training_events(others))


def _as_trained(users: DataFrame, events: DataFrame | None, with_history: bool) -> DataFrame | None:
    """user_index of the users of whom nothing counts but what the run has learned from."""
    if with_history:
        return None
    if events is None:
        return users.select(c.USER_INDEX)
    return users.join(events.select(c.USER_ID), c.USER_ID, "left_anti").select(c.USER_INDEX)


def _with_left_out(
    maker: ListMaker, rows: DataFrame, users: DataFrame, events: DataFrame | None
) -> DataFrame:
    """The rows with what users have seen whom a minimum of interactions has left out of the run.

    Those in the run have rows with what it has left out of their own.
    """
    if not maker.fit.config.masks_what_minima_leave_out:
        return rows
    left_out = users.join(maker.fit.matrix.select(c.USER_INDEX), c.USER_INDEX, "left_anti")
    if events is not None:
        left_out = left_out.join(events.select(c.USER_ID), c.USER_ID, "left_anti")
    own = base_events(maker, left_out).select(c.USER_ID, c.ITEM_ID)
    return with_seen(rows, own.join(maker.items, c.ITEM_ID).join(left_out, c.USER_ID))


def base_events(maker: ListMaker, users: DataFrame) -> DataFrame:
    """All events that the run has of the users, whatever fold they were in."""
    events = maker.fit.lakehouse.read("interactions").select(*EVENT_COLUMNS)
    return events.join(users.select(c.USER_ID), c.USER_ID, "left_semi")


def _read_attributes(maker: ListMaker, place: str) -> tuple[DataFrame, DataFrame]:
    """A table of users' attributes, and the ids in it."""
    spark, config = maker.fit.spark, maker.fit.config
    source = config.features.users
    if source is None:
        raise TableError(
            f"run {maker.fit.lakehouse.run_id} knows no attributes of users: its config has no"
            f" features.users; leave out --attributes {place}"
        )
    with _naming(ATTRIBUTES, place):
        table, _ = table_of_ids(spark, place, (source.id,))
        own = table.model_copy(update={"missing_values": source.source.missing_values})
        frame = read_source(spark, own, (source.id, *source.stated_kinds))
        ids = frame.select(id_column(frame, source.id, config.interactions).alias(c.USER_ID))
        return frame, ids
