"""Lineage: which job of which run read and wrote what, and which run is the published one.

Each job of a run has one row in table `runs`. A job that has finished is not run again under the
same run id; a job that was killed or failed is. Readers of the results follow `published_run`,
which changes by one commit.
"""

import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from m6rec import __version__
from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.errors import ConfigError, DataError
from m6rec.job_records import EVALUATE, JOBS_OF_A_RUN, PUBLISH, JobRecord
from m6rec.lakehouse import Lakehouse
from m6rec.schemas import RUNS_TABLE
from m6rec.spark.failures import saying_what_failed
from m6rec.spark.session import starting_workers

STARTED = "started"
FINISHED = "finished"
FAILED = "failed"


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

    From a notebook: `run_job(lakehouse, config, jobs.train_factors.JOB)`.

    Raises:
        ConfigError: the run was begun with another configuration.
        DataError: a job whose tables this one reads has not finished.
    """
    with starting_workers(lakehouse.spark):
        earlier = _jobs_of_run(lakehouse)
    _check_same_config(earlier, config, lakehouse.run_id)
    if any(row["job"] == job.name and row["status"] == FINISHED for row in earlier):
        print(f"{job.name}: skipped (finished)", flush=True)
        return False
    _check_turn(earlier, job.record, lakehouse.run_id)
    record = _Record(lakehouse, config, job.name, datetime.now(UTC))
    own = lakehouse.for_one_job()
    try:
        with ThreadPoolExecutor(1) as beside:
            started = beside.submit(record.save, STARTED)
            with saying_what_failed(f"job {job.name}"):
                job.run(own, config)
            started.result()
    except Exception:
        record.save(FAILED, {**own.inputs, **own.sources}, own.outputs)
        raise
    record.save(FINISHED, {**own.inputs, **own.sources}, own.outputs)
    seconds = (datetime.now(UTC) - record.started_at).total_seconds()
    print(f"{job.name}: finished in {seconds:.1f} s", flush=True)
    return True


def publish(lakehouse: Lakehouse, config: Config, again: bool = False) -> bool:
    """Make the run the published one in one commit; return whether anything changed.

    The row records the versions of all tables that the run's jobs wrote. A run that has been
    published before stays as it is, unless `again` asks to go back to it.

    Raises:
        ConfigError: the run was begun with another configuration.
        DataError: the run has no recommendations, or a job that has not finished.
    """
    jobs = _jobs_of_run(lakehouse)
    _check_same_config(jobs, config, lakehouse.run_id)
    published = any(row["job"] == PUBLISH.name and row["status"] == FINISHED for row in jobs)
    if published and not again:
        return False
    outputs = _outputs_of_finished(jobs, lakehouse.run_id)
    _Record(lakehouse, config, PUBLISH.name, datetime.now(UTC)).save(FINISHED, {}, outputs)
    return True


def published_run(lakehouse: Lakehouse) -> str | None:
    """The run id that was published last, or None where no run has been."""
    row = _latest_publish(lakehouse)
    return None if row is None else str(row[c.RUN_ID])


def read_published(spark: SparkSession, location: str, name: str) -> DataFrame:
    """Read table `name` as the published run wrote it, whatever later runs are doing.

    Raises:
        DataError: no run has been published, or the published one did not write this table.
    """
    row = _latest_publish(Lakehouse(spark, location, ""))
    if row is None:
        raise DataError(f"no run has been published in {location}; run the pipeline first")
    versions: dict[str, int] = row["outputs"]
    if name not in versions:
        raise DataError(
            f"the published run {row[c.RUN_ID]} did not write {name}; it wrote {sorted(versions)}"
        )
    return Lakehouse(spark, location, row[c.RUN_ID]).read(name, version=versions[name])


def step_seconds(lakehouse: Lakehouse) -> dict[str, float]:
    """Wall time in seconds of each finished job of the run, in their order."""
    rows = sorted(_jobs_of_run(lakehouse), key=lambda row: row["started_at"])
    return {
        row["job"]: (row["finished_at"] - row["started_at"]).total_seconds()
        for row in rows
        if row["job"] != PUBLISH.name and row["finished_at"] is not None
    }


def configurations_evaluated(lakehouse: Lakehouse) -> int:
    """How many configurations have been evaluated in this lake, in whatever run."""
    finished = (F.col("job") == EVALUATE.name) & (F.col("status") == FINISHED)
    return _read_runs(lakehouse).where(finished).select("config_hash").distinct().count()


@lru_cache
def code_version() -> str:
    """The package's version, with the git commit where it runs from a working tree."""
    here = Path(__file__).resolve()
    if not _git(here.parent, "ls-files", here.name):
        return __version__
    return f"{__version__}+{_git(here.parent, 'describe', '--always', '--dirty', '--exclude=*')}"


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
class _Record:
    """The row of `runs` of one attempt at a job."""

    lakehouse: Lakehouse
    config: Config
    job: str
    started_at: datetime

    def save(
        self,
        status: str,
        inputs: Mapping[str, int | None] | None = None,
        outputs: Mapping[str, int] | None = None,
    ) -> None:
        """Replace the job's row in one commit."""
        row = {
            "status": status,
            "config": self.config.model_dump_json(),
            "config_hash": self.config.fingerprint(),
            "code_version": code_version(),
            "seed": self.config.seed,
            "inputs": dict(inputs or {}),
            "outputs": dict(outputs or {}),
            "started_at": self.started_at,
            "finished_at": None if status == STARTED else datetime.now(UTC),
        }
        self.lakehouse.write_rows(RUNS_TABLE.name, [row], job=self.job)


