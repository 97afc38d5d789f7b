"""What is set without effect is said, and nothing else is."""

from pathlib import Path
from typing import Any

import pytest

from m6rec.config.effects import RULES, warnings_of
from m6rec.config.run import Config, load_config, parse_config

CONF = Path(__file__).parent.parent.parent / "conf"
TABLE = {"path": "table.csv", "format": "csv"}
ITEMS = {"features": {"items": {"source": TABLE, "id": "item_id"}}}
TIME = {"columns": {"time": "at"}}
PROVIDED = {"strategy": "provided", "test": TABLE}
FEW = {"evaluate": {"rankers": ["ridge"]}, "recommend": {"ranker": "ridge"}}
ONE_MEMBER = FEW | {"hybrid": {"members": ["ridge"]}}


def config(interactions: dict[str, Any] | None = None, **sections: Any) -> Config:
    given = {"source": TABLE} | (interactions or {})
    return parse_config({"interactions": given, **sections}, "test")


# What warns, and the key that the line names; beside it a config in which the same key has effect.
CASES: list[tuple[str, Config, Config]] = [
    (
        "nightly.als_iterations",
        config(nightly={"als_iterations": 2, "warm_start": False}),
        config(nightly={"als_iterations": 2}),
    ),
    (
        "interactions.time_unit",
        config({"time_unit": "seconds"}),
        config({"time_unit": "seconds"} | TIME),
    ),
    (
        "interactions.time_zone",
        config({"time_zone": "Asia/Tokyo"}),
        config({"time_zone": "Asia/Tokyo"} | TIME),
    ),
    (
        "interactions.time_unit",
        config({"time_unit": "seconds", "time_format": "yyyyMMdd"} | TIME),
        config({"time_unit": "seconds"} | TIME),
    ),
    (
        "interactions.cancellations",
        config({"cancellations": "cancel"}),
        config({"cancellations": "cancel", "columns": {"weight": "n"}, "weighting": "weight"}),
    ),
    (
        "interactions.columns.weight",
        config({"columns": {"weight": "stars"}}),
        config({"columns": {"weight": "stars"}, "weighting": "binary"}),
    ),
    (
        "interactions.columns.weight",
        config({"columns": {"weight": "quantity"}}),
        config({"columns": {"weight": "quantity"}, "cancellations": "cancel"}),
    ),
    (
        "interactions.duplicates",
        config({"duplicates": "sum"} | TIME),
        # The last event of a pair may weigh 0, and their sum more.
        config({"duplicates": "sum", "columns": {"time": "at", "weight": "quantity"}}),
    ),
    (
        "interactions.duplicates",
        config({"duplicates": "sum"} | TIME),
        config({"duplicates": "sum"}),
    ),
    (
        "interactions.duplicates",
        config({"duplicates": "max"}),
        config({"duplicates": "max", "columns": {"weight": "stars"}, "weighting": "log"}),
    ),
    (
        "interactions.duplicates",
        config({"duplicates": "max", "half_life_days": 7} | TIME),
        config({"duplicates": "sum", "half_life_days": 7} | TIME),
    ),
    (
        "interactions.weighting",
        config({"weighting": "weight"}),
        config({"weighting": "weight", "duplicates": "sum"}),
    ),
    (
        "interactions.weighting",
        config({"weighting": "weight", "suspicious_users": {"action": "quarantine"}}),
        config({"weighting": "weight", "suspicious_users": {"action": "weight"}}),
    ),
    (
        "recommend.default_segment_users",
        config(recommend={"default_segment_users": 5}),
        config(
            recommend={"default_segment_users": 5, "default_segments": "country"},
            features={"users": {"source": TABLE, "id": "user_id"}},
        ),
    ),
    (
        "recommend.reasons.language",
        config(recommend={"reasons": {"language": "en", "count": 0}}),
        config(recommend={"reasons": {"language": "en"}}),
    ),
    (
        "recommend.diversity.column",
        config(recommend={"diversity": {"column": "genre"}}, **ITEMS),
        config(recommend={"diversity": {"column": "genre", "strength": 0.1}}, **ITEMS),
    ),
    (
        "recommend.calibration.strength",
        config(recommend={"calibration": {"strength": 0.2}}),
        config(recommend={"calibration": {"strength": 0.2, "column": "genre"}}, **ITEMS),
    ),
    (
        "recommend.rules.at_most.count",
        config(recommend={"rules": {"at_most": {"count": 1}}}),
        config(recommend={"rules": {"at_most": {"count": 1, "column": "brand"}}}, **ITEMS),
    ),
    (
        "recommend.candidates",
        config(recommend={"candidates": 50}),
        config(recommend={"candidates": 50, "diversity": {"strength": 0.1}}),
    ),
    (
        "recommend.rules.mask_seen",
        config(TIME, recommend={"rules": {"mask_seen": False}}),
        config(
            {"duplicates": "sum", "weighting": "log"}, recommend={"rules": {"mask_seen": False}}
        ),
    ),
    (
        "interactions.suspicious_users.minimum_items",
        config({"suspicious_users": {"minimum_items": 5}}),
        config({"suspicious_users": {"minimum_items": 5, "action": "quarantine"}}),
    ),
    (
        "interactions.suspicious_users.weight",
        config({"suspicious_users": {"weight": 0.2, "action": "quarantine"}}),
        config(
            {"suspicious_users": {"weight": 0.2, "action": "weight"}, "weighting": "log"}
            | {"duplicates": "sum"}
        ),
    ),
    (
        "interactions.suspicious_users.regular_share",
        config({"suspicious_users": {"regular_share": 0.9, "action": "quarantine"}}),
        config({"suspicious_users": {"regular_share": 0.9, "action": "quarantine"}} | TIME),
    ),
    (
        "interactions.positive_minimum",
        config({"positive_minimum": 0.0}),
        config({"positive_minimum": 1.0}),
    ),
    (
        "split.test_share",
        config(split=PROVIDED | {"test_share": 0.1}),
        config(split={"test_share": 0.1}),
    ),
    (
        "split.test_share",
        config(split={"strategy": "none", "test_share": 0.1}),
        config(split={"strategy": "cold_items", "test_share": 0.1}),
    ),
    (
        "split.test_share",
        config(split={"test_items": 2, "test_share": 0.1}),
        config(split={"test_share": 0.1}),
    ),
    (
        "split.test_items",
        config(split={"strategy": "cold_users", "test_items": 2}),
        config(split={"strategy": "random", "test_items": 2}),
    ),
    (
        "split.validation_share",
        config(split=PROVIDED | {"validation": TABLE, "validation_share": 0.2}),
        config(split=PROVIDED | {"validation_share": 0.2}),
    ),
    (
        "split.validation_strategy",
        config(split=PROVIDED | {"validation": TABLE, "validation_strategy": "random"}),
        config(split=PROVIDED | {"validation_strategy": "random"}),
    ),
    (
        "settings.users, settings.als_ranks",
        config(settings={"seconds": 0, "users": 10, "als_ranks": [8]}, **ITEMS),
        config(settings={"users": 10, "als_ranks": [8]}, **ITEMS),
    ),
    (
        "settings.als_ranks",
        config(settings={"als_ranks": [8]}),
        config(settings={"als_ranks": [8]}, **ITEMS),
    ),
    (
        "settings.als_ranks",
        config(settings={"als_ranks": [8]}, factors={"als": {"attribute_weight": 0}}, **ITEMS),
        config(settings={"als_ranks": [8]}, factors={"als": {"attribute_weight": 1}}, **ITEMS),
    ),
    (
        "factors.svd.oversampling, factors.svd.power_passes",
        config(factors={"svd": {"exact": True, "oversampling": 8, "power_passes": 3}}),
        config(factors={"svd": {"oversampling": 8, "power_passes": 3}}),
    ),
    (
        "factors.als.unobserved_total",
        config(factors={"als": {"unobserved_weight": 0.1, "unobserved_total": 9.0}}),
        config(factors={"als": {"unobserved_total": 9.0}}),
    ),
    (
        "factors.als.unobserved_total",
        config(
            {"columns": {"weight": "stars"}, "weighting": "weight"},
            factors={"als": {"feedback": "explicit", "unobserved_total": 9.0}},
        ),
        config(
            {"columns": {"weight": "stars"}, "weighting": "weight"},
            factors={"als": {"feedback": "implicit", "unobserved_total": 9.0}},
        ),
    ),
    (
        "settings.als_ranks",
        config(
            {"columns": {"weight": "stars"}, "weighting": "weight"},
            settings={"als_ranks": [8]},
            factors={"als": {"feedback": "explicit"}},
            **ITEMS,
        ),
        config(settings={"als_ranks": [8]}, **ITEMS),
    ),
    (
        "factors.als.attribute_weight",
        config(factors={"als": {"attribute_weight": 1.0}}),
        config(factors={"als": {"attribute_weight": 1.0}}, **ITEMS),
    ),
    (
        "factors.mllib_als.rank",
        config(factors={"mllib_als": {"rank": 8}}, **FEW),
        config(factors={"mllib_als": {"rank": 8}}),
    ),
    (
        "neighbours.recency_scale",
        config(neighbours={"recency_scale": 3}),
        config(TIME, neighbours={"recency_scale": 3}),
    ),
    (
        "neighbours.recency_scale",
        config(TIME, neighbours={"recency_scale": 3}, **ONE_MEMBER),
        config(TIME, neighbours={"recency_scale": 3}, **FEW),
    ),
    (
        "neighbours.transitions.window",
        config(neighbours={"transitions": {"window": 3}}),
        config(TIME, neighbours={"transitions": {"window": 3}}),
    ),
    (
        "neighbours.transitions.window",
        config(TIME, neighbours={"transitions": {"window": 3}}, **ONE_MEMBER),
        config(TIME, neighbours={"transitions": {"window": 3}}, **FEW),
    ),
    (
        "neighbours.user_neighbours",
        config(neighbours={"user_neighbours": 7}, **ONE_MEMBER),
        config(neighbours={"user_neighbours": 7}, **FEW),
    ),
    (
        "neighbours.neighbours, neighbours.user_exponent",
        config(neighbours={"neighbours": 7, "user_exponent": 0.1}, **ONE_MEMBER),
        config(
            neighbours={"neighbours": 7, "user_exponent": 0.1},
            recommend={"ranker": "item_neighbours"},
            hybrid={"members": ["ridge"]},
        ),
    ),
    (
        "neighbours.item_exponent",
        config(neighbours={"item_exponent": 0.1}, **ONE_MEMBER),
        config(neighbours={"item_exponent": 0.1}, hybrid={"members": ["user_neighbours"]}),
    ),
    (
        "neighbours.content.candidates",
        config(neighbours={"content": {"candidates": 7}}),
        config(neighbours={"content": {"candidates": 7}}, **ITEMS),
    ),
    (
        "neighbours.content.expanded",
        config(neighbours={"content": {"expansion": 0, "expanded": 7}}, **ITEMS),
        config(neighbours={"content": {"expansion": 1, "expanded": 7}}, **ITEMS),
    ),
    (
        "neighbours.content.expansion",
        config(neighbours={"content": {"expansion": 1}}, **ITEMS, **ONE_MEMBER),
        config(neighbours={"content": {"expansion": 1}}, **ITEMS, **FEW),
    ),
    (
        "features.maximum_vectors, towers.modality_dropout",
        config(features={"maximum_vectors": 2}, towers={"modality_dropout": 0.5}),
        config(
            features={"maximum_vectors": 2} | ITEMS["features"], towers={"modality_dropout": 0.5}
        ),
    ),
    (
        "features.language",
        config(features={"language": "auto"}),
        config(features={"language": "auto"} | ITEMS["features"]),
    ),
    (
        "towers.sequence.modality_dropout",
        config(TIME, towers={"sequence": {"modality_dropout": 0.5}}),
        config(TIME, towers={"sequence": {"modality_dropout": 0.5}}, **ITEMS),
    ),
    (
        "features.vocabulary_size, features.text_rank",
        config(features={"vocabulary_size": 100, "text_rank": 8}),
        config(features={"vocabulary_size": 100, "text_rank": 8} | ITEMS["features"]),
    ),
    (
        "features.clip",
        config(features={"clip": 3}),
        config(features={"clip": 3, "behaviour": True}),
    ),
    (
        "features.image_size",
        config(features={"image_size": 8}),
        config(features={"image_size": 8} | ITEMS["features"]),
    ),
    (
        "towers.images.blocks",
        config(towers={"images": {"blocks": 2}}),
        config(towers={"images": {"blocks": 2}}, **ITEMS),
    ),
    (
        "features.text_model",
        config(features={"text_model": "encoder"} | ITEMS["features"]),
        config(
            features={
                "text_model": "encoder",
                "users": {"source": TABLE, "id": "id", "kinds": {"about": "text_embedding"}},
            }
        ),
    ),
    (
        "features.video_frames",
        config(features={"video_frames": 3} | ITEMS["features"]),
        config(
            features={
                "video_frames": 3,
                "items": {"source": TABLE, "id": "id", "kinds": {"trailer": "video"}},
            }
        ),
    ),
    (
        "towers.hidden",
        config(towers={"hidden": 8}, **ONE_MEMBER),
        config(towers={"hidden": 8}, **FEW),
    ),
    (
        "towers.hidden",
        config(towers={"hidden": 8, "without": ["mlp"]}),
        config(towers={"hidden": 8, "without": ["shared"]}),
    ),
    (
        "towers.feature_hidden, towers.gate_half_count, towers.input_dropout",
        config(towers={"feature_hidden": 8, "gate_half_count": 1, "input_dropout": 0.1}),
        config(TIME, towers={"feature_hidden": 8, "gate_half_count": 1, "input_dropout": 0.1}),
    ),
    (
        "towers.gate_half_count",
        config(TIME, towers={"gate_half_count": 1, "without": ["gate"]}),
        config(TIME, towers={"gate_half_count": 1, "without": ["features"]}),
    ),
    (
        "towers.input_dropout",
        config(TIME, towers={"input_dropout": 0.1, "without": ["features"]}),
        config(TIME, towers={"input_dropout": 0.1, "without": ["mlp"]}),
    ),
    (
        "towers.patience",
        config(towers={"patience": 3}, evaluate={"candidates": "cold_items"}),
        config(towers={"patience": 3}),
    ),
    (
        "towers.patience",
        config(towers={"patience": 3, "epochs": 3}),
        config(towers={"patience": 3, "epochs": 4}),
    ),
    (
        "towers.sequence.length",
        config(towers={"sequence": {"length": 20}}),
        config(TIME, towers={"sequence": {"length": 20}}),
    ),
    (
        "towers.sequence.length",
        config(TIME, towers={"sequence": {"enabled": False, "length": 20}}),
        config(TIME, towers={"sequence": {"length": 20}}),
    ),
    (
        "towers.sequence.patience",
        config(
            TIME,
            towers={"sequence": {"patience": 10}},
            evaluate={"candidates": "cold_items"},
        ),
        config(TIME, towers={"sequence": {"patience": 10}}),
    ),
    (
        "towers.sequence.patience",
        config(TIME, towers={"sequence": {"patience": 40}}),
        config(TIME, towers={"sequence": {"patience": 10}}),
    ),
    (
        "towers.sequence.context.dropout",
        config(TIME, towers={"sequence": {"context": {"dropout": 0.3}}}),
        config(TIME, towers={"sequence": {"context": {"dropout": 0.3, "clock": True}}}),
    ),
    (
        "towers.sequence.context.values",
        config(TIME, towers={"sequence": {"context": {"values": 9, "clock": True}}}),
        config(
            {"columns": {"time": "at", "context": ["device"]}},
            towers={"sequence": {"context": {"values": 9}}},
        ),
    ),
    (
        "towers.temperature",
        config(towers={"temperature": 1, "loss": "cosine_contrastive"}),
        config(towers={"temperature": 1, "loss": "binary_cross_entropy"}),
    ),
    (
        "towers.without",
        config(towers={"without": ["gate", "features"]}),
        config(TIME, towers={"without": ["gate", "features"]}),
    ),
    (
        "towers.without",
        config(towers={"without": ["popularity"], "loss": "cosine_contrastive"}),
        config(towers={"without": ["popularity"]}),
    ),
    (
        "ablation.tower_parts, ablation.seconds",
        config(
            ablation={"tower_parts": ["mlp"], "seconds": 9}, evaluate={"candidates": "cold_items"}
        ),
        config(ablation={"tower_parts": ["mlp"], "seconds": 9}),
    ),
    (
        "ablation.tower_parts",
        config(ablation={"tower_parts": ["mlp"], "seconds": 0}),
        config(ablation={"tower_parts": ["mlp"]}),
    ),
    (
        "ablation.seconds",
        config(ablation={"tower_parts": [], "seconds": 9}),
        config(ablation={"seconds": 9}),
    ),
    (
        "ratings.rank, ratings.taste_regularisation",
        config(ratings={"rank": 9, "taste_regularisation": 1}),
        config(
            {"columns": {"weight": "stars"}},
            ratings={"enabled": True, "rank": 9, "taste_regularisation": 1},
        ),
    ),
    (
        "features.text_rank",
        config(features={"vocabulary_size": 100, "text_rank": 300} | ITEMS["features"]),
        config(features={"vocabulary_size": 300, "text_rank": 100} | ITEMS["features"]),
    ),
    (
        "hybrid.rounds",
        config(hybrid={"rounds": 1, "members": ["ridge"]}),
        # Its towers are two.
        config(hybrid={"rounds": 1, "members": ["fusion"]}),
    ),
    (
        "hybrid.rounds",
        config(hybrid={"rounds": 1}, **FEW),
        config(hybrid={"rounds": 1}, recommend={"ranker": "hybrid"}),
    ),
]


