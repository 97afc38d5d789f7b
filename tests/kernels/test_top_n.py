from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from m6rec.kernels.arrays.rows import Float32, Int32, Int64
from m6rec.kernels.ranking.top_n import OrderedItems, by_index, by_length, top_n, top_n_products
from tests.lanes import needs_rows_rounded_alike


def mask_items(scores: np.ndarray, indptr: np.ndarray, items: np.ndarray) -> None:
    """Set the scores of each row's listed items to -inf, in place."""
    users = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    scores[users, items] = -np.inf


def brute_force(scores: np.ndarray, n: int) -> np.ndarray:
    order = np.lexsort((np.arange(len(scores)), -scores))
    return order[:n]


def test_best_first_and_ties_by_the_lower_item_index() -> None:
    scores = np.array([[1.0, 3.0, 3.0, 2.0, 3.0]], dtype=np.float32)
    items, values = top_n(scores, 3)
    assert items.tolist() == [[1, 2, 4]]
    assert values.tolist() == [[3.0, 3.0, 3.0]]


def test_masked_items_are_never_listed_and_short_lists_are_padded() -> None:
    scores = np.zeros((2, 3), dtype=np.float32)
    mask_items(scores, np.array([0, 2, 2]), np.array([0, 2], dtype=np.int32))
    items, values = top_n(scores, 4)
    assert items.tolist() == [[1, -1, -1, -1], [0, 1, 2, -1]]
    assert np.isneginf(values[0, 1:]).all()


def test_not_a_number_is_never_listed() -> None:
    items, _ = top_n(np.array([[np.nan, 1.0]], dtype=np.float32), 2)
    assert items.tolist() == [[1, -1]]


def test_scores_of_either_sign_and_of_all_sizes_are_in_order() -> None:
    scores = np.array([[-0.0, -2.0, 0.0, np.inf, -1e-40, 1e-40, -np.inf, -0.0, 3e38]], np.float32)
    items, values = top_n(scores, 9)
    assert items.tolist() == [[3, 8, 5, 0, 2, 7, 4, 1, -1]]
    assert values.tolist() == scores[0, [3, 8, 5, 0, 2, 7, 4, 1, 6]][None].tolist()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 70))
def test_equals_a_full_sort(seed: int, n_items: int, n: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 8, (4, n_items)).astype(np.float32)
    items, _ = top_n(scores, n)
    for row in range(4):
        expected = brute_force(scores[row], n)
        assert items[row, : len(expected)].tolist() == expected.tolist()


def small_integers(seed: int, n: int, k: int) -> Float32:
    """Products are exact in any order of addition, and most scores are tied."""
    return np.random.default_rng(seed).integers(-3, 4, (n, k)).astype(np.float32)


def seen_by(seed: int, n_users: int, n_items: int) -> tuple[Int64, Int32]:
    generator = np.random.default_rng(seed)
    seen = [
        np.flatnonzero(generator.random(n_items) < share)
        for share in generator.choice([0.0, 0.01, 0.5, 1.0], n_users)
    ]
    indptr = np.concatenate([[0], np.cumsum([len(items) for items in seen])]).astype(np.int64)
    return indptr, np.concatenate([*seen, np.empty(0)]).astype(np.int32)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("ordered", [by_index, by_length])
@pytest.mark.parametrize(
    ("n_users", "n_items", "n"), [(0, 5, 2), (1, 1, 1), (7, 63, 70), (30, 2500, 20), (1100, 65, 5)]
)
def test_products_are_listed_as_a_full_sort_lists_them(
    n_users: int,
    n_items: int,
    n: int,
    ordered: Callable[[Float32], OrderedItems],
    threads: int,
) -> None:
    users, vectors = small_integers(1, n_users, 6), small_integers(2, n_items, 6)
    indptr, seen = seen_by(3, n_users, n_items)
    masked_items = np.random.default_rng(4).random(n_items) < 0.2
    with threadpool_limits(threads, user_api="blas"):
        items, values = top_n_products(users, ordered(vectors), n, indptr, seen, masked_items)
    scores = users @ vectors.T
    scores[:, masked_items] = -np.inf
    mask_items(scores, indptr, seen)
    assert items.dtype == np.int32
    assert values.dtype == np.float32
    for row in range(n_users):
        order = brute_force(scores[row], n)
        expected = order[np.isfinite(scores[row, order])]
        padding = n - len(expected)
        assert items[row].tolist() == expected.tolist() + [-1] * padding
        assert values[row].tolist() == scores[row, expected].tolist() + [-np.inf] * padding


