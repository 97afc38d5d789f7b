"""The configuration of a run: frozen pydantic models that refuse unknown keys."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from m6rec.errors import ConfigError

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeFloat = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]

FeatureKind = Literal["numeric", "categorical", "multi_valued", "text", "image", "ignore"]
RankerName = Literal[
    "hybrid",
    "fusion",
    "svd",
    "als",
    "als_cosine",
    "ridge",
    "recent_ridge",
    "item_neighbours",
    "recent_item_neighbours",
    "user_neighbours",
    "content",
    "content_neighbours",
    "popularity",
    "mllib_als",
]
RANKERS: tuple[RankerName, ...] = get_args(RankerName)
# The hybrid is no member of itself, and MLlib's ALS is a reference.
MEMBERS = tuple(name for name in RANKERS if name not in {"hybrid", "mllib_als"})
# They weigh the history by recency, so they are left out where interactions have no time.
RECENT_RANKERS = frozenset({"recent_ridge", "recent_item_neighbours"})
# Validation by strategy mixed holds out items by the very likeness that these rank by, and flatters
# them: on Gowalla .115 where the test says .110, with others at .138 and .155.
CO_OCCURRENCE_RANKERS = frozenset({"item_neighbours"})
# They speak of attributes, so they are left out where items have none.
CONTENT_RANKERS = frozenset({"content_neighbours", "als_cosine"})


class Section(BaseModel):
    """A part of the configuration: immutable, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TableSource(Section):
    """Where a table of the owner's is read: a path, or a name of the catalogue."""

    path: str | None = None
    table: str | None = None
    format: Literal["delta", "parquet", "csv", "json"] = "delta"
    version: Annotated[int, Field(ge=0)] | None = None
    options: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_place(self) -> "TableSource":
        if (self.path is None) == (self.table is None):
            raise ValueError("give either path or table, and not both")
        if self.version is not None and self.format != "delta":
            raise ValueError(f"version needs format delta, found format {self.format}")
        return self

    @property
    def name(self) -> str:
        """The place as a person would say it."""
        return self.path or self.table or ""


class InteractionColumns(Section):
    """The owner's column names."""

    user: str = "user_id"
    item: str = "item_id"
    time: str | None = None
    weight: str | None = None
    event_type: str | None = None
    context: tuple[str, ...] = ()


class InteractionsConfig(Section):
    """The interaction table and how an event becomes a weight."""

    source: TableSource
    columns: InteractionColumns = InteractionColumns()
    time_unit: Literal["timestamp", "seconds", "milliseconds"] = "timestamp"
    event_weights: dict[str, NonNegativeFloat] = {}
    half_life_days: PositiveFloat | None = None
    duplicates: Literal["sum", "max", "last"] = "last"
    weighting: Literal["binary", "weight", "log"] = "binary"
    positive_minimum: float | None = None
    minimum_user_interactions: PositiveInt = 1
    minimum_item_interactions: PositiveInt = 1
    maximum_events_per_user_per_day: PositiveInt | None = None

    @model_validator(mode="after")
    def _has_the_columns_it_needs(self) -> "InteractionsConfig":
        needs_time = {
            "half_life_days": self.half_life_days,
            "maximum_events_per_user_per_day": self.maximum_events_per_user_per_day,
        }
        for key, value in needs_time.items():
            if value is not None and self.columns.time is None:
                raise ValueError(f"{key} needs columns.time, which is not set")
        if self.event_weights and self.columns.event_type is None:
            raise ValueError("event_weights needs columns.event_type, which is not set")
        return self


