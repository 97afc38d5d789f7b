"""Losses of the towers: functions of logits alone.

Pairs: a user (row of the negatives' logits) with a target item. `pair_user` int64 [pairs] names the
row. `own` bool [users, negatives] marks negatives that are the user's own items.
"""

from typing import assert_never

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from m6rec.config.models import TowerLoss


def is_of_cosines(loss: TowerLoss) -> bool:
    """Whether a loss is of cosines, without the temperature and the popularity of the logits."""
    match loss:
        case "sampled_softmax" | "binary_cross_entropy":
            return False
        case "cosine_contrastive":
            return True
        case _:
            assert_never(loss)


def sampled_softmax(
    positive: Tensor,
    pair_user: Tensor,
    negative: Tensor,
    own: Tensor,
    log_correction: Tensor,
) -> Tensor:
    """Mean cross-entropy of each target against itself and a sample of the other items.

    For a pair: log(1 + sum over negatives of exp(logit + correction) / exp(positive)). The
    correction -log(expected draws of the item) makes the sum an unbiased estimate of that over all
    items (Bengio and Senecal 2008; logQ of Yi et al. 2019); for m uniform negatives of M items it
    is log(M / m).

    Args:
        positive: float32 [pairs]; the logits of the targets.
        pair_user: int64 [pairs].
        negative: float32 [users, negatives]; logits.
        own: bool [users, negatives]; left out of the sum.
        log_correction: float32 [negatives].
    """
    others = (negative + log_correction).masked_fill(own, -torch.inf)
    # A user to whom every negative belongs has an empty sum: its pairs cost nothing.
    total = torch.logsumexp(others, dim=1).clamp_min(-1e4)
    return softplus(total[pair_user] - positive).mean()


def binary_cross_entropy(
    positive: Tensor, pair_user: Tensor, negative: Tensor, own: Tensor
) -> Tensor:
    """Mean over pairs of -log s(positive) plus the user's mean of -log(1 - s(negative)).

    Arguments as for `sampled_softmax`.
    """
    against = _mean_of_others(softplus(negative), own)
    return (softplus(-positive) + against[pair_user]).mean()


def cosine_contrastive(
    positive: Tensor,
    pair_user: Tensor,
    negative: Tensor,
    own: Tensor,
    margin: float = 0.5,
    negative_weight: float = 20.0,
) -> Tensor:
    """Mean over pairs of (1 - cosine) plus the weighted mean of the negatives' excess over margin.

    The cosine contrastive loss of SimpleX (Mao et al. 2021, equation 1). `positive` and
    `negative` are cosines; the other arguments as for `sampled_softmax`.
    """
    against = negative_weight * _mean_of_others(relu(negative - margin), own)
    return (1 - positive + against[pair_user]).mean()


def _mean_of_others(values: Tensor, own: Tensor) -> Tensor:
    others = ~own
    return (values * others).sum(dim=1) / others.sum(dim=1).clamp_min(1)
