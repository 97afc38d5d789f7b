import numpy as np
import pytest

from m6rec.kernels.explanation import (
    ATTRIBUTE,
    HISTORY,
    MODEL,
    POPULAR,
    attribute_profile,
    explain,
    history_evidence,
    item_attributes,
)
from m6rec.kernels.item_neighbours import ItemWeights

# Item 0 speaks for 2 with 3, item 1 for 2 with 1 and against 3.
WEIGHTS = ItemWeights(
    offsets=np.array([0, 1, 3, 3, 3]),
    neighbour_indices=np.array([2, 2, 3], dtype=np.int32),
    weights=np.array([3.0, 1.0, -2.0], dtype=np.float32),
)
# Attribute 0 is on items 0, 1 and 2, attribute 1 on item 3.
ATTRIBUTES = item_attributes([[0], [0], [0], [1]], 2)
HISTORY_ITEMS = np.array([0, 1], dtype=np.int32)
ONES = np.ones(2, dtype=np.float32)


def reasons_for(item: int, history: np.ndarray, limit: int = 3) -> list[tuple[str, int]]:
    profile = attribute_profile(ATTRIBUTES, history)
    weights = np.ones(len(history), dtype=np.float32)
    found = explain(WEIGHTS, ATTRIBUTES, profile, history, weights, item, limit)
    return [(reason.kind, reason.index) for reason in found]


def test_history_items_are_named_by_how_much_they_speak_for_the_item() -> None:
    assert history_evidence(WEIGHTS, HISTORY_ITEMS, ONES, 2).tolist() == [3.0, 1.0]
    assert reasons_for(2, HISTORY_ITEMS) == [(HISTORY, 0), (HISTORY, 1), (ATTRIBUTE, 0)]


def test_one_place_is_kept_for_an_attribute() -> None:
    assert reasons_for(2, HISTORY_ITEMS, limit=2) == [(HISTORY, 0), (ATTRIBUTE, 0)]


def test_evidence_against_an_item_is_no_reason_for_it() -> None:
    assert history_evidence(WEIGHTS, HISTORY_ITEMS, ONES, 3).tolist() == [0.0, 0.0]
    assert reasons_for(3, HISTORY_ITEMS) == [(MODEL, -1)]


def test_an_attribute_counts_where_the_user_has_it_more_often_than_the_catalogue() -> None:
    profile = attribute_profile(ATTRIBUTES, HISTORY_ITEMS)
    assert profile.tolist() == pytest.approx([np.log(1.0 / 0.75), 0.0])


def test_a_user_without_history_is_told_that_the_item_is_popular() -> None:
    assert reasons_for(2, np.empty(0, dtype=np.int32)) == [(POPULAR, -1)]


def test_shares_of_a_kind_are_of_all_its_evidence() -> None:
    profile = attribute_profile(ATTRIBUTES, HISTORY_ITEMS)
    found = explain(WEIGHTS, ATTRIBUTES, profile, HISTORY_ITEMS, ONES, 2, 3)
    assert [reason.share for reason in found] == pytest.approx([0.75, 0.25, 1.0])


def test_no_reasons_are_given_where_none_are_asked_for() -> None:
    assert reasons_for(2, HISTORY_ITEMS, limit=0) == []
