"""The command line that all jobs share.

A job is a function `run(lakehouse, config)` in a file of `jobs/`, and its record in
`job_records.py`. Jobs that train take a third argument, `fits`, the names of the fits to train.
`command_line` gives a job its options.
From a notebook the same function is called without any of this:

    from jobs import build_features, prepare_interactions

    spark = get_session("notebook", read_properties("conf/spark-local.conf"))
    config = load_config("my.yaml")
    check_tables(spark, config)
    lakehouse = open_lakehouse(spark, config, new_run_id())
    run_job(lakehouse, config, prepare_interactions.JOB)   # recorded in `runs`
    build_features.run(lakehouse, config)                  # not recorded

This module imports neither torch nor numba, so that `--help` and a wrong config answer at once.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import SparkSession

from m6rec.config.base import TableSource, is_path, wrong_run_id
from m6rec.config.effects import warnings_of
from m6rec.config.run import Config, load_config, sources_of
from m6rec.errors import ConfigError, GuardError, M6RecError, TableError
from m6rec.files import has_scheme
from m6rec.fits.inspection import check_tables
from m6rec.job_records import PUBLISH, JobRecord
from m6rec.lakehouse import Lakehouse
from m6rec.runs import Job, as_read_by, run_job
from m6rec.spark.failures import THROWN, as_our_error, of_the_machine, unforeseen
from m6rec.spark.files import local_path
from m6rec.spark.messages import keep_trace, say
from m6rec.spark.places import whole_address
from m6rec.spark.session import (
    check_classic,
    check_delta,
    check_timestamp_type,
    session_of_job,
)
from m6rec.startup.jvm import compiler_options

UNFORESEEN = 1
WRONG_USE = 2
STOPPED_BY_GUARD = 3
# Variables of the environment where the default file system may be another than this machine's: by
# Hadoop's own files, in a container of YARN, and by the properties file of spark-submit.sh.
_DEFAULT_IS_ELSEWHERE = frozenset(
    {"HADOOP_CONF_DIR", "YARN_CONF_DIR", "CONTAINER_ID", "M6REC_DEFAULT_FILE_SYSTEM"}
)
# Those where Spark looks for tables by itself: its driver runs already, or will run on a machine
# that has other folders.
_SPARK_LOOKS = frozenset({"PYSPARK_GATEWAY_PORT", "M6REC_DRIVER_ELSEWHERE"})
ConfigOption = Annotated[Path, typer.Option("--config", help="The configuration, a YAML file.")]

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Replace a value of the config; repeatable. The value is read as YAML.",
    ),
]

RunIdOption = Annotated[
    str | None,
    typer.Option(
        "--run-id",
        help="The run. Given again, it resumes: finished jobs are skipped. Without it: a new id.",
    ),
]

OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        help="Folder for reports, and for tables in DIR/lake (in place of a `lake` that is a path),"
        " in any file system that Spark reads. Without it: reports in `output`, tables in `lake` of"
        " the config.",
        metavar="DIR",
    ),
]


def command_line(job: Job, doc: str | None) -> None:
    """Run a job from the command line: the config is checked first, the job is recorded in `runs`.

    `--help` shows `doc` and what the job's record says of its tables.

    Exits with 2 and one message on stderr for anything that the user can put right.
    """

    def body(config: Config, run_id: str, output: str | None) -> None:
        with session_of_job(f"m6rec {job.name}") as spark:
            lakehouse = open_lakehouse(spark, config, run_id)
            if job.record.reads_sources:
                check_tables(spark, as_read_by(lakehouse, config))
            run_job(lakehouse, config, job)

    command(f"{(doc or '').rstrip()}\n\n{tables_text(job.record)}", body)


def tables_text(record: JobRecord) -> str:
    """What a job reads and writes, in words."""
    lines = {
        "Reads": record.reads,
        "Reads where they were made": record.reads_if_made,
        "Writes": record.writes,
        "Writes where the config asks for them": record.writes_if_asked,
    }
    named = [f"{words}: {', '.join(tables)}." for words, tables in lines.items() if tables]
    return "\n\n".join(named)


def command(doc: str | None, body: Callable[[Config, str, str | None], None]) -> None:
    """Parse the options of a job and call `body(config, run_id, output)` with a valid config."""
    application = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @application.command(help=doc)
    def _main(
        config: ConfigOption,
        overrides: SetOption = None,
        run_id: RunIdOption = None,
        output: OutputOption = None,
    ) -> None:
        with errors_as_messages():
            chosen = check_run_id(run_id or new_run_id())
            checked = read_config(config, tuple(overrides or ()), output)
            print(f"run id {chosen}", flush=True)
            body(checked, chosen, output)

    application()


def read_config(
    path: str | Path, overrides: tuple[str, ...] = (), output: Path | str | None = None
) -> Config:
    """Load and check a config; with `output` a lake by path lies in `output`/lake.

    It warns on stderr of values that have no effect.

    Raises:
        ConfigError: a key or value is wrong.
        TableError: a source is a local path that does not exist.
    """
    config = _checked_config(path, overrides, output)
    for line in warnings_of(config):
        say("warning", line)
    return config


def _checked_config(
    path: str | Path, overrides: tuple[str, ...], output: Path | str | None
) -> Config:
    config = load_config(path, overrides)
    if output is not None and is_path(config.lake):
        elsewhere = next((one for one in overrides if one.startswith("lake=")), None)
        if elsewhere is not None:
            raise ConfigError(
                f"--output {output} has the lake in {output}/lake, and --set {elsewhere} has it"
                " elsewhere; leave out one of them"
            )
        # The quotes have YAML read any path as text, whatever characters it holds.
        lake = json.dumps(f"{_whole(output)}/lake", ensure_ascii=False)
        config = load_config(path, (*overrides, f"lake={lake}"))
    for key, source, _ in sources_of(config):
        _check_local_path(key, source)
    return config


def _whole(output: Path | str) -> str:
    """The folder's absolute path; an address in another file system stays as it is."""
    given = str(output)
    if has_scheme(given) or (_default_is_elsewhere() and not Path(given).is_absolute()):
        return given.rstrip("/")
    return str(Path(given).resolve())