class SplitConfig(Section):
    """How interactions are divided into train, validation and test.

    `auto` is `last` where interactions have a time, else `random`. For the validation it is the
    strategy of the test; with a test of the owner's, `last` where most of it comes after training,
    `random` where times say otherwise, and without times `highest_ids` where nearly all of it has
    higher item numbers than the user's training items, as where ids are given in order of arrival
    and each list is cut in two, else `mixed`. Unless `validation_share` is given, it is
    the test's own share, at most a fifth, for `mixed`, which holds out items together with those
    most like them, and for `highest_ids`, and a tenth for the others.
    """

    strategy: Literal[
        "auto", "provided", "temporal", "last", "random", "cold_items", "cold_users", "none"
    ] = "auto"
    test_share: Share = 0.2
    test_items: PositiveInt | None = None
    test: TableSource | None = None
    validation: TableSource | None = None
    validation_strategy: Literal[
        "auto", "temporal", "last", "highest_ids", "random", "mixed", "cold_items"
    ] = "auto"
    validation_share: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None

    @model_validator(mode="after")
    def _provided_has_test(self) -> "SplitConfig":
        if self.strategy == "provided" and self.test is None:
            raise ValueError("strategy provided needs split.test, the owner's test table")
        if self.strategy != "provided" and (self.test or self.validation):
            raise ValueError("split.test and split.validation need strategy provided")
        return self


class SettingsConfig(Section):
    """The search for the settings that matter most: the ridge's exponents and penalty, the scale of
    recency, and ALS's weights of attributes and of the unobserved, and its rank.

    `seconds` is what the trials may take by a model of their cost on two cores; 0 tries nothing.
    `als_ranks` are tried in place of `factors.als.rank` where items have attributes: those fill
    more dimensions than interactions alone.
    """

    seconds: NonNegativeFloat = 90.0
    users: PositiveInt = 3_000
    als_ranks: tuple[PositiveInt, ...] = ()


class SvdConfig(Section):
    """Randomized SVD of D_u^-a P D_i^-b with spectral weighting f(s) = (s / s_0)^spectrum_power.

    By default few `power_passes`: the basis then keeps a share of what lies below the leading
    singular values, and the towers rank better on it (Gowalla, validation NDCG@20 of the untrained
    start .130 after 2 passes, .106 after 7). Where `exact`, the leading half of the singular values
    is right to 1e-3, and passes and oversampling are not used.
    """

    rank: PositiveInt = 256
    oversampling: Annotated[int, Field(ge=0)] = 32
    power_passes: Annotated[int, Field(ge=0)] = 2
    exact: bool = False
    user_exponent: NonNegativeFloat = 0.5
    item_exponent: NonNegativeFloat = 0.3
    spectrum_power: NonNegativeFloat = 0.25


class AlsConfig(Section):
    """Implicit ALS.

    `unobserved_total` is the weight of the unobserved times the number of items. With an
    `attribute_weight` each term of the items is one more row of the matrix, whose entries are the
    items' term weights times it: items with like attributes get like factors, and items without
    interactions get factors at all.
    """

    rank: PositiveInt = 128
    iterations: PositiveInt = 16
    regularisation: NonNegativeFloat = 0.01
    frequency_exponent: NonNegativeFloat = 1.0
    unobserved_weight: PositiveFloat | None = None
    unobserved_total: PositiveFloat = 300.0
    attribute_weight: NonNegativeFloat = 0.0
    solver: Literal["conjugate_gradient", "cholesky"] = "conjugate_gradient"
    conjugate_gradient_steps: PositiveInt = 3
    feedback: Literal["implicit", "explicit"] = "implicit"
    checkpoint_every: PositiveInt = 5


class MllibAlsConfig(Section):
    """Spark MLlib's own implicit ALS, a reference."""

    rank: PositiveInt = 64
    iterations: PositiveInt = 10
    regularisation: NonNegativeFloat = 0.05
    alpha: PositiveFloat = 10.0


class FactorsConfig(Section):
    """The factor models."""

    svd: SvdConfig = SvdConfig()
    als: AlsConfig = AlsConfig()
    mllib_als: MllibAlsConfig = MllibAlsConfig()


class RidgeConfig(Section):
    """Local ridge item-item weights: one small regularised system an item.

    `kept` is how many weights of a history item are kept; unless given, 100 and, of a small
    catalogue, as many as make 1.5 million of all items.
    """

    candidates: PositiveInt = 200
    user_exponent: NonNegativeFloat = 0.25
    item_exponent: NonNegativeFloat = 0.3
    regularisation: PositiveFloat = 100.0
    kept: PositiveInt | None = None


