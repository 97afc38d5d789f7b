"""The code that judges the hybrid from outside must be right itself."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tests.quality.peers import K, ease, held_out_rows, lists_of, ndcg


def test_ease_is_the_ridge_regression_of_each_item_on_the_others() -> None:
    dense = (np.random.default_rng(0).random((12, 4)) < 0.5).astype(np.float32)
    penalty = 2.0
    expected = np.zeros((4, 4))
    for item in range(4):
        others = [one for one in range(4) if one != item]
        x = dense[:, others].astype(np.float64)
        system = x.T @ x + penalty * np.eye(3)
        expected[others, item] = np.linalg.solve(system, x.T @ dense[:, item])
    scores = ease(sp.csr_matrix(dense), penalty)(sp.identity(4, np.float32, "csr"))
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_lists_leave_out_what_the_row_holds() -> None:
    rows = sp.csr_matrix(([1.0], ([0], [2])), (1, K + 1), np.float32)
    lists = lists_of(lambda part: np.arange(K + 1, dtype=np.float32)[None], rows)
    assert lists.tolist() == [[item for item in range(K, -1, -1) if item != 2]]


def test_ndcg_discounts_by_the_logarithm_of_the_rank() -> None:
    lists = np.array([[5, 7] + [-1] * (K - 2), [1] + [-1] * (K - 1)])
    held_out = sp.csr_matrix(([1.0, 1.0], ([0, 0], [7, 9])), (2, 10))
    # One hit at rank 2 of two held out; the second user has none held out and is not measured.
    ideal = 1.0 + 1.0 / np.log2(3.0)
    assert ndcg(lists, held_out) == pytest.approx([1.0 / np.log2(3.0) / ideal])


def test_settings_are_chosen_on_the_latest_item_where_the_test_is_that() -> None:
    train = pd.DataFrame(
        {"user_id": [1, 1, 2, 2], "item_id": [1, 2, 1, 2], "event_time": [2, 1, 1, 2]}
    )
    assert held_out_rows(train, one_of_each=True).tolist() == [True, False, False, True]
