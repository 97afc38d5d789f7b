"""Compute the losses of the towers as functions of logits.

Towers on sets have the loss that `towers.loss` names; towers on order always `sampled_softmax`.

A pair is a user with a target item. `pair_user`, int64 [pairs], names the user's row in the logits
of the negatives. `own`, bool [users, negatives], marks negatives that are the user's own items.
"""

from typing import Any, assert_never

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from m6rec.config.towers import TowerLoss

# What a logit is lowered by that counts for nothing.
_NOTHING = -1e30


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
    trimmed: float = 0.0,
) -> Tensor:
    """The mean cross-entropy of each target against itself and a sample of the other items.

    The loss of a pair is log(1 + sum over negatives of exp(logit + correction) / exp(positive)).
    The correction -log(expected draws of the item) makes the sum an unbiased estimate of the sum
    over all items (Bengio and Senecal 2008; logQ of Yi et al. 2019). For m uniform negatives of M
    items it is log(M / m).

    Args:
        positive: float32 [pairs]; the logits of the targets.
        pair_user: int64 [pairs].
        negative: float32 [users, negatives]; the logits of the negatives.
        own: bool [users, negatives]; these negatives are left out of the sum.
        log_correction: float32 [negatives].
        trimmed: the share of the pairs with the largest loss that is left out.
    """
    # A user who owns all negatives has an empty sum, and the pairs of that user cost nothing.
    others: Tensor = _LogSumOfOthers.apply(negative, own, log_correction)  # type: ignore[no-untyped-call]
    total = others.clamp_min(-1e4)
    return _trimmed_mean(softplus(total[pair_user] - positive), trimmed)


def binary_cross_entropy(
    positive: Tensor, pair_user: Tensor, negative: Tensor, own: Tensor, trimmed: float = 0.0
) -> Tensor:
    """The mean over pairs of -log s(positive) plus the user's mean of -log(1 - s(negative)).

    The arguments are those of `sampled_softmax`.
    """
    against = _mean_of_others(softplus(negative), own)
    return _trimmed_mean(softplus(-positive) + against[pair_user], trimmed)


def cosine_contrastive(
    positive: Tensor,
    pair_user: Tensor,
    negative: Tensor,
    own: Tensor,
    trimmed: float = 0.0,
    margin: float = 0.5,
    negative_weight: float = 20.0,
) -> Tensor:
    """The mean over pairs of 1 - cosine plus the weighted mean excess of negatives over the margin.

    This is the cosine contrastive loss of SimpleX (Mao et al. 2021, equation 1). `positive` and
    `negative` are cosines; the other arguments are those of `sampled_softmax`.
    """
    against = negative_weight * _mean_of_others(relu(negative - margin), own)
    return _trimmed_mean(1 - positive + against[pair_user], trimmed)


class _LogSumOfOthers(torch.autograd.Function):
    """log(sum over j that are not own of exp(logit_j + correction_j)) of each row.

    Its derivative is exp(logit_j + correction_j) / sum. Torch's own functions compute the
    exponentials once more for it, and set what is masked apart in a pass of its own each way.
    """

    @staticmethod
    def forward(ctx: Any, negative: Tensor, own: Tensor, log_correction: Tensor) -> Tensor:
        terms = negative + log_correction
        # Numbers of one byte become floats faster than truth values do.
        terms.add_(own.view(torch.int8).to(terms.dtype), alpha=_NOTHING)
        largest = terms.amax(dim=1, keepdim=True)
        terms.sub_(largest).exp_()
        total = terms.sum(dim=1, keepdim=True)
        ctx.save_for_backward(terms.div_(total))
        return (largest + total.log())[:, 0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (shares,) = ctx.saved_tensors
        return shares * gradient[:, None], None, None


def _mean_of_others(values: Tensor, own: Tensor) -> Tensor:
    others = ~own
    return (values * others).sum(dim=1) / others.sum(dim=1).clamp_min(1)


def _trimmed_mean(losses: Tensor, trimmed: float) -> Tensor:
    """The mean without the largest losses, which clicks by chance and robots have most often.

    This is the truncated loss of Wang et al. (2021, "Denoising implicit feedback for
    recommendation") with a share in place of a threshold.
    """
    left_out = int(trimmed * len(losses))
    if left_out == 0:
        return losses.mean()
    return losses.topk(len(losses) - left_out, largest=False, sorted=False).values.mean()
