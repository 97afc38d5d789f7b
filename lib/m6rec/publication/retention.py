"""Remove the runs that no rule of `retention` keeps, and the files that no table needs any more."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.publication import RetentionConfig
from m6rec.config.run import Config
from m6rec.fits.choices import kept_choices
from m6rec.fits.fit import Fit
from m6rec.job_records import CLEAN
from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.publication.publishing import publications, runs_followed
from m6rec.publication.upkeep import existing_tables, for_each, vacuum, vacuumed_bytes
from m6rec.runs import (
    BESIDE_RUNS,
    GONE,
    PUBLICATIONS,
    REMOVED,
    REMOVING,
    Attempt,
    collected_runs,
    jobs_going_on,
    start_of_work,
)
from m6rec.schemas import RUNS_TABLE, TABLES
from m6rec.spark.local_delta import Condition
from m6rec.spark.places import bytes_below, remove_folder

ARTIFACTS = "artifacts"


@dataclass(frozen=True)
class Removal:
    """What is removed, or would be, from one place.

    Attributes:
        place: a table, or `artifacts`.
        bytes: of the files that hold nothing but removed rows.
        unused: of the files that no version within Delta's safe period needs. To list them takes
            as long as to delete them, so only a dry run does; else 0.
    """

    place: str
    bytes: int
    unused: int


@dataclass(frozen=True)
class Cleaning:
    """The runs that are removed, or would be, and the places that they are removed from."""

    runs: tuple[str, ...]
    removals: tuple[Removal, ...]


def clean(
    lakehouse: Lakehouse,
    config: Config,
    now: datetime,
    dry_run: bool = False,
    vacuum_every: timedelta = timedelta(0),
) -> Cleaning:
    """Remove the runs that no rule keeps from all tables, and delete unused files.

    Files of rows that are removed now are deleted by a later cleaning, after Delta's safe period,
    because a reader may be reading them. Artifacts go at once.

    Args:
        lakehouse: its run id is that of the cleaning.
        config: its section `retention` has the rules.
        now: the time up to which runs have an age.
        dry_run: whether to say only what would be removed.
        vacuum_every: unused files are left to a later cleaning where a cleaning has deleted some
            within this time, or the lake is younger; to look for them takes longer than all else.
    """
    runs = [
        *_half_removed(lakehouse),
        *runs_to_remove(lakehouse, config, now),
    ]
    tables = existing_tables(lakehouse)
    sizes = for_each(tables, lambda name: _bytes_of(lakehouse, name, runs))
    unused = vacuumed_bytes(lakehouse, tables) if dry_run else [0] * len(tables)
    removals = [Removal(*one) for one in zip(tables, sizes, unused, strict=True)]
    folders = [lakehouse.for_run(run_id).artifact_path() for run_id in runs]
    size = sum(bytes_below(lakehouse.spark, folder) for folder in folders)
    removals.append(Removal(ARTIFACTS, size, 0))
    if not dry_run:
        needs_vacuum = _needs_vacuum(lakehouse, now - vacuum_every)
        _remove(lakehouse, config, runs, tables, folders, needs_vacuum)
    return Cleaning(tuple(runs), tuple(removals))


def runs_to_remove(lakehouse: Lakehouse, config: Config, now: datetime) -> list[str]:
    """The runs that nothing keeps and whose jobs are not going on, the oldest first.

    A rule of `retention` keeps a run, and so does a comparison that each next run makes with it, or
    a night that goes on from it and has not ended.
    """
    last: dict[str, datetime] = {}
    rows = collected_runs(lakehouse, {})
    for row in rows:
        if row["job"] not in BESIDE_RUNS and row["status"] not in GONE:
            at = (row["finished_at"] or row["started_at"]).astimezone(UTC)
            last[row[c.RUN_ID]] = max(at, last.get(row[c.RUN_ID], at))
    oldest_first = sorted(last, key=lambda run_id: (last[run_id], run_id))
    ages = {run_id: now - last[run_id] for run_id in oldest_first}
    going_on = {row[c.RUN_ID] for row in jobs_going_on(rows, now)}
    begun_from = {_night_goes_on_from(lakehouse.for_run(run_id), config) for run_id in going_on}
    kept = {*going_on, *begun_from, config.evaluate.compare_with_run}
    removed = removable(ages, runs_followed(publications(lakehouse)), config.retention)
    return [run_id for run_id in removed if run_id not in kept]


def _night_goes_on_from(night: Lakehouse, config: Config) -> str | None:
    choices = kept_choices(Fit(night, config, c.SELECTION))
    return None if choices is None else choices.kept_from


def _half_removed(lakehouse: Lakehouse) -> list[str]:
    """Runs whose removal was begun by a cleaning that was killed or failed."""
    rows = [row for row in collected_runs(lakehouse, {}) if row["job"] not in PUBLICATIONS]
    # A run that was removed may be made again under its id.
    again = {row[c.RUN_ID] for row in rows if row["status"] not in GONE}
    return sorted({row[c.RUN_ID] for row in rows if row["status"] == REMOVING} - again)


def removable(
    ages: dict[str, timedelta], followed: Sequence[str], retention: RetentionConfig
) -> list[str]:
    """The runs, of those with an age, that no rule keeps.

    Args:
        ages: of all runs, the oldest first.
        followed: the runs to which rollbacks lead, with the published one at the end.
        retention: the rules.
    """
    oldest_first = list(ages)
    latest = oldest_first[len(ages) - min(retention.runs, len(ages)) :]
    kept = {*followed[-2:], *latest}
    young = timedelta(days=retention.days)
    return [run_id for run_id in oldest_first if run_id not in kept and ages[run_id] > young]


def _bytes_of(lakehouse: Lakehouse, name: str, runs: Sequence[str]) -> int:
    if name == PUBLISHED or TABLES[name].shared or not runs:
        return 0
    snapshot = lakehouse.local_snapshot(name)
    if snapshot is not None:
        return sum(file.size for file in snapshot.files_of({c.RUN_ID: tuple(runs)}))
    rows = lakehouse.delta_table(name).toDF().where(F.col(c.RUN_ID).isin(*runs))
    files = rows.select("_metadata.file_path", "_metadata.file_size").distinct()
    return int(files.agg(F.coalesce(F.sum("file_size"), F.lit(0))).collect()[0][0])


def _needs_vacuum(lakehouse: Lakehouse, since: datetime) -> bool:
    """Whether there may be unused files from before `since` that no later cleaning has deleted.

    The row of a cleaning that has deleted files names the tables.
    """
    rows = collected_runs(lakehouse, {})
    if not rows:
        return True
    deleted = [row["finished_at"] for row in rows if row["job"] == CLEAN.name and row["outputs"]]
    return start_of_work(rows) < since and not any(at.astimezone(UTC) > since for at in deleted)


def _remove(
    lakehouse: Lakehouse,
    config: Config,
    runs: Collection[str],
    tables: Sequence[str],
    folders: Sequence[str],
    vacuums: bool,
) -> None:
    of_runs: Condition = {c.RUN_ID: tuple(runs)}

    def delete(name: str) -> None:
        if lakehouse.delete_rows(name, of_runs) is None:
            lakehouse.delta_table(name).delete(F.col(c.RUN_ID).isin(*runs))

    def mark(rows: Condition, status: str) -> None:
        lakehouse.update_rows(RUNS_TABLE.name, {**of_runs, **rows}, {"status": status})

    attempt = Attempt(lakehouse, config, CLEAN.name)
    if runs:
        # This comes first, so that nobody publishes a run that is half removed, and that the next
        # cleaning goes on with one that was killed.
        jobs = {row["job"] for row in collected_runs(lakehouse, of_runs)}
        mark({"job": tuple(jobs.difference(PUBLICATIONS))}, REMOVING)
        own = [name for name in tables if name in TABLES and not TABLES[name].shared]
        for_each(own, delete)
    for folder in folders:
        remove_folder(lakehouse.spark, folder)
    if vacuums:
        vacuum(lakehouse, tables)
        attempt.add({name: lakehouse.version(name) for name in tables})
    elif runs:
        attempt.add({})
    if runs:
        # This comes last, so that no run is removed without a row that says when.
        mark({"status": (REMOVING,)}, REMOVED)