class ContentNeighboursConfig(Section):
    """Item neighbours by content: likeness is by terms, and by vectors with `vector_share`.

    `expansion` is the share of items that the ridge adds to a history, its `expanded` best.
    """

    candidates: PositiveInt = 200
    vector_share: Share = 0.25
    regularisation: PositiveFloat = 3.0
    expansion: NonNegativeFloat = 20.0
    expanded: PositiveInt = 1_000
    longest_posting: PositiveInt = 5_000


class NeighboursConfig(Section):
    """Item neighbours by co-occurrence, by ridge and by content, and user neighbours."""

    neighbours: PositiveInt = 100
    item_exponent: NonNegativeFloat = 0.5
    user_exponent: NonNegativeFloat = 0.5
    user_neighbours: PositiveInt = 100
    recency_scale: PositiveFloat = 8.0
    maximum_candidate_users: PositiveInt = 20_000
    maximum_history: PositiveInt = 2_000
    ridge: RidgeConfig = RidgeConfig()
    content: ContentNeighboursConfig = ContentNeighboursConfig()


class AttributesSource(Section):
    """A table of users or items with attribute columns."""

    source: TableSource
    id: str
    title: str | None = None
    kinds: dict[str, FeatureKind] = {}


class FeaturesConfig(Section):
    """Attribute tables and how columns become features.

    `behaviour` features (activity, breadth, popularity, event mix) are, unless given, made where
    there are attributes, times, event types or context: of mere pairs the rows tell it better.
    """

    users: AttributesSource | None = None
    items: AttributesSource | None = None
    vocabulary_size: PositiveInt = 50_000
    minimum_count: PositiveInt = 2
    text_rank: PositiveInt = 256
    minimum_variance: NonNegativeFloat = 1e-6
    maximum_features: PositiveInt = 512
    clip: PositiveFloat = 5.0
    behaviour: bool | None = None
    image_size: PositiveInt = 32


TowerPart = Literal["mlp", "shared", "features", "gate", "popularity"]
TOWER_PARTS: tuple[TowerPart, ...] = get_args(TowerPart)


class TowersConfig(Section):
    """The deep towers and their training.

    `precision` is of the matrix products while training: `auto` is bfloat16 where the processor
    multiplies it, else float32. Weights, logits, losses and the trained towers are float32.
    `without` takes parts of the model out, to see what they are worth.
    """

    inputs: tuple[Literal["svd", "als"], ...] = ("svd", "als")
    hidden: PositiveInt = 512
    feature_hidden: PositiveInt = 128
    epochs: PositiveInt = 10
    patience: PositiveInt = 10
    users_per_batch: PositiveInt = 256
    minimum_steps_per_epoch: PositiveInt = 16
    negatives: PositiveInt = 2048
    target_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    loss: Literal["sampled_softmax", "binary_cross_entropy", "cosine_contrastive"] = (
        "sampled_softmax"
    )
    temperature: PositiveFloat = 0.1
    learning_rate: PositiveFloat = 2e-3
    weight_decay: NonNegativeFloat = 0.01
    warmup_steps: Annotated[int, Field(ge=0)] = 30
    input_dropout: Share = 0.0
    gate_half_count: PositiveFloat = 2.0
    maximum_history: PositiveInt = 1024
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    without: tuple[TowerPart, ...] = ()
    reader: Literal["petastorm", "arrow"] = "petastorm"
    processes: PositiveInt = 1


