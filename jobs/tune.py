"""Search the config for better values, by the hybrid's NDCG on validation.

Trains the selection fit alone and never looks at test. A trial that is poor before its towers are
trained ends there; one whose values together make no valid config is refused, and does not count.
Started again with the same output and run id, the search goes on, on the tables as they were at
its start. Leaves best.yaml, which pipeline takes, trials.csv and study.sqlite (Optuna's) in the
output folder.
"""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import optuna
import typer
from optuna.trial import FrozenTrial, TrialState
from pyspark.sql import SparkSession

from jobs import (
    build_features,
    prepare_interactions,
    train_factors,
    train_neighbours,
    train_towers,
)
from jobs.pipeline import for_its_size
from m6rec import columns as c
from m6rec.command_line import (
    ConfigOption,
    OutputOption,
    SetOption,
    check_run_id,
    errors_as_messages,
    local_output,
    open_lakehouse,
    read_config,
)
from m6rec.config.base import Section
from m6rec.config.run import Config
from m6rec.errors import ConfigError, TableError
from m6rec.fingerprints import fingerprint_of
from m6rec.fits.fit import Fit
from m6rec.fits.inspection import check_tables
from m6rec.fits.members import member_names
from m6rec.fits.validation import validation_candidates
from m6rec.job_records import TUNE
from m6rec.kernels.ranking.blending import blended_scores, choose_weights, ndcg_of_users
from m6rec.kernels.ranking.domain_weights import joined
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import HYBRID, ranker_named
from m6rec.report.console import print_trials
from m6rec.report.terminal import terminal
from m6rec.runs import FAILED, FINISHED, STARTED, Attempt, Job, jobs_going_on, jobs_of_run
from m6rec.spark.places import remove_folder
from m6rec.spark.session import session_of_job
from m6rec.spark.shipping import freeing_shipped_arrays
from m6rec.spark.sources import at_versions, session_for_sources, source_versions
from m6rec.tuning import (
    Report,
    alone_in,
    distributions,
    ended,
    given_values,
    kept,
    name_of,
    open_study,
    refusal_of,
    search,
    trial_rows,
    write_best,
    write_trials,
)

TUNE_RUN_ID = "tune"
STUDY_FILE = "study.sqlite"
BEST_FILE = "best.yaml"
TRIALS_FILE = "trials.csv"

SOURCES = "sources"
# What the record of the latest tables holds: the study, and each job's part of the config.
_STUDY, _MADE = "study", "made"

# What a training leaves beside its tables; a trial with other values must not go on from it.
LEFT_BY_TRAINING = ("checkpoints", "tensorboard")

# Of the jobs before the towers, only `choose_settings` is left out, because a trial measures the
# values of its own config.
BEFORE_TOWERS = (
    prepare_interactions.JOB,
    build_features.JOB,
    train_neighbours.JOB,
    train_factors.JOB,
)
TOWERS = train_towers.JOB


class LatestTables:
    """The tables of the latest trial: a job is run where its sections of the config changed.

    Raises:
        ConfigError: another search of the same run id seems to be at work on the tables.
    """

    def __init__(self, lakehouse: Lakehouse, study: str) -> None:
        self.lakehouse = lakehouse
        self._file = lakehouse.artifact_place("tune_jobs.json")
        self._study = study
        latest = self._read()
        going_on = jobs_going_on(jobs_of_run(lakehouse), datetime.now(UTC))
        if going_on and latest.get(_STUDY) not in {None, study}:
            raise ConfigError(
                f"run {lakehouse.run_id} has the tables of a search with another --output, which"
                f" began {going_on[0]['started_at']:%Y-%m-%d %H:%M} and is at work or was killed;"
                " give this search a --run-id of its own"
            )

    def bring_up_to_date(self, job: Job, config: Config) -> bool:
        """Train the selection fit unless its tables are of this config; return whether it ran."""
        fingerprint = _sections_fingerprint(job, config)
        latest = self._read()
        # A table without versions may have changed since another search read it.
        made = latest.get(_MADE, {}) if latest.get(_STUDY) == self._study else {}
        if made.get(job.name) == fingerprint:
            return False
        # A trial that is killed while it writes a table must not count it as made.
        self._record({name: made[name] for name in made if name != job.name})
        for folder in LEFT_BY_TRAINING:
            place = self.lakehouse.artifact_path(folder, c.SELECTION)
            remove_folder(self.lakehouse.spark, place)
        tables = self.lakehouse.for_one_job()
        if job is prepare_interactions.JOB:
            job.run(tables, config)
        else:
            job.run(tables, config, (c.SELECTION,))
        self._record({**made, job.name: fingerprint})
        return True

    def _read(self) -> dict[str, Any]:
        return dict(json.loads(self._file.read_text())) if self._file.is_file() else {}

    def _record(self, made: Mapping[str, str]) -> None:
        self._file.write_text(json.dumps({_STUDY: self._study, _MADE: made}))


def _sections_fingerprint(job: Job, config: Config) -> str:
    """SHA-256 of the sections and keys of the config that the job's tables follow from."""
    sections = job.record.sections
    if job is TOWERS and config.towers.boosting:
        # Boosted towers are trained on what a ridge of these settings leaves.
        sections = (*sections, "neighbours")
    return fingerprint_of({key: _plain(config.value(key)) for key in sections})


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, Section) else value


