"""Follow a Delta table of events, and keep the published lists of their users up to date.

A user's whole history is ranked by the function that ranks in batch. Each batch changes table
published/recommendations in one commit, and none is lost or counted twice where the job is killed:
start it again. Where another run is published, the job goes on with its models. --once folds in
what is there now, and stops.
"""

from typing import Annotated

import typer

from m6rec.command_line import (
    ConfigOption,
    OutputOption,
    SetOption,
    errors_as_messages,
    open_lakehouse,
    read_config,
)
from m6rec.config.run import Config
from m6rec.job_records import FOLD_IN
from m6rec.lakehouse import Lakehouse
from m6rec.publication.folding import FoldIn
from m6rec.runs import Attempt
from m6rec.spark.session import session_of_job

_SECONDS_BETWEEN_LOOKS = 5


def run(lakehouse: Lakehouse, config: Config, once: bool = True) -> None:
    """Fold in the events of the config's table, those that are there now or all that will come.

    Raises:
        ConfigError: the lake is a schema of the catalogue.
        DataError: no run has been published, or the followed table was replaced, changed or
            vacuumed so that the stream cannot go on.
        TableError: the events are not in a Delta table, or it lacks a column.
    """
    fold_in = FoldIn(lakehouse, config)
    # Nobody can be forgotten beside this job, which holds the histories of all users.
    attempt = Attempt(lakehouse.for_run(FOLD_IN.name), config, FOLD_IN.name)
    with fold_in.saying_why_it_ends():
        fold_in.check()
        with attempt.going_on(), fold_in.session_for_batches():
            query = fold_in.start(once)
            try:
                if once:
                    query.awaitTermination()
                else:
                    # A run that is published while no event comes has events to catch up with, too.
                    while not query.awaitTermination(_SECONDS_BETWEEN_LOOKS):
                        fold_in.catch_up()
                fold_in.catch_up()
            finally:
                # In a notebook, it would go on after an error or when the cell is interrupted.
                query.stop()


def main(
    config: ConfigOption,
    once: Annotated[
        bool, typer.Option("--once", help="Fold in the events that are there now, and stop.")
    ] = False,
    overrides: SetOption = None,
    output: OutputOption = None,
) -> None:
    """Fold in."""
    with errors_as_messages():
        checked = read_config(config, tuple(overrides or ()), output)
        with session_of_job("m6rec fold_in") as spark:
            run(open_lakehouse(spark, checked, "any"), checked, once)


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
