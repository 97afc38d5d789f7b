"""Lineage: who ran which job of which run when, and what it read and wrote.

Each job of a run has one row in table `runs`. A job that has finished is not run again under the
same run id; a job that was killed or failed is. What is done to finished runs, such as publishing
them, has a row for each time.
"""

import json
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pyspark
from pyspark.sql import Row, SparkSession
from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

from m6rec import __version__
from m6rec import columns as c
from m6rec.config.base import TableSource
from m6rec.config.reading import keys_of_differences, some_of, value_at
from m6rec.config.run import INTERACTIONS_SOURCE, Config, sources_of
from m6rec.errors import ConfigError, DataError
from m6rec.job_records import (
    CLEAN,
    EVALUATE,
    FOLD_IN,
    FORGET,
    JOBS_OF_A_RUN,
    KEEP_CHOICES,
    PREPARE_INTERACTIONS,
    PUBLISH,
    RECOMMEND,
    JobRecord,
)
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import HYBRID
from m6rec.schemas import RUNS_TABLE
from m6rec.spark.failures import saying_what_failed, unforeseen
from m6rec.spark.local_delta import Condition
from m6rec.spark.messages import keep_trace, say
from m6rec.spark.session import starting_workers
from m6rec.spark.sources import (
    at_versions,
    session_for_sources,
    source_versions,
    time_of_version,
)

STARTED = "started"
FINISHED = "finished"
FAILED = "failed"
# The run's rows are being removed from all other tables, and have been.
REMOVING = "removing"
REMOVED = "removed"
GONE = (REMOVING, REMOVED)
# Delta's safe period, after which files of earlier versions may be gone.
_VERSIONS_LAST = timedelta(days=7)
ROLLBACK = "rollback"
# The actions that make a run the published one; each time has a row of its own.
PUBLICATIONS = (PUBLISH.name, ROLLBACK)
# The jobs that work on the lake as a whole, under run ids by which nothing is trained.
UPKEEP = (CLEAN.name, FORGET.name, FOLD_IN.name)
# The jobs that make no tables of a run.
BESIDE_RUNS = (*PUBLICATIONS, *UPKEEP)
# Runs that differ in one of these hold out other pairs, or rank other items.
_SAME_WHERE_COMPARED = (
    "split.strategy",
    "split.test_share",
    "split.test_items",
    "split.validation_strategy",
    "split.validation_share",
    "interactions",
    "evaluate.candidates",
    "recommend.rules.mask_seen",
)
# What models see of a pair, by which no pair is held out or left out; and how a table is read that
# runs of different nights read at different versions.
_MAY_DIFFER = frozenset(
    {
        "interactions.weighting",
        "interactions.half_life_days",
        "interactions.columns.context",
        "interactions.source.format",
        "interactions.source.version",
        "interactions.source.timestamp",
    }
)
_A_RUN_MAY_TAKE = timedelta(days=1)
_SECONDS_BETWEEN_SIGNS = 300.0
# A commit may be held up, and the clocks of two machines may differ.
A_STREAM_MAY_BE_SILENT = timedelta(minutes=15)
_CLOCKS_MAY_DIFFER = timedelta(minutes=1)
# The owner's tables that no job reads but the first.
_READ_AT_FIRST = (INTERACTIONS_SOURCE, "split.test", "split.validation")


@dataclass(frozen=True)
class Job:
    """A job: its record, and its function.

    Attributes:
        record: what it reads, writes and rests on.
        run: called with the run's tables and the configuration. Jobs that train take a third
            argument, `fits`, the names of the fits to train; all unless given.
    """

    record: JobRecord
    run: Callable[..., None]

    @property
    def name(self) -> str:
        """The job's name."""
        return self.record.name