def run_tuning(
    spark: SparkSession, config: Config, run_id: str, output: Path | str
) -> optuna.Study:
    """Run the trials that are missing, and write the best config and the table of trials.

    Both are written after every trial, so a search that was killed leaves the best so far.

    Raises:
        ConfigError: the search space cannot be searched, the study is of another config or cannot
            be opened, or another search is at work in the folder.
    """
    folder = local_output(str(output))
    with alone_in(folder), session_for_sources(spark):
        return _run_tuning(spark, config, run_id, folder)


def _run_tuning(spark: SparkSession, config: Config, run_id: str, output: Path) -> optuna.Study:
    deadline = None if config.tune.seconds is None else time.monotonic() + config.tune.seconds
    distributions(config)
    file = output / STUDY_FILE
    goes_on = file.exists()
    if not goes_on:
        # Tables are checked before the study is made, which keeps its config for good.
        check_tables(spark, config)
    study = open_study(config, file)
    # All trials, of a search that goes on tomorrow too, measure the same rows.
    sources = kept(study, SOURCES, partial(source_versions, spark, config))
    pinned = at_versions(config, sources)
    if goes_on:
        try:
            check_tables(spark, pinned)
        except TableError as error:
            raise TableError(
                f"{error}\nthe search in {file} reads the tables as they were when it began; for"
                " one on the tables as they are now, give another --output and --run-id"
            ) from error
    lakehouse = open_lakehouse(spark, config, run_id)
    tables = LatestTables(lakehouse, name_of(study))
    # By this row `forget` finds a search that is running, and `clean` one whose tables nobody needs
    # any more.
    attempt = Attempt(lakehouse, config, TUNE.name, sources=sources)
    attempt.save(STARTED)

    def after_trial(trial: FrozenTrial) -> None:
        if refusal_of(trial) is None:
            write_trials(study, output / TRIALS_FILE)
            write_best(study, config, output / BEST_FILE)
        print(_progress(study, trial, config), flush=True)

    def measure(trial: Config, report: Report) -> float:
        # Models that a trial has sent to tasks would fill the disk before the last one, and tables
        # that are held in memory the memory.
        with freeing_shipped_arrays(spark), for_its_size(lakehouse, trial) as tables.lakehouse:
            return measure_trial(tables, trial, report)

    try:
        search(study, pinned, measure, deadline, after_trial)
    except Exception:
        attempt.save(FAILED)
        raise
    attempt.save(FINISHED)
    best = study.best_trial
    print_trials(terminal(), trial_rows(study), given_values(config), best.params, config.tune.k)
    print(f"best config: {output / BEST_FILE}\ntrials: {output / TRIALS_FILE}", flush=True)
    return study


def measure_trial(tables: LatestTables, config: Config, report: Report) -> float:
    """NDCG of the hybrid on validation; what it reaches without the towers is reported first."""
    trained = _for_validation(config)
    for job in BEFORE_TOWERS:
        tables.bring_up_to_date(job, trained)
    names = member_names(HYBRID, config)
    before_towers = tuple(name for name in names if ranker_named(name).trained_by != TOWERS.name)
    if before_towers == names:
        return _ndcg(tables.lakehouse, trained, names)
    if before_towers:
        report(_ndcg(tables.lakehouse, trained, before_towers))
    tables.bring_up_to_date(TOWERS, trained)
    return _ndcg(tables.lakehouse, trained, names)


def _for_validation(config: Config) -> Config:
    """The config without rankers that are only measured: they do not change what is blended."""
    evaluate = config.evaluate.model_copy(update={"rankers": config.hybrid.members})
    return config.model_copy(update={"evaluate": evaluate})


def _ndcg(lakehouse: Lakehouse, config: Config, names: tuple[str, ...]) -> float:
    fit = Fit(lakehouse.for_one_job(), config, c.SELECTION)
    candidates = joined(validation_candidates(fit, names)[0])
    chosen = choose_weights(candidates, config.hybrid.k, config.hybrid.rounds)
    return float(
        ndcg_of_users(candidates, blended_scores(candidates, chosen), config.tune.k).mean()
    )


def _progress(study: optuna.Study, trial: FrozenTrial, config: Config) -> str:
    done = f"[{len(ended(study))}/{config.tune.trials}] trial {trial.number}"
    reason = refusal_of(trial)
    if reason is not None:
        return f"{done}: refused, as its values make no valid config ({reason}); not counted"
    best = f"best {study.best_value:.4f} (trial {study.best_trial.number})"
    if trial.state == TrialState.PRUNED:
        return f"{done}: pruned before its towers; {best}"
    return f"{done}: validation NDCG@{config.tune.k} {trial.value:.4f}; {best}"


def main(
    config: ConfigOption,
    overrides: SetOption = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="Trials in all. Without it: tune.trials.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", help="No trial begins later. Without it: tune.seconds."),
    ] = None,
    run_id: Annotated[
        str | None,
        typer.Option(
            "--run-id", help=f"The search. Given again, it goes on. Without it: {TUNE_RUN_ID}."
        ),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Tune."""
    with errors_as_messages():
        chosen = check_run_id(run_id or TUNE_RUN_ID)
        limits: dict[str, Any] = {"tune.trials": trials, "tune.seconds": seconds}
        given = tuple(f"{key}={value}" for key, value in limits.items() if value is not None)
        folder = local_output(output)
        checked = read_config(config, (*(overrides or ()), *given), output)
        print(f"run id {chosen}", flush=True)
        with session_of_job("m6rec tune") as spark:
            run_tuning(spark, checked, chosen, folder)


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
