"""What each history item adds to a member's score: exact, for every member that is a sum."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp

from m6rec.kernels.arrays.rows import (
    UNKNOWN_TIME,
    Float32,
    Float64,
    Rows,
    indptr_of,
    slices_of_rows,
)
from m6rec.kernels.factors.projection import (
    FactorModel,
    along_principal_axes,
    build_factor_model,
)
from m6rec.kernels.neighbours.item_neighbours import ItemWeights
from m6rec.kernels.neighbours.user_neighbours import CandidateUsers, user_neighbour_search
from m6rec.kernels.ranking.attribution import Listed, cells_at_once, history_shares, listed_items
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.expanded_history import ExpandedHistoryMember
from m6rec.kernels.ranking.explanation import HISTORY_REASON, KINDS, explain, item_attributes
from m6rec.kernels.ranking.members import (
    DirectionEncoder,
    DotMember,
    FactorEncoder,
    HistoryMember,
    Member,
    UserBlock,
    UserNeighboursMember,
    popularity_member,
    repeats_member,
)
from m6rec.kernels.ranking.scoring import (
    blend_top_n,
    masked_for_users,
    part_scores,
    prepare_blend,
    represent,
)
from m6rec.kernels.ranking.support import PartOfScore, parts_of_scores, support_of
from tests.matrix_rows import rows_from_scipy

USERS, ITEMS, RANK = 60, 40, 8
COUNTS = np.arange(ITEMS)


def taste_matrix(
    users: int = USERS, items: int = ITEMS, seed: int = 1, tastes: int = 4
) -> sp.csr_matrix:
    """Users have half of the items of their taste, and a few of all others."""
    rng = np.random.default_rng(seed)
    same = np.arange(users)[:, None] % tastes == np.arange(items)[None] % tastes
    drawn = rng.random((users, items)) < np.where(same, 0.5, 0.06)
    weights = rng.uniform(0.5, 2.0, (users, items)).astype(np.float32)
    return sp.csr_matrix(np.where(drawn, weights, 0.0).astype(np.float32))


def block_of(rows: Rows) -> UserBlock:
    recency = np.concatenate([np.arange(count)[::-1] for count in rows.counts])
    times = np.full(rows.entries, UNKNOWN_TIME)
    nothing = np.zeros((len(rows), 0), np.float32)
    return UserBlock(rows, nothing, nothing, {}, recency.astype(np.float32), times)


def item_weights(matrix: sp.csr_matrix, seed: int = 0) -> ItemWeights:
    """Of what is had together, and a few negative weights where a seed is given."""
    found = (matrix.T @ matrix).toarray().astype(np.float32)
    found /= np.sqrt(np.outer(found.diagonal(), found.diagonal())) + 1e-6
    np.fill_diagonal(found, 0.0)
    if seed:
        found[np.random.default_rng(seed).random(found.shape) < 0.2] *= -0.3
    kept = sp.csr_matrix(found)
    kept.sort_indices()
    return ItemWeights(kept.indptr.astype(np.int64), kept.indices, kept.data)


def factors(seed: int = 2, rank: int = RANK) -> Float32:
    return np.random.default_rng(seed).normal(0.3, 0.5, (ITEMS, rank)).astype(np.float32)


def least_squares(vectors: Float32, **changes: float) -> FactorModel:
    parameters = {
        "unobserved_weight": 0.1,
        "weight_scale": 1.3,
        "regularisation": 0.05,
        "frequency_exponent": 0.7,
        "frequency_offset": 2.0,
        "explicit": 0,
        "mean_rating": 0.0,
        **changes,
    }
    return build_factor_model("als", vectors, None, np.ones(ITEMS, np.float32), parameters, COUNTS)


MATRIX = taste_matrix()
ROWS = rows_from_scipy(MATRIX)
BLOCK = block_of(ROWS)
WEIGHTS = item_weights(MATRIX)
SVD = build_factor_model(
    "svd", factors(3), factors(4), np.linspace(0.5, 1.5, ITEMS).astype(np.float32), {}, COUNTS
)
WHOLE, ON_AXES = least_squares(factors()), least_squares(along_principal_axes(factors()))
LOOSE = least_squares(along_principal_axes(factors(rank=ITEMS + 4)), regularisation=0.0)
HEAVY = least_squares(factors(), weight_scale=1e6)
# The ten items of a taste have one vector.
TWINS = least_squares(np.tile(factors()[:4], (10, 1)), weight_scale=1e9, regularisation=1e-3)
RIDGE = HistoryMember("ridge", WEIGHTS, "square_root")
MEMBERS: dict[str, Member] = {
    "ridge": RIDGE,
    "transitions": HistoryMember("transitions", item_weights(MATRIX, 5), recency_scale=3.0),
    "repeats": repeats_member(ITEMS, 4.0),
    "content_neighbours": ExpandedHistoryMember(
        "content_neighbours",
        item_weights(taste_matrix(seed=7)),
        HistoryMember("r", WEIGHTS),
        0.3,
        5,
    ),
    "user_neighbours": UserNeighboursMember(
        user_neighbour_search(CandidateUsers(ROWS), ITEMS, 10, 0.4)
    ),
    "svd": DotMember("svd", FactorEncoder(SVD), SVD.scored_factors),
    "als": DotMember("als", FactorEncoder(ON_AXES), ON_AXES.scored_factors),
    "als_whole": DotMember("als_whole", FactorEncoder(WHOLE), WHOLE.scored_factors),
    "als_without_regularisation": DotMember(
        "als_without_regularisation", FactorEncoder(LOOSE), LOOSE.scored_factors
    ),
    "als_of_large_weights": DotMember(
        "als_of_large_weights", FactorEncoder(HEAVY), HEAVY.scored_factors
    ),
    "als_of_twins": DotMember("als_of_twins", FactorEncoder(TWINS), TWINS.scored_factors),
    "als_cosine": DotMember("als_cosine", DirectionEncoder(ON_AXES), factors(6)),
}


def every_item(rows: Rows = ROWS) -> Listed:
    indptr = np.arange(len(rows) + 1) * ITEMS
    return listed_items(rows, indptr, np.tile(np.arange(ITEMS, dtype=np.int32), len(rows)))


def scores_of(members: dict[str, Member], blend: Blend, block: UserBlock) -> Float64:
    """float64 [users x items]: the blend's score of every item."""
    prepared = prepare_blend(blend, members, COUNTS)
    listed = every_item(block.rows)
    parts = part_scores(prepared, represent(members, block), listed.indptr, listed.items)
    return np.sum(list(parts.values()), axis=0, dtype=np.float64)


