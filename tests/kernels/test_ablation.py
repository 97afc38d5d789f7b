from threading import Barrier, get_ident
from time import sleep
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.evaluation import ablation
from m6rec.kernels.evaluation.ablation import (
    EVIDENCE,
    ablate_members,
    compare_with_whole,
    every_nth_user,
)
from m6rec.kernels.ranking import blending
from m6rec.kernels.ranking.blending import BINS, Candidates, ChosenWeights, choose_weights, improved


def users_like(scores: list[list[float]], users: int, item_bins: tuple[int, ...]) -> Candidates:
    """Users with three candidates each, of which the first is relevant; scores: [members][3]."""
    return Candidates(
        indptr=np.arange(users + 1) * 3,
        scores=np.tile(np.array(scores, np.float32), users),
        relevant=np.tile([True, False, False], users),
        relevant_counts=np.ones(users, np.int64),
        item_bins=np.tile(np.array(item_bins), users),
        user_bins=np.full(users, 3),
        owners=np.arange(users),
    )


def ablated(
    candidates: Candidates, *names: str, rounds: int = 2
) -> tuple[Float64, dict[str, Float64]]:
    chosen = choose_weights(candidates, 3, rounds, resamples=1)
    return ablate_members(candidates, names, chosen, 3, rounds)[:2]


def test_without_the_only_member_that_knows_ndcg_is_that_of_the_next_best() -> None:
    candidates = users_like([[3, 2, 1], [2, 3, 1], [1, 2, 3]], 4, (3, 3, 3))
    whole, without = ablated(candidates, "svd", "als", "popularity")
    assert whole.tolist() == pytest.approx([1.0] * 4)
    second_place = 1.0 / np.log2(3.0)
    # Members without a weight are not taken out: nothing would change.
    assert set(without) == {"svd", "factors"}
    assert without["svd"].tolist() == pytest.approx([second_place] * 4)
    assert without["factors"].tolist() == pytest.approx([0.5] * 4)


def test_each_member_of_the_ranker_is_a_part_whatever_a_single_search_would_choose() -> None:
    # One search finds that the first member alone is best; the ranker has some of the second, too.
    candidates = users_like([[3, 2, 1], [2, 3, 1]], 4, (3, 3, 3))
    ones = np.ones((2, BINS))
    chosen = ChosenWeights(np.array([1.0, 0.3]), ones, ones, 1.0, 0)
    whole, without, _ = ablate_members(candidates, ("svd", "als"), chosen, 3, 2)
    assert whole.tolist() == without["als"].tolist() == [1.0] * 4
    assert without["svd"].tolist() == pytest.approx([1.0 / np.log2(3.0)] * 4)


def test_the_factors_by_evidence_are_a_part() -> None:
    candidates = users_like([[2, 3, 1], [1, 2, 3]], 2, (3, 0, 3))
    whole, without = ablated(candidates, "svd", "als")
    assert whole.mean() == pytest.approx(1.0)
    assert without[EVIDENCE].mean() < 1.0


@pytest.mark.parametrize(("bytes_at_once", "together"), [(1, 1), (1 << 30, 2)])
def test_as_many_parts_are_searched_at_once_as_memory_allows(
    monkeypatch: pytest.MonkeyPatch, bytes_at_once: int, together: int
) -> None:
    running, most = set[int](), 0
    meeting = Barrier(together)

    def choose(candidates: Candidates, *rest: Any) -> ChosenWeights:
        nonlocal most
        # One search is of the whole, and two are of parts.
        if len(candidates.scores) < 3:
            running.add(get_ident())
            most = max(most, len(running))
            meeting.wait(timeout=60)
            sleep(0.02)
        found = improved(candidates, *rest)
        running.discard(get_ident())
        return found

    monkeypatch.setattr(blending, "_BYTES_OF_SAMPLES", bytes_at_once)
    monkeypatch.setattr(ablation, "improved", choose)
    candidates = users_like([[3, 2, 1], [2, 3, 1], [1, 2, 3]], 4, (3, 3, 3))
    with threadpool_limits(2, user_api="blas"):
        ablated(candidates, "svd", "als", "popularity")
    assert most == together


def test_a_part_that_helps_has_a_negative_difference_with_its_interval() -> None:
    whole = np.linspace(0.4, 0.6, 50)
    without = whole - 0.1 + np.tile([0.01, -0.01], 25)
    line = compare_with_whole("svd", without, whole, np.arange(50), 0.95, replicates=200, seed=1)
    assert line.difference == pytest.approx(-0.1)
    assert line.value == pytest.approx(0.4)
    assert line.ci_low < -0.1 < line.ci_high < -0.09
    assert line.p_value < 1e-6
    assert line.users == 50


def test_a_part_that_changes_nothing_is_not_significant() -> None:
    same = np.linspace(0, 1, 10)
    line = compare_with_whole("svd", same, same, np.arange(10), 0.95, replicates=50, seed=1)
    assert (line.difference, line.ci_low, line.ci_high, line.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_copies_of_a_user_are_no_evidence_of_their_own() -> None:
    whole = np.linspace(0.4, 0.6, 40)
    without = whole + np.random.default_rng(3).normal(0.0, 0.1, 40)
    alone = compare_with_whole("svd", without, whole, np.arange(40), 0.95, replicates=400, seed=1)
    copied = compare_with_whole(
        "svd", np.tile(without, 30), np.tile(whole, 30), np.tile(np.arange(40), 30), 0.95, 400, 1
    )
    assert copied.users == 40
    assert copied.p_value == pytest.approx(alone.p_value)
    assert (copied.ci_low, copied.ci_high) == pytest.approx((alone.ci_low, alone.ci_high))


def test_evenly_spaced_users_keep_their_candidates() -> None:
    candidates = users_like([[3, 2, 1]], 6, (3, 3, 3))
    three = every_nth_user(candidates, 3)
    assert three.indptr.tolist() == [0, 3, 6, 9]
    assert three.scores.tolist() == [[3, 2, 1] * 3]
    assert every_nth_user(candidates, 6) is candidates
