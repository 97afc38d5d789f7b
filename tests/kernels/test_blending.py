import numpy as np
import pytest

from m6rec.kernels.ranking.blending import (
    BINS,
    LEAST_WEIGHT,
    PICTURES_ALONE,
    Blend,
    Candidates,
    ChosenWeights,
    blended_scores,
    choose_weights,
    evidence_bins,
    ndcg_of_users,
    with_least_weight,
    with_weight_for_new_users,
)


def two_users(
    scores: list[list[float]],
    item_bins: tuple[int, ...] = (3,) * 6,
    user_bins: tuple[int, ...] = (3, 3),
) -> Candidates:
    """Two users with three candidates each, of which the first is relevant."""
    return Candidates(
        indptr=np.array([0, 3, 6]),
        scores=np.array(scores, dtype=np.float32),
        relevant=np.array([True, False, False, True, False, False]),
        relevant_counts=np.array([1, 1]),
        item_bins=np.array(item_bins),
        user_bins=np.array(user_bins),
        owners=np.arange(2),
    )


def two_members() -> Candidates:
    """Member 0 is right for the first user, member 1 for both."""
    return two_users([[3, 2, 1, 1, 2, 3], [3, 2, 1, 3, 2, 1]])


def test_ndcg_of_a_known_ranking() -> None:
    first, second = two_members().scores
    assert ndcg_of_users(two_members(), first, 3) == pytest.approx([1.0, 0.5])
    assert ndcg_of_users(two_members(), second, 3) == pytest.approx([1.0, 1.0])


def test_the_ideal_counts_held_out_items_that_are_no_candidates() -> None:
    one = Candidates(
        np.array([0, 1]),
        np.ones((1, 1), np.float32),
        np.array([True]),
        np.array([2]),
        np.array([3]),
        np.array([3]),
        np.array([0]),
    )
    assert ndcg_of_users(one, one.scores[0], 2) == pytest.approx([1.0 / (1.0 + 1.0 / np.log2(3.0))])


def test_a_member_that_adds_nothing_keeps_weight_zero() -> None:
    choice = choose_weights(two_members(), k=3, rounds=3)
    assert choice.weights.tolist() == [0.0, 1.0]
    assert choice.ndcg == pytest.approx(1.0)


def test_members_that_complement_each_other_are_both_kept() -> None:
    candidates = two_users([[9, 0, 1, 5, 6, 0], [5, 6, 0, 9, 0, 1]])
    choice = choose_weights(candidates, k=3, rounds=3, resamples=1)
    assert (choice.weights > 0).all()
    assert choice.ndcg == pytest.approx(1.0)


def by_margins(*margins: np.ndarray) -> Candidates:
    """Users with two candidates each, and by how much each member prefers the relevant one."""
    users = len(margins[0])
    scores = np.zeros((len(margins), 2 * users), np.float32)
    scores[:, ::2] = margins
    bins = np.full(2 * users, 3)
    return Candidates(
        indptr=2 * np.arange(users + 1),
        scores=scores,
        relevant=np.tile([True, False], users),
        relevant_counts=np.ones(users, np.int64),
        item_bins=bins,
        user_bins=bins[::2],
        owners=np.arange(users),
    )


@pytest.mark.parametrize(("gaining", "losing", "enters"), [(4, 0, True), (2, 1, False)])
def test_a_member_enters_where_its_gain_is_above_its_noise(
    gaining: int, losing: int, enters: bool
) -> None:
    """The other member puts some users right, and others wrong, whatever its weight."""
    users = 200
    best, other = np.full(users, 1e-3), np.full(users, -1e-5)
    best[:gaining], other[:gaining] = -1e-3, 1.0
    other[gaining : gaining + losing] = -1.0
    weights = choose_weights(
        by_margins(best, other), k=2, rounds=3, resamples=1, standard_errors=1.0
    ).weights
    assert weights[0] > 0.0
    assert (weights[1] > 0.0) == enters


def test_a_member_that_few_samples_of_the_users_ask_for_has_no_weight() -> None:
    """The second member puts a third of the users right; the last one helps one, and harms one."""
    users = 30
    best, other, rare = (np.full(users, margin) for margin in (1e-3, -1e-5, -1e-5))
    best[:11] = -1e-3
    other[:10] = 1.0
    rare[10:12] = 1.0, -1.0
    candidates = by_margins(best, other, rare)
    weights = choose_weights(candidates, k=2, rounds=3, resamples=16).weights
    assert weights[0] > 0.0
    assert weights[1] > 0.0
    assert weights[2] == 0.0
    for resamples in (1, 16):
        found = [choose_weights(candidates, k=2, rounds=3, resamples=resamples) for _ in range(2)]
        assert found[0].weights.tolist() == found[1].weights.tolist()
        assert found[0].ndcg == found[1].ndcg


