"""Encode users and items by the frozen towers that know order, in NumPy.

The weights are those of `m6rec.towers.sequence_model.SequenceModel`, by the same names; a test
holds that both give the same embeddings. It is NumPy, so that a Spark worker needs no torch. One
function turns a history into a user's vector: for validation, for lists, and for later users.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from m6rec.errors import DataError
from m6rec.kernels.arrays.contexts import NO_CONTEXTS, Context, ContextVocabulary
from m6rec.kernels.arrays.layers import gelu, layer_norm, linear
from m6rec.kernels.arrays.rows import Float32, Int32, Int64, Rows, entries_of_rows
from m6rec.kernels.arrays.sequences import Sequences, last_items
from m6rec.kernels.factors.projection import FactorModel
from m6rec.kernels.ranking.members import UserBlock, UserEncoder
from m6rec.towers.encoder import read_modalities
from m6rec.towers.modalities import as_modalities, split_features

# Histories that are read at once.
_HISTORIES_AT_ONCE = 512
_LAYER_NORM_FLOOR = 1e-5
# The weights that have a row for each item.
OWN_VECTORS = "own.weight"


@dataclass(frozen=True)
class SequenceEncoder:
    """Towers that know order, and the factors of the items that they start from.

    Attributes:
        shape: the fields of `m6rec.towers.sequence_model.SequenceShape`.
        weights: float32 arrays by the names of the model's parameters.
        factor_model: the item side of the factors.
        contexts: the contexts that they know.
    """

    shape: Mapping[str, Any]
    weights: Mapping[str, Float32]
    factor_model: FactorModel
    contexts: ContextVocabulary = NO_CONTEXTS

    @property
    def width(self) -> int:
        """Coordinates of an embedding."""
        return int(self.shape["width"])

    def encode_items(self, item_features: Float32 | None) -> Float32:
        """Embeddings v of all items: float32 [M, width].

        Args:
            item_features: float32 [M, item_features], or None where the towers have none.

        Raises:
            DataError: the features are not of the width that the towers were trained on.
        """
        width = int(self.shape["item_features"])
        n_items = len(self.factor_model.factors)
        given = np.zeros((n_items, 0), np.float32) if item_features is None else item_features
        if given.shape != (n_items, width):
            raise DataError(
                f"item features have shape {given.shape}, the towers expect {(n_items, width)};"
                " build the features with the pipeline that the towers were trained on"
            )
        w = self.weights
        embedded = sequence_factors(self.factor_model) @ w["factor.weight"].T + w[OWN_VECTORS]
        plain, columns = split_features(given, as_modalities(self.shape.get("modalities", ())))
        if plain.shape[1]:
            hidden = gelu(plain @ w["feature.weight"].T + w["feature.bias"])
            embedded = embedded + hidden @ w["feature_out.weight"].T
        if columns:
            hidden, _, _ = read_modalities(w, "modalities", columns)
            embedded = embedded + hidden @ w["modality_out.weight"].T
        return np.ascontiguousarray(embedded, np.float32)

    def user_encoder(self, items: Float32) -> UserEncoder:
        """The user side, as a member of the hybrid; `items` are what `encode_items` gives."""
        return SequenceUserEncoder(self, items)

    def in_context(self, users: Float32, codes: Int32) -> Float32:
        """Embeddings u of users in a context: float32 [n, width].

        Of a user without a history they say what the context alone says.

        Args:
            users: float32 [n, width]; `encode_users`.
            codes: int32 [keys], one context for all users, or [n, keys], one for each.
        """
        if not self.contexts.values:
            return users
        shift, scale = (
            self.weights[f"context_{name}"][codes].sum(axis=-2) for name in ("shift", "scale")
        )
        placed: Float32 = users + shift + scale * users
        return placed

    def encode_users(self, rows: Rows, times: Int64, items: Float32) -> Float32:
        """Embeddings h of users from their histories: float32 [n, width].

        A user without a history gets zeros. What a user gets does not depend on the other users,
        as histories that are read together have the same length.

        Args:
            rows: the users' histories.
            times: int64 [entries] in microseconds.
            items: float32 [M, width]; `encode_items`.
        """
        users = np.zeros((len(rows), self.width), np.float32)
        length = int(self.shape["length"])
        lengths = np.minimum(rows.counts, length)
        order = np.argsort(lengths, kind="stable")
        order = order[lengths[order] > 0]
        changes = np.flatnonzero(np.diff(lengths[order])) + 1
        for chosen in _pieces(np.split(order, changes), _HISTORIES_AT_ONCE):
            _, entries = entries_of_rows(rows.indptr, chosen)
            histories = last_items(rows.take(chosen), times[entries], length)
            users[chosen] = self._read(histories, items)
        return users

    def _read(self, histories: Sequences, items: Float32) -> Float32:
        """h at the last item, float32 [n, width]."""
        w, length = self.weights, histories.items.shape[1]
        real = histories.items >= 0
        embedded = items[np.maximum(histories.items, 0)] * np.float32(np.sqrt(self.width))
        x = (embedded + w["gap"][histories.gaps]) * real[..., None] + w["position"][-length:]
        causal = np.tril(np.ones((length, length), np.bool_))
        mask = (causal & real[:, None, :]) | np.eye(length, dtype=np.bool_)
        for block in range(int(self.shape["blocks"])):
            x = self._block(f"blocks.{block}", x.astype(np.float32), mask)
        return layer_norm(w, "norm", x[:, -1], _LAYER_NORM_FLOOR)

    def _block(self, name: str, x: Float32, mask: npt.NDArray[np.bool_]) -> Float32:
        w = self.weights
        n, length, width = x.shape
        heads = int(self.shape["heads"])
        normed = layer_norm(w, f"{name}.attention_norm", x, _LAYER_NORM_FLOOR)
        split = normed @ w[f"{name}.query_key_value.weight"].T
        split = split.reshape(n, length, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)
        query, key, value = split
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(width // heads))
        scores = np.where(mask[:, None], scores, np.float32(-np.inf))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        attended = (scores / scores.sum(axis=-1, keepdims=True)) @ value
        joined = attended.transpose(0, 2, 1, 3).reshape(n, length, width)
        x = x + linear(w, f"{name}.attention_out", joined)
        normed = layer_norm(w, f"{name}.hidden_norm", x, _LAYER_NORM_FLOOR)
        return x + linear(w, f"{name}.last", gelu(linear(w, f"{name}.first", normed)))


@dataclass(frozen=True)
class SequenceUserEncoder:
    """The user side of the towers that know order, as a member of the hybrid.

    Attributes:
        towers: the towers.
        items: float32 [M, width]; the embeddings that histories are read by.
    """

    towers: SequenceEncoder
    items: Float32

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, width]; the users without a context."""
        return self.towers.encode_users(block.rows, block.times, self.items)

    def in_context(self, vectors: Float32, context: Context) -> Float32:
        """float32 [n, width]: the users of vectors that `encode` gave, in a context."""
        return self.towers.in_context(vectors, self.towers.contexts.codes_of(context))


@dataclass(frozen=True)
class UsersInContexts:
    """The user side of the towers that know order, for known users in a context each.

    Attributes:
        users: the user side without contexts.
        codes: int32 [n, keys]; the contexts of the users of the only block that is encoded.
    """

    users: SequenceUserEncoder
    codes: Int32

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, width]."""
        return self.users.towers.in_context(self.users.encode(block), self.codes)


def _pieces(groups: Iterable[Int64], most: int) -> Iterator[Int64]:
    """The groups in pieces of so many at most."""
    for group in groups:
        for start in range(0, len(group), most):
            yield group[start : start + most]


def sequence_factors(factor_model: FactorModel) -> Float32:
    """The factors as the towers read them: of mean squared length 1, float32 [M, rank]."""
    factors = factor_model.factors
    warm = factors[factor_model.interaction_counts > 0]
    mean = float((warm.astype(np.float64) ** 2).sum(axis=1).mean()) if len(warm) else 1.0
    scaled: Float32 = (factors / np.sqrt(max(mean, 1e-12))).astype(np.float32)
    return scaled
