import numpy as np
import pytest

from m6rec.fits.settings_search import Search
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
