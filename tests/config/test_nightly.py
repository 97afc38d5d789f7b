"""What a night trains, and when it keeps the choices of the published run."""

from datetime import timedelta
from typing import Any

import pytest

from m6rec.config.run import Config, parse_config
from m6rec.errors import ConfigError
from m6rec.fits.choices import keys_that_differ
from m6rec.fits.needs import Needs, needs_of, needs_of_run
from m6rec.job_records import TRAIN_FACTORS, TRAIN_NEIGHBOURS, TRAIN_TOWERS
from m6rec.publication.nights import duration, is_due, warning_of_test

ITEMS = {"items": {"source": {"path": "items.csv", "format": "csv"}, "id": "sku"}}


def config_with(**sections: Any) -> Config:
    source = {"path": "events.csv", "format": "csv"}
    # So that repeats can be told apart without times.
    interactions = {"source": source, "duplicates": "sum"}
    return parse_config({"interactions": interactions, **sections}, "test")


@pytest.mark.parametrize(
    ("members", "sections", "expected"),
    [
        (("als",), {}, Needs(("als",), ("als",), (), (), False)),
        (("popularity",), {}, Needs(("popularity",), (), (), (), False)),
        (
            ("ridge", "recent_ridge", "als"),
            {},
            Needs(("ridge", "recent_ridge", "als"), ("als",), ("ridge",), (), False),
        ),
        (
            ("towers_sequence", "towers_als"),
            {},
            Needs(("towers_sequence", "towers_als"), ("svd", "als"), (), ("als", "sequence"), True),
        ),
        # Content neighbours stand in for the items that factors do not know: those of an earlier
        # run for ALS alone, and new ones beside other members.
        (
            ("als",),
            {"features": ITEMS},
            Needs(("als",), ("als",), (), (), False, ("content_neighbours",)),
        ),
        (
            ("als", "ridge"),
            {"features": ITEMS},
            Needs(("als", "ridge"), ("als",), ("ridge", "content_neighbours"), (), True),
        ),
        (
            ("als",),
            {"features": ITEMS, "factors": {"als": {"attribute_weight": 1.0}}},
            Needs(("als",), ("als",), (), (), True),
        ),
        # ALS of a domain alone knows attributes as well, and has no content neighbours beside it.
        (
            ("own_als",),
            {"features": ITEMS, "factors": {"als": {"attribute_weight": 1.0}}},
            Needs(("own_als",), ("own_als",), (), (), True),
        ),
        # They read histories that the ridge has expanded.
        (
            ("content_neighbours",),
            {"features": ITEMS},
            Needs(("content_neighbours",), (), ("ridge", "content_neighbours"), (), True),
        ),
    ],
)
def test_only_what_members_rank_by_is_trained(
    members: tuple[str, ...], sections: dict[str, Any], expected: Needs
) -> None:
    assert needs_of(members, config_with(**sections)) == expected


def test_a_hybrid_has_the_towers_that_read_pictures_where_these_alone_are_known() -> None:
    config = config_with(features=ITEMS)
    assert needs_of(("als", "ridge"), config, has_pictures_alone=True).towers == ("svd",)
    assert needs_of(("towers_als", "ridge"), config, has_pictures_alone=True).towers == ("als",)
    assert needs_of(("als",), config, has_pictures_alone=True).towers == ()


def test_a_run_that_chooses_trains_what_it_measures_blends_or_lists() -> None:
    few = {"evaluate": {"rankers": ["als", "popularity"]}, "recommend": {"ranker": "als"}}
    needs = needs_of_run(config_with(**few, hybrid={"members": ["item_neighbours"]}))
    assert (needs.factors, needs.neighbours, needs.towers) == (("als",), ("item_neighbours",), ())
    # Content neighbours stand in for cold items, for which a night would take over earlier ones.
    needs = needs_of_run(config_with(**few, hybrid={"members": ["als"]}, features=ITEMS))
    assert (needs.neighbours, needs.features, needs.carried) == (("content_neighbours",), True, ())
    # By default the hybrid may blend all members.
    needs = needs_of_run(config_with(**few))
    assert (needs.factors, needs.towers) == (("svd", "als"), ("svd", "als"))


