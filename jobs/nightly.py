"""Train anew what the published lists need, with the choices of the published run, and publish.

The settings, weights and epochs that the published run has chosen are kept; only the final fit of
the members with a weight is trained, from where the published run left off; then the run is guarded
and published, and old runs are removed. Where there is nothing to keep (no run has been published,
its configuration was another, or its choices have aged), the whole pipeline runs. Started again
with the same run id, finished jobs are skipped. Where a guard stops the run, the exit code is 3,
and readers see the lists that they saw before.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

import typer
from pyspark.sql import SparkSession
from rich.console import Console

from jobs import (
    build_features,
    clean,
    keep_choices,
    pipeline,
    prepare_interactions,
    recommend,
    train_factors,
    train_neighbours,
    train_towers,
)
from m6rec import columns as c
from m6rec.command_line import (
    ConfigOption,
    OutputOption,
    RunIdOption,
    SetOption,
    check_run_id,
    errors_as_messages,
    new_run_id,
    open_lakehouse,
    read_config,
)
from m6rec.config.run import Config
from m6rec.files import AnyPlace, FilePlace
from m6rec.fits.choices import Choices, kept_choices, members_with_weight
from m6rec.fits.earlier import EarlierRun
from m6rec.fits.fit import Fit
from m6rec.fits.inspection import check_tables
from m6rec.fits.needs import Needs, needs_of
from m6rec.job_records import JOBS_OF_A_RUN, JobRecord
from m6rec.lakehouse import Lakehouse
from m6rec.publication.nights import duration, night_of, warning_of_test
from m6rec.report.collect import collect_night
from m6rec.report.console import print_night
from m6rec.report.page import ReportData
from m6rec.runs import Job, as_read_by, numbered, run_jobs
from m6rec.spark.messages import say
from m6rec.spark.places import place_of
from m6rec.spark.session import session_of_job, starting_workers
from m6rec.spark.sources import session_for_sources

_FINAL = (c.FINAL,)
# Delta's safe period: what is unused today may be deleted no sooner.
_VACUUM_EVERY = timedelta(days=7)


def run_nightly(
    spark: SparkSession,
    config: Config,
    run_id: str,
    output: AnyPlace,
    choose_every: timedelta | None = None,
) -> Lakehouse:
    """Run the jobs of a night that have not finished, publish, and remove old runs.

    Raises:
        GuardError: a guard stops the run.
    """
    lakehouse = open_lakehouse(spark, config, run_id)
    night = night_of(lakehouse, config, datetime.now(UTC), choose_every)
    warning = warning_of_test(config)
    if warning is not None:
        say("warning", warning)
    if night.kept_from is None:
        print(f"nightly: the whole pipeline runs, because {night.reason}", flush=True)
        pipeline.run_pipeline(spark, config, run_id, output)
    else:
        print(f"nightly: keeps what run {night.kept_from} chose", flush=True)
        with session_for_sources(spark), starting_workers(spark):
            check_tables(spark, as_read_by(lakehouse, config))
            with pipeline.for_its_size(lakehouse, config) as tables:
                plan = train_and_rank(tables, config, night.kept_from)
                collect = partial(collect_night, plan.selection, plan.choices, plan.needs)
                report = pipeline.output_place(spark, output) / "report.html"
                show = partial(_show, report=report)
                pipeline.publish_and_report(tables, config, collect, show, report)
    clean.run(lakehouse.for_run(new_run_id()), config, vacuum_every=_VACUUM_EVERY)
    return lakehouse


@dataclass(frozen=True)
class NightPlan:
    """What a run that keeps choices is made of.

    Attributes:
        selection: its selection fit, which has nothing but the choices.
        choices: where they come from.
        needs: what is trained.
    """

    selection: Fit
    choices: Choices
    needs: Needs


def train_and_rank(lakehouse: Lakehouse, config: Config, kept_from: str) -> NightPlan:
    """The jobs of a night up to its lists, with the choices of run `kept_from`."""
    plans = []

    def jobs() -> Iterator[tuple[str, Job]]:
        keep = partial(keep_choices.run, kept_from=kept_from)
        yield "", replace(keep_choices.JOB, run=keep)
        # What is trained follows from what has been kept.
        selection = Fit(lakehouse, config, c.SELECTION)
        choices = kept_choices(selection)
        assert choices is not None
        plans.append(plan_of(selection, choices))
        following = jobs_of_night(plans[0])
        yield from numbered(following, len(following) + 1, first=2)

    run_jobs(lakehouse, config, jobs())
    return plans[0]


def plan_of(selection: Fit, choices: Choices) -> NightPlan:
    """The plan of a run, by the choices in its selection fit."""
    members = members_with_weight(selection, selection.config.recommend.ranker)
    before = Fit(selection.lakehouse.for_run(choices.kept_from), selection.config, c.FINAL)
    needs = needs_of(members, selection.settings, before.has_pictures_alone)
    return NightPlan(selection, choices, needs)


def jobs_of_night(plan: NightPlan) -> tuple[Job, ...]:
    """The jobs of a run that has its choices, in order, each for the final fit alone."""
    lakehouse, config = plan.selection.lakehouse, plan.selection.config
    choices, needs = plan.choices, plan.needs
    earlier = None
    if config.nightly.warm_start:
        before = Fit(lakehouse.for_run(choices.kept_from), config, c.FINAL)
        earlier = EarlierRun(before, config.nightly.als_iterations, config.nightly.tower_epochs)
    epochs = {model: choices.epochs[model] for model in needs.towers if model in choices.epochs}
    parts: list[tuple[JobRecord, Callable[..., None], bool]] = [
        (prepare_interactions.JOB.record, partial(prepare_interactions.run, fits=_FINAL), True),
        (build_features.JOB.record, partial(build_features.run, fits=_FINAL), needs.features),
        (
            train_factors.JOB.record,
            partial(train_factors.run, fits=_FINAL, models=needs.factors, earlier=earlier),
            bool(needs.factors),
        ),
        (
            train_neighbours.JOB.record,
            partial(train_neighbours.run, fits=_FINAL, models=needs.neighbours),
            bool(needs.neighbours),
        ),
        (
            train_towers.JOB.record,
            partial(train_towers.run, fits=_FINAL, chosen_epochs=epochs, earlier=earlier),
            bool(needs.towers),
        ),
        (recommend.JOB.record, partial(recommend.run_final, needs=needs), True),
    ]
    kept = {record.name for record, _, is_needed in parts if is_needed}
    return tuple(
        Job(_without_other_jobs(record, kept), run) for record, run, is_needed in parts if is_needed
    )


def _without_other_jobs(record: JobRecord, kept: set[str]) -> JobRecord:
    """The record without the tables that no job of this night writes."""
    written = {table for job in JOBS_OF_A_RUN if job.name in kept for table in job.writes}
    return replace(record, reads=tuple(table for table in record.reads if table in written))


def _show(console: Console, night: ReportData, report: FilePlace) -> None:
    print_night(console, night.kept, night.step_seconds)
    print(f"report: {report}", flush=True)


def main(
    config: ConfigOption,
    choose_every: Annotated[
        str | None,
        typer.Option(
            "--choose-every",
            metavar="DURATION",
            help="Choose anew, by the whole pipeline, when choices are so old, such as 7d.",
        ),
    ] = None,
    overrides: SetOption = None,
    run_id: RunIdOption = None,
    output: OutputOption = None,
) -> None:
    """Run a night."""
    with errors_as_messages():
        chosen = check_run_id(run_id or new_run_id())
        every = None if choose_every is None else duration(choose_every)
        checked = read_config(config, tuple(overrides or ()), output)
        print(f"run id {chosen}", flush=True)
        with session_of_job("m6rec nightly") as spark:
            run_nightly(spark, checked, chosen, place_of(spark, output or "output"), every)


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
