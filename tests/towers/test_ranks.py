"""Gradients of several ranks are averaged over the pairs of all."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from m6rec.spark.barrier import GlooCommunicator
from m6rec.towers.ranks import ALONE, Rank

dist: Any = distributed


def together(work: Callable[[Rank], Any], ranks: int = 2) -> list[Any]:
    """What each of some ranks gives; here they are threads with a gloo group between them."""
    store = dist.TCPStore("127.0.0.1", 0, None, True, timedelta(minutes=1), wait_for_workers=False)

    def run(number: int) -> Any:
        options = dist.ProcessGroupGloo._Options()
        options._devices = [dist.ProcessGroupGloo.create_device(hostname="127.0.0.1")]
        own = dist.TCPStore("127.0.0.1", store.port, None, False, timedelta(minutes=1))
        group = dist.ProcessGroupGloo(own, number, ranks, options)
        return work(Rank(GlooCommunicator(group, own)))

    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(run, range(ranks)))


class Model(nn.Module):
    """A dense weight, one that no step uses, and rows of which a step uses a few."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Parameter(torch.zeros(2, 2))
        self.unused = nn.Parameter(torch.zeros(3))
        self.rows = nn.Embedding(5, 2, sparse=True)


def test_gradients_are_averaged_over_the_pairs_of_all_ranks() -> None:
    pairs = (1, 3)
    rows = ([0, 4], [4])

    def work(rank: Rank) -> tuple[Any, ...]:
        model, number = Model(), rank.number
        optimizers = [torch.optim.SparseAdam(model.rows.parameters(), lr=0.1)]
        model.dense.grad = torch.full((2, 2), float(number + 1))
        model.rows(torch.tensor(rows[number])).sum().backward()
        rank.average_gradients(model, optimizers, pairs[number])
        assert model.dense.grad is not None and model.rows.weight.grad is not None
        assert model.unused.grad is not None and not model.unused.grad.any()
        return model.dense.grad.numpy(), model.rows.weight.grad.to_dense().numpy()

    first, second = together(work)
    np.testing.assert_array_equal(first[0], np.full((2, 2), (1 * 1 + 3 * 2) / 4))
    expected = np.zeros((5, 2))
    expected[0], expected[4] = 1 / 4, (1 + 3) / 4
    np.testing.assert_array_equal(first[1], expected)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_rank_without_pairs_takes_the_gradients_of_the_others() -> None:
    def work(rank: Rank) -> Any:
        model = Model()
        optimizers = [torch.optim.SparseAdam(model.rows.parameters(), lr=0.1)]
        if rank.number == 0:
            model.dense.grad = torch.full((2, 2), 2.0)
            model.rows(torch.tensor([3])).sum().backward()
        rank.average_gradients(model, optimizers, 5 if rank.number == 0 else 0)
        assert model.dense.grad is not None and model.rows.weight.grad is not None
        return model.dense.grad.numpy(), model.rows.weight.grad.to_dense().numpy()

    for dense, by_rows in together(work):
        np.testing.assert_array_equal(dense, np.full((2, 2), 2.0))
        assert by_rows.sum() == 2.0 and by_rows[3].all()


def test_parameters_that_are_held_fixed_do_not_decay() -> None:
    def work(rank: Rank) -> Any:
        model = Model()
        nn.init.ones_(model.unused).requires_grad_(False)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
        model.dense.grad = torch.ones(2, 2)
        rank.average_gradients(model, [optimizer], 3)
        optimizer.step()
        return model.unused.numpy(), model.dense.detach().numpy()

    for held, trained in together(work):
        np.testing.assert_array_equal(held, np.ones(3))
        assert (trained < 0).all()


def test_one_rank_leaves_its_gradients_as_they_are() -> None:
    model = Model()
    model.dense.grad = torch.ones(2, 2)
    ALONE.average_gradients(model, [], 7)
    assert model.dense.grad.eq(1).all() and model.unused.grad is None
    assert ALONE.sums(2.0, 3.0) == (2.0, 3.0)
