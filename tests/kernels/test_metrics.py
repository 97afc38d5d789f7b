"""Ranking metrics against answers computed by hand."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Float64, Int32, Int64
from m6rec.kernels.evaluation import metrics
from m6rec.kernels.evaluation.tally import (
    ALL,
    COMPARED_METRICS,
    MeasuredUsers,
    Plan,
    domain_segment,
    item_side,
    pack_tally,
    sum_tallies,
    tally_block,
    unpack_tally,
)
from m6rec.kernels.neighbours.content import unit_rows

# Three users: hits at ranks 2 and 4 of 3 relevant; at rank 1 of 1 relevant; no list, 1 relevant.
RANKED = np.array([[5, 3, 9, 1], [2, 4, -1, -1], [-1, -1, -1, -1]], dtype=np.int32)
OFFSETS = np.array([0, 3, 4, 5], dtype=np.int64)
INDICES = np.array([1, 3, 7, 2, 6], dtype=np.int32)
RELEVANT = np.diff(OFFSETS)

LOG3, LOG5 = np.log2(3), np.log2(5)
BY_HAND = {
    ("hit_rate", 2): [1, 1, 0],
    ("hit_rate", 4): [1, 1, 0],
    ("precision", 2): [1 / 2, 1 / 2, 0],
    ("precision", 4): [2 / 4, 1 / 4, 0],
    ("recall", 2): [1 / 3, 1, 0],
    ("recall", 4): [2 / 3, 1, 0],
    ("f1", 2): [2 * 1 / (2 + 3), 2 * 1 / (2 + 1), 0],
    ("f1", 4): [2 * 2 / (4 + 3), 2 * 1 / (4 + 1), 0],
    ("ndcg", 2): [(1 / LOG3) / (1 + 1 / LOG3), 1, 0],
    ("ndcg", 4): [(1 / LOG3 + 1 / LOG5) / (1 + 1 / LOG3 + 1 / 2), 1, 0],
    ("map", 2): [(1 / 2) / 2, 1, 0],
    ("map", 4): [(1 / 2 + 2 / 4) / 3, 1, 0],
    ("mrr", 2): [1 / 2, 1, 0],
    ("mrr", 4): [1 / 2, 1, 0],
}


@pytest.mark.parametrize(("metric", "k"), BY_HAND)
def test_relevance_metric_equals_the_answer_by_hand(metric: str, k: int) -> None:
    hits = metrics.hit_matrix(RANKED, OFFSETS, INDICES)
    values = metrics.RELEVANCE_METRICS[metric](hits, RELEVANT, k)
    np.testing.assert_allclose(values, BY_HAND[metric, k], rtol=1e-12)


def test_every_metric_has_an_answer_by_hand() -> None:
    assert {metric for metric, _ in BY_HAND} == set(metrics.RELEVANCE_METRICS)


def test_the_examples_of_the_docstrings_hold() -> None:
    outcome = doctest.testmod(metrics)
    assert outcome.attempted >= 14
    assert outcome.failed == 0


def test_a_k_beyond_the_list_keeps_the_ideal_of_k() -> None:
    ranked = np.array([[0]], dtype=np.int32)
    hits = metrics.hit_matrix(ranked, np.array([0, 2]), np.array([0, 1], dtype=np.int32))
    ideal = 1 + 1 / np.log2(3)
    np.testing.assert_allclose(metrics.ndcg(hits, np.array([2]), 10), [1 / ideal])
    np.testing.assert_allclose(metrics.precision(hits, np.array([2]), 10), [0.1])


def test_lists_of_no_places_count_as_zero() -> None:
    ranked = np.empty((2, 0), dtype=np.int32)
    hits = metrics.hit_matrix(ranked, np.array([0, 1, 2]), np.array([0, 1], dtype=np.int32))
    for function in metrics.RELEVANCE_METRICS.values():
        assert function(hits, np.array([1, 1]), 5).tolist() == [0.0, 0.0]
    assert metrics.novelty(ranked, np.ones(3), 5).tolist() == [0.0, 0.0]
    assert metrics.diversity(ranked, np.ones((3, 2), np.float32), 5).tolist() == [0.0, 0.0]


def test_users_without_relevant_items_are_zero_and_not_nan() -> None:
    hits = np.zeros((1, 3), dtype=np.bool_)
    for function in metrics.RELEVANCE_METRICS.values():
        assert function(hits, np.array([0]), 2).tolist() == [0.0]


def test_novelty_is_the_mean_surprise_in_bits() -> None:
    information = metrics.information_content(np.array([4, 2, 1, 1, 0]))
    assert information.tolist() == [1.0, 2.0, 3.0, 3.0, 3.0]
    ranked = np.array([[0, 1, 2], [4, -1, -1], [-1, -1, -1]], dtype=np.int32)
    assert metrics.novelty(ranked, information, 2).tolist() == [1.5, 3.0, 0.0]


def test_diversity_is_one_minus_the_mean_cosine_of_pairs() -> None:
    generator = np.random.default_rng(3)
    vectors = unit_rows(generator.normal(size=(20, 5)))
    ranked = np.stack([generator.permutation(20)[:6] for _ in range(4)]).astype(np.int32)
    ranked[1, 4:] = -1
    expected = []
    for row in ranked:
        chosen = vectors[row[row >= 0]].astype(np.float64)
        cosines = chosen @ chosen.T
        expected.append(1 - cosines[np.triu_indices(len(chosen), 1)].mean())
    np.testing.assert_allclose(metrics.diversity(ranked, vectors, 6), expected, rtol=1e-6)


def test_items_without_vector_are_unlike_all_others() -> None:
    vectors = np.array([[1, 0], [0, 0], [1, 0]], dtype=np.float32)
    ranked = np.array([[0, 1], [0, 2]], dtype=np.int32)
    assert metrics.diversity(ranked, vectors, 2).tolist() == [1.0, 0.0]


def test_coverage_of_blocks_combines_by_or() -> None:
    first = metrics.recommended_items(RANKED[:1], 2, 10)
    second = metrics.recommended_items(RANKED[1:], 2, 10)
    together = metrics.recommended_items(RANKED, 2, 10)
    assert np.flatnonzero(together).tolist() == [2, 3, 4, 5]
    assert ((first | second) == together).all()
    assert metrics.coverage(together, 8) == 0.5


@st.composite
def blocks(draw: st.DrawFn) -> tuple[Int32, Int64, Int32]:
    n, depth, items = draw(st.integers(1, 5)), draw(st.integers(1, 6)), 12
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    ranked = np.full((n, depth), -1, dtype=np.int32)
    targets = []
    for row in ranked:
        length = generator.integers(0, depth + 1)
        row[:length] = generator.permutation(items)[:length]
        targets.append(generator.permutation(items)[: generator.integers(1, 6)])
    indptr = np.cumsum([0] + [len(target) for target in targets])
    return ranked, indptr.astype(np.int64), np.concatenate(targets).astype(np.int32)


def _one_user(  # noqa: PLR0911 - one return a metric reads as the list of definitions
    metric: str, ranked: list[int], targets: set[int], k: int
) -> float:
    """The textbook's definition, a user and a place at a time."""
    top = ranked[:k]
    hits = [item in targets for item in top]
    if metric == "hit_rate":
        return float(any(hits))
    if metric == "precision":
        return sum(hits) / k
    if metric == "recall":
        return sum(hits) / len(targets)
    if metric == "f1":
        p, r = sum(hits) / k, sum(hits) / len(targets)
        return 2 * p * r / (p + r) if p + r else 0.0
    if metric == "ndcg":
        gain = sum(hit / np.log2(rank + 2) for rank, hit in enumerate(hits))
        return float(gain / sum(1 / np.log2(r + 2) for r in range(min(k, len(targets)))))
    if metric == "map":
        precisions = [sum(hits[: r + 1]) / (r + 1) for r, hit in enumerate(hits) if hit]
        return sum(precisions) / min(k, len(targets))
    return 1 / (hits.index(True) + 1) if any(hits) else 0.0