def alone(name: str) -> Blend:
    return Blend(name, (name,), (1.0,), (1.0,))


def test_on_axes_and_whole_are_two_ways_of_least_squares() -> None:
    assert ON_AXES.scaled_gram is not None and ON_AXES.scaled_gram.ndim == 1
    assert WHOLE.scaled_gram is not None and WHOLE.scaled_gram.ndim == 2
    # Of both kinds of histories there are some: shorter than a factor, and longer.
    assert ROWS.counts.min() < RANK < ROWS.counts.max()


@pytest.mark.parametrize("name", MEMBERS)
def test_shares_of_history_items_add_up_to_the_score(name: str) -> None:
    member, listed = MEMBERS[name], every_item()
    users = represent({name: member}, BLOCK)
    shares = history_shares(member, BLOCK, users.terms.get(name), listed)
    assert shares is not None
    entries = np.repeat(np.arange(len(listed.items)), np.diff(listed.cells))
    sums = np.bincount(entries, weights=shares, minlength=len(listed.items))
    np.testing.assert_allclose(sums, scores_of(MEMBERS, alone(name), BLOCK), rtol=1e-3, atol=2e-5)
    assert np.count_nonzero(shares) > 0


def test_a_square_root_is_divided_by_what_each_item_adds_to_the_sum() -> None:
    # Items 0 and 1 add 3 and 1 to item 2, whose score is 2.
    weights = ItemWeights(
        np.array([0, 1, 2, 2]), np.array([2, 2], np.int32), np.array([3.0, 1.0], np.float32)
    )
    rows = Rows(np.array([0]), np.array([0, 2]), np.array([0, 1], np.int32), np.ones(2, np.float32))
    member = HistoryMember("ridge", weights, "square_root")
    listed = listed_items(rows, np.array([0, 1]), np.array([2], np.int32))
    block = block_of(rows)
    shares = history_shares(member, block, member.terms(block), listed)
    assert shares is not None
    assert shares.tolist() == [1.5, 0.5]


