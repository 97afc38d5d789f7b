"""Encode users and items by frozen towers, the same way for validation, fold-in and scoring.

The weights are those of `m6rec.towers.model.TowerModel`, by the same names, and a test checks that
both give the same embeddings. The encoder uses NumPy, so that a Spark worker needs no torch. The
items are those of the run, so the weights hold what the networks computed from their pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from m6rec.errors import DataError
from m6rec.kernels.arrays.layers import gelu, linear
from m6rec.kernels.arrays.padding import padded_rows
from m6rec.kernels.arrays.rows import Float32, Int64, Rows
from m6rec.kernels.factors.projection import FactorModel, project
from m6rec.kernels.ranking.members import UserBlock, UserEncoder
from m6rec.towers.modalities import (
    Modalities,
    as_modalities,
    modality_shares,
    pooled_columns,
    split_features,
)
from m6rec.towers.pictures import Pictures

# Added to squared lengths, which are of the order of the rank: a row of zeros stays zero and has a
# bounded gradient.
NORM_FLOOR = 1e-2
ROWS_PER_BLOCK = 4096
PICTURE_UNITS = "item.picture_units"


class Towers(Protocol):
    """Frozen towers of any kind: what lists, validation and artifacts ask of them."""

    @property
    def shape(self) -> Mapping[str, Any]:
        """The sizes and constants that they were trained with."""

    @property
    def weights(self) -> Mapping[str, Float32]:
        """Their arrays, by the names of the model's parameters."""

    @property
    def factor_model(self) -> FactorModel:
        """The factors that they rest on."""

    def encode_items(self, item_features: Float32 | None) -> Float32:
        """Embeddings of all items: float32 [M, width]."""

    def user_encoder(self, items: Float32) -> UserEncoder:
        """The user side, as a member of the hybrid; `items` are what `encode_items` gives."""


