"""The owner's data: interactions, their split into folds, attributes and features."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from m6rec.config.base import (
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
    Share,
    TableSource,
)

FeatureKind = Literal["numeric", "categorical", "multi_valued", "text", "image", "ignore"]


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
