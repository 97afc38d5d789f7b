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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from threading import RLock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from delta.exceptions import DeltaConcurrentModificationException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from m6rec import columns as c
from m6rec.config.base import TableSource
from m6rec.config.run import Config
from m6rec.errors import ConfigError, DataError, TableError
from m6rec.fingerprints import fingerprint_of
from m6rec.fits.list_maker import EVENT_COLUMNS, KnownOfUsers, ListMaker, added, lacking
from m6rec.fits.sources import Events, open_events
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.factors.projection import FactorModel, project
from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.publication.publishing import publications
from m6rec.publication.scoring import list_maker_of
from m6rec.runs import sources_of_run, work_of_run
from m6rec.schemas import FOLD_IN_BATCHES_TABLE, RECOMMENDATIONS_TABLE
from m6rec.spark.arrow_rows import rows_from_batches
from m6rec.spark.collecting import BYTES_OF_WORDS, collected_table
from m6rec.spark.places import matching, place_of
from m6rec.spark.runtimes import arrow_table, frame_of_arrow, named_set
from m6rec.spark.session import queries_over, queries_over_few, with_settings
from m6rec.spark.sources import source_version, told_format, with_columns
from m6rec.spark.values import id_column, owner_column
from m6rec.stages.pairs.cleaning import clean_interactions, judged_by_themselves

CATCHING_UP = -1
_SOURCE = "interactions.source"
_FACTORS = ("als", "svd")
_USERS_OF_DISTANCE = 500
_SECONDS_BETWEEN_DISTANCES = 60.0
_IS_OLD, _ARRIVED, _EVENT, _EVENTS = "_is_old", "_arrived", "_event", "_events"
_MARKS_ROWS = "delta.enableDeletionVectors"
_APPLICATION = "spark.databricks.delta.write.txnAppId"
_TRANSACTION = "spark.databricks.delta.write.txnVersion"
# What the new rows are is known; Delta would compare each with the condition.
_UNCHECKED = {"spark.databricks.delta.replaceWhere.constraintCheck.enabled": "false"}
_READS_TWICE = "spark.databricks.delta.merge.materializeSource"
# Files of a whole night's lists are larger, and stay until half of their rows are marked.
_COMPACTING = {
    "spark.databricks.delta.optimize.minFileSize": str(16 << 20),
    "spark.databricks.delta.optimize.maxDeletedRowsRatio": "0.5",
}


@dataclass(frozen=True)
class Followed:
    """The published run, whose item side is read once.

    Attributes:
        publication: the version of the published table that the run's publication made.
        maker: makes lists with the run's models.
    """

    publication: int
    maker: ListMaker

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.maker.fit.lakehouse.run_id

    @cached_property
    def seen_items(self) -> frozenset[str]:
        """The ids of the items that the training has seen."""
        items = self.maker.items.where("is_seen").select(c.ITEM_ID)
        seen = collected_table(items, self.maker.fit.n_items * BYTES_OF_WORDS)
        return frozenset(seen.column(0).to_pylist())

    @cached_property
    def base(self) -> DataFrame:
        """The events that the run has."""
        return self.maker.fit.lakehouse.read("interactions").select(*EVENT_COLUMNS)

    @cached_property
    def histories(self) -> DataFrame:
        """user_id, events: `base` with a row a user, kept by the executors.

        A batch looks for some users among all, and there are far fewer users than events.
        """
        of_user = [name for name in EVENT_COLUMNS if name != c.USER_ID]
        events = F.collect_list(F.struct(*of_user)).alias(_EVENTS)
        return self.base.groupBy(c.USER_ID).agg(events).persist()

    def events_of(self, users: DataFrame) -> DataFrame:
        """The events that the run has of a few users."""
        ids = F.broadcast(users.select(c.USER_ID))
        own = self.histories.join(ids, c.USER_ID, "left_semi")
        return own.select(c.USER_ID, F.inline(_EVENTS)).select(*EVENT_COLUMNS)

    def let_go(self) -> None:
        """Keep no histories any longer."""
        self.histories.unpersist()

    @cached_property
    def factor_model(self) -> FactorModel | None:
        """The factors by which drift is told."""
        trained = self.maker.fit.config.trained_rankers
        name = next((name for name in _FACTORS if name in trained), None)
        return None if name is None else self.maker.fit.factor_model(name)


@dataclass(frozen=True)
class _Made:
    """What a batch tells of its users: how many are new, and how far the others have moved."""

    new_users: int
    distance: float | None