def _jobs_of_run(lakehouse: Lakehouse) -> list[Row]:
    if not lakehouse.exists(RUNS_TABLE.name):
        return []
    runs = _read_runs(lakehouse)
    return runs.where(F.col(c.RUN_ID) == lakehouse.run_id).collect()


def _latest_publish(lakehouse: Lakehouse) -> Row | None:
    if not lakehouse.exists(RUNS_TABLE.name):
        return None
    publishes = _read_runs(lakehouse).where(
        (F.col("job") == PUBLISH.name) & (F.col("status") == FINISHED)
    )
    return publishes.orderBy(F.desc("finished_at"), F.desc(c.RUN_ID)).first()


def _read_runs(lakehouse: Lakehouse) -> DataFrame:
    # Through another Lakehouse: the run's own bookkeeping is not an input of its jobs.
    return Lakehouse(lakehouse.spark, lakehouse.location, lakehouse.run_id).read(RUNS_TABLE.name)


def _check_same_config(jobs: list[Row], config: Config, run_id: str) -> None:
    fingerprint = config.fingerprint()
    for row in jobs:
        if row["config_hash"] != fingerprint:
            raise ConfigError(
                f"run {run_id} was begun by job {row['job']} with config"
                f" {row['config_hash'][:12]}, and is now given config {fingerprint[:12]};"
                " give the first config again, or a new --run-id"
            )


def _check_turn(jobs: list[Row], record: JobRecord, run_id: str) -> None:
    """Check that the jobs have finished that alone write what a job reads."""
    finished = {row["job"] for row in jobs if row["status"] == FINISHED}
    for table in record.reads:
        writers = [job.name for job in JOBS_OF_A_RUN if table in job.writes]
        if len(writers) == 1 and writers[0] not in finished:
            raise DataError(
                f"{record.name} reads table {table}, which run {run_id} does not have: job"
                f" {writers[0]} has not finished; run ./spark-submit.sh {writers[0]} with"
                f" --run-id {run_id} first"
            )


def _outputs_of_finished(jobs: list[Row], run_id: str) -> dict[str, int]:
    work = [row for row in jobs if row["job"] != PUBLISH.name]
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