def test_the_records_of_jobs_name_the_keys_from_which_it_follows_what_is_trained() -> None:
    popular = config_with(
        features=ITEMS,
        evaluate={"rankers": ["popularity"]},
        recommend={"ranker": "popularity"},
    ).replaced({"interactions.columns.time": "at"})
    few, fused = {"hybrid.members": ["popularity"]}, {"hybrid.members": ["fusion"]}
    changes: list[tuple[dict[str, Any], str, Any]] = [
        (few, "hybrid.members", ["item_neighbours", "fusion"]),
        (few, "evaluate.rankers", ["popularity", "item_neighbours", "fusion"]),
        (few, "recommend.ranker", "ridge"),
        (few, "recommend.ranker", "fusion"),
        (few, "recommend.diversity.strength", 0.5),
        (few | {"recommend.diversity.strength": 0.5}, "recommend.diversity.column", "brand"),
        (few | {"recommend.ranker": "als"}, "factors.als.attribute_weight", 1.0),
        (few | {"evaluate.rankers": ["svd", "transitions"]}, "interactions.columns.time", None),
        (fused, "towers.inputs", ["svd"]),
        (fused, "towers.sequence.enabled", False),
        (fused | {"towers.inputs": ["svd"]}, "towers.sequence.factors", "als"),
        # The hybrid may blend all members that there are.
        ({}, "towers.bagging", 2),
        ({}, "towers.boosting", True),
    ]
    for given, key, value in changes:
        before = popular.replaced(given)
        one, two = needs_of_run(before), needs_of_run(before.replaced({key: value}))
        trained = {
            TRAIN_FACTORS: (one.factors, two.factors),
            TRAIN_NEIGHBOURS: (one.neighbours, two.neighbours),
            TRAIN_TOWERS: (one.towers, two.towers),
        }
        changed = [record for record, (was, becomes) in trained.items() if was != becomes]
        assert changed, key
        for record in changed:
            named = [one for one in record.sections if key == one or key.startswith(f"{one}.")]
            assert named, (record.name, key)


def test_the_keys_that_choices_rest_on_are_named_where_they_differ() -> None:
    plain = config_with(features=ITEMS)
    then = plain.model_dump(mode="json")
    other = config_with(
        features={"items": {"source": {"path": "elsewhere.csv", "format": "csv"}, "id": "sku"}},
        guards={"drift": "off"},
        recommend={"ranker": "als", "top_n": 5},
        nightly={"als_iterations": 2},
        retention={"runs": 3},
    )
    assert keys_that_differ(plain, then) == keys_that_differ(other, then) == []
    changed = config_with(
        features=ITEMS,
        towers={"sequence": {"width": 32}},
        factors={"als": {"rank": 64}},
        recommend={"rules": {"mask_seen": False}},
        evaluate={"candidates": "cold_items"},
    )
    assert keys_that_differ(changed, then) == [
        "factors.als.rank",
        "towers.sequence.width",
        "recommend.rules.mask_seen",
        "evaluate.candidates",
    ]
    assert keys_that_differ(config_with(), then) == ["features.items"]


def test_choices_rest_on_how_a_table_is_read_and_on_whether_weights_are_ratings() -> None:
    source = {"path": "events.csv", "format": "csv"}
    rated = {"source": source, "columns": {"weight": "stars"}}
    plain = config_with(interactions=rated, features=ITEMS)
    then = plain.model_dump(mode="json")
    read = {
        "interactions.source.missing_values": {"stars": ["0"]},
        "interactions.source.path": "elsewhere.csv",
        "features.items.source.options": {"sep": ";"},
    }
    assert keys_that_differ(plain.replaced(read), then) == [
        "interactions.source.missing_values.stars",
        "features.items.source.options.sep",
    ]
    enabled = plain.replaced({"ratings.enabled": True, "ratings.rank": 5})
    assert keys_that_differ(enabled, then) == ["ratings.enabled"]
    # Another release may not have had the key.
    assert keys_that_differ(plain, {**then, "ratings": {}}) == ["ratings.enabled"]


def test_durations_are_days_hours_or_minutes() -> None:
    found = [duration(text) for text in ("7d", "12h", "30m")]
    assert found == [timedelta(days=7), timedelta(hours=12), timedelta(minutes=30)]
    with pytest.raises(ConfigError, match=r"--choose-every is 'weekly', expected .* such as 7d"):
        duration("weekly")


@pytest.mark.parametrize(
    ("sections", "warns"),
    [
        ({}, True),
        ({"split": {"strategy": "random"}}, True),
        ({"split": {"strategy": "none"}}, False),
        ({"recommend": {"rules": {"mask_seen": False}}}, True),
    ],
)
def test_a_night_whose_lists_do_not_know_the_test_warns(
    sections: dict[str, Any], warns: bool
) -> None:
    assert (warning_of_test(config_with(**sections)) is not None) == warns


def test_the_seventh_night_chooses_although_it_begins_some_minutes_early() -> None:
    week, minutes = timedelta(days=7), timedelta(minutes=20)
    assert is_due(week - minutes, week) and is_due(week + minutes, week)
    assert not is_due(week - timedelta(days=1) + minutes, week)
    assert is_due(timedelta(0), timedelta(0))
    assert not is_due(minutes, timedelta(minutes=30))
