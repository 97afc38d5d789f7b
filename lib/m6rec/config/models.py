"""The models and their hyperparameters."""

from typing import Literal

from pydantic import Field

from m6rec.config.base import (
    MemberName,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Section,
    Share,
    SomeOnce,
)
from m6rec.rankers import MEMBER_NAMES

Solver = Literal["conjugate_gradient", "cholesky"]
Feedback = Literal["implicit", "explicit"]


class SettingsConfig(Section):
    """The search, before any model is trained, for the settings that matter most.

    These are the ridge's exponents and penalty, the scale of recency, and the rank of ALS and its
    weights of attributes and of the unobserved. What the config sets stays as it is set.
    """

    seconds: NonNegativeFloat = Field(
        default=90.0,
        description="The seconds that the trials may take by a model of their cost on two cores; 0"
        " tries nothing.",
    )
    users: PositiveInt = Field(
        default=3_000, description="The most validation users on whom a trial is measured."
    )
    als_ranks: tuple[PositiveInt, ...] = Field(
        default=(),
        description="Ranks that are tried in place of `factors.als.rank` where items have"
        " attributes, which fill more dimensions than interactions alone, and ALS gives them a"
        " weight.",
    )


class SvdConfig(Section):
    """Randomized SVD of `D_u^-a P D_i^-b`, where P holds the weights of the pairs.

    `D_u` and `D_i` hold the number of items of each user and of users of each item. The singular
    values s are weighted by `f(s) = (s / s_0)^spectrum_power`.
    """

    rank: PositiveInt = Field(
        default=256, description="The number of singular vectors, which is the length of a factor."
    )
    oversampling: NonNegativeInt = Field(
        default=32,
        description="The number of columns that the random basis has beyond `rank`.",
    )
    power_passes: NonNegativeInt = Field(
        default=2,
        description="How often the random basis is multiplied by the matrix."
        " After few passes the basis keeps a share of what lies below the leading singular values,"
        " and the towers rank better on it (Gowalla, validation NDCG@20 of the untrained start:"
        " .130 after 2 passes, .106 after 7).",
    )
    exact: bool = Field(
        default=False,
        description="Whether the leading half of the singular values must be right to 1e-3, which"
        " takes longer.",
    )
    user_exponent: NonNegativeFloat = Field(
        default=0.5, description="The exponent a, which damps users with many items."
    )
    item_exponent: NonNegativeFloat = Field(
        default=0.3, description="The exponent b, which damps items with many users."
    )
    spectrum_power: NonNegativeFloat = Field(
        default=0.25,
        description="The exponent of the singular values: at 0 all dimensions count alike.",
    )


class AlsConfig(Section):
    """Alternating least squares on implicit feedback, or on ratings."""

    rank: PositiveInt = Field(default=128, description="The length of a factor.")
    iterations: PositiveInt = Field(
        default=16, description="How often users and items are solved in turn."
    )
    regularisation: NonNegativeFloat = Field(
        default=0.01, description="The penalty on squared lengths of factors."
    )
    frequency_exponent: NonNegativeFloat = Field(
        default=1.0,
        description="The exponent by which the penalty of a user or item grows with its number of"
        " interactions.",
    )
    unobserved_weight: PositiveFloat | None = Field(
        default=None,
        description="The weight of a pair that was not observed; without it, `unobserved_total`"
        " divided by the number of items that somebody has or, with `attribute_weight`, that share"
        " a term.",
    )
    unobserved_total: PositiveFloat = Field(
        default=300.0,
        description="The weight of a pair that was not observed, multiplied by the number of items"
        " by which it is divided for `unobserved_weight`.",
    )
    attribute_weight: NonNegativeFloat = Field(
        default=0.0,
        description="The weight of the items' attributes: each term becomes one more row of the"
        " matrix, whose entries are the items' term weights times this, so that items with like"
        " attributes get like factors and items without interactions get factors at all. It needs"
        " `feedback: implicit`.",
    )
    solver: Solver = Field(
        default="conjugate_gradient",
        description="How users are solved: by some steps of conjugate gradient, or exactly.",
    )
    conjugate_gradient_steps: PositiveInt = Field(
        default=3,
        description="The number of steps of conjugate gradient an iteration, for items and, unless"
        " `solver` is `cholesky`, for users.",
    )
    feedback: Feedback = Field(
        default="implicit",
        description="Whether weights are evidence of interest (`implicit`) or ratings to be"
        " predicted, without regard to what was not observed (`explicit`).",
    )
    checkpoint_every: PositiveInt = Field(
        default=5,
        description="The number of iterations after which the factors are saved, for a run that is"
        " started again to resume from.",
    )


