"""The configuration of a run as a whole: how it is read, checked and changed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from m6rec.config.base import Section, Seed, TableSource
from m6rec.config.data import FeaturesConfig, InteractionsConfig, SplitConfig
from m6rec.config.fold_in import FoldInConfig
from m6rec.config.models import (
    FactorsConfig,
    HybridConfig,
    NeighboursConfig,
    RatingsConfig,
    SettingsConfig,
)
from m6rec.config.outputs import AblationConfig, EvaluateConfig, RecommendConfig
from m6rec.config.publication import (
    GuardsConfig,
    NightlyConfig,
    OutputsConfig,
    RetentionConfig,
)
from m6rec.config.reading import apply_override, data_of_file, keys_of_differences, put
from m6rec.config.search import MEASURED_ON, RANGE, TUNABLE, Choice, Range, TuneConfig
from m6rec.config.towers import CLOCK, TowersConfig
from m6rec.errors import ConfigError, likely_spelling
from m6rec.fingerprints import fingerprint_of
from m6rec.rankers import FUSION, HYBRID, MLLIB_ALS, SEQUENCE, Need, ranker_named

# Where the dimensions of a search stand.
_SEARCH = ("tune", "search")
# What pydantic calls the types of which a value may have any.
_TRIED_TYPES = ("constrained-", "function-before[", "literal[")
# An unknown key whose name stands at more places than that is not told where it may belong.
_SHOWN_PLACES = 3
# The key of the table of interactions, as messages and lineage name it.
INTERACTIONS_SOURCE = "interactions.source"
# What nothing in a run's tables follows from: sections, and the place of the lake, which can move.
_OUTSIDE_THE_FINGERPRINT = frozenset({"lake", "tune", "guards", "outputs", "retention", "fold_in"})


class Config(Section):
    """The whole configuration of a run."""

    interactions: InteractionsConfig = Field(
        description="The interaction table and how events become pairs."
    )
    split: SplitConfig = Field(
        default=SplitConfig(), description="The division into train, validation and test."
    )
    settings: SettingsConfig = Field(
        default=SettingsConfig(), description="The search for the settings that matter most."
    )
    factors: FactorsConfig = Field(default=FactorsConfig(), description="The factor models.")
    neighbours: NeighboursConfig = Field(
        default=NeighboursConfig(), description="The neighbour models."
    )
    features: FeaturesConfig = Field(
        default=FeaturesConfig(), description="The attributes of users and items."
    )
    towers: TowersConfig = Field(default=TowersConfig(), description="The deep towers.")
    ratings: RatingsConfig = Field(
        default=RatingsConfig(), description="The prediction of ratings."
    )
    hybrid: HybridConfig = Field(default=HybridConfig(), description="The blend of rankers.")
    ablation: AblationConfig = Field(
        default=AblationConfig(), description="The measure of what parts are worth."
    )
    recommend: RecommendConfig = Field(
        default=RecommendConfig(), description="The published lists."
    )
    evaluate: EvaluateConfig = Field(default=EvaluateConfig(), description="The measurement.")
    guards: GuardsConfig = Field(
        default=GuardsConfig(), description="What a run must be like to be published."
    )
    outputs: OutputsConfig = Field(
        default=OutputsConfig(), description="What is written beside the lists."
    )
    retention: RetentionConfig = Field(
        default=RetentionConfig(), description="How long runs are kept."
    )
    nightly: NightlyConfig = Field(
        default=NightlyConfig(), description="How a nightly run goes on from the published one."
    )
    fold_in: FoldInConfig = Field(
        default=FoldInConfig(), description="Events that come after training."
    )
    tune: TuneConfig = Field(default=TuneConfig(), description="The search of job `tune`.")
    lake: str = Field(
        default="m6rec-lake",
        description="Where the run's tables are: a path, or a schema of the catalogue such as"
        " `catalog.schema`.",
    )
    artifacts: str | None = Field(
        default=None,
        description="The folder for models and checkpoints, in any file system that Spark reads or"
        " a volume of Unity Catalog; without it, a folder within `lake` or in the location of its"
        " schema. Each lake needs one of its own, as runs of two lakes may have one id.",
    )
    seed: Seed = Field(
        default=42,
        description="The number that decides every random choice. Two runs of one seed, code and"
        " table agree where processors are of one kind and as many: BLAS and sums over tasks round"
        " otherwise on others.",
    )

    @field_validator("lake", "artifacts")
    @classmethod
    def _is_written_out(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("~"):
            raise ValueError(f"~ stands for nothing in {value}; write the path out")
        return value

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
    def _validation_has_repeats(self) -> "Config":
        strategy = self.split.validation_strategy
        if self.ranks_repeats and strategy in {"mixed", "highest_ids"}:
            raise ValueError(
                f"split.validation_strategy: {strategy} holds out items that are new to their user,"
                " and with recommend.rules.mask_seen: false lists hold items that the user has,"
                " too; set it to auto, last, random or temporal"
            )
        return self

    @model_validator(mode="after")
    def _repeats_are_told_apart(self) -> "Config":
        if self.ranks_repeats and not self.interactions.has_repetitions:
            raise ValueError(
                "recommend.rules.mask_seen: false has lists hold what a user takes again, and"
                " without interactions.columns.time equal rows count as one that came twice; name"
                " the column of times, or set interactions.duplicates: sum"
            )
        return self

    @model_validator(mode="after")
    def _highest_ids_are_numbers(self) -> "Config":
        if self.split.validation_strategy == "highest_ids" and self.interactions.columns.domain:
            raise ValueError(
                "split.validation_strategy: highest_ids orders items by the numbers that are their"
                " ids, and with interactions.columns.domain an id is no number; set it to auto,"
                " last, random or temporal"
            )
        return self

    @model_validator(mode="after")
    def _rankers_can_be_fed(self) -> "Config":
        asked: dict[str, tuple[str, ...]] = {"recommend.ranker": (self.recommend.ranker,)}
        if "members" in self.hybrid.model_fields_set:
            asked["hybrid.members"] = self.hybrid.members
        problems = [
            f"{key} names {name}, which needs {' and '.join(missing)}; set it or name another"
            for key, names in asked.items()
            for name in names
            if (missing := self._missing(name))
        ]
        if self.recommend.ranker == MLLIB_ALS and MLLIB_ALS not in self.evaluate.rankers:
            problems.append(
                f"recommend.ranker is {MLLIB_ALS}, which is trained only where evaluate.rankers"
                " names it; add it there"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

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
        return parse_config(self._given_with(values), f"with {dict(values)}")

    def problems_with(self, values: Mapping[str, Any]) -> list[str]:
        """What is wrong with the configuration that has other values at dotted keys."""
        try:
            Config.model_validate(self._given_with(values))
        except ValidationError as error:
            return _problems(error)
        return []

    def _given_with(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What has been set, with other values at dotted keys, as plain data."""
        data = self.given()
        for key, value in values.items():
            put(data, key, value)
        return data

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
            "suspicious_users.action: weight": interactions.suspicious_users.action == "weight",
            "cancellations: cancel": interactions.cancellations == "cancel",
        }
        found = [key for key, is_set in changed.items() if is_set]
        if found:
            raise ValueError(
                f"ratings.enabled predicts all ratings as they are, and interactions.{found[0]}"
                " changes or leaves out some; remove one of the two"
            )
        return self

    @model_validator(mode="after")
    def _explicit_feedback_has_weights(self) -> "Config":
        if self.factors.als.feedback == "implicit" or self.interactions.weights_differ:
            return self
        found, remedy = "interactions.weighting is binary", "set it to weight or log"
        if self.interactions.weighting != "binary":
            found = "interactions has neither columns.weight nor event_weights nor half_life_days"
            remedy = "name the column with the ratings in interactions.columns.weight"
        raise ValueError(
            f"factors.als.feedback: explicit fits weights less their mean, and {found}, so that"
            f" all weights are equal and every target is 0; {remedy}, or set factors.als.feedback"
            " to implicit"
        )

    @model_validator(mode="after")
    def _ratings_are_no_terms(self) -> "Config":
        als = self.factors.als
        if als.feedback == "explicit" and als.attribute_weight > 0.0:
            raise ValueError(
                f"factors.als.attribute_weight is {als.attribute_weight:g} and"
                " factors.als.feedback explicit, by which the terms of items would be ratings;"
                " remove one of the two"
            )
        return self

    @model_validator(mode="after")
    def _order_needs_time(self) -> "Config":
        if self.towers.sequence.enabled and self.interactions.columns.time is None:
            raise ValueError(
                "towers.sequence.enabled needs interactions.columns.time, which is not set"
            )
        return self

    @model_validator(mode="after")
    def _context_keys_differ(self) -> "Config":
        both = sorted(set(self.interactions.columns.context) & set(CLOCK))
        if self.towers.sequence.context.clock and both:
            raise ValueError(
                f"interactions.columns.context names {both[0]}, which is a key of the clock, too;"
                " rename the column, or set towers.sequence.context.clock to false"
            )
        return self

    @model_validator(mode="after")
    def _contexts_can_be_ranked(self) -> "Config":
        if not self.recommend.contexts:
            return self
        if not self.has_order:
            raise ValueError(
                "recommend.contexts needs the towers that know order, which are trained where"
                " interactions.columns.time is set and towers.sequence.enabled is not false"
            )
        ranker = self.recommend.ranker
        if ranker != FUSION and not (ranker == HYBRID and FUSION in self.hybrid_members):
            raise ValueError(
                f"recommend.contexts has lists of ranker {ranker}, which has no towers that know"
                f" contexts; set recommend.ranker to {FUSION}, or to {HYBRID} with {FUSION} in"
                " hybrid.members"
            )
        problems = "; ".join(self._wrong_contexts())
        if problems:
            raise ValueError(f"recommend.contexts: {problems}")
        return self

    @model_validator(mode="after")
    def _columns_of_lists_have_a_table(self) -> "Config":
        named = self.recommend.item_columns()
        if named and self.features.items is None:
            key, column = next(iter(named.items()))
            raise ValueError(
                f"{key} is {column}, a column of the items' attributes, and features.items is not"
                " set; name their table there, or remove the key"
            )
        return self

    def _wrong_contexts(self) -> Iterator[str]:
        """What is wrong with the contexts that are asked for, as far as the config can tell."""
        known = self.context_keys
        hours_and_days = CLOCK if self.towers.sequence.context.clock else {}
        for name, context in self.recommend.contexts.items():
            if not context:
                yield f"{name!r} is empty; give it a key, or remove it"
            for key, value in context.items():
                values = hours_and_days.get(key)
                if key not in known:
                    yield (
                        f"{name!r} has the key {key}, expected one of {', '.join(known) or 'none'};"
                        " name the column in interactions.columns.context, or for hour and weekday"
                        " set towers.sequence.context.clock to true"
                    )
                elif values is not None and value not in values:
                    yield (
                        f"{name!r} has {key}: {value}, expected a whole number from {values[0]} to"
                        f" {values[-1]}"
                    )

    @model_validator(mode="after")
    def _segments_have_a_table(self) -> "Config":
        if self.recommend.default_segments is not None and self.features.users is None:
            raise ValueError(
                f"recommend.default_segments names {self.recommend.default_segments}, a column of"
                " features.users, which is not set; set it or remove default_segments"
            )
        return self

    # The last of the checks, since it tries values in a config that is valid without them.
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
        """Why the dimension's values cannot be tried at `key`; empty where they can."""
        try:
            current = self.value(key)
        except KeyError:
            yield f"{key}: unknown key; remove it or correct its spelling"
            return
        if not f"{key}.".startswith(TUNABLE):
            yield f"{key} cannot be tuned; give a key that starts with {', '.join(TUNABLE)}"
            return
        section = _section_at(key)
        if section is not None:
            example = _key_of_a_number(section)
            remedy = (
                "remove it" if example is None else f"give a key of it, such as {key}.{example}"
            )
            yield f"{key} cannot be tuned, as it is a section, and single values are; {remedy}"
            return
        if isinstance(current, tuple | Mapping):
            yield (
                f"{key} cannot be tuned, as it holds several values, and single ones are: numbers,"
                " text, true or false; remove it"
            )
            return
        if key in MEASURED_ON:
            yield (
                f"{key} cannot be tuned, as it decides what trials are measured on, and trials of"
                " other values do not compare; remove it, and set it for all trials"
            )
            return
        for value in dimension.extremes():
            # This config gets no search of its own, because its check would call this one again.
            data = self._given_with({key: value}) | {"tune": {"search": {}}}
            try:
                Config.model_validate(data)
            except ValidationError as error:
                problem = error.errors()[0]
                if not self._may_be_mended_by_others(key, problem):
                    yield f"{key}: the config does not take {value!r}: {_reason(problem)}"

    def _may_be_mended_by_others(self, key: str, problem: Any) -> bool:
        """Whether what is wrong with a value of `key` may be right in a trial of the search.

        The check of a section looks at the keys below it alone, of which a trial may change others.
        """
        place = _keys(problem["loc"])
        return any(
            other != key and tuple(other.split("."))[: len(place)] == place
            for other in self.tune.search
        )

    @property
    def ranks_repeats(self) -> bool:
        """Whether lists may hold what users have; then repeats are held out and measured too."""
        return not self.recommend.rules.mask_seen

    @property
    def holds_out_items(self) -> bool:
        """Whether the run itself holds out whole items, with all of their interactions."""
        strategies = (self.split.strategy, self.split.validation_strategy)
        return self.evaluate.ranks_cold_items or "cold_items" in strategies

    @property
    def has_order(self) -> bool:
        """Whether towers that know order are trained."""
        enabled = self.towers.sequence.enabled
        return self.interactions.columns.time is not None if enabled is None else enabled

    @property
    def context_keys(self) -> tuple[str, ...]:
        """The keys of a context that the towers know; empty where no towers know order."""
        if not self.has_order:
            return ()
        clock = tuple(CLOCK) if self.towers.sequence.context.clock else ()
        return (*clock, *self.interactions.columns.context)

    @property
    def trained_towers(self) -> tuple[str, ...]:
        """The towers that `fusion` adds up: on sets, by their factors, then those on order."""
        return (*self.towers.inputs, SEQUENCE) if self.has_order else self.towers.inputs

    @property
    def tower_models(self) -> tuple[str, ...]:
        """The models of kind `towers` of a fit, in the order in which they are trained."""
        return (*self.trained_towers, *self.towers.ensembles)

    @property
    def has_behaviour(self) -> bool:
        """Whether features of behaviour are made."""
        if self.features.behaviour is not None:
            return self.features.behaviour
        columns = self.interactions.columns
        attributes = self.features.users or self.features.items
        described = columns.time or columns.event_type or columns.context or columns.domain
        return bool(attributes or described)

    @property
    def masks_what_minima_leave_out(self) -> bool:
        """Whether a user's list leaves out also what a minimum of interactions has left out."""
        return self.interactions.has_minimum and self.recommend.rules.masks_disliked

    def usable(self, rankers: tuple[str, ...]) -> tuple[str, ...]:
        """The rankers that these interactions and attributes can feed."""
        return tuple(name for name in rankers if not self._missing(name))

    def _missing(self, ranker: str) -> list[str]:
        """The keys that a ranker needs to be set and that are not set."""
        keys: dict[Need, str] = {}
        if self.interactions.columns.time is None:
            keys["times"] = "interactions.columns.time"
        if self.features.items is None:
            keys["item_attributes"] = "features.items"
        if self.interactions.columns.domain is None:
            keys["domains"] = "interactions.columns.domain"
        if not self.towers.bagging:
            keys["bagging"] = "towers.bagging"
        if not self.towers.boosting:
            keys["boosting"] = "towers.boosting: true"
        if not self.ranks_repeats:
            keys["repeats"] = "recommend.rules.mask_seen: false"
        return [keys[need] for need in sorted(ranker_named(ranker).needs) if need in keys]

    @property
    def hybrid_members(self) -> tuple[str, ...]:
        """The members that the hybrid may blend."""
        return self.usable(self.hybrid.members)

    def fingerprint(self) -> str:
        """SHA-256 of all that a run follows from, in canonical JSON."""
        return fingerprint_of(self.model_dump(mode="json", exclude=set(_OUTSIDE_THE_FINGERPRINT)))

    def changed_keys(self, other: Mapping[str, Any]) -> list[str]:
        """The dotted keys that the fingerprint is of and whose values differ.

        Args:
            other: another configuration as plain data, with all defaults.
        """
        one = self.model_dump(mode="json")
        return [
            found
            for name in sorted(one.keys() | other.keys())
            for found in keys_of_differences(
                one.get(name), other.get(name), name, _OUTSIDE_THE_FINGERPRINT.__contains__
            )
        ]