def test_weights_are_the_means_of_those_of_the_samples() -> None:
    """For one user the first member is right, for the other one the second, and none in between."""
    candidates = by_margins(np.array([1.0, -1.0]), np.array([-1.0, 1.0]))
    found = choose_weights(candidates, k=2, rounds=3, resamples=200)
    # Each is alone in the quarter of the samples that have its user twice.
    assert found.weights == pytest.approx([1.0, 1.0], abs=0.5)
    assert found.trials > choose_weights(candidates, k=2, rounds=3, resamples=1).trials


def test_items_without_history_get_factors_of_their_own() -> None:
    # Whatever the weight of the one member, it misleads about the items without history.
    candidates = two_users([[2, 3, 1, 2, 3, 1]], item_bins=(3, 0, 3, 3, 0, 3))
    choice = choose_weights(candidates, k=3, rounds=3, resamples=1)
    assert choice.item_factors[0, 0] < 1.0
    assert choice.item_factors[0, 1:].tolist() == [1.0] * (BINS - 1)
    assert choice.ndcg == pytest.approx(1.0)
    blended = blended_scores(candidates, choice)
    assert ndcg_of_users(candidates, blended, 3).mean() == pytest.approx(choice.ndcg)


def test_users_with_little_history_get_factors_of_their_own() -> None:
    # Member 0 is strong and right for the second user only, member 1 for the first only.
    scores: list[list[float]] = [[0, 9, 5, 9, 0, 1], [3, 0, 1, 0, 4, 1]]
    choice = choose_weights(two_users(scores, user_bins=(1, 3)), k=3, rounds=1, resamples=1)
    assert choice.ndcg == pytest.approx(1.0)
    together = choose_weights(two_users(scores, user_bins=(3, 3)), k=3, rounds=1, resamples=1)
    assert together.ndcg < 1.0


def test_bins_of_evidence_start_at_their_bounds() -> None:
    assert evidence_bins(np.array([0, 1, 2, 3, 9, 10, 99])).tolist() == [0, 1, 1, 2, 2, 3, 3]
    assert evidence_bins(np.array([PICTURES_ALONE])).tolist() == [4]


def test_coefficients_leave_out_members_without_weight() -> None:
    blend = Blend("hybrid", ("a", "b"), (1.0, 0.0), (2.0, 3.0))
    assert blend.coefficients() == {"a": 0.5}


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_who_is_unknown_to_the_others_is_ranked_by_a_least_weight_whatever_the_factors(
    weight: float,
) -> None:
    # The second member alone knows the first user, who has no interaction. Newcomers whom others
    # know were best served without it, and so were items of many interactions.
    scores: list[list[float]] = [[0, 0, 0, 3, 2, 1], [3, 2, 1, 1, 2, 3]]
    of_users = np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]])
    of_items = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0]])
    chosen = ChosenWeights(np.array([1.0, weight]), of_items, of_users, 0.0, 0)
    candidates = two_users(scores, user_bins=(0, 3))
    assert not blended_scores(candidates, chosen)[:3].any()
    floored = with_least_weight(chosen, 1)
    unknown, known = np.split(blended_scores(candidates, floored), 2)
    assert (np.diff(unknown) < 0.0).all() and unknown[-1] > 0.0
    # No order that others make is changed.
    assert (np.diff(known) < 0.0).all()
    assert floored.weights[1] * floored.user_factors[1, 0] >= LEAST_WEIGHT
    assert (floored.weights[1] * floored.item_factors[1] >= LEAST_WEIGHT).all()


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_who_has_attributes_alone_is_ranked_by_the_member_that_knows_them(weight: float) -> None:
    # Of the first user, who has no interaction, the second member knows attributes. The third is
    # popularity, which says the opposite.
    scores: list[list[float]] = [
        [0, 0, 0, 3, 2, 1],
        [3, 2, 1, 1, 2, 3],
        [1, 2, 3, 1, 2, 3],
    ]
    of_users = np.ones((3, BINS))
    of_users[1, 0] = 0.0
    chosen = ChosenWeights(np.array([1.0, weight, 0.5]), np.ones((3, BINS)), of_users, 0.0, 0)
    candidates = two_users(scores, user_bins=(0, 3))
    found = with_weight_for_new_users(chosen, 1)
    unknown, known = np.split(blended_scores(candidates, found), 2)
    assert (np.diff(unknown) < 0.0).all()
    np.testing.assert_allclose(known, np.split(blended_scores(candidates, chosen), 2)[1])


def test_a_least_weight_changes_no_order_of_users_whose_scores_are_small() -> None:
    # Of the second user the taste is the opposite of what is popular.
    scores: list[list[float]] = [[0, 0, 0, 1e-6, 2e-6, 3e-6], [3, 2, 1, 3, 2, 1]]
    ones = np.ones((2, BINS))
    chosen = ChosenWeights(np.array([1.0, 0.0]), ones, ones, 0.0, 0)
    floored = with_least_weight(chosen, 1)
    blended = blended_scores(two_users(scores, user_bins=(0, 3)), floored)
    unknown, known = np.split(blended, 2)
    assert (np.diff(unknown) < 0.0).all()
    assert (np.diff(known) > 0.0).all()
