"""Each strategy holds out what it names, and leaves the rest in train."""

import math
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec.config.base import TableSource
from m6rec.config.data import SplitConfig
from m6rec.errors import ConfigError
from m6rec.kernels.evaluation.mixed_split import ItemSample, choose_mixed
from m6rec.stages.pairs.splitting import KEPT_OF_NEW, SHARE_OF_NEW_ITEMS, split_users
from m6rec.stages.pairs.user_rows import pairs_of

START = datetime(2024, 1, 1)
SCHEMA = "user_index long, item_index long, weight double, event_time timestamp, positive boolean"
# User u has u + 1 items; all of a user's items follow each other in time.
ROWS = [
    (user, (user * 7 + step) % 23, 1.0, START + timedelta(hours=10 * step + user), True)
    for user in range(12)
    for step in range(user + 1)
]
SOME_NEGATIVE = [(*row[:4], row[1] % 3 != 0) for row in ROWS]
NEGATIVE_PAIRS = {(row[0], row[1]) for row in SOME_NEGATIVE if not row[4]}
TABLE = TableSource(path="unused", format="parquet")
Folds = dict[tuple[int, int], str]


def frame(spark: SparkSession, rows: list[tuple[Any, ...]], partitions: int = 2) -> DataFrame:
    named = spark.createDataFrame(rows, SCHEMA).withColumn("item_number", F.lit(None).cast("long"))
    return named.repartition(partitions)


def split_pairs(pairs: DataFrame, *arguments: Any) -> DataFrame:
    return pairs_of(split_users(pairs, *arguments))


def split(
    spark: SparkSession,
    has_time: bool = True,
    seed: int = 1,
    partitions: int = 2,
    rows: list[tuple[Any, ...]] = ROWS,
    **settings: Any,
) -> Folds:
    pairs = frame(spark, rows, partitions)
    result = split_pairs(pairs, SplitConfig(**settings), seed, has_time).collect()
    assert len(result) == len(rows)
    return {(row.user_index, row.item_index): row.fold for row in result}


def of_users(folds: Folds, fold: str) -> dict[int, int]:
    counts: dict[int, int] = defaultdict(int)
    for (user, _), found in folds.items():
        counts[user] += found == fold
    return counts


def expected_share(n: int, share: float) -> int:
    return max(1, math.floor(share * n)) if n >= 2 else 0


@pytest.mark.parametrize("strategy", ["last", "random"])
def test_a_share_of_each_user_is_held_out_and_validation_is_carved_from_the_rest(
    spark: SparkSession, strategy: str
) -> None:
    folds = split(spark, strategy=strategy, test_share=0.3, validation_share=0.25)
    test, validation = of_users(folds, "test"), of_users(folds, "validation")
    for user in range(12):
        n = user + 1
        assert test[user] == expected_share(n, 0.3)
        assert validation[user] == expected_share(n - test[user], 0.25)
        assert n - test[user] - validation[user] >= 1


def test_last_takes_the_latest_items_and_validation_those_before(spark: SparkSession) -> None:
    folds = split(spark, strategy="last", test_items=2, validation_share=0.25)
    by_time = [folds[user, item] for user, item, *_ in ROWS if user == 9]
    assert by_time == ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    assert of_users(folds, "test")[1] == 1


def test_of_pairs_of_one_time_chance_decides_and_not_how_many_have_an_item(
    spark: SparkSession,
) -> None:
    rows = [(user, item, 1.0, START, True) for user in range(200) for item in range(10)]
    folds = split(spark, rows=rows, strategy="last", test_items=1)
    held = [item for (_, item), fold in folds.items() if fold == "test"]
    # 200 draws of ten; a count outside of these bounds has a chance of less than 1e-5.
    assert all(3 < held.count(item) < 45 for item in range(10))
    assert folds == split(spark, rows=rows[::-1], strategy="last", test_items=1)


def test_what_came_after_a_held_out_item_and_was_not_liked_goes_with_it(
    spark: SparkSession,
) -> None:
    likes = {1: True, 2: False, 3: True, 4: False, 5: True, 6: False}
    rows = [(0, day, 1.0, START + timedelta(days=day), liked) for day, liked in likes.items()]
    folds = split(spark, rows=rows, strategy="last", test_items=1)
    assert [folds[0, day] for day in likes] == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2


@pytest.mark.parametrize("strategy", ["auto", "cold_items", "cold_users", "none"])
def test_a_split_rests_on_the_seed_and_not_on_the_partitioning(
    spark: SparkSession, strategy: str
) -> None:
    def once(seed: int, partitions: int, rows: list[tuple[Any, ...]]) -> Folds:
        return split(
            spark, has_time=False, seed=seed, partitions=partitions, rows=rows, strategy=strategy
        )

    first = once(1, 1, SOME_NEGATIVE)
    assert first == once(1, 5, SOME_NEGATIVE[::-1])
    assert first != once(2, 1, SOME_NEGATIVE)
    assert {first[pair] for pair in NEGATIVE_PAIRS} == {"train"}
    assert "validation" in first.values()
    assert ("test" in first.values()) == (strategy != "none")


