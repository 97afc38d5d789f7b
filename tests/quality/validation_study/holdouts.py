"""What each validation strategy holds out, as `m6rec.stages.pairs.splitting` does on tables."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from m6rec.kernels.arrays.rows import Int64
from m6rec.kernels.evaluation.mixed_split import ItemSample, choose_mixed
from m6rec.stages.pairs.splitting import KEPT_OF_NEW, SHARE_OF_NEW_ITEMS
from tests.matrix_rows import rows_from_scipy
from tests.quality.validation_study.data import Data

Flags = npt.NDArray[np.bool_]


def held_out(strategy: str, data: Data, share: float, seed: int) -> Flags:
    """bool [training pairs]: what is held out for validation."""
    return STRATEGIES[strategy](data, share, seed)


def can_be_used(strategy: str, data: Data) -> bool:
    """Whether the data has what the strategy looks at."""
    if strategy == "last":
        return data.training.times is not None
    if strategy == "highest_ids":
        # Where there are times, nobody would look at ids.
        return data.item_numbers is not None and data.training.times is None
    return True


def _first_of_users(users: Int64, keys: tuple[npt.NDArray, ...], share: float) -> Flags:
    """The share of each user's pairs, at least one of two, that comes first by `keys`."""
    order = np.lexsort((*keys[::-1], users))
    counts = np.bincount(users)
    starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
    places = np.empty(len(users), np.int64)
    places[order] = np.arange(len(users)) - starts[users[order]]
    held = np.where(counts >= 2, np.maximum(1, np.floor(share * counts)), 0)
    return places < held[users]


def _random(data: Data, share: float, seed: int) -> Flags:
    drawn = np.random.default_rng(seed).random(len(data.training))
    return _first_of_users(data.training.users, (drawn,), share)


def _last(data: Data, share: float, seed: int) -> Flags:
    assert data.training.times is not None
    pairs = data.training
    return _first_of_users(pairs.users, (-pairs.times, -pairs.items), share)


def _highest_ids(data: Data, share: float, seed: int) -> Flags:
    assert data.item_numbers is not None
    pairs = data.training
    return _first_of_users(pairs.users, (-data.item_numbers[pairs.items],), share)


def _mixed(data: Data, share: float, seed: int) -> Flags:
    pairs = data.training
    numbers = np.arange(1, len(pairs) + 1)
    shape = (data.n_users, data.n_items)
    places = sp.csr_matrix((numbers, (pairs.users, pairs.items)), shape)
    rows = rows_from_scipy(places)
    ones = places.astype(bool).astype(np.float32)
    counts = np.asarray(ones.sum(axis=0), np.float64).ravel()
    sample = ItemSample(ones, ones.T.tocsr(), counts)
    flags = choose_mixed(rows.user_index, rows.indptr, rows.item_indices, sample, share, (seed, 2))
    held = np.zeros(len(pairs), np.bool_)
    held[places.sorted_indices().data[flags] - 1] = True
    return held


def _random_and_new(data: Data, share: float, seed: int) -> Flags:
    return _random(data, share, seed) | made_new(data, SHARE_OF_NEW_ITEMS, seed)


def made_new(data: Data, share: float, seed: int) -> Flags:
    """All or most pairs of a share of the items: each keeps so few as `KEPT_OF_NEW` has."""
    generator = np.random.default_rng(seed)
    items = data.training.items
    counts = np.bincount(items, minlength=data.n_items)
    kept = np.array(KEPT_OF_NEW)[generator.integers(0, len(KEPT_OF_NEW), data.n_items)]
    drawn = (generator.random(data.n_items) < share) & (counts > kept)
    order = np.lexsort((generator.random(len(items)), items))
    places = np.empty(len(items), np.int64)
    places[order] = np.arange(len(items)) - (np.cumsum(counts) - counts)[items[order]]
    return drawn[items] & (places >= kept[items])


STRATEGIES: Mapping[str, Callable[[Data, float, int], Flags]] = {
    "random": _random,
    "mixed": _mixed,
    "last": _last,
    "highest_ids": _highest_ids,
    "random_and_new": _random_and_new,
}
