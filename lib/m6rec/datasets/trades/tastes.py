"""Draw who likes what: items of groups, users with shares of taste in groups, and their choices."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from m6rec.kernels.arrays.rows import Float64, Int64

# A Monday, so long ago that all of a trade lies in the past: events of the future are refused.
FIRST_DAY = pd.Timestamp("2024-01-01", tz="UTC")


@dataclass(frozen=True)
class Tastes:
    """A population of users and items.

    Attributes:
        group: int64 [items]; the group of each item.
        likings: float64 [users, items]; how likely a user chooses each item, in sum 1.
    """

    group: Int64
    likings: Float64

    def of_group(self, user: int) -> int:
        """The group that a user likes best."""
        sums = np.bincount(self.group, weights=self.likings[user])
        return int(sums.argmax())

    def choose(
        self,
        generator: np.random.Generator,
        user: int,
        count: int,
        among: Int64 | None = None,
    ) -> Int64:
        """At most `count` different items that a user chooses, among all items or some: int64."""
        places = np.arange(len(self.group)) if among is None else among
        weights = self.likings[user, places]
        count = min(count, len(places))
        if not count:
            return places[:0]
        return generator.choice(places, count, replace=False, p=weights / weights.sum())


def draw_tastes(
    generator: np.random.Generator, users: int, items: int, groups: int, sharpness: float = 12.0
) -> Tastes:
    """Items that differ in popularity, and users who like one or two groups more than the others.

    Args:
        generator: of all that is drawn.
        users, items, groups: how many there are.
        sharpness: how many times likelier an item of the best liked group is than of another one.
    """
    group = np.arange(items) % groups
    popularity = 1.0 / (1.0 + generator.permutation(items)) ** 0.6
    pull = np.ones((users, groups))
    pull[np.arange(users), generator.integers(0, groups, users)] = sharpness
    pull[np.arange(users), generator.integers(0, groups, users)] += sharpness / 3
    likings = pull[:, group] * popularity
    return Tastes(group, likings / likings.sum(axis=1, keepdims=True))


def moments(generator: np.random.Generator, count: int, days: int) -> list[pd.Timestamp]:
    """`count` ascending times within the first days, to the second."""
    seconds = np.sort(generator.integers(0, int(days * 86_400), count))
    return [FIRST_DAY + pd.Timedelta(seconds=int(second)) for second in seconds]
