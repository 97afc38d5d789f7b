"""Items by domain: lists of items cut to a domain, members within it, and its weights."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from m6rec.kernels.arrays.domains import domains_of
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.evaluation.sampling import drawn_items, places_among
from m6rec.kernels.factors.projection import build_factor_model, project
from m6rec.kernels.neighbours.item_neighbours import item_weights_from_scipy
from m6rec.kernels.ranking.blending import BINS, LEAST_WEIGHT, Candidates, ChosenWeights
from m6rec.kernels.ranking.domain_weights import (
    DomainWeights,
    choose_in_domain,
    joined,
    on_one_scale,
    users_of_joined,
    weights_in_domain,
)
from m6rec.kernels.ranking.members import (
    HistoryMember,
    OwnRowsEncoder,
    UserBlock,
    popularity_member,
    within,
)
from m6rec.kernels.ranking.scoring import represent, scores_and_moments
from m6rec.kernels.ranking.validation import ValidationUsers

NAMES = ["film", "book", "film", None, "book"]
BOOKS, FILMS = domains_of(NAMES)
# The user has item 1 (a book) and item 2 (a film); nobody else is there.
ROWS = Rows(np.array([7]), np.array([0, 2]), np.array([1, 2], np.int32), np.array([1, 2], "f4"))
NOTHING = np.zeros((1, 0), np.float32)
BLOCK = UserBlock(ROWS, NOTHING, NOTHING, {}, np.zeros(2, "f4"), np.zeros(2, np.int64))


def test_domains_stand_by_name_and_an_item_without_one_is_in_none() -> None:
    assert [domain.name for domain in domains_of(NAMES)] == ["book", "film"]
    assert (BOOKS.items.tolist(), FILMS.items.tolist()) == ([1, 4], [0, 2])
    assert BOOKS.places.tolist() == [-1, 0, -1, -1, 1]
    assert domains_of([None, None]) == ()


def test_lists_keep_the_items_of_the_domain_alone() -> None:
    indptr, items = np.array([0, 3, 3, 5]), np.array([0, 1, 4, 2, 4], np.int32)
    found = BOOKS.own(indptr, items)
    assert [part.tolist() for part in found] == [[0, 2, 2, 3], [0, 1, 1]]
    found = FILMS.own(indptr, items)
    assert [part.tolist() for part in found] == [[0, 1, 1, 2], [0, 1]]


def test_within_a_domain_the_history_of_all_domains_speaks() -> None:
    # The book speaks for book 4 by 3, the film for book 4 by 1 and for film 0 by 5.
    weights = np.zeros((5, 5), np.float32)
    weights[1, 4], weights[2, 4], weights[2, 0] = 3.0, 1.0, 5.0
    member = within(HistoryMember("ridge", item_weights_from_scipy(sp.csr_matrix(weights))), BOOKS)
    users = represent({"ridge": member}, BLOCK)
    scores, _ = scores_and_moments(
        member, users, np.array([0, 2]), np.array([0, 1], np.int32), n_items=2
    )
    # The film weighs 2.
    assert scores.tolist() == [0.0, 3.0 + 2.0]
    popular = within(popularity_member(np.array([9, 1, 9, 9, 3])), BOOKS)
    assert popular.item_vectors[:, 0].tolist() == pytest.approx(np.log([2.0, 4.0]).tolist())


def test_the_factors_of_a_domain_alone_know_its_part_of_the_row() -> None:
    parameters = {
        "unobserved_weight": 0.1,
        "weight_scale": 1.0,
        "regularisation": 0.1,
        "frequency_exponent": 1.0,
        "frequency_offset": 1.0,
        "explicit": 0.0,
        "mean_rating": 0.0,
    }
    factors = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    model = build_factor_model(
        "own_als", factors, None, np.ones(2, np.float32), parameters, np.ones(2, np.int64)
    )
    books = Rows(np.array([7]), np.array([0, 1]), np.array([0], np.int32), np.ones(1, "f4"))
    found = OwnRowsEncoder(model, BOOKS).encode(BLOCK)
    np.testing.assert_array_equal(found, project(model, books))


def test_validation_ranks_within_each_domain() -> None:
    # Film 0 is more popular than book 4: in one list, it would stand before it.
    users = ValidationUsers(
        BLOCK, np.array([0, 1]), np.array([4], np.int32), np.zeros(5, np.bool_), True
    )
    popular = popularity_member(np.array([9, 1, 9, 9, 3]))
    assert users.ndcg(popular, 1) == 0.0
    assert replace(users, domains=(BOOKS, FILMS)).ndcg_of_users({"popular": popular}, 1) == [1.0]


def candidates(scores: list[list[float]], n_users: int) -> Candidates:
    """Users with two candidates each, of which the first is relevant, scored alike for all."""
    return Candidates(
        2 * np.arange(n_users + 1),
        np.tile(np.array(scores, np.float32), n_users),
        np.tile([True, False], n_users),
        np.ones(n_users, np.int64),
        np.full(2 * n_users, 3),
        np.full(n_users, 3),
        np.arange(n_users),
    )


def weights(*values: float) -> ChosenWeights:
    ones = np.ones((len(values), BINS))
    return ChosenWeights(np.array(values), ones, ones, 0.0, 0)


RIGHT, WRONG = [2.0, 1.0], [1.0, 2.0]
NOBODYS = np.array([False, False])


def test_a_domain_keeps_the_common_weights_unless_its_own_are_surely_better() -> None:
    right = choose_in_domain(candidates([RIGHT, WRONG], 40), weights(1.0, 0.0), NOBODYS, 2, 2)
    assert (right.origin, right.chosen.weights.tolist()) == ("common", [1.0, 0.0])
    assert right.alone is None


def test_many_users_of_a_domain_outweigh_the_common_weights() -> None:
    many = candidates([WRONG, RIGHT], 2_000)
    found = choose_in_domain(many, weights(1.0, 0.0), NOBODYS, 2, 2)
    assert found.origin == "of_domain"
    share = 2_000 / 2_500
    assert found.chosen.weights.tolist() == pytest.approx([(1 - share) / share, 1.0])
    # Few are drawn towards the common weights so much that nothing is gained.
    few = candidates([WRONG, RIGHT], 20)
    assert choose_in_domain(few, weights(1.0, 0.0), NOBODYS, 2, 2).origin == "common"


def test_a_domain_that_others_harm_keeps_its_own_models() -> None:
    few = candidates([WRONG, RIGHT], 20)
    found = choose_in_domain(few, weights(1.0, 0.0), np.array([False, True]), 2, 2)
    assert (found.origin, found.chosen.weights.tolist()) == ("alone", [0.0, 1.0])
    assert found.alone is not None
    assert (found.alone.mean(), found.together.mean() < 1.0) == (1.0, True)


def test_what_a_domain_does_without_ranks_for_users_who_were_never_there() -> None:
    common = weights(1.0, 0.5, 0.0)
    alone = DomainWeights(weights(0.0, 0.0, 1.0), "alone", None, np.ones(1), np.zeros(1, np.int64))
    assert weights_in_domain(alone, common).tolist() == [LEAST_WEIGHT, LEAST_WEIGHT / 2, 1.0]
    own = replace(alone, origin="of_domain")
    assert weights_in_domain(own, common).tolist() == [0.0, 0.0, 1.0]


def test_candidates_of_domains_are_joined_by_lists_and_keep_their_users() -> None:
    parts = [candidates([RIGHT, WRONG], 3), candidates([WRONG, RIGHT], 2)]
    together = joined(parts)
    assert len(np.unique(together.owners)) == 5
    assert users_of_joined(together.owners, 2).tolist() == [0, 1, 2, 0, 1]


def test_candidates_of_all_domains_have_one_scale() -> None:
    parts = candidates([RIGHT], 3), candidates([RIGHT], 1)
    scaled, deviations = on_one_scale(parts, [{"als": 2.0}, {"als": 4.0}])
    common = np.sqrt((3 * 2.0**2 + 4.0**2) / 4)
    assert deviations == {"als": pytest.approx(common)}
    np.testing.assert_allclose(scaled[0].scores, parts[0].scores * 2.0 / common, rtol=1e-6)
    np.testing.assert_allclose(scaled[1].scores, parts[1].scores * 4.0 / common, rtol=1e-6)
    whole = joined(scaled)
    assert whole.indptr.tolist() == [0, 2, 4, 6, 8]
    assert whole.scores.shape == (1, 8)


def test_drawn_items_are_none_that_the_user_has_and_the_same_each_time() -> None:
    possible = np.arange(10, 30, dtype=np.int32)
    owned = np.arange(0, 20, dtype=np.int32)
    users, indptr = np.array([3, 4]), np.array([0, 20, 20])
    found, again = (drawn_items(users, indptr, owned, possible, 8, seed=1) for _ in range(2))
    assert found[0].tolist() == [0, 8, 16]
    assert set(found[1][:8]) <= set(range(20, 30))
    assert len(set(found[1][8:])) == 8
    np.testing.assert_array_equal(found[1], again[1])
    other = drawn_items(users, indptr, owned, possible, 8, seed=2)
    assert found[1].tolist() != other[1].tolist()
    few = drawn_items(users[:1], indptr[:2], owned, possible, 99, seed=1)
    assert sorted(few[1]) == list(range(20, 30))


def test_a_drawn_item_of_the_same_score_stands_before_a_held_out_one() -> None:
    scores = np.array([5.0, 3.0, 1.0, 4.0], np.float32)
    places = places_among(
        np.array([0, 3, 4]), scores, np.array([0, 2, 3]), np.array([3.0, 6.0, 2.0], np.float32)
    )
    assert places.tolist() == [3, 1, 2]
