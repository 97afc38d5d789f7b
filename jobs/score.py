"""Make lists for the users of a table with a finished run's models, without training.

The table holds events of the users, with the columns of the config's interactions.columns, or only
their ids; users of whom no event is given have the history that the run has learned from. Users
who came after training are folded in, and items that came after it are ranked by their attributes
in the config's table of items. Events with other items are left out and counted. The lists have the
columns of table recommendations; nothing that is published changes.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from posixpath import normpath
from typing import Annotated

import typer
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from m6rec.command_line import (
    ConfigOption,
    OutputOption,
    SetOption,
    check_run_id,
    errors_as_messages,
    open_lakehouse,
    read_config,
)
from m6rec.config.base import TableSource, is_path
from m6rec.config.reading import some_of
from m6rec.config.run import Config, sources_of
from m6rec.errors import ConfigError
from m6rec.files import has_scheme
from m6rec.fits.fit import Fit
from m6rec.job_records import SCORE_USERS
from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.publication.publishing import run_to_follow, view_of_published
from m6rec.publication.scoring import (
    ATTRIBUTES,
    USERS,
    GivenUsers,
    Scored,
    list_maker_of,
    score,
)
from m6rec.schemas import TABLES
from m6rec.spark.failures import saying_what_failed
from m6rec.spark.files import hadoop_configuration, local_path
from m6rec.spark.messages import say
from m6rec.spark.places import matching
from m6rec.spark.runtimes import delta_table_named, use_in_this_thread
from m6rec.spark.session import session_of_job
from m6rec.spark.sources import session_for_sources, source_at
from m6rec.stages.pairs.outcome import in_a_line

# The parts of a name of the catalogue, within backticks or without.
_PARTS_OF_A_NAME = re.compile(r"`([^`]+)`|([^.`]+)")
# Scheme, host and path.
_ADDRESS = re.compile(r"^([A-Za-z][\w+.-]*):(?://([^/]*))?(.*)$")
_TABLE = "a name in the catalogue, or the path of a Delta table, a .csv, a .json or a .parquet"


def run(
    lakehouse: Lakehouse, given: GivenUsers, target: str, config: Config | None = None
) -> Scored:
    """Write the lists of the given users with the models of the lakehouse's run to a Delta table.

    Args:
        lakehouse: its run id is that of the run.
        given: the users.
        target: the Delta table.
        config: the config as it is now. It does not affect the lists, which is said where it
            differs from the run's; its tables are protected from being replaced, too.

    Raises:
        ConfigError: the run's ranker can only rank for users who were in training, or the target
            is a table that is read, one of the lake's own, or no Delta table.
        DataError: the run has not finished.
        TableError: a table does not exist or lacks a column.
    """
    with session_for_sources(lakehouse.spark):
        maker = list_maker_of(lakehouse)
        configs = (maker.fit.config, *(() if config is None else (config,)))
        _refuse_to_replace(maker.fit, given, target, configs)
        if config is not None:
            _say_what_does_not_count(maker.fit, config)
        with saying_what_failed(f"job {SCORE_USERS.name}", _tables(maker.fit, given)):
            scored = score(maker, given)
            _write(scored.lists, target)
            scored.release()
    return scored


def _tables(fit: Fit, given: GivenUsers) -> Iterator[tuple[str, TableSource, tuple[str, ...]]]:
    """The tables that are read, by option or key of the config."""
    for option, place in ((USERS, given.users), (ATTRIBUTES, given.attributes)):
        if place is not None:
            yield option, source_at(fit.spark, place), ()
    yield from sources_of(fit.config)


def _write(lists: DataFrame, target: str) -> None:
    writer = lists.write.format("delta").mode("overwrite").option("overwriteSchema", "true")
    if is_path(target):
        writer.save(target)
    else:
        use_in_this_thread(lists.sparkSession)
        writer.saveAsTable(target)


def _say_what_does_not_count(fit: Fit, config: Config) -> None:
    differing = config.changed_keys(fit.config.model_dump(mode="json"))
    if differing:
        say(
            "warning",
            f"lists follow the config of run {fit.lakehouse.run_id}, and the given one differs in"
            f" {some_of(differing)}, which has no effect; run nightly or pipeline with it",
        )


def _refuse_to_replace(fit: Fit, given: GivenUsers, target: str, configs: Sequence[Config]) -> None:
    """Refuse a target whose rows are read for the lists, or belong to the lake or to other files.

    Raises:
        ConfigError: it is such a table.
    """
    read = [given.users]
    for config in configs:
        read += [source.name for _, source, _ in sources_of(config)]
        if config.fold_in.source is not None:
            read.append(config.fold_in.source.name)
    if given.attributes is not None:
        read.append(given.attributes)
    written = [fit.lakehouse.address(name) for name in (PUBLISHED, *TABLES)]
    if not fit.lakehouse.by_path:
        written += [view_of_published(fit.lakehouse, name) for name in TABLES]
    spark = fit.spark
    file_system = hadoop_configuration(spark).get("fs.defaultFS", "file:///")
    place = partial(place_of_table, file_system=file_system, catalog=spark.catalog.currentCatalog())
    if {*map(place, _names_of(spark, target))} & {*map(place, (*read, *written))}:
        raise ConfigError(
            f"--lists {target} is a table that the run reads or has written, or of the config, and"
            " the lists would replace it; give another path or name"
        )
    if (
        is_path(target)
        and not matching(spark, target, "_delta_log")
        and matching(spark, target, "*")
    ):
        raise ConfigError(
            f"--lists {target} holds files and is no Delta table, and the lists would be mixed with"
            " them; give a path at which there is nothing or a Delta table"
        )


def _names_of(spark: SparkSession, target: str) -> Iterator[str]:
    """The target as it is given, and the path of a table of the catalogue that is there."""
    yield target
    if not is_path(target) and spark.catalog.tableExists(target):
        # It may be no Delta table, which is found out when it is written.
        with suppress(AnalysisException):
            details = delta_table_named(spark, target).detail().select("location")
            yield from (row["location"] for row in details.collect())


def place_of_table(name: str, file_system: str, catalog: str) -> str:
    """A path or a name of the catalogue, written in one way.

    Args:
        name: the path or the name.
        file_system: that of paths that name none.
        catalog: that of names that name none.
    """
    if not is_path(name):
        parts = [(quoted or plain).lower() for quoted, plain in _PARTS_OF_A_NAME.findall(name)]
        return ".".join(parts if len(parts) > 2 else [catalog.lower(), *parts])
    path = local_path(name)
    if not has_scheme(path):
        if not has_scheme(local_path(file_system)):
            return str(Path(path).resolve())
        path = f"{file_system.rstrip('/')}/{path.lstrip('/')}"
    scheme, host, folder = _ADDRESS.findall(path)[0]
    if not host and file_system.startswith(f"{scheme}:"):
        [(_, host, _)] = _ADDRESS.findall(file_system)
    return f"{scheme}://{host}{normpath('/' + folder.lstrip('/'))}"


def main(
    config: ConfigOption,
    users: Annotated[
        str,
        typer.Option(
            "--users",
            metavar="TABLE",
            help=f"The users' events, or only their ids: {_TABLE}.",
        ),
    ],
    lists: Annotated[
        str,
        typer.Option(
            "--lists",
            metavar="TABLE",
            help="The Delta table that the lists replace: a path or a name in the catalogue.",
        ),
    ],
    run_id: Annotated[
        str | None,
        typer.Option("--run-id", help="The finished run. Without it: the published one."),
    ] = None,
    attributes: Annotated[
        str | None,
        typer.Option(
            "--attributes",
            metavar="TABLE",
            help="The users' attributes, with the columns of the config's features.users; its"
            " users have lists as well. Of all others: the config's table.",
        ),
    ] = None,
    with_history: Annotated[
        bool,
        typer.Option(
            "--with-history", help="Add the events that the run has of the users, as fold_in does."
        ),
    ] = False,
    overrides: SetOption = None,
    output: OutputOption = None,
) -> None:
    """Score."""
    with errors_as_messages():
        if run_id is not None:
            check_run_id(run_id)
        checked: Config = read_config(config, tuple(overrides or ()), output)
        with session_of_job("m6rec score") as spark:
            followed = run_to_follow(open_lakehouse(spark, checked, run_id or "any"), run_id)
            print(f"run id {followed.run_id}", flush=True)
            scored = run(followed, GivenUsers(users, attributes, with_history), lists, checked)
        _say(scored, lists, attributes)


def _say(scored: Scored, target: str, attributes: str | None) -> None:
    for facts in scored.vectors:
        print(f"{attributes}: {facts}", flush=True)
    for place, rows in scored.nameless.items():
        if rows:
            print(f"{place}: {rows} rows have no id, and were left out", flush=True)
    if scored.refused:
        total = sum(scored.refused.values())
        print(f"{total} rows were left out: {in_a_line(scored.refused)}", flush=True)
    if scored.refused_users:
        print(
            f"{scored.refused_users} users have no other rows, and lists by what the run knows of"
            " them",
            flush=True,
        )
    if scored.unknown_events:
        print(
            f"{scored.unknown_events} of {scored.events} events are with {scored.unknown_items}"
            " items that the run does not know, and were left out of the histories",
            flush=True,
        )
    print(
        f"lists of {scored.users} users, {scored.unknown_users} of them new to the run: {target}",
        flush=True,
    )


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
