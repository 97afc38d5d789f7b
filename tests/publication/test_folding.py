"""Events that come after training, folded into the published lists on real Delta tables."""

import json
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery
from pyspark.sql.types import StructType

from jobs import fold_in as job
from jobs import score
from jobs.explain import explain_of_run
from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.errors import ConfigError, DataError, TableError
from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.publication.folding import CATCHING_UP, FoldIn
from m6rec.publication.following import Followed
from m6rec.publication.forgetting import forget
from m6rec.publication.publishing import publish
from m6rec.publication.replacing import PublishedLists
from m6rec.publication.scoring import GivenUsers, list_maker_of
from m6rec.spark import deletion_vectors
from m6rec.spark.deletion_vectors import RowsOfKeys
from m6rec.spark.local_delta import TableState
from tests.finished_runs import config_of, copy_run
from tests.publication.conftest import copy_of
from tests.publication.test_scoring import assert_same_lists, by_place
from tests.synthetic_shop import START

COLUMNS = "customer string, product string, stars double, at timestamp, device string"


class BySpark(PublishedLists):
    """Replaces lists as it has to where they lie elsewhere."""

    def rows_of_users(self, users: Sequence[str]) -> RowsOfKeys | None:
        return None


class Merging(BySpark):
    """Replaces lists as Spark 3.5 has to."""

    def set_of_users(self, users: Sequence[str]) -> str | None:
        return None


class FoldsBySpark(FoldIn):
    """Of lists that lie elsewhere."""

    def __init__(self, lakehouse: Lakehouse, config: Config) -> None:
        super().__init__(lakehouse, config)
        self.published = BySpark(lakehouse)


class FoldsByMerging(FoldIn):
    """The same on Spark 3.5, in batches of more users than the driver ranks."""

    users_in_driver = 0

    def __init__(self, lakehouse: Lakehouse, config: Config) -> None:
        super().__init__(lakehouse, config)
        self.published = Merging(lakehouse)


class Compacting(FoldIn):
    """Puts files together after each batch."""

    batches_between_compactions = 1