def local_output(output: str | None) -> Path:
    """The output folder of a job whose files only this machine can hold.

    Raises:
        ConfigError: it is in another file system.
    """
    if output is not None and has_scheme(output):
        raise ConfigError(
            f"--output is {output}, and this job keeps a database there, which has to be on the"
            " driver's own disk; leave --output out, which keeps it in ./output, and set lake to"
            " the place of the tables"
        )
    return Path(output or "output")


def open_lakehouse(spark: SparkSession, config: Config, run_id: str) -> Lakehouse:
    """The tables of one run, where the config says that they lie.

    Raises:
        ConfigError: the run id holds a character that it may not, the catalogue has no such schema,
            or models have no place.
        ClusterError: the session is Spark Connect, has no Delta, or has timestamps without a zone.
    """
    check_run_id(run_id)
    check_classic(spark)
    check_delta(spark)
    check_timestamp_type(spark)
    lake = whole_address(spark, config.lake) if is_path(config.lake) else config.lake
    lakehouse = Lakehouse(spark, lake, run_id, config.artifacts or "")
    lakehouse.check_schema()
    # Where files cannot lie in a schema's location, this fails before anything is computed.
    lakehouse.artifact_path()
    return lakehouse


def new_run_id() -> str:
    """An id that sorts by time, such as 20261124T063801-ab12cd."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def check_run_id(run_id: str) -> str:
    """The run id, which stands in conditions and paths: letters, digits, `-`, `_` and `.`.

    Raises:
        ConfigError: it holds another character, starts with `.`, or is empty.
    """
    wrong = wrong_run_id(run_id)
    if wrong is not None:
        raise ConfigError(f"{wrong}; give another --run-id")
    return run_id


def check_publish_options(run_id: str | None, rollback: bool, history: bool) -> None:
    """What job `publish` is to do: publish a run, go back, or tell the history.

    Raises:
        ConfigError: none of these is asked for, or several are; or the run id is wrong.
    """
    asked = [run_id is not None, rollback, history].count(True)
    if asked == 0:
        raise ConfigError(
            "publish has no --run-id, and it needs that of the run to be published; give"
            " --run-id and the id that the run printed first (or --rollback, or --history)"
        )
    if asked > 1:
        raise ConfigError(
            "publish does one thing at a time; give either --run-id or --rollback or --history"
        )
    if run_id is not None:
        check_run_id(run_id)


def check_file_to_write(option: str, file: Path, example: str) -> None:
    """Refuse a file that cannot be written because of what is at its path.

    Args:
        option: what names the file.
        file: where it is to be.
        example: a name for it within a folder.

    Raises:
        ConfigError: a folder is there, or a file where its folder would be.
    """
    if file.is_dir():
        raise ConfigError(
            f"{option} is {file}, a folder, and it names a file to write; give one, such as"
            f" {file / example}"
        )
    above = next(folder for folder in file.absolute().parents if folder.exists())
    if not above.is_dir():
        raise ConfigError(
            f"{option} is {file}, a file to write, and {above} is no folder but a file; give a file"
            f" in a folder, such as {above.parent / example}"
        )


def _check_local_path(key: str, source: TableSource) -> None:
    """Refuse a missing path on this machine at once; all other paths are left to Spark."""
    if source.path is None or any(sign in source.path for sign in "*?[{,"):
        return
    if _SPARK_LOOKS & os.environ.keys():
        return
    local = local_path(source.path)
    if (_default_is_elsewhere() and local == source.path) or has_scheme(local):
        return
    if not Path(local).exists():
        raise TableError(
            f"{key}: table {source.path} does not exist (seen from {Path.cwd()}); correct the path"
        )


def _default_is_elsewhere() -> bool:
    """Whether a path without a scheme may be one of HDFS, as in a container of YARN."""
    return bool(_DEFAULT_IS_ELSEWHERE & os.environ.keys())


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Turn an error that the user can put right into one message on stderr and exit code 2.

    The exit code is 3 where a guard keeps a run from being published, and 1 where an error is not
    one that we foresaw. Traces go to the log.
    """
    try:
        yield
    except GuardError as error:
        say("error", str(error))
        raise typer.Exit(STOPPED_BY_GUARD) from None
    except M6RecError as error:
        say("error", str(error))
        raise typer.Exit(WRONG_USE) from None
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as error:
        keep_trace(error)
        ours = as_our_error(error) if isinstance(error, THROWN) else of_the_machine(error)
        say("error", unforeseen(error) if ours is None else str(ours))
        raise typer.Exit(UNFORESEEN if ours is None else WRONG_USE) from None


def _check(
    config: ConfigOption,
    overrides: SetOption = None,
    output: OutputOption = None,
    job: Annotated[
        str | None, typer.Option(help="Print the JVM options that this job is to start with.")
    ] = None,
    run_id: RunIdOption = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Of publish.")] = False,
    history: Annotated[bool, typer.Option("--history", help="Of publish.")] = False,
) -> None:
    """Check a configuration without starting Spark."""
    with errors_as_messages():
        if job == PUBLISH.name:
            check_publish_options(run_id, rollback, history)
        elif run_id is not None:
            check_run_id(run_id)
        if job is None:
            checked = read_config(config, tuple(overrides or ()), output)
            checked.recommend.reasons.sentences()
            print(f"config {config} is valid ({checked.fingerprint()[:12]})")
        else:
            # The job itself warns of values that have no effect.
            checked = _checked_config(config, tuple(overrides or ()), output)
            print(compiler_options(job, checked))


if __name__ == "__main__":
    typer.run(_check)
