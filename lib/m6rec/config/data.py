"""The owner's data: interactions, their split into folds, attributes and features."""

import re
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from m6rec.config.base import (
    Cell,
    FiniteFloat,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ProperShare,
    Section,
    Share,
    TableSource,
)

# Kinds of columns whose values are words.
TokenKind = Literal["categorical", "multi_valued", "text"]
FeatureKind = Literal["numeric", TokenKind, "image", "ignore"]
TimeUnit = Literal["timestamp", "seconds", "milliseconds", "microseconds", "nanoseconds"]
NormaliseIds = Literal["none", "integer"]
Cancellations = Literal["quarantine", "cancel"]
Duplicates = Literal["sum", "max", "last"]
Weighting = Literal["binary", "weight", "log"]
# How the test is held out once `auto` is resolved.
ResolvedTestStrategy = Literal[
    "provided", "temporal", "last", "random", "cold_items", "cold_users", "none"
]
TestStrategy = Literal["auto", ResolvedTestStrategy]
# What a fold is held out by once `auto` is resolved.
HoldoutStrategy = Literal[
    "temporal",
    "last",
    "highest_ids",
    "random",
    "random_and_new",
    "mixed",
    "cold_items",
    "cold_users",
]
ValidationStrategy = Literal[
    "auto", "temporal", "last", "highest_ids", "random", "random_and_new", "mixed", "cold_items"
]


_OFFSET = re.compile(r"[+-]\d{2}:\d{2}")


def _known_zone(name: str) -> str:
    if _OFFSET.fullmatch(name) is None:
        try:
            ZoneInfo(name)
        except (ValueError, OSError):
            raise ValueError(
                f"there is no time zone {name}; give one such as Asia/Tokyo, UTC or +09:00"
            ) from None
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]


class InteractionColumns(Section):
    """The owner's names for the columns of the interaction table."""

    user: str = Field(
        default="user_id",
        description="The column with the user's id, which is text or a whole number.",
    )
    item: str = Field(
        default="item_id",
        description="The column with the item's id, which is text or a whole number.",
    )
    time: str | None = Field(
        default=None,
        description="The column with the time of the event, in `interactions.time_unit`.",
    )
    weight: str | None = Field(
        default=None,
        description="The column with the weight of the event, such as a rating or a quantity.",
    )
    event_type: str | None = Field(
        default=None,
        description="The column with the type of the event, such as view or purchase.",
    )
    context: tuple[str, ...] = Field(
        default=(),
        description="Columns with the circumstances of the event, such as the device, which are"
        " kept beside it, become features of behaviour and, where interactions have times, are the"
        " context in which the towers that know order rank.",
    )


def _default_weighting(given: dict[str, Any]) -> Weighting:
    """Whoever gives weights to events or lets them age wants them to count."""
    return "weight" if given.get("event_weights") or given.get("half_life_days") else "binary"


