"""Values with which a run would fail late are refused where the config is read."""

from datetime import date, datetime
from typing import Any

import pytest

from m6rec.config.run import Config, parse_config
from m6rec.errors import ConfigError

INTERACTIONS = {"source": {"path": "events.csv", "format": "csv"}}


def config_with(interactions: dict[str, Any] | None = None, **sections: Any) -> Config:
    return parse_config({"interactions": INTERACTIONS | (interactions or {}), **sections}, "test")


@pytest.mark.parametrize(
    ("section", "key", "twice"),
    [
        ("hybrid", "members", ["ridge", "svd", "ridge"]),
        ("evaluate", "rankers", ["als", "als"]),
        ("evaluate", "ks", [10, 20, 10]),
    ],
)
def test_a_list_has_a_value_and_each_once(section: str, key: str, twice: list[Any]) -> None:
    with pytest.raises(ConfigError, match=rf"{section}\.{key}: the list is empty; give"):
        config_with(**{section: {key: []}})
    named = rf"{section}\.{key}: {twice[0]} is listed more than once; remove the others"
    with pytest.raises(ConfigError, match=named):
        config_with(**{section: {key: twice}})
    assert config_with(**{section: {key: twice[:1]}})


@pytest.mark.parametrize("seed", [-1, 2**32, 10**26])
def test_a_seed_that_no_generator_takes_is_refused(seed: int) -> None:
    with pytest.raises(ConfigError, match=r"seed: .*(greater|less) than or equal to"):
        config_with(seed=seed)
    assert config_with(seed=2**32 - 1).seed == 2**32 - 1


def test_towers_need_an_item_for_the_input_and_one_for_a_target() -> None:
    with pytest.raises(ConfigError, match=r"towers\.maximum_history: .*greater than or equal to 2"):
        config_with(towers={"maximum_history": 1})
    assert config_with(towers={"maximum_history": 2}).towers.maximum_history == 2


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_the_least_positive_weight_is_a_finite_number(number: float) -> None:
    with pytest.raises(ConfigError, match=r"interactions\.positive_minimum: .*finite number"):
        config_with({"positive_minimum": number})
    assert config_with({"positive_minimum": -1.5}).interactions.positive_minimum == -1.5


@pytest.mark.parametrize(
    ("run", "named"), [("to'day", 'holds "\'"'), (".hidden", "starts with ."), ("", "is empty")]
)
def test_a_run_to_compare_with_has_a_run_id(run: str, named: str) -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.compare_with_run: run id") as refused:
        config_with(evaluate={"compare_with_run": run})
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("read", "text"),
    [(date(2026, 11, 24), "2026-11-24"), (20261124, "20261124"), ("old", "old"), (None, None)],
)
def test_a_run_id_that_yaml_takes_for_a_date_or_number_is_its_text(
    read: Any, text: str | None
) -> None:
    config = config_with(evaluate={"compare_with_run": read})
    assert config.evaluate.compare_with_run == text


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (date(2026, 11, 1), "2026-11-01"),
        (datetime(2026, 11, 1, 12, 30), "2026-11-01 12:30:00"),
        ("2026-11-01 12:00", "2026-11-01 12:00"),
    ],
)
def test_a_moment_needs_no_quotes(read: Any, text: str) -> None:
    source = {"path": "events", "timestamp": read}
    assert config_with({"source": source}).interactions.source.timestamp == text
    source = {"path": "events", "options": {"timestampAsOf": read}}
    assert config_with({"source": source}).interactions.source.timestamp == text


def test_event_types_that_yaml_takes_for_numbers_or_truth_values_are_their_text() -> None:
    weights = {"columns": {"event_type": "bought"}, "event_weights": {True: 2, False: 1, 3: 4}}
    assert config_with(weights).interactions.event_weights == {"true": 2, "false": 1, "3": 4}


def test_users_and_items_are_two_columns() -> None:
    with pytest.raises(ConfigError, match="user and item are both the column who"):
        config_with({"columns": {"user": "who", "item": "who"}})


def test_a_lake_is_a_path_or_a_schema_with_or_without_a_folder_for_models() -> None:
    assert config_with(lake="main.recommender")
    assert config_with(lake="main.recommender", artifacts="/Volumes/main/m6rec")
    assert config_with(lake="./main.recommender")
    assert config_with(lake="s3://bucket/lake")