class RatingsConfig(Section):
    """Prediction of ratings: biases, explicit ALS, and regressions on who rates what, blended.

    `enabled` says that `interactions.columns.weight` holds ratings. `rank` to `frequency_exponent`
    are of ALS. The regularisations of biases, tastes and audiences are in numbers of ratings: with
    so many, a coefficient goes half the way from 0.
    """

    enabled: bool = False
    bias_iterations: PositiveInt = 15
    user_bias_regularisation: PositiveFloat = 5.0
    item_bias_regularisation: PositiveFloat = 2.0
    rank: PositiveInt = 20
    iterations: PositiveInt = 10
    regularisation: PositiveFloat = 0.6
    frequency_exponent: NonNegativeFloat = 0.7
    choice_rank: PositiveInt = 20
    choice_user_exponent: NonNegativeFloat = 0.25
    choice_item_exponent: NonNegativeFloat = 0.3
    taste_regularisation: PositiveFloat = 5.0
    audience_regularisation: PositiveFloat = 15.0

    def als(self) -> AlsConfig:
        """Explicit ALS on what the biases leave."""
        return AlsConfig(
            rank=self.rank,
            iterations=self.iterations,
            regularisation=self.regularisation,
            frequency_exponent=self.frequency_exponent,
            feedback="explicit",
        )

    def choices(self) -> SvdConfig:
        """The SVD of who rates what."""
        return SvdConfig(
            rank=self.choice_rank,
            user_exponent=self.choice_user_exponent,
            item_exponent=self.choice_item_exponent,
            exact=True,
        )


class HybridConfig(Section):
    """Which members the hybrid may blend and how their weights are chosen on validation.

    By NDCG@`k`, deeper than most lists are shown: validation holds out less than the test, and few
    hits say little. On four data sets weights by NDCG@50 ranked the test better than those by
    NDCG@20 or @100.
    """

    members: tuple[RankerName, ...] = MEMBERS
    k: PositiveInt = 50
    maximum_users: PositiveInt = 10_000
    candidates_per_member: PositiveInt = 200
    rounds: PositiveInt = 3


class AblationConfig(Section):
    """What each part is worth, measured on validation by taking it out.

    Parts of the towers need a training each: those that `seconds` do not suffice for are left out.
    """

    tower_parts: tuple[TowerPart, ...] = TOWER_PARTS
    seconds: NonNegativeFloat = 60.0


class RulesConfig(Section):
    """Business rules, applied inside the ranking kernel."""

    allowed_items: TableSource | None = None
    excluded_items: TableSource | None = None
    excluded_pairs: TableSource | None = None
    mask_seen: bool = True


class RecommendConfig(Section):
    """The published lists."""

    ranker: RankerName = "hybrid"
    top_n: PositiveInt = 20
    reasons: Annotated[int, Field(ge=0)] = 3
    rules: RulesConfig = RulesConfig()


class EvaluateConfig(Section):
    """Which rankers are measured, at which depths.

    `candidates` is what lists are made of: all items of the catalogue that the user has not seen,
    or only items that training never saw. On test all users are measured, on validation a sample.
    """

    candidates: Literal["all", "cold_items"] = "all"
    rankers: tuple[RankerName, ...] = RANKERS
    ks: tuple[PositiveInt, ...] = (10, 20)
    maximum_validation_users: PositiveInt = 10_000
    bootstrap_replicates: PositiveInt = 1_000
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    compare_with_run: str | None = None


class Range(Section):
    """Numbers from `low` to `high`, both included; even in their logarithm where `log`.

    The numbers are whole where the config's own value is.
    """

    low: FiniteFloat
    high: FiniteFloat
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0, found {self.low:g}")
        return self

    def extremes(self) -> tuple[float, ...]:
        """If the config takes these, it takes all between them."""
        return tuple(int(end) if end.is_integer() else end for end in (self.low, self.high))


class Choice(Section):
    """One of `values`."""

    values: Annotated[tuple[int | float | str | bool, ...], Field(min_length=1)]

    def extremes(self) -> tuple[int | float | str | bool, ...]:
        """All of the values."""
        return self.values


# What a trial can change without changing what it is measured on.
TUNABLE = ("factors.", "neighbours.", "features.", "towers.", "hybrid.")

