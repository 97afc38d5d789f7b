"""The data sets of the study, as arrays, each with its test.

All are public research data or generated. None is copied into the repository.
"""

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from m6rec.datasets.movielens import fetch_movielens
from m6rec.kernels.arrays.rows import Float32, Int64
from m6rec.kernels.neighbours.content import (
    inverse_document_frequency,
    tf_idf,
    truncated_svd,
    unit_rows,
)
from tests.benchmarks.generator import Sizes, generate
from tests.quality.convert import _counted_lines, _lines_of_users, _recbole, _tags

GENERATED = Sizes(users=2_000, items=1_500, interactions=60_000, tastes=8)
# So many users of a large set take part, drawn at random.
USERS = 5_000
TEST_SHARE = 0.2
MINIMUM_COUNT_OF_A_TERM = 2
CONTENT_RANK = 256


@dataclass(frozen=True)
class Pairs:
    """User-item pairs.

    Attributes:
        users, items: int64 [n]; dense indices.
        times: int64 [n] in seconds, or None where there are none.
    """

    users: Int64
    items: Int64
    times: Int64 | None = None

    def __len__(self) -> int:
        return len(self.users)

    def where(self, chosen: npt.NDArray[np.bool_]) -> "Pairs":
        """The chosen pairs."""
        times = None if self.times is None else self.times[chosen]
        return Pairs(self.users[chosen], self.items[chosen], times)


@dataclass(frozen=True)
class Content:
    """The items' attributes.

    Attributes:
        terms: float32 [M, V]; rows of length 1 or empty.
        vectors: float32 [M, c]; rows of length 1 or zero.
    """

    terms: sp.csr_matrix
    vectors: Float32


@dataclass(frozen=True)
class Data:
    """A data set.

    Attributes:
        training, test: the pairs.
        n_users, n_items: how many there are.
        item_numbers: int64 [M]; the items' ids, or None where ids are no numbers.
        content: the items' attributes, or None.
    """

    training: Pairs
    test: Pairs
    n_users: int
    n_items: int
    item_numbers: Int64 | None = None
    content: Content | None = None


def _numbered(
    training: pd.DataFrame,
    test: pd.DataFrame,
    tags: pd.DataFrame | None = None,
    ids_are_numbers: bool = True,
) -> Data:
    """Tables with user_id, item_id and perhaps event_time (seconds), by dense indices."""
    both = pd.concat([training, test])
    users, items = np.unique(both["user_id"]), np.unique(both["item_id"])
    if tags is not None:
        items = np.unique(np.concatenate([items, tags["item_id"]]))

    def pairs(frame: pd.DataFrame) -> Pairs:
        times = frame["event_time"].to_numpy(np.int64) if "event_time" in frame else None
        return Pairs(
            np.searchsorted(users, frame["user_id"]).astype(np.int64),
            np.searchsorted(items, frame["item_id"]).astype(np.int64),
            times,
        )

    content = None if tags is None else _content(tags, items)
    numbers = items.astype(np.int64) if ids_are_numbers else None
    return Data(pairs(training), pairs(test), len(users), len(items), numbers, content)


def _content(tags: pd.DataFrame, items: npt.NDArray[np.int64]) -> Content:
    """Terms and vectors as job `build_features` makes them of one multi-valued column."""
    rows = np.repeat(np.searchsorted(items, tags["item_id"]), tags["tags"].map(len))
    words, columns = np.unique(np.concatenate(tags["tags"].to_list()), return_inverse=True)
    counts = sp.csr_matrix((np.ones(len(rows)), (rows, columns)), (len(items), len(words)))
    documents = np.asarray((counts > 0).sum(axis=0)).ravel()
    kept = documents >= MINIMUM_COUNT_OF_A_TERM
    weights = inverse_document_frequency(documents[kept].astype(np.float64), len(items))
    terms = tf_idf(sp.csr_matrix(counts[:, kept]), weights)
    _, directions = truncated_svd(terms, CONTENT_RANK, 1)
    return Content(terms, unit_rows(np.asarray(terms @ directions, np.float32)))


def _cut(frame: pd.DataFrame, held: npt.NDArray[np.bool_], ids_are_numbers: bool = True) -> Data:
    return _numbered(frame[~held], frame[held], ids_are_numbers=ids_are_numbers)


