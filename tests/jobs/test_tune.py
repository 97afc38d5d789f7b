"""The search for a better config: its space, its study, and the job on a small shop."""

import csv
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from pyspark import SparkFiles
from pyspark.sql import SparkSession

from jobs.tune import (
    BEFORE_TOWERS,
    BEST_FILE,
    TOWERS,
    TRIALS_FILE,
    LatestTables,
    _progress,
    run_tuning,
)
from m6rec import columns as c
from m6rec.command_line import read_config
from m6rec.config.models import RidgeConfig
from m6rec.config.run import Config, load_config, parse_config
from m6rec.errors import ConfigError, DataError
from m6rec.job_records import CHOOSE_SETTINGS, JOBS_OF_A_RUN, TUNE
from m6rec.lakehouse import Lakehouse
from m6rec.runs import STARTED, Attempt, Job, jobs_of_run
from m6rec.spark.sources import check_sources
from m6rec.tuning import (
    MeasureConfig,
    Report,
    alone_in,
    distributions,
    ended,
    open_study,
    refusal_of,
    search,
    trial_rows,
    write_best,
)
from tests.synthetic_shop import Shop

RIDGE = "neighbours.ridge.regularisation"
RANK = "factors.svd.rank"
WIDTH, HEADS = "towers.sequence.width", "towers.sequence.heads"
SEARCH = {
    RIDGE: {"low": 1.0, "high": 1000.0, "log": True},
    RANK: {"values": [64, 128]},
}


def config_with(tune: dict[str, Any], **sections: Any) -> Config:
    source = {"path": "events.csv", "format": "csv"}
    return parse_config({"interactions": {"source": source}, "tune": tune, **sections}, "test")


def closeness_to_ten(config: Config, report: Report) -> float:
    return 1.0 - abs(math.log10(config.neighbours.ridge.regularisation) - 1.0)


def run_search(
    config: Config,
    file: Path,
    measure: MeasureConfig = closeness_to_ten,
    deadline: float | None = None,
) -> list[FrozenTrial]:
    """The trials that this call has added."""
    added: list[FrozenTrial] = []
    search(open_study(config, file), config, measure, deadline, added.append)
    return added