DEFAULT_SEARCH: dict[str, Range | Choice] = {
    "neighbours.ridge.user_exponent": Range(low=0.0, high=0.5),
    "neighbours.ridge.item_exponent": Range(low=0.0, high=0.6),
    "neighbours.ridge.regularisation": Range(low=20.0, high=1000.0, log=True),
    "neighbours.recency_scale": Range(low=2.0, high=50.0, log=True),
    "factors.svd.rank": Choice(values=(128, 256, 512)),
    "factors.svd.item_exponent": Range(low=0.0, high=0.6),
    "factors.svd.spectrum_power": Range(low=0.0, high=0.5),
    "factors.als.rank": Choice(values=(64, 128, 256)),
    "factors.als.unobserved_total": Range(low=50.0, high=2000.0, log=True),
    "towers.temperature": Range(low=0.05, high=0.3, log=True),
    "towers.learning_rate": Range(low=5e-4, high=5e-3, log=True),
    "towers.input_dropout": Range(low=0.0, high=0.4),
    "towers.epochs": Range(low=5, high=20),
}


class TuneConfig(Section):
    """The search of job `tune` for better values, by the hybrid's NDCG@k on validation.

    `search` maps dotted keys of the config to what is tried; one that is given replaces the
    default whole. `seconds` bounds one call: a trial that has begun is finished.
    """

    trials: PositiveInt = 50
    seconds: PositiveFloat | None = None
    k: PositiveInt = 20
    search: dict[str, Range | Choice] = DEFAULT_SEARCH


