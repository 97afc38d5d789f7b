from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from m6rec.config.run import parse_config
from m6rec.fits.settings_search import Search, _try_all
from m6rec.kernels.arrays.rows import Float64


def of_two_users(ndcg: float) -> Float64:
    """Two users who agree."""
    return np.full(2, ndcg)


def test_values_are_kept_where_they_gain_and_the_next_build_on_them() -> None:
    seen = []

    def measure(values: dict[str, int]) -> Float64:
        seen.append(values)
        return of_two_users({1: 0.5, 2: 0.3, 3: 0.6}[values["a"]] + values.get("b", 0))

    search = Search(seconds=10.0)
    alternatives = [{"a": 1}, {"a": 2}, {"a": 3}, {"b": -1}]
    best = search.try_in_turn(measure, alternatives, of_two_users(0.4), 1.0)
    assert best == pytest.approx([0.6, 0.6])
    assert search.chosen == {"a": 3}
    assert seen == [{"a": 1}, {"a": 2}, {"a": 3}, {"a": 3, "b": -1}]
    assert [trial["ndcg"] for trial in search.trials] == pytest.approx([0.5, 0.3, 0.6, -0.4])


def test_trials_end_with_the_expected_seconds() -> None:
    search = Search(seconds=2.5)
    alternatives = [{"a": one} for one in range(5)]
    search.try_in_turn(lambda _: of_two_users(1.0), alternatives, of_two_users(2.0), 1.0)
    assert len(search.trials) == 2
    assert search.chosen == {}
    assert search.left_out == [{"a": 2}, {"a": 3}, {"a": 4}]


@pytest.mark.parametrize("found", [[0.5001, 0.5001], [0.9, 0.2]], ids=["small", "of one user"])
def test_a_gain_within_the_noise_changes_nothing(found: list[float]) -> None:
    search, before = Search(seconds=2.0), of_two_users(0.5)
    assert search.try_in_turn(lambda _: np.array(found), [{"a": 1}], before, 1.0) is before
    assert search.chosen == {}


def test_ranks_without_a_weight_of_attributes_and_weights_with_ratings_are_not_tried() -> None:
    table = {"path": "table.csv", "format": "csv"}
    trials = SimpleNamespace(
        terms=sp.csr_matrix((4, 2), dtype=np.float32),
        statistics=SimpleNamespace(counts=np.ones(4), users_by_count=np.ones(2)),
        n_items=4,
        of_vectors=False,
        ridge=None,
        als=None,
        als_cosine=None,
        recent_ridge=None,
        measure=lambda member: lambda values: of_two_users(0.5),
    )

    def searched(**als: Any) -> Search:
        trials.config = parse_config(
            {
                "interactions": {
                    "source": table,
                    "columns": {"weight": "stars"},
                    "weighting": "weight",
                },
                "features": {"items": {"source": table, "id": "item_id"}},
                "factors": {"als": als},
                "settings": {"als_ranks": [128, 16]},
            },
            "test",
        )
        search = Search(seconds=1e6)
        _try_all(trials, search)  # type: ignore[arg-type]
        return search

    search = searched()
    assert search.skipped_without_attributes == [{"factors.als.rank": 16}]
    assert any("factors.als.attribute_weight" in one["values"] for one in search.trials)
    search = searched(feedback="explicit")
    assert search.skipped_without_attributes == [{"factors.als.rank": 16}]
    assert not any("factors.als.attribute_weight" in one["values"] for one in search.trials)