class FoldIn:
    """Folds batches of events into the published lists of a lake.

    One thread at a time folds: that of the stream, or one that looks for a new publication.

    Attributes:
        lakehouse, config: as they were given.
        batches_of_a_file: the files that so many batches leave are put together.
    """

    batches_of_a_file = 100

    def __init__(self, lakehouse: Lakehouse, config: Config) -> None:
        """Read nothing yet.

        Args:
            lakehouse: the lake; its run id is of no account.
            config: where events are, and how often they are looked at.
        """
        self.lakehouse = lakehouse
        self.config = config
        self._followed: Followed | None = None
        # The version of the published table when the followed run was found in it.
        self._version = -1
        self._caught_up: set[int] = set()
        self._begins = False
        self._may_repeat = True
        self._batches = 0
        self._next_distance = 0.0
        self._lock = RLock()

    @property
    def spark(self) -> SparkSession:
        """The session."""
        return self.lakehouse.spark

    @property
    def source(self) -> TableSource:
        """The table of events, as it is at any moment."""
        return self.config.fold_in.source or self.config.interactions.source

    @property
    def checkpoint(self) -> str:
        """The folder in which the stream keeps what it has read."""
        place = fingerprint_of(self.source.model_dump(mode="json"))[:16]
        return self.lakehouse.for_run("fold_in").artifact_path(place)

    def start(self, once: bool) -> StreamingQuery:
        """Begin, or go on where the last query of this lake and table ended.

        Args:
            once: whether to stop when all events that are there now have been folded in.

        Raises:
            ConfigError: the lake is a schema of the catalogue.
            DataError: no run has been published.
            TableError: the events are not in a Delta table, or it lacks a column.
        """
        self._check()
        self._have_rows_marked()
        self._begins = not matching(self.spark, self.checkpoint, "offsets/[0-9]*")
        events = self._stream(self.follow())
        writer = events.writeStream.foreachBatch(self._fold_batch)
        writer = writer.option("checkpointLocation", self.checkpoint).queryName("fold_in")
        if once:
            writer = writer.trigger(availableNow=True)
        else:
            writer = writer.trigger(processingTime=f"{self.config.fold_in.seconds} seconds")
        return writer.start()

    @contextmanager
    def session_for_batches(self) -> Iterator[None]:
        """The session as it suits batches of few users, and as many lists as are published."""
        lists = 0
        if self.lakehouse.exists(PUBLISHED):
            lists = self.lakehouse.delta_table(PUBLISHED).toDF().count()
        with queries_over_few(self.spark), queries_over(self.spark, lists):
            yield

    def follow(self) -> Followed:
        """The published run; its models are read where it is another one than before.

        Raises:
            ConfigError: its ranker can only rank for users who were in training.
            DataError: no run has been published.
        """
        version = self.lakehouse.version(PUBLISHED) if self.lakehouse.exists(PUBLISHED) else -1
        if self._followed is not None and version == self._version:
            return self._followed
        run_id, publication = self._publication()
        self._version = version
        if self._followed is None or self._followed.publication != publication:
            if self._followed is not None:
                self._followed.let_go()
            self._followed = Followed(publication, list_maker_of(self.lakehouse.for_run(run_id)))
            print(f"fold_in: following run {run_id}", flush=True)
        return self._followed

    def catch_up(self) -> Followed:
        """List the users anew who have events that the published run has not learned from.

        Nothing is done where that has been done since the run was published.

        Returns:
            The published run.
        """
        with self._lock:
            while True:
                followed = self.follow()
                if followed.publication in self._caught_up:
                    return followed
                if not self._is_recorded(CATCHING_UP, followed.publication):
                    # A stream that begins reads all that the run has not learned from.
                    users = [] if self._begins else self._late_users(followed)
                    self._fold_into(followed, CATCHING_UP, users, [], {})
                self._begins = False
                if self.follow() is followed:
                    self._caught_up.add(followed.publication)

    @cached_property
    def _query_id(self) -> str:
        """The id that the stream keeps for as long as its checkpoint is there."""
        return str(
            json.loads(place_of(self.spark, f"{self.checkpoint}/metadata").read_text())["id"]
        )

    def _late_users(self, followed: Followed) -> list[str]:
        late = lacking(self._cleaned(followed, None), followed.base)
        ids: list[str] = arrow_table(late.select(c.USER_ID).distinct()).column(0).to_pylist()
        return ids

    def _check(self) -> None:
        if not self.lakehouse.by_path:
            raise ConfigError(
                f"lake {self.lakehouse.location} is a schema of the catalogue, whose published"
                " lists are views; fold_in changes the table published/recommendations of a lake"
                " by path"
            )
        source = self.source
        is_delta = source.path is None or told_format(self.spark, source) == "delta"
        if not is_delta or source_version(self.spark, source) is None:
            raise TableError(
                f"{source.name} is no Delta table, and only such a table can be followed; name the"
                " Delta table to which events are appended in fold_in.source"
            )

    def _have_rows_marked(self) -> None:
        """Let a commit mark the rows that it takes out, where it may.

        The users of a batch have rows in every file of the lists, which would all be written anew.
        """
        if not self.config.fold_in.deletion_vectors or not self.lakehouse.exists(PUBLISHED):
            return
        details = self.lakehouse.delta_table(PUBLISHED).detail().select("properties").collect()
        if details[0][0].get(_MARKS_ROWS) != "true":
            name = self.lakehouse.sql_name(PUBLISHED)
            self.spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('{_MARKS_ROWS}' = 'true')")

    def _stream(self, followed: Followed) -> DataFrame:
        """The users and items of new events, each event once, with the reason to refuse it."""
        settings, source = self.config.fold_in, self.source
        reader = self.spark.readStream.format("delta")
        reader = reader.option("maxFilesPerTrigger", settings.files_per_batch)
        if settings.change_feed:
            reader = reader.option("readChangeFeed", "true")
        else:
            reader = reader.option("skipChangeCommits", "true")
        start = self._first_version(followed) if self._begins else None
        if start is not None:
            reader = reader.option("startingVersion", start)
        frame = reader.table(source.table) if source.table else reader.load(source.path)
        opened = self._open()
        names = opened.config.columns
        optional = (names.time, names.weight, names.event_type, *names.context)
        present = (name for name in optional if name is not None)
        read = (names.user, names.item, *names.beside_item, *present)
        events = with_columns(frame, source, read, "fold_in.source")
        if settings.watermark_hours > 0:
            own = [name for name in events.columns if not name.startswith("_commit_")]
            # By the time of arrival, no event is ever too late. The stream's state lies in the
            # lake and shall hold no id.
            arrived = {_ARRIVED: F.current_timestamp(), _EVENT: F.xxhash64(*map(owner_column, own))}
            timed = events.withColumns(arrived)
            timed = timed.withWatermark(_ARRIVED, f"{settings.watermark_hours} hours")
            events = timed.dropDuplicatesWithinWatermark([_EVENT])
        # To describe what cleaning does takes longer than to do it, so that no batch does.
        judged = judged_by_themselves(
            events,
            opened.config,
            F.current_timestamp(),
            opened.reading,
            self.config.ratings.enabled,
        )
        return judged.select(c.USER_ID, c.ITEM_ID, c.REASON)

    def _first_version(self, followed: Followed) -> int | None:
        """Where the run's own table is followed: the version after the one that it has read."""
        if self.config.fold_in.source is not None:
            return None
        own = followed.maker.fit.lakehouse
        read = sources_of_run(own, self.config, work_of_run(own)).get(_SOURCE)
        latest = source_version(self.spark, self.source)
        return None if read is None or latest is None else min(read + 1, latest)

    def _publication(self) -> tuple[str, int]:
        """The run that the published table holds, and the version that its publication made."""
        if not self.lakehouse.exists(PUBLISHED):
            raise DataError(
                f"no run has been published in {self.lakehouse.location}; run the pipeline first"
            )
        commits = self.lakehouse.delta_table(PUBLISHED).history()
        noted = commits.where(F.col("userMetadata").isNotNull()).orderBy(F.desc("version"))
        row = noted.select("version", "userMetadata").first()
        if row is not None:
            return str(json.loads(row["userMetadata"])[c.RUN_ID]), int(row["version"])
        last = publications(self.lakehouse)[-1]
        return last.run_id, int(last.version or 0)

    def _fold_batch(self, batch: DataFrame, batch_id: int) -> None:
        events = arrow_table(batch)
        # An event that is refused may have taken the place of one that was not.
        users = events.column(c.USER_ID).unique().drop_null().to_pylist()
        refused = Counter(events.column(c.REASON).drop_null().to_pylist())
        with self._lock:
            self._fold(batch_id, users, events.column(c.ITEM_ID).to_pylist(), refused)
            self._compact()

    def _fold(
        self,
        batch_id: int,
        users: Sequence[str],
        items: Sequence[str | None],
        refused: Mapping[str, int],
    ) -> None:
        """List users anew with the models of the run that is published when that is done."""
        while True:
            followed = self.catch_up()
            self._fold_into(followed, batch_id, users, items, refused)
            self._may_repeat = False
            if self.follow() is followed:
                return

    def _fold_into(
        self,
        followed: Followed,
        batch_id: int,
        users: Sequence[str],
        items: Sequence[str | None],
        refused: Mapping[str, int],
    ) -> None:
        started_at = datetime.now(UTC)
        made = self._replace_lists(followed, batch_id, users) if users else _Made(0, None)
        row = {
            "query_id": self._query_id,
            "batch_id": batch_id,
            "publication": followed.publication,
            "events": len(items),
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
            f"fold_in: {name}: {len(items)} events{_said(refused)}, lists of {len(users)} users in"
            f" {seconds:.1f} s",
            flush=True,
        )

    def _replace_lists(self, followed: Followed, batch_id: int, users: Sequence[str]) -> "_Made":
        maker = followed.maker
        touched, new_users = self._touched(maker, users)
        events = added(followed.events_of(touched), self._cleaned(followed, touched))
        rows = maker.rows(KnownOfUsers(touched, events, maker.attributes(touched)))
        has_history = F.size(c.ITEM_INDICES) + F.size(c.EXCLUDED_INDICES) > 0
        rows = rows.where((F.col(c.USER_INDEX) >= 0) | has_history).persist()
        try:
            lists = maker.lists(rows, touched, datetime.now(UTC))
            with ThreadPoolExecutor(1) as beside:
                distance = beside.submit(self._distance, followed, rows)
                self._commit(followed, batch_id, lists, users)
                return _Made(new_users, distance.result())
        finally:
            rows.unpersist()

    def _touched(self, maker: ListMaker, users: Sequence[str]) -> tuple[DataFrame, int]:
        """user_id, user_index, and how many users the run does not know."""
        # A few rows that the driver holds; all else is joined with them.
        indexed = arrow_table(maker.users(self._frame_of(users)))
        frame = frame_of_arrow(self.spark, indexed, f"{c.USER_ID} string, {c.USER_INDEX} long")
        return frame, int((indexed.column(c.USER_INDEX).to_numpy() < 0).sum())

    def _frame_of(self, users: Sequence[str]) -> DataFrame:
        ids = pa.table({c.USER_ID: pa.array(users, pa.string())})
        return frame_of_arrow(self.spark, ids, f"{c.USER_ID} string")

    def _open(self) -> Events:
        return open_events(self.spark, "fold_in.source", self.source, self.config.interactions)

    def _cleaned(self, followed: Followed, users: DataFrame | None) -> DataFrame:
        """The events of the table as it is now, of all users or of some, like `interactions`."""
        opened = self._open()
        frame = opened.frame
        if users is not None:
            user = id_column(frame, opened.config.columns.user, opened.config)
            ids = F.broadcast(users.select(F.col(c.USER_ID).alias("_touched")))
            frame = frame.join(ids, user == F.col("_touched"), "left_semi")
        cleaned = clean_interactions(
            frame,
            opened.config,
            datetime.now(UTC),
            opened.version,
            opened.reading,
            self.config.ratings.enabled,
            followed.maker.latest,
        )
        return cleaned.interactions.select(*EVENT_COLUMNS)

    def _commit(
        self,
        followed: Followed,
        batch_id: int,
        lists: DataFrame,
        users: Sequence[str],
    ) -> None:
        """Put the lists in the place of those of these users, in one commit that happens once."""
        names = RECOMMENDATIONS_TABLE.schema.names
        new = lists.withColumn(c.RUN_ID, F.lit(followed.run_id)).select(*names)
        before = self.lakehouse.version(PUBLISHED)
        once = (f"m6rec-fold_in-{self._query_id}-{followed.publication}", str(batch_id + 1))
        are_touched = self.set_of_users(users)
        if are_touched is None:
            self._merge(new, users, once)
        else:
            self._replace(new, are_touched, once)
        self._note_own_commit(before)

    def _note_own_commit(self, before: int) -> None:
        """Keep to the followed run where nobody else has changed the published table since."""
        version = self.lakehouse.version(PUBLISHED)
        if before == self._version and version <= before + 1:
            self._version = version

    def _compact(self) -> None:
        """Put the files of many batches together, once in as many."""
        self._batches += 1
        if self._batches % self.batches_of_a_file == 0:
            before = self.lakehouse.version(PUBLISHED)
            # Where a run is published meanwhile, these files are gone.
            with (
                with_settings(self.spark, _COMPACTING),
                suppress(DeltaConcurrentModificationException),
            ):
                self.lakehouse.delta_table(PUBLISHED).optimize().executeCompaction()
            self._note_own_commit(before)

    def set_of_users(self, users: Sequence[str]) -> str | None:
        """SQL that is true for the rows of these users, of whom it tells nothing.

        Delta's log keeps it, and users may ask to be forgotten.
        """
        return named_set(self.spark, "m6rec_touched_users", c.USER_ID, users)

    def _replace(self, new: DataFrame, are_touched: str, once: tuple[str, str]) -> None:
        """Replace lists by one pass over the table's users."""
        application, version = once
        writer = new.write.format("delta").mode("overwrite").option("replaceWhere", are_touched)
        writer = writer.option("txnAppId", application).option("txnVersion", version)
        with with_settings(self.spark, _UNCHECKED):
            writer.save(self.lakehouse.address(PUBLISHED))

    def _merge(self, new: DataFrame, users: Sequence[str], once: tuple[str, str]) -> None:
        """Replace lists by joining the table, which takes three passes."""
        # The merge would make them several times.
        new = new.localCheckpoint()
        nothing = [
            F.lit(None).cast(item.dataType).alias(item.name)
            for item in RECOMMENDATIONS_TABLE.schema
            if item.name != c.USER_ID
        ]
        old = self._frame_of(users).select(c.USER_ID, *nothing).select(*new.columns)
        source = new.withColumn(_IS_OLD, F.lit(False)).unionByName(
            old.withColumn(_IS_OLD, F.lit(True))
        )
        replaced = f"target.{c.USER_ID} = source.{c.USER_ID} AND source.{_IS_OLD}"
        values: dict[str, str | Column] = {name: f"source.{name}" for name in new.columns}
        table = self.lakehouse.delta_table(PUBLISHED)
        settings = dict(zip((_APPLICATION, _TRANSACTION), once, strict=True))
        with with_settings(self.spark, {**settings, _READS_TWICE: "none"}):
            (
                table.alias("target")
                .merge(source.alias("source"), replaced)
                .whenMatchedDelete()
                .whenNotMatchedInsert(f"NOT source.{_IS_OLD}", values)
                .execute()
            )

    def _is_recorded(self, batch_id: int, publication: int) -> bool:
        name = FOLD_IN_BATCHES_TABLE.name
        if not self.lakehouse.exists(name):
            return False
        rows = self.lakehouse.delta_table(name).toDF()
        same = (
            (F.col("query_id") == self._query_id)
            & (F.col("batch_id") == batch_id)
            & (F.col("publication") == publication)
        )
        return not rows.where(same).isEmpty()

    def _distance(self, followed: Followed, rows: DataFrame) -> float | None:
        """The mean cosine distance of users' vectors from those of their rows in training.

        It takes a pass over all rows, and changes slowly: None where it has just been measured.
        """
        model, now_is = followed.factor_model, time.monotonic()
        if model is None or now_is < self._next_distance:
            return None
        self._next_distance = now_is + _SECONDS_BETWEEN_DISTANCES
        columns = (c.USER_INDEX, c.ITEM_INDICES, c.WEIGHTS)
        known = rows.where((F.col(c.USER_INDEX) >= 0) & (F.size(c.ITEM_INDICES) > 0))
        now = arrow_table(known.select(*columns).limit(_USERS_OF_DISTANCE))
        if now.num_rows == 0:
            return None
        matrix = followed.maker.fit.matrix.where(F.size(c.ITEM_INDICES) > 0)
        ids = frame_of_arrow(self.spark, now.select([c.USER_INDEX]), f"{c.USER_INDEX} long")
        again = matrix.select(*columns).join(F.broadcast(ids), c.USER_INDEX, "left_semi")
        before = arrow_table(again)
        kept = now.filter(
            pc.is_in(now.column(c.USER_INDEX), before.column(c.USER_INDEX).combine_chunks())
        )
        if kept.num_rows == 0:
            return None
        vectors = [project(model, _rows_by_user(table)) for table in (before, kept)]
        lengths = np.linalg.norm(vectors[0], axis=1) * np.linalg.norm(vectors[1], axis=1)
        dots = (vectors[0] * vectors[1]).sum(axis=1)
        cosines = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0.0)
        return float(1.0 - cosines.mean())


def _rows_by_user(table: pa.Table) -> Rows:
    return rows_from_batches(table.sort_by(c.USER_INDEX).combine_chunks().to_batches())


def _said(refused: Mapping[str, int]) -> str:
    """How many events of a batch cleaning refuses, and why; empty where it refuses none."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(refused.items()))
    return f" ({sum(refused.values())} refused: {reasons})" if refused else ""


def _share_outside(items: Sequence[str | None], seen: frozenset[str]) -> float | None:
    return sum(item not in seen for item in items) / len(items) if items else None
