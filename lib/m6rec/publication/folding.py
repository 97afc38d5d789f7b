"""Fold events that come after training into the published lists, as they come.

A batch of events names the users whom it touches. Their whole history, of which the batch is a
part, is read again and ranked by the function that ranks in batch, and the lists take the place of
the published ones in one commit. That commit also records the batch, so that a batch that is
repeated after a kill changes nothing. Where another run has been published, the users with events
that it has not learned from are listed anew with its models.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from threading import RLock

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from m6rec import columns as c
from m6rec.config.base import TableSource
from m6rec.config.run import INTERACTIONS_SOURCE, Config, sources_of
from m6rec.errors import ConfigError, DataError, M6RecError, TableError
from m6rec.fingerprints import fingerprint_of
from m6rec.fits.list_maker import KnownOfUsers, events_not_in, with_new_events
from m6rec.fits.sources import columns_of_events
from m6rec.job_records import FOLD_IN
from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.publication.followed_events import FollowedEvents
from m6rec.publication.following import Followed
from m6rec.publication.publishing import publications, run_of_note
from m6rec.publication.replacing import PublishedLists, frame_of_users
from m6rec.publication.scoring import list_maker_of
from m6rec.runs import is_made_anew, sources_of_run, users_forgotten_since, work_of_run
from m6rec.schemas import FOLD_IN_BATCHES_TABLE, RUNS_TABLE
from m6rec.spark.deletion_vectors import RowsOfKeys
from m6rec.spark.failures import CHANGE_FEED, THROWN, following_table, unforeseen
from m6rec.spark.local_delta import Condition
from m6rec.spark.messages import keep_trace, say
from m6rec.spark.places import matching, place_of
from m6rec.spark.runtimes import arrow_table, frame_of_arrow
from m6rec.spark.session import queries_over, queries_over_few
from m6rec.spark.sources import (
    has_change_feed,
    inferred_format,
    session_for_sources,
    source_version,
    with_columns,
)
from m6rec.spark.values import owner_column
from m6rec.stages.pairs.cleaning import judged_by_themselves

CATCHING_UP = -1
_SECONDS_BETWEEN_DISTANCES = 60.0
_SECONDS_BETWEEN_RULES = 60.0
# To rank by other items, all models of the run are read again.
_SECONDS_BETWEEN_ITEMS = 600.0
# A table of rules that has no versions is read as often as this.
_SECONDS_OF_A_RULE = 600.0
_ARRIVED, _EVENT = "_arrived", "_event"
# The same change in two commits counts as two events. So the hash by which events are compared
# includes the version of the commit, and leaves out only its time.
_NOT_OF_THE_EVENT = frozenset({"_commit_timestamp"})
# These keys decide how events are combined into a history, which is done by each run's own
# configuration. They do not affect how an event is judged by itself, so that runs which one stream
# follows may differ in them.
_OF_HISTORIES = {
    "source",
    "duplicates",
    "weighting",
    "half_life_days",
    "positive_minimum",
    "minimum_user_interactions",
    "minimum_item_interactions",
    "maximum_events_per_user_per_day",
    "suspicious_users",
}


@dataclass(frozen=True)
class _Made:
    """What is counted of a batch's users: how many are new, and how far the others have moved."""

    new_users: int
    distance: float | None


