"""Transitions by hand, and what must not change them."""

import time

import numpy as np
import numpy.testing as npt
import pytest

from m6rec.kernels.arrays.rows import UNKNOWN_TIME, Int64, Rows, concatenate_rows, indptr_of
from m6rec.kernels.neighbours.item_neighbours import FIXED_POINT
from m6rec.kernels.neighbours.transitions import (
    AT_ONE_TIME,
    TransitionTotals,
    concatenate_transitions,
    most_transitions,
    transition_weights,
    transitions,
    transitions_of,
)

MANY = 1000


def _users(*histories: dict[int, int]) -> tuple[Rows, Int64]:
    """Rows and times of users, each given as the time of each of the user's items."""
    items = [np.array(sorted(history), np.int32) for history in histories]
    times = [np.array([history[item] for item in sorted(history)]) for history in histories]
    flat = np.concatenate([np.empty(0, np.int32), *items])
    rows = Rows(
        np.arange(len(histories)),
        indptr_of([len(own) for own in items]),
        flat,
        np.ones(len(flat), np.float32),
    )
    return rows, np.concatenate([np.empty(0, np.int64), *times])


def _sums(*histories: dict[int, int], window: int = 5, maximum_history: int = MANY) -> np.ndarray:
    """T as numbers, for 4 items."""
    found = transitions_of(*_users(*histories), window, maximum_history)
    return np.asarray(found.sums(4).toarray() / FIXED_POINT)


def _weights(*histories: dict[int, int], kept: int = 100) -> np.ndarray:
    found = transitions(*_users(*histories), 4, 5, kept, 0.5, 0.5, MANY)
    return np.asarray(found.to_scipy().toarray())


def test_what_follows_counts_the_less_the_more_steps_it_is_away() -> None:
    # In the order of time: 2, 0, 3.
    expected = np.zeros((4, 4))
    expected[2, 0] = expected[0, 3] = 1.0
    expected[2, 3] = 0.5
    npt.assert_array_equal(_sums({0: 20, 2: 10, 3: 30}), expected)


def test_what_is_beyond_the_window_does_not_count() -> None:
    found = _sums({0: 1, 1: 2, 2: 3, 3: 4}, window=2)
    expected = [[0, 1, 0.5, 0], [0, 0, 1, 0.5], [0, 0, 0, 1], [0, 0, 0, 0]]
    npt.assert_array_equal(found, expected)


def test_users_add_up() -> None:
    first, second = {0: 1, 1: 2}, {0: 3, 2: 4, 1: 5}
    npt.assert_array_equal(_sums(first, second), _sums(first) + _sums(second))
    assert _sums(first, second)[0, 1] == 1.5


def test_weights_are_divided_by_what_goes_out_and_what_comes_in() -> None:
    # T_01 = 1.5, T_02 = T_21 = 1; out_0 = 2.5 and in_1 = 2.5.
    found = _weights({0: 1, 1: 2}, {0: 3, 2: 4, 1: 5})
    expected = np.zeros((4, 4))
    expected[0, 1] = 1.5 / 2.5
    expected[0, 2] = expected[2, 1] = 1.0 / np.sqrt(2.5)
    npt.assert_allclose(found, expected, rtol=1e-6)


def test_each_exponent_damps_its_own_end() -> None:
    sums = transitions_of(*_users({0: 1, 1: 2}, {0: 3, 2: 4, 1: 5}), 5, MANY)
    totals = sums.totals(4)
    npt.assert_allclose(totals.outgoing / FIXED_POINT, [2.5, 0, 1, 0])
    npt.assert_allclose(totals.incoming / FIXED_POINT, [0, 2.5, 1, 0])
    found = transition_weights(sums.sums(4), totals, 100, 1.0, 0.0).to_scipy().toarray()
    npt.assert_allclose(found[0], [0, 0.6, 0.4, 0], rtol=1e-6)


def test_the_best_of_each_history_item_are_kept_and_ties_by_lower_index() -> None:
    found = _weights({0: 1, 1: 2}, {0: 1, 1: 2}, {0: 1, 2: 2}, {0: 1, 3: 2}, {3: 1, 2: 2}, kept=1)
    assert np.argwhere(found > 0).tolist() == [[0, 1], [3, 2]]
    tied = _weights({0: 1, 2: 2}, {0: 1, 3: 2}, kept=1)
    assert np.argwhere(tied > 0).tolist() == [[0, 2]]


def test_what_shares_a_time_is_one_step_from_each_other_and_from_what_is_next() -> None:
    # Items 1 and 2 came together, between 0 and 3.
    expected = np.zeros((4, 4))
    expected[0, 1] = expected[0, 2] = expected[1, 3] = expected[2, 3] = 1.0
    expected[1, 2] = expected[2, 1] = 1.0
    expected[0, 3] = 0.5
    npt.assert_array_equal(_sums({0: 1, 1: 2, 2: 2, 3: 3}), expected)
    assert np.argwhere(_sums({1: 7, 2: 7})).tolist() == [[1, 2], [2, 1]]


