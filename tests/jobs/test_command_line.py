"""The command line: what a wrong call says, before Spark starts."""

import errno
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import typer
from click.testing import Result
from pyspark.sql import SparkSession
from typer import Exit
from typer.testing import CliRunner

from jobs import explain, publish
from m6rec import columns as c
from m6rec import command_line
from m6rec.command_line import (
    check_file_to_write,
    check_run_id,
    errors_as_messages,
    local_output,
    new_run_id,
    open_lakehouse,
    read_config,
)
from m6rec.config.base import TableSource
from m6rec.config.data import InteractionsConfig
from m6rec.config.run import Config, load_config, sources_of
from m6rec.errors import ClusterError, ConfigError, DataError, TableError
from m6rec.fits.inspection import inspect_sources
from m6rec.lakehouse import Lakehouse
from m6rec.publication.publishing import read_published
from m6rec.spark.runtimes import delta_package, with_own_delta
from m6rec.spark.session import get_session, read_properties, with_settings
from m6rec.spark.sources import check_sources, read_ids, table_of_ids
from tests.shell_environment import run_python

REPOSITORY = Path(__file__).parent.parent.parent
EXAMPLES = sorted((REPOSITORY / "conf").glob("*.yaml"))
EXAMPLES_BY = {file.stem: file for file in EXAMPLES}

PROVIDED = {"strategy": "provided", "test": {"path": "test.csv", "format": "csv"}}

# A whole job file, as those in jobs/ are: what it prints shows what it was given.
JOB = '''"""A job that tells what it was given."""
from m6rec.command_line import command
command(__doc__, lambda config, run_id, output: print(config.lake, run_id, output, config.seed))
'''


def write_config(folder: Path, extra: str = "") -> Path:
    (folder / "events.csv").write_text("user_id,item_id\nann,tea\n")
    file = folder / "config.yaml"
    source = f"{{path: {folder / 'events.csv'}, format: csv}}"
    file.write_text(f"interactions:\n  source: {source}\n{extra}")
    return file


def invoked(function: Callable[..., None], *options: str) -> Result:
    """What the command ends with that a job's function is, without a process of its own."""
    application = typer.Typer(add_completion=False)
    application.command()(function)
    return CliRunner().invoke(application, options)


