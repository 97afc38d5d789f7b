"""What is dropped in training is of the wanted share, and follows from the seed."""

import pytest
import torch

from m6rec.towers.dropout import Dropout, RandomBytes


def test_the_wanted_share_is_dropped_and_the_mean_stays() -> None:
    dropped = Dropout(0.2, RandomBytes(1))(torch.ones(200, 500))

    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.005)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.01)


def test_the_same_seed_drops_the_same() -> None:
    source = RandomBytes(1)
    dropout, ones = Dropout(0.5, source), torch.ones(37, 3)
    first, second = dropout(ones), dropout(ones)
    source.seed(1)

    assert not torch.equal(first, second)
    assert torch.equal(dropout(ones), first)


def test_dropouts_of_one_stream_drop_independently() -> None:
    source = RandomBytes(1)
    one, other = Dropout(0.5, source), Dropout(0.5, source)
    both = (one(torch.ones(10_000)) > 0) & (other(torch.ones(10_000)) > 0)

    assert both.float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_the_gradient_goes_through_what_is_left() -> None:
    x = torch.ones(1_000, requires_grad=True)
    left = Dropout(0.5, RandomBytes(1))(x)
    left.sum().backward()  # type: ignore[no-untyped-call]

    assert x.grad is not None
    assert torch.equal(x.grad, left.detach())


@pytest.mark.parametrize("probability", [0.0, 0.5])
def test_outside_training_nothing_is_dropped(probability: float) -> None:
    x = torch.randn(10, 3)

    assert torch.equal(Dropout(probability, RandomBytes(1)).eval()(x), x)


def test_even_the_highest_probability_leaves_something() -> None:
    left = Dropout(0.999, RandomBytes(1))(torch.ones(100_000))

    assert 0.0 < (left > 0).float().mean().item() < 0.01
    assert left.mean().item() == pytest.approx(1.0, abs=0.2)