def load_config(path: str | Path, overrides: tuple[str, ...] = ()) -> Config:
    """Read a YAML file, apply `section.key=value` overrides, and validate the whole.

    Raises:
        ConfigError: the file cannot be read as YAML, or a key or value is wrong; the message
            names each.
    """
    file = Path(path)
    data = data_of_file(file)
    for override in overrides:
        apply_override(data, override)
    return parse_config(data, str(file))


def parse_config(data: dict[str, Any], origin: str) -> Config:
    """Validate plain data as a Config; `origin` is named in the error."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        problems = "\n".join(f"  {problem}" for problem in _problems(error))
        raise ConfigError(f"config {origin} is not valid:\n{problems}") from error


def _problems(error: ValidationError) -> list[str]:
    """What is wrong, each with its key."""
    return [
        _describe(problem)
        for problem in error.errors()
        # It follows from another error of the same section.
        if problem["type"] != "default_factory_not_called"
    ]


def _describe(problem: Any) -> str:
    place = ".".join(str(part) for part in _keys(problem["loc"]))
    if not place:
        return _reason(problem)
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown key; remove it or correct its spelling{_meant(problem['loc'])}"
    if problem["type"] == "missing":
        return f"{place}: missing; add it"
    if problem["type"] == "value_error":
        return f"{place}: {_reason(problem)}"
    if problem["input"] is None:
        return (
            f"{place}: {_reason(problem)}, and nothing stands there; remove it to have its default"
        )
    return f"{place}: {_reason(problem)}, found {problem['input']!r}"


def _keys(place: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The keys that lead to a place.

    Pydantic also tells what a dimension of a search is, and which of several types it tried.
    """
    place = tuple(part for part in place if not str(part).startswith(_TRIED_TYPES))
    return (*place[:3], *place[4:]) if place[:2] == _SEARCH else place


