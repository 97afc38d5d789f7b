"""The towers and their hyperparameters."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from m6rec.config.base import (
    IsNumber,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ProperShare,
    Section,
    Share,
    SomeOnce,
)
from m6rec.rankers import BAGGED, BOOSTED, SEQUENCE

TowerInput = Literal["svd", "als"]
TowerLoss = Literal["sampled_softmax", "binary_cross_entropy", "cosine_contrastive"]
TowerPart = Literal["mlp", "shared", "features", "gate", "popularity"]
Precision = Literal["auto", "float32", "bfloat16"]
RowReader = Literal["auto", "petastorm", "arrow"]
DeviceChoice = Literal["auto", "cpu", "cuda"]
Ranks = Literal["auto", "driver"] | PositiveInt
TOWER_PARTS: tuple[TowerPart, ...] = get_args(TowerPart)
# The keys of the clock, in UTC, and their values; weekdays are those of ISO 8601, 1 is Monday.
CLOCK: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "hour": tuple(str(hour) for hour in range(24)),
        "weekday": tuple(str(day) for day in range(1, 8)),
    }
)


class ContextConfig(Section):
    """The context of an interaction as the towers that know order see it.

    It consists of the columns that `interactions.columns.context` names and, where `clock` says so,
    of the time. A user can be ranked in a context or, as everywhere but in `recommend.contexts`,
    in none.
    """

    clock: bool = Field(
        default=False,
        description="Whether the context has the keys `hour` (0 to 23) and `weekday` (1 is Monday,"
        " 7 is Sunday), both in UTC.",
    )
    values: PositiveInt = Field(
        default=32,
        description="The most values of a column that are told apart, the most frequent first.",
    )
    dropout: Share = Field(
        default=0.2,
        description="The probability with which training leaves a key out of the context of an"
        " interaction.",
    )
    dropout_of_all: Share = Field(
        default=0.5,
        description="The probability with which training leaves out the whole context of an"
        " interaction, for the towers to rank as well without one.",
    )


class SequenceConfig(Section):
    """The towers that know order: a causal transformer over the last items of a history."""

    enabled: bool | None = Field(
        default=None,
        description="Whether they are trained; without it, where interactions have times.",
    )
    factors: TowerInput = Field(
        default="svd", description="The factor model that the items' embeddings start from."
    )
    length: PositiveInt = Field(
        default=50, description="The number of a user's last items that the user tower reads."
    )
    width: PositiveInt = Field(
        default=64, description="The number of coordinates of an embedding; a multiple of `heads`."
    )
    blocks: PositiveInt = Field(default=2, description="The number of the transformer's blocks.")
    heads: PositiveInt = Field(default=2, description="The number of attention heads of a block.")
    feature_hidden: PositiveInt = Field(
        default=128, description="The number of units of the layer that reads side features."
    )
    dropout: Share = Field(
        default=0.5, description="The probability with which an activation is dropped in training."
    )
    modality_dropout: Share = Field(
        default=0.2,
        description="The probability with which training leaves out one of an item's columns of"
        " vectors, so that those that lack it are ranked well.",
    )
    epochs: PositiveInt = Field(
        default=20,
        description="The most epochs of training; the learning rate falls over all of them.",
    )
    patience: PositiveInt = Field(
        default=8,
        description="The number of epochs without a better validation NDCG after which training"
        " stops.",
    )
    users_per_batch: PositiveInt = Field(default=128, description="The most users of a step.")
    minimum_steps_per_epoch: PositiveInt = Field(
        default=32,
        description="The least number of steps of an epoch; where users are few, batches become"
        " smaller.",
    )
    negatives: PositiveInt = Field(
        default=512,
        description="The number of random items against which the targets of a step are ranked.",
    )
    learning_rate: PositiveFloat = Field(
        default=2e-3, description="The highest learning rate, from which it falls to a twentieth."
    )
    weight_decay: NonNegativeFloat = Field(
        default=0.01, description="The weight decay of AdamW, on all but single items' weights."
    )
    warmup_steps: NonNegativeInt = Field(
        default=100,
        description="The number of steps in which the learning rate rises from 0, at most a tenth"
        " of all.",
    )
    precision: Precision = Field(
        default="auto", description="The precision of matrix products in training, as in `towers`."
    )
    context: ContextConfig = Field(
        default=ContextConfig(), description="The context of an interaction."
    )

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "SequenceConfig":
        if self.width % self.heads:
            raise ValueError(
                f"width {self.width} is not a multiple of heads {self.heads}; change one of the two"
            )
        return self


class ImagesConfig(Section):
    """The residual network that reads images and frames of videos, one for each such column."""

    channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = Field(
        default=(16, 32, 64, 128),
        description="The number of channels of each stage of the network, every one of which halves"
        " the height and width. The default has some 300,000 weights.",
    )
    blocks: PositiveInt = Field(default=1, description="The number of residual blocks of a stage.")
    per_step: PositiveInt = Field(
        default=192,
        description="The most images and frames that the network reads in a step of training. Of"
        " the step's other items, training uses what the network made of them at the start of the"
        " epoch.",
    )
    augmentation: bool = Field(
        default=True,
        description="Whether training mirrors and shifts images and changes their brightness at"
        " random.",
    )
    alignment: NonNegativeFloat = Field(
        default=10.0,
        description="The weight of a second loss, by which images learn to place new items. It is"
        " 1 - the cosine between where an item is placed without its interactions and where it is"
        " placed with them, for the items whose images the network reads in a step.",
    )


class TowersConfig(Section):
    """The deep towers and their training."""

    inputs: SomeOnce[TowerInput] = Field(
        default=("svd", "als"),
        description="The factor models on which a pair of towers is trained, one pair each.",
    )
    hidden: PositiveInt = Field(default=512, description="The number of units of the hidden layer.")
    feature_hidden: PositiveInt = Field(
        default=128,
        description="The number of units of the layers that read side features and images.",
    )
    epochs: PositiveInt = Field(
        default=10,
        description="The most epochs of training; the learning rate falls over all of them. Beside"
        " towers that know order, which leave less to those on sets, it is half as many.",
    )
    patience: PositiveInt = Field(
        default=4,
        description="The number of epochs without a better validation NDCG after which training"
        " stops.",
    )
    users_per_batch: PositiveInt = Field(default=256, description="The most users of a step.")
    minimum_steps_per_epoch: PositiveInt = Field(
        default=32,
        description="The least number of steps of an epoch; where users are few, batches become"
        " smaller.",
    )
    negatives: PositiveInt = Field(
        default=2048,
        description="The number of random items against which the targets of a step are ranked.",
    )
    target_share: ProperShare = Field(
        default=0.5,
        description="The share of a user's interactions that are targets in an epoch; the rest is"
        " the input.",
    )
    loss: TowerLoss = Field(
        default="sampled_softmax",
        description="What training minimises: the cross-entropy of each target against the"
        " negatives, the binary cross-entropy of both, or the contrastive loss on cosines of"
        " SimpleX.",
    )
    trimmed: Share = Field(
        default=0.0,
        description="The share of the targets of a step, those with the largest loss, that the loss"
        " of the towers on sets leaves out. It makes training robust against clicks by chance, and"
        " slower to learn what is rare.",
    )
    temperature: PositiveFloat = Field(
        default=0.1, description="The number by which cosines are divided to become logits."
    )
    learning_rate: PositiveFloat = Field(
        default=2e-3,
        description="The highest learning rate of AdamW, from which it falls to a twentieth.",
    )
    weight_decay: NonNegativeFloat = Field(default=0.01, description="The weight decay of AdamW.")
    warmup_steps: NonNegativeInt = Field(
        default=30,
        description="The number of steps in which the learning rate rises from 0, at most a tenth"
        " of all.",
    )
    input_dropout: Share = Field(
        default=0.0,
        description="The probability with which a factor is left out of the input in training, for"
        " side features to stand in for it.",
    )
    modality_dropout: Share = Field(
        default=0.2,
        description="The probability with which training leaves out one of a user's or item's"
        " columns of vectors, so that those that lack it are ranked well.",
    )
    gate_half_count: PositiveFloat = Field(
        default=2.0,
        description="The number of interactions at which factors and side features count alike.",
    )
    # One item for the input and one for a target.
    maximum_history: Annotated[int, Field(ge=2), IsNumber] = Field(
        default=1024,
        description="The most items of a user that training looks at: of a longer history the"
        " latest where towers that know order are trained, else a sample.",
    )
    precision: Precision = Field(
        default="auto",
        description="The precision of matrix products in training: `auto` is bfloat16 where the"
        " processor or the GPU multiplies it, else float32. Weights, logits, losses and the trained"
        " towers are float32.",
    )
    without: tuple[TowerPart, ...] = Field(
        default=(),
        description="Parts that are taken out of the towers, to see what they are worth.",
    )
    reader: RowReader = Field(
        default="auto",
        description="The program that reads the training rows: `auto` is Petastorm where it is"
        " installed, else Arrow. Both give the same rows in the same order.",
    )
    ranks: Ranks = Field(
        default="auto",
        description="Where training runs: `driver` is one process there; a number is so many tasks"
        " of the cluster, which train together, each on its share of the users. `auto`: on a"
        " cluster, one task for each slot. In local mode, the driver; but without a GPU, where rows"
        " are few or one of several pairs knows order, each pair has a task of its own, so that"
        " they train at once. More than one rank make larger steps: each has `users_per_batch`.",
    )
    device: DeviceChoice = Field(
        default="auto",
        description="Where a rank computes: `auto` is the GPU that Spark has given to its task"
        " (`spark.task.resource.gpu.amount`), on the driver any CUDA device, else the processor.",
    )
    bagging: NonNegativeInt = Field(
        default=0,
        description="The number of further pairs of towers on the first of `inputs`, each from"
        " another seed, whose scores are added up as ranker `bagged_towers`. Each costs as much as"
        " the first pair.",
    )
    boosting: bool = Field(
        default=False,
        description="Whether one more pair of towers on the first of `inputs` is trained on what"
        " the local ridge leaves, as ranker `boosted_towers`. The ridge is that of the other half"
        " of the users (cross-fitting), which costs two more trainings of it.",
    )
    images: ImagesConfig = Field(
        default=ImagesConfig(), description="The network that reads images and videos."
    )
    sequence: SequenceConfig = Field(
        default=SequenceConfig(), description="The towers that know order."
    )

    @property
    def ensembles(self) -> tuple[str, ...]:
        """The models of towers that are trained in addition to those of `fusion`."""
        bagged = (BAGGED,) if self.bagging else ()
        return (*bagged, BOOSTED) if self.boosting else bagged

    def epochs_of_sets(self, with_order: bool) -> int:
        """The most epochs of towers on sets, by whether towers that know order are trained, too."""
        return -(-self.epochs // 2) if with_order else self.epochs

    def factors_of(self, model: str) -> str:
        """The factor model that towers rest on."""
        if model == SEQUENCE:
            return self.sequence.factors
        return self.inputs[0] if model in {BAGGED, BOOSTED} else model

    @model_validator(mode="after")
    def _boosting_adds_logits(self) -> "TowersConfig":
        if self.boosting and self.loss == "cosine_contrastive":
            raise ValueError(
                "boosting adds up logits, and loss cosine_contrastive has none; set loss to"
                " sampled_softmax or binary_cross_entropy"
            )
        return self