class Config(Section):
    """The whole configuration of a run.

    `lake` is the root path of the tables, or `catalog.schema`. `artifacts` is a folder of a mounted
    file system for what is no table (models, checkpoints); by default it lies within `lake`.
    """

    interactions: InteractionsConfig
    split: SplitConfig = SplitConfig()
    settings: SettingsConfig = SettingsConfig()
    factors: FactorsConfig = FactorsConfig()
    neighbours: NeighboursConfig = NeighboursConfig()
    features: FeaturesConfig = FeaturesConfig()
    towers: TowersConfig = TowersConfig()
    ratings: RatingsConfig = RatingsConfig()
    hybrid: HybridConfig = HybridConfig()
    ablation: AblationConfig = AblationConfig()
    recommend: RecommendConfig = RecommendConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    tune: TuneConfig = TuneConfig()
    lake: str = "m6rec-lake"
    artifacts: str | None = None
    seed: int = 42

    @model_validator(mode="after")
    def _last_needs_time(self) -> "Config":
        needs_time = {"temporal", "last"}
        asked = {self.split.strategy, self.split.validation_strategy} & needs_time
        if asked and self.interactions.columns.time is None:
            raise ValueError(
                f"split by {sorted(asked)[0]} needs interactions.columns.time, which is not set"
            )
        return self

    @model_validator(mode="after")
    def _search_fits(self) -> "Config":
        problems = [
            f"tune.search: {problem}"
            for key, dimension in self.tune.search.items()
            for problem in self._search_problems(key, dimension)
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _search_problems(self, key: str, dimension: Range | Choice) -> Iterator[str]:
        """What stands against trying the dimension's values at `key`."""
        try:
            current = self.value(key)
        except KeyError:
            yield f"{key}: unknown key; remove it or correct its spelling"
            return
        if isinstance(current, Section) or not key.startswith(TUNABLE):
            yield f"{key} cannot be tuned; give a key that starts with {', '.join(TUNABLE)}"
            return
        for value in dimension.extremes():
            # Without a search of its own, or its check would come here again.
            data = self.model_dump(mode="json") | {"tune": {"search": {}}}
            _put(data, key, value)
            try:
                Config.model_validate(data)
            except ValidationError as error:
                yield f"{key}: the config does not take {value!r}: {error.errors()[0]['msg']}"

    def value(self, key: str) -> Any:
        """What stands at a dotted key.

        Raises:
            KeyError: there is no such key.
        """
        found: Any = self
        for name in key.split("."):
            if not isinstance(found, Section) or name not in type(found).model_fields:
                raise KeyError(key)
            found = getattr(found, name)
        return found

    def replaced(self, values: Mapping[str, Any]) -> "Config":
        """The configuration with other values at dotted keys.

        Raises:
            ConfigError: a key or value is wrong.
        """
        data = self.given()
        for key, value in values.items():
            _put(data, key, value)
        return parse_config(data, f"with {dict(values)}")

    def given(self) -> dict[str, Any]:
        """What has been set, without the defaults, as plain data."""
        return self.model_dump(mode="json", exclude_unset=True)

    @model_validator(mode="after")
    def _ratings_are_as_given(self) -> "Config":
        if not self.ratings.enabled:
            return self
        interactions = self.interactions
        if interactions.columns.weight is None:
            raise ValueError("ratings.enabled needs interactions.columns.weight, which is not set")
        # Only positives are held out: errors would be measured on what was liked alone.
        changed = {
            "positive_minimum": interactions.positive_minimum is not None,
            "half_life_days": interactions.half_life_days is not None,
            "event_weights": bool(interactions.event_weights),
            "duplicates: sum": interactions.duplicates == "sum",
        }
        found = [key for key, is_set in changed.items() if is_set]
        if found:
            raise ValueError(
                f"ratings.enabled predicts all ratings as they are, and interactions.{found[0]}"
                " changes or leaves out some; remove one of both"
            )
        return self

    @property
    def has_behaviour(self) -> bool:
        """Whether features of behaviour are made."""
        if self.features.behaviour is not None:
            return self.features.behaviour
        columns = self.interactions.columns
        attributes = self.features.users or self.features.items
        return bool(attributes or columns.time or columns.event_type or columns.context)

    def usable(self, rankers: tuple[RankerName, ...]) -> tuple[RankerName, ...]:
        """The rankers that these interactions and attributes can feed."""
        unusable: frozenset[str] = frozenset()
        if self.interactions.columns.time is None:
            unusable |= RECENT_RANKERS
        if self.features.items is None:
            unusable |= CONTENT_RANKERS
        return tuple(name for name in rankers if name not in unusable)

    @property
    def hybrid_members(self) -> tuple[RankerName, ...]:
        """The members that the hybrid may blend: as given, or those that validation can judge."""
        members = self.usable(self.hybrid.members)
        if "members" in self.hybrid.model_fields_set or not self._may_validate_by_likeness:
            return members
        return tuple(name for name in members if name not in CO_OCCURRENCE_RANKERS)

    @property
    def _may_validate_by_likeness(self) -> bool:
        split = self.split
        if split.validation is not None or split.validation_strategy != "auto":
            return split.validation_strategy == "mixed"
        return self.interactions.columns.time is None and split.strategy in {"provided", "none"}

    def fingerprint(self) -> str:
        """SHA-256 of all that a run follows from, in canonical JSON."""
        canonical = json.dumps(self.model_dump(mode="json", exclude={"tune"}), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


def load_config(path: str | Path, overrides: tuple[str, ...] = ()) -> Config:
    """Read a YAML file, apply `section.key=value` overrides, and validate the whole.

    Raises:
        ConfigError: the file is missing or not YAML, or a key or value is wrong; the message
            names each.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"config file {file} does not exist; give an existing file to --config")
    try:
        data = yaml.safe_load(file.read_text()) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"config file {file} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"config file {file} holds a {type(data).__name__}, expected sections")
    for override in overrides:
        _apply_override(data, override)
    return parse_config(data, str(file))


def parse_config(data: dict[str, Any], origin: str) -> Config:
    """Validate plain data as a Config; `origin` is named in the error."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        problems = "\n".join(f"  {_describe(problem)}" for problem in error.errors())
        raise ConfigError(f"config {origin} is not valid:\n{problems}") from error


def _describe(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if not place:
        return str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown key; remove it or correct its spelling"
    if problem["type"] == "missing":
        return f"{place}: missing; add it"
    return f"{place}: {problem['msg']}, found {problem['input']!r}"


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {override!r} is not of the form section.key=value")
    _put(data, key, yaml.safe_load(text))


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    """Set the value at a dotted key of plain data."""
    *sections, last = key.split(".")
    target = data
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"{key}: {section} is a value, not a section")
    target[last] = value