def _meant(place: tuple[str | int, ...]) -> str:
    """Words for what an unknown key may be: one of its name elsewhere, or one like it."""
    *sections, unknown = place
    elsewhere = list(_places_of(str(unknown), Config, ""))
    if 0 < len(elsewhere) <= _SHOWN_PLACES:
        return f", or give it as {' or '.join(elsewhere)}"
    return likely_spelling(str(unknown), _keys_of(sections))


def _places_of(name: str, section: type[Section], key: str) -> Iterator[str]:
    """The keys of that name in a section and in those within it."""
    for own, field in section.model_fields.items():
        place = f"{key}.{own}" if key else own
        if own == name:
            yield place
        inner = _section_within(field.annotation)
        if inner is not None:
            yield from _places_of(name, inner, place)


def _keys_of(sections: list[str | int]) -> tuple[str, ...]:
    """The keys of a section of the config, or none where it is not one."""
    model: type[Section] = Config
    for name in sections:
        field = model.model_fields.get(str(name))
        inner = None if field is None else _section_within(field.annotation)
        if inner is None:
            return ()
        model = inner
    return tuple(model.model_fields)


def _section_at(key: str) -> type[Section] | None:
    """The section that stands, or may stand, at a dotted key of the config; None for a value."""
    section: type[Section] | None = Config
    for name in key.split("."):
        if section is None:
            return None
        section = _section_within(section.model_fields[name].annotation)
    return section


