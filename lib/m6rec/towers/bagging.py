"""Several pairs of towers on the same factors, whose scores are added up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import Float32
from m6rec.kernels.factors.projection import FactorModel
from m6rec.kernels.ranking.members import UserEncoder
from m6rec.towers.encoder import TowerEncoder, TowerUserEncoder, joined_embeddings


@dataclass(frozen=True)
class BaggedTowers:
    """Towers of one shape, each from another seed.

    Their embeddings stand side by side, so that a dot product adds up their scores: first all
    directions, then all coordinates of popularity.

    Attributes:
        shape: that of each pair, and `parts`, how many pairs there are.
        weights: those of pair k by their names after `k.`.
        factor_model: the factors that all of them rest on.
    """

    shape: Mapping[str, Any]
    weights: Mapping[str, Float32]
    factor_model: FactorModel

    @cached_property
    def parts(self) -> tuple[TowerEncoder, ...]:
        """The pairs."""
        shape = {name: value for name, value in self.shape.items() if name != "parts"}
        return tuple(
            TowerEncoder(
                shape,
                {
                    name.partition(".")[2]: array
                    for name, array in self.weights.items()
                    if name.partition(".")[0] == str(part)
                },
                self.factor_model,
            )
            for part in range(int(self.shape["parts"]))
        )

    @property
    def popularity_width(self) -> int:
        """How many coordinates of an embedding are of popularity alone; they come last."""
        return len(self.parts)

    @property
    def seen_items(self) -> npt.NDArray[np.bool_] | None:
        """bool [M]: the items that the towers know by pictures; None where they read none."""
        return self.parts[0].seen_items

    def encode_items(self, item_features: Float32 | None) -> Float32:
        """Embeddings of all items, float32 [M, width]."""
        return joined_embeddings([part.encode_items(item_features) for part in self.parts])

    def user_encoder(self, items: Float32) -> UserEncoder:
        """The user side, as a member of the hybrid."""
        return TowerUserEncoder(self.parts)


def bag(parts: Sequence[TowerEncoder]) -> BaggedTowers:
    """The pairs of towers as one; they are of one shape and rest on the same factors."""
    return BaggedTowers(
        {**parts[0].shape, "parts": len(parts)},
        {
            f"{number}.{name}": array
            for number, part in enumerate(parts)
            for name, array in part.weights.items()
        },
        parts[0].factor_model,
    )
