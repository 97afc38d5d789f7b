"""Rankers that a configuration names are known, can be fed, and can be what they are named for."""

from typing import Any

import pytest

from m6rec.config.run import Config, parse_config
from m6rec.errors import ConfigError
from m6rec.rankers import MEMBER_NAMES, RANKERS

EVENTS = {"path": "events.parquet", "format": "parquet"}
TIMES = {"time": "at"}


def config_with(columns: dict[str, str] | None = None, **sections: Any) -> Config:
    interactions = {"source": EVENTS, "columns": columns or {}}
    return parse_config({"interactions": interactions, **sections}, "test")


@pytest.mark.parametrize("name", ["hybrid", "mllib_als", "towers_svd", "ridges"])
def test_the_hybrid_is_made_of_members_alone(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} cannot be part of the hybrid; give fusion, svd"):
        config_with(hybrid={"members": [name]})


def test_a_ranker_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match="knn is not a ranker; give one of hybrid, fusion, svd"):
        config_with(recommend={"ranker": "knn"})


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("recent_ridge", r"interactions\.columns\.time"),
        ("recent_item_neighbours", r"interactions\.columns\.time"),
        ("transitions", r"interactions\.columns\.time"),
        ("content", r"features\.items"),
        ("content_neighbours", r"features\.items"),
        ("als_cosine", r"features\.items"),
        ("repeats", r"recommend\.rules\.mask_seen: false"),
    ],
)
def test_a_ranker_that_the_data_cannot_feed_is_refused_by_name(name: str, missing: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"recommend\.ranker names {name}, which needs {missing}"
    ):
        config_with(recommend={"ranker": name})
    with pytest.raises(ConfigError, match=rf"hybrid\.members names {name}, which needs {missing}"):
        config_with(hybrid={"members": ["svd", name]})


def test_mllib_is_published_only_where_it_is_trained() -> None:
    with pytest.raises(ConfigError, match=r"trained only where evaluate\.rankers names it"):
        config_with(recommend={"ranker": "mllib_als"}, evaluate={"rankers": ["als"]})
    assert config_with(recommend={"ranker": "mllib_als"}).recommend.ranker == "mllib_als"


def test_without_times_and_attributes_the_default_hybrid_leaves_out_what_needs_them() -> None:
    needy = {ranker.name for ranker in RANKERS if ranker.needs}
    assert set(config_with().usable(MEMBER_NAMES)) == set(MEMBER_NAMES) - needy
    timed = config_with({"time": "at"})
    assert {"recent_ridge", "recent_item_neighbours", "transitions"} <= set(timed.hybrid_members)
    assert "content" not in timed.hybrid_members


def test_a_validation_by_numbers_of_ids_is_refused_where_ids_are_of_domains() -> None:
    with pytest.raises(ConfigError, match=r"highest_ids orders items by the numbers .*set it to"):
        parse_config(
            {
                "interactions": {"source": {"path": "e.csv"}, "columns": {"domain": "shop"}},
                "split": {"validation_strategy": "highest_ids"},
            },
            "test",
        )


def test_repeats_are_a_member_where_lists_may_hold_what_users_have() -> None:
    repeating = config_with(TIMES, recommend={"rules": {"mask_seen": False}})
    assert repeating.ranks_repeats
    assert "repeats" in repeating.hybrid_members


@pytest.mark.parametrize("strategy", ["mixed", "highest_ids"])
def test_a_validation_of_new_items_alone_is_refused_where_repeats_are_ranked(strategy: str) -> None:
    with pytest.raises(ConfigError, match=rf"validation_strategy: {strategy} holds out items"):
        config_with(
            TIMES,
            split={"validation_strategy": strategy},
            recommend={"rules": {"mask_seen": False}},
        )


def test_repeats_without_times_are_told_from_rows_that_came_twice_by_the_policy() -> None:
    repeating: dict[str, Any] = {"recommend": {"rules": {"mask_seen": False}}}
    with pytest.raises(ConfigError, match=r"mask_seen: false .* set interactions\.duplicates: sum"):
        config_with(**repeating)
    summed = {"interactions": {"source": EVENTS, "duplicates": "sum"}, **repeating}
    assert parse_config(summed, "test").ranks_repeats
