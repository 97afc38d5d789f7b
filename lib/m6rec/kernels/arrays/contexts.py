"""Turn the contexts of interactions into codes: the hour, the weekday, the device, and so on.

A code is a row of the tables in which the towers keep what they have learned of each value. Code 0
stands for a value that is not known, and its row is zero.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from m6rec.config.towers import CLOCK
from m6rec.kernels.arrays.rows import UNKNOWN_TIME, Int32, Int64

# A value by key, such as {"hour": "8", "device": "phone"}; keys that are not known are left out.
Context = Mapping[str, str]

NOT_KNOWN = 0
_MICROS_AN_HOUR = 3_600_000_000
_MICROS_A_DAY = 24 * _MICROS_AN_HOUR
# 1970-01-01 was a Thursday, the fourth day of its week.
_FIRST_WEEKDAY = 3


@dataclass(frozen=True)
class KeyCodes:
    """The codes of one key's values.

    Attributes:
        of_values: the code of each value that is told apart.
        other: the code of all other values together.
    """

    of_values: Mapping[str, int]
    other: int


@dataclass(frozen=True)
class ContextVocabulary:
    """The keys of a context and the values that are told apart.

    Attributes:
        clock: whether the hour and the weekday are keys; they come first.
        columns: the values of each of the owner's columns.
    """

    clock: bool = False
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def values(self) -> Mapping[str, tuple[str, ...]]:
        """The values of each key, in the order of codes."""
        return {**(CLOCK if self.clock else {}), **self.columns}

    @property
    def codes(self) -> Mapping[str, KeyCodes]:
        """The codes of each key."""
        codes, start = {}, NOT_KNOWN + 1
        for key, values in self.values.items():
            other = start + len(values)
            codes[key] = KeyCodes(dict(zip(values, range(start, other), strict=True)), other)
            start = other + 1
        return codes

    @property
    def size(self) -> int:
        """How many codes there are; 0 without keys."""
        return max((codes.other + 1 for codes in self.codes.values()), default=0)

    def codes_of(self, context: Context) -> Int32:
        """int32 [keys]: the codes of one context."""
        return np.array(
            [
                codes.of_values.get(context[key], codes.other) if key in context else NOT_KNOWN
                for key, codes in self.codes.items()
            ],
            np.int32,
        )

    def codes_of_interactions(self, times: Int64, columns: Int32) -> Int32:
        """int32 [n, keys]: the codes of interactions.

        Args:
            times: int64 [n] in microseconds since 1970 in UTC, or `UNKNOWN_TIME`.
            columns: int32 [n, columns]; the codes of the owner's columns.
        """
        if not self.clock:
            return columns
        places = (
            times // _MICROS_AN_HOUR % 24,
            (times // _MICROS_A_DAY + _FIRST_WEEKDAY) % 7,
        )
        starts = [min(self.codes[key].of_values.values()) for key in CLOCK]
        known = times != UNKNOWN_TIME
        clock = [
            np.where(known, start + place, NOT_KNOWN)
            for start, place in zip(starts, places, strict=True)
        ]
        return np.column_stack([*clock, columns]).astype(np.int32)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


NO_CONTEXTS = ContextVocabulary()


def vocabulary_from_json(values: Mapping[str, Any]) -> ContextVocabulary:
    """The vocabulary that `to_json` gave."""
    columns = {key: tuple(known) for key, known in values["columns"].items()}
    return ContextVocabulary(values["clock"], columns)
