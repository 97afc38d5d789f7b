"""Reasons name what speaks for an item, with its share of all that does."""

import numpy as np
import pytest

from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.ranking.attribution import Listed, listed_items
from m6rec.kernels.ranking.explanation import (
    AFTER_REASON,
    AGAIN_REASON,
    ATTRIBUTE_REASON,
    HISTORY_REASON,
    KINDS,
    MIX_REASON,
    MODEL_REASON,
    POPULAR_REASON,
    Reasons,
    Support,
    attributes_by_content,
    explain,
    item_attributes,
    join_reasons,
    no_reasons,
)

# Attribute 0 is on items 0, 1 and 2, attribute 1 on items 2 and 3; item 4 has none.
ATTRIBUTES = item_attributes([[0], [0], [1, 0], [1], []], 2, in_catalogue=5)


def listed(item: int, history: tuple[int, ...]) -> Listed:
    """One user's only listed item."""
    rows = Rows(
        np.array([0]),
        np.array([0, len(history)]),
        np.array(history, dtype=np.int32),
        np.ones(len(history), dtype=np.float32),
    )
    return listed_items(rows, np.array([0, 1]), np.array([item], np.int32))


def support(
    history: tuple[float, ...] = (),
    order: tuple[float, ...] | None = None,
    content: float = 0.0,
    popularity: float = 0.0,
    rest: float = 0.0,
) -> Support:
    return Support(
        np.array(history),
        np.array(order if order is not None else (0.0,) * len(history)),
        np.array([content]),
        np.array([popularity]),
        np.array([rest]),
    )


def named(found: Reasons) -> list[tuple[str, int, float]]:
    kinds = (KINDS[kind] for kind in found.kinds)
    return list(zip(kinds, found.indices.tolist(), found.shares.tolist(), strict=True))


def reasons(
    item: int, history: tuple[int, ...], speaking: Support, limit: int = 3
) -> list[tuple[str, int, float]]:
    return named(explain(ATTRIBUTES, listed(item, history), speaking, limit))


def test_history_items_are_named_by_their_share_of_what_speaks_for_the_item() -> None:
    found = reasons(4, (0, 1), support((1.0, 3.0), rest=4.0))
    assert found == [(HISTORY_REASON, 1, 0.375), (HISTORY_REASON, 0, 0.125)]


def test_where_items_owe_next_to_nothing_the_model_is_named_as_well() -> None:
    assert reasons(4, (0,), support((1.0,), rest=15.0)) == [
        (MODEL_REASON, -1, 0.9375),
        (HISTORY_REASON, 0, 0.0625),
    ]
    assert reasons(4, (0,), support((1.0,), rest=7.0)) == [(HISTORY_REASON, 0, 0.125)]


def test_what_speaks_against_an_item_is_no_reason_and_has_no_share() -> None:
    found = reasons(4, (0, 1), support((2.0, -1.0), popularity=-3.0))
    assert found == [(HISTORY_REASON, 0, 1.0)]


def test_all_members_together_decide_what_is_owed_to_a_history_item() -> None:
    found = reasons(4, (0, 1), support((2.0, -1.0), order=(-1.0, 4.0)))
    assert found == [(AFTER_REASON, 1, 0.75), (HISTORY_REASON, 0, 0.25)]


def test_an_item_comes_after_another_where_that_owes_more_to_order() -> None:
    assert reasons(4, (0,), support((1.0,), order=(2.0,)))[0][0] == AFTER_REASON
    assert reasons(4, (0,), support((2.0,), order=(1.0,)))[0][0] == HISTORY_REASON


def test_what_a_user_comes_back_to_is_explained_by_itself() -> None:
    found = reasons(1, (0, 1), support((1.0, 3.0)))
    assert found == [(AGAIN_REASON, 1, 0.75), (HISTORY_REASON, 0, 0.25)]


def test_attributes_are_a_reason_where_content_chose_the_item_and_nowhere_else() -> None:
    # The history has attribute 0 twice, more often than the catalogue has.
    assert reasons(2, (0, 1), support((1.0, 0.5), content=2.5)) == [
        (ATTRIBUTE_REASON, 0, 0.625),
        (HISTORY_REASON, 0, 0.25),
        (HISTORY_REASON, 1, 0.125),
    ]
    assert ATTRIBUTE_REASON not in [kind for kind, *_ in reasons(2, (0, 1), support((1.0, 0.5)))]


def test_no_attribute_is_named_that_none_of_the_users_items_has() -> None:
    assert reasons(2, (4,), support((0.0,), content=1.0)) == [(MODEL_REASON, -1, 1.0)]
    assert reasons(2, (4,), support((1.0,), content=1.0)) == [(HISTORY_REASON, 4, 0.5)]
    # The one that an item of the user has is named, though the catalogue has it more often.
    assert reasons(2, (3, 4, 4), support((0.0,) * 3, content=1.0)) == [(ATTRIBUTE_REASON, 1, 1.0)]
    assert reasons(2, (0, 4, 4), support((0.0,) * 3, content=1.0)) == [(ATTRIBUTE_REASON, 0, 1.0)]