def test_users_are_divided_few_at_once_where_items_are_added_to_their_histories() -> None:
    users = represent(MEMBERS, BLOCK)
    lengths = np.full(USERS, 3)
    alone = cells_at_once([RIDGE, MEMBERS["svd"]], users.terms, ROWS, lengths)
    np.testing.assert_array_equal(alone, ROWS.counts * 3)
    # Five items are added to each history, and each history item says something of all of them.
    cells = cells_at_once(MEMBERS.values(), users.terms, ROWS, lengths)
    np.testing.assert_array_equal(cells, ROWS.counts * (3 + 5))
    for start, stop in slices_of_rows(indptr_of(cells), 1000):
        counts = ROWS.counts[start:stop]
        assert (counts * lengths[start:stop]).sum() + (counts * 5).sum() <= 1000


def test_what_is_no_sum_over_the_history_is_not_divided() -> None:
    member = popularity_member(COUNTS)
    assert history_shares(member, BLOCK, None, every_item()) is None


def test_the_parts_of_a_blend_add_up_with_their_weights_and_evidence() -> None:
    names = ("ridge", "als", "popularity")
    members = MEMBERS | {"popularity": popularity_member(COUNTS)}
    by_evidence = ((0.5, 1.0, 1.5, 2.0),) * 3
    blend = Blend("hybrid", names, (1.0, 0.5, 0.25), (2.0, 1.0, 3.0), by_evidence, by_evidence)
    prepared = prepare_blend(blend, members, COUNTS)
    users, listed = represent(members, BLOCK), every_item()
    whole = part_scores(prepared, users, listed.indptr, listed.items)
    parts = parts_of_scores(prepared, members, users, BLOCK, listed, COUNTS, whole)
    support = support_of(parts, listed, BLOCK, COUNTS)
    entries = np.repeat(np.arange(len(listed.items)), np.diff(listed.cells))
    sums = np.bincount(entries, weights=support.history, minlength=len(listed.items))
    together = sums + support.popularity + support.rest
    np.testing.assert_allclose(together, scores_of(members, blend, BLOCK), rtol=1e-3, atol=1e-5)
    assert not support.rest.any() and not support.order.any()


def test_what_scores_alike_for_all_is_popularity_by_any_name() -> None:
    members = {"trend": replace(popularity_member(COUNTS), name="trend"), "als": MEMBERS["als"]}
    prepared = prepare_blend(
        Blend("hybrid", ("trend", "als"), (1.0, 1.0), (1.0, 1.0)), members, COUNTS
    )
    users, listed = represent(members, BLOCK), every_item()
    whole = part_scores(prepared, users, listed.indptr, listed.items)
    parts = parts_of_scores(prepared, members, users, BLOCK, listed, COUNTS, whole)
    support = support_of(parts, listed, BLOCK, COUNTS)
    np.testing.assert_allclose(support.popularity, whole["trend"], rtol=1e-6)