@settings(max_examples=60, deadline=None)
@given(blocks(), st.integers(1, 8))
def test_blocks_equal_the_definition_a_user_at_a_time(
    block: tuple[Int32, Int64, Int32], k: int
) -> None:
    ranked, indptr, indices = block
    hits = metrics.hit_matrix(ranked, indptr, indices)
    users = [
        ([int(i) for i in row if i >= 0], set(indices[a:b].tolist()))
        for row, a, b in zip(ranked, indptr[:-1], indptr[1:], strict=True)
    ]
    for name, function in metrics.RELEVANCE_METRICS.items():
        values: Float64 = function(hits, np.diff(indptr), k)
        expected = [_one_user(name, listed, targets, k) for listed, targets in users]
        np.testing.assert_allclose(values, expected, rtol=1e-12, err_msg=name)


def test_a_metric_that_is_not_known_is_named() -> None:
    lists, counts = np.zeros((1, 1, 2), np.int32), np.ones(1, np.int64)
    block = MeasuredUsers(
        counts, np.array([0, 1]), np.zeros(1, np.int32), counts, lists, np.zeros(1, np.int32)
    )
    metrics = (*COMPARED_METRICS, "serendipity")
    plan = Plan(("svd",), (2,), metrics, ("all",), (), (0, 0), 1, 2, 7)
    with pytest.raises(DataError, match="serendipity"):
        tally_block(block, item_side(counts, None), plan)


def test_only_segments_that_have_users_take_room_among_the_sums() -> None:
    names = tuple(f"d{place}" for place in range(30))
    segments = (ALL, *map(domain_segment, names))
    plan = Plan(
        ("als", "svd"), (5, 10), COMPARED_METRICS, segments, ((0, 1),), (0, 0), 0, 500, 1, names
    )
    rng = np.random.default_rng(1)
    block = MeasuredUsers(
        np.arange(20, dtype=np.int64),
        np.arange(21, dtype=np.int64),
        rng.integers(0, 20, 20).astype(np.int32),
        np.ones(20, dtype=np.int64),
        rng.integers(0, 20, (2, 20, 10)).astype(np.int32),
        np.full(20, 7, np.int32),
    )
    tally = tally_block(block, None, plan)
    of_segment = tally.means[0].replicate_totals.nbytes
    packed = pack_tally(tally)
    assert len(packed) < 3 * of_segment
    assert len(pack_tally(sum_tallies((), plan))) < 1_000
    found = unpack_tally(packed, plan)
    for ours, theirs in zip(
        (*tally.means, *tally.pairs), (*found.means, *found.pairs), strict=True
    ):
        assert ours.users == theirs.users
        for array, other in zip(vars(ours).values(), vars(theirs).values(), strict=True):
            np.testing.assert_array_equal(array, other)