class MllibAlsConfig(Section):
    """Spark MLlib's own implicit ALS, a reference."""

    rank: PositiveInt = Field(default=64, description="The length of a factor.")
    iterations: PositiveInt = Field(
        default=10, description="How often users and items are solved in turn."
    )
    regularisation: NonNegativeFloat = Field(
        default=0.05, description="The penalty on squared lengths of factors."
    )
    alpha: PositiveFloat = Field(
        default=10.0,
        description="The factor by which weights are multiplied; a pair that was not observed"
        " weighs 1.",
    )


class FactorsConfig(Section):
    """The factor models."""

    svd: SvdConfig = Field(default=SvdConfig(), description="Randomized SVD.")
    als: AlsConfig = Field(default=AlsConfig(), description="Alternating least squares.")
    mllib_als: MllibAlsConfig = Field(default=MllibAlsConfig(), description="Spark MLlib's ALS.")


class RidgeConfig(Section):
    """Local ridge regression: each item's weights on other items, by one small system an item."""

    candidates: PositiveInt = Field(
        default=200,
        description="The number of items, those that co-occur most, on which an item has weights;"
        " a catalogue that is small enough takes all.",
    )
    user_exponent: NonNegativeFloat = Field(
        default=0.25, description="The exponent that damps users with many items."
    )
    item_exponent: NonNegativeFloat = Field(
        default=0.3, description="The exponent that damps items with many users."
    )
    regularisation: PositiveFloat = Field(
        default=100.0,
        description="The penalty on squared weights, in units of the mean scale that the exponents"
        " give to users and items.",
    )
    kept: PositiveInt | None = Field(
        default=None,
        description="The number of weights of a history item that are kept, the largest first;"
        " without it, 100, and in a small catalogue as many as make 1.5 million of all items.",
    )


class ContentNeighboursConfig(Section):
    """Item neighbours by content, which speak for items without interactions."""

    candidates: PositiveInt = Field(
        default=200,
        description="The number of items, those with the most like terms, on which an item has"
        " weights.",
    )
    vector_share: Share | None = Field(
        default=None,
        description="The share of likeness that is by content vectors; the rest is by terms."
        " Without it, a quarter, and three quarters where items have vectors of your own, whose"
        " terms are coarse.",
    )
    regularisation: PositiveFloat = Field(
        default=3.0,
        description="The penalty on squared weights, in units of an item's likeness to itself.",
    )
    expansion: NonNegativeFloat = Field(
        default=20.0,
        description="The weight, as a multiple of its score by the ridge, with which each of the"
        " ridge's best items is added to a user's history; 0 adds none.",
    )
    expanded: PositiveInt = Field(
        default=1_000, description="The most items that are added to a user's history."
    )
    longest_posting: PositiveInt = Field(
        default=5_000,
        description="The most items of a term that are compared; where more items have a term, a"
        " sample of them is.",
    )


class TransitionsConfig(Section):
    """Transitions: what users did next, for the ranker transitions."""

    window: PositiveInt = Field(
        default=5,
        description="The most steps of a user's history from the one item of a transition to the"
        " other; d steps count 1 / d. Each new time is a step, and items of the same time are one"
        " step from each other.",
    )
    kept: PositiveInt = Field(
        default=100,
        description="The number of items that are kept as following an item, those of the largest"
        " weight.",
    )
    history_exponent: NonNegativeFloat = Field(
        default=0.2, description="The exponent that damps items that many others follow."
    )
    target_exponent: NonNegativeFloat = Field(
        default=0.2, description="The exponent that damps items that follow many others."
    )
    recency_scale: PositiveFloat = Field(
        default=1.44,
        description="The number of a user's later interactions by which the weight of an earlier"
        " one falls to 1/e; at 1.44, each of them halves it. Nothing is later than what shares the"
        " latest time.",
    )