def run_job(lakehouse: Lakehouse, config: Config, job: Job) -> bool:
    """Run a job of `lakehouse.run_id` unless it has finished, and record it; return whether it ran.

    From a notebook: `run_job(lakehouse, config, prepare_interactions.JOB)`, and so on in the order
    of `jobs.pipeline`.

    Raises:
        ConfigError: the run was begun with another configuration.
        DataError: a job whose tables this one reads has not finished.
    """
    with starting_workers(lakehouse.spark):
        return run_jobs(lakehouse, config, [("", job)]) == [job.name]


def numbered(jobs: Iterable[Job], total: int, first: int = 1) -> Iterator[tuple[str, Job]]:
    """The jobs with a line for each that says how far a run has come."""
    for number, job in enumerate(jobs, start=first):
        yield f"[{number}/{total}] {job.name}", job


def run_jobs(lakehouse: Lakehouse, config: Config, jobs: Iterable[tuple[str, Job]]) -> list[str]:
    """Run those jobs of a run that have not finished, in turn; return their names.

    Args:
        lakehouse: the tables of the run.
        config: its configuration.
        jobs: each with the line that is printed before it, if any. One is asked for when the one
            before has finished, so that what comes next may follow from its tables.

    Raises:
        ConfigError: the run was begun with another configuration.
        DataError: a job whose tables another reads has not finished; or since the run began, users
            whom it would read have been forgotten, or a table of the owner's was made anew.
    """
    with session_for_sources(lakehouse.spark), ThreadPoolExecutor(1) as background:
        earlier = work_so_far(lakehouse)
        check_same_config(earlier, config, lakehouse.run_id)
        sources = sources_of_run(lakehouse, config, earlier)
        pinned = at_versions(config, sources)
        finished = {row["job"] for row in earlier if row["status"] == FINISHED}
        journal, ran = _Journal(lakehouse, background), []
        may_read_another = bool(earlier and sources)
        try:
            for title, job in jobs:
                if job.name in finished:
                    journal.say(title, f"{job.name}: skipped (finished)")
                    journal.write()
                    continue
                _check_turn(finished, job.record, lakehouse.run_id)
                if job.name == PREPARE_INTERACTIONS.name and sources:
                    _refuse_after_forgetting(lakehouse, earlier)
                if may_read_another and job.record.reads_sources:
                    _refuse_tables_made_anew(lakehouse, pinned, job.record, earlier)
                    may_read_another = False
                attempt = Attempt(lakehouse, config, job.name, sources=sources)
                journal.add(attempt.row(STARTED))
                journal.say(title)
                _run_recorded(lakehouse, pinned, job, attempt, journal)
                finished.add(job.name)
                ran.append(job.name)
        finally:
            journal.write()
    return ran


def _run_recorded(
    lakehouse: Lakehouse, config: Config, job: Job, attempt: "Attempt", journal: "_Journal"
) -> None:
    """Run a job, and leave it to the journal's next commit to record that it has finished."""
    own, written = lakehouse.for_one_job(journal.background), journal.write_in_background()
    try:
        with saying_what_failed(f"job {job.name}", sources_of(config)):
            job.run(own, config)
            own.settle()
        written.result()
    except Exception:
        wait([written])
        attempt.save(FAILED, own.inputs, own.outputs)
        raise
    row = attempt.row(FINISHED, own.inputs, own.outputs)
    seconds = (row["finished_at"] - attempt.started_at).total_seconds()
    journal.add(row)
    journal.say(f"{job.name}: finished in {seconds:.1f} s")