@dataclass(frozen=True)
class TowerEncoder:
    """Towers together with the factor model that they were trained on.

    Attributes:
        shape: the fields of `m6rec.towers.model.TowerShape`.
        weights: float32 arrays by the names of the model's parameters.
        factor_model: the item side of the factors.
    """

    shape: Mapping[str, Any]
    weights: Mapping[str, Float32]
    factor_model: FactorModel

    @property
    def width(self) -> int:
        """How many coordinates an embedding has."""
        return int(self.shape["rank"]) + 1

    @property
    def popularity_width(self) -> int:
        """How many coordinates of an embedding are of popularity alone; they come last."""
        return 1

    @property
    def seen_items(self) -> npt.NDArray[np.bool_] | None:
        """bool [M]: the items that the towers know by pictures; None where they read none."""
        units = self.weights.get(PICTURE_UNITS)
        return None if units is None else units.any(axis=(1, 2))

    def encode_users(self, rows: Rows, user_features: Float32 | None) -> Float32:
        """The embeddings of users, from their rows: float32 [n, rank + 1].

        Args:
            rows: the users' histories; a user without any has an empty row.
            user_features: float32 [n, user_features], or None where the towers have none.

        Raises:
            DataError: the features have another width than the towers were trained on.
        """
        features = self._checked(user_features, len(rows), "user")
        blocks = [
            self._encode_user_block(rows.slice(start, stop), features[start:stop])
            for start, stop in _blocks(len(rows))
        ]
        return np.concatenate(blocks) if blocks else np.zeros((0, self.width), np.float32)

    def _encode_user_block(self, rows: Rows, features: Float32) -> Float32:
        factors = user_factor_inputs(self.factor_model, rows)
        gates = gate(rows.counts, self.shape["gate_half_count"])
        direction = self._direction("user", factors, gates, features, None)
        popularity = np.full((len(rows), 1), self.weights["popularity_weight"], np.float32)
        return np.hstack([direction / np.float32(self.shape["temperature"]), popularity])

    def user_encoder(self, items: Float32) -> UserEncoder:
        """The user side, as a member of the hybrid."""
        return TowerUserEncoder((self,))

    def encode_items(self, item_features: Float32 | None) -> Float32:
        """The embeddings of all items: float32 [M, rank + 1].

        Args:
            item_features: float32 [M, item_features], or None where the towers have none.

        Raises:
            DataError: the features have another width than the towers were trained on.
        """
        counts = self.factor_model.interaction_counts
        features = self._checked(item_features, len(counts), "item")
        units = self.weights.get(PICTURE_UNITS)
        factors = item_factor_inputs(self.factor_model)
        gates = item_gates(self.factor_model, self.shape["gate_half_count"])
        embeddings = np.empty((len(counts), self.width), np.float32)
        for start, stop in _blocks(len(counts)):
            embeddings[start:stop, :-1] = self._direction(
                "item",
                factors[start:stop],
                gates[start:stop],
                features[start:stop],
                None if units is None else units[start:stop],
            )
        embeddings[:, -1] = popularity_inputs(counts, self.factor_model.trained_items)
        return embeddings

    def _checked(self, features: Float32 | None, rows: int, side: str) -> Float32:
        width = int(self.shape[f"{side}_features"])
        given = np.zeros((rows, 0), np.float32) if features is None else features
        if given.shape != (rows, width):
            raise DataError(
                f"{side} features have shape {given.shape}, the towers expect {(rows, width)};"
                " build the features with the pipeline that the towers were trained on"
            )
        return given

    def _direction(
        self,
        side: str,
        factors: Float32,
        gates: Float32,
        features: Float32,
        units: Float32 | None,
    ) -> Float32:
        w, n_rows = self.weights, len(factors)
        factors, gates, features = map(padded_rows, (factors, gates, features))
        units = None if units is None else padded_rows(units)
        base = gates[:, None] * factors
        stand_ins, others = self.of_features(side, features, units)
        inputs = np.hstack([base, *others])
        for stood_in in stand_ins:
            base = base + (1 - gates)[:, None] * stood_in
        hidden = gelu(linear(w, f"{side}.first", inputs))
        tower = base + linear(w, f"{side}.last", hidden)
        return normalise_rows(tower @ w["shared.weight"].T)[:n_rows]

    def of_features(
        self, side: str, features: Float32, units: Float32 | None = None
    ) -> tuple[list[Float32], list[Float32]]:
        """What stands in for the factor, float32 [n, rank] each, and what the hidden layer reads.

        Args:
            side: user or item.
            features: float32 [n, features].
            units: float32 [n, columns, feature_hidden]; of pictures, or None where there are none.
        """
        w = self.weights
        stand_ins, read = [], []
        plain, columns = split_features(
            features, as_modalities(self.shape.get(f"{side}_modalities", ()))
        )
        if plain.shape[1]:
            read.append(gelu(linear(w, f"{side}.feature", plain)))
            stand_ins.append(plain @ w[f"{side}.stand_in.weight"].T)
        others = None if units is None else units.any(axis=2)
        if columns:
            hidden_units, pooled, shares = read_modalities(w, f"{side}.modalities", columns, others)
            read.append(hidden_units)
            stand_ins.append(pooled @ w[f"{side}.modality_stand_in.weight"].T)
        elif others is not None:
            shares = modality_shares(others)
        if units is not None:
            seen = (units * shares[:, -units.shape[1] :, None]).reshape(len(units), -1)
            read.append(seen)
            stand_ins.append(seen @ w[f"{side}.picture_stand_in.weight"].T)
        return stand_ins, read


def read_modalities(
    weights: Mapping[str, Float32],
    name: str,
    columns: list[Float32],
    others: npt.NDArray[np.bool_] | None = None,
) -> tuple[Float32, Float32, Float32]:
    """w_c GELU(B_c p_c) and w_c p_c of all columns side by side, by the branches of that name.

    The w are those of all modalities: the columns, and after them `others`, bool [n, C'].
    """
    queries = {
        c: weights[f"{name}.queries.{c}"]
        for c in range(len(columns))
        if f"{name}.queries.{c}" in weights
    }
    pooled, present = pooled_columns(columns, queries)
    shares = modality_shares(present if others is None else np.hstack([present, others]))
    hidden, scaled = [], []
    for c, each in enumerate(pooled):
        layer = weights[f"{name}.layers.{c}.weight"], weights[f"{name}.layers.{c}.bias"]
        hidden.append(gelu(each @ layer[0].T + layer[1]) * shares[:, c : c + 1])
        scaled.append(each * shares[:, c : c + 1])
    return np.hstack(hidden), np.hstack(scaled), shares