def _key_of_a_number(section: type[Section]) -> str | None:
    """The first key of a section, or else of one within it, that holds a number by default."""
    for name, field in section.model_fields.items():
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            return name
    for name, field in section.model_fields.items():
        inner = _section_within(field.annotation)
        within = None if inner is None else _key_of_a_number(inner)
        if within is not None:
            return f"{name}.{within}"
    return None


def _section_within(annotation: Any) -> type[Section] | None:
    """The section that a type is, or may be."""
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, Section) else None
    inner = (_section_within(one) for one in get_args(annotation))
    return next((section for section in inner if section is not None), None)


def _reason(problem: Any) -> str:
    """What is wrong, in words that need no knowledge of Python."""
    if problem["type"] in {"model_type", "model_attributes_type"}:
        is_range = problem["loc"][:2] == _SEARCH and problem["loc"][3:] == (RANGE,)
        keys = "keys low and high, or values" if is_range else "keys"
        return f"Input should be a section with {keys}"
    if problem["type"] == "string_type":
        return "Input should be text, in quotes where it looks like a number or a date"
    words = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] in {"tuple_type", "too_short"}:
        return words.replace("tuple", "list").replace("Tuple", "List")
    return words.replace("a valid dictionary", "keys with values")


def sources_of(config: Config) -> Iterator[tuple[str, TableSource, tuple[str, ...]]]:
    """Each table of the owner's: the config's key, the source, the columns that it must have."""
    columns = config.interactions.columns
    id_parts = columns.parts_of_item_id
    pair = (columns.user, columns.item, *id_parts)
    rated = config.ratings.enabled and columns.weight is not None
    held_out = (*pair, columns.weight or "") if rated else pair
    named = (*pair, columns.time, columns.weight, columns.event_type, *columns.context)
    required = tuple(column for column in named if column is not None)
    yield INTERACTIONS_SOURCE, config.interactions.source, required
    if config.split.test is not None:
        yield "split.test", config.split.test, held_out
    if config.split.validation is not None:
        yield "split.validation", config.split.validation, held_out
    if config.features.users is not None:
        segments = config.recommend.default_segments
        named_users = (*config.features.users.named_columns, *((segments,) if segments else ()))
        yield "features.users", config.features.users.source, tuple(dict.fromkeys(named_users))
    if config.features.items is not None:
        attributes = (*config.features.items.named_columns, *id_parts)
        yield "features.items", config.features.items.source, attributes
    rules = config.recommend.rules
    if rules.allowed_items is not None:
        ids = (rules.allowed_items.item, *id_parts)
        yield "recommend.rules.allowed_items", rules.allowed_items, ids
    if rules.excluded_items is not None:
        ids = (rules.excluded_items.item, *id_parts)
        yield "recommend.rules.excluded_items", rules.excluded_items, ids
    if rules.excluded_pairs is not None:
        ids = (rules.excluded_pairs.user, rules.excluded_pairs.item, *id_parts)
        yield "recommend.rules.excluded_pairs", rules.excluded_pairs, ids


def columns_of_lists(config: Config) -> Iterator[tuple[str, TableSource, tuple[str, ...]]]:
    """As `sources_of`: the columns of the items' attributes that published lists depend on."""
    items = config.features.items
    if items is not None:
        for key, column in config.recommend.item_columns().items():
            yield key, items.source, (column,)
