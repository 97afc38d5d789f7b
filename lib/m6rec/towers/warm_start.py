"""Go on with the training of earlier towers, whose items and features may have been others."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import block_diag
from torch import Tensor, nn

from m6rec.kernels.arrays.contexts import ContextVocabulary
from m6rec.kernels.arrays.rows import Float32

# The weights that have a column for each feature, and those that have a row for each item or code.
_OF_FEATURES = ("feature.weight", "stand_in.weight")
_OF_ALL_VECTORS = "modality_stand_in.weight"
_OF_VECTORS = re.compile(r"modalities\.(?:layers\.(\d+)\.weight|queries\.(\d+))$")
_OF_ITEMS = ("own.weight",)
_OF_CONTEXTS = ("context_shift", "context_scale")


@dataclass(frozen=True)
class FeatureTurn:
    """What turns the features of users or items into those that earlier towers read.

    A row of zeros is a feature that they do not know.

    Attributes:
        plain: float32 [features, features before]; of those that are no vectors.
        vectors: float32 [width, width before]; of each column of vectors.
    """

    plain: Float32
    vectors: tuple[Float32, ...] = ()


@dataclass(frozen=True)
class EarlierTowers:
    """Towers to go on from.

    Attributes:
        weights: float32 arrays by the names of the model's parameters.
        contexts: the contexts that they know.
        first_epoch: the epoch of the schedule, counted from 0, with which training goes on.
        epochs: for how many it does.
        users, items: how their features are read.
    """

    weights: Mapping[str, Float32]
    contexts: ContextVocabulary
    first_epoch: int
    epochs: int
    users: FeatureTurn
    items: FeatureTurn


def take_over(
    model: nn.Module, earlier: EarlierTowers, contexts: ContextVocabulary | None = None
) -> None:
    """Give a model that is about to be trained the weights of earlier towers.

    What they do not know (a new item, a new feature, a layer of another size) starts as it is.

    Args:
        model: as it starts without earlier towers.
        earlier: the towers.
        contexts: those that the model learns, if any.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            given = earlier.weights.get(name)
            if given is None or (name in _OF_CONTEXTS and contexts != earlier.contexts):
                continue
            known = torch.from_numpy(np.array(given, np.float32))
            turn = _turn_of(name, earlier)
            if turn is not None:
                _turn_columns(parameter, known, turn)
            elif name in _OF_ITEMS and known.shape[1:] == parameter.shape[1:]:
                rows = min(len(known), len(parameter))
                parameter[:rows] = known[:rows]
            elif known.shape == parameter.shape:
                parameter.copy_(known)


def _turn_of(name: str, earlier: EarlierTowers) -> Float32 | None:
    """What turns the features that weights have columns for; None for all other weights."""
    side = earlier.users if name.startswith("user.") else earlier.items
    of_vectors = _OF_VECTORS.search(name)
    if of_vectors is not None:
        return side.vectors[int(of_vectors[1] or of_vectors[2])]
    if name.endswith(_OF_ALL_VECTORS):
        joined: Float32 = block_diag(*side.vectors)
        return joined
    return side.plain if name.removeprefix("user.").removeprefix("item.") in _OF_FEATURES else None


def _turn_columns(parameter: Tensor, known: Tensor, turn: Float32) -> None:
    """Give the columns of known features weights by which these count as they did before."""
    fits = turn.shape == (parameter.shape[-1], known.shape[-1])
    if fits and parameter.shape[:-1] == known.shape[:-1]:
        is_known = torch.from_numpy(turn.any(axis=1))
        turned = known @ torch.from_numpy(turn).T
        parameter[..., is_known] = turned[..., is_known]