def test_who_is_unknown_has_what_is_popular_and_who_has_attributes_has_not() -> None:
    nobody = Rows(
        np.arange(2), np.zeros(3, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    )
    content = np.array([[0.0], [1.0]], np.float32)
    block = replace(block_of(nobody), content=content)
    listed = listed_items(nobody, np.arange(3), np.zeros(2, np.int32))
    towers = PartOfScore(np.array([0.5, 0.5], np.float32), None)
    found = support_of({"towers_svd": towers}, listed, block, np.ones(1, np.int64))
    assert found.popularity.tolist() == [0.5, 0.0]
    assert found.rest.tolist() == [0.0, 0.5]


def trained_members(matrix: sp.csr_matrix) -> dict[str, Member]:
    """Members of what a matrix says, each by its own kind of model."""
    binary = (matrix.toarray() > 0.0).astype(np.float64)
    _, values, axes = np.linalg.svd(binary, full_matrices=False)
    kept = axes[:RANK].T.astype(np.float32)
    ones = np.ones(len(kept), np.float32)
    counts = binary.sum(axis=0).astype(np.int64)
    svd = build_factor_model("svd", kept, kept, ones, {}, counts)
    scaled = (kept * np.sqrt(values[:RANK] / np.sqrt(len(binary)))).astype(np.float32)
    als = build_factor_model("als", scaled, None, ones, WHOLE.parameters, counts)
    candidates = CandidateUsers(rows_from_scipy(matrix))
    return {
        "ridge": HistoryMember("ridge", item_weights(matrix), "square_root"),
        "svd": DotMember("svd", FactorEncoder(svd), svd.scored_factors),
        "als": DotMember("als", FactorEncoder(als), als.scored_factors),
        "user_neighbours": UserNeighboursMember(
            user_neighbour_search(candidates, len(kept), 20, 0.4)
        ),
    }


@pytest.mark.parametrize("names", [("svd",), ("als",), ("svd", "als", "user_neighbours")])
def test_without_the_named_items_the_score_falls_at_least_twice_as_much(
    names: tuple[str, ...],
) -> None:
    items, limit = 160, 3
    matrix = taste_matrix(200, items, tastes=8)
    members, rows = trained_members(matrix), rows_from_scipy(matrix)
    members = {name: members[name] for name in names}
    blend = Blend("hybrid", names, (1.0,) * len(names), (1.0,) * len(names))
    counts = np.zeros(items, np.int64)
    prepared = prepare_blend(blend, members, counts)

    def scores_at(some: Rows, listed: Listed) -> dict[str, Float32]:
        return part_scores(
            prepared, represent(members, block_of(some)), listed.indptr, listed.items
        )

    users, block = represent(members, block_of(rows)), block_of(rows)
    no_item = np.zeros(items, np.bool_)
    masked = masked_for_users([(rows.indptr, rows.item_indices)], len(rows), no_item)
    best = blend_top_n(prepared, users, masked, 1)[0][:, 0]
    listed = listed_items(rows, np.arange(len(rows) + 1), best)
    whole = scores_at(rows, listed)
    parts = parts_of_scores(prepared, members, users, block, listed, counts, whole)
    support = support_of(parts, listed, block, counts)
    found = explain(item_attributes([[]] * items, 0, items), listed, support, limit)

    def falls(left_out: list[list[int]]) -> Float64:
        kept = matrix.toarray()
        for user, some in enumerate(left_out):
            kept[user, some] = 0.0
        left = rows_from_scipy(sp.csr_matrix(kept))
        now = scores_at(left, listed_items(left, listed.indptr, listed.items))
        return sum((whole[name] - now[name] for name in names), np.zeros(len(rows)))

    rng = np.random.default_rng(11)
    named = [found.indices[start:stop].tolist() for start, stop in pairwise(found.indptr.tolist())]
    assert {KINDS[kind] for kind in found.kinds} == {HISTORY_REASON}
    by_chance = [
        rng.choice(matrix[user].indices, len(some), replace=False).tolist()
        for user, some in enumerate(named)
    ]
    assert falls(named).mean() >= 2 * falls(by_chance).mean() > 0.0
