"""Publishing on real Delta tables: what readers see, the way back, and the history."""

import json
import re
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from delta.tables import DeltaTable
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from jobs import publish as job
from m6rec import columns as c
from m6rec.errors import DataError, GuardError, TableError
from m6rec.fits.choices import CHOICES
from m6rec.fits.fit import model_row
from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.publication.guards import _subject
from m6rec.publication.publishing import (
    Publication,
    _by_commit,
    _publications_among,
    publications,
    publish,
    published_run,
    read_published,
    rollback,
    run_of_note,
    runs_followed,
    was_published,
)
from m6rec.publication.retention import runs_to_remove
from m6rec.runs import REMOVED
from tests.finished_runs import PLACES, config_of, finished_runs


class Reader(threading.Thread):
    """Reads the published lists all the time, without anything of ours."""

    def __init__(self, spark: SparkSession, path: str) -> None:
        super().__init__()
        self.seen: list[tuple[frozenset[str], int]] = []
        self._spark, self._path = spark, path
        self._stopped = threading.Event()
        self._has_read = threading.Condition()

    def run(self) -> None:
        while not self._stopped.is_set():
            rows = self._spark.read.format("delta").load(self._path).collect()
            runs = {row["run_id"] for row in rows} | {row["item_id"] for row in rows}
            with self._has_read:
                self.seen.append((frozenset(runs), len(rows)))
                self._has_read.notify()

    def wait_for_another(self) -> None:
        """Return when it has read once more."""
        with self._has_read:
            before = len(self.seen)
            assert self._has_read.wait_for(lambda: len(self.seen) > before, timeout=60)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def test_a_reader_sees_whole_lists_of_one_run_while_ten_are_published_and_two_taken_back(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = config_of(str(tmp_path))
    runs = finished_runs(spark, config, *(f"run-{number}" for number in range(10)))
    with pytest.raises(DataError, match="no run has been published"):
        rollback(runs[0], config)
    with pytest.raises(DataError, match="run run-x cannot be published: there is no such run"):
        publish(runs[0].for_run("run-x"), config)
    publish(runs[0], config)
    with pytest.raises(DataError, match="no run was published before run-0"):
        rollback(runs[0], config)
    reader = Reader(spark, f"{tmp_path}/{PUBLISHED}")
    reader.start()
    try:
        for run in runs[1:]:
            assert publish(run, config)
            # To publish takes less time than to read.
            reader.wait_for_another()
        assert rollback(runs[0], config, dry_run=True) == "run-8"
        assert [rollback(runs[0], config) for _ in range(2)] == ["run-8", "run-7"]
    finally:
        reader.stop()

    assert {places for _, places in reader.seen} == {PLACES}
    assert {len(run_ids) for run_ids, _ in reader.seen} == {1}
    in_order = [next(iter(run_ids)) for run_ids, _ in reader.seen]
    changes = [in_order[0], *(after for before, after in pairwise(in_order) if after != before)]
    assert len(changes) > 3
    order = [f"run-{number}" for number in (*range(10), 8, 7)]
    published = iter(order)
    assert all(run_id in published for run_id in changes)

    history = publications(runs[0])
    assert [(one.run_id, one.version) for one in history] == list(
        zip(order, range(12), strict=True)
    )
    assert [one.action for one in history] == ["publish"] * 10 + ["rollback"] * 2
    assert {one.who for one in history} == {spark.sparkContext.sparkUser()}
    commits = spark.sql(f"describe history delta.`{tmp_path}/{PUBLISHED}` limit 1").collect()
    assert json.loads(commits[0]["userMetadata"]) == {"run_id": "run-7", "action": "rollback"}
    lists = spark.read.format("delta").option("versionAsOf", 4).load(f"{tmp_path}/{PUBLISHED}")
    assert {row["run_id"] for row in lists.collect()} == {"run-4"}


def test_a_run_that_was_taken_back_is_not_published_by_resuming_it_and_that_is_said(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(str(tmp_path))
    one, two = finished_runs(spark, config, "one", "two")
    publish(one, config)
    publish(two, config)
    job.run(two, config)
    assert capsys.readouterr().err == ""
    rollback(two, config)
    job.run(two, config)
    assert published_run(two) == "one"
    said = "run two was published before, and readers see run one now; .* publish --run-id two"
    assert re.search(said, capsys.readouterr().err)


def test_an_older_run_takes_the_place_of_a_newer_one_only_where_it_is_asked_to(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(str(tmp_path))
    one, two, three = finished_runs(spark, config, "one", "two", "three")
    for run, hours in ((two, 2), (three, 3)):
        began = F.col("started_at") + F.expr(f"interval {hours} hours")
        run.delta_table("runs").update(F.col("run_id") == run.run_id, {"started_at": began})
    publish(two, config)
    monkeypatch.setattr(job, "guard", lambda *_: [])
    job.run(three, config)
    with pytest.raises(GuardError, match=r"one is not published.* before run three.* --run-id one"):
        job.run(one, config)
    assert published_run(one) == "three"
    publish(one, config, again=True)
    assert published_run(one) == "one"


def test_a_night_is_not_published_where_readers_went_back_meanwhile_from_the_run_it_goes_on_from(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(str(tmp_path))
    one, two, night, anew = finished_runs(spark, config, "one", "two", "night", "anew")
    for run in (one, two):
        publish(run, config)
    parameters = {"kept_from": "two", "chosen_by": "two", "chosen_at": "2026-11-01", "epochs": {}}
    choices = {"kind": CHOICES, **model_row(CHOICES, parameters)}
    night.write_rows("models", [choices], fit=c.SELECTION)
    rollback(two, config)
    monkeypatch.setattr(job, "guard", lambda *_: [])
    said = "goes on from run two, from which .* --rollback has gone back; .* --run-id night"
    with pytest.raises(GuardError, match=said):
        job.run(night, config)
    assert published_run(night) == "one"
    job.run(anew, config)
    assert published_run(night) == "anew"
    # Once it is asked for by name, readers go on from there again.
    publish(two, config, again=True)
    job.run(night, config)
    assert published_run(night) == "night"


def test_no_rollback_leads_to_an_unpublished_run_under_the_id_of_a_removed_one(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = config_of(str(tmp_path))
    for run in finished_runs(spark, config, "one", "two"):
        publish(run, config)
    of_one = (F.col("run_id") == "one") & (F.col("job") != "publish")
    run.delta_table("runs").update(of_one, {"status": F.lit(REMOVED)})
    finished_runs(spark, config, "one")
    with pytest.raises(DataError, match=r"run one, which was published .* has been removed"):
        rollback(run, config)
    assert published_run(run) == "two"


def test_what_readers_see_since_a_publication_was_killed_is_known_and_can_be_taken_back(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(str(tmp_path), retention={"runs": 0, "days": 0})
    one, two = finished_runs(spark, config, "one", "two")
    publish(one, config)

    def killed(self: Lakehouse, note: str) -> int:
        copy(self, note)
        raise KeyboardInterrupt

    copy = Lakehouse.replace_published
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Lakehouse, "replace_published", killed)
        publish(two, config)
    runs = DeltaTable.forPath(spark, two.address("runs"))
    before = two.version("runs")

    def history() -> list[tuple[str, str, int | None]]:
        return [(one.run_id, one.action, one.version) for one in publications(two)]

    both = [("one", "publish", 0), ("two", "publish", 1)]
    assert history() == both
    assert published_run(one) == "two"
    compared = [_subject(run, config).published for run in (one, two)]
    assert [other and other.run_id for other in compared] == ["two", "one"]
    late = datetime.now(UTC) + timedelta(days=31)
    assert runs_to_remove(one, config, late) == []
    # The same command ends it.
    assert not was_published(two)
    assert publish(two, config)
    assert history() == [both[0], ("two", "publish", 2)]

    runs.restoreToVersion(before)
    assert rollback(one, config) == "one"
    assert history() == [both[0], ("two", "publish", 2), ("one", "rollback", 3)]
    assert was_published(two)
    assert not publish(two, config)


@pytest.mark.parametrize(
    ("note", "run_id"),
    [
        ('{"run_id": "r", "action": "publish"}', "r"),
        ('{"run_id": "r"}', None),
        ("nightly optimise", None),
        ("7", None),
        ("", None),
        (None, None),
    ],
)
def test_a_note_of_another_commit_names_no_publication(
    note: str | None, run_id: str | None
) -> None:
    assert run_of_note(note) == run_id


@pytest.mark.parametrize(
    ("versions", "in_order"),
    [
        ((1, 0, 2), ["b", "a", "c"]),
        # The table was made anew; a schema of the catalogue has no versions.
        ((0, 1, 0), ["a", "b", "c"]),
        ((None, None, None), ["a", "b", "c"]),
    ],
)
def test_publications_stand_in_the_order_of_their_commits_whatever_clocks_say(
    versions: tuple[int | None, ...], in_order: list[str]
) -> None:
    rows = [
        Row(
            run_id=run_id,
            job="publish",
            status="finished",
            who=None,
            outputs=None if version is None else {PUBLISHED: version},
            finished_at=datetime(2026, 1, 1, hour),
        )
        for hour, (run_id, version) in enumerate(zip("abc", versions, strict=True))
    ]
    assert [one.run_id for one in _by_commit(_publications_among(rows))] == in_order


@pytest.mark.parametrize(
    ("actions", "followed"),
    [
        ("+a +b +c", "a b c"),
        ("+a +b +c <b", "a b"),
        ("+a +b +c <b <a", "a"),
        ("+a +b +c <b +d", "a b d"),
        ("+a +b +a", "a b a"),
        ("+a +b +a <b", "a b"),
        ("+a +a", "a"),
        ("", ""),
    ],
)
def test_rollbacks_lead_further_back_and_not_forth_again(actions: str, followed: str) -> None:
    history = [
        Publication(word[1:], "publish" if word[0] == "+" else "rollback", None, None, None)
        for word in actions.split()
    ]
    assert runs_followed(history) == followed.split()


def test_views_of_a_catalogue_follow_the_published_run(spark: SparkSession, tmp_path: Path) -> None:
    schema = "spark_catalog.publications"
    spark.sql(f"create schema {schema} location '{tmp_path}/schema'")
    try:
        config = config_of(schema, artifacts=str(tmp_path / "artifacts"))
        one, two = finished_runs(spark, config, "one", "two")

        def listed() -> set[str]:
            view = spark.table(f"{schema}.recommendations_published")
            return {row["item_id"] for row in view.collect()}

        publish(one, config)
        assert listed() == {"one"}
        publish(two, config)
        assert listed() == {"two"}
        rollback(two, config)
        assert listed() == {"one"}
        assert read_published(spark, schema, "recommendations").count() == PLACES
        view = f"{schema}.recommendations_published"
        spark.sql(f"drop view {view}")
        spark.table(f"{schema}.recommendations").write.format("delta").saveAsTable(view)
        with pytest.raises(TableError, match=r"recommendations_published is a table, and readers"):
            publish(two, config, again=True)
        assert published_run(one) == "one"
    finally:
        spark.sql(f"drop schema {schema} cascade")
