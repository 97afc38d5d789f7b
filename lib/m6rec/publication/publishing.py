"""Make a run the one that readers follow, go back to the one before, and tell the history.

By path, readers follow the Delta table `published/recommendations`, which each publication
replaces in one commit. In a catalogue they follow views such as `recommendations_published`, which
show the rows of the run that table `runs` names last.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.errors import DataError, TableError
from m6rec.job_records import ABLATE, EVALUATE, PUBLISH, TRAIN_RATINGS
from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.runs import (
    FAILED,
    FINISHED,
    GONE,
    PUBLICATIONS,
    ROLLBACK,
    Attempt,
    check_same_config,
    collected_runs,
    jobs_of_run,
    work_among,
    work_of_run,
)
from m6rec.schemas import RUNS_TABLE, TABLES

# So many of the latest commits are searched for that of a publication whose job was killed.
_LATEST_COMMITS = 1000
# Jobs from whose tables no list follows.
_BESIDE_THE_LISTS = {ABLATE.name, EVALUATE.name, TRAIN_RATINGS.name}


@dataclass(frozen=True)
class Publication:
    """One time that a run became the published one.

    Attributes:
        run_id: the run.
        action: `publish` or `rollback`.
        who: the user of the machine or cluster who did it; None for rows of earlier releases.
        at: when.
        version: of the published table; None in a catalogue.
        has_ended: whether its job has ended, and was not killed after readers saw the lists.
    """

    run_id: str
    action: str
    who: str | None
    at: datetime
    version: int | None
    has_ended: bool = True


def publish(lakehouse: Lakehouse, config: Config, again: bool = False) -> bool:
    """Make the run the published one in one commit; return whether anything changed.

    A run that has been published before stays as it is, unless `again` asks to go back to it.

    Raises:
        ConfigError: the run was begun with another configuration.
        DataError: the run is not there, has no recommendations, or a job that has not finished.
    """
    rows = _rows_of_run_and_publications(lakehouse)
    outputs = _checked_outputs(_work_among(rows, lakehouse.run_id), lakehouse, config)
    history = _history_among(lakehouse, rows)
    if _was_published(rows, lakehouse.run_id, history) and not again:
        return False
    _commit(lakehouse, config, PUBLISH.name, outputs)
    return True


def rollback(lakehouse: Lakehouse, config: Config, dry_run: bool = False) -> str:
    """Make the run that was published before the present one the published one again.

    Nothing changes in a `dry_run`.

    Returns:
        The id of the run.

    Raises:
        DataError: no run was published before the present one.
    """
    history = publications(lakehouse)
    followed = runs_followed(history)
    if len(followed) < 2:
        found = (
            f"no run was published before {followed[0]}"
            if followed
            else "no run has been published"
        )
        raise DataError(
            f"there is no run to go back to: {found} in {lakehouse.location}; see publish --history"
        )
    target = lakehouse.for_run(followed[-2])
    rows = _rows_of_run_and_publications(target)
    outputs = _outputs_of(_work_among(rows, target.run_id), target.run_id)
    if not _was_published(rows, target.run_id, history):
        raise DataError(
            f"there is no run to go back to: run {target.run_id}, which was published before the"
            " present one, has been removed (job clean), and another one of its id has not been"
            " published; give publish --run-id to publish a run that is there"
        )
    if not dry_run:
        _commit(target, config, ROLLBACK, outputs)
    return target.run_id


def outputs_to_publish(lakehouse: Lakehouse, config: Config) -> dict[str, int]:
    """The versions of all tables that the run's jobs wrote, if the run may be published.

    Raises:
        ConfigError: the run was begun with another configuration.
        DataError: the run is not there, has no recommendations, or a job that has not finished.
    """
    return _checked_outputs(work_of_run(lakehouse), lakehouse, config)


def publications(lakehouse: Lakehouse) -> list[Publication]:
    """Each time that a run of this lake became the published one, in order."""
    return _history_among(lakehouse, _rows_of_run_and_publications(lakehouse))


def runs_followed(history: Sequence[Publication]) -> list[str]:
    """The published run, at the end, and before it those to which rollbacks lead in turn.

    A rollback takes the last one away, so that the next rollback leads further back and not forward
    to it again.
    """
    followed: list[str] = []
    for one in history:
        if one.action == ROLLBACK and one.run_id in followed:
            while followed[-1] != one.run_id:
                followed.pop()
        elif not followed or followed[-1] != one.run_id:
            followed.append(one.run_id)
    return followed


def run_to_follow(lakehouse: Lakehouse, run_id: str | None) -> Lakehouse:
    """The tables of the run of that id, or of the published run.

    Raises:
        DataError: no run has been published.
    """
    chosen = run_id or published_run(lakehouse)
    if chosen is None:
        raise DataError(
            f"no run has been published in {lakehouse.location}; give --run-id, or run the"
            " pipeline first"
        )
    return lakehouse.for_run(chosen)


def was_published(lakehouse: Lakehouse) -> bool:
    """Whether the run has been published since it began.

    Another one of the same id, which has been removed, may have been published before.
    """
    rows = _rows_of_run_and_publications(lakehouse)
    return _was_published(rows, lakehouse.run_id, _history_among(lakehouse, rows))


def published_run(lakehouse: Lakehouse) -> str | None:
    """The run id that was published last, or None where no run has been."""
    history = publications(lakehouse)
    return history[-1].run_id if history else None


def read_published(spark: SparkSession, location: str, name: str) -> DataFrame:
    """Read the published run's rows of table `name`, whatever later runs are doing.

    Raises:
        DataError: no run has been published, or the published one did not write this table.
    """
    lakehouse = Lakehouse(spark, location, "")
    run_id = published_run(lakehouse)
    if run_id is None:
        raise DataError(f"no run has been published in {location}; run the pipeline first")
    own = lakehouse.for_run(run_id)
    written = {table for row in jobs_of_run(own) for table in row["outputs"] or {}}
    if name not in written:
        raise DataError(
            f"the published run {run_id} did not write {name}; it wrote {sorted(written)}"
        )
    return own.read(name)


def is_folded_in(lakehouse: Lakehouse, user_id: str) -> bool:
    """Whether readers see lists of the user that are newer than those of the run, and of its own.

    Job `fold_in` makes such lists, of the run that is published.
    """
    if not lakehouse.by_path or not lakehouse.exists(PUBLISHED):
        return False
    of_user = F.col(c.USER_ID) == user_id
    published = lakehouse.delta_table(PUBLISHED).toDF()
    own = lakehouse.read("recommendations").where(of_user)
    seen = published.where(of_user & (F.col(c.RUN_ID) == lakehouse.run_id))
    made, seen_since = (
        frame.agg(F.max(c.GENERATED_AT).alias("at")).collect()[0]["at"] for frame in (own, seen)
    )
    return seen_since is not None and (made is None or seen_since > made)


def _rows_of_run_and_publications(lakehouse: Lakehouse) -> list[Row]:
    """The rows of `runs` of this run, and those of all publications, by one query."""
    of_run = {c.RUN_ID: (lakehouse.run_id,)}
    return collected_runs(lakehouse, of_run, {"job": PUBLICATIONS})


def _work_among(rows: Sequence[Row], run_id: str) -> list[Row]:
    return work_among(row for row in rows if row[c.RUN_ID] == run_id)


def _was_published(rows: Sequence[Row], run_id: str, history: Sequence[Publication]) -> bool:
    begun = [row["started_at"].astimezone(UTC) for row in _work_among(rows, run_id)]
    # The latest publication does not count if its job was killed: that job must be finished first.
    ended = [one for one in history if one.has_ended or one is not history[-1]]
    published = [one.at for one in ended if one.run_id == run_id]
    return bool(begun and published) and max(published) > min(begun)


def _history_among(lakehouse: Lakehouse, rows: Sequence[Row]) -> list[Publication]:
    ended = _publications_among(rows)
    return _by_commit([*ended, *_not_ended(lakehouse, rows, ended)])


def _publications_among(rows: Sequence[Row]) -> list[Publication]:
    """Those whose job has ended."""
    return [
        Publication(
            row[c.RUN_ID],
            row["job"],
            row["who"],
            row["finished_at"].astimezone(UTC),
            (row["outputs"] or {}).get(PUBLISHED),
        )
        for row in rows
        if row["job"] in PUBLICATIONS and row["status"] == FINISHED
    ]


def _not_ended(
    lakehouse: Lakehouse, rows: Sequence[Row], ended: Sequence[Publication]
) -> Iterator[Publication]:
    """Those that readers by path have seen, and whose job was killed before its row says so.

    A rollback that was killed is none of them: the same command does it again, and would lead
    further back. Only the latest commits are looked at: `fold_in` makes one for each batch.
    """
    begun = [row for row in rows if row["job"] == PUBLISH.name and row["status"] != FINISHED]
    if not begun or not lakehouse.by_path or not lakehouse.exists(PUBLISHED):
        return
    commits = lakehouse.delta_table(PUBLISHED).history(_LATEST_COMMITS).orderBy("version")
    noted = commits.where(F.col("userMetadata").isNotNull())
    last = {row["userMetadata"]: row for row in noted.collect()}
    known = {(one.run_id, one.version) for one in ended}
    for row in begun:
        commit = last.get(_note(row[c.RUN_ID], PUBLISH.name))
        if commit is not None and (row[c.RUN_ID], commit["version"]) not in known:
            at, version = commit["timestamp"].astimezone(UTC), int(commit["version"])
            yield Publication(row[c.RUN_ID], PUBLISH.name, row["who"], at, version, has_ended=False)


def _by_commit(found: Sequence[Publication]) -> list[Publication]:
    """The publications in the order of their commits."""
    in_order = sorted(found, key=lambda one: (one.at, one.run_id))
    versions = [one.version for one in in_order if one.version is not None]
    if len(set(versions)) < len(in_order):
        # They are ordered by time: a catalogue has no versions, and a table that was made anew
        # counts them from 0 again.
        return in_order
    # The clocks of two machines may differ.
    return [one for _, one in sorted(zip(versions, in_order, strict=True), key=itemgetter(0))]


def _checked_outputs(work: list[Row], lakehouse: Lakehouse, config: Config) -> dict[str, int]:
    check_same_config(work, config, lakehouse.run_id)
    return _outputs_of(work, lakehouse.run_id)


def _commit(lakehouse: Lakehouse, config: Config, action: str, outputs: Mapping[str, int]) -> None:
    """Make the change that readers see, then have the row of `runs` say that it is finished.

    By path, the change is one commit of the published table. In a catalogue, the row itself is the
    change. Where the job is killed between the two, the same command does both again. The row says
    from the start that the job goes on, so that nobody is forgotten meanwhile.
    """
    with Attempt(lakehouse, config, action).once_more() as versions:
        versions.update(outputs)
        if lakehouse.by_path:
            versions[PUBLISHED] = lakehouse.replace_published(_note(lakehouse.run_id, action))
        else:
            _create_views(lakehouse, outputs)


def _note(run_id: str, action: str) -> str:
    """What the history of the published table says of a publication."""
    return json.dumps({c.RUN_ID: run_id, "action": action})


def run_of_note(note: str | None) -> str | None:
    """The run that a commit with this note in its history has published; None for any other.

    An owner's own commits may have notes, too.
    """
    try:
        said = json.loads(note or "")
    except ValueError:
        return None
    is_ours = isinstance(said, dict) and {c.RUN_ID, "action"} <= said.keys()
    return str(said[c.RUN_ID]) if is_ours else None


def view_of_published(lakehouse: Lakehouse, name: str) -> str:
    """The view by which readers of a catalogue find the published run's rows of a table."""
    return f"{lakehouse.address(name)}_published"


