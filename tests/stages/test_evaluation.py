"""Evaluation in Spark against answers by hand and against the kernels alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy import stats

from jobs import evaluate
from m6rec.config.base import TableSource
from m6rec.config.data import InteractionColumns, InteractionsConfig, SplitConfig
from m6rec.config.outputs import EvaluateConfig
from m6rec.config.run import Config
from m6rec.errors import ConfigError, DataError
from m6rec.kernels.evaluation import metrics as kernel
from m6rec.kernels.evaluation.bootstrap import poisson_weights
from m6rec.kernels.evaluation.tally import ITEM_SEGMENTS, item_classes
from m6rec.kernels.neighbours.content import unit_rows
from m6rec.lakehouse import Lakehouse
from m6rec.runs import FAILED, FINISHED, REMOVED, Attempt, check_comparable
from m6rec.stages.evaluation import lists as lists_module
from m6rec.stages.evaluation.lists import Evaluation, compare_runs, evaluate_lists

CONFIG = EvaluateConfig(rankers=("als", "popularity"), ks=(1, 2), bootstrap_replicates=200)
LOG3 = np.log2(3)

# Items 0 to 5 with these training counts: 0 and 1 are head and torso, 2 to 4 tail, 5 is cold.
ITEM_COUNTS = np.array([8, 4, 2, 1, 1, 0])
# User 3 is cold; user 4 has no list of either ranker; user 9 holds nothing out.
TARGETS = {0: [1, 5], 1: [2], 2: [0, 3, 4], 3: [1], 4: [0]}
USER_COUNTS = {0: 1, 1: 2, 2: 6, 4: 3, 9: 5}
LISTS = {
    "als": {0: [5, 1], 1: [0, 2], 2: [1, 2], 3: [1]},
    "popularity": {0: [0, 1], 1: [0, 1], 2: [0, 1], 3: [0, 1], 9: [0, 1]},
}
VECTORS = np.array([[1, 0], [0, 2], [1, 0], [0, 0], [1, 1], [0, 1]], dtype=np.float32)


def _lists(spark: SparkSession, lists: dict[str, dict[int, list[int]]]) -> DataFrame:
    rows = [(m, user, items) for m, of_user in lists.items() for user, items in of_user.items()]
    return spark.createDataFrame(rows, "model string, user_index long, item_indices array<int>")


def _targets(spark: SparkSession, targets: dict[int, list[int]]) -> DataFrame:
    return spark.createDataFrame(list(targets.items()), "user_index long, item_indices array<int>")


def _counts(spark: SparkSession, counts: dict[int, int]) -> DataFrame:
    return spark.createDataFrame(list(counts.items()), "user_index long, interaction_count long")


@pytest.fixture(scope="module")
def by_hand(spark: SparkSession) -> Evaluation:
    return evaluate_lists(
        _lists(spark, LISTS),
        _targets(spark, TARGETS),
        _counts(spark, USER_COUNTS),
        ITEM_COUNTS,
        6,
        VECTORS,
        CONFIG,
        7,
        "test",
        "run-1",
    )


def _row(found: Evaluation, model: str, segment: str, metric: str, k: int) -> dict[str, Any]:
    key = {"model": model, "segment": segment, "metric": metric, "k": k, "fold": "test"}
    (row,) = [row for row in found.metrics if key.items() <= row.items()]
    return row


@pytest.mark.parametrize(
    ("metric", "k", "expected"),
    [
        ("hit_rate", 1, (1 + 0 + 0 + 1 + 0) / 5),
        ("hit_rate", 2, (1 + 1 + 0 + 1 + 0) / 5),
        ("precision", 2, (1 + 1 / 2 + 0 + 1 / 2 + 0) / 5),
        ("recall", 1, (1 / 2 + 0 + 0 + 1 + 0) / 5),
        ("recall", 2, (1 + 1 + 0 + 1 + 0) / 5),
        ("f1", 2, (1 + 2 / 3 + 0 + 2 / 3 + 0) / 5),
        ("ndcg", 2, (1 + 1 / LOG3 + 0 + 1 + 0) / 5),
        ("map", 2, (1 + 1 / 2 + 0 + 1 + 0) / 5),
        ("mrr", 2, (1 + 1 / 2 + 0 + 1 + 0) / 5),
        # Surprise of items 0 to 5 in bits: 1, 2, 3, 4, 4, 4.
        ("novelty", 2, (3 + 2 + 2.5 + 2 + 0) / 5),
        # Cosines of (5, 1), (0, 2), (1, 2): 1, 1, 0; one item has no pair.
        ("diversity", 2, (0 + 0 + 1 + 0 + 0) / 5),
        ("coverage", 1, 3 / 6),
        ("coverage", 2, 4 / 6),
    ],
)
def test_all_users_equal_the_answer_by_hand(
    by_hand: Evaluation, metric: str, k: int, expected: float
) -> None:
    row = _row(by_hand, "als", "all", metric, k)
    assert row["users"] == 5
    np.testing.assert_allclose(row["value"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("segment", "users", "recall_at_2"),
    [
        ("warm", 4, (1 + 1 + 0 + 0) / 4),
        ("cold_users", 1, 1.0),
        # Counts of warm users, also those without held-out items: 1, 2, 3, 5, 6.
        ("activity_low", 2, (1 + 1) / 2),
        ("activity_middle", 1, 0.0),
        ("activity_high", 1, 0.0),
        ("cold_items", 1, 1.0),
        ("popularity_head", 2, 0.0),
        ("popularity_torso", 2, (1 + 1) / 2),
        ("popularity_tail", 2, (1 + 0) / 2),
    ],
)
def test_segments_equal_the_answer_by_hand(
    by_hand: Evaluation, segment: str, users: int, recall_at_2: float
) -> None:
    row = _row(by_hand, "als", segment, "recall", 2)
    assert (row["users"], row["value"]) == (users, recall_at_2)


def test_items_fall_into_thirds_of_the_interactions() -> None:
    names = [ITEM_SEGMENTS[place] for place in item_classes(np.array([1, 0, 5, 3, 3]))]
    assert names == [
        "popularity_tail",
        "cold_items",
        "popularity_head",
        "popularity_torso",
        "popularity_tail",
    ]


def test_comparisons_hold_the_paired_test_both_ways(by_hand: Evaluation) -> None:
    als = np.array([1, 1 / LOG3, 0, 1, 0])
    popularity = np.array([(1 / LOG3) / (1 + 1 / LOG3), 0, 1 / (1 + 1 / LOG3), 1 / LOG3, 0])
    expected = stats.ttest_rel(als, popularity).pvalue
    for model, other, sign in (("als", "popularity", 1), ("popularity", "als", -1)):
        key = {"model": model, "other_model": other, "metric": "ndcg", "k": 2}
        (row,) = [row for row in by_hand.comparisons if key.items() <= row.items()]
        np.testing.assert_allclose(row["difference"], sign * (als - popularity).mean())
        np.testing.assert_allclose(row["p_value"], expected)
        assert row["ci_low"] < row["difference"] < row["ci_high"]
        assert (row["other_run_id"], row["users"], row["fold"]) == ("run-1", 5, "test")
    assert len(by_hand.comparisons) == 2 * 2 * 2


def test_intervals_are_those_of_the_weighted_means(by_hand: Evaluation) -> None:
    recall = np.array([1, 1, 0, 1, 0])
    weights = poisson_weights(7, np.arange(5), 200).astype(np.float64)
    weights = weights[:, weights.sum(axis=0) > 0]
    means = recall @ weights / weights.sum(axis=0)
    row = _row(by_hand, "als", "all", "recall", 2)
    expected = np.quantile(means, [0.025, 0.975])
    np.testing.assert_allclose([row["ci_low"], row["ci_high"]], expected)


def test_coverage_has_no_interval(by_hand: Evaluation) -> None:
    row = _row(by_hand, "popularity", "all", "coverage", 2)
    assert (row["value"], row["ci_low"], row["ci_high"]) == (2 / 6, None, None)


def test_without_vectors_there_is_no_diversity(spark: SparkSession) -> None:
    found = evaluate_lists(
        _lists(spark, LISTS),
        _targets(spark, TARGETS),
        _counts(spark, USER_COUNTS),
        ITEM_COUNTS,
        6,
        None,
        CONFIG,
        7,
        "test",
    )
    assert {row["metric"] for row in found.metrics} == {
        *kernel.RELEVANCE_METRICS,
        "novelty",
        "coverage",
    }


def _random_case(n: int, items: int) -> tuple[dict[str, dict[int, list[int]]], Any, Any, Any]:
    generator = np.random.default_rng(5)

    def some(size: int) -> list[int]:
        return [int(item) for item in generator.permutation(items)[:size]]

    lists = {
        model: {user: some(12) for user in range(n) if generator.random() < 0.9}
        for model in ("als", "svd", "popularity")
    }
    targets = {user: some(int(generator.integers(1, 9))) for user in range(n)}
    counts = {user: int(generator.integers(0, 30)) for user in range(n)}
    return lists, targets, counts, generator.integers(0, 20, items)


def test_spark_equals_numpy_whatever_the_partitioning(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, items = 150, 60
    lists, targets, counts, item_counts = _random_case(n, items)
    config = EvaluateConfig(
        rankers=("als", "svd", "popularity"), ks=(5, 10), bootstrap_replicates=100
    )
    vectors = np.random.default_rng(1).normal(size=(items, 8))

    def in_spark(partitions: int) -> Evaluation:
        return evaluate_lists(
            _lists(spark, lists).repartition(partitions),
            _targets(spark, targets).repartition(partitions),
            _counts(spark, counts),
            item_counts,
            items,
            vectors,
            config,
            3,
            "test",
        )

    one, many = in_spark(1), in_spark(5)
    monkeypatch.setattr(lists_module, "_tasks", lambda _: 16)
    with_merge = _with_shuffle_partitions(spark, "16", lambda: in_spark(3))
    _assert_same_rows(many, one)
    _assert_same_rows(with_merge, one)

    alone = {
        (row["model"], row["metric"], row["k"]): row
        for row in one.metrics
        if row["segment"] == "all"
    }
    indptr = np.cumsum([0] + [len(targets[user]) for user in range(n)])
    indices = np.concatenate([targets[user] for user in range(n)]).astype(np.int32)
    for model, of_user in lists.items():
        ranked = np.full((n, 10), -1, dtype=np.int32)
        for user, listed in of_user.items():
            ranked[user] = listed[:10]
        hits = kernel.hit_matrix(ranked, indptr, indices)
        information = kernel.information_content(item_counts)
        unit = unit_rows(vectors)
        for k in (5, 10):
            expected = {
                name: function(hits, np.diff(indptr), k)
                for name, function in kernel.RELEVANCE_METRICS.items()
            }
            expected["novelty"] = kernel.novelty(ranked, information, k)
            expected["diversity"] = kernel.diversity(ranked, unit, k)
            for name, values in expected.items():
                found = alone[model, name, k]["value"]
                np.testing.assert_allclose(found, values.mean(), rtol=1e-12)


def _with_shuffle_partitions(spark: SparkSession, value: str, compute: Any) -> Evaluation:
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", value)
    try:
        return compute()  # type: ignore[no-any-return]
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before or "2")


def _assert_same_rows(found: Evaluation, expected: Evaluation) -> None:
    for rows, others in (
        (found.metrics, expected.metrics),
        (found.comparisons, expected.comparisons),
    ):
        assert len(rows) == len(others) > 0
        for row, other in zip(rows, others, strict=True):
            assert row.keys() == other.keys()
            for name, value in row.items():
                assert value == (
                    pytest.approx(other[name], rel=1e-9, abs=1e-12)
                    if isinstance(value, float)
                    else other[name]
                )


def test_another_run_meets_rankers_of_its_name_and_the_hybrid(spark: SparkSession) -> None:
    config = EvaluateConfig(ks=(2,), bootstrap_replicates=50)
    mine = {"hybrid": LISTS["als"], "popularity": LISTS["popularity"]}
    theirs = {"als": LISTS["popularity"], "popularity": LISTS["popularity"]}
    rows = compare_runs(
        _lists(spark, mine),
        _lists(spark, theirs),
        "old",
        _targets(spark, TARGETS),
        config,
        1,
        "test",
    )
    recalls = {(r["model"], r["other_model"]): r for r in rows if r["metric"] == "recall"}
    assert set(recalls) == {
        ("hybrid", "als"),
        ("hybrid", "popularity"),
        ("popularity", "popularity"),
    }
    assert {row["other_run_id"] for row in rows} == {"old"}
    expected = np.mean([1 - 1 / 2, 1, -1 / 3, 0, 0])
    np.testing.assert_allclose(recalls["hybrid", "als"]["difference"], expected)
    same = recalls["popularity", "popularity"]
    assert (same["difference"], same["p_value"]) == (0.0, 1.0)


def test_lists_of_unknown_rankers_stop_with_their_names(spark: SparkSession) -> None:
    lists = _lists(spark, {"mystery": {0: [1]}})
    with pytest.raises(DataError, match=r"mystery.*evaluate\.rankers"):
        evaluate_lists(
            lists,
            _targets(spark, TARGETS),
            _counts(spark, USER_COUNTS),
            ITEM_COUNTS,
            6,
            None,
            CONFIG,
            7,
            "test",
        )


def test_runs_without_a_common_ranker_stop_with_their_names(spark: SparkSession) -> None:
    config = EvaluateConfig(ks=(2,))
    with pytest.raises(DataError, match=r"no ranker in common.*als.*old.*svd"):
        compare_runs(
            _lists(spark, {"als": {0: [1]}}),
            _lists(spark, {"svd": {0: [1]}}),
            "old",
            _targets(spark, TARGETS),
            config,
            1,
            "test",
        )


def test_a_fold_without_held_out_items_is_refused(spark: SparkSession) -> None:
    with pytest.raises(DataError, match="no user holds out an item in fold test"):
        evaluate_lists(
            _lists(spark, LISTS),
            _targets(spark, {0: []}),
            _counts(spark, USER_COUNTS),
            ITEM_COUNTS,
            6,
            None,
            CONFIG,
            7,
            "test",
        )


def _lake(spark: SparkSession, folder: Path, run_id: str, model: str) -> Lakehouse:
    """A run with one user whose item 0 is trained on, 1 validated, and 2 tested."""
    lake = Lakehouse(spark, str(folder), run_id)
    ids = spark.range(4).select(
        F.concat(F.lit("i"), "id").alias("item_id"), F.col("id").alias("item_index")
    )
    lake.append_new("item_index", ids, ("item_id",))
    nothing = F.lit(None).cast("string")
    lake.write("catalogue", ids.withColumns({"title": nothing, "domain": nothing}))
    folds = [(0, "train", True), (1, "validation", True), (2, "test", True), (3, "test", False)]
    splits = spark.createDataFrame(
        folds, "item_index long, fold string, positive boolean"
    ).selectExpr(
        "0L user_index", "*", "1.0 weight", "1.0 rating", "timestamp'2024-01-01' event_time"
    )
    lake.write("splits", splits)
    for fit, history in (("selection", "array(0)"), ("final", "array(0, 1)")):
        row = spark.range(1).selectExpr("0L user_index", f"{history} item_indices")
        lake.write(
            "user_item_matrix",
            row.selectExpr(
                "*",
                "transform(item_indices, i -> 1f) weights",
                "transform(item_indices, i -> timestamp'2024-01-01') times",
                "filter(array(0), i -> i < 0) excluded_indices",
            ),
            fit=fit,
        )
        ranked = {"selection": "array(1, 3)", "final": "array(3, 2)"}[fit]
        row = spark.range(1).selectExpr(f"'{model}' model", "0L user_index", f"{ranked} items")
        lake.write(
            "lists",
            row.selectExpr(
                "*", "items item_indices", "array(1f, 0f) scores", "cast(null as string) domain"
            ),
            fit=fit,
        )
    return lake


def test_the_job_measures_both_folds_and_another_run(spark: SparkSession, tmp_path: Path) -> None:
    _lake(spark, tmp_path, "old", "popularity")
    lake = _lake(spark, tmp_path, "new", "hybrid")
    config = Config(
        interactions=InteractionsConfig(source=TableSource(path="unused")),
        evaluate=EvaluateConfig(ks=(1, 2), bootstrap_replicates=20, compare_with_run="old"),
    )
    with pytest.raises(ConfigError, match=r"compare_with_run: lake .* has no run old"):
        evaluate.run(lake, config)
    Attempt(lake.for_run("old"), config.replaced({"seed": 7}), "recommend").save(FINISHED)
    with pytest.raises(ConfigError, match="run old differs in seed, so its lists cannot"):
        evaluate.run(lake, config)
    Attempt(lake.for_run("old"), config.replaced({"evaluate.ks": [1]}), "recommend").save(FINISHED)
    with pytest.raises(ConfigError, match=r"run old differs in evaluate\.ks"):
        evaluate.run(lake, config)
    Attempt(lake.for_run("old"), config, "recommend").save(FINISHED)
    evaluate.run(lake, config)

    rows = lake.read("metrics", segment="all", metric="recall").collect()
    values = {(row["fold"], row["k"]): row["value"] for row in rows}
    assert values == {
        ("validation", 1): 1.0,
        ("validation", 2): 1.0,
        ("test", 1): 0.0,
        ("test", 2): 1.0,
    }
    (novelty,) = (
        lake.read("metrics", segment="all", metric="novelty", fold="test").where("k = 1").collect()
    )
    assert novelty["value"] == 1.0  # Item 3 has no interaction of two: as if it had one.
    compared = lake.read("comparisons").collect()
    assert {(row["other_run_id"], row["other_model"]) for row in compared} == {
        ("old", "popularity")
    }
    assert {row["fold"] for row in compared} == {"validation", "test"}
    first = lake.version("metrics")
    evaluate.run(lake, config)
    assert lake.version("metrics") == first + 1
    # Folds and depths times all, activity_low and cold_items, the last without coverage.
    assert lake.read("metrics").count() == 2 * 2 * (9 + 9 + 8)


def test_runs_of_one_test_table_at_one_version_are_comparable(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = _lake(spark, tmp_path, "old", "popularity").for_run("new")
    config = Config(
        interactions=InteractionsConfig(source=TableSource(path="events")),
        split=SplitConfig(strategy="provided", test=TableSource(path="test", format="delta")),
        evaluate=EvaluateConfig(compare_with_run="old"),
    )
    sources = {"split.test": 5}
    Attempt(lake.for_run("old"), config, "recommend", sources=sources).save(FINISHED)
    # The configuration as it is given, and as jobs get it.
    check_comparable(lake, config)
    check_comparable(lake, config.replaced({"split.test.version": 5}))
    with pytest.raises(ConfigError, match=r"run old differs in split\.test,"):
        check_comparable(lake, config.replaced({"split.test.version": 6}))


def test_runs_of_other_pairs_are_not_comparable(spark: SparkSession, tmp_path: Path) -> None:
    lake = _lake(spark, tmp_path, "old", "popularity").for_run("new")
    columns = InteractionColumns(weight="stars", context=("device",))
    source = TableSource(path="events", format="delta", version=3)
    config = Config(
        interactions=InteractionsConfig(source=source, columns=columns, positive_minimum=4),
        evaluate=EvaluateConfig(compare_with_run="old"),
    )
    wrong: dict[str, Any] = {
        "evaluate.maximum_validation_users": 500,
        "interactions.positive_minimum": 3,
        "interactions.source.path": "others",
        "interactions.not_a_user": ["guest"],
    }
    for key, value in wrong.items():
        Attempt(lake.for_run("old"), config.replaced({key: value}), "recommend").save(FINISHED)
        with pytest.raises(ConfigError, match=f"run old differs in {key}, so"):
            check_comparable(lake, config)
    same = {
        "evaluate.maximum_validation_users": 20_000,
        "interactions.source.version": 2,
        "interactions.columns.context": [],
        "interactions.weighting": "log",
    }
    Attempt(lake.for_run("old"), config.replaced(same), "recommend").save(FINISHED)
    check_comparable(lake, config)


def test_a_run_without_lists_to_compare_with_is_refused_at_the_start(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = _lake(spark, tmp_path, "old", "popularity").for_run("new")
    config = Config(
        interactions=InteractionsConfig(source=TableSource(path="events")),
        evaluate=EvaluateConfig(compare_with_run="old", rankers=("hybrid", "popularity")),
    )
    old = Attempt(lake.for_run("old"), config, "recommend")
    old.save(FAILED)
    with pytest.raises(ConfigError, match="run old has not finished job recommend"):
        check_comparable(lake, config)
    old.save(REMOVED)
    with pytest.raises(ConfigError, match="run old has been removed"):
        check_comparable(lake, config)
    old.save(FINISHED)
    check_comparable(lake, config)
    with pytest.raises(ConfigError, match=r"lists of the rankers \['popularity'\].*\['svd'\]"):
        check_comparable(lake, config.replaced({"evaluate.rankers": ["svd"]}))
    lake.for_run("old").write("lists", lake.read("lists").drop("run_id"))
    with pytest.raises(ConfigError, match="run old has no lists"):
        check_comparable(lake, config)


def test_the_job_refuses_a_run_that_holds_nothing_out(spark: SparkSession, tmp_path: Path) -> None:
    lake = _lake(spark, tmp_path, "new", "hybrid")
    lake.write("splits", lake.read("splits", fold="train").drop("run_id"))
    config = Config(interactions=InteractionsConfig(source=TableSource(path="unused")))
    with pytest.raises(DataError, match="neither validation nor test"):
        evaluate.run(lake, config)
