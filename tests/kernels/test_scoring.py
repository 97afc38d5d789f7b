"""A blend's lists against scores that are made whole, for any mix of members and evidence."""

import numpy as np
import pytest
import scipy.sparse as sp

from m6rec.kernels.arrays.rows import Float32, Rows
from m6rec.kernels.neighbours.item_neighbours import ItemWeights
from m6rec.kernels.ranking.blending import BINS, PICTURES_ALONE, Blend, evidence_bins
from m6rec.kernels.ranking.expanded_history import ExpandedHistoryMember
from m6rec.kernels.ranking.members import (
    DotMember,
    GivenEncoder,
    HistoryMember,
    Member,
    UserBlock,
    popularity_member,
)
from m6rec.kernels.ranking.scoring import (
    blend_top_n,
    masked_for_users,
    part_scores,
    prepare_blend,
    represent,
    scores_and_moments,
)
from m6rec.kernels.ranking.top_n import top_n
from tests.matrix_rows import rows_from_scipy

N_USERS, N_ITEMS = 1100, 2300
NAMES = ("vectors", "ridge", "neighbours", "popularity")


@pytest.fixture(scope="module")
def block() -> UserBlock:
    matrix = sp.random(N_USERS, N_ITEMS, 0.003, random_state=1, format="csr", dtype=np.float32)
    rows = rows_from_scipy(matrix)
    nothing = np.zeros((N_USERS, 0), np.float32)
    vectors = np.random.default_rng(2).standard_normal((N_USERS, 5)).astype(np.float32)
    return UserBlock(
        rows,
        nothing,
        nothing,
        {"vectors": vectors},
        np.zeros(rows.entries, "f4"),
        np.zeros(rows.entries, np.int64),
    )


def item_weights(seed: int) -> ItemWeights:
    rows = rows_from_scipy(
        sp.random(N_ITEMS, N_ITEMS, 0.01, random_state=seed, format="csr", dtype=np.float32)
    )
    return ItemWeights(rows.indptr, rows.item_indices, rows.weights - np.float32(0.2))


@pytest.fixture(scope="module")
def members(block: UserBlock) -> dict[str, Member]:
    vectors = np.random.default_rng(3).standard_normal((N_ITEMS, 5)).astype(np.float32)
    return {
        "vectors": DotMember("vectors", GivenEncoder("vectors", vectors.shape[1]), vectors),
        "ridge": HistoryMember("ridge", item_weights(4), "square_root"),
        "neighbours": HistoryMember("neighbours", item_weights(5)),
        "popularity": popularity_member(counts(block.rows)),
    }


def counts(rows: Rows) -> np.ndarray:
    return np.bincount(rows.item_indices, minlength=N_ITEMS)


def dense(block: UserBlock, members: dict[str, Member]) -> dict[str, Float32]:
    """Each member's scores of all items, by dense algebra."""
    history = block.rows.to_scipy(N_ITEMS)
    ridge, neighbours = (
        np.asarray((history @ members[name].weights.to_scipy()).todense())
        for name in ("ridge", "neighbours")
    )
    return {
        "vectors": block.given["vectors"] @ members["vectors"].item_vectors.T,
        "ridge": np.sqrt(np.maximum(ridge, 0.0)),
        "neighbours": neighbours,
        "popularity": np.tile(np.log1p(counts(block.rows)), (N_USERS, 1)),
    }


def factors(seed: int) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, np.random.default_rng(seed).random((len(NAMES), BINS)).tolist()))


@pytest.mark.parametrize(
    "blend",
    [
        Blend("one", ("vectors",), (1.0,), (1.0,)),
        Blend("sparse", ("ridge", "neighbours"), (1.0, 0.5), (2.0, 1.0)),
        Blend("all", NAMES, (1.0, 0.7, 0.3, 0.1), (1.5, 0.4, 0.3, 0.9)),
        Blend(
            "evidence", NAMES, (1.0, 0.7, 0.3, 0.1), (1.5, 0.4, 0.3, 0.9), factors(6), factors(7)
        ),
    ],
    ids=lambda blend: blend.name,
)
def test_lists_and_parts_are_those_of_the_whole_score_matrix(
    block: UserBlock, members: dict[str, Member], blend: Blend
) -> None:
    item_evidence = counts(block.rows)
    item_evidence[::7] = PICTURES_ALONE
    prepared = prepare_blend(blend, members, item_evidence)
    users = represent({name: members[name] for name in blend.members}, block)
    masked_items = np.random.default_rng(8).random(N_ITEMS) < 0.1
    seen = (block.rows.indptr, block.rows.item_indices)
    items, values = blend_top_n(
        prepared, users, masked_for_users([seen], N_USERS, masked_items), 20
    )

    of_items, of_users = evidence_bins(item_evidence), evidence_bins(block.rows.counts)
    scores = np.zeros((N_USERS, N_ITEMS))
    for name, one in dense(block, members).items():
        if name in blend.members:
            own = blend.coefficients()[name] * blend.item_factors_of(name)[of_items]
            scores += blend.user_factors_of(name)[of_users][:, None] * own * one
    scores[:, masked_items] = -np.inf
    scores[block.rows.to_scipy(N_ITEMS).nonzero()] = -np.inf
    expected, best = top_n(scores.astype(np.float32), 20)
    assert (items == expected).mean() > 0.999
    np.testing.assert_allclose(values, best, rtol=1e-4, atol=1e-5)

    indptr = np.arange(N_USERS + 1, dtype=np.int64) * 20
    parts = part_scores(prepared, users, indptr, items.ravel())
    np.testing.assert_allclose(sum(parts.values()), values.ravel(), rtol=1e-4, atol=1e-5)


def test_what_is_masked_for_a_user_is_one_ascending_list() -> None:
    indptr = np.array([0, 2, 2, 3])
    seen = (indptr, np.array([4, 7, 1], dtype=np.int32))
    rules = (np.array([0, 1, 2, 2]), np.array([5, 3], dtype=np.int32))
    masked = masked_for_users([seen, rules], 3, np.zeros(9, np.bool_))
    assert masked.indptr.tolist() == [0, 3, 4, 5]
    assert masked.item_indices.tolist() == [4, 5, 7, 3, 1]


def test_an_expanded_history_also_counts_what_the_other_member_recommends() -> None:
    # Item 0 speaks for item 1 (the ridge); item 2 is like item 1 and like item 0 half as much.
    ridge = ItemWeights(np.array([0, 1, 1, 1]), np.array([1], np.int32), np.array([0.25], "f4"))
    content = ItemWeights(
        np.array([0, 1, 2, 2]), np.array([2, 2], np.int32), np.array([0.5, 1.0], "f4")
    )
    member = ExpandedHistoryMember("content", content, HistoryMember("ridge", ridge), 4.0, 2)
    rows = Rows(np.array([0, 1]), np.array([0, 1, 1]), np.array([0], np.int32), np.ones(1, "f4"))
    nothing = np.zeros((2, 0), np.float32)
    users = represent(
        {"content": member},
        UserBlock(rows, nothing, nothing, {}, np.zeros(1, "f4"), np.zeros(1, np.int64)),
    )
    indptr, items = np.array([0, 3, 3]), np.array([0, 1, 2], np.int32)
    scores, _ = scores_and_moments(member, users, indptr, items, 3)
    assert scores.tolist() == pytest.approx([0.0, 0.0, np.sqrt(0.5 + 4.0 * 0.25 * 1.0)])