def _create_views(lakehouse: Lakehouse, names: Mapping[str, int]) -> None:
    """A view of the published run's rows of each table that runs do not share.

    Raises:
        TableError: something else has the name of a view.
    """
    spark = lakehouse.spark
    actions = ", ".join(f"'{action}'" for action in PUBLICATIONS)
    published = (
        f"SELECT max_by({c.RUN_ID}, finished_at) FROM {lakehouse.address(RUNS_TABLE.name)}"
        f" WHERE job IN ({actions}) AND status = '{FINISHED}'"
    )
    for name in names:
        if name not in TABLES or TABLES[name].shared:
            continue
        table, view = lakehouse.address(name), view_of_published(lakehouse, name)
        if spark.catalog.tableExists(view):
            if spark.catalog.getTable(view).tableType != "VIEW":
                raise TableError(
                    f"{view} is a table, and readers find the published rows by a view of this"
                    f" name; drop the table (DROP TABLE {view}), and publish the run"
                )
            # A view that exists follows the published run without a change.
            if spark.table(view).columns == spark.table(table).columns:
                continue
        spark.sql(
            f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM {table}"
            f" WHERE {c.RUN_ID} = ({published})"
        )


def _outputs_of(work: Sequence[Row], run_id: str) -> dict[str, int]:
    if not work:
        raise DataError(
            f"run {run_id} cannot be published: there is no such run; give the --run-id of a"
            " finished one, which table runs in the lake names"
        )
    if any(row["status"] in GONE for row in work):
        raise DataError(
            f"run {run_id} cannot be published: clean has removed it; publish another run, or start"
            " a new one (retention in the config says which runs are kept)"
        )
    # Started by hand on a run without a test, these jobs fail, which has no effect on its lists.
    failed = [row for row in work if row["status"] == FAILED and row["job"] in _BESIDE_THE_LISTS]
    work = [row for row in work if row not in failed]
    unfinished = sorted(row["job"] for row in work if row["status"] != FINISHED)
    if unfinished:
        raise DataError(
            f"run {run_id} cannot be published: {unfinished} did not finish;"
            " run them again with the same --run-id"
        )
    outputs: dict[str, int] = {}
    for row in sorted(work, key=lambda row: row["finished_at"]):
        for name, version in (row["outputs"] or {}).items():
            outputs[name] = max(version, outputs.get(name, 0))
    if "recommendations" not in outputs:
        raise DataError(
            f"run {run_id} cannot be published: it has no recommendations; run job recommend first"
        )
    return outputs
