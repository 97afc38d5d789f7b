"""The models and their hyperparameters."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from m6rec.config.base import (
    MemberName,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
    Share,
)
from m6rec.rankers import MEMBER_NAMES


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

    members: tuple[MemberName, ...] = MEMBER_NAMES
    k: PositiveInt = 50
    maximum_users: PositiveInt = 10_000
    candidates_per_member: PositiveInt = 200
    rounds: PositiveInt = 3