def test_temporal_cuts_all_users_at_one_time(spark: SparkSession) -> None:
    folds = split(spark, strategy="temporal", test_share=0.2, validation_share=0.1)
    times = {
        fold: [time for user, item, _, time, _ in ROWS if folds[user, item] == fold]
        for fold in ("train", "validation", "test")
    }
    assert max(times["train"]) < min(times["validation"])
    assert max(times["validation"]) < min(times["test"])
    assert len(times["test"]) == math.floor(0.2 * len(ROWS))


def test_a_temporal_split_of_one_time_is_not_empty(spark: SparkSession) -> None:
    rows = [(user, 0, 1.0, START + timedelta(days=user // 3), True) for user in range(6)]
    folds = split(spark, rows=rows, strategy="temporal", test_share=0.2)
    assert [fold for _, fold in sorted(folds.items())][3:] == ["test"] * 3


@pytest.mark.parametrize(("strategy", "place"), [("cold_items", 1), ("cold_users", 0)])
def test_a_cold_split_holds_out_whole_items_or_users(
    spark: SparkSession, strategy: str, place: int
) -> None:
    folds = split(spark, strategy=strategy, test_share=0.25, validation_share=0.2)
    of_entity = defaultdict(set)
    for pair, fold in folds.items():
        of_entity[pair[place]].add(fold)
    assert all(len(found) == 1 for found in of_entity.values())
    found = [next(iter(folds_found)) for folds_found in of_entity.values()]
    assert found.count("test") == math.floor(0.25 * len(of_entity))
    assert found.count("validation") == math.floor(0.2 * (len(found) - found.count("test")))


def test_only_positive_pairs_are_held_out(spark: SparkSession) -> None:
    folds = split(spark, rows=SOME_NEGATIVE, strategy="random")
    assert {folds[pair] for pair in NEGATIVE_PAIRS} == {"train"}
    assert "validation" in folds.values()


def test_what_was_not_liked_after_a_cut_in_time_is_not_known_before_it(spark: SparkSession) -> None:
    folds = split(spark, rows=SOME_NEGATIVE, strategy="temporal")
    times = {
        (fold, positive): [
            time
            for user, item, _, time, is_positive in SOME_NEGATIVE
            if folds[user, item] == fold and is_positive == positive
        ]
        for fold in ("train", "validation", "test")
        for positive in (True, False)
    }
    cut, test_cut = min(times["validation", True]), min(times["test", True])
    assert max(times["train", False]) < cut
    assert min(times["validation", False]) >= cut
    assert min(times["test", False]) >= test_cut


def test_nothing_is_tested_where_no_share_is_asked_for(spark: SparkSession) -> None:
    for strategy in ("last", "temporal"):
        folds = split(spark, strategy=strategy, test_share=0.0)
        assert "test" not in folds.values()


def test_provided_pairs_leave_train_and_may_hold_unknown_users_and_items(
    spark: SparkSession,
) -> None:
    train = [(0, item, 1.0, START, True) for item in range(6)]
    test = [(0, 1, 1.0, START, True), (0, 77, 1.0, START, True), (99, 1, 1.0, START, True)]
    bad = (0, 2, 1.0, START, False)
    validation = [(0, 1, 1.0, START, True), (0, 3, 1.0, START, True)]
    config = SplitConfig(strategy="provided", test=TABLE, validation=TABLE)
    result = split_pairs(
        frame(spark, train), config, 1, True, frame(spark, [*test, bad]), frame(spark, validation)
    ).collect()
    folds = sorted((row.user_index, row.item_index, row.fold) for row in result)
    assert folds == [
        (0, 0, "train"),
        (0, 1, "test"),
        (0, 2, "train"),
        (0, 3, "validation"),
        (0, 4, "train"),
        (0, 5, "train"),
        (0, 77, "test"),
        (99, 1, "test"),
    ]


@pytest.mark.parametrize("has_time", [True, False])
def test_validation_looks_at_nothing_of_a_provided_test_but_takes_its_pairs_out(
    spark: SparkSession, has_time: bool
) -> None:
    """Two tests that could not differ more, in time, in ids and in size."""
    rows = [row if has_time else (*row[:3], None, True) for row in ROWS]
    late, early = START + timedelta(days=9), START - timedelta(days=9)
    tests = (
        [(user, 30 + item, 1.0, late, True) for user in range(12) for item in range(8)],
        [(0, 24, 1.0, early, True)],
    )
    config = SplitConfig(strategy="provided", test=TABLE, validation_share=0.4)
    found = []
    for tested in tests:
        result = split_pairs(frame(spark, rows), config, 1, has_time, frame(spark, tested))
        folds = {(row.user_index, row.item_index): row.fold for row in result.collect()}
        assert {pair for pair, fold in folds.items() if fold == "test"} == {
            row[:2] for row in tested
        }
        found.append({pair for pair, fold in folds.items() if fold == "validation"})
    assert found[0] == found[1]
    for user in range(12):
        held = {item for one, item in found[0] if one == user}
        assert len(held) == expected_share(user + 1, 0.4)
        latest = [item for one, item, *_ in ROWS if one == user][user + 1 - len(held) :]
        assert not has_time or held == set(latest)


def test_the_highest_ids_are_held_out_where_the_owner_says_so(spark: SparkSession) -> None:
    pairs = [
        (user, 5 * step + user % 5, 1.0, None, True) for user in range(12) for step in range(10)
    ]
    numbered = frame(spark, pairs).withColumn("item_number", F.col("item_index"))
    config = SplitConfig(strategy="none", validation_strategy="highest_ids", validation_share=0.2)
    found = split_pairs(numbered, config, 1, False).where("fold = 'validation'").collect()
    assert {(row.user_index, row.item_index) for row in found} == {
        (user, 5 * step + user % 5) for user in range(12) for step in (8, 9)
    }


def test_beside_random_pairs_nearly_all_of_a_few_items_are_held_out(spark: SparkSession) -> None:
    users, items = 20, 200
    rows = [(user, item, 1.0, None, True) for user in range(users) for item in range(items)]
    at_random, with_new = (
        {
            pair
            for pair, fold in split(
                spark, has_time=False, rows=rows, strategy="none", validation_strategy=strategy
            ).items()
            if fold == "validation"
        }
        for strategy in ("random", "random_and_new")
    )
    assert at_random < with_new
    left = np.full(items, users)
    for _, item in with_new:
        left[item] -= 1
    new = np.unique([item for _, item in with_new - at_random])
    assert left[new].max() <= max(KEPT_OF_NEW)
    assert 0.5 * SHARE_OF_NEW_ITEMS < len(new) / items < 2.0 * SHARE_OF_NEW_ITEMS


@pytest.mark.parametrize("partitions", [1, 5])
def test_mixed_holds_out_a_share_of_each_user(spark: SparkSession, partitions: int) -> None:
    folds = split(
        spark,
        has_time=False,
        partitions=partitions,
        strategy="none",
        validation_strategy="mixed",
        validation_share=0.4,
    )
    for user, held in of_users(folds, "validation").items():
        assert held == expected_share(user + 1, 0.4)


def test_provided_without_its_table_is_refused(spark: SparkSession) -> None:
    config = SplitConfig(strategy="provided", test=TABLE)
    with pytest.raises(ConfigError, match="test table"):
        split_pairs(frame(spark, ROWS), config, 1, True)


def sample(dense: Any) -> ItemSample:
    rows = sp.csr_matrix(np.asarray(dense, dtype=np.float32))
    counts = np.asarray(rows.sum(axis=0), dtype=np.float64).ravel()
    return ItemSample(rows, rows.T.tocsr(), counts)


def test_mixed_takes_an_item_together_with_those_most_like_it() -> None:
    # Items 0-3 always occur together, and so do 4-7.
    blocks = np.kron(np.eye(2), np.ones((10, 4)))
    together = sample(np.vstack([blocks, np.ones((1, 8))]))
    users = np.arange(2000, dtype=np.int64)
    indptr = np.arange(2001, dtype=np.int64) * 8
    items = np.tile(np.arange(8, dtype=np.int32), 2000)
    flags = choose_mixed(users, indptr, items, together, 0.5, (3, 2)).reshape(2000, 8)
    assert (flags.sum(axis=1) == 4).all()
    in_first = flags[:, :4].sum(axis=1)
    # Two of one block, and of the other six items two at random: both of the other block in
    # 6 of 15 draws. Four items by pure chance would give 18 of 35.
    assert np.mean(in_first == 2) == pytest.approx(6 / 15, abs=0.05)
    assert flags.mean(axis=0) == pytest.approx(0.5, abs=0.05)


def test_mixed_leaves_a_single_item_and_an_empty_row_alone() -> None:
    together = sample(np.ones((3, 4)))
    indptr = np.array([0, 1, 1, 3], dtype=np.int64)
    items = np.array([2, 0, 3], dtype=np.int32)
    users = np.array([5, 6, 7], dtype=np.int64)
    flags = choose_mixed(users, indptr, items, together, 0.9, (1, 2))
    assert list(flags[:1]) == [False]
    assert flags[1:].sum() == 1
