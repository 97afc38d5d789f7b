"""Find values that are set in a configuration and have no effect because of its other values.

The models of the sections refuse contradictions. This module's rules find values that change
nothing in a run. The owner is warned of them before the run starts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from m6rec.config.base import Section
from m6rec.config.data import SuspiciousUsersConfig
from m6rec.config.models import RatingsConfig
from m6rec.config.run import Config, sources_of
from m6rec.config.towers import SequenceConfig, TowerPart
from m6rec.rankers import FUSION, HYBRID, MLLIB_ALS, REPEATS, TRANSITIONS


@dataclass(frozen=True)
class Idle:
    """Keys that have no effect under a condition.

    Attributes:
        keys: dotted keys; a section stands for all keys within it.
        when: the condition.
        reason: why, and what to do unless the keys show it.
        on: what the keys have no effect on; empty for everything.
    """

    keys: tuple[str, ...]
    when: Callable[[Config], bool]
    reason: str
    on: str = ""


def warnings_of(config: Config) -> list[str]:
    """A line for each reason why values other than the defaults have no effect."""
    lines = []
    for rule in RULES:
        if rule.when(config):
            keys = [key for top in rule.keys for key in _keys_within(config, top)]
            changed = [key for key in keys if _is_changed(config, key)]
            searched = [f"tune.search.{key}" for key in keys if _is_searched(config, key)]
            named = [*changed, *searched]
            if named:
                have = "has" if len(named) == 1 else "have"
                on = f" on {rule.on}" if rule.on else ""
                lines.append(f"{', '.join(named)} {have} no effect{on}: {rule.reason}")
    lines += [
        f"format of {key} has no effect: a table of the catalogue has that of the catalogue"
        for key, source, _ in sources_of(config)
        if source.table is not None and source.format != "auto"
    ]
    return lines


def _keys_within(config: Config, key: str) -> Iterator[str]:
    value = config.value(key)
    if not isinstance(value, Section):
        yield key
        return
    for name in type(value).model_fields:
        yield from _keys_within(config, f"{key}.{name}")


def _is_changed(config: Config, key: str) -> bool:
    """Whether the value is another than the default."""
    section, _, name = key.rpartition(".")
    owner = config.value(section)
    field = type(owner).model_fields[name]
    default = field.get_default(call_default_factory=True, validated_data={})
    return bool(getattr(owner, name) != default)


def _is_searched(config: Config, key: str) -> bool:
    return "search" in config.tune.model_fields_set and key in config.tune.search


def _has_time(config: Config) -> bool:
    return config.interactions.columns.time is not None


def _has_attributes(config: Config) -> bool:
    return config.features.users is not None or config.features.items is not None


def _has_features(config: Config) -> bool:
    return _has_attributes(config) or config.has_behaviour


def _has_item_attributes(config: Config) -> bool:
    return config.features.items is not None


def _encodes_texts(config: Config) -> bool:
    tables = (config.features.users, config.features.items)
    return any("text_embedding" in table.kinds.values() for table in tables if table is not None)


def _is_explicit(config: Config) -> bool:
    return config.factors.als.feedback == "explicit"


def _pairs_weigh_one(config: Config) -> bool:
    """Whether no model and no threshold depends on how much events weigh that weigh above 0."""
    interactions = config.interactions
    looked_at = config.ratings.enabled or interactions.positive_minimum is not None
    return interactions.weighting == "binary" and not looked_at


def _may_weigh_nothing(config: Config) -> bool:
    """Whether events may weigh 0 or less, which makes no interaction of a pair or cancels one."""
    weights = config.interactions.event_weights.values()
    return config.interactions.columns.weight is not None or any(one <= 0 for one in weights)


def _listed_rankers(config: Config) -> set[str]:
    """The rankers that have lists of their own or are members of the hybrid."""
    return {*config.evaluate.rankers, config.recommend.ranker, *config.hybrid.members}


def _has_one_weight(config: Config) -> bool:
    """Whether the hybrid has a single member; each pair of towers in `fusion` counts as one."""
    members = config.hybrid_members
    parts = [config.trained_towers if name == FUSION else (name,) for name in members]
    return sum(map(len, parts)) == 1


def _absent_parts(config: Config) -> set[TowerPart]:
    """Parts that the towers lack whatever `towers.without` says."""
    parts: set[TowerPart] = set()
    if not _has_features(config):
        parts |= {"features", "gate"}
    if config.towers.loss == "cosine_contrastive":
        parts.add("popularity")
    return parts


_BY_CO_OCCURRENCE = {"item_neighbours", "recent_item_neighbours"}
_BY_THE_RECENCY_SCALE = {"recent_ridge", "recent_item_neighbours", REPEATS}
_OF_THE_SEQUENCE = tuple(
    f"towers.sequence.{name}" for name in SequenceConfig.model_fields if name != "enabled"
)
_OF_TOWERS = frozenset({FUSION, "bagged_towers", "boosted_towers"})
_NO_TIME = "interactions.columns.time is not set"
_NO_ITEMS = "features.items is not set"
_NO_ATTRIBUTES = "neither features.users nor features.items is set"
_NO_VALIDATION = "training does not look at validation where evaluate.candidates is cold_items"
_NO_FEATURES = "there are neither attributes nor features of behaviour"

RULES: tuple[Idle, ...] = (
    # interactions
    Idle(
        ("interactions.time_unit", "interactions.time_zone", "interactions.time_format"),
        lambda config: not _has_time(config),
        _NO_TIME,
    ),
    Idle(
        ("interactions.time_unit",),
        lambda config: _has_time(config) and config.interactions.time_format is not None,
        "times are read by interactions.time_format",
    ),
    Idle(
        ("interactions.cancellations",),
        lambda config: (
            config.interactions.columns.weight is None
            and not config.interactions.has_cancelling_events
        ),
        "no weight is negative without interactions.columns.weight or negative event_weights",
    ),
    Idle(
        ("interactions.columns.weight",),
        lambda config: (
            _pairs_weigh_one(config)
            and "weighting" not in config.interactions.model_fields_set
            # The signs of weights decide what is cancelled.
            and config.interactions.cancellations != "cancel"
        ),
        "every interaction weighs 1 under interactions.weighting: binary, the default, and a weight"
        " of 0 or less makes none; set it to weight or log, or to binary where this is meant",
        on="how much an interaction counts",
    ),
    Idle(
        ("interactions.duplicates",),
        # Without times, sum also says that equal rows are events of their own.
        lambda config: (
            _pairs_weigh_one(config)
            and not _may_weigh_nothing(config)
            and (_has_time(config) or config.interactions.duplicates != "sum")
        ),
        "every pair weighs 1 under interactions.weighting: binary",
    ),
    Idle(
        ("interactions.duplicates",),
        lambda config: (
            not _pairs_weigh_one(config)
            and config.interactions.duplicates == "max"
            and not (config.interactions.columns.weight or config.interactions.event_weights)
        ),
        "without interactions.columns.weight and event_weights, the last event of a pair has the"
        " largest weight anyway",
    ),
    Idle(
        ("interactions.weighting",),
        lambda config: (
            config.interactions.weighting == "weight" and not config.interactions.weights_differ
        ),
        "every event weighs 1 without interactions.columns.weight, event_weights and"
        " half_life_days, and duplicates are not summed",
    ),
    Idle(
        tuple(
            f"interactions.suspicious_users.{name}"
            for name in SuspiciousUsersConfig.model_fields
            if name != "action"
        ),
        lambda config: config.interactions.suspicious_users.action == "keep",
        "interactions.suspicious_users.action is keep",
    ),
    Idle(
        ("interactions.suspicious_users.weight",),
        lambda config: config.interactions.suspicious_users.action == "quarantine",
        "interactions.suspicious_users.action is quarantine",
    ),
    Idle(
        ("interactions.suspicious_users.regular_share",),
        lambda config: (
            config.interactions.suspicious_users.action != "keep" and not _has_time(config)
        ),
        _NO_TIME,
    ),
    Idle(
        ("interactions.positive_minimum",),
        lambda config: (
            config.interactions.positive_minimum is not None
            and config.interactions.positive_minimum <= 0.0
        ),
        "no weight is below 0",
    ),
    # split
    Idle(
        ("split.test_share", "split.test_items"),
        lambda config: config.split.strategy == "provided",
        "the test is split.test",
    ),
    Idle(
        ("split.test_share", "split.test_items"),
        lambda config: config.split.strategy == "none",
        "split.strategy is none",
    ),
    Idle(
        ("split.test_share",),
        lambda config: (
            config.split.test_items is not None
            and config.split.strategy in {"auto", "last", "random"}
        ),
        "split.test_items takes its place",
    ),
    Idle(
        ("split.test_items",),
        lambda config: config.split.strategy in {"temporal", "cold_items", "cold_users"},
        "only the split strategies last and random hold out a number of items of each user; set"
        " split.test_share",
    ),
    Idle(
        ("split.validation_share",),
        lambda config: config.split.validation is not None,
        "validation is split.validation",
    ),
    Idle(
        ("split.validation_strategy",),
        lambda config: config.split.validation is not None,
        "validation is split.validation",
    ),
    # settings
    Idle(
        ("settings.users", "settings.als_ranks"),
        lambda config: config.settings.seconds == 0.0,
        "settings.seconds is 0",
    ),
    Idle(
        ("settings.als_ranks",),
        lambda config: config.settings.seconds > 0.0 and not _has_item_attributes(config),
        _NO_ITEMS,
    ),
    Idle(
        ("settings.als_ranks",),
        lambda config: (
            config.settings.seconds > 0.0
            and _has_item_attributes(config)
            and "attribute_weight" in config.factors.als.model_fields_set
            and config.factors.als.attribute_weight == 0.0
        ),
        "factors.als.attribute_weight is 0",
    ),
    Idle(
        ("settings.als_ranks",),
        lambda config: (
            config.settings.seconds > 0.0 and _has_item_attributes(config) and _is_explicit(config)
        ),
        "factors.als.feedback: explicit knows no attributes",
    ),
    # factors
    Idle(
        ("factors.svd.oversampling", "factors.svd.power_passes"),
        lambda config: config.factors.svd.exact,
        "factors.svd.exact takes another method, which has neither",
    ),
    Idle(
        ("factors.als.unobserved_total",),
        lambda config: (
            config.factors.als.unobserved_weight is not None and not _is_explicit(config)
        ),
        "factors.als.unobserved_weight takes its place",
    ),
    Idle(
        ("factors.als.unobserved_weight", "factors.als.unobserved_total"),
        _is_explicit,
        "factors.als.feedback: explicit looks only at pairs that were observed",
    ),
    Idle(
        ("factors.als.attribute_weight",),
        lambda config: not _has_item_attributes(config),
        _NO_ITEMS,
    ),
    Idle(
        ("factors.mllib_als",),
        lambda config: MLLIB_ALS not in _listed_rankers(config),
        "ranker mllib_als is not in evaluate.rankers",
    ),
    # neighbours
    Idle(
        ("neighbours.neighbours", "neighbours.user_exponent"),
        lambda config: _listed_rankers(config).isdisjoint(_BY_CO_OCCURRENCE),
        "neither ranker item_neighbours nor recent_item_neighbours is evaluated, recommended or a"
        " member of the hybrid",
        on="lists",
    ),
    Idle(
        ("neighbours.item_exponent",),
        lambda config: _listed_rankers(config).isdisjoint({*_BY_CO_OCCURRENCE, "user_neighbours"}),
        "no ranker by neighbours of items or of users is evaluated, recommended or a member of the"
        " hybrid",
        on="lists",
    ),
    Idle(("neighbours.recency_scale",), lambda config: not _has_time(config), _NO_TIME),
    Idle(
        ("neighbours.recency_scale",),
        lambda config: (
            _has_time(config) and _listed_rankers(config).isdisjoint(_BY_THE_RECENCY_SCALE)
        ),
        "no ranker that looks at recency is evaluated, recommended or a member of the hybrid",
    ),
    Idle(("neighbours.transitions",), lambda config: not _has_time(config), _NO_TIME),
    Idle(
        ("neighbours.transitions",),
        lambda config: _has_time(config) and TRANSITIONS not in _listed_rankers(config),
        "ranker transitions is neither evaluated nor recommended nor a member of the hybrid",
    ),
    Idle(
        ("neighbours.user_neighbours", "neighbours.maximum_candidate_users"),
        lambda config: "user_neighbours" not in _listed_rankers(config),
        "ranker user_neighbours is neither evaluated nor recommended nor a member of the hybrid",
    ),
    Idle(("neighbours.content",), lambda config: not _has_item_attributes(config), _NO_ITEMS),
    Idle(
        ("neighbours.content.expanded",),
        lambda config: _has_item_attributes(config) and config.neighbours.content.expansion == 0.0,
        "neighbours.content.expansion is 0",
    ),
    Idle(
        ("neighbours.content.expansion", "neighbours.content.expanded"),
        lambda config: (
            _has_item_attributes(config) and "content_neighbours" not in _listed_rankers(config)
        ),
        "ranker content_neighbours is neither evaluated nor recommended nor a member of the hybrid",
    ),
    # features
    Idle(
        (
            "features.language",
            "features.vocabulary_size",
            "features.minimum_count",
            "features.text_rank",
            "features.maximum_vectors",
            "towers.modality_dropout",
        ),
        lambda config: not _has_attributes(config),
        _NO_ATTRIBUTES,
    ),
    Idle(
        ("features.text_rank",),
        lambda config: (
            _has_attributes(config) and config.features.text_rank > config.features.vocabulary_size
        ),
        "it bounds columns of more values, and features.vocabulary_size leaves none so many",
    ),
    Idle(
        ("features.minimum_variance", "features.maximum_features", "features.clip"),
        lambda config: not _has_features(config),
        _NO_FEATURES,
    ),
    Idle(
        ("features.image_size", "towers.images"),
        lambda config: not _has_item_attributes(config),
        _NO_ITEMS,
    ),
    Idle(
        ("features.text_model",),
        lambda config: not _encodes_texts(config),
        "neither features.users.kinds nor features.items.kinds names a column of kind"
        " text_embedding",
    ),
    Idle(
        ("features.video_frames",),
        lambda config: (
            config.features.items is None or "video" not in config.features.items.kinds.values()
        ),
        "features.items.kinds names no column of kind video",
    ),
    # towers
    Idle(
        ("towers",),
        lambda config: _OF_TOWERS.isdisjoint(config.usable(tuple(_listed_rankers(config)))),
        "ranker fusion is neither evaluated nor recommended nor a member of the hybrid",
        on="lists",
    ),
    Idle(
        ("towers.hidden", "towers.feature_hidden"),
        lambda config: "mlp" in config.towers.without,
        "towers.without takes out the hidden layers",
    ),
    Idle(
        ("towers.feature_hidden", "towers.gate_half_count", "towers.input_dropout"),
        lambda config: not _has_features(config),
        _NO_FEATURES,
    ),
    Idle(
        ("towers.gate_half_count",),
        lambda config: _has_features(config) and "gate" in config.towers.without,
        "towers.without takes out the gate",
    ),
    Idle(
        ("towers.input_dropout",),
        lambda config: (
            _has_features(config) and not {"features", "gate"}.isdisjoint(config.towers.without)
        ),
        "towers.without takes out the side features, or the gate to them, which would stand in for"
        " the factors",
    ),
    Idle(
        ("towers.patience",),
        lambda config: config.evaluate.ranks_cold_items,
        _NO_VALIDATION,
    ),
    Idle(
        ("towers.patience",),
        lambda config: (
            not config.evaluate.ranks_cold_items
            and config.towers.patience >= config.towers.epochs_of_sets(config.has_order)
        ),
        "training ends after towers.epochs, which are not more than the patience (where towers that"
        " know order are trained, half of them)",
    ),
    Idle(
        _OF_THE_SEQUENCE,
        lambda config: not config.has_order,
        "towers that know order are trained where towers.sequence.enabled is not false and"
        " interactions.columns.time is set",
    ),
    Idle(
        ("towers.sequence.modality_dropout",),
        lambda config: config.has_order and not _has_item_attributes(config),
        _NO_ITEMS,
    ),
    Idle(
        ("towers.sequence.patience",),
        lambda config: config.has_order and config.evaluate.ranks_cold_items,
        _NO_VALIDATION,
    ),
    Idle(
        ("towers.sequence.patience",),
        lambda config: (
            config.has_order
            and not config.evaluate.ranks_cold_items
            and config.towers.sequence.patience >= config.towers.sequence.epochs
        ),
        "training ends after towers.sequence.epochs, which are not more than the patience",
    ),
    Idle(
        ("towers.sequence.context.dropout", "towers.sequence.context.dropout_of_all"),
        lambda config: config.has_order and not config.context_keys,
        "interactions.columns.context is not set and towers.sequence.context.clock is false",
    ),
    Idle(
        ("towers.sequence.context.values",),
        lambda config: config.has_order and not config.interactions.columns.context,
        "interactions.columns.context is not set",
    ),
    Idle(
        ("towers.temperature",),
        lambda config: config.towers.loss == "cosine_contrastive",
        "towers.loss: cosine_contrastive is a loss of cosines",
        on="the order of lists",
    ),
    Idle(
        ("towers.without",),
        lambda config: _absent_parts(config).issuperset(config.towers.without),
        "the towers of this config do not have these parts",
    ),
    # ablation
    Idle(
        ("ablation",),
        lambda config: config.evaluate.ranks_cold_items,
        "the towers are not validated where evaluate.candidates is cold_items",
    ),
    Idle(
        ("ablation.tower_parts",),
        lambda config: (
            not config.evaluate.ranks_cold_items
            and config.ablation.seconds == 0.0
            and bool(config.ablation.tower_parts)
        ),
        "ablation.seconds is 0",
    ),
    Idle(
        ("ablation.seconds",),
        lambda config: not config.evaluate.ranks_cold_items and not config.ablation.tower_parts,
        "ablation.tower_parts is empty",
    ),
    # ratings
    Idle(
        tuple(f"ratings.{name}" for name in RatingsConfig.model_fields if name != "enabled"),
        lambda config: not config.ratings.enabled,
        "ratings.enabled is false",
    ),
    # recommend
    Idle(
        ("recommend.rules.mask_seen",),
        lambda config: config.ranks_repeats and not config.interactions.weights_differ,
        "every pair weighs 1; set interactions.duplicates to sum and interactions.weighting to log"
        " where what is taken often should count more",
        on="how much an item counts that a user takes often",
    ),
    Idle(
        ("recommend.reasons.language", "recommend.reasons.file"),
        lambda config: config.recommend.reasons.count == 0,
        "recommend.reasons.count is 0",
    ),
    Idle(
        ("recommend.default_segment_users",),
        lambda config: config.recommend.default_segments is None,
        "recommend.default_segments is not set",
    ),
    Idle(
        ("recommend.diversity.column",),
        lambda config: config.recommend.diversity.strength == 0.0,
        "recommend.diversity.strength is 0",
        on="lists",
    ),
    Idle(
        ("recommend.calibration.strength",),
        lambda config: config.recommend.calibration.column is None,
        "recommend.calibration.column is not set",
    ),
    Idle(
        ("recommend.rules.at_most.count",),
        lambda config: config.recommend.rules.at_most.column is None,
        "recommend.rules.at_most.column is not set",
    ),
    Idle(
        ("recommend.candidates",),
        lambda config: not config.recommend.reranks,
        "neither recommend.diversity, recommend.calibration nor recommend.rules.at_most is set",
    ),
    # hybrid
    Idle(
        # The other settings are measured at hybrid.k as well.
        (
            "hybrid.members",
            "hybrid.maximum_users",
            "hybrid.candidates_per_member",
            "hybrid.rounds",
        ),
        lambda config: HYBRID not in {*config.evaluate.rankers, config.recommend.ranker},
        "ranker hybrid is neither evaluated nor recommended",
        on="lists",
    ),
    Idle(
        ("hybrid.rounds",),
        lambda config: (
            HYBRID in {*config.evaluate.rankers, config.recommend.ranker}
            and _has_one_weight(config)
        ),
        "the hybrid has one member, whose weight is 1",
    ),
    # nightly
    Idle(
        ("nightly.als_iterations", "nightly.tower_epochs"),
        lambda config: not config.nightly.warm_start,
        "nightly.warm_start is false, so that trainings are as long as in a whole run",
    ),
)
