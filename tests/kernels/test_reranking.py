"""Lists that are chosen for diversity, by the user's mix and within quotas."""

import numpy as np
import pytest

from m6rec.kernels.arrays.categories import (
    OWN_SHARE,
    ItemCategories,
    item_categories,
    no_categories,
)
from m6rec.kernels.arrays.likeness import ItemLikeness
from m6rec.kernels.arrays.rows import Float32, Int32, Rows
from m6rec.kernels.evaluation.metrics import calibration, intra_list_similarity
from m6rec.kernels.ranking.reranking import Reranking, can_grow, rerank

# Items 0 to 2 are drama, 3 and 4 comedy, 5 is both, 6 is neither.
GENRES = item_categories(
    np.array([0, 1, 2, 3, 4, 5, 5]), np.array([0, 0, 0, 1, 1, 0, 1], np.int32), 7, 2
)
NOTHING = no_categories(7)
NO_VECTORS = np.zeros((7, 0), np.float32)
NOBODY = Rows(np.array([0]), np.array([0, 0]), np.empty(0, np.int32), np.empty(0, np.float32))


def reranking(
    diversity: float = 0.0,
    likeness: ItemLikeness | None = None,
    calibrated: float = 0.0,
    at_most: int = 0,
) -> Reranking:
    by_genre = ItemLikeness(NO_VECTORS, GENRES)
    return Reranking(
        candidates=7,
        diversity=diversity,
        likeness=likeness or by_genre,
        calibration=calibrated,
        categories=GENRES,
        at_most=at_most,
        limited=GENRES,
    )


def candidates(*items: int) -> tuple[Int32, Float32]:
    """One user's candidates, whose scores fall from 1 to 0 by even steps."""
    return np.array([items], np.int32), np.linspace(1, 0, len(items), dtype=np.float32)[None]


def chosen(
    how: Reranking, found: tuple[Int32, Float32], n: int, history: Rows = NOBODY
) -> list[int]:
    items, scores = rerank(how, history, *found, n)
    # An item keeps the score that it had.
    had = dict(zip(found[0][0].tolist(), found[1][0].tolist(), strict=True))
    assert scores[0].tolist() == [had.get(item, -np.inf) for item in items[0].tolist()]
    return items[0].tolist()


def history(*items: int, weights: tuple[float, ...] | None = None) -> Rows:
    given = np.array(weights or (1.0,) * len(items), np.float32)
    return Rows(np.array([0]), np.array([0, len(items)]), np.array(items, np.int32), given)


def test_without_strength_the_best_items_stay_in_their_order() -> None:
    assert chosen(reranking(), candidates(3, 0, 5, 1), 3) == [3, 0, 5]


def test_marginal_relevance_weighs_likeness_to_the_list_against_relevance() -> None:
    # Relevance 1, .75, .5, .25, 0. After item 0: items 1 and 2 have cosine 1 to it, 5 has .707.
    found = candidates(0, 1, 2, 5, 3)
    # With .5: .375 - .5, .25 - .5, .125 - .354, 0 - 0.
    assert chosen(reranking(diversity=0.5), found, 3) == [0, 3, 1]
    # With .2: .6 - .2, .4 - .2, .2 - .141, 0 - 0.
    assert chosen(reranking(diversity=0.2), found, 3) == [0, 1, 2]
    # With 1, relevance decides ties alone, which is where the user's first item comes from.
    assert chosen(reranking(diversity=1.0), found, 2) == [0, 3]


def test_where_all_scores_are_zero_the_first_candidates_are_the_most_relevant() -> None:
    items, _ = candidates(0, 1, 2, 5, 3)
    found = items, np.zeros((1, 5), np.float32)
    # Relevance 1, .8, .6, .4, .2.
    assert chosen(reranking(diversity=0.2), found, 3) == [0, 1, 2]
    assert chosen(reranking(diversity=0.5), found, 3) == [0, 3, 1]