class _Journal:
    """Writes rows of a run to table `runs`, and prints lines about them once they are written.

    A commit takes longer than many a job on a small table. So one commit records both the end of a
    job and the start of the next one, while that one runs. A job that was killed before this commit
    is run again.
    """

    def __init__(self, lakehouse: Lakehouse, background: ThreadPoolExecutor) -> None:
        self._lakehouse = lakehouse
        self.background = background
        self._rows: list[dict[str, Any]] = []
        self._lines: list[str] = []

    def add(self, row: dict[str, Any]) -> None:
        """Have the next commit replace the row of a job."""
        self._rows.append(row)

    def say(self, *lines: str) -> None:
        """Print lines, but for empty ones, once the rows so far have been written."""
        self._lines += [line for line in lines if line]

    def write(self) -> None:
        """Write the rows, and print the lines."""
        self.write_in_background().result()

    def write_in_background(self) -> Future[None]:
        """`write` while the caller does other work."""
        rows, lines = self._rows, self._lines
        self._rows, self._lines = [], []
        return self.background.submit(self._write, rows, lines)

    def _write(self, rows: list[dict[str, Any]], lines: list[str]) -> None:
        if rows:
            jobs = tuple(row["job"] for row in rows)
            self._lakehouse.write_rows(RUNS_TABLE.name, rows, job=jobs)
        for line in lines:
            print(line, flush=True)


def step_seconds(lakehouse: Lakehouse) -> dict[str, float]:
    """Wall time in seconds of each finished job of the run, in their order."""
    rows = sorted(work_of_run(lakehouse), key=lambda row: row["started_at"])
    return {
        # Local times jump where summer begins and ends.
        row["job"]: (
            row["finished_at"].astimezone(UTC) - row["started_at"].astimezone(UTC)
        ).total_seconds()
        for row in rows
        if row["finished_at"] is not None
    }


def configurations_evaluated(lakehouse: Lakehouse) -> int:
    """How many configurations have been evaluated in this lake, in whatever run."""
    evaluations = {"job": (EVALUATE.name,), "status": (FINISHED, *GONE)}
    return len({row["config_hash"] for row in collected_runs(lakehouse, evaluations)})


@lru_cache
def code_version() -> str:
    """The package's version, with the git commit where it runs from a working tree."""
    here = Path(__file__).resolve()
    if not _git(here.parent, "ls-files", here.name):
        return __version__
    return f"{__version__}+{_git(here.parent, 'describe', '--always', '--dirty', '--exclude=*')}"


@lru_cache
def versions_in_use() -> str:
    """The versions of the code and of the libraries from which numbers follow.

    BLAS rounds by the processor for which its kernels are made.
    """
    # To import torch takes seconds.
    libraries = f"Spark {pyspark.__version__}, NumPy {np.__version__}, torch {version('torch')}"
    processors = {one["architecture"] for one in threadpool_info() if "architecture" in one}
    return ", ".join(
        [code_version(), libraries, *(f"BLAS for {one}" for one in sorted(processors))]
    )


def _git(folder: Path, *arguments: str) -> str:
    """Output of a git command; empty without git or outside a repository."""
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return result.stdout.strip()


