"""What is published and what is measured: lists, rules, evaluation, ablation."""

from typing import Any, Literal, assert_never

from pydantic import Field, field_validator, model_validator

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
    Strength,
    TableSource,
)
from m6rec.config.sentences import Language, read_sentences
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


class AtMostConfig(Section):
    """A quota: how many items of one value of a column a list may hold, such as two of a brand."""

    column: str | None = Field(
        default=None,
        description="The column of `features.items` whose values are counted, such as `brand`;"
        " without it, there is no quota. Items without a value are not counted.",
    )
    count: PositiveInt = Field(
        default=2, description="The most items of one value that a list may hold."
    )


class RulesConfig(Section):
    """Business rules that published lists obey."""

    allowed_items: ItemTable | None = Field(
        default=None,
        description="The items that lists may hold; without it, all that have interactions or stand"
        " in `features.items`.",
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
    at_most: AtMostConfig = Field(
        default=AtMostConfig(), description="A quota for each value of a column of the items."
    )

    @property
    def masks_disliked(self) -> bool:
        """Whether lists leave out what the user has seen and does not like."""
        return self.mask_seen is True or self.mask_seen == "interacted"


class ReasonsConfig(Section):
    """Why an item is in a list: reasons, and the sentences that say them.

    In place of the keys, one number is their count.
    """

    count: NonNegativeInt = Field(
        default=3,
        description="The most reasons that are given for an item of a list. Each has its share of"
        " what speaks for the item. What is owed to no single item or attribute, as much of what"
        " towers say, is named where it is nine tenths or more; else it is what the shares leave.",
    )
    language: Language | None = Field(
        default=None,
        description="The language of column `sentences` of table `recommendations`, in which every"
        " reason is a sentence; without it, there are none.",
    )
    file: str | None = Field(
        default=None,
        description="A YAML file with sentences of your own, which take the place of those of the"
        " language: `history`, `after`, `again`, `attribute`, `popular`, `segment` (popular in the"
        " segment of `default_segments`), `taste`, `others`, `mix`, with `{value}` for what is"
        " named and `{share}` for its share, such as 15%.",
    )

    @model_validator(mode="after")
    def _file_has_language(self) -> "ReasonsConfig":
        if self.file is not None and self.language is None:
            raise ValueError("file needs language, whose sentences are used where it has none")
        return self

    def sentences(self) -> dict[str, str] | None:
        """The template of each kind of reason; None where there are no sentences.

        The file is read where sentences are made, and before a run. The configuration of a
        finished run can be read without it.

        Raises:
            ConfigError: the file cannot be read, has another key, or a template with another field.
        """
        return None if self.language is None else read_sentences(self.language, self.file)


class DiversityConfig(Section):
    """How much the items of a list differ: re-ranking by maximal marginal relevance.

    Each next item of a list is the one with the most of (1 - strength) relevance - strength
    likeness, where likeness is the cosine to the most similar item above it (Carbonell and
    Goldstein 1998). Measured lists of all rankers are re-ranked like the published ones.
    """

    strength: Strength = Field(
        default=0.0,
        description="How much likeness counts against relevance: 0 leaves lists as they are, 1 does"
        " not look at relevance after the first item.",
    )
    column: str | None = Field(
        default=None,
        description="The column of `features.items` by whose values items are alike, such as"
        " `genre`; without it, items are alike by the directions of their ALS factors, in which"
        " content stands in for new items. With a column, metric `intra_list_similarity` is"
        " measured also where the strength is 0.",
    )


class CalibrationConfig(Section):
    """How far the mix of a category in a list is that of the user's own items.

    Each next item of a list is the one with the most of (1 - strength) relevance - strength KL,
    where KL is the divergence of the list's mix from that of the user's history (Steck 2018).
    Measured lists of all rankers are re-ranked like the published ones.
    """

    column: str | None = Field(
        default=None,
        description="The column of `features.items` with the category, such as `genre`; without"
        " it, lists are not calibrated. With it, metric `calibration`, the divergence, is measured:"
        " less is better.",
    )
    strength: Strength = Field(
        default=0.5,
        description="How much the divergence counts against relevance; 0 leaves lists as they are,"
        " and measures them.",
    )


class RecommendConfig(Section):
    """The published lists."""

    ranker: RankerName = Field(default=HYBRID, description="The ranker whose lists are published.")
    top_n: PositiveInt = Field(default=20, description="The number of items in a list.")
    reasons: ReasonsConfig = Field(default=ReasonsConfig(), description="Why an item is in a list.")
    rules: RulesConfig = Field(
        default=RulesConfig(), description="The business rules that lists obey."
    )
    diversity: DiversityConfig = Field(
        default=DiversityConfig(), description="How much the items of a list differ."
    )
    calibration: CalibrationConfig = Field(
        default=CalibrationConfig(),
        description="How closely a list follows the user's own mix of categories.",
    )
    candidates: PositiveInt = Field(
        default=100,
        description="The number of a user's best items from which `diversity`, `calibration` and"
        " `rules.at_most` choose a list, or the list's length where that is more. A quota looks"
        " further where these do not fill the list.",
    )
    contexts: dict[str, dict[str, ColumnValue]] = Field(
        default_factory=dict,
        description="Contexts by name, in each of which every user gets a list besides the one"
        " without a context, such as `weekday morning: {hour: 8, weekday: 2}`. The keys are columns"
        " of `interactions.columns.context` and, with `towers.sequence.context.clock`, `hour` and"
        " `weekday`; a key that is left out is not known.",
    )

    default_segments: str | None = Field(
        default=None,
        description="A column of `features.users` by whose values users are divided into segments,"
        " each of which has a list of its own for users who are unknown, such as `country`; of a"
        " column of lists, each value is a segment. Without it, there is only the list of what is"
        " most popular with everyone.",
    )
    default_segment_users: PositiveInt = Field(
        default=10,
        description="The least number of users with interactions from which on a segment has a list"
        " of its own, so that no list tells what a single user had.",
    )

    @field_validator("reasons", mode="before")
    @classmethod
    def _count_of_reasons(cls, given: Any) -> Any:
        return {"count": given} if isinstance(given, int) else given

    @property
    def reranks(self) -> bool:
        """Whether lists are other than the best items in their order."""
        calibrates = self.calibration.column is not None and self.calibration.strength > 0.0
        return self.diversity.strength > 0.0 or calibrates or self.rules.at_most.column is not None

    def item_columns(self) -> dict[str, str]:
        """The columns of the items' attributes that lists depend on, by the key that names them."""
        named = {
            "recommend.diversity.column": self.diversity.column,
            "recommend.calibration.column": self.calibration.column,
            "recommend.rules.at_most.column": self.rules.at_most.column,
        }
        return {key: column for key, column in named.items() if column is not None}


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
        description="The id of another run in the same lake whose lists this run is compared with."
        " It has the same interactions (if not their version, `weighting`, `half_life_days` or"
        " contexts), split, seed, candidates and masks, lists as long of the same rankers, and as"
        " many users measured on validation.",
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