class KilledBeforeCommit(FoldIn):
    """Ends when the lists have been made."""

    def _commit(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("killed")


class KilledAfterCommit(FoldIn):
    """Ends when the lists stand there, before anything else knows it."""

    def _commit(self, *arguments: Any, **named: Any) -> None:
        super()._commit(*arguments, **named)
        raise RuntimeError("killed")


def append(spark: SparkSession, place: Path, *events: tuple[str, str, int]) -> None:
    """Events of user, item and day."""
    rows = [
        (user, item, 4.0, (START + pd.Timedelta(days=300 + day)).to_pydatetime(), "phone")
        for user, item, day in events
    ]
    frame = spark.createDataFrame(rows, COLUMNS).coalesce(1)
    frame.write.format("delta").mode("append").save(str(place))


def published(lakehouse: Lakehouse, **options: int) -> DataFrame:
    reader = lakehouse.spark.read.format("delta").options(**options)
    return reader.load(lakehouse.address(PUBLISHED))


def events_of_batches(lakehouse: Lakehouse) -> int:
    batches = lakehouse.read("fold_in_batches").where(f"batch_id != {CATCHING_UP}")
    return int(batches.agg(F.sum("events")).collect()[0][0])


def drain(kind: type[FoldIn], lakehouse: Lakehouse, config: Config) -> None:
    kind(lakehouse, config).start(once=True).awaitTermination()


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return tmp_path / "events"


@pytest.fixture
def following(config: Config, copied: Lakehouse, events: Path) -> Config:
    place = {"path": str(events), "format": "delta"}
    return config.replaced({"fold_in.source": place, "lake": copied.location})


@pytest.mark.slow
def test_lists_of_touched_users_are_those_of_score_and_all_others_stay(
    spark: SparkSession,
    copied: Lakehouse,
    following: Config,
    events: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = by_place(published(copied))
    append(spark, events, ("user-3", "item-59", 1), ("stranger", "item-2", 1), ("user-3", "?", 2))
    append(spark, events, ("stranger", "item-5", 2), ("nobody", "?", 1), ("user-3", "?", 9_999))

    job.run(copied, following)

    after = by_place(published(copied))
    touched = {"user-3", "stranger"}
    score.run(copied, GivenUsers(str(events), with_history=True), str(tmp_path / "lists"))
    scored = by_place(spark.read.format("delta").load(str(tmp_path / "lists")))
    assert {user for user, _, _ in scored} == {*touched, "nobody"}
    own = {place: row for place, row in after.items() if place[0] in touched}
    of_touched = {place: row for place, row in scored.items() if place[0] in touched}
    assert_same_lists(own, of_touched)
    rest = {place: row for place, row in after.items() if place[0] not in touched}
    assert rest == {place: row for place, row in before.items() if place[0] not in touched}
    assert "item-59" not in {
        row[c.ITEM_ID] for (user, *_), row in after.items() if user == "user-3"
    }

    rows = copied.read("fold_in_batches").where(f"batch_id != {CATCHING_UP}").collect()
    assert sum(row["events"] for row in rows) == 6
    assert sum(row["refused"] for row in rows) == 1
    assert " events (1 refused: 1 time in the future), lists of " in capsys.readouterr().out
    for user, is_said in (("user-3", True), ("user-4", False)):
        explain_of_run(spark, following, None, user, "item-2")
        assert ("fold_in has made another" in capsys.readouterr().err) == is_said
    # Of a refused event it does not count whether the run knows its item.
    shares = [(row["events"] - row["refused"], row["items_without_factors"]) for row in rows]
    assert sum(kept * share for kept, share in shares if kept) == pytest.approx(2)
    assert all(0.0 < row["distance"] < 1.0 for row in rows if row["distance"] is not None)
    assert any(row["distance"] is not None for row in rows)

    version = copied.version(PUBLISHED)
    job.run(copied, following)
    assert copied.version(PUBLISHED) == version

    append(spark, events, ("stranger", "item-8", 3), ("stranger", "item-11", 4))
    job.run(copied, following)
    assert copied.version(PUBLISHED) == version + 1


@dataclass(frozen=True)
class Begun:
    """A lake whose stream has folded in a first event; each test goes on with users of its own."""

    lakehouse: Lakehouse
    config: Config
    events: Path


@pytest.fixture(scope="module")
def begun(
    spark: SparkSession,
    lakehouse: Lakehouse,
    config: Config,
    tmp_path_factory: pytest.TempPathFactory,
) -> Begun:
    folder = tmp_path_factory.mktemp("begun")
    copy, events = copy_of(lakehouse, config, folder), folder / "events"
    place = {"path": str(events), "format": "delta"}
    following = config.replaced({"fold_in.source": place, "lake": copy.location})
    append(spark, events, ("user-3", "item-59", 1))
    drain(FoldIn, copy, following)
    return Begun(copy, following, events)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [KilledBeforeCommit, KilledAfterCommit])
def test_a_kill_loses_no_event_and_writes_no_list_twice(
    spark: SparkSession, begun: Begun, killed: type[FoldIn]
) -> None:
    lake, user = begun.lakehouse, killed.__name__
    version, before = lake.version(PUBLISHED), events_of_batches(lake)
    append(spark, begun.events, (user, "item-2", 1), (user, "item-5", 2))
    with pytest.raises(StreamingQueryException, match="killed"):
        drain(killed, lake, begun.config)
    written = killed is KilledAfterCommit
    assert lake.version(PUBLISHED) == version + written
    assert (published(lake).where(f"{c.USER_ID} = '{user}'").count() > 0) == written

    drain(FoldIn, lake, begun.config)

    assert lake.version(PUBLISHED) == version + 1
    lists = published(lake).where(f"{c.USER_ID} = '{user}' AND {c.CONTEXT} IS NULL")
    assert sorted(row[c.RANK] for row in lists.collect()) == list(range(1, 11))
    batches = lake.read("fold_in_batches").where(f"batch_id != {CATCHING_UP}")
    assert batches.groupBy("batch_id").count().where("count > 1").count() == 0
    assert events_of_batches(lake) == before + 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Compacting, FoldsBySpark, FoldsByMerging])
