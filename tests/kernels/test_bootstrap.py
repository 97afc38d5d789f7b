"""The Poisson bootstrap and the paired test."""

import numpy as np
from scipy import stats

from m6rec.kernels.evaluation.bootstrap import (
    mean_sums,
    no_means,
    no_pairs,
    paired_sums,
    paired_t_test,
    percentile_interval,
    poisson_weights,
)


def test_weights_are_poisson_of_mean_one() -> None:
    weights = poisson_weights(7, np.arange(2_000), 500)
    observed = np.bincount(weights.ravel(), minlength=9)[:8] / weights.size
    np.testing.assert_allclose(observed, stats.poisson.pmf(np.arange(8), 1.0), atol=1.5e-3)


def test_weights_of_users_and_replicates_are_uncorrelated() -> None:
    weights = poisson_weights(7, np.arange(400), 400).astype(np.float64)
    for correlations in (np.corrcoef(weights), np.corrcoef(weights.T)):
        above_diagonal = correlations[np.triu_indices(400, 1)]
        assert abs(above_diagonal.mean()) < 0.002
        np.testing.assert_allclose(above_diagonal.std(), 1 / np.sqrt(400), rtol=0.05)


def test_a_weight_depends_on_seed_user_and_replicate_alone() -> None:
    users = np.array([12, 5, 5_000_000_000, 7])
    together = poisson_weights(1, users, 10)
    for place, user in enumerate(users):
        assert (poisson_weights(1, np.array([user]), 10)[0] == together[place]).all()
    assert (poisson_weights(1, users, 7) == together[:, :7]).all()
    assert (poisson_weights(2, users, 10) != together).any()


def test_weights_never_change_between_versions() -> None:
    weights = poisson_weights(42, np.array([0, 1]), 12)
    assert weights.tolist() == PINNED


PINNED = [
    [1, 1, 1, 2, 4, 3, 2, 1, 2, 2, 0, 1],
    [0, 3, 1, 0, 1, 2, 2, 0, 1, 1, 1, 1],
]


def test_sums_of_partitions_add_up_to_the_whole() -> None:
    generator = np.random.default_rng(0)
    values, users = generator.random((300, 4)), generator.permutation(1_000)[:300]
    whole = mean_sums(values, poisson_weights(3, users, 50))
    parts = no_means(4, 50)
    for block in np.array_split(generator.permutation(300), 7):
        parts = parts.plus(mean_sums(values[block], poisson_weights(3, users[block], 50)))
    assert parts.users == whole.users == 300
    np.testing.assert_allclose(parts.means(), values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(parts.replicate_means(), whole.replicate_means(), rtol=1e-12)


def test_the_interval_of_a_mean_is_that_of_the_central_limit() -> None:
    values = np.random.default_rng(1).exponential(size=(2_000, 1))
    sums = mean_sums(values, poisson_weights(5, np.arange(2_000), 2_000))
    low, high = percentile_interval(sums.replicate_means(), 0.95)
    error = values.std(ddof=1) / np.sqrt(2_000)
    np.testing.assert_allclose(low, values.mean() - 1.96 * error, atol=0.15 * error)
    np.testing.assert_allclose(high, values.mean() + 1.96 * error, atol=0.15 * error)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    values = generator.binomial(1, 0.3, size=(200, 500)).astype(np.float64)
    sums = mean_sums(values, poisson_weights(5, np.arange(200), 1_000))
    low, high = percentile_interval(sums.replicate_means(), 0.9)
    covered = ((low <= 0.3) & (high >= 0.3)).mean()
    assert 0.85 < covered < 0.94


def test_replicates_without_a_user_are_left_out_of_the_interval() -> None:
    sums = mean_sums(np.array([[0.5]]), np.array([[0, 1, 2, 0]], dtype=np.uint8))
    assert np.isnan(sums.replicate_means()).sum() == 2
    assert percentile_interval(sums.replicate_means(), 0.95) == (0.5, 0.5)
    none = mean_sums(np.array([[0.5]]), np.zeros((1, 4), dtype=np.uint8))
    assert np.isnan(percentile_interval(none.replicate_means(), 0.95)).all()


def test_the_paired_test_is_that_of_scipy_over_added_partitions() -> None:
    generator = np.random.default_rng(4)
    first, second = generator.random((2, 60, 3))
    second[:, 1] += 0.2
    sums = no_pairs(3)
    for start in range(0, 60, 13):
        sums = sums.plus(paired_sums((first - second)[start : start + 13]))
    expected = stats.ttest_rel(first, second).pvalue
    np.testing.assert_allclose(paired_t_test(sums), expected, rtol=1e-9)


def test_equal_values_give_no_evidence_and_constant_differences_give_certainty() -> None:
    differences = np.stack([np.zeros(50), np.full(50, 0.1), np.full(50, -1 / 3)], axis=1)
    assert paired_t_test(paired_sums(differences)).tolist() == [1.0, 0.0, 0.0]


def test_one_user_gives_no_evidence() -> None:
    assert paired_t_test(paired_sums(np.array([[0.7]]))).tolist() == [1.0]
