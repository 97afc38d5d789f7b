"""Go on with the training of earlier towers, whose items and features may have been others."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.kernels.arrays.contexts import ContextVocabulary
from m6rec.kernels.arrays.rows import Float32, Int64

NOT_KNOWN_BEFORE = -1
# The weights that have a column for each feature, and those that have a row for each item or code.
_OF_USER_FEATURES = ("user.feature.weight", "user.stand_in.weight")
_OF_ITEM_FEATURES = ("item.feature.weight", "item.stand_in.weight", "feature.weight")
_OF_ITEMS = ("own.weight",)
_OF_CONTEXTS = ("context_shift", "context_scale")


@dataclass(frozen=True)
class EarlierTowers:
    """Towers to go on from.

    Attributes:
        weights: float32 arrays by the names of the model's parameters.
        contexts: the contexts that they know.
        first_epoch: the epoch of the schedule, counted from 0, with which training goes on.
        epochs: for how many it does.
        user_columns, item_columns: int64 [features]; the place at which the towers have each
            feature, NOT_KNOWN_BEFORE where they do not know it.
    """

    weights: Mapping[str, Float32]
    contexts: ContextVocabulary
    first_epoch: int
    epochs: int
    user_columns: Int64
    item_columns: Int64


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
            if name in _OF_USER_FEATURES:
                _copy_columns(parameter, known, earlier.user_columns)
            elif name in _OF_ITEM_FEATURES:
                _copy_columns(parameter, known, earlier.item_columns)
            elif name in _OF_ITEMS and known.shape[1:] == parameter.shape[1:]:
                rows = min(len(known), len(parameter))
                parameter[:rows] = known[:rows]
            elif known.shape == parameter.shape:
                parameter.copy_(known)


def _copy_columns(parameter: Tensor, known: Tensor, places: Int64) -> None:
    # Features end with the axes of columns of vectors, which have weights of their own.
    plain = places[: parameter.shape[1]]
    if len(plain) != parameter.shape[1] or known.shape[0] != parameter.shape[0]:
        return
    for column, place in enumerate(plain.tolist()):
        if NOT_KNOWN_BEFORE < place < known.shape[1]:
            parameter[:, column] = known[:, place]
