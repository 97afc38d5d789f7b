"""The owner's data: interactions, their split into folds, attributes and features."""

import re
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from m6rec.config.base import (
    Cell,
    ColumnValue,
    FiniteFloat,
    IsNumber,
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
# Kinds of columns that only the towers read; items may have several such columns.
PictureKind = Literal["image", "video"]
FeatureKind = Literal["numeric", TokenKind, "embedding", "text_embedding", PictureKind, "ignore"]
# The languages whose stop words Spark has.
StopWordLanguage = Literal[
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "hungarian",
    "italian",
    "norwegian",
    "portuguese",
    "russian",
    "spanish",
    "swedish",
    "turkish",
]
TextLanguage = Literal["auto", "none", StopWordLanguage]
TimeUnit = Literal["timestamp", "seconds", "milliseconds", "microseconds", "nanoseconds"]
NormaliseIds = Literal["none", "integer"]
IdDifference = Literal["case", "form"]
SuspicionAction = Literal["keep", "weight", "quarantine"]
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
        except (ValueError, OSError, ZoneInfoNotFoundError):
            raise ValueError(
                f"there is no time zone {name}; give one such as Asia/Tokyo, UTC or +09:00"
            ) from None
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]


def outside_quotes(pattern: str) -> str:
    """What of a pattern does not stand for itself."""
    return "".join(pattern.split("'")[::2])


def _pattern_of_spark(pattern: str) -> str:
    """Refuse what is no pattern of Spark's, though it is one elsewhere."""
    sign = next((one for one in "%Y" if one in outside_quotes(pattern)), None)
    if sign is not None:
        raise ValueError(
            f"{pattern} has {sign!r}, which Spark's patterns have not; write it as in"
            " dd.MM.yyyy HH:mm:ss"
        )
    return pattern


TimePattern = Annotated[str, AfterValidator(_pattern_of_spark)]


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
    domain: str | None = Field(
        default=None,
        description="The column with the domain of the item, such as the shop. Users are shared by"
        " all domains; items are apart, so that an id counts within its domain alone. Every user"
        " gets a list in each domain. The tables of test, validation, items and rules need a column"
        " of this name, too.",
    )

    @property
    def parts_of_item_id(self) -> tuple[str, ...]:
        """The columns that a table of items needs besides the item's id."""
        return () if self.domain is None else (self.domain,)

    @model_validator(mode="after")
    def _user_and_item_differ(self) -> "InteractionColumns":
        if self.user == self.item:
            raise ValueError(
                f"user and item are both the column {self.user}; name the column of each"
            )
        return self


def _default_weighting(given: dict[str, Any]) -> Weighting:
    """`weight` where the owner weighs events or lets them age, since then weights should count."""
    return "weight" if given.get("event_weights") or given.get("half_life_days") else "binary"