def test_one_search_at_a_time_is_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    with alone_in(folder):
        with pytest.raises(ConfigError, match="another tune is at work in"), alone_in(folder):
            raise AssertionError
        with alone_in(tmp_path / "other"):
            pass
    with alone_in(folder):
        (folder / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"), alone_in(folder / "file" / "tuned"):
        raise AssertionError


def test_a_file_that_is_no_study_is_named(tmp_path: Path) -> None:
    file = tmp_path / "study.sqlite"
    file.write_text("trial,ndcg")
    with pytest.raises(ConfigError, match=r"study\.sqlite is no database of SQLite"):
        open_study(config_with({"search": SEARCH}), file)
    file.write_text("")
    open_study(config_with({"search": SEARCH}), file)


# --- the search space -------------------------------------------------------------------------


def test_a_trial_runs_every_job_before_the_towers_but_the_choice_of_settings() -> None:
    before = set(JOBS_OF_A_RUN[: JOBS_OF_A_RUN.index(TOWERS.record)])
    assert {job.record for job in BEFORE_TOWERS} == before - {CHOOSE_SETTINGS}


def test_the_default_space_fits_the_default_config() -> None:
    space = distributions(config_with({}))
    assert isinstance(space["towers.epochs"], IntDistribution)
    assert isinstance(space["towers.temperature"], FloatDistribution)
    assert space[RANK] == CategoricalDistribution((128, 256, 512))


@pytest.mark.parametrize(
    ("key", "dimension", "message"),
    [
        ("neighbours.ridge.lambda", {"low": 1, "high": 2}, "ridge.lambda: unknown key"),
        ("factors.svd", {"low": 1, "high": 2}, "a key of it, such as factors.svd.rank"),
        ("towers.sequence", {"values": [1]}, "as it is a section, and single values are; give a"),
        (
            "towers.inputs",
            {"values": ["svd"]},
            "towers.inputs cannot be tuned, as it holds several",
        ),
        ("towers.inputs", {"values": [["svd"]]}, "found ['svd'], expected single values"),
        ("towers", {"sequence": {"width": {"low": 8, "high": 32}}}, "found key sequence, expected"),
        ("split.test_share", {"low": 0.1, "high": 0.2}, "split.test_share cannot be tuned"),
        ("hybrid.catalogue_share", {"values": [0.0, 0.5]}, "decides what trials are measured on"),
        ("hybrid.maximum_users", {"low": 9, "high": 99}, "decides what trials are measured on"),
        (RANK, {"low": 0, "high": 8}, "svd.rank: the config does not take 0"),
        (RANK, {"low": 1.5, "high": 8}, "svd.rank: the config does not take 1.5"),
        ("towers.loss", {"values": ["hinge"]}, "towers.loss: the config does not take 'hinge'"),
        (RIDGE, {"low": 0, "high": 8, "log": True}, "log needs low above 0"),
        (RIDGE, {"low": 8, "high": 2}, "low 8 is not below high 2"),
    ],
)
def test_what_cannot_be_searched_is_named_when_the_config_is_read(
    key: str, dimension: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        config_with({"search": {key: dimension}})
    assert message in str(raised.value)
    assert key in str(raised.value)
    assert len(str(raised.value).splitlines()) == 2


def test_the_space_is_widened_to_hold_the_configs_own_values() -> None:
    config = config_with(
        {"search": {RIDGE: {"low": 200, "high": 300}, RANK: {"values": [64]}}},
        factors={"svd": {"rank": 17}},
    )
    assert distributions(config) == {
        RIDGE: FloatDistribution(RidgeConfig().regularisation, 300.0),
        RANK: CategoricalDistribution((64, 17)),
    }


@pytest.mark.parametrize(
    ("key", "dimension", "given", "message"),
    [
        ("factors.als.regularisation", {"low": 0.1, "high": 1, "log": True}, 0, "logarithm"),
        ("factors.als.unobserved_weight", {"low": 0.1, "high": 1}, None, "own value is None"),
    ],
)
def test_a_range_needs_a_value_of_the_config_to_start_from(
    key: str, dimension: dict[str, Any], given: Any, message: str
) -> None:
    section, *path = key.split(".")
    sections = {section: given if not path else nested(path, given)}
    with pytest.raises(ConfigError, match=message):
        distributions(config_with({"search": {key: dimension}}, **sections))


def nested(path: list[str], value: Any) -> dict[str, Any]:
    first, *rest = path
    return {first: nested(rest, value) if rest else value}


def test_an_empty_space_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tune\.search is empty"):
        distributions(config_with({"search": {}}))


# --- the study --------------------------------------------------------------------------------


def test_the_given_config_is_the_first_trial_and_others_are_better(tmp_path: Path) -> None:
    config = config_with({"search": SEARCH, "trials": 12})
    trials = run_search(config, tmp_path / "study")
    assert trials[0].params == {RIDGE: RidgeConfig().regularisation, RANK: 256}
    assert len(trials) == 12
    assert max(trial.value or 0.0 for trial in trials) > 0.5 > (trials[0].value or 0.0) > -0.2


def test_a_second_call_adds_only_the_missing_trials(tmp_path: Path) -> None:
    tune = {"search": SEARCH}
    first = run_search(config_with({**tune, "trials": 3}), tmp_path / "study")
    second = run_search(config_with({**tune, "trials": 5}), tmp_path / "study")
    third = run_search(config_with({**tune, "trials": 5}), tmp_path / "study")
    assert [trial.number for trial in first + second + third] == [0, 1, 2, 3, 4]
    # The sampler does not propose again what it proposed before.
    assert len({trial.params[RIDGE] for trial in first + second}) == 5


def test_a_trial_that_was_killed_is_begun_again_with_its_values(tmp_path: Path) -> None:
    config = config_with({"search": SEARCH, "trials": 3})
    begun: list[float] = []

    def killed_in_the_second(config: Config, report: Report) -> float:
        begun.append(config.neighbours.ridge.regularisation)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return closeness_to_ten(config, report)

    with pytest.raises(KeyboardInterrupt):
        run_search(config, tmp_path / "study", killed_in_the_second)
    rest = run_search(config, tmp_path / "study")
    assert rest[0].params[RIDGE] == begun[1]
    assert len(rest) == 2


def test_a_failure_is_raised_and_the_given_config_is_measured_by_the_next_call(
    tmp_path: Path,
) -> None:
    config = config_with({"search": SEARCH, "trials": 2})

    def fail(config: Config, report: Report) -> float:
        raise DataError("no validation")

    with pytest.raises(DataError, match="no validation"):
        run_search(config, tmp_path / "study", fail)
    trials = run_search(config, tmp_path / "study")
    assert trials[0].params == {RIDGE: RidgeConfig().regularisation, RANK: 256}
    assert len(trials) == 2


def test_a_trial_whose_early_measure_is_poor_ends_there(tmp_path: Path) -> None:
    config = config_with({"search": SEARCH, "trials": 12})
    early: list[float] = []
    late: list[float] = []

    def in_two_steps(config: Config, report: Report) -> float:
        value = closeness_to_ten(config, report)
        early.append(value)
        report(value)
        late.append(value)
        return value

    trials = run_search(config, tmp_path / "study", in_two_steps)
    assert len(early) == len(trials) == 12
    assert 0 < len(set(early) - set(late)) < 7
    assert max(early) in late
    rows = trial_rows(open_study(config, tmp_path / "study"))
    assert {row["state"] for row in rows} == {"complete", "pruned"}
    pruned = [row for row in rows if row["state"] == "pruned"]
    assert all(row["ndcg"] is None for row in pruned)
    assert {row["ndcg_before_towers"] for row in pruned} == set(early) - set(late)


def test_past_the_deadline_only_the_given_config_is_measured(tmp_path: Path) -> None:
    config = config_with({"search": SEARCH, "trials": 4})
    trials = run_search(config, tmp_path / "study", deadline=time.monotonic())
    assert [trial.params[RIDGE] for trial in trials] == [RidgeConfig().regularisation]


def of_towers_on_order(search: dict[str, Any], trials: int = 8, **sequence: int) -> Config:
    return config_with({"search": search, "trials": trials}, towers={"sequence": sequence})


def test_a_trial_whose_values_make_no_valid_config_is_not_trained_and_does_not_count(
    tmp_path: Path,
) -> None:
    config = of_towers_on_order({WIDTH: {"low": 8, "high": 32}}, width=16, heads=2)
    trained: list[int] = []

    def width_of(config: Config, report: Report) -> float:
        trained.append(config.towers.sequence.width)
        return config.towers.sequence.width / 100

    trials = run_search(config, tmp_path / "study", width_of)
    refused = [trial for trial in trials if refusal_of(trial) is not None]
    assert len(trained) == 8 and all(width % 2 == 0 for width in trained)
    assert refused and len(trials) == 8 + len(refused)
    for trial in refused:
        width = trial.params[WIDTH]
        said = f"towers.sequence: width {width} is not a multiple of heads 2; change one of the two"
        assert refusal_of(trial) == said
    study = open_study(config, tmp_path / "study")
    assert [trial.params[WIDTH] for trial in ended(study)] == trained
    assert [row[WIDTH] for row in trial_rows(study)] == trained
    assert _progress(study, refused[0], config).endswith(
        f"trial {refused[0].number}: refused, as its values make no valid config"
        f" ({refusal_of(refused[0])}); not counted"
    )


def test_values_that_go_together_only_with_each_other_are_tried(tmp_path: Path) -> None:
    search = {WIDTH: {"values": [64, 48, 50]}, HEADS: {"values": [2, 3]}}
    config = of_towers_on_order(search, 30, width=64, heads=2)
    trials = run_search(config, tmp_path / "study", lambda config, _: config.towers.sequence.heads)
    counted = [trial for trial in trials if refusal_of(trial) is None]
    assert {trial.params[WIDTH] for trial in counted if trial.params[HEADS] == 3} == {48}
    assert all(trial.params[WIDTH] % trial.params[HEADS] for trial in trials if refusal_of(trial))
    study = open_study(config, tmp_path / "study")
    write_best(study, config, tmp_path / "best.yaml")
    assert load_config(tmp_path / "best.yaml").towers.sequence.heads == 3


def test_a_value_that_no_other_key_of_the_search_can_mend_is_refused_at_the_start() -> None:
    search = {HEADS: {"values": [2, 3]}, RANK: {"values": [64]}}
    with pytest.raises(ConfigError, match="does not take 3: width 64 is not a multiple of heads 3"):
        of_towers_on_order(search, width=64, heads=2)


def test_a_search_whose_values_hardly_go_together_ends(tmp_path: Path) -> None:
    search = {WIDTH: {"low": 10_000, "high": 20_000}, HEADS: {"values": [7_919]}}
    config = of_towers_on_order(search, width=7_919, heads=7_919)
    said = (
        r"tune\.search: 100 trials in a row were refused.*for: towers\.sequence: width \d+ is not"
    )
    with pytest.raises(ConfigError, match=said):
        run_search(config, tmp_path / "study", lambda *_: 1.0)


def test_a_study_of_another_config_is_refused(tmp_path: Path) -> None:
    run_search(config_with({"search": SEARCH, "trials": 1}), tmp_path / "study")
    with pytest.raises(ConfigError, match="begun with config"):
        open_study(config_with({"search": SEARCH}, seed=7), tmp_path / "study")


def test_the_best_config_is_the_owners_file_with_the_best_values(tmp_path: Path) -> None:
    config = config_with({"search": SEARCH, "trials": 8}, towers={"epochs": 3})
    run_search(config, tmp_path / "study")
    study = open_study(config, tmp_path / "study")
    write_best(study, config, tmp_path / "best.yaml")
    as_measured = {**study.best_params, "settings.seconds": 0.0}
    assert load_config(tmp_path / "best.yaml") == config.replaced(as_measured)
    text = (tmp_path / "best.yaml").read_text()
    assert f"trial {study.best_trial.number}, is the best of 8" in text
    assert f"{study.best_value:.4f}" in text
    written = yaml.safe_load(text)
    assert written["neighbours"] == {"ridge": {"regularisation": study.best_params[RIDGE]}}
    assert written["towers"] == {"epochs": 3}


def test_where_the_given_values_are_best_those_left_open_stay_open(tmp_path: Path) -> None:
    config = config_with({"search": SEARCH, "trials": 1}, towers={"epochs": 3})
    run_search(config, tmp_path / "study")
    write_best(open_study(config, tmp_path / "study"), config, tmp_path / "best.yaml")
    assert load_config(tmp_path / "best.yaml").given() == config.given()


# --- the job ----------------------------------------------------------------------------------


def test_tables_of_another_search_are_made_anew(spark: SparkSession, tmp_path: Path) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path), "study", str(tmp_path / "artifacts"))
    read: list[str] = []
    job = Job(BEFORE_TOWERS[0].record, lambda *_: read.append("a view may have other rows"))
    config = config_with({"search": SEARCH})
    first, second = LatestTables(lakehouse, "first"), LatestTables(lakehouse, "second")
    ran = [tables.bring_up_to_date(job, config) for tables in (first, first, second, second)]
    assert ran == [True, False, True, False]
    assert len(read) == 2