def test_items_are_alike_by_the_cosine_of_their_vectors() -> None:
    vectors = np.zeros((7, 2), np.float32)
    vectors[[0, 1]], vectors[2] = [1.0, 0.0], [0.6, 0.8]
    likeness = ItemLikeness(vectors, NOTHING)
    # Item 1 is item 0 again; item 2 has the cosine .6.
    found = candidates(0, 1, 2)
    assert chosen(reranking(0.5, likeness), found, 3) == [0, 1, 2]
    assert chosen(reranking(0.6, likeness), found, 3) == [0, 2, 1]
    ranked = np.array([[0, 1, 2], [0, -1, -1]], np.int32)
    similarity = intra_list_similarity(ranked, likeness, 3)
    np.testing.assert_allclose(similarity, [(1 + 0.6 + 0.6) / 3, 0.0], rtol=1e-6)
    assert intra_list_similarity(ranked, likeness, 2)[0] == 1.0


def test_similarity_by_categories_is_the_cosine_of_the_sets() -> None:
    ranked = np.array([[0, 5, 3, 6]], np.int32)
    by_genre = ItemLikeness(NO_VECTORS, GENRES)
    # Pairs 0-5 and 5-3 have 1 / sqrt(2), all others 0.
    assert intra_list_similarity(ranked, by_genre, 4)[0] == pytest.approx(2 * 0.5**0.5 / 6)


def test_a_calibrated_list_has_the_users_own_mix() -> None:
    # Three quarters of the weight is drama, and the best items are comedies.
    own = history(0, 3, weights=(3.0, 1.0))
    found = candidates(3, 4, 1, 2, 0)
    assert chosen(reranking(calibrated=0.0), found, 4, own) == [3, 4, 1, 2]
    assert sorted(chosen(reranking(calibrated=1.0), found, 4, own)) == [0, 1, 2, 3]
    # Who has no history has no mix, and gets the best items.
    assert chosen(reranking(calibrated=1.0), found, 4) == [3, 4, 1, 2]


def divergence_by_definition(own: tuple[float, float], listed: tuple[float, float]) -> float:
    smoothed = [(1 - OWN_SHARE) * q + OWN_SHARE * p for p, q in zip(own, listed, strict=True)]
    return sum(p * np.log(p / q) for p, q in zip(own, smoothed, strict=True) if p > 0)


def test_calibration_is_the_divergence_from_the_mix_of_the_history() -> None:
    own = history(0, 3, 6, weights=(3.0, 1.0, 5.0))
    lists = {
        (0, 1, 2, 3): (0.75, 0.25),
        (5, 6, -1, -1): (0.5, 0.5),
        (3, 4, -1, -1): (0.0, 1.0),
        (-1, -1, -1, -1): (0.0, 0.0),
    }
    for ranked, listed in lists.items():
        found = calibration(np.array([ranked], np.int32), own, GENRES, 4)
        assert found[0] == pytest.approx(divergence_by_definition((0.75, 0.25), listed))
    same = calibration(np.array([[0, 1, 2, 3]], np.int32), own, GENRES, 4)
    assert same[0] == pytest.approx(0.0)
    assert calibration(np.array([[0, 1]], np.int32), NOBODY, GENRES, 2)[0] == 0.0


