"""Contexts in which no user could be ranked are refused where the config is read."""

from typing import Any

import pytest

from m6rec.config.run import Config, parse_config
from m6rec.errors import ConfigError

COLUMNS = {"time": "at", "context": ["device", "premium"]}
CLOCK: dict[str, Any] = {"sequence": {"context": {"clock": True}}}
MORNING = {"hour": 8, "weekday": 2}


def config_with(
    context: dict[str, Any],
    columns: dict[str, Any] = COLUMNS,
    towers: dict[str, Any] = CLOCK,
    recommend: dict[str, Any] | None = None,
    **sections: Any,
) -> Config:
    source = {"path": "events.csv", "format": "csv"}
    lists = {"contexts": {"wanted": context}} | (recommend or {})
    interactions = {"source": source, "columns": columns}
    data = {"interactions": interactions, "towers": towers, "recommend": lists, **sections}
    return parse_config(data, "test")


def test_values_are_the_text_that_a_column_has() -> None:
    config = config_with({**MORNING, "device": "phone", "premium": True})
    expected = {"hour": "8", "weekday": "2", "device": "phone", "premium": "true"}
    assert config.recommend.contexts == {"wanted": expected}
    assert config.context_keys == ("hour", "weekday", "device", "premium")
    assert parse_config(config.given(), "test") == config


@pytest.mark.parametrize(
    ("context", "named"),
    [
        ({}, "'wanted' is empty; give it a key"),
        ({"hour": 24}, "'wanted' has hour: 24, expected a whole number from 0 to 23"),
        ({"weekday": 0}, "'wanted' has weekday: 0, expected a whole number from 1 to 7"),
        (
            {"shop": "x"},
            "'wanted' has the key shop, expected one of hour, weekday, device, premium",
        ),
    ],
)
def test_a_wrong_context_is_named(context: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_with(context)
    assert f"recommend.contexts: {named}" in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"columns": {}}, "recommend.contexts needs the towers that know order"),
        ({"towers": {"sequence": {"enabled": False}}}, "needs the towers that know order"),
        ({"towers": {}}, "hour, expected one of device, premium; .*context.clock to true"),
        ({"recommend": {"ranker": "ridge"}}, "lists of ranker ridge, which has no towers"),
        ({"hybrid": {"members": ["ridge"]}}, "lists of ranker hybrid, .*fusion in hybrid.members"),
        ({"columns": COLUMNS | {"context": ["hour"]}}, "names hour, which is a key of the clock"),
    ],
)
def test_contexts_that_no_list_could_depend_on_are_refused(
    changed: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        config_with(MORNING, **changed)


def test_without_the_clock_a_column_may_be_called_hour() -> None:
    config = config_with({"hour": "rush"}, columns={"time": "at", "context": ["hour"]}, towers={})
    assert config.context_keys == ("hour",)