class InteractionsConfig(Section):
    """The interaction table, and how events become weighted pairs of a user and an item."""

    source: TableSource = Field(description="The table of interactions, one event a row.")
    columns: InteractionColumns = Field(
        default=InteractionColumns(), description="The names of its columns."
    )
    time_unit: TimeUnit = Field(
        default="timestamp",
        description="How the time column is written: as a timestamp, or as a number of seconds,"
        " milliseconds, microseconds or nanoseconds since 1970 in UTC.",
    )
    time_zone: TimeZone = Field(
        default="UTC",
        description="The zone of times that have none, such as `Asia/Tokyo` or `+09:00`.",
    )
    time_format: str | None = Field(
        default=None,
        description="How a time is written, in Spark's patterns, such as `dd.MM.yyyy HH:mm`;"
        " without it, the format is told from the first rows where they leave no doubt.",
    )
    normalise_ids: NormaliseIds = Field(
        default="none",
        description="Whether ids that are whole numbers are written as such in all tables"
        " (`integer`), so that `17850.0` and `017850` are `17850`.",
    )
    trim_ids: bool = Field(
        default=False,
        description="Whether white space around ids is taken away in all tables.",
    )
    not_a_user: tuple[Cell, ...] = Field(
        default=(),
        description="Ids that stand for no user, such as `guest` or `-1`; their events go to the"
        " table `quarantine`.",
    )
    cancellations: Cancellations = Field(
        default="quarantine",
        description="What becomes of negative weights, such as the quantities of cancelled orders:"
        " they go to the table `quarantine`, or they cancel what the same user had of the same"
        " item (`cancel`).",
    )
    event_weights: dict[str, NonNegativeFloat] = Field(
        default_factory=dict,
        description="The factor by which each event type multiplies an event's weight; events of"
        " a type that is not listed go to the table `quarantine`.",
    )
    half_life_days: PositiveFloat | None = Field(
        default=None,
        description="The age, in days before the latest event, at which an event counts half.",
    )
    duplicates: Duplicates = Field(
        default="last",
        description="How several events of a user with an item become one weight: their sum, the"
        " largest, or that of the last event.",
    )
    weighting: Weighting = Field(
        default_factory=_default_weighting,
        description="What the models see of a pair's weight: 1 whatever the weight is (`binary`),"
        " the weight itself, or log(1 + weight); without it, `weight` where `event_weights` or"
        " `half_life_days` is set, else `binary`.",
    )
    positive_minimum: FiniteFloat | None = Field(
        default=None,
        description="The least weight, before `half_life_days` and `weighting`, with which a pair"
        " counts as liked; a pair below it is seen, but is neither learned from nor held out.",
    )
    minimum_user_interactions: PositiveInt = Field(
        default=1,
        description="The least number of items of a user; users with fewer are left out.",
    )
    minimum_item_interactions: PositiveInt = Field(
        default=1,
        description="The least number of users of an item; items with fewer are left out.",
    )
    maximum_events_per_user_per_day: PositiveInt | None = Field(
        default=None,
        description="The most events that a user may have on a day; all events of a user with"
        " more on any day go to the table `quarantine`.",
    )

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

    @model_validator(mode="after")
    def _weights_that_are_given_count(self) -> "InteractionsConfig":
        without_effect = {
            # By them a pair reaches positive_minimum or not; age has no part in that.
            "event_weights": bool(self.event_weights) and self.positive_minimum is None,
            "half_life_days": self.half_life_days is not None,
        }
        found = [key for key, is_without in without_effect.items() if is_without]
        if self.weighting == "binary" and found:
            raise ValueError(
                f"{' and '.join(found)} cannot have an effect under weighting: binary, which makes"
                f" every weight 1; set weighting to weight or log, or remove {' and '.join(found)}"
            )
        return self

    @property
    def weights_differ(self) -> bool:
        """Whether the models can see pairs of different weights."""
        return self.weighting != "binary" and (self.events_differ or self.duplicates == "sum")

    @property
    def events_differ(self) -> bool:
        """Whether events can have different weights."""
        given = self.columns.weight, self.event_weights, self.half_life_days
        return any(given)


class SplitConfig(Section):
    """How the pairs are divided into train, validation and test."""

    strategy: TestStrategy = Field(
        default="auto",
        description="Which pairs are held out for the test: the owner's own (`provided`), those"
        " after one moment for all users (`temporal`), the latest or a random share of each user's"
        " (`last`, `random`), all pairs of a share of the items or users (`cold_items`,"
        " `cold_users`), or none; `auto` is `last` where interactions have a time, else `random`.",
    )
    test_share: Share = Field(
        default=0.2,
        description="The share that the test holds out: of each user's pairs, of all pairs, of the"
        " items or of the users, as `strategy` says.",
    )
    test_items: PositiveInt | None = Field(
        default=None,
        description="The number of each user's items that strategies `last` and `random` hold out"
        " for the test, in place of `test_share`; of interactions, where"
        " `recommend.rules.mask_seen` is false.",
    )
    test: TableSource | None = Field(
        default=None,
        description="The owner's table of test pairs, for strategy `provided`.",
    )
    validation: TableSource | None = Field(
        default=None,
        description="The owner's table of validation pairs, for strategy `provided`; without it,"
        " validation is held out of the training pairs.",
    )
    validation_strategy: ValidationStrategy = Field(
        default="auto",
        description="Which of the training pairs are held out for validation: by the strategies of"
        " the test, each user's items with the highest ids (`highest_ids`), or of each user half"
        " random items and half items most like one another (`mixed`), or at random and, beside"
        " that, nearly all pairs of three items in a hundred (`random_and_new`), for catalogues in"
        " which new items matter. `auto` is the strategy of"
        " the test. Where that is `provided` or `none`, it is `last` where interactions have a"
        " time, else `random`: of a provided test, nothing is looked at.",
    )
    validation_share: ProperShare = Field(
        default=0.1,
        description="The share that validation holds out, as `validation_strategy` says.",
    )

    @model_validator(mode="after")
    def _provided_has_test(self) -> "SplitConfig":
        if self.strategy == "provided" and self.test is None:
            raise ValueError("strategy provided needs split.test, the owner's test table")
        if self.strategy != "provided" and (self.test or self.validation):
            raise ValueError("split.test and split.validation need strategy provided")
        return self


