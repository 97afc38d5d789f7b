import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.kernels.top_n import mask_items, top_n


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


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 70))
def test_equals_a_full_sort(seed: int, n_items: int, n: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 8, (4, n_items)).astype(np.float32)
    items, _ = top_n(scores, n)
    for row in range(4):
        expected = brute_force(scores[row], n)
        assert items[row, : len(expected)].tolist() == expected.tolist()
