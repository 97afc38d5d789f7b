import numpy as np
import pytest

from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.neighbours.item_neighbours import ItemWeights, no_weights
from m6rec.kernels.ranking.explanation import (
    AFTER_REASON,
    AGAIN_REASON,
    ATTRIBUTE_REASON,
    HISTORY_REASON,
    KINDS,
    MODEL_REASON,
    POPULAR_REASON,
    AfterEvidence,
    FactorEvidence,
    Reasons,
    explain,
    item_attributes,
)

# Item 0 speaks for 2 with 3, item 1 for 2 with 1 and against 3.
WEIGHTS = ItemWeights(
    indptr=np.array([0, 1, 3, 3, 3]),
    neighbour_indices=np.array([2, 2, 3], dtype=np.int32),
    weights=np.array([3.0, 1.0, -2.0], dtype=np.float32),
)
# Attribute 0 is on items 0, 1 and 2, attribute 1 on item 3.
ATTRIBUTES = item_attributes([[0], [0], [0], [1]], 2)
OWN = (0, 1)


def explained(item: int, history: tuple[int, ...], limit: int = 3) -> Reasons:
    """The reasons of one user's only listed item."""
    rows = Rows(
        np.array([0]),
        np.array([0, len(history)]),
        np.array(history, dtype=np.int32),
        np.ones(len(history), dtype=np.float32),
    )
    listed = np.array([item], dtype=np.int32)
    return explain(WEIGHTS, ATTRIBUTES, rows, np.array([0, 1]), listed, limit)


def reasons_for(item: int, history: tuple[int, ...], limit: int = 3) -> list[tuple[str, int]]:
    found = explained(item, history, limit)
    kinds = (KINDS[kind] for kind in found.kinds)
    return list(zip(kinds, found.indices.tolist(), strict=True))


def test_history_items_are_named_by_how_much_they_speak_for_the_item() -> None:
    assert reasons_for(2, OWN) == [(HISTORY_REASON, 0), (HISTORY_REASON, 1), (ATTRIBUTE_REASON, 0)]


def test_one_place_is_kept_for_an_attribute() -> None:
    assert reasons_for(2, OWN, limit=2) == [(HISTORY_REASON, 0), (ATTRIBUTE_REASON, 0)]


def test_evidence_against_an_item_is_no_reason_for_it() -> None:
    assert reasons_for(3, OWN) == [(MODEL_REASON, -1)]


def test_an_attribute_counts_where_the_user_has_it_more_often_than_the_catalogue() -> None:
    everywhere = item_attributes([[0], [0], [0], [0]], 1)
    rows = Rows(
        np.array([0]), np.array([0, 1]), np.array([1], np.int32), np.ones(1, dtype=np.float32)
    )
    listed = np.array([3], dtype=np.int32)
    found = explain(WEIGHTS, everywhere, rows, np.array([0, 1]), listed, 3)
    assert [KINDS[kind] for kind in found.kinds] == [MODEL_REASON]
    assert reasons_for(0, (2,)) == [(ATTRIBUTE_REASON, 0)]