@dataclass(frozen=True)
class Attempt:
    """One attempt at a job, or at something else that is done to a run, for its row of `runs`."""

    lakehouse: Lakehouse
    config: Config
    job: str
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    sources: Mapping[str, int] = field(default_factory=dict)

    def save(
        self,
        status: str,
        inputs: Mapping[str, int] | None = None,
        outputs: Mapping[str, int] | None = None,
    ) -> None:
        """Replace the job's row in one commit."""
        row = self.row(status, inputs, outputs)
        self.lakehouse.write_rows(RUNS_TABLE.name, [row], job=self.job)

    def add(self, outputs: Mapping[str, int]) -> None:
        """Add a row to those of earlier times in one commit: the job has finished."""
        row = self.row(FINISHED, {}, outputs)
        self.lakehouse.append_rows(RUNS_TABLE.name, [row], job=self.job)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Have the job's row say that it goes on, again and again, and then that it has ended.

        A stream that is stopped from outside cannot say so any more.
        """
        self._sign()
        status, ended = FAILED, Event()
        try:
            with ThreadPoolExecutor(1) as background:
                background.submit(self._sign_until, ended)
                try:
                    yield
                finally:
                    ended.set()
            status = FINISHED
        except KeyboardInterrupt:
            # There is no other way to end a stream.
            status = FINISHED
            raise
        finally:
            self.save(status)

    def _sign(self) -> None:
        replace(self, started_at=datetime.now(UTC)).save(STARTED)

    def _sign_until(self, ended: Event) -> None:
        while not ended.wait(_SECONDS_BETWEEN_SIGNS):
            try:
                self._sign()
            except Exception as error:
                keep_trace(error)
                found = unforeseen(error)
                say("warning", f"table runs does not say that {self.job} goes on: {found}")

    @contextmanager
    def once_more(self) -> Iterator[dict[str, int]]:
        """Add a row to those of earlier times, which says at first that the job goes on.

        Rows of earlier times that did not finish go.

        Yields:
            What the job writes, to be filled: versions of tables.
        """
        own = {c.RUN_ID: (self.lakehouse.run_id,), "job": (self.job,)}
        rows = collected_runs(self.lakehouse, own)
        earlier = [_row_to_write(row) for row in rows if row["status"] == FINISHED]
        outputs: dict[str, int] = {}

        def write(status: str) -> None:
            both = [*earlier, self.row(status, {}, outputs)]
            self.lakehouse.write_rows(RUNS_TABLE.name, both, job=self.job)

        write(STARTED)
        try:
            yield outputs
        except Exception:
            write(FAILED)
            raise
        write(FINISHED)

    def row(
        self,
        status: str,
        inputs: Mapping[str, int] | None = None,
        outputs: Mapping[str, int] | None = None,
    ) -> dict[str, Any]:
        """The job's row as it is now."""
        return {
            "job": self.job,
            "status": status,
            "config": self.config.model_dump_json(),
            "config_hash": self.config.fingerprint(),
            "code_version": versions_in_use(),
            "seed": self.config.seed,
            "inputs": dict(inputs or {}),
            "outputs": dict(outputs or {}),
            "started_at": self.started_at,
            "finished_at": None if status == STARTED else datetime.now(UTC),
            "who": self.lakehouse.spark.sparkContext.sparkUser(),
            "sources": dict(self.sources),
            "given": json.dumps(self.config.given()),
        }


def _row_to_write(row: Row) -> dict[str, Any]:
    """A row as it was collected, whose times have no zone and are local, for it to be written."""
    ends = {name: row[name] and row[name].astimezone(UTC) for name in ("started_at", "finished_at")}
    return {**row.asDict(), **ends}


def sources_of_run(lakehouse: Lakehouse, config: Config, jobs: Sequence[Row]) -> Mapping[str, int]:
    """The versions at which all jobs of the run read the owner's tables.

    The first job decides, as the tables are when it starts.
    """
    for row in sorted(jobs, key=lambda row: row["started_at"]):
        if row["sources"] is not None:
            recorded: dict[str, int] = row["sources"]
            return recorded
    return source_versions(lakehouse.spark, config)


def is_made_anew(
    spark: SparkSession, source: TableSource, version: int, jobs: Sequence[Row]
) -> bool | None:
    """Whether a version of an owner's table is not the one that a run has read under that number.

    The run's first job has read it, which may have been committed while that job ran. One that was
    committed after the job's end belongs to a table that was made anew. Where no job has ended, the
    first has at least begun, and versions are looked up before. None where it cannot be told: the
    version is gone, or the run has no jobs.

    Args:
        spark: the session.
        source: the table.
        version: that the run has read.
        jobs: the run's rows of `runs`.
    """
    committed_at = time_of_version(spark, source, version)
    ends = [row["finished_at"] for row in jobs if row["finished_at"]]
    starts = [row["started_at"] + _CLOCKS_MAY_DIFFER for row in jobs]
    read_by = min(ends or starts, default=None)
    if committed_at is None or read_by is None:
        return None
    return bool(committed_at > read_by)


