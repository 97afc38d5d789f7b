"""Delete users from the published lists, every other table, the index and the files behind them.

Leaves a receipt that holds no id, in table `receipts` and on the terminal. The owner's own tables
stay as they are: a user who is still in them comes back with the next run, which is said.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated

import typer
from pyspark.sql import DataFrame, SparkSession

from m6rec import columns as c
from m6rec.command_line import (
    ConfigOption,
    OutputOption,
    SetOption,
    errors_as_messages,
    new_run_id,
    open_lakehouse,
    read_config,
)
from m6rec.config.run import Config
from m6rec.lakehouse import Lakehouse
from m6rec.publication.forgetting import (
    SAFE_HOURS,
    forget,
    runs_beside,
    tables_of_users,
    users_in,
    users_named,
)
from m6rec.runs import unprepared
from m6rec.spark.session import session_of_job
from m6rec.spark.sources import read_ids, table_of_ids


def run(
    lakehouse: Lakehouse,
    config: Config,
    ids: DataFrame,
    retain_hours: int = 0,
    killed: Collection[str] = (),
) -> None:
    """Forget the users of a table with the column user_id; the run id is that of the receipt.

    Args:
        lakehouse: the tables of the lake.
        config: says how ids are written.
        ids: the users.
        retain_hours: files that older versions need are kept for so long.
        killed: runs that have not ended and are going on no more.

    Raises:
        DataError: a run is going on.
    """
    users = users_named(ids, config.interactions).localCheckpoint()
    asked = users.count()
    begun_at = datetime.now(UTC)
    known, receipt = forget(lakehouse, config, users, retain_hours, killed)
    print(f"receipt {lakehouse.run_id}: {known} users forgotten", flush=True)
    if known < asked:
        print(
            f"warning: the lake knows {known or 'none'} of the {asked} users of the table; ids are"
            " compared as interactions.trim_ids, unify_ids and normalise_ids say",
            flush=True,
        )
    for one in receipt:
        what = "folders" if one.version is None else f"rows, gone since version {one.version}"
        print(f"{one.table}: {one.rows} {what}", flush=True)
    for run_id in runs_beside(lakehouse, begun_at, killed):
        print(
            f"warning: run {run_id} went on meanwhile and may write these users again, who stay in"
            " table user_index; forget them again when it has ended",
            flush=True,
        )
    for run_id in unprepared(lakehouse, killed):
        print(
            f"warning: run {run_id} cannot go on: it would read these users where they stand in"
            " earlier versions of your tables; start a new run, with another --run-id",
            flush=True,
        )
    for source, column in tables_of_users(config):
        there = read_ids(lakehouse.spark, source, {c.USER_ID: column}, config.interactions)
        left = users_in(there, users)
        if left:
            print(
                f"warning: {left} of these users stand in {source.name} and come back with the next"
                " run; delete them there",
                flush=True,
            )


def main(
    config: ConfigOption,
    users: Annotated[
        str,
        typer.Option(
            "--users",
            metavar="TABLE",
            help="The table with their ids: a name in the catalogue, or the path of a Delta table,"
            " a .csv, a .json or a .parquet. Its column of ids is called like the config's"
            " interactions.columns.user or user_id, or is its only one.",
        ),
    ],
    retain_hours: Annotated[
        int,
        typer.Option(
            "--retain-hours",
            min=0,
            help="Keep files that older versions need for so long; with"
            f" {SAFE_HOURS} or more, also beside a run that is going on, which may write the users"
            " again: forget them again when it has ended.",
        ),
    ] = 0,
    killed: Annotated[
        list[str] | None,
        typer.Option(
            "--killed",
            metavar="ID",
            help="A run whose process is gone, so that it is not waited for; can be repeated.",
        ),
    ] = None,
    overrides: SetOption = None,
    output: OutputOption = None,
) -> None:
    """Forget."""
    with errors_as_messages():
        checked = read_config(config, tuple(overrides or ()), output)
        with session_of_job("m6rec forget") as spark:
            ids = _ids(spark, users, checked)
            run(
                open_lakehouse(spark, checked, new_run_id()),
                checked,
                ids,
                retain_hours,
                killed or (),
            )


def _ids(spark: SparkSession, users: str, config: Config) -> DataFrame:
    source, column = table_of_ids(spark, users, (config.interactions.columns.user, c.USER_ID))
    return read_ids(spark, source, {c.USER_ID: column}, config.interactions)


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
