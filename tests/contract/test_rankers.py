"""What every ranker of `rankers.py` must do, from its trained tables to its lists."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.fits.fit import Fit
from m6rec.fits.members import MEMBERS, member_inputs, member_names, read_blends, read_members
from m6rec.kernels.ranking.members import Member, OwnMembers
from m6rec.rankers import FUSION, HYBRID, RANKERS, REPEATS, ranker_named
from m6rec.stages.ranking.lists import make_scoring, rank
from tests.contract.conftest import ITEMS_OF_COLOUR, Checkerboard

N = 2 * ITEMS_OF_COLOUR
# The others rank within a domain, and the checkerboard has none.
NAMES = [ranker.name for ranker in RANKERS if "domains" not in ranker.needs]
READ = [name for name in MEMBERS if name in NAMES]
# The others put in order what their user has, and know nothing of what is new.
RANKERS_OF_NEW_ITEMS = [name for name in NAMES if "repeats" not in ranker_named(name).needs]

Lists = dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]


@pytest.fixture(scope="session")
def members(checkerboard: Checkerboard) -> dict[str, Member | OwnMembers]:
    return read_members(checkerboard.fit, READ)


@pytest.fixture(scope="session")
def lists(checkerboard: Checkerboard, members: dict[str, Member | OwnMembers]) -> dict[str, Lists]:
    return _lists(checkerboard.fit, members)


def _lists(
    fit: Fit,
    members: Mapping[str, Member | OwnMembers],
    users: DataFrame | None = None,
    rankers: Sequence[str] = NAMES,
    mask_seen: bool = True,
) -> dict[str, Lists]:
    """Items and scores by ranker and user, ranked on the executors."""
    nothing = np.zeros(fit.n_items, np.bool_)
    blends = read_blends(fit, rankers)
    scoring = make_scoring(members, blends, fit.item_counts, nothing, mask_seen, N)
    inputs = member_inputs(fit, READ) if users is None else users
    found: dict[str, Lists] = {name: {} for name in rankers}
    for row in rank(inputs, scoring).frame().collect():
        items = np.array(row[c.ITEM_INDICES], np.int64)
        found[row[c.MODEL]][row[c.USER_INDEX]] = items, np.array(row[c.SCORES], np.float32)
    return found


def test_every_ranker_has_a_member_or_is_made_of_some(checkerboard: Checkerboard) -> None:
    every = {ranker.name for ranker in RANKERS}
    composed = {name for name in every if member_names(name, checkerboard.fit.config) != (name,)}
    assert composed == {HYBRID, FUSION}
    assert set(MEMBERS) == every - composed


@pytest.mark.parametrize("ranker", RANKERS_OF_NEW_ITEMS)
def test_the_withheld_item_comes_first(
    checkerboard: Checkerboard, lists: dict[str, Lists], ranker: str
) -> None:
    first = {user: lists[ranker][user][0][0] for user in checkerboard.withheld}
    assert first == checkerboard.withheld


def test_where_repeats_are_ranked_what_a_user_has_comes_first_the_latest_before_all(
    checkerboard: Checkerboard, members: dict[str, Member | OwnMembers]
) -> None:
    fit = checkerboard.fit
    [lists] = _lists(fit, members, rankers=[REPEATS], mask_seen=False).values()
    for row in fit.matrix.where(F.size(c.ITEM_INDICES) > 0).collect():
        by_time = sorted(zip(row[c.TIMES], row[c.ITEM_INDICES], strict=True), reverse=True)
        items, scores = lists[row[c.USER_INDEX]]
        assert items[: len(by_time)].tolist() == [item for _, item in by_time]
        assert (scores[len(by_time) :] == 0.0).all()


@pytest.mark.parametrize("ranker", NAMES)
def test_no_list_holds_what_its_user_has(
    checkerboard: Checkerboard, lists: dict[str, Lists], ranker: str
) -> None:
    rows = checkerboard.fit.matrix.collect()
    assert len(rows) == len(lists[ranker])
    for row in rows:
        listed = lists[ranker][row[c.USER_INDEX]][0]
        assert not set(listed) & set(row[c.ITEM_INDICES])
        assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("ranker", NAMES)
def test_lists_go_by_score_and_ties_by_index_or_where_nothing_speaks_by_popularity(
    checkerboard: Checkerboard, lists: dict[str, Lists], ranker: str
) -> None:
    for items, scores in lists[ranker].values():
        assert np.isfinite(scores).all()
        counts = np.where(scores == 0.0, checkerboard.fit.item_counts[items], 0)
        np.testing.assert_array_equal(np.lexsort((items, -counts, -scores)), np.arange(len(items)))


@pytest.mark.parametrize("ranker", NAMES)
def test_a_user_without_a_row_gets_a_list_of_everything_allowed(
    checkerboard: Checkerboard, lists: dict[str, Lists], ranker: str
) -> None:
    items, _ = lists[ranker][checkerboard.stranger]
    assert len(items) == min(N, checkerboard.fit.n_items)


@pytest.mark.parametrize("ranker", NAMES)
def test_an_item_that_nobody_has_is_ranked_as_any_other(
    checkerboard: Checkerboard, lists: dict[str, Lists], ranker: str
) -> None:
    [new] = np.flatnonzero(checkerboard.fit.item_counts == 0)
    listed = [new in items for items, _ in lists[ranker].values() if len(items) < N]
    assert listed and all(listed)


def test_members_read_again_in_other_partitions_give_equal_lists(
    checkerboard: Checkerboard, lists: dict[str, Lists]
) -> None:
    lakehouse, config = checkerboard.fit.lakehouse, checkerboard.fit.config
    fit = Fit(lakehouse, config, c.FINAL)
    shuffled = member_inputs(fit, READ).repartition(3).orderBy(F.rand(1))
    again = _lists(fit, read_members(fit, READ), shuffled)
    for ranker in NAMES:
        assert again[ranker].keys() == lists[ranker].keys()
        for user, (items, scores) in lists[ranker].items():
            np.testing.assert_array_equal(again[ranker][user][0], items)
            np.testing.assert_allclose(again[ranker][user][1], scores, rtol=1e-5, atol=1e-6)