class SuspiciousUsersConfig(Section):
    """What becomes of users who are hardly people.

    A user is suspicious who has nearly the same items as an earlier user, or whose events come at
    equal gaps. Users with few items are not judged, since they are alike by chance.
    """

    action: SuspicionAction = Field(
        default="keep",
        description="What becomes of them: nothing (`keep`), their events weigh less (`weight`), or"
        " their events go to the table `quarantine` with the reason (`quarantine`), where they are"
        " not known as what the user has, so that a list may offer it.",
    )
    weight: ProperShare = Field(
        default=0.1,
        description="The factor by which action `weight` multiplies the weights of their events.",
    )
    minimum_items: PositiveInt = Field(
        default=20, description="The least number of items, and of gaps, of a user who is judged."
    )
    copy_likeness: Annotated[float, Field(ge=0.5, le=1.0), IsNumber] = Field(
        default=0.8,
        description="The share of the items of two users together that both have, from which on the"
        " later user is a near-copy of the earlier one.",
    )
    regular_share: ProperShare = Field(
        default=0.5,
        description="The share of equal gaps, in seconds, among a user's gaps between times, from"
        " which on the user is as regular as a clock.",
    )


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
    time_format: TimePattern | None = Field(
        default=None,
        description="How a time is written, in Spark's patterns, such as `dd.MM.yyyy HH:mm`;"
        " without it, the format is inferred from the first rows where they leave no doubt.",
    )
    normalise_ids: NormaliseIds = Field(
        default="none",
        description="Whether ids that are whole numbers are written as such in all tables"
        " (`integer`), so that `17850.0` and `017850` are `17850`. Where many ids are the same"
        " number, a run stops until this is set; with `none` they are several ids.",
    )
    trim_ids: bool = Field(
        default=False,
        description="Whether white space around ids is taken away in all tables.",
    )
    unify_ids: tuple[IdDifference, ...] = Field(
        default=(),
        description="Differences between ids that do not count in all tables: `case`, by which ids"
        " are written in lower case, and `form`, by which Unicode forms that look alike are one"
        " (NFKC), such as a letter with its accent as one character or two, full width, the"
        " no-break space, and characters without width.",
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
    event_weights: dict[ColumnValue, FiniteFloat] = Field(
        default_factory=dict,
        description="The factor by which each event type multiplies an event's weight; events of"
        " a type that is not listed go to the table `quarantine`. A negative one, such as that of a"
        " return, needs `cancellations: cancel`.",
    )
    half_life_days: PositiveFloat | None = Field(
        default=None,
        description="The age, in days before the latest event, at which an event counts half."
        " Events of a provided validation table, which the last fit learns from, count whole.",
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
        description="The least number of items of a user; users with fewer are left out. Those who"
        " get lists by their attributes are listed what they had only where"
        " `recommend.rules.mask_seen` is not `interacted`.",
    )
    minimum_item_interactions: PositiveInt = Field(
        default=1,
        description="The least number of users of an item; items with fewer are left out. Those"
        " with attributes count as new, and are listed to users who had them only where"
        " `recommend.rules.mask_seen` is not `interacted`.",
    )
    maximum_events_per_user_per_day: PositiveInt | None = Field(
        default=None,
        description="The most events that a user may have on a day; all events of a user with"
        " more on any day go to the table `quarantine`.",
    )
    suspicious_users: SuspiciousUsersConfig = Field(
        default=SuspiciousUsersConfig(),
        description="What becomes of users who are hardly people: near-copies and clockwork.",
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
    def _negative_events_cancel(self) -> "InteractionsConfig":
        negative = [name for name, weight in self.event_weights.items() if weight < 0]
        if negative and self.cancellations != "cancel":
            raise ValueError(
                f"event_weights.{negative[0]} is negative, expected 0 or more; where such events"
                " take back what the user had, set cancellations: cancel"
            )
        return self

    @model_validator(mode="after")
    def _suspicion_can_weigh(self) -> "InteractionsConfig":
        if self.suspicious_users.action != "weight":
            return self
        against = None
        if self.weighting == "binary":
            against = "weighting: binary, which makes every weight 1; set it to weight or log"
        elif self.positive_minimum is not None:
            against = "positive_minimum, which no event of theirs might reach; remove it"
        if against is not None:
            raise ValueError(
                f"suspicious_users.action: weight does not go with {against}, or set the action to"
                " quarantine"
            )
        return self

    @model_validator(mode="after")
    def _weights_that_are_given_count(self) -> "InteractionsConfig":
        above_nothing = {weight for weight in self.event_weights.values() if weight > 0}
        without_effect = {
            # Event weights that are all alike say which types count. Others still decide which
            # pairs reach positive_minimum; half_life_days does not.
            "event_weights": len(above_nothing) > 1
            and self.positive_minimum is None
            and not self.has_cancelling_events,
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
    def has_minimum(self) -> bool:
        """Whether users or items with few interactions are left out."""
        return max(self.minimum_user_interactions, self.minimum_item_interactions) > 1

    @property
    def has_cancelling_events(self) -> bool:
        """Whether events of some type take back what a user had."""
        return any(weight < 0 for weight in self.event_weights.values())

    @property
    def has_repetitions(self) -> bool:
        """Whether an event that a user repeats is told from a row that came twice."""
        return self.columns.time is not None or self.duplicates == "sum"

    @property
    def weights_differ(self) -> bool:
        """Whether the models can see pairs of different weights."""
        return self.weighting != "binary" and (self.events_differ or self.duplicates == "sum")

    @property
    def events_differ(self) -> bool:
        """Whether events can have different weights."""
        given = self.columns.weight, self.event_weights, self.half_life_days
        return any(given) or self.suspicious_users.action == "weight"


class SplitConfig(Section):
    """How the pairs are divided into train, validation and test."""

    strategy: TestStrategy = Field(
        default="auto",
        description="Which pairs are held out for the test: the owner's own (`provided`), those"
        " after one moment for all users (`temporal`), the latest or a random share of each user's"
        " (`last`, `random`), all pairs of a share of the items or users (`cold_items`,"
        " `cold_users`), or none; `auto` is `last` where interactions have a time, else `random`."
        " Of pairs of one time, chance decides; where repeats are not ranked, what came after a"
        " held-out pair and was not liked is held out with it.",
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
        " random items and half items most like one another (`mixed`), or at random and, in"
        " addition, nearly all pairs of three items in a hundred (`random_and_new`), for catalogues"
        " in which new items matter. `auto` is the strategy of the test. Where that is `provided`"
        " or `none`, it is `last` where interactions have a time, else `random`: validation never"
        " looks at a provided test.",
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
        " values in an array or a text with separators (`multi_valued`), as words (`text`), as a"
        " vector of numbers of your own making or several such vectors (`embedding`), as what"
        " `features.text_model` makes of a text (`text_embedding`), as an item's picture or video"
        " in bytes or under a path of any file system that Spark reads (`image`, `video`), or not"
        " at all (`ignore`). The kind of a column that is not"
        " listed is inferred from its type and values.",
    )
    date_formats: dict[str, TimePattern] = Field(
        default_factory=dict,
        description="How the dates of columns are written, in Spark's patterns, such as"
        " `{released: dd/MM/yyyy}`; several ways as `[dd/MM/yyyy][yyyy-MM-dd]`. It is needed where"
        " day and month could be either, or where rows differ. Such columns are numeric.",
    )

    @model_validator(mode="after")
    def _check_dates(self) -> "AttributesSource":
        for name in self.date_formats:
            if self.kinds.get(name, "numeric") != "numeric":
                raise ValueError(
                    f"column {name} stands in date_formats, whose columns are numeric, and kinds"
                    f" says {self.kinds[name]}; leave it out of one of them"
                )
        return self

    @property
    def stated_kinds(self) -> dict[str, FeatureKind]:
        """The kinds that the configuration states, by column."""
        dates: dict[str, FeatureKind] = dict.fromkeys(self.date_formats, "numeric")
        return {**dates, **self.kinds}

    @property
    def named_columns(self) -> tuple[str, ...]:
        """The columns that the table has to have."""
        title = () if self.title is None else (self.title,)
        return (self.id, *title, *self.stated_kinds)


class FeaturesConfig(Section):
    """The attributes of users and items, and how they become features."""

    users: AttributesSource | None = Field(
        default=None, description="The table of the users' attributes."
    )
    items: AttributesSource | None = Field(
        default=None, description="The table of the items' attributes."
    )
    language: TextLanguage = Field(
        default="english",
        description="The language whose stop words are left out of text; `auto` tells it for each"
        " column by the stop words that its rows have, and leaves out none where it has few of any"
        " language. Text of scripts without spaces between words, such as Chinese, Japanese and"
        " Thai, is split into characters and pairs of them whatever the language.",
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
        " are attributes, times, event types, context or domains.",
    )
    text_model: str | None = Field(
        default=None,
        description="The folder of the sentence encoder for columns of kind `text_embedding`, or"
        " the installed package that brings it, in the format of sentence-transformers (BERT and"
        " its kin, with WordPiece) or of model2vec.",
    )
    maximum_vectors: PositiveInt = Field(
        default=8,
        description="The most vectors of a row that are kept of a column of several vectors, such"
        " as the frames of a video; of more, as many at even distances.",
    )
    image_size: PositiveInt = Field(
        default=64,
        description="The height and width, in pixels, to which images and frames of videos are"
        " scaled.",
    )
    video_frames: PositiveInt = Field(
        default=8,
        description="The number of frames of a video that are looked at, at even times.",
    )

    @model_validator(mode="after")
    def _kinds_have_what_they_need(self) -> "FeaturesConfig":
        for side, source in (("users", self.users), ("items", self.items)):
            kinds = {} if source is None else source.kinds
            encoded = [name for name, kind in kinds.items() if kind == "text_embedding"]
            if encoded and self.text_model is None:
                raise ValueError(
                    f"{side}.kinds: column {encoded[0]} is of kind text_embedding, which needs"
                    " features.text_model, the folder of a sentence encoder"
                )
            pictures = [name for name, kind in kinds.items() if kind in get_args(PictureKind)]
            if side == "users" and pictures:
                raise ValueError(
                    f"users.kinds: column {pictures[0]} is of kind {kinds[pictures[0]]}, which only"
                    " items have; give it another kind, such as ignore"
                )
        return self