@pytest.fixture
def tuned(spark: SparkSession, shop: Shop, tmp_path: Path) -> Callable[[int], Config]:
    """A config of the shop, whose events are a Delta table, by the number of trials."""
    events = tmp_path / "events"
    spark.read.parquet(str(shop.interactions)).write.format("delta").save(str(events))

    def make(trials: int) -> Config:
        given = shop.config(tmp_path / "lake")
        source = {"path": str(events), "format": "delta"}
        sections = given | {
            "interactions": given["interactions"] | {"source": source},
            "features": {},
            "towers": {
                "inputs": ["svd"],
                "hidden": 16,
                "feature_hidden": 4,
                "epochs": 1,
                "sequence": {"enabled": False},
            },
            "recommend": {"top_n": 10},
            "hybrid": {"members": ["fusion", "als", "recent_ridge", "popularity"]},
            "tune": {"trials": trials, "search": {RIDGE: SEARCH[RIDGE]}},
        }
        return parse_config(sections, "test")

    return make


def bytes_sent() -> int:
    """How large the files of arrays are that tasks can map."""
    return sum(file.stat().st_size for file in Path(SparkFiles.getRootDirectory()).glob("m6rec-*"))


def test_the_job_trains_what_a_trial_changes_and_leaves_a_config_for_the_pipeline(
    spark: SparkSession, tuned: Callable[[int], Config], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    sent_before = bytes_sent()
    run_tuning(spark, tuned(1), "study", output)
    # What a trial has sent to its tasks is not on the disk when it ends.
    assert bytes_sent() == sent_before
    # All trials see the rows of the first, so that they can be compared.
    events = str(tuned(1).interactions.source.path)
    one_more = spark.read.format("delta").load(events).limit(1)
    one_more.write.format("delta").mode("append").save(events)
    tables = Lakehouse(spark, str(tmp_path / "lake"), "study")
    before = {name: tables.version(name) for name in ("splits", "item_factors", "item_neighbours")}

    study = run_tuning(spark, tuned(2), "study", output)

    assert [trial.number for trial in ended(study)] == [0, 1]
    after = {name: tables.version(name) for name in before}
    assert after["splits"] == before["splits"]
    assert after["item_factors"] == before["item_factors"]
    assert after["item_neighbours"] > before["item_neighbours"]
    # Neither the final fit nor a list for the test users has been made.
    models = tables.read("models").where("kind != 'events'").collect()
    assert {row[c.FIT] for row in models} == {c.SELECTION}
    assert not tables.exists("lists")
    # As any other run, it can be cleaned away, and is not forgotten beside.
    (row,) = jobs_of_run(tables)
    assert (row["job"], row["status"], row["sources"]) == (
        "tune",
        "finished",
        {"interactions.source": 0},
    )

    rows = list(csv.DictReader((output / TRIALS_FILE).open()))
    assert [float(row[RIDGE]) for row in rows] == [t.params[RIDGE] for t in ended(study)]
    assert all(0.0 < float(row["ndcg"]) <= 1.0 for row in rows)
    assert all(0.0 < float(row["ndcg_before_towers"]) <= 1.0 for row in rows)

    Attempt(tables, tuned(2), TUNE.name).save(STARTED)
    with pytest.raises(ConfigError, match=r"another --output.*is at work or was killed.*--run-id"):
        run_tuning(spark, tuned(2), "study", tmp_path / "elsewhere")

    best = read_config(output / BEST_FILE, (), None)
    assert best.interactions.source.version is None
    assert best.neighbours.ridge.regularisation == study.best_params[RIDGE]
    assert best.factors == tuned(2).factors
    check_sources(spark, best)
