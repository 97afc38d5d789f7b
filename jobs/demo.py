"""The whole pipeline on MovieLens-100K, from a fresh clone to a published top-N table.

Fetches the data, runs every job, and ends with a table of results, the lists of three users with
titles and reasons, and the path of a report with plots.
"""

from pathlib import Path
from typing import Annotated

import typer

from jobs.pipeline import run_pipeline
from m6rec.command_line import (
    RunIdOption,
    check_run_id,
    errors_as_messages,
    new_run_id,
    read_config,
)
from m6rec.config.reading import shipped_file
from m6rec.config.run import Config
from m6rec.datasets.movielens import fetch_movielens, write_owner_tables
from m6rec.spark.session import session_of_job

CONFIG = shipped_file("demo.yaml")


def prepare(output: Path, data: Path | None) -> Config:
    """Write the owner's tables into `output`/source and return the config that reads them."""
    tables = write_owner_tables(fetch_movielens(data), output / "source")
    overrides = (
        f"interactions.source.path={tables.interactions}",
        f"features.items.source.path={tables.items}",
        f"features.users.source.path={tables.users}",
    )
    return read_config(CONFIG, overrides, output)


def main(
    output: Annotated[
        Path, typer.Option("--output", help="Folder for tables, metrics.json and report.html.")
    ] = Path("output/demo"),
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder that already holds ml-100k.inter, .item and .user."),
    ] = None,
    run_id: RunIdOption = None,
) -> None:
    """Run the demo."""
    with errors_as_messages():
        chosen = check_run_id(run_id or new_run_id())
        config = prepare(output.resolve(), data)
        print(f"run id {chosen}", flush=True)
        with session_of_job("m6rec demo") as spark:
            run_pipeline(spark, config, chosen, output)


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
