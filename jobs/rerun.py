"""Make a run again from the versions that it read, and say whether its lists are equal.

The new run has an id of its own and is not published. The exit code is 1 where lists differ.
"""

from typing import Annotated

import typer
from pyspark.sql import SparkSession

from jobs.nightly import train_and_rank
from jobs.pipeline import for_its_size, jobs_of
from m6rec import columns as c
from m6rec.command_line import (
    ConfigOption,
    OutputOption,
    SetOption,
    check_run_id,
    errors_as_messages,
    new_run_id,
    open_lakehouse,
    read_config,
)
from m6rec.config.run import Config
from m6rec.fits.choices import kept_choices
from m6rec.fits.fit import Fit
from m6rec.publication.nights import check_repeatable
from m6rec.publication.repeating import ListDifferences, differences, repetition_of
from m6rec.runs import run_jobs
from m6rec.spark.session import session_of_job, starting_workers

LISTS_DIFFER = 1


def rerun(spark: SparkSession, config: Config, run_id: str, new_id: str) -> ListDifferences:
    """Make run `run_id` again as run `new_id`, and compare their lists.

    Raises:
        DataError: the run is not there, has not finished, or its lists have been removed; or it
            is a nightly run, and the run whose choices it keeps has been removed.
        ConfigError: the run's file of sentences cannot be read any more.
    """
    original = open_lakehouse(spark, config, run_id)
    repetition = repetition_of(original, new_id)
    # They are read once all is trained, which is late to find that they cannot be.
    repetition.config.recommend.reasons.sentences()
    for doubt in repetition.doubts:
        print(f"warning: lists may differ: {doubt}", flush=True)
    kept = kept_choices(Fit(original, repetition.config, c.SELECTION))
    if kept is not None:
        check_repeatable(original.for_run(kept.kept_from), run_id)
    sized = for_its_size(repetition.lakehouse, repetition.config)
    with starting_workers(spark), sized as tables:
        if kept is not None:
            train_and_rank(tables, repetition.config, kept.kept_from)
        else:
            run_jobs(tables, repetition.config, [("", job) for job in jobs_of(repetition.config)])
    found = differences(original, repetition.lakehouse)
    if found.are_equal:
        print(f"the lists of {found.users} users are equal", flush=True)
    else:
        print(
            f"of {found.users} users, {found.other_items} have other items, and"
            f" {found.other_scores} more have other scores or reasons",
            flush=True,
        )
    if found.differs_for_unknown:
        print("a list for unknown users differs", flush=True)
    return found


def main(
    config: ConfigOption,
    run_id: Annotated[str, typer.Option("--run-id", help="The run that is to be made again.")],
    new_id: Annotated[
        str | None,
        typer.Option("--as", help="The new run; given again, it resumes. Without it: a new id."),
    ] = None,
    overrides: SetOption = None,
    output: OutputOption = None,
) -> None:
    """Run again."""
    with errors_as_messages():
        original = check_run_id(run_id)
        chosen = check_run_id(new_id or new_run_id())
        checked = read_config(config, tuple(overrides or ()), output)
        print(f"run id {chosen}", flush=True)
        with session_of_job("m6rec rerun") as spark:
            found = rerun(spark, checked, original, chosen)
        if not found.are_equal:
            raise typer.Exit(LISTS_DIFFER)


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