def test_the_attribute_with_most_evidence_is_named_with_its_share() -> None:
    # The history has attribute 0 twice and 1 once; shares of the catalogue are a half and a third.
    attributes = item_attributes([[0, 1], [0], [0, 1], [], [], []], 2)
    nothing = ItemWeights(np.zeros(7, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    rows = Rows(
        np.array([0]), np.array([0, 2]), np.array([0, 1], np.int32), np.ones(2, dtype=np.float32)
    )
    found = explain(nothing, attributes, rows, np.array([0, 1]), np.array([2], np.int32), 3)
    evidence = np.array([np.log(2.0), 0.5 * np.log(1.5)])
    assert found.indices.tolist() == [0]
    assert found.shares.tolist() == pytest.approx([evidence[0] / evidence.sum()])


def test_a_user_without_history_is_told_that_the_item_is_popular() -> None:
    assert reasons_for(2, ()) == [(POPULAR_REASON, -1)]


def test_shares_of_a_kind_are_of_all_its_evidence() -> None:
    assert explained(2, OWN).shares.tolist() == pytest.approx([0.75, 0.25, 1.0])


def test_what_one_user_has_is_no_reason_for_the_next() -> None:
    rows = Rows(
        np.array([0, 1]), np.array([0, 2, 3]), np.array([0, 1, 3], np.int32), np.ones(3, np.float32)
    )
    listed = np.array([2, 2], dtype=np.int32)
    found = explain(WEIGHTS, ATTRIBUTES, rows, np.array([0, 1, 2]), listed, 3)
    assert found.indptr.tolist() == [0, 3, 4]
    assert KINDS[found.kinds[3]] == MODEL_REASON


def test_no_reasons_are_given_where_none_are_asked_for() -> None:
    found = explained(2, OWN, limit=0)
    assert found.indptr.tolist() == [0, 0]
    assert len(found.kinds) == 0


# Item 0 is followed by 2 as often as item 1 is, and by 3.
AFTER = ItemWeights(
    indptr=np.array([0, 2, 3, 3, 3]),
    neighbour_indices=np.array([2, 3, 2], dtype=np.int32),
    weights=np.array([0.5, 0.5, 0.5], dtype=np.float32),
)


def explained_with_order(share: float, factors: tuple[float, float]) -> Reasons:
    """The reasons for items 2 and 3 of a user with items 0 and 1, and no attributes."""
    rows = Rows(
        np.array([0]), np.array([0, 2]), np.array(OWN, np.int32), np.ones(2, dtype=np.float32)
    )
    nothing = item_attributes([[], [], [], []], 0)
    listed = np.array([2, 3], dtype=np.int32)
    after = AfterEvidence(AFTER, np.array(factors, np.float32), np.full(2, share))
    return explain(WEIGHTS, nothing, rows, np.array([0, 2]), listed, 3, after)


def test_a_reason_is_of_the_order_where_its_larger_part_is() -> None:
    # Weights give item 2 shares of .75 and .25, order gives a third and two thirds.
    found = explained_with_order(share=0.5, factors=(0.5, 1.0))
    kinds = [KINDS[kind] for kind in found.kinds]
    assert kinds[:2] == [HISTORY_REASON, AFTER_REASON]
    assert found.indices.tolist()[:2] == [0, 1]
    expected = [0.5 * 0.75 + 0.5 / 3, 0.5 * 0.25 + 0.5 * 2 / 3]
    assert found.shares.tolist()[:2] == pytest.approx(expected)


def test_what_order_alone_speaks_for_is_explained_by_it_with_all_shares() -> None:
    found = explained_with_order(share=0.25, factors=(0.5, 1.0))
    low, high = found.indptr[1:]
    assert [KINDS[kind] for kind in found.kinds[low:high]] == [AFTER_REASON]
    assert found.shares[low:high].tolist() == [1.0]


def test_order_without_a_part_in_the_score_changes_no_bit() -> None:
    without, with_order = explained(2, OWN), explained_with_order(0.0, (0.5, 1.0))
    assert with_order.indices[:2].tolist() == without.indices[:2].tolist()
    assert with_order.shares[:2].tolist() == without.shares[:2].tolist()
    assert [KINDS[kind] for kind in with_order.kinds] == [*[HISTORY_REASON] * 2, MODEL_REASON]


def test_shares_add_up_to_one_where_all_history_items_are_named() -> None:
    for share in (0.0, 0.3, 1.0):
        found = explained_with_order(share, (0.25, 1.0))
        assert sum(found.shares[: found.indptr[1]]) == pytest.approx(1.0)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_what_a_user_comes_back_to_is_explained_by_itself_first(limit: int) -> None:
    # The user has items 0, 1 and 2; item 0 and 1 speak for 2 with 3 and 1.
    rows = Rows(
        np.array([0]), np.array([0, 3]), np.arange(3, dtype=np.int32), np.ones(3, np.float32)
    )
    nothing = item_attributes([[], [], [], []], 0)
    listed = np.array([2, 3], dtype=np.int32)
    repeats = np.array([0.6, 0.0])
    found = explain(
        WEIGHTS, nothing, rows, np.array([0, 2]), listed, limit, after=None, repeats=repeats
    )
    again = [(KINDS[kind], index) for kind, index in zip(found.kinds, found.indices, strict=True)]
    expected = [(AGAIN_REASON, 2), (HISTORY_REASON, 0), (HISTORY_REASON, 1)][:limit]
    assert again == [*expected, (MODEL_REASON, -1)]
    assert found.shares[:limit].tolist() == pytest.approx([0.6, 0.4 * 0.75, 0.4 * 0.25][:limit])


def test_factors_stand_in_for_item_weights() -> None:
    """Vectors whose products are the weights, with evidence against an item left out."""
    weights = WEIGHTS.to_scipy().toarray()
    factors = FactorEvidence(weights.astype(np.float32), np.eye(4, dtype=np.float32))
    rows = Rows(np.array([0]), np.array([0, 2]), np.array(OWN, np.int32), np.ones(2, np.float32))
    listed, indptr = np.array([2, 3], np.int32), np.array([0, 2])
    by_weights = explain(WEIGHTS, ATTRIBUTES, rows, indptr, listed, 3)
    by_factors = explain(no_weights(4), ATTRIBUTES, rows, indptr, listed, 3, factors=factors)
    assert by_weights.kinds.tolist() == by_factors.kinds.tolist()
    assert by_weights.indices.tolist() == by_factors.indices.tolist()
    np.testing.assert_allclose(by_weights.shares, by_factors.shares)