def _random_share(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """A fifth of each user's pairs."""
    drawn = pd.Series(np.random.default_rng(1).random(len(frame)), frame.index)
    return _first_share(frame, drawn)


def _latest_share(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """The latest fifth of each user's pairs; ties by item."""
    order = -frame["event_time"].rank(method="dense") - frame["item_id"].rank() / 1e6
    return _first_share(frame, order)


def _first_share(frame: pd.DataFrame, order: pd.Series) -> npt.NDArray[np.bool_]:
    place = order.groupby(frame["user_id"]).rank(method="first") - 1
    counts = frame.groupby("user_id")["user_id"].transform("size")
    held = np.where(counts >= 2, np.maximum(1, np.floor(TEST_SHARE * counts)), 0)
    return np.asarray(place < held)


def _latest_item(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    order = frame.sort_values(["user_id", "event_time", "item_id"], ascending=False)
    return np.asarray(frame.index.isin(order.groupby("user_id").head(1).index))


def _movielens() -> pd.DataFrame:
    frame = _recbole(fetch_movielens() / "ml-100k.inter").rename(
        columns={"timestamp": "event_time"}
    )
    return frame.astype({"user_id": int, "item_id": int, "event_time": float})


def _movielens_random(_: Path) -> Data:
    """MovieLens-100K; a random fifth of each user's."""
    frame = _movielens()
    return _cut(frame, _random_share(frame))


def _movielens_last(_: Path) -> Data:
    """MovieLens-100K; each user's latest fifth."""
    frame = _movielens()
    return _cut(frame, _latest_share(frame))


def _movielens_temporal(_: Path) -> Data:
    """MovieLens-100K; the latest fifth of all."""
    frame = _movielens()
    cut = frame["event_time"].quantile(1.0 - TEST_SHARE)
    return _cut(frame, np.asarray(frame["event_time"] >= cut))


def _citeulike(shared: Path) -> Data:
    """CiteULike-a, ten training pairs a user, tags, ids that carry no order."""
    folder = shared / "citeulike-a"
    every = _counted_lines(folder / "users.dat")
    training = _counted_lines(folder / "cvae-cf-train-10-users.dat")
    both = every.merge(training, how="left", indicator=True)
    test = both[both["_merge"] == "left_only"].drop(columns="_merge")
    return _numbered(training, test, _tags(folder), ids_are_numbers=False)


def _citeulike_random(shared: Path) -> Data:
    """CiteULike-a, ten random training pairs a user, tags; the test is all others."""
    folder = shared / "citeulike-a"
    every = _counted_lines(folder / "users.dat")
    drawn = pd.Series(np.random.default_rng(1).random(len(every)), every.index)
    place = drawn.groupby(every["user_id"]).rank(method="first")
    return _numbered(every[place <= 10], every[place > 10], _tags(folder), ids_are_numbers=False)


def _instruments(shared: Path) -> Data:
    """Musical instruments; each user's latest item."""
    file = shared / "amazon-musical-instruments" / "Musical_Instruments.json.gz"
    with gzip.open(file, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    frame = pd.DataFrame(
        {
            "user_id": [row["reviewerID"] for row in rows],
            "item_id": [row["asin"] for row in rows],
            "event_time": [row["unixReviewTime"] for row in rows],
        }
    )
    return _cut(frame, _latest_item(frame), ids_are_numbers=False)


def _gowalla(shared: Path) -> Data:
    """Gowalla, 5,000 users, its usual split; no times."""
    folder = shared / "gowalla"
    frames = [_lines_of_users(folder / f"{name}.txt") for name in ("train", "test")]
    users = np.unique(frames[0]["user_id"])
    drawn = np.random.default_rng(1).choice(users, USERS, replace=False)
    training, test = (frame[frame["user_id"].isin(drawn)] for frame in frames)
    return _numbered(training, test)


def _sports(shared: Path) -> Data:
    """Sports, 10,000 users; each user's last item."""
    frame = _lines_of_users(shared / "sequences" / "sports.txt")
    users = np.unique(frame["user_id"])
    drawn = np.random.default_rng(1).choice(users, 2 * USERS, replace=False)
    frame = frame[frame["user_id"].isin(drawn)].reset_index(drop=True)
    frame["event_time"] = frame.groupby("user_id").cumcount()
    return _cut(frame, np.asarray(~frame.duplicated("user_id", keep="last")))


def _generated(_: Path) -> Data:
    """2,000 users drawn from known tastes; a random fifth of each user's."""
    rows = generate(GENERATED, 1)
    users = np.repeat(rows.user_index, rows.counts)
    # Ids in a random order: the generator numbers items by popularity.
    names = np.random.default_rng(2).permutation(GENERATED.items)
    frame = pd.DataFrame({"user_id": users, "item_id": names[rows.item_indices]})
    return _cut(frame, _random_share(frame))


# Each takes the folder of the public data, which MovieLens and the generator do without.
DATA_SETS: Mapping[str, Callable[[Path], Data]] = {
    "movielens_random": _movielens_random,
    "movielens_last": _movielens_last,
    "movielens_temporal": _movielens_temporal,
    "citeulike": _citeulike,
    "citeulike_random": _citeulike_random,
    "instruments": _instruments,
    "gowalla": _gowalla,
    "sports": _sports,
    "generated": _generated,
}
