"""Items of which a ranker says nothing stand in lists by their popularity, and say so."""

import numpy as np
import pytest

from m6rec.kernels.arrays.rows import Float32, Int32, Rows
from m6rec.kernels.neighbours.item_neighbours import ItemWeights
from m6rec.kernels.ranking.attribution import listed_items
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.explanation import KINDS, explain, item_attributes
from m6rec.kernels.ranking.members import DotMember, HistoryMember, Member, UserBlock
from m6rec.kernels.ranking.scoring import (
    PreparedBlend,
    RepresentedUsers,
    blend_top_n,
    masked_for_users,
    part_scores,
    prepare_blend,
    represent,
)
from m6rec.kernels.ranking.support import parts_of_scores, support_of
from m6rec.kernels.ranking.unscored_items import by_popularity, fill_unscored_by_popularity

# The items that had the first numbers have gone out of fashion, and nobody has item 6 yet.
COUNTS = np.array([1, 1, 2, 7, 9, 8, 0])
MASKED = np.array([False, False, False, False, True, False, False])


class Directions:
    """What each user's vector is, in the order of the users."""

    def __init__(self, vectors: Float32) -> None:
        self.vectors = vectors

    def encode(self, block: UserBlock) -> Float32:
        return self.vectors[: len(block.rows)]


# The first user has item 5, which item 2 follows; the second has nothing.
ROWS = Rows(np.arange(2), np.array([0, 1, 1]), np.array([5], np.int32), np.ones(1, np.float32))
NOTHING = np.zeros((2, 0), np.float32)
BLOCK = UserBlock(ROWS, NOTHING, NOTHING, {}, np.zeros(1, np.float32), np.zeros(1, np.int64))
FOLLOWERS = ItemWeights(
    np.array([0, 0, 0, 0, 0, 0, 1, 1]), np.array([2], np.int32), np.ones(1, np.float32)
)
FACTORS = np.array([[-1.0], [2.0], [1.0], [-2.0], [3.0], [1.0], [0.0]], np.float32)
# The vector of a user without interactions is 0.
ALS = DotMember("als", Directions(np.array([[1.0], [0.0]], np.float32)), FACTORS)
AFTER = HistoryMember("transitions", FOLLOWERS)


def filled(member: Member, n: int) -> tuple[PreparedBlend, RepresentedUsers, Int32, Float32]:
    """The lists of both users and their scores, with what they were made of."""
    blend = Blend(member.name, (member.name,), (1.0,), (1.0,))
    prepared = prepare_blend(blend, {member.name: member}, COUNTS)
    users = represent({member.name: member}, BLOCK)
    masked = masked_for_users([(ROWS.indptr, ROWS.item_indices)], 2, MASKED)
    popular = by_popularity(COUNTS)
    popular = popular[~MASKED[popular]]
    listed, values = blend_top_n(prepared, users, masked, n)
    listed = fill_unscored_by_popularity(prepared, users, masked, popular, listed, values)
    return prepared, users, listed, values


def explained(
    member: Member, n: int, are_mixed: bool = False
) -> tuple[Int32, Float32, list[list[str]]]:
    """The lists of both users, their scores and the kinds of their first reasons."""
    prepared, users, listed, values = filled(member, n)
    entries = listed_items(ROWS, np.array([0, n, 2 * n]), listed.ravel())
    whole = part_scores(prepared, users, entries.indptr, entries.items)
    members = {member.name: member}
    parts = parts_of_scores(prepared, members, users, BLOCK, entries, COUNTS, whole)
    support = support_of(parts, entries, BLOCK, COUNTS, are_mixed)
    kinds = explain(item_attributes([[]] * 7, 0, 7), entries, support, 1, are_mixed).kinds
    return listed, values, np.array(KINDS)[kinds].reshape(2, n).tolist()


def test_a_user_of_whom_nothing_is_known_has_the_popular_list_of_any_ranker() -> None:
    for member in (ALS, AFTER):
        listed, values, kinds = explained(member, 4)
        assert listed[1].tolist() == [5, 3, 2, 0]
        assert not values[1].any()
        assert kinds[1] == ["popular"] * 4


def test_what_is_popular_fills_a_list_behind_what_the_history_speaks_for() -> None:
    listed, values, kinds = explained(AFTER, 4)
    # Item 5 is the user's own.
    assert listed[0].tolist() == [2, 3, 0, 1]
    assert values[0].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert kinds[0] == ["after", "popular", "popular", "popular"]


def test_what_nothing_speaks_for_is_said_to_be_there_for_the_mix_of_a_mixed_list() -> None:
    *_, kinds = explained(AFTER, 4, are_mixed=True)
    assert kinds == [["after", "mix", "mix", "mix"], ["popular"] * 4]


def test_items_that_are_scored_below_nothing_stay_behind() -> None:
    listed, values, kinds = explained(ALS, 4)
    assert listed[0].tolist() == [1, 2, 6, 0]
    assert values[0].tolist() == [2.0, 1.0, 0.0, -1.0]
    # Nobody has item 6.
    assert kinds[0][2:] == ["model", "model"]


@pytest.mark.parametrize("n", [1, 3, 6, 7])
def test_a_list_holds_each_item_once_and_none_that_is_masked(n: int) -> None:
    for member in (ALS, AFTER):
        for own, items in zip(([5], []), filled(member, n)[2].tolist(), strict=True):
            held = [item for item in items if item >= 0]
            assert len(set(held)) == len(held) == min(n, 6 - len(own))
            assert not {4, *own} & set(held)