def test_lists_are_replaced_by_the_driver_and_by_spark_alike(
    spark: SparkSession, begun: Begun, kind: type[FoldIn]
) -> None:
    lake, odd = begun.lakehouse, f"""O'Brien \\ "née" Ünal, {kind.__name__}"""
    before, version = by_place(published(lake)), lake.version(PUBLISHED)
    append(spark, begun.events, (odd, "item-2", 1), (odd, "item-5", 2))
    append(spark, begun.events, (odd, "item-8", 3))
    drain(kind, lake, begun.config.replaced({"fold_in.files_per_batch": 1}))

    first = by_place(published(lake, versionAsOf=version + 1))
    second = by_place(published(lake))
    lists = published(lake).where(F.col(c.USER_ID) == odd)
    without_context = lists.where(f"{c.CONTEXT} IS NULL")
    assert sorted(row[c.RANK] for row in without_context.collect()) == list(range(1, 11))
    assert "item-8" not in {row[c.ITEM_ID] for row in lists.collect()}
    assert first.keys() == second.keys() != before.keys()
    assert before == {place: row for place, row in second.items() if place[0] != odd}
    details = lake.delta_table(PUBLISHED).detail().select("properties").collect()[0][0]
    assert details["delta.enableDeletionVectors"] == "true"
    log = Path(lake.address(PUBLISHED)) / "_delta_log"
    told = [line for file in log.glob("*.json") for line in file.read_text().splitlines()]
    assert not any("Brien" in line for line in told if line.startswith('{"commitInfo"'))
    files = published(lake).inputFiles()
    assert len(files) == 1 or kind is not Compacting


