"""Make a finished run the published one, in one commit.

Readers of the results follow the published run. To go back to a run that was published before,
publish it again.
"""

from typing import Annotated

import typer

from m6rec.command_line import (
    ConfigOption,
    OutputOption,
    SetOption,
    check_run_id,
    errors_as_messages,
    open_lakehouse,
    read_config,
)
from m6rec.config.run import Config
from m6rec.lakehouse import Lakehouse
from m6rec.runs import publish
from m6rec.spark.session import session_of_job


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Publish the run, unless it has been published before.

    Raises:
        ConfigError: the run was begun with another configuration.
        DataError: the run has no recommendations, or a job that has not finished.
    """
    publish(lakehouse, config)


def main(
    config: ConfigOption,
    run_id: Annotated[
        str, typer.Option("--run-id", help="The finished run that is to be published.")
    ],
    overrides: SetOption = None,
    output: OutputOption = None,
) -> None:
    """Publish."""
    with errors_as_messages():
        chosen = check_run_id(run_id)
        checked = read_config(config, tuple(overrides or ()), output)
        print(f"run id {chosen}", flush=True)
        with session_of_job("m6rec publish") as spark:
            publish(open_lakehouse(spark, checked, chosen), checked, again=True)
            print(f"run {chosen} is the published one", flush=True)


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
