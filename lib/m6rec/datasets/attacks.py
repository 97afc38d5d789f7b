"""Damage interactions on purpose, to measure rankers: fake users, random clicks, lost events.

The attacks are those of Lam and Riedl (2004, "Shilling recommender systems for fun and profit") and
of Mobasher et al. (2007, "Toward trustworthy recommender systems"): each fake user has all pushed
items with the best rating, and fillers by which the profile looks like one. What a function returns
depends only on its arguments and its seed, and the test stays as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, assert_never

import numpy as np
import numpy.typing as npt
import pandas as pd

from m6rec import columns as c
from m6rec.errors import TableError

Shilling = Literal["random", "average", "bandwagon", "copies"]
PUSHED_ITEMS = 10
PROFILES = 0.01
CHANGED = 0.2
# Half of the items are pushed from, and the others are left as fillers.
_FEWEST_ITEMS = 2 * PUSHED_ITEMS
_POPULAR_FILLERS = 10
# Ids of fake users are numbers above the highest id, or this word and a number.
_FAKE = "fake-user-"
# Ids of numbers from here on are told apart as text; below, there is room for fake users.
_HIGHEST_ID = 2**62
IDS = [c.USER_ID, c.ITEM_ID]


@dataclass(frozen=True)
class Folder:
    """The tables of interactions of a folder of data.

    Attributes:
        train, test: the tables.
        users: the ids of users in any table of the folder, each once.
        held_out: the pairs of the test and, if there is one, of the validation.
    """

    train: pd.DataFrame
    test: pd.DataFrame
    users: "pd.Series[Any]"
    held_out: pd.DataFrame


def read_folder(data: Path) -> Folder:
    """The interactions of a folder of data, without the rows that lack an id.

    Raises:
        TableError: they are too few, or too dense, to be attacked, they have domains, or ratings
            are no numbers.
    """
    train, test = (_named_pairs(data / f"{name}.parquet") for name in ("train", "test"))
    place = data / "train.parquet"
    if c.DOMAIN in train:
        raise TableError(
            f"{place} has a column {c.DOMAIN}, and the attacks know nothing of domains; leave the"
            " column out, or give a folder for each domain"
        )
    others = ((data / "validation.parquet", IDS), (data / "users.parquet", [c.USER_ID]))
    found = [_whole(_rows(file, columns)) for file, columns in others if file.exists()]
    folder = folder_of(train, test, *found)
    train = folder.train
    users, items = train[c.USER_ID].nunique(), train[c.ITEM_ID].nunique()
    if items < _FEWEST_ITEMS:
        raise TableError(
            f"{place} has {items} items, and the attacks need {_FEWEST_ITEMS} or more:"
            f" {PUSHED_ITEMS} are pushed, and fake users have others, too; give a larger folder"
        )
    pairs = len(pd.concat([train[IDS], folder.held_out]).drop_duplicates())
    clicks, free = round(CHANGED * len(train)), users * items - pairs
    if clicks > free:
        raise TableError(
            f"{place} has {users} users and {items} items, of whose pairs {max(free, 0)} are in"
            f" neither training nor what is held out, and the attack by random clicks adds"
            f" {clicks}; give a folder whose users have fewer of the items"
        )
    return folder


def folder_of(train: pd.DataFrame, test: pd.DataFrame, *others: pd.DataFrame) -> Folder:
    """The folder of these tables; `others` are its further tables of users or of pairs.

    An id is the same however a table writes it, as it is where a run reads it.
    """
    tables = _of_one_type((train, test, *others))
    users = pd.concat([table[c.USER_ID] for table in tables])
    held_out = pd.concat([table[IDS] for table in tables[1:] if c.ITEM_ID in table])
    return Folder(tables[0], tables[1], users.drop_duplicates(), held_out)


def _of_one_type(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """The tables with each kind of ids as whole numbers where all are, and else as text."""
    kinds = {}
    for name in IDS:
        ids = [table[name] for table in tables if name in table]
        kinds[name] = "int64" if all(map(_are_whole_numbers, ids)) else "str"
    return [
        table.astype({name: kind for name, kind in kinds.items() if name in table})
        for table in tables
    ]


def _are_whole_numbers(ids: "pd.Series[Any]") -> bool:
    whole = pd.api.types.is_integer_dtype(ids)
    return whole and (ids.empty or int(ids.max()) < _HIGHEST_ID)


def _rows(file: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Rows of a file; of all its columns by default."""
    rows = pd.read_parquet(file, columns=columns)
    # What was an index when pandas wrote the file comes back as one.
    return rows.reset_index() if any(rows.index.names) else rows