def user_factor_inputs(factor_model: FactorModel, rows: Rows) -> Float32:
    """The user tower's input, float32 [n, k]: each row's projection, scaled to length sqrt(k)."""
    return _at_root_length(project(factor_model, rows))


def item_factor_inputs(factor_model: FactorModel) -> Float32:
    """The item tower's input, float32 [M, k]: each item's factor, scaled to length sqrt(k)."""
    return _at_root_length(factor_model.factors)


def gate(counts: Int64, half_count: float) -> Float32:
    """g(n) = n / (n + half_count): 0 for a row without interactions, and up to 1 with many."""
    result: Float32 = (counts / (counts + half_count)).astype(np.float32)
    return result


def item_gates(factor_model: FactorModel, half_count: float) -> Float32:
    """The gate of each item, float32 [M]; 1 where its factor was trained on attributes as well."""
    if factor_model.knows_attributes:
        known: Float32 = factor_model.factors.any(axis=1).astype(np.float32)
        return known
    return gate(factor_model.interaction_counts, half_count)


def popularity_inputs(
    interaction_counts: npt.NDArray[Any], trained_items: int | None = None
) -> Float32:
    """log(1 + count) less its mean over the first `trained_items`, or all: float32 [M]."""
    logarithms = np.log1p(interaction_counts.astype(np.float64))
    result: Float32 = (logarithms - logarithms[:trained_items].mean()).astype(np.float32)
    return result


def normalise_rows(rows: Float32) -> Float32:
    """The rows scaled to length 1, up to NORM_FLOOR; a row of zeros stays zero."""
    squares = np.einsum("nk,nk->n", rows, rows)
    result: Float32 = rows / np.sqrt(squares + np.float32(NORM_FLOOR))[:, None]
    return result


def _at_root_length(rows: npt.NDArray[Any]) -> Float32:
    # In 32 bits the squares of what has decayed for long are 0.
    lengths = np.sqrt(np.einsum("nk,nk->n", rows, rows, dtype=np.float64))
    safe = np.where(lengths > 0, lengths, 1)
    result: Float32 = (rows * (np.sqrt(rows.shape[1]) / safe)[:, None]).astype(np.float32)
    return result


def _blocks(rows: int) -> list[tuple[int, int]]:
    return [(start, min(start + ROWS_PER_BLOCK, rows)) for start in range(0, rows, ROWS_PER_BLOCK)]


@dataclass(frozen=True)
class TowerUserEncoder:
    """Computes user embeddings by some pairs of towers, as a member of the hybrid needs them."""

    pairs: tuple[TowerEncoder, ...]

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, width]."""
        features = block.features if block.features.shape[1] else None
        return joined_embeddings([pair.encode_users(block.rows, features) for pair in self.pairs])


def joined_embeddings(embeddings: Sequence[Float32]) -> Float32:
    """Embeddings whose dot products add up: all directions, then all coordinates of popularity."""
    return np.hstack(
        [*(each[:, :-1] for each in embeddings), *(each[:, -1:] for each in embeddings)]
    )


@dataclass(frozen=True)
class ItemInputs:
    """What a training knows of the items.

    Attributes:
        factor_model: the factors of M items, and the projection of rows onto them.
        features: float32 [M, features], or None.
        modalities: the columns of vectors that the features end with.
        pictures: the columns of pictures and videos.
    """

    factor_model: FactorModel
    features: Float32 | None = None
    modalities: Modalities = ()
    pictures: tuple[Pictures, ...] = ()

    @property
    def counts(self) -> Int64:
        """int64 [M]: interactions of each item."""
        return self.factor_model.interaction_counts
