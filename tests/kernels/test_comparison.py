"""Changes against other runs and the rank of embeddings, with known answers."""

import doctest

import numpy as np
import pytest
from scipy import stats

from m6rec.kernels.publication import comparison
from m6rec.kernels.publication.comparison import PairedChange, effective_rank


def test_examples() -> None:
    assert doctest.testmod(comparison, extraglobs={"np": np}).failed == 0


def test_a_paired_change_is_that_of_the_means_with_the_p_value_of_scipy() -> None:
    rng = np.random.default_rng(1)
    earlier = rng.random(40)
    now = earlier - 0.1 + 0.05 * rng.standard_normal(40)
    change = PairedChange(40, earlier.sum(), now.sum(), ((now - earlier) ** 2).sum())
    assert change.relative == pytest.approx(now.mean() / earlier.mean() - 1)
    assert change.p_value == pytest.approx(stats.ttest_rel(now, earlier).pvalue, rel=1e-6)


def test_a_change_without_users_is_none() -> None:
    change = PairedChange(0, 0.0, 0.0, 0.0)
    assert (change.relative, change.p_value) == (0.0, 1.0)


def test_the_effective_rank_tells_a_collapse_from_many_directions() -> None:
    rng = np.random.default_rng(1)
    many = rng.standard_normal((500, 16)).astype(np.float32)
    line = (rng.standard_normal((500, 1)) * rng.standard_normal((1, 16))).astype(np.float32)
    assert effective_rank(many) == pytest.approx(16.0, abs=0.1)
    assert effective_rank(line) == pytest.approx(1.0, abs=0.01)
    assert effective_rank(np.zeros((3, 4), dtype=np.float32)) == 0.0
    assert effective_rank(np.zeros((0, 4), dtype=np.float32)) == 0.0


def test_two_singular_values_have_the_entropy_of_their_shares() -> None:
    shares = np.array([0.75, 0.25])
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert effective_rank(np.diag([3.0, 1.0]).astype(np.float32)) == pytest.approx(expected)
