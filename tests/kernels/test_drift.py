"""Population stability, with known answers."""

import doctest

import numpy as np
import pytest

from m6rec.kernels.publication import drift
from m6rec.kernels.publication.drift import (
    NO_WORD,
    Profile,
    beyond_sampling,
    drift_of_numbers,
    drift_of_words,
    profile_of_numbers,
    profile_of_words,
    stability_index,
)


def test_examples() -> None:
    assert doctest.testmod(drift, extraglobs={"np": np}).failed == 0


def test_the_index_of_a_shift_of_a_quarter() -> None:
    # (0.75 - 0.5) ln 1.5 + (0.25 - 0.5) ln 0.5
    expected = 0.25 * np.log(1.5) - 0.25 * np.log(0.5)
    assert stability_index([50_000, 50_000], [75_000, 25_000]) == pytest.approx(expected, rel=1e-3)


def test_draws_of_one_distribution_do_not_drift() -> None:
    rng = np.random.default_rng(1)
    for size in (50, 500, 5_000):
        profile = profile_of_numbers(rng.normal(size=size))
        assert drift_of_numbers(profile, rng.normal(size=size)) == 0.0


def test_a_shift_a_missing_column_and_a_value_that_is_gone_drift() -> None:
    rng = np.random.default_rng(1)
    profile = profile_of_numbers(rng.normal(size=5_000))
    assert drift_of_numbers(profile, rng.normal(loc=1.0, size=5_000)) > 0.25
    assert drift_of_numbers(profile, np.full(5_000, np.nan)) > 0.25
    stars = profile_of_numbers(rng.integers(1, 6, size=5_000).astype(np.float64))
    assert drift_of_numbers(stars, rng.integers(1, 6, size=5_000).astype(np.float64)) == 0.0
    assert drift_of_numbers(stars, rng.integers(1, 5, size=5_000).astype(np.float64)) > 0.25


def test_a_constant_that_changes_either_way_drifts() -> None:
    profile = profile_of_numbers(np.full(1_000, 3.0))
    assert drift_of_numbers(profile, np.full(1_000, 3.0)) == 0.0
    assert drift_of_numbers(profile, np.full(1_000, 2.0)) > 0.25
    assert drift_of_numbers(profile, np.full(1_000, 4.0)) > 0.25


def test_words_that_are_new_and_words_that_are_gone_drift() -> None:
    profile = profile_of_words({"genre: Drama": 600, "genre: Comedy": 400})
    assert profile.values == 1_000
    assert drift_of_words(profile, {"genre: Drama": 590, "genre: Comedy": 410}) == 0.0
    assert drift_of_words(profile, {"genre: drama": 600, "genre: comedy": 400}) > 0.25
    assert drift_of_words(profile, {"genre: Drama": 1_000}) > 0.25


def test_rows_without_a_word_drift_where_the_earlier_profile_counts_them() -> None:
    drama, lost = {"genre: Drama": 950, NO_WORD: 50}, {"genre: Drama": 50, NO_WORD: 950}
    assert drift_of_words(profile_of_words(drama), drama) == 0.0
    assert drift_of_words(profile_of_words(drama), lost) > 0.25
    # As earlier releases made it.
    earlier = Profile((), ("genre: Drama", "genre: War"), (500, 450, 0))
    now = {"genre: Drama": 500, "genre: War": 450, NO_WORD: 9_000}
    assert drift_of_words(earlier, now) == 0.0
    assert drift_of_words(earlier, lost) > 0.25


def test_nothing_to_compare_is_no_drift() -> None:
    assert beyond_sampling([5, 5], [0, 0]) == 0.0
    assert drift_of_numbers(profile_of_numbers(np.zeros(0)), np.ones(3)) == 0.0
