"""Make a finished run the published one, in one commit, if its guards let it pass.

Readers of the results follow the published run. --rollback goes back to the run that was published
before, without looking at guards; --history tells who published what when; --dry-run measures the
guards and changes nothing. Where a guard stops the run, the exit code is 3, the message names the
guard, and readers see the lists that they saw before.
"""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from pyspark.sql import SparkSession

from m6rec import columns as c
from m6rec.command_line import (
    ConfigOption,
    OutputOption,
    SetOption,
    check_publish_options,
    errors_as_messages,
    open_lakehouse,
    read_config,
)
from m6rec.config.run import Config
from m6rec.errors import GuardError
from m6rec.fits.choices import kept_choices
from m6rec.fits.fit import Fit
from m6rec.lakehouse import Lakehouse
from m6rec.publication.guards import (
    GuardResult,
    measure_guards,
    refuse_stopped,
    write_guard_results,
)
from m6rec.publication.publishing import (
    outputs_to_publish,
    publications,
    publish,
    published_run,
    rollback,
    runs_followed,
    was_published,
)
from m6rec.report.console import print_guards, print_history
from m6rec.report.terminal import terminal
from m6rec.runs import jobs_of_run, start_of_work
from m6rec.spark.messages import say
from m6rec.spark.session import session_of_job
from m6rec.spark.sources import session_for_sources


def guard(lakehouse: Lakehouse, config: Config) -> list[GuardResult]:
    """Measure the run's guards and write them to `guard_results`.

    Raises:
        ConfigError: the run was begun with another configuration.
        DataError: the run has no recommendations, or a job that has not finished.
    """
    outputs_to_publish(lakehouse, config)
    results = measure_guards(lakehouse, config)
    write_guard_results(lakehouse, results)
    return results


def run(lakehouse: Lakehouse, config: Config, report: Callable[[], None] | None = None) -> None:
    """Publish the run if its guards let it pass, unless it has been published before.

    Where readers have gone back from it since, or on to another, that is said and stays so.

    Args:
        lakehouse: the tables of the run.
        config: its configuration.
        report: tells of the run once its guards have been measured, whether or not it passes.

    Raises:
        ConfigError: the run was begun with another configuration.
        DataError: the run has no recommendations, or a job that has not finished.
        GuardError: a guard stops the run, readers went back from the run that it goes on from, or
            they see a run that was begun later.
    """
    is_new = not was_published(lakehouse)
    # Until the report, too, has read what it shows, which may be in the background.
    with session_for_sources(lakehouse.spark):
        guarded = guard(lakehouse, config) if is_new else []
        if report is not None:
            report()
    seen = published_run(lakehouse)
    if is_new:
        refuse_stopped(lakehouse.run_id, guarded)
        _refuse_what_readers_went_back_from(lakehouse, config)
        _refuse_an_older_run(lakehouse, seen)
        publish(lakehouse, config)
        return
    if seen != lakehouse.run_id:
        say(
            "warning",
            f"run {lakehouse.run_id} was published before, and readers see run {seen} now;"
            f" to have them see it again, give publish --run-id {lakehouse.run_id}",
        )


def _refuse_what_readers_went_back_from(lakehouse: Lakehouse, config: Config) -> None:
    """Refuse a night that began from a run which a rollback has taken from readers meanwhile.

    Raises:
        GuardError: it did; whoever went back has not decided on what follows from that run.
    """
    kept = kept_choices(Fit(lakehouse, config, c.SELECTION))
    if kept is None:
        return
    history = publications(lakehouse)
    was_seen = any(one.run_id == kept.kept_from for one in history)
    if was_seen and kept.kept_from not in runs_followed(history):
        raise _not_published(
            lakehouse.run_id,
            f"it goes on from run {kept.kept_from}, from which publish --rollback has gone back",
        )


def _refuse_an_older_run(lakehouse: Lakehouse, seen: str | None) -> None:
    """Refuse a run that has read what there was before the run began that readers see.

    Raises:
        GuardError: it did; readers would go back in time by a run that was late, or tried again.
    """
    if seen is None:
        return
    of_run, of_seen = map(jobs_of_run, (lakehouse, lakehouse.for_run(seen)))
    if start_of_work(of_run) < start_of_work(of_seen):
        raise _not_published(lakehouse.run_id, f"it was begun before run {seen}, which they see")


def _not_published(run_id: str, why: str) -> GuardError:
    return GuardError(
        f"run {run_id} is not published, and readers see the lists that they saw before: {why};"
        f" to publish it all the same, give publish --run-id {run_id}"
    )


def main(
    config: ConfigOption,
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="The finished run that is to be published.")
    ] = None,
    back: Annotated[
        bool, typer.Option("--rollback", help="Go back to the run that was published before.")
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="List who published what when; change nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")
    ] = False,
    overrides: SetOption = None,
    output: OutputOption = None,
) -> None:
    """Publish."""
    with errors_as_messages():
        check_publish_options(run_id, back, history)
        checked = read_config(config, tuple(overrides or ()), output)
        with session_of_job("m6rec publish") as spark, session_for_sources(spark):
            if history:
                found = publications(open_lakehouse(spark, checked, "any"))
                print_history(terminal(), [asdict(one) for one in found])
            elif back:
                _roll_back(spark, checked, dry_run)
            else:
                _publish(open_lakehouse(spark, checked, str(run_id)), checked, dry_run)


def _publish(lakehouse: Lakehouse, config: Config, dry_run: bool) -> None:
    run_id = lakehouse.run_id
    print(f"run id {run_id}", flush=True)
    if dry_run:
        outputs_to_publish(lakehouse, config)
        results = measure_guards(lakehouse, config)
    else:
        results = guard(lakehouse, config)
    print_guards(terminal(), [result.row(datetime.now(UTC)) for result in results])
    refuse_stopped(run_id, results)
    if dry_run:
        before = published_run(lakehouse)
        print(f"dry run: run {run_id} would take the place of {before or 'none'}", flush=True)
        return
    publish(lakehouse, config, again=True)
    print(f"run {run_id} is the published one", flush=True)


def _roll_back(spark: SparkSession, config: Config, dry_run: bool) -> None:
    lakehouse = open_lakehouse(spark, config, "any")
    before, target = published_run(lakehouse), rollback(lakehouse, config, dry_run)
    done = "would take" if dry_run else "has taken"
    print(f"{'dry run: ' if dry_run else ''}run {target} {done} the place of {before}", flush=True)


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
