"""Explain an item for a user: its place, what its score is made of, what it lacks, what masks it.

Of the published run, unless --run-id names another. Nothing is written but the file of --plot.
"""

from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import SparkSession

from m6rec import columns as c
from m6rec.command_line import (
    ConfigOption,
    OutputOption,
    SetOption,
    check_file_to_write,
    check_run_id,
    errors_as_messages,
    open_lakehouse,
    read_config,
)
from m6rec.config.run import Config
from m6rec.fits.explaining import ItemExplanation, explain_item
from m6rec.fits.fit import Fit
from m6rec.publication.publishing import is_folded_in, run_to_follow
from m6rec.publication.repeating import given_of_run, with_own_indices
from m6rec.report.explanation import plot_explanation, print_explanation
from m6rec.report.terminal import terminal
from m6rec.runs import while_versions_last, work_of_run
from m6rec.spark.messages import say
from m6rec.spark.session import session_of_job
from m6rec.spark.sources import session_for_sources

LEAST_WIDTH = 100


def explain_of_run(
    spark: SparkSession,
    config: Config,
    run_id: str | None,
    user: str,
    item: str,
    domain: str | None = None,
    context: str | None = None,
) -> ItemExplanation:
    """Explain an item for a user of a run, by default of the published one.

    The run's own configuration counts; `config` says where the lake is.

    Raises:
        DataError: no run is named or published, or there is no such run, user, item, domain or
            context.
    """
    lakehouse = run_to_follow(open_lakehouse(spark, config, run_id or "any"), run_id)
    work = work_of_run(lakehouse)
    given = given_of_run(lakehouse, work)
    # Where the run is small, to ask Spark for its tables takes longer than to explain.
    own = with_own_indices(lakehouse, work).with_tables_in_memory().for_one_job()
    if is_folded_in(lakehouse, user):
        say(
            "note",
            f"this is the list of run {lakehouse.run_id}; fold_in has made another of this user's"
            " since, of whose items its column reasons tells",
        )
    with session_for_sources(spark):
        pinned = while_versions_last(lakehouse, given, work)
        return explain_item(Fit(own, pinned, c.FINAL), user, item, domain, context)


def main(
    config: ConfigOption,
    user: Annotated[str, typer.Option("--user", help="The user's id.")],
    item: Annotated[str, typer.Option("--item", help="The item's id.")],
    domain: Annotated[
        str | None, typer.Option("--domain", help="The item's domain, where there are domains.")
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            "--context",
            help="The context of the list, of those that recommend.contexts names. Without it: the"
            " list without a context.",
        ),
    ] = None,
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="The run. Without it: the published one.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="A file for the explanation as a picture in PNG.")
    ] = None,
    overrides: SetOption = None,
    output: OutputOption = None,
) -> None:
    """Explain."""
    with errors_as_messages():
        chosen = None if run_id is None else check_run_id(run_id)
        if plot is not None:
            check_file_to_write("--plot", plot, "explanation.png")
        checked = read_config(config, tuple(overrides or ()), output)
        with session_of_job("m6rec explain") as spark:
            found = explain_of_run(spark, checked, chosen, user, item, domain, context)
        print_explanation(terminal(LEAST_WIDTH), found)
        if plot is not None:
            plot.parent.mkdir(parents=True, exist_ok=True)
            plot.write_bytes(plot_explanation(found))
            print(f"plot: {plot}", flush=True)


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