class NeighboursConfig(Section):
    """Item neighbours by co-occurrence, ridge, order and content, and user neighbours."""

    neighbours: PositiveInt = Field(
        default=100, description="The number of neighbours of an item by co-occurrence."
    )
    item_exponent: NonNegativeFloat = Field(
        default=0.5,
        description="The exponent that damps items with many users, among the neighbours of items"
        " and of users.",
    )
    user_exponent: NonNegativeFloat = Field(
        default=0.5,
        description="The exponent that damps users with many items, among the neighbours of items.",
    )
    user_neighbours: PositiveInt = Field(
        default=100, description="The number of neighbours of a user."
    )
    recency_scale: PositiveFloat = Field(
        default=8.0,
        description="The number of a user's later interactions by which the weight of an earlier"
        " one falls to 1/e, for the rankers recent_ridge, recent_item_neighbours and repeats."
        " Nothing is later than what shares the latest time.",
    )
    maximum_candidate_users: PositiveInt = Field(
        default=20_000,
        description="The most users among whom the neighbours of a user are sought; where there are"
        " more, they are sought in a sample.",
    )
    maximum_history: PositiveInt = Field(
        default=2_000,
        description="The most items of a user that are looked at; a longer history is sampled, and"
        " transitions look at its latest items.",
    )
    ridge: RidgeConfig = Field(default=RidgeConfig(), description="The local ridge regression.")
    transitions: TransitionsConfig = Field(
        default=TransitionsConfig(), description="What users did next."
    )
    content: ContentNeighboursConfig = Field(
        default=ContentNeighboursConfig(), description="Item neighbours by content."
    )


class RatingsConfig(Section):
    """The prediction of ratings: biases, explicit ALS, and regressions on who rates what, blended.

    The regularisations of biases, tastes and audiences are in numbers of ratings: with so many
    ratings, a coefficient is about half of what it would be without regularisation.
    """

    enabled: bool = Field(
        default=False,
        description="Whether `interactions.columns.weight` holds ratings that are to be predicted.",
    )
    bias_iterations: PositiveInt = Field(
        default=15, description="How often the biases of users and items are solved in turn."
    )
    user_bias_regularisation: PositiveFloat = Field(
        default=5.0, description="The regularisation of a user's bias, in ratings."
    )
    item_bias_regularisation: PositiveFloat = Field(
        default=2.0, description="The regularisation of an item's bias, in ratings."
    )
    rank: PositiveInt = Field(default=20, description="The length of a factor of ALS.")
    iterations: PositiveInt = Field(
        default=10, description="How often ALS solves users and items in turn."
    )
    regularisation: PositiveFloat = Field(
        default=0.6, description="The penalty of ALS on squared lengths of factors."
    )
    frequency_exponent: NonNegativeFloat = Field(
        default=0.7,
        description="The exponent by which the penalty of ALS on a user or item grows with its"
        " number of ratings.",
    )
    choice_rank: PositiveInt = Field(
        default=20, description="The number of singular vectors of the matrix of who rates what."
    )
    choice_user_exponent: NonNegativeFloat = Field(
        default=0.25,
        description="The exponent that damps users with many ratings in that matrix.",
    )
    choice_item_exponent: NonNegativeFloat = Field(
        default=0.3,
        description="The exponent that damps items with many ratings in that matrix.",
    )
    taste_regularisation: PositiveFloat = Field(
        default=5.0,
        description="The regularisation, in ratings, of a user's taste: the regression of the"
        " user's ratings on what kind of items they are.",
    )
    audience_regularisation: PositiveFloat = Field(
        default=15.0,
        description="The regularisation, in ratings, of an item's audience: the regression of the"
        " item's ratings on what kind of users give them.",
    )

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
    """The blend of rankers, whose weights are chosen on validation."""

    members: SomeOnce[MemberName] = Field(
        default=MEMBER_NAMES,
        description="The rankers that the hybrid may blend; the default leaves out those that the"
        " data cannot feed.",
    )
    k: PositiveInt = Field(
        default=50,
        description="The list length of the NDCG that weights are chosen by, in which the first"
        " fifth of the places counts twice. It is deeper than most lists that are shown, because"
        " validation holds out less than the test and few hits say little.",
    )
    maximum_users: PositiveInt = Field(
        default=10_000, description="The most validation users on whom weights are chosen."
    )
    catalogue_share: Share | Literal["auto"] = Field(
        default="auto",
        description="How far held-out items of each bin of evidence count by the bin's share of the"
        " catalogue, and not by how often validation holds them. `auto` is three"
        " times the share of items without any interaction, at most 0.9; and 0 where no attributes"
        " describe the items, or where validation shows how often new items are taken, because"
        " interactions have a time or validation is the owner's. Set it to 0 where items without"
        " interactions are those that nobody wants.",
    )
    candidates_per_member: PositiveInt = Field(
        default=200, description="The number of items of each member's list that are blended."
    )
    rounds: PositiveInt = Field(
        default=3, description="How often the search goes over all members' weights."
    )
