"""Losses against numbers worked out by hand."""

import math

import torch

from m6rec.towers.losses import binary_cross_entropy, cosine_contrastive, sampled_softmax

NONE_OWN = torch.zeros((1, 2), dtype=torch.bool)
USER = torch.tensor([0])


def test_sampled_softmax_over_all_items_is_the_full_cross_entropy() -> None:
    logits = torch.tensor([[1.0, -0.5, 2.0, 0.3]])
    own = torch.tensor([[False, False, True, False]])
    loss = sampled_softmax(logits[0, 2:3], USER, logits, own, torch.zeros(4))
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([2]))
    torch.testing.assert_close(loss, expected)


def test_sampled_softmax_scales_a_uniform_sample_up_to_the_catalogue() -> None:
    # Two of ten items drawn, both with logit 0: they stand for ten items, e^0 each.
    correction = torch.full((2,), math.log(10 / 2))
    loss = sampled_softmax(torch.tensor([3.0]), USER, torch.zeros(1, 2), NONE_OWN, correction)
    assert math.isclose(loss.item(), math.log(1 + 10 / math.exp(3.0)), rel_tol=1e-6)


def test_the_logq_correction_makes_an_uneven_sample_unbiased() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.tensor([0.5, -1.0, 2.0, 0.0])
    share = torch.tensor([0.4, 0.3, 0.2, 0.1])
    drawn = torch.multinomial(share, 200_000, replacement=True, generator=generator)
    correction = -torch.log(share[drawn] * len(drawn))
    estimate = torch.logsumexp(logits[drawn] + correction, 0)
    assert abs(estimate.item() - torch.logsumexp(logits, 0).item()) < 0.01


def test_own_items_among_the_negatives_change_nothing() -> None:
    negative = torch.tensor([[0.2, 50.0]])
    own = torch.tensor([[False, True]])
    both = sampled_softmax(torch.tensor([1.0]), USER, negative, own, torch.zeros(2))
    alone = sampled_softmax(torch.tensor([1.0]), USER, negative[:, :1], own[:, :1], torch.zeros(1))
    torch.testing.assert_close(both, alone)


def test_a_user_to_whom_all_negatives_belong_gives_a_finite_loss_and_gradient() -> None:
    negative = torch.zeros((1, 2), requires_grad=True)
    own = torch.ones((1, 2), dtype=torch.bool)
    loss = sampled_softmax(torch.tensor([1.0]), USER, negative, own, torch.zeros(2))
    loss.backward()
    assert loss.item() == 0.0
    assert negative.grad is not None and torch.all(negative.grad == 0)


def test_losses_are_means_over_pairs_and_not_over_users() -> None:
    positive = torch.tensor([1.0, 1.0, -1.0])
    users = torch.tensor([0, 0, 1])
    negative = torch.zeros(2, 1)
    own = torch.zeros((2, 1), dtype=torch.bool)
    loss = sampled_softmax(positive, users, negative, own, torch.zeros(1))
    expected = (2 * math.log1p(math.exp(-1.0)) + math.log1p(math.exp(1.0))) / 3
    assert math.isclose(loss.item(), expected, rel_tol=1e-6)


def test_binary_cross_entropy_of_zero_logits_is_twice_log_two() -> None:
    loss = binary_cross_entropy(torch.zeros(1), USER, torch.zeros(1, 2), NONE_OWN)
    assert math.isclose(loss.item(), 2 * math.log(2), rel_tol=1e-6)


def test_cosine_contrastive_counts_only_negatives_beyond_the_margin() -> None:
    negative = torch.tensor([[0.4, 0.7]])
    loss = cosine_contrastive(
        torch.tensor([0.9]), USER, negative, NONE_OWN, margin=0.5, negative_weight=10.0
    )
    assert math.isclose(loss.item(), 0.1 + 10.0 * (0.2 / 2), rel_tol=1e-5)


def test_a_trimmed_loss_leaves_out_the_pairs_that_cost_most() -> None:
    users = torch.tensor([0, 0, 0, 0])
    positive = torch.tensor([2.0, -3.0, 1.0, 0.0])
    negative = torch.zeros(1, 2)
    losses = {
        "softmax": lambda p, u, t: sampled_softmax(p, u, negative, NONE_OWN, torch.zeros(2), t),
        "entropy": lambda p, u, t: binary_cross_entropy(p, u, negative, NONE_OWN, t),
        "contrastive": lambda p, u, t: cosine_contrastive(p, u, negative, NONE_OWN, t),
    }
    kept = torch.tensor([0, 2, 3])
    for loss in losses.values():
        torch.testing.assert_close(
            loss(positive, users, 0.25), loss(positive[kept], users[kept], 0.0)
        )
        torch.testing.assert_close(loss(positive, users, 0.2), loss(positive, users, 0.0))
