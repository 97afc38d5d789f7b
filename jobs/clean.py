"""Remove the runs that no rule of `retention` keeps, and files that no table needs any more.

The published run and the one before it, to which a rollback leads, always stay, and so does the one
that evaluate.compare_with_run names. --dry-run lists what would be removed, with its bytes. Files
of removed rows are deleted once Delta's safe period has passed, by a later call.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

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
from m6rec.publication.retention import ARTIFACTS, Cleaning, clean
from m6rec.spark.session import session_of_job


def run(
    lakehouse: Lakehouse,
    config: Config,
    dry_run: bool = False,
    vacuum_every: timedelta = timedelta(0),
) -> Cleaning:
    """Clean the lake, or only say what would be removed; the run id is that of the cleaning."""
    cleaning = clean(lakehouse, config, datetime.now(UTC), dry_run, vacuum_every)
    tell(cleaning, dry_run)
    return cleaning


def tell(cleaning: Cleaning, dry_run: bool) -> None:
    """Print what was removed, or would be, and when it leaves the disk."""
    would = "would be removed" if dry_run else "removed"
    print(f"{len(cleaning.runs)} runs {would}: {', '.join(cleaning.runs) or 'none'}", flush=True)
    for one in cleaning.removals:
        if one.bytes or one.unused:
            unused = f", {one.unused} bytes of files without a use" if dry_run else ""
            print(f"{one.place}: {one.bytes} bytes of these runs{unused}", flush=True)
    total = sum(one.bytes + one.unused for one in cleaning.removals)
    print(f"{total} bytes in all", flush=True)
    if cleaning.runs and not dry_run:
        at_once = sum(one.bytes for one in cleaning.removals if one.place == ARTIFACTS)
        print(
            f"{at_once} of them are deleted; files of tables are deleted by a cleaning after"
            " Delta's safe period, a week unless the tables say otherwise",
            flush=True,
        )


def main(
    config: ConfigOption,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List runs and bytes; change nothing.")
    ] = False,
    overrides: SetOption = None,
    output: OutputOption = None,
) -> None:
    """Clean."""
    with errors_as_messages():
        checked = read_config(config, tuple(overrides or ()), output)
        with session_of_job("m6rec clean") as spark:
            run(open_lakehouse(spark, checked, new_run_id()), checked, dry_run)


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
