import pytest

from m6rec.fits.settings_search import Search


def test_values_are_kept_where_they_gain_and_the_next_build_on_them() -> None:
    seen = []

    def measure(values: dict[str, int]) -> float:
        seen.append(values)
        return {1: 0.5, 2: 0.3, 3: 0.6}[values["a"]] + values.get("b", 0)

    search = Search(seconds=10.0)
    best = search.try_in_turn(measure, [{"a": 1}, {"a": 2}, {"a": 3}, {"b": -1}], 0.4, 1.0)
    assert best == pytest.approx(0.6)
    assert search.chosen == {"a": 3}
    assert seen == [{"a": 1}, {"a": 2}, {"a": 3}, {"a": 3, "b": -1}]
    assert [trial["ndcg"] for trial in search.trials] == pytest.approx([0.5, 0.3, 0.6, -0.4])


def test_trials_end_with_the_expected_seconds() -> None:
    search = Search(seconds=2.5)
    search.try_in_turn(lambda _: 1.0, [{"a": one} for one in range(5)], 2.0, 1.0)
    assert len(search.trials) == 2
    assert search.chosen == {}
    assert search.left_out == [{"a": 2}, {"a": 3}, {"a": 4}]


def test_a_gain_within_the_noise_changes_nothing() -> None:
    search = Search(seconds=2.0)
    assert search.try_in_turn(lambda _: 0.5001, [{"a": 1}], 0.5, 1.0) == 0.5
    assert search.chosen == {}
