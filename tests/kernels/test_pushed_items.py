"""How far pushed items rise."""

import numpy as np

from m6rec.kernels.evaluation.pushed_items import Rise, RiseSums, rise_sums


def test_an_item_beyond_the_list_has_the_rank_after_it() -> None:
    ranked = np.array([[4, 7, 1], [7, 4, -1], [0, 1, 2], [0, 3, 7]], np.int32)
    # Item 7 has the ranks 2, 1, 4, 3, and item 9 has 4 in all lists.
    sums = rise_sums(ranked, np.array([7, 9]), 8, 2)
    assert sums == RiseSums(lists=4, hits=2, pairs=8, ranks=2 + 1 + 4 + 3 + 4 * 4)
    assert sums.rise() == Rise(share=0.5, mean_rank=26 / 8)


def test_an_item_that_its_user_has_counts_in_no_rank() -> None:
    ranked = np.array([[4, 7], [4, 1]], np.int32)
    assert rise_sums(ranked, np.array([7]), 1, 2).rise() == Rise(share=0.5, mean_rank=2.0)