def test_each_step_of_calibration_takes_the_item_with_the_most_gain() -> None:
    rng = np.random.default_rng(3)
    n_items, n_genres, strength = 40, 5, 0.6
    pairs = np.unique(rng.integers(0, [n_items, n_genres], (80, 2)), axis=0)
    genres = item_categories(pairs[:, 0], pairs[:, 1].astype(np.int32), n_items, n_genres)
    spread = np.zeros((n_items, n_genres))
    spread[pairs[:, 0], pairs[:, 1]] = 1.0
    counts = spread.sum(axis=1)
    spread[counts > 0] /= counts[counts > 0, None]
    own = history(*range(8), weights=tuple(rng.random(8)))
    weights = own.weights.astype(np.float64)[counts[:8] > 0]
    mix = weights @ spread[:8][counts[:8] > 0] / weights.sum()
    items = rng.permutation(np.arange(8, 40)).astype(np.int32)[None]
    scores = np.sort(rng.random((1, 32)).astype(np.float32))[:, ::-1]
    relevance = (scores[0] - scores[0, -1]).astype(np.float64) / (scores[0, 0] - scores[0, -1])

    def far(chosen_items: list[int]) -> float:
        known = [item for item in chosen_items if counts[item] > 0]
        listed = spread[known].mean(axis=0) if known else np.zeros(n_genres)
        return divergence_by_definition(tuple(mix), tuple(listed))

    expected: list[int] = []
    for _ in range(10):
        gains = {
            int(item): (1 - strength) * relevance[place] - strength * far([*expected, int(item)])
            for place, item in enumerate(items[0])
            if item not in expected
        }
        expected.append(max(gains, key=lambda item: gains[item]))
    how = Reranking(
        32,
        0.0,
        ItemLikeness(np.zeros((n_items, 0), np.float32), genres),
        strength,
        genres,
        0,
        genres,
    )
    found, _ = rerank(how, own, items, np.ascontiguousarray(scores), 10)
    assert found[0].tolist() == expected


def test_a_quota_leaves_out_what_has_no_room() -> None:
    found = candidates(0, 1, 2, 3, 5, 4, 6)
    # Item 5 counts as drama and as comedy; item 6 has no genre and always has room.
    assert chosen(reranking(at_most=2), found, 5) == [0, 1, 3, 4, 6]
    assert chosen(reranking(at_most=1), found, 5) == [0, 3, 6, -1, -1]


def test_a_list_can_grow_while_the_quota_lets_an_item_pass() -> None:
    lists = np.array([[0, 3, 6], [0, 6, -1], [1, 2, 6]], np.int32)
    every, without_6 = np.arange(7, dtype=np.int32), np.arange(6, dtype=np.int32)
    # With an item of each genre nothing is left but item 6, which has none and is in the list.
    nothing = np.zeros(4, np.int64), np.empty(0, np.int32)
    heads, quota = lists[:, :2], reranking(at_most=1)
    assert can_grow(quota, lists, every, *nothing).tolist() == [False, True, True]
    assert can_grow(quota, heads, without_6, *nothing).tolist() == [False, True, True]
    assert can_grow(quota, heads, every, *nothing).tolist() == [True, True, True]
    # The first user has item 6, the second all comedies.
    own = np.array([0, 1, 4, 4]), np.array([6, 3, 4, 5], np.int32)
    assert can_grow(quota, heads, every, *own).tolist() == [False, False, True]


def test_users_do_not_look_at_one_another() -> None:
    found = candidates(3, 4, 1, 2, 0)
    both = Rows(
        np.array([0, 1]),
        np.array([0, 1, 2]),
        np.array([0, 3], np.int32),
        np.array([1.0, 1.0], np.float32),
    )
    how = reranking(diversity=0.2, calibrated=0.7, at_most=2)
    items, _ = rerank(how, both, np.repeat(found[0], 2, 0), np.repeat(found[1], 2, 0), 3)
    alone = [chosen(how, found, 3, history(0)), chosen(how, found, 3, history(3))]
    assert items.tolist() == alone
    assert alone[0] != alone[1]


def test_a_shorter_list_is_the_head_of_a_longer_one() -> None:
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(7, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    how = reranking(0.4, ItemLikeness(vectors, NOTHING), 0.3, 3)
    found = candidates(2, 4, 1, 6, 5, 3, 0)
    longest = chosen(how, found, 6, history(0, 3))
    assert all(chosen(how, found, n, history(0, 3)) == longest[:n] for n in range(1, 6))


def test_a_pair_that_stands_twice_counts_once() -> None:
    found = item_categories(np.array([1, 1, 0]), np.array([2, 2, 1], np.int32), 3, 3)
    expected = ItemCategories(np.array([0, 1, 2, 2]), np.array([1, 2], np.int32), 3)
    assert found.indptr.tolist() == expected.indptr.tolist()
    assert found.indices.tolist() == expected.indices.tolist()