def _named_pairs(file: Path) -> pd.DataFrame:
    """The rows that have both ids, with whole numbers and ratings as numbers."""
    rows = _whole(_rows(file).dropna(subset=IDS).reset_index(drop=True))
    if c.RATING in rows and not pd.api.types.is_numeric_dtype(rows[c.RATING]):
        numbers = pd.to_numeric(rows[c.RATING], errors="coerce")
        wrong = rows[c.RATING][numbers.isna() & rows[c.RATING].notna()]
        if len(wrong):
            raise TableError(
                f"{file} has the {c.RATING} {wrong.iloc[0]!r}, and fake users rate with numbers;"
                " write the column as numbers, or leave it out"
            )
        rows[c.RATING] = numbers
    return rows


def _whole(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with ids as whole numbers where a missing one had pandas read them as fractions."""
    rows = rows.dropna(subset=[name for name in IDS if name in rows])
    fractions = [name for name in IDS if name in rows and pd.api.types.is_float_dtype(rows[name])]
    return rows.astype({name: "int64" for name in fractions if (rows[name] % 1 == 0).all()})


def pushed_items(train: pd.DataFrame, seed: int) -> list[Any]:
    """Items to push, drawn from the less popular half of those of training."""
    counts = train[c.ITEM_ID].value_counts()
    ordered = sorted(counts.index, key=lambda item: (counts[item], str(item)))
    less_popular = ordered[: max(len(ordered) // 2, PUSHED_ITEMS)]
    drawn = np.random.default_rng(seed).choice(len(less_popular), PUSHED_ITEMS, replace=False)
    return [less_popular[place] for place in sorted(drawn)]


def with_fake_users(
    folder: Folder, pushed: Sequence[Any], attack: Shilling, seed: int
) -> pd.DataFrame:
    """Training with one fake user for every hundred users, who has the pushed items and fillers.

    A fake user has as many fillers as a user has items on average: drawn evenly (`random`), drawn
    by popularity and rated as they are on average (`average`), the most popular ones and others
    drawn evenly (`bandwagon`), or the same ones, drawn evenly, for all fake users (`copies`). Times
    are drawn from those of training.
    """
    rng = np.random.default_rng(seed)
    train = folder.train
    items = train[c.ITEM_ID].value_counts().sort_index().drop(list(pushed))
    fillers = min(len(train) // train[c.USER_ID].nunique(), len(items))
    users = max(round(PROFILES * train[c.USER_ID].nunique()), 1)
    same = _evenly(items, fillers, rng)
    profiles = []
    for user in _new_users(folder.users, users):
        chosen = same if attack == "copies" else _fillers(attack, items, fillers, rng)
        profiles.append(_profile(train, user, pushed, chosen, attack, rng))
    return pd.concat([train, *profiles], ignore_index=True)


def with_random_clicks(folder: Folder, seed: int) -> pd.DataFrame:
    """Training with a share of added events, each of the user of some event and a random item.

    No added pair stands in training or in what is held out.
    """
    rng = np.random.default_rng(seed)
    train = folder.train
    together = pd.concat([train[IDS], folder.held_out], ignore_index=True)
    taken = set(zip(together[c.USER_ID], together[c.ITEM_ID], strict=True))
    items = np.unique(train[c.ITEM_ID].to_numpy())
    wanted = round(CHANGED * len(train))
    rows: list[int] = []
    clicked: list[Any] = []
    while len(rows) < wanted:
        row, item = int(rng.integers(len(train))), items[rng.integers(len(items))]
        pair = (train[c.USER_ID].iloc[row], item)
        if pair not in taken:
            taken.add(pair)
            rows.append(row)
            clicked.append(item)
    added = train.iloc[rows].copy()
    added[c.ITEM_ID] = clicked
    if c.RATING in train:
        added[c.RATING] = _drawn(train[c.RATING], wanted, rng)
    return pd.concat([train, added], ignore_index=True)


def with_losses(train: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Training without a share of its events, drawn by chance."""
    kept = np.random.default_rng(seed).random(len(train)) >= CHANGED
    return train[kept].reset_index(drop=True)


def _shilled(attack: Shilling) -> Callable[[Folder, Sequence[Any], int], pd.DataFrame]:
    return lambda folder, pushed, seed: with_fake_users(folder, pushed, attack, seed)


# Each takes the folder, the pushed items and a seed, and returns the attacked training table.
ATTACKS: Mapping[str, Callable[[Folder, Sequence[Any], int], pd.DataFrame]] = MappingProxyType(
    {
        "random": _shilled("random"),
        "average": _shilled("average"),
        "bandwagon": _shilled("bandwagon"),
        "copies": _shilled("copies"),
        "random clicks": lambda folder, _, seed: with_random_clicks(folder, seed),
        "losses": lambda folder, _, seed: with_losses(folder.train, seed),
    }
)


def _new_users(ids: "pd.Series[Any]", count: int) -> list[Any]:
    if pd.api.types.is_integer_dtype(ids):
        return [int(ids.max()) + 1 + place for place in range(count)]
    return [f"{_FAKE}{place}" for place in range(count)]


def _fillers(
    attack: Shilling, items: "pd.Series[int]", count: int, rng: np.random.Generator
) -> list[Any]:
    match attack:
        case "random" | "copies":
            return _evenly(items, count, rng)
        case "average":
            shares = (items / items.sum()).to_numpy()
            return list(rng.choice(items.index.to_numpy(), count, replace=False, p=shares))
        case "bandwagon":
            popular = list(items.sort_values(ascending=False, kind="stable").index)
            first = popular[: min(_POPULAR_FILLERS, count)]
            return [*first, *_evenly(items.drop(first), count - len(first), rng)]
        case _:
            assert_never(attack)


def _evenly(items: "pd.Series[int]", count: int, rng: np.random.Generator) -> list[Any]:
    return list(rng.choice(items.index.to_numpy(), min(count, len(items)), replace=False))


def _profile(
    train: pd.DataFrame,
    user: Any,
    pushed: Sequence[Any],
    fillers: list[Any],
    attack: Shilling,
    rng: np.random.Generator,
) -> pd.DataFrame:
    rows = pd.DataFrame({c.USER_ID: user, c.ITEM_ID: [*pushed, *fillers]})
    for name in train.columns.drop(IDS):
        rows[name] = _drawn(train[name], len(rows), rng)
    if c.RATING in train:
        best = train[c.RATING].max()
        if attack == "average":
            means = rows[c.ITEM_ID].map(train.groupby(c.ITEM_ID)[c.RATING].mean())
            whole = pd.api.types.is_integer_dtype(train[c.RATING])
            rows[c.RATING] = means.round() if whole else means
        if attack == "bandwagon":
            popular = slice(len(pushed), len(pushed) + _POPULAR_FILLERS - 1)
            rows.loc[popular, c.RATING] = best
        rows.loc[: len(pushed) - 1, c.RATING] = best
    # Ids of fake users may be larger than the table's own type of number holds.
    kept = {name: kind for name, kind in train.dtypes.items() if name != c.USER_ID}
    return rows.astype(kept)[train.columns]


def _drawn(values: "pd.Series[Any]", count: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    drawn: npt.NDArray[Any] = values.to_numpy()[rng.integers(len(values), size=count)]
    return drawn
