"""Run all jobs in turn for one run id, report on the run, and publish it if its guards let it pass.

Started again with the same run id, finished jobs are skipped. Leaves metrics.json and report.html
in the output folder. Where a guard stops the run, the exit code is 3, and readers see the lists
that they saw before.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from pyspark.sql import SparkSession
from rich.console import Console

from jobs import (
    ablate,
    build_features,
    choose_settings,
    evaluate,
    prepare_interactions,
    publish,
    recommend,
    train_factors,
    train_hybrid,
    train_neighbours,
    train_ratings,
    train_towers,
)
from m6rec.command_line import command, open_lakehouse
from m6rec.config.run import Config
from m6rec.files import AnyPlace, FilePlace, as_place
from m6rec.fits.inspection import check_tables
from m6rec.job_records import fits_in_driver, reads_many_rows
from m6rec.lakehouse import Lakehouse
from m6rec.report.collect import collect_report, with_guards
from m6rec.report.console import hybrid_and_best_member, print_guards, print_results
from m6rec.report.export import metrics_json
from m6rec.report.page import ReportData, plots_of, write_report
from m6rec.report.terminal import terminal
from m6rec.runs import Job, as_read_by, check_comparable, numbered, refuse_a_night, run_jobs
from m6rec.spark.places import place_of
from m6rec.spark.session import queries_over_few, session_of_job, starting_workers
from m6rec.spark.sources import session_for_sources

_NARROWEST = 110

JOBS_IN_ORDER: tuple[Job, ...] = (
    prepare_interactions.JOB,
    build_features.JOB,
    choose_settings.JOB,
    train_factors.JOB,
    train_neighbours.JOB,
    train_towers.JOB,
    train_hybrid.JOB,
    train_ratings.JOB,
    recommend.JOB,
    evaluate.JOB,
    ablate.JOB,
)


def jobs_of(config: Config) -> tuple[Job, ...]:
    """The jobs of a run, in order: ratings are predicted only where there are ratings."""
    left_out = None if config.ratings.enabled else train_ratings.JOB
    return tuple(job for job in JOBS_IN_ORDER if job is not left_out)


def run_pipeline(spark: SparkSession, config: Config, run_id: str, output: AnyPlace) -> Lakehouse:
    """Run every job that has not finished, write metrics.json and report.html, and publish.

    Prints a table of results and the lists of some users on the terminal.

    Raises:
        ConfigError: the run was begun with another configuration, or is a night.
        GuardError: a guard stops the run.
    """
    lakehouse = open_lakehouse(spark, config, run_id)
    jobs = jobs_of(config)
    refuse_a_night(lakehouse)
    with session_for_sources(spark), starting_workers(spark):
        as_read = as_read_by(lakehouse, config)
        check_comparable(lakehouse, as_read)
        check_tables(spark, as_read)
        with for_its_size(lakehouse, config) as tables:
            run_jobs(tables, config, numbered(jobs, len(jobs)))
            collect = partial(collect_report, tables, config)
            place = output_place(spark, output)
            show = partial(_show, config=config, output=place)
            publish_and_report(tables, config, collect, show, place / "report.html")
    return lakehouse


def output_place(spark: SparkSession, output: AnyPlace) -> FilePlace:
    """Where the report goes; text is an address as Spark reads it."""
    return place_of(spark, output) if isinstance(output, str) else as_place(output)


@contextmanager
def for_its_size(lakehouse: Lakehouse, config: Config) -> Iterator[Lakehouse]:
    """The tables of a run, and its session, as they suit the size of what it reads."""
    if reads_many_rows(config):
        yield lakehouse
    else:
        with queries_over_few(lakehouse.spark):
            yield lakehouse.with_tables_in_memory(fits_in_driver(config))


def publish_and_report(
    lakehouse: Lakehouse,
    config: Config,
    collect: Callable[[], ReportData],
    show: Callable[[Console, ReportData], None],
    report: FilePlace,
) -> None:
    """Publish a run if its guards let it pass; report on it whether or not they do.

    Args:
        lakehouse: the tables of the run.
        config: its configuration.
        collect: what the report shows, but for guards. The data are collected and the plots drawn
            while the guards are measured, because guards mostly wait for queries.
        show: prints the report's data, before the guards are printed.
        report: where the report is written.

    Raises:
        GuardError: a guard stops the run.
    """

    def collect_and_draw() -> tuple[ReportData, dict[str, str]]:
        data = collect()
        return data, plots_of(data)

    with ThreadPoolExecutor(1) as background:
        collected = background.submit(collect_and_draw)

        def write_and_print() -> None:
            data, drawn = collected.result()
            data = with_guards(data, lakehouse)
            write_report(report, data, drawn)
            console = terminal(_NARROWEST)
            show(console, data)
            print_guards(console, data.guards)

        publish.run(lakehouse, config, write_and_print)


def _show(console: Console, data: ReportData, config: Config, output: FilePlace) -> None:
    metrics_json(data.metrics, output / "metrics.json")
    print_results(console, data.metrics, data.examples, k=data.k)
    print(hybrid_and_best_member(data, config.hybrid_members))
    print(f"metrics: {output / 'metrics.json'}\nreport: {output / 'report.html'}", flush=True)


def _body(config: Config, run_id: str, output: str | None) -> None:
    with session_of_job("m6rec pipeline") as spark:
        run_pipeline(spark, config, run_id, place_of(spark, output or "output"))


if __name__ == "__main__":
    command(__doc__, _body)