def test_other_members_add_to_the_scores_before_selection() -> None:
    users, vectors = small_integers(1, 1500, 4), small_integers(2, 2100, 4)
    other = small_integers(3, 1500, 2100)
    indptr = np.zeros(1501, np.int64)

    def added(rows: slice) -> Callable[[slice, Float32], None]:
        reached = 0

        def add_to_items(columns: slice, scores: Float32) -> None:
            nonlocal reached
            assert columns.start == reached
            reached = columns.stop
            scores += other[rows, columns]

        return add_to_items

    items, values = top_n_products(
        users, by_index(vectors), 20, indptr, np.empty(0, np.int32), added=added
    )
    expected_items, expected_values = top_n(users @ vectors.T + other, 20)
    np.testing.assert_array_equal(items, expected_items)
    np.testing.assert_array_equal(values, expected_values)


def test_an_error_of_another_member_is_raised() -> None:
    def added(rows: slice) -> Callable[[slice, Float32], None]:
        raise ValueError(f"no history of users {rows.start} to {rows.stop}")

    users, vectors = small_integers(1, 3, 4), small_integers(2, 5, 4)
    nothing = np.zeros(4, np.int64), np.empty(0, np.int32)
    with pytest.raises(ValueError, match="no history of users 0 to 3"):
        top_n_products(users, by_index(vectors), 2, *nothing, added=added)
    with pytest.raises(ValueError, match="these are by length"):
        top_n_products(users, by_length(vectors), 2, *nothing, added=added)


def test_items_too_short_for_any_list_are_not_looked_at() -> None:
    items = by_length(np.ones((3000, 4), np.float32))
    assert items.lengths is not None
    # Told to be short, items of later blocks would win if their scores were computed.
    items.vectors[1024:2048] = 10.0
    items.lengths[1024:] = 0.1
    listed, values = top_n_products(
        np.ones((2, 4), np.float32), items, 3, np.zeros(3, np.int64), np.empty(0, np.int32)
    )
    assert listed.tolist() == [[0, 1, 2]] * 2
    assert values.tolist() == [[4.0, 4.0, 4.0]] * 2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.floats(0.0, 2.0))
def test_lengths_leave_out_no_item_that_a_full_sort_lists(seed: int, k: int, spread: float) -> None:
    generator = np.random.default_rng(seed)
    # Whole numbers, for sums that are exact; parallel to the users' vectors, to reach the bound.
    scales = np.minimum(np.exp(spread * generator.standard_normal((2500, 1))) * 10, 1000)
    vectors = np.floor(scales * np.ones(k)).astype(np.float32)
    users = (generator.integers(-3, 4, (40, 1)) * np.ones(k)).astype(np.float32)
    nothing = np.zeros(41, np.int64), np.empty(0, np.int32)
    items, values = top_n_products(users, by_length(vectors), 10, *nothing)
    expected, expected_values = top_n_products(users, by_index(vectors), 10, *nothing)
    np.testing.assert_array_equal(items, expected)
    np.testing.assert_array_equal(values, expected_values)


@needs_rows_rounded_alike
@pytest.mark.parametrize("arranged", [by_index, by_length])
def test_a_user_has_the_same_scores_alone_as_among_others(
    arranged: Callable[[Float32], OrderedItems],
) -> None:
    rng = np.random.default_rng(5)
    users = rng.standard_normal((300, 50)).astype(np.float32)
    items = arranged(rng.standard_normal((62, 50)).astype(np.float32))

    def lists(rows: Float32) -> tuple[Int32, Float32]:
        nothing = np.zeros(len(rows) + 1, np.int64)
        return top_n_products(rows, items, 10, nothing, np.empty(0, np.int32))

    with threadpool_limits(1):
        _, together = lists(users)
        for start, stop in ((0, 1), (3, 5), (10, 33), (40, 171)):
            _, apart = lists(users[start:stop])
            assert np.array_equal(apart, together[start:stop])