class AttributesSource(Section):
    """A table of users or items with a row each and attributes as columns."""

    source: TableSource = Field(description="The table.")
    id: str = Field(description="The column with the user's or item's id.")
    title: str | None = Field(
        default=None,
        description="The column with the name that people know an item by; it is also read as"
        " text unless `kinds` says otherwise.",
    )
    kinds: dict[str, FeatureKind] = Field(
        default_factory=dict,
        description="How columns are read: as a number, as one value (`categorical`), as several"
        " values in an array or a text with separators (`multi_valued`), as words (`text`), as an"
        " item's picture in bytes or under a path (`image`), or not at all (`ignore`). The kind of"
        " a column that is not listed is inferred from its type and values.",
    )


class FeaturesConfig(Section):
    """The attributes of users and items, and how they become features."""

    users: AttributesSource | None = Field(
        default=None, description="The table of the users' attributes."
    )
    items: AttributesSource | None = Field(
        default=None, description="The table of the items' attributes."
    )
    vocabulary_size: PositiveInt = Field(
        default=50_000,
        description="The most words or values of a text or multi-valued column that are told"
        " apart, the most frequent first; of a categorical column, `text_rank` bounds them as"
        " well.",
    )
    minimum_count: PositiveInt = Field(
        default=2,
        description="The number of rows in which a word or value must stand to be told apart from"
        " the unknown ones.",
    )
    text_rank: PositiveInt = Field(
        default=256,
        description="The number of dimensions to which a text or multi-valued column with more"
        " words is reduced, and the most values of a categorical column that are told apart.",
    )
    minimum_variance: NonNegativeFloat = Field(
        default=1e-6,
        description="The variance over users or items that a feature must exceed to be kept.",
    )
    maximum_features: PositiveInt = Field(
        default=512,
        description="The number of principal components to which the features of users, or of"
        " items, are reduced where there are more of them.",
    )
    clip: PositiveFloat = Field(
        default=5.0,
        description="The bound, in standard deviations, to which features are clipped.",
    )
    behaviour: bool | None = Field(
        default=None,
        description="Whether features are made of what users do and items undergo (activity,"
        " popularity, breadth of taste, times, event types); without it, they are made where there"
        " are attributes, times, event types or context.",
    )
    image_size: PositiveInt = Field(
        default=32,
        description="The height and width, in pixels, to which images are scaled.",
    )

    @model_validator(mode="after")
    def _items_have_one_image(self) -> "FeaturesConfig":
        for side, source in (("users", self.users), ("items", self.items)):
            kinds = {} if source is None else source.kinds
            images = [name for name, kind in kinds.items() if kind == "image"]
            if side == "users" and images:
                raise ValueError(
                    f"users.kinds: column {images[0]} is of kind image, which only items have;"
                    " give it another kind, such as ignore"
                )
            if len(images) > 1:
                raise ValueError(
                    f"items.kinds: the columns {images} are of kind image, and an item has one;"
                    " give all but one the kind ignore"
                )
        return self
