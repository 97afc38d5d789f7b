"""A seeded user-item matrix like a shop's: power laws on both sides and tastes of low rank."""

from dataclasses import dataclass

import numpy as np

from m6rec.kernels.arrays.rows import Int64, Rows

_DRAWS_AT_ONCE = 4_000_000
_ACTIVITY_EXPONENT = 1.6
_POPULARITY_EXPONENT = 0.8
_SHARE_BY_TASTE = 0.7


@dataclass(frozen=True)
class Sizes:
    """How many users, items and interactions; some interactions are drawn twice and count once."""

    users: int
    items: int
    interactions: int
    tastes: int = 32


def generate(sizes: Sizes, seed: int) -> Rows:
    """Draw the matrix; every weight is 1.

    A user has a Pareto-distributed number of interactions. Each falls, by a fixed share, on one of
    the user's two tastes (groups of items, interleaved by popularity), else on any item; within a
    group items follow a Zipf law.
    """
    generator = np.random.default_rng(seed)
    counts = _activity(sizes, generator)
    tastes = generator.integers(0, sizes.tastes, (sizes.users, 2), dtype=np.int32)
    bounds = np.searchsorted(
        np.cumsum(counts), np.arange(0, counts.sum(), _DRAWS_AT_ONCE), side="left"
    )
    bounds = np.unique(np.concatenate([bounds, [sizes.users]]))
    keys = [
        _draw(sizes, counts, tastes, int(start), int(stop), generator)
        for start, stop in zip(np.concatenate([[0], bounds[:-1]]), bounds, strict=True)
    ]
    return rows_of_keys(np.concatenate(keys), sizes.users, sizes.items)


def rows_of_keys(keys: Int64, users: int, items: int) -> Rows:
    """Rows of weight 1 from ascending keys user * items + item, int64 [entries]."""
    indptr = np.searchsorted(keys, np.arange(users + 1, dtype=np.int64) * items)
    return Rows(
        np.arange(users, dtype=np.int64),
        indptr.astype(np.int64),
        (keys % items).astype(np.int32),
        np.ones(len(keys), np.float32),
    )


def with_heavy_user_and_item(rows: Rows, items: int) -> Rows:
    """The same rows, but the first user has every item and every user has item 0."""
    users = np.repeat(np.arange(len(rows), dtype=np.int64), rows.counts)
    keys = users * items + rows.item_indices
    everything = np.arange(items, dtype=np.int64)
    everyone = np.arange(len(rows), dtype=np.int64) * items
    return rows_of_keys(np.unique(np.concatenate([keys, everything, everyone])), len(rows), items)


def _activity(sizes: Sizes, generator: np.random.Generator) -> Int64:
    raw = 1.0 + generator.pareto(_ACTIVITY_EXPONENT, sizes.users)
    raw = np.minimum(raw, np.quantile(raw, 0.9999))
    counts = raw * (sizes.interactions / raw.sum())
    return np.clip(counts.round(), 2, sizes.items // 2).astype(np.int64)


def _draw(
    sizes: Sizes,
    counts: Int64,
    tastes: np.ndarray,
    start: int,
    stop: int,
    generator: np.random.Generator,
) -> Int64:
    """Ascending, unique keys of the users from start up to stop."""
    users = np.repeat(np.arange(start, stop, dtype=np.int64), counts[start:stop])
    by_taste = generator.random(len(users), np.float32) < _SHARE_BY_TASTE
    taste = tastes[users, generator.integers(0, 2, len(users))]
    group_size = sizes.items // sizes.tastes
    in_group = _zipf(group_size, len(users), generator) * sizes.tastes + taste
    anywhere = _zipf(sizes.items, len(users), generator)
    return np.unique(users * sizes.items + np.where(by_taste, in_group, anywhere))


def _zipf(n: int, draws: int, generator: np.random.Generator) -> Int64:
    """Numbers below n, number r with a density in proportion to (r + 1)^-exponent."""
    power = 1.0 - _POPULARITY_EXPONENT
    uniform = generator.random(draws)
    return (((n**power - 1.0) * uniform + 1.0) ** (1.0 / power) - 1.0).astype(np.int64)
