"""Make a finished run the published one, in one commit.

Readers of the results follow the published run. To go back to a run that was published before,
publish it again.
"""

from pathlib import Path

from m6rec.command_line import command, open_lakehouse
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


def _body(config: Config, run_id: str, _: Path | None) -> None:
    with session_of_job("m6rec publish") as spark:
        publish(open_lakehouse(spark, config, run_id), config, again=True)
        print(f"run {run_id} is the published one", flush=True)


if __name__ == "__main__":
    command(__doc__, _body)