class FoldIn:
    """Folds batches of events into the published lists of a lake.

    One thread at a time folds: that of the stream, or one that looks for a new publication.

    Attributes:
        lakehouse, config: as they were given.
        published: the lists that readers see.
        batches_between_compactions: after so many batches their small files are compacted.
        users_in_driver: up to so many users are ranked in the driver, because sending them to tasks
            takes longer.
    """

    batches_between_compactions = 100
    users_in_driver = 10_000

    def __init__(self, lakehouse: Lakehouse, config: Config) -> None:
        """Read nothing yet.

        Args:
            lakehouse: the lake; its run id is not used.
            config: where events are, and how often they are looked at.
        """
        self.lakehouse = lakehouse
        self.config = config
        self.published = PublishedLists(lakehouse)
        self._followed: Followed | None = None
        self._events: dict[int, FollowedEvents] = {}
        # The version of the published table when the followed run was found in it.
        self._version = -1
        self._version_of_runs = -1
        self._caught_up: set[int] = set()
        self._begins = False
        self._may_repeat = True
        self._batches = 0
        # How the stream cleans events, once it has been built.
        self._cleaned_by: str | None = None
        self._next_distance = 0.0
        # The tables of rules that lists follow, and when to look at them again.
        self._rules: tuple[int, ...] = ()
        self._next_rules = 0.0
        # When to look again for items that came after the run.
        self._next_items = 0.0
        self._lock = RLock()

    @property
    def spark(self) -> SparkSession:
        """The session."""
        return self.lakehouse.spark

    @property
    def source(self) -> TableSource:
        """The table of events, as it is at any moment."""
        given = self.config.fold_in.source or self.config.interactions.source
        return given.model_copy(update={"version": None, "timestamp": None})

    @property
    def checkpoint(self) -> str:
        """The folder in which the stream keeps what it has read."""
        place = fingerprint_of(self.source.model_dump(mode="json"))[:16]
        # A stream of changes has another checkpoint than one of appended rows, so that a switch
        # from one to the other begins after what the run has read.
        of_changes = "-changes" if self.config.fold_in.change_feed else ""
        return self.lakehouse.for_run(FOLD_IN.name).artifact_path(f"{place}{of_changes}")

    def start(self, once: bool) -> StreamingQuery:
        """Begin, or go on where the last query of this lake and table ended.

        Args:
            once: whether to stop when all events that are there now have been folded in.

        Raises:
            ConfigError: the lake is a schema of the catalogue.
            DataError: no run has been published.
            TableError: the events are not in a Delta table, or it lacks a column.
        """
        self.check()
        if self.config.fold_in.deletion_vectors and self.lakehouse.exists(PUBLISHED):
            self.published.enable_deletion_vectors()
        # A stream that was killed in its first batch has an offset, and begins again.
        self._begins = not matching(self.spark, self.checkpoint, "commits/[0-9]*")
        events = self._stream(self.follow())
        writer = events.writeStream.foreachBatch(self._fold_batch)
        writer = writer.option("checkpointLocation", self.checkpoint).queryName("fold_in")
        if once:
            writer = writer.trigger(availableNow=True)
        else:
            writer = writer.trigger(processingTime=f"{self.config.fold_in.seconds} seconds")
        return writer.start()

    @contextmanager
    def saying_why_it_ends(self) -> Iterator[None]:
        """Say of a stream that ends in this block why it cannot go on, and what to do.

        Raises:
            DataError: the followed table was replaced, changed or vacuumed.
        """
        remove = f"remove the folder {self.checkpoint}, and start the job again"
        anew = f"{remove}: it then reads the table as it is now"
        after_a_run = f"publish a new run, {remove}: it then begins after what that run has read"
        from_now = after_a_run if self._follows_own_table else anew
        with following_table(self.source, anew, from_now):
            yield

    @contextmanager
    def session_for_batches(self) -> Iterator[None]:
        """Set the session for events, for batches of few users, and for all published lists."""
        lists = 0
        if self.lakehouse.exists(PUBLISHED):
            lists = self.lakehouse.delta_table(PUBLISHED).toDF().count()
        with (
            session_for_sources(self.spark),
            queries_over_few(self.spark),
            queries_over(self.spark, lists),
        ):
            yield

    def follow(self) -> Followed:
        """The published run; its models are read again where another run has been published.

        Raises:
            ConfigError: its ranker can only rank for users who were in training.
            DataError: no run has been published.
        """
        version = self.lakehouse.version(PUBLISHED) if self.lakehouse.exists(PUBLISHED) else -1
        if self._followed is not None and version == self._version:
            return self._followed
        if self._followed is not None and not self._published_since(version):
            self._version = version
            return self._followed
        run_id, publication = self._publication()
        self._version = version
        if self._followed is None or self._followed.publication != publication:
            if self._followed is not None:
                self._followed.let_go()
            self._followed = Followed(publication, list_maker_of(self.lakehouse.for_run(run_id)))
            self._refuse_other_cleaning(self._followed)
            # The versions are taken before the rules are read, which may change from now on.
            self._rules = self._versions_of_rules(self._followed)
            self._next_rules = time.monotonic() + _SECONDS_BETWEEN_RULES
            self._next_items = time.monotonic() + _SECONDS_BETWEEN_ITEMS
            print(f"fold_in: following run {run_id}", flush=True)
        return self._followed

    def _refuse_other_cleaning(self, followed: Followed) -> None:
        """Stop where the run reads events otherwise than the stream does since its start."""
        if self._cleaned_by not in {None, _cleaning_of(followed)}:
            raise DataError(
                "the run that has been published reads events by another configuration"
                " (interactions or ratings.enabled) than the one before it; start the job again"
            )

    def catch_up(self) -> Followed:
        """List the users anew who have events that the published run has not learned from.

        Nothing is done where that has been done since the run was published.

        Returns:
            The published run.

        Raises:
            DataError: users have been forgotten since its histories were read.
        """
        with self._lock:
            while True:
                followed = self.follow()
                self._refuse_after_forgetting(followed)
                if followed.publication in self._caught_up:
                    return followed
                if not self._is_recorded(CATCHING_UP, followed.publication):
                    # A stream that begins reads all that the run has not learned from.
                    users = [] if self._begins else self._late_users(followed)
                    self._fold_into(followed, CATCHING_UP, users, [], {})
                self._begins = False
                if self.follow() is followed:
                    self._caught_up.add(followed.publication)

    def _refuse_after_forgetting(self, followed: Followed) -> None:
        """Stop where executors may still hold the history of somebody who was forgotten since."""
        if not self.lakehouse.exists(RUNS_TABLE.name):
            return
        version = self.lakehouse.version(RUNS_TABLE.name)
        if version == self._version_of_runs:
            return
        if users_forgotten_since(self.lakehouse, followed.since):
            raise DataError(
                "users have been forgotten since this job read the histories of the published run,"
                " and it still holds them; start the job again"
            )
        self._version_of_runs = version

    def _events_for(self, followed: Followed) -> FollowedEvents:
        """The events of the followed table as this run would clean them."""
        known = self._events.get(followed.publication)
        if known is None:
            first = self._first_version(followed)
            known = FollowedEvents(self.spark, self.source, followed.maker, first)
            self._events = {followed.publication: known}
        return known

    @cached_property
    def _query_id(self) -> str:
        """The id that the stream keeps for as long as its checkpoint is there."""
        return str(
            json.loads(place_of(self.spark, f"{self.checkpoint}/metadata").read_text())["id"]
        )

    def _late_users(self, followed: Followed) -> list[str]:
        late = events_not_in(self._events_for(followed).of_all(), followed.base)
        ids: list[str] = arrow_table(late.select(c.USER_ID).distinct()).column(0).to_pylist()
        return ids

    def check(self) -> None:
        """Refuse a lake or a table that cannot be followed.

        Raises:
            ConfigError: the lake is a schema of the catalogue.
            TableError: the events are not in a Delta table, or the table lacks the change data feed
                that fold_in.change_feed asks for.
        """
        if not self.lakehouse.by_path:
            raise ConfigError(
                f"lake {self.lakehouse.location} is a schema of the catalogue, whose published"
                " lists are views; fold_in changes the table published/recommendations of a lake"
                " by path"
            )
        source = self.source
        is_delta = source.path is None or inferred_format(self.spark, source) == "delta"
        if not is_delta or source_version(self.spark, source) is None:
            raise TableError(
                f"{source.name} is no Delta table, and only such a table can be followed; name the"
                " Delta table to which events are appended in fold_in.source"
            )
        if self.config.fold_in.change_feed and not has_change_feed(self.spark, source):
            raise TableError(
                f"{source.name} has no change data feed, which fold_in.change_feed: true follows;"
                f" set the table's property {CHANGE_FEED} to true and publish a run that has read"
                " the table since, or leave fold_in.change_feed false"
            )

    def _stream(self, followed: Followed) -> DataFrame:
        """The users and items of new events, each event once, with the reason to refuse it."""
        settings, source = self.config.fold_in, self.source
        reader = self.spark.readStream.format("delta")
        reader = reader.option("maxFilesPerTrigger", settings.files_per_batch)
        if settings.change_feed:
            reader = reader.option("readChangeFeed", "true")
        else:
            reader = reader.option("skipChangeCommits", "true")
        own_events = self._events_for(followed)
        start = own_events.first_version if self._begins else None
        if start is not None:
            reader = reader.option("startingVersion", start)
        frame = reader.table(source.table) if source.table else reader.load(source.path)
        opened = own_events.opened()
        events = with_columns(frame, source, columns_of_events(opened.config), "fold_in.source")
        if settings.watermark_hours > 0:
            own = [name for name in events.columns if name not in _NOT_OF_THE_EVENT]
            # The watermark goes by the time of arrival, so that no event is too late. Events are
            # compared by a hash, since the stream's state lies in the lake and must hold no id.
            arrived = {_ARRIVED: F.current_timestamp(), _EVENT: F.xxhash64(*map(owner_column, own))}
            timed = events.withColumns(arrived)
            timed = timed.withWatermark(_ARRIVED, f"{settings.watermark_hours} hours")
            events = timed.dropDuplicatesWithinWatermark([_EVENT])
        # To build the query that cleans takes longer than to run it on a batch, so it is built
        # once, for the whole stream.
        judged = judged_by_themselves(
            events,
            opened.config,
            F.current_timestamp(),
            opened.reading,
            followed.maker.fit.config.ratings.enabled,
        )
        self._cleaned_by = _cleaning_of(followed)
        return judged.select(c.USER_ID, c.ITEM_ID, c.REASON)

    @property
    def _follows_own_table(self) -> bool:
        """Whether the followed table is the one that runs read."""
        followed, own = self.source, self.config.interactions.source
        return (followed.path, followed.table) == (own.path, own.table)

    def _first_version(self, followed: Followed) -> int | None:
        """The version after that which the run has read; None where the whole table is to be read.

        That is a table which runs do not read, or one made anew since the run read it.
        """
        if not self._follows_own_table:
            return None
        own = followed.maker.fit.lakehouse
        work = work_of_run(own)
        read = sources_of_run(own, self.config, work).get(INTERACTIONS_SOURCE)
        latest = source_version(self.spark, self.source)
        if read is None or latest is None:
            return None
        is_the_same = is_made_anew(self.spark, self.source, read, work) is False
        return min(read + 1, latest) if is_the_same else None

    def _published_since(self, version: int) -> bool:
        """Whether there may be a publication among the commits up to a version that are new."""
        latest = self.lakehouse.delta_table(PUBLISHED).history(max(version - self._version, 1))
        rows = latest.select("version", "userMetadata").collect()
        # A table that was made anew, or whose log has been cleaned, is looked at as a whole.
        followed_on = version > self._version and {row["version"] for row in rows} >= set(
            range(self._version + 1, version + 1)
        )
        return not followed_on or any(run_of_note(row["userMetadata"]) for row in rows)

    def _publication(self) -> tuple[str, int]:
        """The run that the published table holds, and the version that its publication made."""
        if not self.lakehouse.exists(PUBLISHED):
            raise DataError(
                f"no run has been published in {self.lakehouse.location}; run the pipeline first"
            )
        commits = self.lakehouse.delta_table(PUBLISHED).history()
        noted = commits.where(F.col("userMetadata").isNotNull()).orderBy(F.desc("version"))
        for row in noted.select("version", "userMetadata").collect():
            run_id = run_of_note(row["userMetadata"])
            if run_id is not None:
                return run_id, int(row["version"])
        last = publications(self.lakehouse)[-1]
        return last.run_id, int(last.version or 0)

    def _fold_batch(self, batch: DataFrame, batch_id: int) -> None:
        events = arrow_table(batch)
        # The users of refused events are listed anew, too: a refused event may have been updated
        # from one that was kept.
        users = events.column(c.USER_ID).unique().drop_null().to_pylist()
        refused = Counter(events.column(c.REASON).drop_null().to_pylist())
        kept = events.filter(pc.is_null(events.column(c.REASON)))
        with self._lock:
            self._fold(batch_id, users, kept.column(c.ITEM_ID).to_pylist(), refused)
            self._compact()

    def _fold(
        self,
        batch_id: int,
        users: Sequence[str],
        items: Sequence[str],
        refused: Mapping[str, int],
    ) -> None:
        """List users anew, and once more if another run is published meanwhile.

        Args:
            batch_id: of the batch.
            users: of its events.
            items: of its events that cleaning keeps.
            refused: how many events it refuses, by reason.
        """
        while True:
            followed = self._with_items_read_anew(self.catch_up())
            self._follow_rules(followed)
            self._fold_into(followed, batch_id, users, items, refused)
            self._may_repeat = False
            if self.follow() is followed:
                return

    def _with_items_read_anew(self, followed: Followed) -> Followed:
        """The followed run with the items that the owner's table has now, once in a while."""
        source = followed.maker.fit.config.features.items
        if source is None or time.monotonic() < self._next_items:
            return followed
        self._next_items = time.monotonic() + _SECONDS_BETWEEN_ITEMS
        maker = followed.maker.with_items_read_anew()
        if maker is not followed.maker:
            followed.maker.items.unpersist()
            followed = self._followed = followed.with_maker(maker)
        return followed

    def _follow_rules(self, followed: Followed) -> None:
        """Have rules read again, once in a while, where their tables have changed."""
        if time.monotonic() < self._next_rules:
            return
        self._next_rules = time.monotonic() + _SECONDS_BETWEEN_RULES
        try:
            versions = self._versions_of_rules(followed)
            if versions != self._rules:
                followed.maker.read_rules_anew()
            self._rules = versions
        except (M6RecError, *THROWN) as error:
            # A table may be empty, or written anew, for a moment.
            keep_trace(error)
            found = str(error) if isinstance(error, M6RecError) else unforeseen(error)
            say("warning", f"{found}; lists follow the rules as they were read before")

    def _versions_of_rules(self, followed: Followed) -> tuple[int, ...]:
        """A number for each table that the rules of lists are read from, which changes with it."""
        config = followed.maker.fit.config
        named = {"recommend.rules.allowed_items", "recommend.rules.excluded_items"}
        if config.recommend.item_columns():
            named.add("features.items")
        tables = [one for key, one, _ in sources_of(config) if key in named]
        versions = [source_version(self.spark, table) for table in tables]
        period = -int(time.monotonic() // _SECONDS_OF_A_RULE) - 1
        return tuple(period if version is None else version for version in versions)

    def _fold_into(
        self,
        followed: Followed,
        batch_id: int,
        users: Sequence[str],
        items: Sequence[str],
        refused: Mapping[str, int],
    ) -> None:
        events = len(items) + sum(refused.values())
        started_at = datetime.now(UTC)
        made = self._replace_lists(followed, batch_id, users) if users else _Made(0, None)
        row = {
            "query_id": self._query_id,
            "batch_id": batch_id,
            "publication": followed.publication,
            "events": events,
            "refused": sum(refused.values()),
            c.USERS: len(users),
            "new_users": made.new_users,
            "items_without_factors": _share_outside(items, followed.seen_items),
            "distance": made.distance,
            "version": self.lakehouse.version(PUBLISHED),
            "started_at": started_at,
            "finished_at": datetime.now(UTC),
        }
        # Only the first batch after a start can be one that was folded in before.
        if not self._may_repeat or not self._is_recorded(batch_id, followed.publication):
            own = self.lakehouse.for_run(followed.run_id)
            own.append_rows(FOLD_IN_BATCHES_TABLE.name, [row])
        seconds = (datetime.now(UTC) - started_at).total_seconds()
        name = "catching up" if batch_id == CATCHING_UP else f"batch {batch_id}"
        print(
            f"fold_in: {name}: {events} events{_refusals(refused)}, lists of {len(users)} users"
            f" in {seconds:.1f} s{self._passed_over(batch_id, events)}",
            flush=True,
        )

    def _passed_over(self, batch_id: int, events: int) -> str:
        """What became of commits that have brought no event."""
        if events or batch_id == CATCHING_UP or self.config.fold_in.change_feed:
            return ""
        return (
            " (a commit that changes or deletes rows, or writes the table anew, is passed over;"
            " fold_in.change_feed: true follows it)"
        )

    def _replace_lists(self, followed: Followed, batch_id: int, users: Sequence[str]) -> "_Made":
        maker, are_few = followed.maker, len(users) <= self.users_in_driver
        lists: DataFrame | pa.Table
        old = self.published.rows_of_users(users) if are_few else None
        followed.keep_histories()
        with ExitStack() as stack, ThreadPoolExecutor(1) as background:
            if are_few:
                stack.enter_context(queries_over_few(self.spark, tasks=1))
            if old is not None:
                background.submit(old.find)
            inputs, new_users = self._inputs(followed, users, are_few)
            if are_few:
                held = arrow_table(inputs)
                lists = maker.lists_here(inputs, held, datetime.now(UTC))
            else:
                stack.callback(inputs.persist().unpersist)
                held = arrow_table(inputs.limit(self.users_in_driver))
                lists = maker.lists(inputs, datetime.now(UTC))
            distance = background.submit(self._distance, followed, held)
            self._commit(followed, batch_id, lists, users, old)
            return _Made(new_users, distance.result())

    def _inputs(
        self, followed: Followed, users: Sequence[str], are_few: bool
    ) -> tuple[DataFrame, int]:
        """What ranking reads of the users, and how many of them the run does not know."""
        maker, followed_events = followed.maker, self._events_for(followed)
        with ThreadPoolExecutor(1) as background:
            of_users = followed_events.of_few if are_few else followed_events.of_many
            cleaning = background.submit(of_users, users)
            # A few rows that the driver holds; all else is joined with them.
            ids = frame_of_users(self.spark, users)
            indexed = arrow_table(maker.users(ids, followed.index))
            new = cleaning.result()
        touched = frame_of_arrow(self.spark, indexed, f"{c.USER_ID} string, {c.USER_INDEX} long")
        events = with_new_events(followed.events_of(touched), new, are_few)
        rows = maker.rows(KnownOfUsers(touched, events, maker.attributes(touched)))
        has_history = F.size(c.ITEM_INDICES) + F.size(c.EXCLUDED_INDICES) > 0
        rows = rows.where((F.col(c.USER_INDEX) >= 0) | has_history)
        new_users = int((indexed.column(c.USER_INDEX).to_numpy() < 0).sum())
        return maker.inputs(rows, touched), new_users

    def _commit(
        self,
        followed: Followed,
        batch_id: int,
        lists: DataFrame | pa.Table,
        users: Sequence[str],
        old: RowsOfKeys | None,
    ) -> None:
        """Replace these users' published lists in one commit.

        It carries the number of the batch, so that a repetition has no effect. Nothing is written
        where another run has been published meanwhile.
        """
        new: DataFrame | pa.Table
        if isinstance(lists, pa.Table):
            run_id = pa.repeat(pa.scalar(followed.run_id), lists.num_rows)
            new = lists.append_column(c.RUN_ID, run_id)
        else:
            new = lists.withColumn(c.RUN_ID, F.lit(followed.run_id))
        application = f"m6rec-fold_in-{self._query_id}-{followed.publication}"
        while self.follow() is followed:
            replaced = self.published.replace(new, users, application, batch_id + 1, old)
            if replaced != "overtaken":
                # If our commit directly follows the last version that we have checked, nobody has
                # published in between, and our own commit need not be checked.
                if replaced == self._version + 1:
                    self._version += 1
                return

    def _compact(self) -> None:
        """Compact the lists' files once in every `batches_between_compactions` batches."""
        self._batches += 1
        if self._batches % self.batches_between_compactions == 0:
            self.published.compact()

    def _is_recorded(self, batch_id: int, publication: int) -> bool:
        name = FOLD_IN_BATCHES_TABLE.name
        if not self.lakehouse.exists(name):
            return False
        same: Condition = {
            "query_id": (self._query_id,),
            "batch_id": (batch_id,),
            "publication": (publication,),
        }
        return bool(self.lakehouse.collected(name, same))

    def _distance(self, followed: Followed, rows: pa.Table) -> float | None:
        """How far users have moved; None where this was measured a short time ago."""
        now_is = time.monotonic()
        if now_is < self._next_distance:
            return None
        self._next_distance = now_is + _SECONDS_BETWEEN_DISTANCES
        return followed.distance(rows)


def _cleaning_of(followed: Followed) -> str:
    """A fingerprint of how the run reads events, from whatever table."""
    config = followed.maker.fit.config
    interactions = config.interactions.model_dump(mode="json", exclude=_OF_HISTORIES)
    return fingerprint_of([interactions, config.ratings.enabled])


def _refusals(refused: Mapping[str, int]) -> str:
    """How many events of a batch cleaning refuses, and why; empty where it refuses none."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(refused.items()))
    return f" ({sum(refused.values())} refused: {reasons})" if refused else ""


def _share_outside(items: Sequence[str], seen: frozenset[str]) -> float | None:
    return sum(item not in seen for item in items) / len(items) if items else None
