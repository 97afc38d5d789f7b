"""Weights that an owner gives to events count, or the config is refused."""

from typing import Any

import pytest

from m6rec.config.run import Config, parse_config
from m6rec.errors import ConfigError

COLUMNS = {"time": "at", "event_type": "event"}


def config(interactions: dict[str, Any], **sections: Any) -> Config:
    source = {"source": {"path": "events.csv", "format": "csv"}, "columns": COLUMNS}
    return parse_config({"interactions": source | interactions, **sections}, "test")


@pytest.mark.parametrize(
    ("interactions", "weighting"),
    [
        ({}, "binary"),
        ({"columns": {"weight": "stars"}}, "binary"),
        ({"event_weights": {"view": 1.0, "buy": 3.0}}, "weight"),
        ({"half_life_days": 30}, "weight"),
        ({"half_life_days": 30, "weighting": "log"}, "log"),
    ],
)
def test_weighting_is_weight_by_default_where_weights_or_ages_are_given(
    interactions: dict[str, Any], weighting: str
) -> None:
    found = config(interactions)
    assert found.interactions.weighting == weighting
    assert found.replaced({"seed": 7}).interactions.weighting == weighting


@pytest.mark.parametrize(
    ("key", "interactions"),
    [
        ("event_weights", {"event_weights": {"view": 1.0, "buy": 3.0}}),
        ("half_life_days", {"half_life_days": 30}),
        ("half_life_days", {"half_life_days": 30, "positive_minimum": 2.0}),
    ],
)
def test_weights_and_ages_under_binary_are_refused(key: str, interactions: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"interactions: {key} .*weighting: binary.*set weight"):
        config(interactions | {"weighting": "binary"})


@pytest.mark.parametrize("weights", [{"buy": 1.0}, {"buy": 2.0, "view": 0.0}])
def test_event_weights_under_binary_may_say_which_types_count(weights: dict[str, float]) -> None:
    given = {"event_weights": weights, "weighting": "binary"}
    assert config(given).interactions.weighting == "binary"


def test_event_weights_under_binary_may_say_which_pairs_are_positive() -> None:
    weights = {"event_weights": {"view": 1.0, "buy": 3.0}, "positive_minimum": 3.0}
    assert config(weights | {"weighting": "binary"}).interactions.weighting == "binary"


EXPLICIT = {"als": {"feedback": "explicit"}}


@pytest.mark.parametrize(
    ("interactions", "remedy"),
    [
        ({"columns": {"weight": "stars"}}, r"interactions\.weighting is binary.*weight or log"),
        ({"weighting": "weight"}, r"name the column .* in interactions\.columns\.weight"),
    ],
)
def test_explicit_feedback_on_equal_weights_is_refused(
    interactions: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(ConfigError, match=rf"factors\.als\.feedback: explicit .*{remedy}"):
        config(interactions, factors=EXPLICIT)


@pytest.mark.parametrize(
    "interactions",
    [
        {"columns": {"weight": "stars"}, "weighting": "weight"},
        {"half_life_days": 30},
        {"duplicates": "sum", "weighting": "log"},
    ],
)
def test_explicit_feedback_on_weights_is_accepted(interactions: dict[str, Any]) -> None:
    assert config(interactions, factors=EXPLICIT).factors.als.feedback == "explicit"


def test_explicit_feedback_with_attributes_is_refused() -> None:
    als = {"feedback": "explicit", "attribute_weight": 0.5}
    with pytest.raises(ConfigError, match=r"attribute_weight is 0\.5 .*remove one of the two"):
        config({"columns": {"weight": "stars"}, "weighting": "weight"}, factors={"als": als})


def test_events_that_take_back_need_to_cancel() -> None:
    weights = {"event_weights": {"buy": 1.0, "return": -1.0}}
    with pytest.raises(ConfigError, match=r"event_weights\.return is negative.*cancel$"):
        config(weights)
    cancelling = config(weights | {"cancellations": "cancel"})
    assert cancelling.interactions.weighting == "weight"
    assert config(weights | {"cancellations": "cancel", "weighting": "binary"})
