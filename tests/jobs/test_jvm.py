"""Which of the JVM's compilers a job starts with."""

from pathlib import Path

import pytest

from m6rec.config.base import TableSource
from m6rec.config.data import InteractionsConfig
from m6rec.config.outputs import EvaluateConfig
from m6rec.config.run import Config, load_config
from m6rec.job_records import reads_many_rows
from m6rec.startup.first_run import write_tables
from m6rec.startup.jvm import SIMPLE_COMPILER, compiler_options


def config(
    lake: str = "somewhere", rankers: tuple[str, ...] = ("als",), events: str = "events"
) -> Config:
    source = InteractionsConfig(source=TableSource(path=events))
    measured = EvaluateConfig.model_validate({"rankers": rankers})
    return Config(interactions=source, lake=lake, evaluate=measured)


@pytest.mark.parametrize("job", ["pipeline", "demo", "quality", "tune"])
def test_a_run_of_all_jobs_keeps_the_optimising_compiler(job: str) -> None:
    assert compiler_options(job, config()) == ""


@pytest.mark.parametrize(
    ("size", "options"), [(10_000, SIMPLE_COMPILER), (10_000_000, "")], ids=["few", "many"]
)
@pytest.mark.parametrize("job", ["pipeline", "prepare_interactions", "train_factors"])
def test_over_few_rows_no_loop_is_long(tmp_path: Path, job: str, size: int, options: str) -> None:
    events = tmp_path / "events.csv"
    events.write_bytes(bytes(size))
    rankers = ("als", "mllib_als")
    assert compiler_options(job, config(rankers=rankers, events=str(events))) == options


def test_a_single_job_starts_with_the_simple_one() -> None:
    assert compiler_options("evaluate", config()) == SIMPLE_COMPILER


def test_factors_need_the_optimising_one_for_mllib_alone() -> None:
    assert compiler_options("train_factors", config()) == SIMPLE_COMPILER
    assert compiler_options("train_factors", config(rankers=("als", "mllib_als"))) == ""


@pytest.mark.parametrize(
    ("size", "options"), [(10_000, SIMPLE_COMPILER), (10_000_000, "")], ids=["few", "many"]
)
def test_lists_of_many_users_need_the_optimising_one(
    tmp_path: Path, size: int, options: str
) -> None:
    part = tmp_path / "user_index" / "part-0.parquet"
    part.parent.mkdir()
    part.write_bytes(bytes(size))
    assert compiler_options("recommend", config(str(tmp_path))) == options


def test_of_users_that_it_cannot_see_it_expects_many() -> None:
    assert compiler_options("recommend", config("s3a://bucket/lake")) == ""


def test_the_first_run_of_the_set_up_has_a_valid_configuration_and_few_rows(tmp_path: Path) -> None:
    write_tables(tmp_path / "tables")
    config = load_config(tmp_path / "tables" / "config.yaml")
    assert not reads_many_rows(config)
    assert config.features.items is not None
    assert Path(str(config.features.items.source.path)).read_text().startswith("item_id,")