def test_a_job_gets_config_run_id_and_output_of_its_options(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text(JOB)
    options = ["--config", str(write_config(tmp_path)), "--set", "seed=7"]
    options += ["--run-id", "r1", "--output", str(tmp_path / "out")]
    result = run_python(str(job), *options)
    assert result.returncode == 0, result.stderr
    assert f"{tmp_path}/out/lake r1 {tmp_path}/out 7" in result.stdout


@pytest.mark.parametrize(
    ("plot", "said"),
    [
        ("folder", "--plot is {at}/folder, a folder, .*, such as {at}/folder/explanation.png"),
        ("file/x/y.png", "{at}/file is no folder but a file; .*, such as {at}/explanation.png"),
    ],
)
def test_a_picture_that_cannot_be_written_is_refused_before_spark_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plot: str, said: str
) -> None:
    def start(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(explain, "session_of_job", start)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    options = ["--config", str(write_config(tmp_path)), "--user", "ann", "--item", "tea"]
    result = invoked(explain.main, *options, "--plot", str(tmp_path / plot))
    assert result.exit_code == 2
    assert re.search(said.format(at=tmp_path), result.output)


def test_a_picture_may_be_in_folders_that_are_still_to_be_made(tmp_path: Path) -> None:
    check_file_to_write("--plot", tmp_path / "new" / "folder" / "x.png", "explanation.png")


def test_help_shows_the_docstring_of_the_job_and_every_option(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text(JOB)
    result = run_python(str(job), "--help")
    assert result.returncode == 0
    for text in ("A job that tells what it was given.", "--config", "--set", "--run-id"):
        assert text in result.stdout


@pytest.mark.parametrize(
    ("extra", "overrides", "named"),
    [
        ("sped: 3\n", (), "sped: unknown key"),
        ("split: {test_share: 1.5}\n", (), "split.test_share"),
        ("", ("seed=red",), "seed"),
        ("", ("factors.svd.rnk=3",), "factors.svd.rnk: unknown key"),
        ("", ("interactions.source.path=/no/such.csv",), "/no/such.csv does not exist"),
        ("", ("seed",), "section.key=value"),
    ],
)
def test_a_wrong_config_stops_with_exit_code_2_and_a_message_that_names_it(
    tmp_path: Path, extra: str, overrides: tuple[str, ...], named: str
) -> None:
    options = [f"--set={override}" for override in overrides]
    config = str(write_config(tmp_path, extra))
    result = invoked(command_line._check, "--config", config, *options)
    assert result.exit_code == 2
    assert named in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("run_id", "named"),
    [
        ("to'day", 'holds "\'"'),
        ("a b", "holds ' '"),
        ("../other", "holds '/'"),
        ("d\u00e9j\u00e0", "holds '\u00e9'"),
        (".hidden", "starts with ."),
        ("", "is empty"),
    ],
)
def test_a_run_id_with_another_character_is_refused_before_anything_starts(
    spark: SparkSession, tmp_path: Path, run_id: str, named: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        check_run_id(run_id)
    assert named in str(refused.value)
    with pytest.raises(ConfigError, match="run id"):
        open_lakehouse(spark, load_config(write_config(tmp_path)), run_id)


def test_a_session_whose_timestamps_have_no_zone_is_refused(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = load_config(write_config(tmp_path))
    line = r'call spark\.conf\.set\("spark\.sql\.timestampType", "TIMESTAMP_LTZ"\)'
    without_zone = {"spark.sql.timestampType": "TIMESTAMP_NTZ"}
    with with_settings(spark, without_zone), pytest.raises(ClusterError, match=line):
        open_lakehouse(spark, config, "r1")


def test_run_ids_of_letters_digits_and_signs_pass() -> None:
    for run_id in (new_run_id(), "2026-11-24_nightly.2", "tune"):
        assert check_run_id(run_id) == run_id


@pytest.mark.parametrize("job", ["demo", "quality", "tune"])
def test_each_job_refuses_a_wrong_run_id(job: str, tmp_path: Path) -> None:
    options = ["--data", str(tmp_path)]
    if job == "tune":
        options = ["--config", str(write_config(tmp_path))]
    arguments = [*options, "--output", str(tmp_path / "out"), "--run-id", "to'day"]
    result = invoked(import_module(f"jobs.{job}").main, *arguments)
    assert result.exit_code == 2
    assert 'run id "to\'day" holds "\'"' in result.stderr
    assert not (tmp_path / "out").exists()


def test_quality_refuses_a_strategy_beside_a_given_validation(tmp_path: Path) -> None:
    (tmp_path / "validation.parquet").touch()
    arguments = ["--data", str(tmp_path), "--output", str(tmp_path / "out")]
    result = invoked(import_module("jobs.quality").main, *arguments, "--validation", "random")
    assert result.exit_code == 2
    assert f"--validation is random, and {tmp_path / 'validation.parquet'} says" in result.stderr


def test_a_job_of_a_run_refuses_a_wrong_run_id(tmp_path: Path) -> None:
    job, config = REPOSITORY / "jobs" / "recommend.py", write_config(tmp_path)
    arguments = ["--config", str(config), "--output", str(tmp_path / "out"), "--run-id", "to'day"]
    result = run_python(str(job), *arguments)
    assert result.returncode == 2
    assert 'run id "to\'day" holds "\'"' in result.stderr
    assert not (tmp_path / "out").exists()


def test_publish_needs_the_run_that_is_to_be_published(tmp_path: Path) -> None:
    config = str(write_config(tmp_path))
    check = ["--config", config, "--job", "publish"]
    checked = invoked(command_line._check, *check)
    assert checked.exit_code == 2
    assert "publish has no --run-id" in checked.stderr
    for asked in (["--run-id", "r1"], ["--rollback"], ["--history"]):
        assert invoked(command_line._check, *check, *asked).exit_code == 0
    both = invoked(publish.main, *check[:2], "--rollback", "--history")
    assert both.exit_code == 2
    assert "either --run-id or --rollback or --history" in both.stderr


@pytest.mark.parametrize("scheme", ["", "file:", "file://"])
@pytest.mark.parametrize("hadoop", ["", "/etc/hadoop/conf"])
def test_a_local_table_is_looked_for_where_its_path_says(
    tmp_path: Path, scheme: str, hadoop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hadoop:
        monkeypatch.setenv("HADOOP_CONF_DIR", hadoop)
    config = write_config(tmp_path)
    there = f"interactions.source.path={scheme}{tmp_path / 'events.csv'}"
    assert read_config(config, (there,), None)
    gone = f"interactions.source.path={scheme}{tmp_path}/gone.csv"
    if scheme or not hadoop:
        with pytest.raises(TableError, match=r"gone\.csv does not exist"):
            read_config(config, (gone,), None)
    else:
        # There a path without a scheme may be one of HDFS.
        assert read_config(config, (gone,), None)


def test_the_lake_lies_in_an_output_of_any_name(tmp_path: Path) -> None:
    output = tmp_path / "a: #b 'c' \u00e9"
    assert read_config(write_config(tmp_path), (), output).lake == str(output / "lake")


def test_the_lake_lies_in_an_output_of_any_file_system(tmp_path: Path) -> None:
    checked = read_config(write_config(tmp_path), (), "s3a://bucket/out/")
    assert checked.lake == "s3a://bucket/out/lake"


def test_two_places_for_the_lake_are_refused(tmp_path: Path) -> None:
    given = ("seed=2", "lake=elsewhere/lake", "seed=3")
    with pytest.raises(ConfigError, match=r"lake in .*/out/lake, and --set lake=elsewhere/lake"):
        read_config(write_config(tmp_path), given, tmp_path / "out")


def test_a_schema_of_the_catalogue_stays_the_lake_wherever_reports_go(tmp_path: Path) -> None:
    schema = ("lake=main.recommender",)
    assert read_config(write_config(tmp_path), schema, tmp_path).lake == "main.recommender"


def test_a_job_whose_files_have_to_be_local_says_so(tmp_path: Path) -> None:
    assert local_output(str(tmp_path)) == tmp_path
    with pytest.raises(ConfigError, match=r"--output is s3a://bucket/out, .* leave --output out"):
        local_output("s3a://bucket/out")


def test_what_is_set_without_effect_is_said_on_stderr_and_the_config_is_valid(
    tmp_path: Path,
) -> None:
    config = write_config(tmp_path, "ratings: {rank: 9}\n")
    check = ["-m", "m6rec.command_line", "--config", str(config)]
    result = run_python(*check)
    assert result.returncode == 0, result.stderr
    assert "warning: ratings.rank has no effect: ratings.enabled is false\n" in result.stderr
    assert "is valid" in result.stdout
    # Before a job that says it itself, the check does not.
    assert run_python(*check, "--job", "recommend").stderr == ""


def test_the_check_says_that_a_config_is_valid(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    result = run_python("-m", "m6rec.command_line", "--config", str(config))
    assert result.returncode == 0, result.stderr
    assert f"config {config} is valid" in result.stdout


def test_the_command_line_imports_neither_torch_nor_numba() -> None:
    code = "import sys, m6rec.command_line; print({'torch', 'numba'} & set(sys.modules))"
    assert run_python("-c", code).stdout.strip() == "set()"


def test_jobs_without_a_program_that_needs_torch_do_not_import_it() -> None:
    jobs = ("prepare_interactions", "train_neighbours", "train_hybrid", "recommend", "evaluate")
    code = f"import sys, {', '.join(f'jobs.{job}' for job in jobs)}; print('torch' in sys.modules)"
    assert run_python("-c", code).stdout.strip() == "False"


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_config_loads(file: Path) -> None:
    config = load_config(file)
    assert config.fingerprint() == load_config(file).fingerprint()


def test_there_is_an_example_for_each_kind_of_owner() -> None:
    names = {file.stem for file in EXAMPLES}
    assert {"demo", "minimal", "shop-events", "provided-split"} <= names


def test_sources_name_every_table_and_the_columns_that_it_must_have() -> None:
    shop = {key: columns for key, _, columns in sources_of(load_config(EXAMPLES_BY["shop-events"]))}
    assert shop["interactions.source"] == ("customer_id", "sku", "occurred_at", "event", "device")
    assert shop["features.items"][:2] == ("sku", "name")
    assert shop["recommend.rules.allowed_items"] == ("sku",)
    provided = {key for key, _, _ in sources_of(load_config(EXAMPLES_BY["provided-split"]))}
    assert "split.test" in provided


def test_a_missing_column_is_named_with_its_key_before_any_compute(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = load_config(write_config(tmp_path), ("interactions.columns.item=sku",))
    with pytest.raises(TableError, match=r"interactions\.source.*sku.*user_id"):
        check_sources(spark, config)


def test_a_rule_table_without_its_column_is_named_with_its_key_before_any_compute(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "stock.csv").write_text("sku\ntea\n")
    rule = f"{{path: {tmp_path / 'stock.csv'}, format: csv}}"
    file = write_config(tmp_path)
    config = load_config(file, (f"recommend.rules.allowed_items={rule}",))
    with pytest.raises(TableError, match=r"recommend\.rules\.allowed_items.*item_id.*sku"):
        check_sources(spark, config)
    named = ("recommend.rules.allowed_items.item=sku",)
    check_sources(spark, load_config(file, (f"recommend.rules.allowed_items={rule}", *named)))


def test_ids_are_read_under_our_names_as_strings(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "pairs.json").write_text('{"who.is": 7, "sku": "tea", "why": "returned"}\n')
    source = TableSource(path=str(tmp_path / "pairs.json"), format="json")
    names = {c.USER_ID: "who.is", c.ITEM_ID: "sku"}
    ids = read_ids(spark, source, names, InteractionsConfig(source=source))
    assert [row.asDict() for row in ids.collect()] == [{c.USER_ID: "7", c.ITEM_ID: "tea"}]


def test_a_missing_table_is_named(spark: SparkSession, tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), ("interactions.source={table: no.such.table}",))
    with pytest.raises(TableError, match=r"no\.such\.table"):
        check_sources(spark, config)


def test_valid_sources_pass_and_the_lakehouse_lies_where_the_output_says(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = read_config(write_config(tmp_path), (), tmp_path / "out")
    check_sources(spark, config)
    lakehouse = open_lakehouse(spark, config, "r1")
    assert lakehouse.address("splits") == f"{tmp_path}/out/lake/splits"


def test_run_ids_are_new_and_sort_by_time() -> None:
    first, second = new_run_id(), new_run_id()
    assert first != second
    assert re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{6}", first)


def test_an_error_of_a_python_worker_becomes_the_same_message(
    spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        raise DataError("rows in 3, rows kept 1, rows quarantined 1")

    with pytest.raises(Exit) as stop, errors_as_messages():
        spark.range(1).mapInArrow(refuse, "id long").collect()
    assert stop.value.exit_code == 2
    assert "rows in 3, rows kept 1, rows quarantined 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "a disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "a disk is full"),
        (OSError(errno.EACCES, "Permission denied", "/out/a"), "/out/a cannot be used (Permission"),
        (OSError(errno.EPERM, "Operation not permitted", "/out/a"), "/out/a cannot be used"),
        (OSError(errno.EROFS, "Read-only file system", "/out/a"), "/out/a cannot be used"),
        (MemoryError(), "the driver took more memory than there is"),
        (MemoryError("Unable to allocate 9 GiB"), "(Unable to allocate 9 GiB)"),
    ],
)
def test_what_the_drivers_machine_lacks_is_no_defect(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit) as stop, errors_as_messages():
        raise error
    assert stop.value.exit_code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert said in message
    assert "defect" not in message


def test_other_errors_of_the_system_are_defects(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exit) as stop, errors_as_messages():
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/out/a")
    assert stop.value.exit_code == 1
    assert "This is a defect of M6-Rec" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["PYSPARK_GATEWAY_PORT", "M6REC_DRIVER_ELSEWHERE"])
def test_a_table_is_left_to_spark_where_its_driver_looks(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    gone = (f"interactions.source.path=file://{tmp_path}/gone.csv",)
    assert read_config(write_config(tmp_path), gone, None)


@pytest.mark.parametrize("key", ["lake", "artifacts"])
def test_a_place_that_only_a_shell_would_find_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: ~ stands for nothing in ~/out"):
        load_config(write_config(tmp_path), (f"{key}=~/out",))


def test_properties_are_read_as_java_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "spark.conf"
    lines = ["# a", "! b", "", "one 1", " two=2 ", "three = a=b", "four: 4", "five  -XX:A=1 -Xss4m"]
    file.write_text("\n".join([*lines, "six"]))
    assert read_properties(file) == {
        "one": "1",
        "two": "2",
        "three": "a=b",
        "four": "4",
        "five": "-XX:A=1 -Xss4m",
        "six": "",
    }


class ConnectSession:
    """Stands in for a session of Spark Connect, which is told by its module."""


ConnectSession.__module__ = "pyspark.sql.connect.session"


class RecordingBuilder:
    """Stands in for Spark's builder of sessions, and keeps what it is given."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}

    def appName(self, _: str) -> "RecordingBuilder":  # noqa: N802
        return self

    def config(self, key: str, value: str) -> "RecordingBuilder":
        self.given[key] = value
        return self

    def getOrCreate(self) -> ConnectSession:  # noqa: N802
        return ConnectSession()


def test_a_session_is_built_with_delta_for_the_spark_that_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    builder = RecordingBuilder()
    monkeypatch.setattr(SparkSession, "builder", builder)
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    packages = "a.b:c:1, io.delta:delta-spark_2.12:1.0.0,io.delta:delta-storage:2"
    with pytest.raises(ClusterError, match="Spark Connect"):
        get_session("reader", {"spark.jars.packages": packages, "a": "b"})
    assert builder.given == {
        "spark.jars.packages": f"a.b:c:1, {delta_package()},io.delta:delta-storage:2",
        "a": "b",
    }


def test_another_patch_release_of_delta_is_the_owners_choice() -> None:
    release, _, _ = delta_package().rpartition(".")
    assert with_own_delta(f"{release}.99,a.b:c:1") == f"{release}.99,a.b:c:1"


@pytest.mark.parametrize(
    "call",
    [
        inspect_sources,
        check_sources,
        lambda spark, config: open_lakehouse(spark, config, "r1"),
        lambda spark, config: read_published(spark, "lake", "recommendations"),
        lambda spark, _: table_of_ids(spark, "users.csv", ("user_id",)),
        lambda spark, _: Lakehouse(spark, "lake", "r1"),
    ],
)
def test_spark_connect_is_refused_wherever_a_program_begins(
    tmp_path: Path, call: Callable[[Any, Config], object]
) -> None:
    with pytest.raises(ClusterError, match="this session is Spark Connect"):
        call(ConnectSession(), load_config(write_config(tmp_path)))


def test_an_error_keeps_its_square_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exit), errors_as_messages():
        raise ConfigError("expected one of [bold]a[/bold], found ['b']")
    assert "error: expected one of [bold]a[/bold], found ['b']" in capsys.readouterr().err


@pytest.mark.parametrize("artifacts", [None, "models"])
def test_a_lake_in_a_schema_that_is_not_there_is_refused_by_its_name(
    spark: SparkSession, tmp_path: Path, artifacts: str | None
) -> None:
    config = load_config(write_config(tmp_path)).replaced(
        {"lake": "spark_catalog.nowhere", "artifacts": artifacts}
    )
    with pytest.raises(ConfigError, match=r"no schema spark_catalog\.nowhere; make it"):
        open_lakehouse(spark, config, "r1")
