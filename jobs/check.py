"""Look at all tables of a configuration, and say how they are understood and what is wrong.

Nothing is written. Exits with 0 where a run can start, and with 2 where something is to be put
right first.
"""

import typer
from pyspark.sql import SparkSession

from m6rec.command_line import ConfigOption, SetOption, errors_as_messages, read_config
from m6rec.config.run import Config
from m6rec.fits.inspection import inspect_sources, stop_at_problems
from m6rec.report.tables import print_inspection
from m6rec.report.terminal import terminal
from m6rec.spark.session import check_timestamp_type, session_of_job

NARROWEST = 140


def check(spark: SparkSession, config: Config) -> None:
    """Print how every table is understood.

    Raises:
        TableError: all problems, a line each.
    """
    inspection = inspect_sources(spark, config)
    print_inspection(terminal(NARROWEST), inspection.tables, inspection.findings)
    stop_at_problems(inspection)
    print("every table can be read, and a run can start", flush=True)


def main(config: ConfigOption, overrides: SetOption = None) -> None:
    """Check."""
    with errors_as_messages():
        checked = read_config(config, tuple(overrides or ()), None)
        with session_of_job("m6rec check") as spark:
            check_timestamp_type(spark)
            check(spark, checked)


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