def sources_made_anew(
    spark: SparkSession, config: Config, jobs: Sequence[Row]
) -> Iterator[tuple[str, TableSource]]:
    """The keys and sources of a config that are other tables than a run has read.

    Args:
        spark: the session.
        config: its sources are at the versions that the run has read.
        jobs: the run's rows of `runs`.
    """
    for key, source, _ in sources_of(config):
        if source.version is not None and is_made_anew(spark, source, source.version, jobs):
            yield key, source


def as_read_by(lakehouse: Lakehouse, config: Config) -> Config:
    """The config whose sources are at the versions that a run reads, where it has begun.

    Raises:
        ConfigError: the run was begun with another configuration.
    """
    work = work_so_far(lakehouse)
    if not work:
        return config
    check_same_config(work, config, lakehouse.run_id)
    return while_versions_last(lakehouse, config, work)


def while_versions_last(lakehouse: Lakehouse, config: Config, work: Sequence[Row]) -> Config:
    """The config at the versions that a run has read, while these cannot have been deleted.

    An owner may delete, by VACUUM, those that are older.
    """
    begun_at = min((row["started_at"] for row in work), default=datetime.now()).astimezone(UTC)
    if datetime.now(UTC) - begun_at >= _VERSIONS_LAST:
        return config
    return at_versions(config, sources_of_run(lakehouse, config, work))


def jobs_of_run(lakehouse: Lakehouse) -> list[Row]:
    """The rows of `runs` of this run: its jobs, and what has been done to it."""
    return collected_runs(lakehouse, {c.RUN_ID: (lakehouse.run_id,)})


def work_of_run(lakehouse: Lakehouse) -> list[Row]:
    """The rows of `runs` of the jobs that made this run's tables."""
    return work_among(jobs_of_run(lakehouse))


def work_so_far(lakehouse: Lakehouse) -> list[Row]:
    """`work_of_run` of a run that is to go on; nothing where the run was removed.

    Raises:
        ConfigError: the run is half removed, so that some tables still have its rows.
    """
    work = work_of_run(lakehouse)
    if any(row["status"] == REMOVING for row in work):
        raise ConfigError(
            f"job clean is removing run {lakehouse.run_id}, or was killed at it; let a cleaning"
            " end, or give another --run-id"
        )
    return [row for row in work if row["status"] not in GONE]


def refuse_a_night(lakehouse: Lakehouse) -> None:
    """Refuse to go on with a night as with a run that chooses, which has two fits where it has one.

    Raises:
        ConfigError: the run keeps what another one chose.
    """
    if KEEP_CHOICES.name in {row["job"] for row in work_so_far(lakehouse)}:
        raise ConfigError(
            f"run {lakehouse.run_id} is a night, which keeps what another run chose; to go on with"
            f" it, give nightly --run-id {lakehouse.run_id}, and to choose anew, another --run-id"
        )


def work_among(rows: Iterable[Row]) -> list[Row]:
    """The rows, of those of one run, of the jobs that made its tables.

    Those of a run that was removed are left out where another has begun under its id.
    """
    work = [row for row in rows if row["job"] not in BESIDE_RUNS]
    return [row for row in work if row["status"] not in GONE] or work


def collected_runs(lakehouse: Lakehouse, *alternatives: Condition) -> list[Row]:
    """The rows of `runs`, of whatever run, that have the values of one of the conditions."""
    if not lakehouse.exists(RUNS_TABLE.name):
        return []
    return lakehouse.collected(RUNS_TABLE.name, *alternatives)


def jobs_going_on(rows: Iterable[Row], now: datetime) -> list[Row]:
    """The rows, of those of `runs`, whose job was started within a day and has not ended.

    A job that was killed cannot be told from one that is going on, but for `fold_in`, which says
    every five minutes that it goes on.
    """
    silent = {FOLD_IN.name: A_STREAM_MAY_BE_SILENT}
    return [
        row
        for row in rows
        if row["status"] == STARTED
        and now - row["started_at"].astimezone(UTC) < silent.get(row["job"], _A_RUN_MAY_TAKE)
    ]