@pytest.mark.slow
def test_a_batch_that_another_commit_overtakes_is_committed_after_it(
    spark: SparkSession, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = begun.lakehouse
    append(spark, begun.events, ("stranger", "item-2", 1))
    version, looked = lake.version(PUBLISHED), deletion_vectors._allows_deletion_vectors

    def delete_meanwhile(state: TableState, schema: StructType) -> bool:
        if state.version == version:
            spark.sql(f"DELETE FROM {lake.sql_name(PUBLISHED)} WHERE user_id = 'user-5'")
        return looked(state, schema)

    monkeypatch.setattr(deletion_vectors, "_allows_deletion_vectors", delete_meanwhile)
    drain(FoldIn, lake, begun.config)

    assert lake.version(PUBLISHED) == version + 2
    lists = published(lake).where(f"{c.CONTEXT} IS NULL").groupBy(c.USER_ID).count()
    counts = {row[c.USER_ID]: row["count"] for row in lists.collect()}
    assert counts["stranger"] == counts["user-3"] == 10
    assert "user-5" not in counts


@pytest.mark.slow
def test_after_users_were_forgotten_the_job_has_to_begin_anew(
    spark: SparkSession, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = begun.lakehouse
    fold_in = FoldIn(lake, begun.config)
    fold_in.start(once=True).awaitTermination()
    fold_in.catch_up()
    # All other tables take most of the time, and this job asks for none of them.
    tables = [PUBLISHED, "user_index"]
    monkeypatch.setattr("m6rec.publication.forgetting.existing_tables", lambda _: tables)
    ids = spark.createDataFrame([("user-4",)], "user_id string")
    assert forget(lake.for_run("receipt"), begun.config, ids)[0] == 1
    with pytest.raises(DataError, match=r"forgotten .*; start the job again"):
        fold_in.catch_up()
    drain(FoldIn, lake, begun.config)


def waiting(frame: DataFrame, folder: Path) -> DataFrame:
    """The same rows, which come when there is a file `go_on`; before, there is one `begun`."""

    def wait(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        (folder / "begun").touch()
        while not (folder / "go_on").exists():
            time.sleep(0.01)
        yield from batches

    return frame.mapInArrow(wait, frame.schema)


@contextmanager
def overtaken(lakehouse: Lakehouse, folder: Path) -> Iterator[None]:
    """Take a user's lists out once a query of `waiting` has begun, which then goes on."""
    with ThreadPoolExecutor(1) as background:

        def overtake() -> None:
            while not (folder / "begun").exists():
                time.sleep(0.01)
            lakehouse.delta_table(PUBLISHED).delete("user_id = 'user-5'")
            (folder / "go_on").touch()

        done = background.submit(overtake)
        yield
        done.result()


def test_a_commit_by_spark_that_another_overtakes_is_given_up(
    copied: Lakehouse, tmp_path: Path
) -> None:
    lists, own = BySpark(copied), published(copied).where("user_id = 'user-3'")
    with overtaken(copied, tmp_path):
        assert lists.replace(waiting(own, tmp_path), ["user-3"], "test", 1) == "overtaken"
    assert lists.replace(own, ["user-3"], "test", 1) == "done by Spark"
    assert published(copied).where("user_id = 'user-5'").isEmpty()


def test_lists_are_published_beside_commits_to_those_that_they_replace(
    copied: Lakehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommendations = copied.read("recommendations")
    by_spark = waiting(recommendations, tmp_path)
    monkeypatch.setattr(Lakehouse, "_copy_to_published", lambda *_: None)
    monkeypatch.setattr(Lakehouse, "read", lambda *_: by_spark)
    with overtaken(copied, tmp_path):
        version = copied.replace_published('{"run_id": "first"}')
    assert version == copied.version(PUBLISHED)
    assert published(copied).count() == recommendations.count()


@pytest.mark.slow
def test_a_publication_beside_the_joining_of_files_is_followed(
    spark: SparkSession, copied: Lakehouse, config: Config, following: Config, events: Path
) -> None:
    second = _second_run(copied)

    class PublishedMeanwhile(PublishedLists):
        def compact(self) -> None:
            publish(second, config)

    fold_in = Compacting(copied, following)
    fold_in.published = PublishedMeanwhile(copied)
    append(spark, events, ("stranger", "item-2", 1))
    fold_in.start(once=True).awaitTermination()
    assert fold_in.catch_up().run_id == "second"


def test_a_run_that_reads_events_otherwise_ends_the_job(
    spark: SparkSession, copied: Lakehouse, following: Config, events: Path
) -> None:
    append(spark, events, ("user-3", "item-59", 1))
    fold_in = FoldIn(copied, following)
    fold_in.start(once=True).awaitTermination()
    again = _second_run(copied)
    assert publish(again, list_maker_of(again).fit.config)
    other = list_maker_of(again).fit.config.replaced({"interactions.unify_ids": ["case"]})
    given = {"given": F.lit(json.dumps(other.given()))}
    copied.delta_table("runs").update(F.col(c.RUN_ID) == again.run_id, given)
    with pytest.raises(DataError, match=r"by another configuration .*; start the job again"):
        fold_in.follow()


def test_an_item_that_a_rule_excludes_from_now_on_is_in_no_new_list(
    spark: SparkSession,
    copied: Lakehouse,
    following: Config,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recalled = str(tmp_path / "recalled")
    named = spark.createDataFrame([("item-1",)], "product string")
    named.write.format("delta").save(recalled)
    rule = {"path": recalled, "format": "delta", "item": "product"}
    ruled = list_maker_of(copied).fit.config.replaced({"recommend.rules.excluded_items": rule})
    given = {"given": F.lit(json.dumps(ruled.given()))}
    copied.delta_table("runs").update(F.col(c.RUN_ID) == copied.run_id, given)

    fold_in = FoldIn(copied, following)

    def masked() -> int:
        followed = fold_in.follow()
        fold_in._follow_rules(followed)
        return int(sum(scoring.masked_items.sum() for scoring in followed.maker.scorings))

    first = masked()
    spark.createDataFrame([("item-2",)], "product string").write.format("delta").mode(
        "append"
    ).save(recalled)
    assert masked() == first
    # A minute later.
    fold_in._next_rules = 0.0
    assert masked() == first + 1

    # Rules that cannot be followed change nothing, and end no stream.
    every = copied.read("catalogue").select(F.col(c.ITEM_ID).alias("product"))
    every.write.format("delta").mode("append").save(recalled)
    fold_in._next_rules = 0.0
    assert masked() == first + 1
    assert re.search("leave none of the .* lists follow the rules as", capsys.readouterr().err)
    named.write.format("delta").mode("append").save(recalled)
    for file in Path(recalled).glob("*.parquet"):
        file.unlink()
    fold_in._next_rules = 0.0
    assert masked() == first + 1
    assert re.search("Spark failed: .* lists follow the rules as", capsys.readouterr().err)


def test_the_followed_table_is_read_as_it_is_whatever_version_runs_read(
    copied: Lakehouse, config: Config, events: Path
) -> None:
    own = config.replaced(
        {"interactions.source": {"path": str(events), "format": "delta", "version": 5}}
    )
    source = FoldIn(copied, own).source
    assert (source.path, source.version) == (str(events), None)


def test_a_commit_with_a_note_of_the_owner_is_no_publication(
    copied: Lakehouse, following: Config
) -> None:
    rows = published(copied).write.format("delta").mode("overwrite")
    rows.option("userMetadata", "nightly optimise").save(copied.address(PUBLISHED))
    fold_in = FoldIn(copied, following)
    followed = fold_in.follow()
    assert followed.run_id == copied.run_id
    rows.option("userMetadata", "[1]").save(copied.address(PUBLISHED))
    assert fold_in.follow() is followed


@pytest.mark.slow
def test_when_another_run_is_published_no_event_is_lost(
    spark: SparkSession, copied: Lakehouse, config: Config, following: Config, events: Path
) -> None:
    append(spark, events, ("stranger", "item-2", 1))
    job.run(copied, following)
    second = _second_run(copied)
    assert publish(second, config)
    assert published(copied).where(f"{c.USER_ID} = 'stranger'").count() == 0

    append(spark, events, ("user-3", "item-59", 1))
    job.run(copied, following)

    lists = published(copied)
    assert {row["run_id"] for row in lists.select("run_id").distinct().collect()} == {"second"}
    assert lists.where(f"{c.USER_ID} = 'stranger' AND {c.CONTEXT} IS NULL").count() == 10
    listed = lists.where(f"{c.USER_ID} = 'user-3'").select(c.ITEM_ID).collect()
    assert "item-59" not in {row[c.ITEM_ID] for row in listed}


@pytest.mark.slow
def test_of_the_table_that_the_run_has_read_only_later_commits_are_followed(
    spark: SparkSession,
    copied: Lakehouse,
    config: Config,
    events: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    append(spark, events, ("user-3", "item-59", 1), ("user-4", "item-59", 1))
    append(spark, events, ("user-5", "item-59", 2))
    read = F.create_map(F.lit("interactions.source"), F.lit(0).cast("long"))
    ended = {"sources": read, "finished_at": F.current_timestamp()}
    copied.delta_table("runs").update(set=ended)
    place = {"path": str(events), "format": "delta"}
    own = config.replaced(
        {"interactions.source": place, "fold_in.source": place, "lake": copied.location}
    )

    with pytest.raises(StreamingQueryException, match="killed"):
        drain(KilledBeforeCommit, copied, own)
    job.run(copied, own)

    rows = copied.read("fold_in_batches").where(f"batch_id != {CATCHING_UP}").collect()
    assert [row["events"] for row in rows] == [1]

    spark.sql(f"DELETE FROM delta.`{events}` WHERE customer = 'user-4'")
    job.run(copied, own)
    assert "0 users" in (said := capsys.readouterr().out)
    assert "fold_in.change_feed: true follows it" in said

    # Another table under the same path, of which the run has read nothing.
    shutil.rmtree(events)
    jvm: Any = spark._jvm
    jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    append(spark, events, ("user-6", "item-59", 3))
    append(spark, events, ("user-7", "item-59", 3))
    with pytest.raises(DataError, match=r"is another table .*; remove the folder \S+fold_in/"):
        job.run(copied, own)
    shutil.rmtree(FoldIn(copied, own).checkpoint)
    job.run(copied, own)
    events_in_all = copied.read("fold_in_batches").agg(F.sum("events")).collect()[0][0]
    assert events_in_all == 1 + 2


def test_histories_of_all_users_are_made_by_several_tasks(
    spark: SparkSession, tmp_path: Path
) -> None:
    class Counting(FoldsBySpark):
        def _inputs(self, followed: Followed, *_: Any) -> tuple[DataFrame, int]:
            raise RuntimeError(f"{followed.histories.rdd.getNumPartitions()} parts")

    rows = [
        (f"user-{number}", "item", START.to_pydatetime(), "view", 1.0, None) for number in range(9)
    ]
    columns = (
        "user_id string, item_id string, event_time timestamp, event_type string, weight double,"
        " context map<string, string>"
    )
    events = spark.createDataFrame(rows, columns)
    maker: Any = SimpleNamespace(
        fit=SimpleNamespace(lakehouse=SimpleNamespace(read=lambda _: events))
    )
    fold_in = Counting(Lakehouse(spark, str(tmp_path), "any"), config_of(str(tmp_path)))
    with pytest.raises(RuntimeError, match=r"^2 parts"):
        fold_in._replace_lists(Followed(0, maker), 0, ["user-1"])


def test_users_whose_run_has_no_factors_are_not_measured_by_them(copied: Lakehouse) -> None:
    copied.delta_table("models").delete("kind = 'factors'")
    assert Followed(0, list_maker_of(copied)).factor_model is None


def _second_run(lakehouse: Lakehouse) -> Lakehouse:
    """A run with the tables of the first."""
    for table in (
        "interactions",
        "splits",
        "user_item_matrix",
        "catalogue",
        "item_factors",
        "item_neighbours",
        "models",
        "item_features",
        "user_features",
        "recommendations",
    ):
        copy_run(lakehouse, table, "second")
    work = lakehouse.delta_table("runs").toDF().where("run_id = 'first' and job != 'publish'")
    rows = work.withColumn("run_id", F.lit("second"))
    rows.write.format("delta").mode("append").save(lakehouse.address("runs"))
    return lakehouse.for_run("second")


def test_no_stream_goes_on_when_the_job_has_failed(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(FoldIn):
        def check(self) -> None:
            pass

        def start(self, once: bool) -> StreamingQuery:
            rows = spark.readStream.format("rate").load()
            return rows.writeStream.format("noop").start()

        def catch_up(self) -> Followed:
            raise DataError("users have been forgotten")

    monkeypatch.setattr(job, "FoldIn", Failing)
    monkeypatch.setattr(job, "_SECONDS_BETWEEN_LOOKS", 0.1)
    lakehouse = Lakehouse(spark, str(tmp_path), "any")
    with pytest.raises(DataError, match="forgotten"):
        job.run(lakehouse, config_of(str(tmp_path)), once=False)
    assert spark.streams.active == []


def test_what_cannot_be_followed_is_said(
    spark: SparkSession, copied: Lakehouse, config: Config, tmp_path: Path
) -> None:
    with pytest.raises(TableError, match="is no Delta table"):
        FoldIn(copied, config).start(once=True)
    empty = Lakehouse(spark, str(tmp_path / "empty"), "any")
    append(spark, tmp_path / "events", ("user-3", "item-59", 1))
    source = {"path": str(tmp_path / "events")}
    other = config_of(str(tmp_path / "empty"), fold_in={"source": source})
    with pytest.raises(DataError, match="no run has been published"):
        FoldIn(empty, other).start(once=True)
    catalogue = Lakehouse(spark, "some.schema", "any", str(tmp_path))
    with pytest.raises(ConfigError, match="is a schema of the catalogue"):
        FoldIn(catalogue, other).start(once=True)


def test_changes_are_followed_of_a_table_that_keeps_them_and_from_an_own_place(
    spark: SparkSession, tmp_path: Path
) -> None:
    append(spark, tmp_path / "events", ("user-3", "item-59", 1))
    settings = {"source": {"path": str(tmp_path / "events")}}
    lake = Lakehouse(spark, str(tmp_path / "lake"), "any")
    appended, changes = (
        FoldIn(lake, config_of(lake.location, fold_in=settings | {"change_feed": change_feed}))
        for change_feed in (False, True)
    )
    appended.check()
    with pytest.raises(TableError, match=r"set the table's property delta\.enableChangeDataFeed"):
        changes.check()
    name = f"delta.`{tmp_path / 'events'}`"
    spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')")
    changes.check()
    assert appended.checkpoint != changes.checkpoint
