"""Measure the hybrid's lists against EASE and the package implicit's ALS, made by other code.

    .venv-benchmark/bin/python -m tests.quality.peers DATA OUTPUT

DATA is the folder that `make quality` ran on, OUTPUT what it wrote. Each peer's settings are chosen
on interactions held out of training: the latest of each user where that is the test, else a tenth.
Needs what `make benchmark` installs.
"""

import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
import typer
from scipy.stats import ttest_rel

K = 10
HELD_OUT_SHARE = 0.1
BATCH_OF_USERS = 1_024
EASE_PENALTIES = (20.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1_600.0)
ALS_GRID = tuple(product((32, 64, 128), (0.01, 1.0, 10.0), (1.0, 5.0, 20.0)))

# Scores of all items for some users' rows.
Scorer = Callable[[sp.csr_matrix], npt.NDArray[np.float32]]
Fit = Callable[[sp.csr_matrix], Scorer]


def ease(matrix: sp.csr_matrix, penalty: float) -> Scorer:
    """Steck 2019, "Embarrassingly shallow autoencoders for sparse data", equation 8."""
    gram = (matrix.T @ matrix).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += penalty
    inverse = np.linalg.inv(gram)
    weights = (-inverse / np.diag(inverse)).astype(np.float32)
    np.fill_diagonal(weights, 0.0)
    return lambda rows: np.asarray(rows @ weights, dtype=np.float32)


def implicit_als(matrix: sp.csr_matrix, rank: int, penalty: float, alpha: float) -> Scorer:
    """Hu, Koren and Volinsky 2008 by conjugate gradient; users are folded in."""
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - may be absent

    model = AlternatingLeastSquares(
        factors=rank, regularization=penalty, alpha=alpha, iterations=15, random_state=1
    )
    model.fit(matrix, show_progress=False)

    def score(rows: sp.csr_matrix) -> npt.NDArray[np.float32]:
        users = model.recalculate_user(np.arange(rows.shape[0]), rows)
        scores: npt.NDArray[np.float32] = users @ model.item_factors.T
        return scores

    return score


def lists_of(scorer: Scorer, rows: sp.csr_matrix) -> npt.NDArray[np.int64]:
    """int64 [users, K]: the best items that the rows don't hold, best first."""
    best = []
    for start in range(0, rows.shape[0], BATCH_OF_USERS):
        part = rows[start : start + BATCH_OF_USERS]
        scores = scorer(part)
        scores[part.nonzero()] = -np.inf
        best.append(np.argsort(-scores, axis=1, kind="stable")[:, :K])
    return np.concatenate(best)


def ndcg(lists: npt.NDArray[np.int64], held_out: sp.csr_matrix) -> npt.NDArray[np.float64]:
    """float64 [users with held-out items]: NDCG@K, the ideal over min(K, held-out items)."""
    discounts = 1.0 / np.log2(np.arange(K) + 2.0)
    counts = np.diff(held_out.indptr)
    gains = np.zeros(len(counts))
    for user in np.flatnonzero(counts):
        own = held_out.indices[held_out.indptr[user] : held_out.indptr[user + 1]]
        gains[user] = discounts[np.isin(lists[user], own)].sum()
    ideals = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(counts, K)]
    measured: npt.NDArray[np.float64] = gains[counts > 0] / ideals[counts > 0]
    return measured


def settings() -> Iterator[tuple[str, dict[str, Any], Fit]]:
    """Each peer's name, settings and training."""
    for penalty in EASE_PENALTIES:
        yield "ease", {"penalty": penalty}, lambda matrix, p=penalty: ease(matrix, p)
    for one in ALS_GRID:
        named = dict(zip(("rank", "penalty", "alpha"), one, strict=True))
        yield "implicit_als", named, lambda matrix, v=one: implicit_als(matrix, *v)


def main(
    data: Annotated[Path, typer.Argument(help="The folder of data.")],
    output: Annotated[Path, typer.Argument(help="The folder that make quality wrote.")],
) -> None:
    """Tune the peers, rank the test, compare with the hybrid by paired t-tests."""
    train, test = (pd.read_parquet(data / f"{name}.parquet") for name in ("train", "test"))
    users = np.unique(np.concatenate([train["user_id"], test["user_id"]]))
    items = np.unique(np.concatenate([train["item_id"], test["item_id"]]))

    def matrix_of(frame: pd.DataFrame) -> sp.csr_matrix:
        places = np.searchsorted(users, frame["user_id"]), np.searchsorted(items, frame["item_id"])
        shape = (len(users), len(items))
        counted = sp.csr_matrix((np.ones(len(frame), np.float32), places), shape)
        counted.data[:] = 1.0
        return counted

    held = held_out_rows(train, one_of_each=len(test) == test["user_id"].nunique())
    fitted, validation = matrix_of(train[~held]), matrix_of(train[held])
    best: dict[str, tuple[float, dict[str, Any], Fit]] = {}
    for name, values, fit in settings():
        found = float(ndcg(lists_of(fit(fitted), fitted), validation).mean())
        if name not in best or found > best[name][0]:
            best[name] = (found, values, fit)
    whole, relevant = matrix_of(train), matrix_of(test)
    hybrid = ndcg(published(output, users, items), relevant)
    results = {"hybrid": {f"ndcg@{K}": float(hybrid.mean())}}
    for name, (_, values, fit) in best.items():
        theirs = ndcg(lists_of(fit(whole), whole), relevant)
        p = float(ttest_rel(hybrid, theirs).pvalue)
        results[name] = {f"ndcg@{K}": float(theirs.mean()), "p": p, **values}
    (output / "peers.json").write_text(json.dumps(results, indent=1))
    for name, result in results.items():
        print(name, {key: round(value, 6) for key, value in result.items()}, flush=True)


def held_out_rows(train: pd.DataFrame, one_of_each: bool) -> npt.NDArray[np.bool_]:
    """Which interactions choose the settings."""
    if one_of_each and "event_time" in train:
        order = train.sort_values(["user_id", "event_time", "item_id"], ascending=False)
        return np.asarray(train.index.isin(order.groupby("user_id").head(1).index))
    return np.random.default_rng(1).random(len(train)) < HELD_OUT_SHARE


def published(
    output: Path, users: npt.NDArray[Any], items: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """int64 [users, K]: the hybrid's lists, -1 where a list ends."""
    lists = pd.read_parquet(output / "lists" / "hybrid.parquet")
    lists = lists[lists["rank"] <= K]
    found = np.full((len(users), K), -1)
    rows, columns = (
        # As strings, for that is what published ids are.
        lists[key].astype(str).map({str(one): place for place, one in enumerate(ids.tolist())})
        for key, ids in (("user_id", users), ("item_id", items))
    )
    found[rows, lists["rank"] - 1] = columns
    return found


if __name__ == "__main__":
    typer.run(main)