def _refuse_after_forgetting(lakehouse: Lakehouse, earlier: Sequence[Row]) -> None:
    """Refuse to read users as they were when the run began, where some are to be forgotten since.

    Jobs that follow find users by the index, in which nobody is who was forgotten.
    """
    if earlier and users_forgotten_since(lakehouse, start_of_work(earlier)):
        raise DataError(
            f"run {lakehouse.run_id} has not finished job {PREPARE_INTERACTIONS.name}, which would"
            " read your tables at the versions of the time when the run began, and users have been"
            " forgotten since, who may stand in these; start a new run, with another --run-id"
            " (rerun: another --as), and where it brings users back, forget them again"
        )


def _refuse_tables_made_anew(
    lakehouse: Lakehouse, config: Config, record: JobRecord, earlier: Sequence[Row]
) -> None:
    """Refuse to go on with a run where a table that the job may read is another one by now.

    Its version would have the number that the run began with, and other rows.
    """
    for key, source in sources_made_anew(lakehouse.spark, config, earlier):
        if record.name == PREPARE_INTERACTIONS.name or key not in _READ_AT_FIRST:
            raise DataError(
                f"{key}: table {source.name} has been made anew since run {lakehouse.run_id} began,"
                f" so that its version {source.version} is another than the one that the run"
                f" reads, and job {record.name} would mix both; start a new run, with another"
                " --run-id (rerun: another --as)"
            )


def unprepared(lakehouse: Lakehouse, run_ids: Collection[str]) -> list[str]:
    """Which of these runs have begun, and have not read what they began with to the end."""
    first = {c.RUN_ID: tuple(run_ids), "job": (PREPARE_INTERACTIONS.name, KEEP_CHOICES.name)}
    rows = collected_runs(lakehouse, first) if run_ids else []
    begun = {row[c.RUN_ID] for row in rows if row["sources"] and row["status"] not in GONE}
    prepared = {
        row[c.RUN_ID]
        for row in rows
        if row["job"] == PREPARE_INTERACTIONS.name and row["status"] == FINISHED
    }
    return sorted(begun - prepared)


def users_forgotten_since(lakehouse: Lakehouse, since: datetime) -> bool:
    """Whether a forgetting has ended after that time."""
    rows = collected_runs(lakehouse, {"job": (FORGET.name,)})
    ends = [row["finished_at"].astimezone(UTC) for row in rows if row["finished_at"]]
    return any(end > since for end in ends)


def start_of_work(work: Sequence[Row]) -> datetime:
    """When the first of the jobs in these rows of `runs` began, in UTC."""
    first: datetime = min(row["started_at"] for row in work)
    return first.astimezone(UTC)


def check_same_config(jobs: list[Row], config: Config, run_id: str) -> None:
    """Refuse a configuration other than the one that the run was begun with.

    Raises:
        ConfigError: the run was begun with another configuration.
    """
    fingerprint = config.fingerprint()
    for row in jobs:
        if row["config_hash"] == fingerprint:
            continue
        # Another release may leave other sections out of the fingerprint, so that no key differs.
        differing = config.changed_keys(json.loads(row["config"]))
        if differing:
            raise ConfigError(
                f"run {run_id} was begun by job {row['job']} with config {row['config_hash'][:12]},"
                f" and is now given config {fingerprint[:12]}, which differs in"
                f" {some_of(differing)}; give the first config again, or a new --run-id, as where a"
                " release without these keys has begun the run"
            )


