"""Draw the examples of a training step: targets, the rest of each row, negatives and dropout."""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from m6rec.config.towers import TowersConfig
from m6rec.kernels.arrays.rows import Float32, Int64, Rows, indptr_of
from m6rec.towers.batches import TrainingRows
from m6rec.towers.boosting import CrossFitted
from m6rec.towers.encoder import (
    ItemInputs,
    gate,
    user_factor_inputs,
)
from m6rec.towers.model import TowerShape
from m6rec.towers.picture_training import choose_fresh


@dataclass(frozen=True)
class Example:
    """The arrays of one training step.

    Attributes:
        user_factors, user_gates, user_features: the users' inputs, from the rest of their rows.
        items: int64; the items embedded in this step, with the negatives first.
        item_kept: float32; 0 where an item's factor is dropped, else 1.
        base: float32 [users, items]; logits of another model, to which those of the towers are
            added.
        fresh: int64; the places among `items` of those whose pictures are read in this step.
        augmentation: the seed by which these pictures are changed.
        user_modalities, item_modalities: float32 [users or items, modalities]; 0 where one is left
            out, else 1. Columns of pictures count among those of items.
        negatives: how many of `items` are negatives.
        pair_user, pair_item: int64 [pairs]; each target's user, and its place in `items`.
        own: bool [users, negatives]; whether the negative is one of the user's own items.
        log_correction: log(M / negatives), where M counts the items with interactions.
    """

    user_factors: Float32
    user_gates: Float32
    user_features: Float32
    items: Int64
    item_kept: Float32
    user_modalities: Float32
    item_modalities: Float32
    negatives: int
    pair_user: Int64
    pair_item: Int64
    own: npt.NDArray[np.bool_]
    log_correction: float
    base: Float32 | None
    fresh: Int64
    augmentation: int

    @property
    def pairs(self) -> int:
        """How many pairs of a user and a target there are."""
        return len(self.pair_user)


class ExampleDraw:
    """Draws the targets, the negatives and the dropout of a batch of rows."""

    def __init__(
        self,
        items: ItemInputs,
        shape: TowerShape,
        config: TowersConfig,
        base: CrossFitted | None = None,
    ) -> None:
        self.base = base
        self.factor_model = items.factor_model
        self.n_items = len(items.counts)
        self.config = config
        self.shape = shape
        self.gate_half_count = shape.gate_half_count
        # A factor can only be dropped where features stand in for it.
        dropout = 0.0 if {"features", "gate"} & set(config.without) else config.input_dropout
        self.user_dropout = dropout if shape.user_features else 0.0
        self.item_dropout = dropout if shape.item_features or items.pictures else 0.0
        # An item that nobody has tells nothing about what users pass over, so it is no negative.
        warm = np.flatnonzero(items.counts > 0)
        self._warm = warm if len(warm) else np.arange(self.n_items)
        self.negatives = min(config.negatives, len(self._warm))
        self.pictures = items.pictures
        self._place = np.full(self.n_items, -1, dtype=np.int64)

    def __call__(self, batch: TrainingRows, generator: np.random.Generator) -> Example:
        """The example of a batch."""
        usable, rest, targets = split_targets(batch.rows, self.config.target_share, generator)
        whole = batch.rows.take(usable)
        # Negatives are drawn without replacement. In a small catalogue they are all items, and the
        # loss is exact.
        negatives = generator.choice(self._warm, self.negatives, replace=False, shuffle=False)
        items, pair_item = self._place_items(negatives, targets.item_indices)
        columns = len(self.shape.item_modalities) + len(self.pictures)
        drawn = Example(
            user_factors=user_factor_inputs(self.factor_model, rest),
            user_gates=gate(rest.counts, self.gate_half_count)
            * _kept(generator, len(rest), self.user_dropout),
            user_features=batch.features[usable],
            items=items,
            item_kept=_kept(generator, len(items), self.item_dropout),
            user_modalities=self._modalities(generator, len(rest), len(self.shape.user_modalities)),
            item_modalities=self._modalities(generator, len(items), columns),
            negatives=self.negatives,
            pair_user=np.repeat(np.arange(len(targets)), targets.counts),
            pair_item=pair_item,
            own=self._own(whole, negatives),
            log_correction=math.log(len(self._warm) / self.negatives),
            base=None if self.base is None else self.base.logits(rest, items),
            fresh=np.empty(0, np.int64),
            augmentation=0,
        )
        return self._with_pictures(drawn, generator) if self.pictures else drawn

    def _with_pictures(self, drawn: Example, generator: np.random.Generator) -> Example:
        per_step = self.config.images.per_step
        fresh = choose_fresh(self.pictures, drawn.items, per_step, generator)
        # A user or item that would be left without any column keeps all of them.
        kept = drawn.item_modalities
        kept = np.where(kept.any(axis=1, keepdims=True), kept, np.float32(1))
        return replace(
            drawn,
            item_modalities=kept,
            fresh=fresh,
            augmentation=int(generator.integers(1 << 62)),
        )

    def _modalities(self, generator: np.random.Generator, n: int, columns: int) -> Float32:
        dropped = _kept(generator, n * columns, self.config.modality_dropout)
        return dropped.reshape(n, columns)

    def _place_items(self, negatives: Int64, targets: npt.NDArray[np.int32]) -> tuple[Int64, Int64]:
        """The negatives followed by the other targets, and each target's place among them."""
        self._place[negatives] = np.arange(len(negatives))
        others = np.unique(targets[self._place[targets] < 0]).astype(np.int64)
        self._place[others] = len(negatives) + np.arange(len(others))
        places = self._place[targets]
        items = np.concatenate([negatives, others])
        self._place[items] = -1
        return items, places

    def _own(self, rows: Rows, negatives: Int64) -> npt.NDArray[np.bool_]:
        self._place[negatives] = np.arange(len(negatives))
        places = self._place[rows.item_indices]
        self._place[negatives] = -1
        own = np.zeros((len(rows), len(negatives)), dtype=np.bool_)
        users = np.repeat(np.arange(len(rows)), rows.counts)
        own[users[places >= 0], places[places >= 0]] = True
        return own


def split_targets(
    rows: Rows, target_share: float, generator: np.random.Generator
) -> tuple[Int64, Rows, Rows]:
    """Make each interaction a target with probability `target_share`.

    Returns:
        The places of the rows that have both a target and another interaction, int64 [n]; what is
        left of these rows; and their targets.
    """
    is_target = generator.random(rows.entries) < target_share
    row = np.repeat(np.arange(len(rows)), rows.counts)
    targets = np.bincount(row[is_target], minlength=len(rows))
    usable = (targets > 0) & (targets < rows.counts)
    kept = usable[row]
    return (
        np.flatnonzero(usable),
        _entries(rows, usable, row, kept & ~is_target),
        _entries(rows, usable, row, kept & is_target),
    )


def _entries(
    rows: Rows,
    usable: npt.NDArray[np.bool_],
    row: Int64,
    chosen: npt.NDArray[np.bool_],
) -> Rows:
    counts = np.bincount(row[chosen], minlength=len(rows))[usable]
    return Rows(
        rows.user_index[usable],
        indptr_of(counts),
        rows.item_indices[chosen],
        rows.weights[chosen],
    )


def _kept(generator: np.random.Generator, n: int, dropout: float) -> Float32:
    """1 with probability 1 - dropout, else 0 (DropoutNet, Volkovs et al. 2017)."""
    return (generator.random(n) >= dropout).astype(np.float32)