@pytest.mark.parametrize(("keys", "without_effect", "with_effect"), CASES, ids=lambda one: one)
def test_a_key_without_effect_is_named_in_one_line_and_with_effect_is_not(
    keys: str, without_effect: Config, with_effect: Config
) -> None:
    lines = warnings_of(without_effect)
    begins = [line for line in lines if line.startswith((f"{keys} has no", f"{keys} have no"))]
    assert len(begins) == 1, lines
    assert not [line for line in warnings_of(with_effect) if keys in line.partition(":")[0]]


def test_every_rule_has_a_case() -> None:
    for rule in RULES:
        assert any(rule.when(without) and not rule.when(beside) for _, without, beside in CASES)


def test_every_key_of_a_rule_is_a_key_of_the_config() -> None:
    for rule in RULES:
        for key in rule.keys:
            config().value(key)


def test_a_config_that_repeats_defaults_has_no_warnings() -> None:
    minimal = config()
    assert warnings_of(minimal) == []
    repeated = minimal.model_dump(mode="json", exclude={"hybrid": {"members"}})
    assert warnings_of(parse_config(repeated | {"tune": {}}, "test")) == []


@pytest.mark.parametrize("name", ["minimal", "demo", "shop-events", "provided-split"])
def test_an_example_sets_nothing_without_effect(name: str) -> None:
    assert warnings_of(load_config(CONF / f"{name}.yaml")) == []


def test_the_format_of_a_table_of_the_catalogue_is_named() -> None:
    named = {"source": {"table": "shop.events", "format": "delta"}}
    assert [line.partition(":")[0] for line in warnings_of(config(named))] == [
        "format of interactions.source has no effect"
    ]
    assert warnings_of(config({"source": {"table": "shop.events"}})) == []


def test_a_key_that_tune_searches_in_vain_is_named() -> None:
    ends = {"low": 1.0, "high": 9.0}
    searched = config(tune={"search": {"neighbours.recency_scale": ends}})
    assert [line.partition(":")[0] for line in warnings_of(searched)] == [
        "tune.search.neighbours.recency_scale has no effect"
    ]