def test_a_cold_users_reason_is_popularity_only_where_that_is_what_chose_the_item() -> None:
    assert reasons(2, (), support(popularity=1.0)) == [(POPULAR_REASON, -1, 1.0)]
    of_newcomers = np.array([0], np.int32)
    speaking = support(content=3.0, popularity=1.0)
    found = explain(ATTRIBUTES, listed(2, ()), speaking, 3, of_newcomers=of_newcomers)
    assert named(found) == [(ATTRIBUTE_REASON, 0, 0.75), (POPULAR_REASON, -1, 0.25)]
    # Where none is known to speak for the item, none is named.
    assert reasons(2, (), speaking) == [(MODEL_REASON, -1, 0.75), (POPULAR_REASON, -1, 0.25)]
    assert reasons(4, (), support(rest=3.0, popularity=1.0)) == [
        (MODEL_REASON, -1, 0.75),
        (POPULAR_REASON, -1, 0.25),
    ]
    # An item without attributes is told by none, whatever content says.
    assert reasons(4, (), support(content=1.0)) == [(MODEL_REASON, -1, 1.0)]


@pytest.mark.parametrize(
    ("user", "attribute"),
    [
        ([1.0, 0.5, 0.0], 0),
        # The rarest attribute stands first.
        ([0.5, 1.0, 0.0], 1),
        # What is no attribute adds less, or more.
        ([1.0, 0.0, 1.0], 0),
        ([1.0, 0.0, 1.5], -1),
        ([-1.0, -1.0, 0.0], -1),
    ],
)
def test_a_newcomer_is_told_the_attribute_that_adds_most_by_content(
    user: list[float], attribute: int
) -> None:
    users, items = np.array([user], np.float32), np.full((5, 3), 0.5, np.float32)
    places, one = np.array([0, 1], np.int32), listed(2, ())
    assert attributes_by_content(ATTRIBUTES, places, one, users, items).tolist() == [attribute]
    # An attribute without a place of its own cannot be told from the rest.
    shared = np.array([-1, 1], np.int32)
    found = attributes_by_content(ATTRIBUTES, shared, one, users, items)
    assert found.tolist() == [attribute if attribute == 1 else -1]


def test_popularity_is_no_reason_where_its_share_is_below_a_hundredth() -> None:
    assert reasons(4, (0,), support((1.0,), popularity=0.005)) == [
        (HISTORY_REASON, 0, pytest.approx(1 / 1.005))
    ]
    assert [kind for kind, *_ in reasons(4, (), support(rest=1.0, popularity=0.005))] == [
        MODEL_REASON
    ]
    assert reasons(4, (), support(popularity=1e-12)) == [(POPULAR_REASON, -1, 1.0)]


def test_where_nothing_speaks_for_an_item_there_is_one_reason_all_the_same() -> None:
    assert reasons(4, (0,), support((-1.0,))) == [(MODEL_REASON, -1, 1.0)]
    assert reasons(4, (), support()) == [(POPULAR_REASON, -1, 1.0)]


def test_where_nothing_speaks_for_an_item_of_a_mixed_list_the_mix_does() -> None:
    for against in (0.0, -1.0):
        found = explain(ATTRIBUTES, listed(4, (0,)), support((against,)), 3, are_mixed=True)
        assert named(found) == [(MIX_REASON, -1, 1.0)]
    found = explain(ATTRIBUTES, listed(4, (0,)), support((1.0,)), 3, are_mixed=True)
    assert named(found) == [(HISTORY_REASON, 0, 1.0)]
    found = explain(ATTRIBUTES, listed(4, ()), support(), 3, are_mixed=True)
    assert named(found) == [(POPULAR_REASON, -1, 1.0)]


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_the_largest_shares_stay_within_the_limit(limit: int) -> None:
    every = reasons(2, (0, 1), support((1.0, 3.0), content=2.0, popularity=2.0), 9)
    assert [share for *_, share in every] == [0.375, 0.25, 0.25, 0.125]
    assert sum(share for *_, share in every) == 1.0
    assert (
        reasons(2, (0, 1), support((1.0, 3.0), content=2.0, popularity=2.0), limit) == every[:limit]
    )


def test_what_one_user_has_is_no_reason_for_the_next() -> None:
    rows = Rows(
        np.array([0, 1]), np.array([0, 2, 3]), np.array([0, 1, 3], np.int32), np.ones(3, np.float32)
    )
    both = listed_items(rows, np.array([0, 1, 2]), np.array([2, 2], np.int32))
    nothing = np.zeros(2)
    speaking = Support(np.array([1.0, 1.0, 0.0]), np.zeros(3), nothing, nothing, np.ones(2))
    found = explain(ATTRIBUTES, both, speaking, 3)
    assert found.indptr.tolist() == [0, 2, 3]
    assert KINDS[found.kinds[2]] == MODEL_REASON


def test_reasons_of_several_blocks_stand_one_after_the_other() -> None:
    one = explain(ATTRIBUTES, listed(4, (0, 1)), support((1.0, 3.0)), 2)
    joined = join_reasons([one, no_reasons(1), one])
    assert joined.indptr.tolist() == [0, 2, 2, 4]
    assert named(joined) == named(one) * 2
