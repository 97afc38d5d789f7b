"""Run all jobs in turn for one run id, report on the run, and publish it if its guards let it pass.

Started again with the same run id, finished jobs are skipped. Leaves metrics.json and report.html
in the output folder. Where a guard stops the run, the exit code is 3, and readers see the lists
that they saw before.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

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
from m6rec.runs import Job, numbered, run_jobs
from m6rec.spark.places import place_of
from m6rec.spark.session import queries_over_few, session_of_job, starting_workers

NARROWEST = 110

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
        GuardError: a guard stops the run.
    """
    lakehouse = open_lakehouse(spark, config, run_id)
    jobs = jobs_of(config)
    with starting_workers(spark):
        check_tables(spark, config)
        with for_its_size(lakehouse, config) as tables, ThreadPoolExecutor(1) as beside:
            run_jobs(tables, config, numbered(jobs, len(jobs)))
            # The guards wait for queries, and plots for none.
            collected = beside.submit(_collect, tables, config)
            place = as_place(output)
            publish.run(tables, config, lambda: _report(tables, *collected.result(), place))
    return lakehouse


@contextmanager
def for_its_size(lakehouse: Lakehouse, config: Config) -> Iterator[Lakehouse]:
    """The tables of a run, and its session, as they suit the size of what it reads."""
    if reads_many_rows(config):
        yield lakehouse
    else:
        with queries_over_few(lakehouse.spark):
            yield lakehouse.with_tables_in_memory(fits_in_driver(config))


def _collect(lakehouse: Lakehouse, config: Config) -> tuple[ReportData, dict[str, str], str]:
    """What the report shows of a run, but for its guards: data, plots, and one line."""
    report = collect_report(lakehouse, config)
    line = hybrid_and_best_member(report, config.hybrid_members)
    return report, plots_of(report), line


def _report(
    lakehouse: Lakehouse, data: ReportData, drawn: dict[str, str], line: str, output: FilePlace
) -> None:
    report = with_guards(data, lakehouse)
    metrics_json(report.metrics, output / "metrics.json")
    write_report(output / "report.html", report, drawn)
    # A log file has no width of its own, and 80 columns would cut the numbers.
    console = Console(width=max(Console().width, NARROWEST))
    print_results(console, report.metrics, report.examples, k=report.k)
    print(line)
    print(f"metrics: {output / 'metrics.json'}\nreport: {output / 'report.html'}", flush=True)
    print_guards(console, report.guards)


def _body(config: Config, run_id: str, output: str | None) -> None:
    with session_of_job("m6rec pipeline") as spark:
        run_pipeline(spark, config, run_id, place_of(spark, output or "output"))


if __name__ == "__main__":
    command(__doc__, _body)