def check_comparable(lakehouse: Lakehouse, config: Config) -> None:
    """Refuse `evaluate.compare_with_run` where lists of that run cannot be compared.

    Raises:
        ConfigError: its lists would be measured on pairs that it was trained on, or are fewer or
            shorter than what is measured; it has no lists of the rankers; or the lake has no such
            run.
    """
    other_run = config.evaluate.compare_with_run
    if other_run is None:
        return
    other = lakehouse.for_run(other_run)
    work = work_of_run(other)
    # The tables of a run that begins are not pinned yet.
    config = at_versions(config, source_versions(lakehouse.spark, config))
    if not work:
        raise ConfigError(
            f"evaluate.compare_with_run: lake {lakehouse.location} has no run {other_run}; give the"
            " id of a run of this lake (table runs), or leave the key out"
        )
    differing = _keys_of_lists_that_differ(config, work[0])
    if differing:
        raise ConfigError(
            f"evaluate.compare_with_run: run {other_run} differs in {', '.join(differing)}, so its"
            " lists cannot be measured on what this run holds out; compare with a run of the same"
            " values, or leave the key out"
        )
    _check_lists(other, work, config)


def _check_lists(other: Lakehouse, work: Sequence[Row], config: Config) -> None:
    """Check that another run has lists of rankers with which those of this run are compared."""
    status = {row["job"]: row["status"] for row in work}
    if not set(GONE).isdisjoint(status.values()):
        found = "has been removed (job clean)"
    elif status.get(RECOMMEND.name) != FINISHED:
        found = "has not finished job recommend"
    else:
        ours, theirs = config.usable(config.evaluate.rankers), _measured_rankers(other)
        common = theirs.intersection(ours if HYBRID not in ours else config.evaluate.rankers)
        if common:
            return
        found = (
            f"has lists of the rankers {sorted(theirs)}, and this run measures {list(ours)}"
            if theirs
            else "has no lists in table lists, as a night measures none"
        )
    raise ConfigError(
        f"evaluate.compare_with_run: run {other.run_id} {found}, so there is nothing to compare"
        " with; compare with a run of pipeline that measures the same rankers, or leave the key out"
    )


def _measured_rankers(lakehouse: Lakehouse) -> set[str]:
    """The rankers of which a run has lists that can be measured."""
    if not lakehouse.exists("lists"):
        return set()
    rows = lakehouse.read("lists").select(c.MODEL).distinct().collect()
    return {str(row[c.MODEL]) for row in rows}


def _keys_of_lists_that_differ(config: Config, other_job: Row) -> list[str]:
    """The keys that decide what is held out and ranked, where a job of another run has others."""
    one, other = config.model_dump(mode="json"), json.loads(other_job["config"])
    found = [
        differing
        for key in _SAME_WHERE_COMPARED
        for differing in keys_of_differences(
            value_at(one, key), value_at(other, key), key, _MAY_DIFFER.__contains__
        )
    ]
    versions = other_job["sources"] or {}
    found += [
        key
        for key in ("split.test", "split.validation")
        if not _is_same_table(value_at(one, key), value_at(other, key), versions.get(key))
    ]
    draws = one["split"]["strategy"] != "provided" or one["split"]["validation"] is None
    if draws and one["seed"] != other["seed"]:
        found.append("seed")
    if max(value_at(other, "evaluate.ks")) < max(config.evaluate.ks):
        found.append("evaluate.ks")
    users = "evaluate.maximum_validation_users"
    if value_at(other, users) < value_at(one, users):
        found.append(users)
    return found


def _is_same_table(
    one: Mapping[str, Any] | None, other: Mapping[str, Any] | None, version: int | None
) -> bool:
    """Whether two sources are one table, at one version where both are known."""
    if one is None or other is None:
        return one is other
    if (one["path"], one["table"]) != (other["path"], other["table"]):
        return False
    return one["version"] is None or version in {None, one["version"]}


def _check_turn(finished: Collection[str], record: JobRecord, run_id: str) -> None:
    """Check that every job has finished that is the only writer of a table that this job reads."""
    for table in record.reads:
        writers = [job.name for job in JOBS_OF_A_RUN if table in job.writes]
        if len(writers) == 1 and writers[0] not in finished:
            raise DataError(
                f"{record.name} reads table {table}, which run {run_id} does not have: job"
                f" {writers[0]} has not finished; run ./spark-submit.sh {writers[0]} with"
                f" --run-id {run_id} first"
            )
