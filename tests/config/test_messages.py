"""What a wrong configuration says: what was found, where, and what to do, and nothing else."""

import re
from typing import Any

import pytest

from m6rec.config.run import Config, parse_config
from m6rec.errors import ConfigError

INTERACTIONS = {"source": {"path": "events.csv", "format": "csv"}}


def config_with(interactions: dict[str, Any] | None = None, **sections: Any) -> Config:
    return parse_config({"interactions": INTERACTIONS | (interactions or {}), **sections}, "test")


def message_of(interactions: dict[str, Any] | None = None, **sections: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        config_with(interactions, **sections)
    return str(refused.value)


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"factors": {"als": {"feedback": "explicit"}}}, "factors.als.feedback: explicit"),
        ({"ratings": {"enabled": True}}, "ratings.enabled needs interactions.columns.weight"),
    ],
)
def test_what_is_wrong_elsewhere_is_not_said_of_the_search(
    sections: dict[str, Any], named: str
) -> None:
    message = message_of({"weighting": "binary"}, **sections)
    assert named in message
    assert "tune.search" not in message
    assert len(message.splitlines()) == 2


def test_a_search_that_the_config_does_not_take_is_named_with_its_value() -> None:
    search = {"factors.svd.rank": {"values": [0, 8]}}
    message = message_of(tune={"search": search})
    assert "tune.search: factors.svd.rank: the config does not take 0: Input should" in message


def test_an_error_of_one_key_is_not_said_of_a_key_that_follows_from_it() -> None:
    message = message_of({"time_unit": "weeks"})
    assert "interactions.time_unit" in message
    assert "interactions.weighting" not in message


@pytest.mark.parametrize(
    ("dimension", "said"),
    [
        ({"low": 8}, "factors.svd.rank.high: missing; add it"),
        ({"low": 8, "high": 16, "step": 2}, "factors.svd.rank.step: unknown key; remove it"),
        ({"low": 8, "high": 4}, "factors.svd.rank: low 8 is not below high 4"),
        ({"values": 8}, "factors.svd.rank.values: Input should be a valid list, found 8"),
        ([8, 16], "factors.svd.rank: Input should be a section with keys low and high, or values"),
    ],
)
def test_a_wrong_dimension_of_a_search_is_said_once(dimension: Any, said: str) -> None:
    message = message_of(tune={"search": {"factors.svd.rank": dimension}})
    assert f"tune.search.{said}" in message
    assert len(message.splitlines()) == 2


@pytest.mark.parametrize("zone", ["Mars/Base", "Tokyo", "+9", "../x"])
def test_a_zone_that_there_is_not_is_named(zone: str) -> None:
    assert f"there is no time zone {zone}; give one such as" in message_of({"time_zone": zone})


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"evaluate": {"ks": 3}}, "evaluate.ks: Input should be a valid list, found 3"),
        ({"lake": 2026.11}, "lake: Input should be text, in quotes where it looks like a number"),
        ({"split": 3}, "split: Input should be a section with keys, found 3"),
        ({"tune": {"search": 3}}, "tune.search: Input should be keys with values, found 3"),
        (
            {"features": {"items": {**INTERACTIONS, "id": "i", "kinds": {"range": "color"}}}},
            "features.items.kinds.range: Input should be 'numeric'",
        ),
    ],
)
def test_kinds_of_values_are_named_as_in_yaml(sections: dict[str, Any], named: str) -> None:
    assert named in message_of(**sections)


def test_a_list_with_a_wrong_value_is_not_said_to_be_empty() -> None:
    message = message_of(hybrid={"members": ["ridges"]})
    assert "hybrid.members.0: ridges cannot be part of the hybrid" in message
    assert len(message.splitlines()) == 2


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        (
            {"Split": {}},
            "Split: unknown key; remove it or correct its spelling, which may be split",
        ),
        ({"split": {"test_shares": 0.2}}, "test_shares: unknown key; .*, which may be test_share$"),
        ({"features": {"item": {}}}, "features.item: unknown key; .*, which may be items$"),
        ({"recommend": {"rules": {"mask": 1}}}, "rules.mask: unknown key; .*, which may be mask_s"),
        ({"lake": "x", "colour": 1}, "colour: unknown key; remove it or correct its spelling$"),
        ({"interactions": {"columns": {"User": "u"}}}, "columns.User: unknown .* may be user$"),
        ({"items": {}}, "items: unknown key; .*, or give it as features.items$"),
        ({"features": {"excluded_items": "x"}}, "or give it as recommend.rules.excluded_items$"),
    ],
)
def test_an_unknown_key_is_named_with_the_one_that_it_may_be(
    sections: dict[str, Any], named: str
) -> None:
    interactions = sections.pop("interactions", None)
    assert re.search(named, message_of(interactions, **sections))


@pytest.mark.parametrize(
    ("interactions", "named"),
    [
        ({"time_format": "%Y-%m-%d"}, "interactions.time_format: %Y-%m-%d has '%', which Spark's"),
        ({"time_format": "YYYY-MM-dd 'at'"}, "interactions.time_format: .* has 'Y', which Spark's"),
        (
            {"source": {"path": "x", "options": {"readChangeFeed": True}}},
            "interactions.source: options.readChangeFeed gives changes of rows and not rows",
        ),
    ],
)
def test_what_spark_cannot_read_by_is_refused(interactions: dict[str, Any], named: str) -> None:
    assert re.search(named, message_of(interactions))


def test_a_section_without_keys_is_said_to_be_empty() -> None:
    said = "split: Input should be a section with keys, and nothing stands there; remove it to have"
    assert said in message_of(split=None)
