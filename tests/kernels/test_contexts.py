"""Codes of contexts."""

import datetime

import numpy as np
import numpy.testing as npt

from m6rec.kernels.arrays.contexts import (
    NO_CONTEXTS,
    ContextVocabulary,
    vocabulary_from_json,
)
from m6rec.kernels.arrays.rows import UNKNOWN_TIME

VOCABULARY = ContextVocabulary(clock=True, columns={"device": ("phone", "desk"), "channel": ()})


def test_each_value_has_a_code_of_its_own_and_each_key_one_for_other_values() -> None:
    hour, weekday, device, channel = VOCABULARY.codes.values()
    assert (hour.of_values["0"], hour.other, weekday.of_values["1"], weekday.other) == (
        1,
        25,
        26,
        33,
    )
    assert (device.of_values, device.other) == ({"phone": 34, "desk": 35}, 36)
    assert (channel.of_values, channel.other) == ({}, 37)
    assert VOCABULARY.size == 38
    assert NO_CONTEXTS.size == 0


def test_the_codes_of_a_context_tell_an_unknown_key_from_another_value() -> None:
    context = {"hour": "8", "device": "tablet"}
    assert VOCABULARY.codes_of(context).tolist() == [9, 0, 36, 0]


def test_the_clock_of_interactions_is_in_utc_and_its_week_begins_on_monday() -> None:
    at = [
        datetime.datetime(1970, 1, 1, 0, 59, tzinfo=datetime.UTC),
        datetime.datetime(2026, 11, 23, 23, 59, 59, tzinfo=datetime.UTC),
        datetime.datetime(1969, 12, 28, 12, tzinfo=datetime.UTC),
    ]
    times = np.array([int(one.timestamp()) * 1_000_000 for one in at] + [UNKNOWN_TIME])
    columns = np.array([[34, 0]] * 4, np.int32)
    codes = VOCABULARY.codes_of_interactions(times, columns)
    expected = [
        [
            *VOCABULARY.codes_of({"hour": str(one.hour), "weekday": str(one.isoweekday())})[:2],
            34,
            0,
        ]
        for one in at
    ]
    npt.assert_array_equal(codes, [*expected, [0, 0, 34, 0]])


def test_a_vocabulary_survives_json() -> None:
    assert vocabulary_from_json(VOCABULARY.to_json()) == VOCABULARY