def test_of_very_many_at_one_time_the_same_few_take_part_in_any_order() -> None:
    history = dict.fromkeys(range(60), 5) | {60: 6}
    found = transitions_of(*_users(history), 5, MANY)
    assert len(found) == AT_ONE_TIME * (AT_ONE_TIME - 1) + AT_ONE_TIME
    followed = set(found.history_items[found.targets == 60].tolist())
    assert len(followed) == AT_ONE_TIME
    assert followed != set(range(AT_ONE_TIME))
    fewer = {item: at for item, at in history.items() if item in followed or item == 60}
    again = transitions_of(*_users(fewer), 5, MANY)
    npt.assert_array_equal(again.sums(61).toarray(), found.sums(61).toarray())


def test_the_numbers_of_items_do_not_matter() -> None:
    generator = np.random.default_rng(5)
    histories = [
        dict(zip(range(4), generator.integers(0, 3, 4).tolist(), strict=True)) for _ in range(30)
    ]
    other = np.array([2, 0, 3, 1])
    renamed = [{int(other[item]): at for item, at in one.items()} for one in histories]
    npt.assert_array_equal(_sums(*renamed)[np.ix_(other, other)], _sums(*histories))


def test_what_has_no_time_takes_no_part() -> None:
    none = int(UNKNOWN_TIME)
    npt.assert_array_equal(_sums({0: none, 1: 5, 2: 6}), _sums({1: 5, 2: 6}))
    assert not _sums({0: none, 1: none}).any()


def test_of_a_long_history_the_latest_is_looked_at() -> None:
    found = _sums({0: 1, 1: 2, 2: 3, 3: 4}, maximum_history=2)
    assert np.argwhere(found).tolist() == [[2, 3]]


def test_what_came_last_at_one_time_takes_part_however_many_it_is() -> None:
    found = _sums({0: 1, 1: 2, 2: 2, 3: 2}, maximum_history=1)
    assert not found[0].any()
    assert found[1:, 1:].any(axis=1).all()


def test_no_users_and_users_of_one_item_have_no_transitions() -> None:
    assert not _sums().any()
    assert not _weights({0: 1}, {1: 1}, {}).any()


def _random(n_users: int, n_items: int, seed: int) -> tuple[Rows, Int64]:
    generator = np.random.default_rng(seed)
    drawn = generator.random((n_users, n_items)) < 0.3
    times = generator.integers(0, 40, (n_users, n_items))
    return _users(
        *(
            {int(item): int(times[user, item]) for item in np.flatnonzero(drawn[user])}
            for user in range(n_users)
        )
    )


def test_neither_order_nor_parts_change_a_bit() -> None:
    rows, times = _random(60, 25, seed=3)
    expected = transitions(rows, times, 25, 5, 7, 0.5, 0.4, MANY)
    by_user = [times[rows.indptr[u] : rows.indptr[u + 1]] for u in range(len(rows))]
    reversed_rows = concatenate_rows([rows.slice(u, u + 1) for u in reversed(range(len(rows)))])
    reversed_times = np.concatenate(by_user[::-1])
    again = transitions(reversed_rows, reversed_times, 25, 5, 7, 0.5, 0.4, MANY)
    parts = [
        transitions_of(rows.slice(low, high), np.concatenate(by_user[low:high]), 5, MANY)
        for low, high in ((0, 11), (11, 12), (12, 60))
    ]
    shares = [part.totals(25) for part in parts]
    totals = TransitionTotals(
        np.sum([share.outgoing for share in shares], axis=0),
        np.sum([share.incoming for share in shares], axis=0),
    )
    sums = parts[0].sums(25) + concatenate_transitions(parts[1:]).sums(25)
    in_parts = transition_weights(sums, totals, 7, 0.5, 0.4)
    for found in (again, in_parts):
        npt.assert_array_equal(found.indptr, expected.indptr)
        npt.assert_array_equal(found.neighbour_indices, expected.neighbour_indices)
        npt.assert_array_equal(found.weights, expected.weights)


@pytest.mark.parametrize("sharing", [1, AT_ONE_TIME, 100_000])
def test_the_cost_is_linear_however_many_share_a_time(sharing: int) -> None:
    transitions_of(*_users({0: 1, 1: 2}), 5, MANY)
    items = np.arange(100_000, dtype=np.int32)
    rows = Rows(np.array([0]), np.array([0, len(items)]), items, np.ones(len(items), np.float32))
    # Of the processor, so that other work on the machine does not count.
    started = time.process_time()
    found = transitions_of(rows, items.astype(np.int64) // sharing, 5, 10**6)
    assert time.process_time() - started < 2.0
    assert len(found) <= most_transitions(5) * len(items)
