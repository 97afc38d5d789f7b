import numpy as np

from m6rec.kernels.evaluation.modality_groups import groups_of_cold_items


def test_items_without_interactions_are_grouped_by_the_columns_that_they_have() -> None:
    present = np.array([[1, 1], [1, 0], [1, 0], [0, 0], [1, 1]], np.bool_)
    counts = np.array([0, 0, 0, 0, 7])
    groups = groups_of_cold_items(present, ("picture", "sound"), counts)
    assert {name: np.flatnonzero(mask).tolist() for name, mask in groups.items()} == {
        "cold_items with picture": [1, 2],
        "cold_items with picture and sound": [0],
        "cold_items without vectors": [3],
    }


def test_there_are_no_groups_where_all_have_the_same() -> None:
    present = np.array([[1, 1], [1, 1], [0, 0]], np.bool_)
    assert groups_of_cold_items(present, ("a", "b"), np.array([0, 0, 3])) == {}
    assert groups_of_cold_items(present, ("a", "b"), np.array([1, 1, 3])) == {}
