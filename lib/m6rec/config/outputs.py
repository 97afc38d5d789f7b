"""What is published and what is measured: lists, rules, evaluation, ablation."""

from typing import Literal, assert_never

from pydantic import Field

from m6rec.config.base import (
    ColumnValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ProperShare,
    RankerName,
    RunId,
    Section,
    SomeOnce,
    TableSource,
)
from m6rec.config.towers import TOWER_PARTS, TowerPart
from m6rec.rankers import HYBRID, RANKER_NAMES

MaskSeen = Literal["interacted", "positive"]


class AblationConfig(Section):
    """What each part of the towers is worth, measured on validation by training without it."""

    tower_parts: tuple[TowerPart, ...] = Field(
        default=TOWER_PARTS,
        description="The parts of the towers that are taken out in turn: the hidden layers"
        " (`mlp`), the linear map that both towers share, the side features, the gate between"
        " factors and features, and the popularity term.",
    )
    seconds: NonNegativeFloat = Field(
        default=60.0,
        description="The most seconds that these trainings may take together; parts for which the"
        " time does not suffice are left out.",
    )


class ItemTable(TableSource):
    """A [table](#table) with the following column as well; each row names an item."""

    item: str = Field(default="item_id", description="The column with the item's id.")


class PairTable(ItemTable):
    """A [table of items](#table-of-items) with the following column as well.

    Each row names a user and an item.
    """

    user: str = Field(default="user_id", description="The column with the user's id.")


class RulesConfig(Section):
    """Business rules that published lists obey."""

    allowed_items: ItemTable | None = Field(
        default=None, description="The items that lists may hold; without it, all of the catalogue."
    )
    excluded_items: ItemTable | None = Field(
        default=None, description="The items that no list may hold."
    )
    excluded_pairs: PairTable | None = Field(
        default=None, description="The items that a user's own list may not hold."
    )
    mask_seen: bool | MaskSeen = Field(
        default=True,
        description="Whether a user's list leaves out the items that the user already has: all that"
        " the user has interacted with, disliked or not (`interacted`, or true), only those that"
        " count as liked by `interactions.positive_minimum` (`positive`), or none (false). Where it"
        " leaves out none, repeats are ranked as well: measured lists hold them too, validation and"
        " test hold out interactions whether or not the pair has earlier ones, and `interactions."
        "duplicates` and `weighting` say how much an item that is taken often counts.",
    )

    @property
    def masks_disliked(self) -> bool:
        """Whether lists leave out what the user has seen and does not like."""
        return self.mask_seen is True or self.mask_seen == "interacted"


class RecommendConfig(Section):
    """The published lists."""

    ranker: RankerName = Field(default=HYBRID, description="The ranker whose lists are published.")
    top_n: PositiveInt = Field(default=20, description="The number of items in a list.")
    reasons: NonNegativeInt = Field(
        default=3, description="The most reasons that are given for an item of a list."
    )
    rules: RulesConfig = Field(
        default=RulesConfig(), description="The business rules that lists obey."
    )
    contexts: dict[str, dict[str, ColumnValue]] = Field(
        default_factory=dict,
        description="Contexts by name, in each of which every user gets a list beside the one"
        " without a context, such as `weekday morning: {hour: 8, weekday: 2}`. The keys are columns"
        " of `interactions.columns.context` and, with `towers.sequence.context.clock`, `hour` and"
        " `weekday`; a key that is left out is not known.",
    )

    default_segments: str | None = Field(
        default=None,
        description="A column of `features.users` by whose values users are divided into segments,"
        " each of which has a list of its own for users who are unknown, such as `country`; without"
        " it, there is only the list of what is most popular with everyone.",
    )
    default_segment_users: PositiveInt = Field(
        default=10,
        description="The least users with interactions for whom a segment has a list of its own, so"
        " that no list tells what a single user had.",
    )


class EvaluateConfig(Section):
    """Which rankers are measured, and how."""

    candidates: Literal["all", "cold_items"] = Field(
        default="all",
        description="What measured lists are made of: all items of the catalogue that the user has"
        " not seen (and those seen, where `recommend.rules.mask_seen` is false), or only the items"
        " that training never saw (`cold_items`).",
    )
    rankers: SomeOnce[RankerName] = Field(
        default=RANKER_NAMES,
        description="The rankers that are measured; those that the data cannot feed are left out.",
    )
    ks: SomeOnce[PositiveInt] = Field(
        default=(10, 20), description="The list lengths at which metrics are measured."
    )
    maximum_validation_users: PositiveInt = Field(
        default=10_000,
        description="The most users who are measured on validation; on test, all users are.",
    )
    bootstrap_replicates: PositiveInt = Field(
        default=1_000,
        description="The number of resamples of the users from which intervals are estimated.",
    )
    confidence: ProperShare = Field(
        default=0.95,
        description="The confidence level of the intervals and comparisons.",
    )
    compare_with_run: RunId | None = Field(
        default=None,
        description="The id of another run in the same lake whose lists this run is compared with.",
    )

    @property
    def ranks_cold_items(self) -> bool:
        """Whether lists hold only items that training never saw."""
        match self.candidates:
            case "cold_items":
                return True
            case "all":
                return False
            case _:
                assert_never(self.candidates)
