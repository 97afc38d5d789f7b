"""Domains on Spark: ids, models of a domain alone, lists, samples and metrics within each."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.base import TableSource
from m6rec.config.data import InteractionColumns, InteractionsConfig
from m6rec.config.models import AlsConfig, FactorsConfig, NeighboursConfig
from m6rec.config.outputs import EvaluateConfig
from m6rec.kernels.arrays.domains import Domain, domains_of
from m6rec.kernels.neighbours.item_neighbours import item_weights_from_scipy
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.members import HistoryMember, popularity_member
from m6rec.stages.evaluation.lists import evaluate_lists
from m6rec.stages.pairs.catalogue import by_domain, catalogue_words, item_domains
from m6rec.stages.pairs.cleaning import clean_interactions
from m6rec.stages.publication.validation import ndcg_by_user
from m6rec.stages.ranking.lists import Scoring, make_scoring, rank, user_inputs
from m6rec.stages.ranking.sampled import DRAWN, PLACE, Draws, rank_among_sampled
from m6rec.stages.training.domains import own_factor_models, rows_of_domain
from m6rec.stages.training.factor_trainers import FACTOR_TRAINERS, FactorInputs
from m6rec.stages.training.factors import train_als, train_own_als
from m6rec.stages.training.neighbours import train_own_ridge, train_ridge

BOOKS, FILMS = domains_of(["book", "film", "book", "film", "book", "film"])
COUNTS = np.array([9, 8, 7, 6, 5, 4])
MATRIX = (
    "user_index long, item_indices array<int>, weights array<float>, times array<timestamp>,"
    " excluded_indices array<int>"
)


@pytest.fixture(scope="module")
def matrix(spark: SparkSession) -> DataFrame:
    """User 2 has never been among the films."""
    histories = [[0, 1, 3], [0, 2, 5], [0, 4], [1, 2, 3, 4], [1, 3, 5]]
    rows = [
        (user, items, [1.0] * len(items), [None] * len(items), [])
        for user, items in enumerate(histories)
    ]
    return spark.createDataFrame(rows, MATRIX)


def test_an_id_counts_within_its_domain_and_a_row_without_one_is_refused(
    spark: SparkSession,
) -> None:
    rows = [("ann", 7, "book"), ("ann", 7, "film"), ("bob", 7, " "), ("bob", 7, "a/b")]
    source = spark.createDataFrame(rows, "user_id string, item_id long, domain string")
    config = InteractionsConfig(
        source=TableSource(path="nothing is read from it"),
        columns=InteractionColumns(domain="domain"),
    )
    cleaned = clean_interactions(source, config, datetime.now(UTC), None)
    kept = {(row[c.USER_ID], row[c.ITEM_ID]) for row in cleaned.interactions.collect()}
    assert kept == {("ann", "book/7"), ("ann", "film/7")}
    refused = sorted(row[c.REASON] for row in cleaned.quarantine.collect())
    assert refused == ["domain with '/'", "null or empty domain"]


def test_the_catalogue_says_which_items_are_of_which_domain(spark: SparkSession) -> None:
    rows = [(0, "book/7", None, "book"), (2, "film/7", None, "film"), (3, "book/a/b", "B", "book")]
    catalogue = spark.createDataFrame(
        rows, "item_index long, item_id string, title string, domain string"
    )
    found = item_domains(catalogue, 4)
    assert [(one.name, one.items.tolist()) for one in found] == [("book", [0, 3]), ("film", [2])]
    features = spark.createDataFrame([(0, ["x"])], "item_index long, attributes array<string>")
    words = catalogue_words(catalogue, features, 4)
    text = bytes(words.item_ids.characters).decode()
    assert text == "77a/b"
    # Reasons name them so, as items of two domains may have one id.
    assert bytes(words.whole_ids.characters).decode() == "book/7film/7book/a/b"
    targets = spark.createDataFrame([(5, [0, 2, 3])], "user_index long, item_indices array<int>")
    split = {row["domain"]: row["item_indices"] for row in by_domain(targets, catalogue).collect()}
    assert split == {"book": [0, 3], "film": [2]}


def test_models_of_a_domain_alone_are_those_of_its_columns(matrix: DataFrame) -> None:
    neighbours = NeighboursConfig()
    ridge = train_own_ridge(matrix, COUNTS, (BOOKS, FILMS), neighbours).to_scipy().toarray()
    als = AlsConfig(rank=2, iterations=2)
    model = train_own_als(matrix, (BOOKS, FILMS), als, 1, None, None)
    models = own_factor_models(model.factors, model.parameters, COUNTS, (BOOKS, FILMS))
    for domain in (BOOKS, FILMS):
        rows = rows_of_domain(matrix, domain)
        own = train_ridge(rows, 3, neighbours).to_scipy().toarray()
        np.testing.assert_array_equal(ridge[np.ix_(domain.items, domain.items)], own)
        alone = train_als(rows, 3, als, 1, None)
        np.testing.assert_allclose(models[domain.name].factors, alone.scored_factors, rtol=1e-5)
        assert models[domain.name].parameters == alone.parameters
    assert not ridge[np.ix_(BOOKS.items, FILMS.items)].any()


def test_domains_share_the_budget_of_weights(
    matrix: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("m6rec.stages.training.neighbours.kept_entries", lambda n: 6 // n)
    ridge = train_own_ridge(matrix, COUNTS, (BOOKS, FILMS), NeighboursConfig())
    assert np.diff(ridge.indptr).tolist() == [1] * 6
    none = train_own_ridge(matrix, np.zeros(6, np.int64), (BOOKS, FILMS), NeighboursConfig())
    assert none.indptr.tolist() == [0] * 7


def test_only_als_that_starts_from_earlier_factors_takes_fewer_iterations(
    matrix: DataFrame, tmp_path: Path
) -> None:
    factors = FactorsConfig(als=AlsConfig(rank=2, iterations=6))
    first = FactorInputs(matrix, 6, factors, 1, str(tmp_path / "first"), None)
    first = replace(first, domains=(BOOKS, FILMS))
    before = FACTOR_TRAINERS["als"](first).model
    night = replace(
        first,
        checkpoints=str(tmp_path / "night"),
        earlier={"als": before.factors},
        iterations_from_earlier=1,
    )
    own = [FACTOR_TRAINERS["own_als"](inputs).model.factors for inputs in (first, night)]
    np.testing.assert_allclose(*own, rtol=1e-5)
    one_more = FACTOR_TRAINERS["als"](night).model
    seven = FACTOR_TRAINERS["als"](
        replace(night, checkpoints=str(tmp_path / "seven"), iterations_from_earlier=7)
    ).model
    assert not np.allclose(one_more.factors, seven.factors, rtol=1e-6)


def scoring(domain: Domain, masked_item: int | None = None) -> Scoring:
    weights = np.zeros((6, 6), np.float32)
    # Book 0 speaks for film 5 above all.
    weights[0, 5] = 9.0
    members = {
        "ridge": HistoryMember("ridge", item_weights_from_scipy(sp.csr_matrix(weights))),
        "popularity": popularity_member(COUNTS),
    }
    blend = Blend("hybrid", ("ridge", "popularity"), (1.0, 1.0), (1.0, 1.0))
    masked = np.arange(6) == (-1 if masked_item is None else masked_item)
    return make_scoring(members, (blend,), COUNTS, masked, True, 2, domain=domain)


def test_everybody_gets_a_list_in_each_domain_by_what_all_domains_know(matrix: DataFrame) -> None:
    users = user_inputs(matrix.where(F.col(c.USER_INDEX) < 3), None, {}, None)
    lists = rank(users, scoring(BOOKS)).frame().unionByName(rank(users, scoring(FILMS)).frame())
    found = {(row[c.USER_INDEX], row[c.DOMAIN]): row[c.ITEM_INDICES] for row in lists.collect()}
    assert found == {
        (0, "book"): [2, 4],
        (1, "book"): [4],
        (2, "book"): [2],
        (0, "film"): [5],
        (1, "film"): [1, 3],
        # Nobody who has never been there is without a list, and the books say what comes first.
        (2, "film"): [5, 1],
    }


def test_held_out_items_stand_among_drawn_ones_of_their_domain(
    spark: SparkSession, matrix: DataFrame
) -> None:
    users = user_inputs(matrix.where(F.col(c.USER_INDEX) < 3), None, {}, None)
    targets = spark.createDataFrame(
        [(0, [5]), (2, [1, 2])], "user_index long, item_indices array<int>"
    )
    places = [
        (row[c.USER_INDEX], row[c.ITEM_INDEX], row[c.DOMAIN], row[PLACE])
        for domain in (BOOKS, FILMS)
        for row in rank_among_sampled(users, targets, scoring(domain), Draws(9, 1)).collect()
    ]
    # User 2 has both other books; films 3 and 5 are drawn, of which 5 stands before 1.
    assert sorted(places) == [(0, 5, "film", 1), (2, 1, "film", 2), (2, 2, "book", 1)]


def test_a_held_out_item_that_no_list_may_hold_stands_behind_all_that_are_asked_for(
    spark: SparkSession, matrix: DataFrame
) -> None:
    users = user_inputs(matrix.where(F.col(c.USER_INDEX) == 2), None, {}, None)
    targets = spark.createDataFrame([(2, [5])], "user_index long, item_indices array<int>")
    rows = [
        rank_among_sampled(users, targets, scoring(FILMS, masked), Draws(9, 1)).first()
        for masked in (None, 5)
    ]
    assert [(row[PLACE], row[DRAWN]) for row in rows if row] == [(1, 2), (10, 2)]


def test_a_user_who_is_cut_in_two_by_batches_is_one_user(spark: SparkSession) -> None:
    names = ("book", "film")
    targets = spark.createDataFrame(
        [(user, name, [0 if name == "book" else 1]) for user in range(7) for name in names],
        "user_index long, domain string, item_indices array<int>",
    )
    rows = [
        (model, user, name, [(0 if name == "book" else 1) if model == "als" and user % 3 else 2])
        for model in ("hybrid", "als")
        for user in range(7)
        for name in names
    ]
    lists = spark.createDataFrame(
        rows, "model string, user_index long, domain string, item_indices array<int>"
    )
    counts = spark.createDataFrame(
        [(user, 1) for user in range(7)], "user_index long, interaction_count long"
    )
    config = EvaluateConfig(rankers=("hybrid", "als"), ks=(1,), bootstrap_replicates=20)
    size = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(size)
    found = []
    for rows_of_batch in ("3", "1000"):
        spark.conf.set(size, rows_of_batch)
        found.append(
            evaluate_lists(
                lists, targets, counts, COUNTS, 6, None, config, 1, "test", domains=names
            ).comparisons
        )
    spark.conf.set(size, before or "10000")
    assert found[0] == found[1]
    assert {row[c.USERS] for row in found[0]} == {7}


def test_metrics_and_comparisons_are_of_each_domain_too(spark: SparkSession) -> None:
    targets = spark.createDataFrame(
        [(0, "book", [0]), (0, "film", [1]), (1, "film", [3])],
        "user_index long, domain string, item_indices array<int>",
    )
    rows = [
        ("hybrid", 0, "book", [0, 2]),
        ("hybrid", 0, "film", [1, 3]),
        ("hybrid", 1, "film", [1, 5]),
        # In the list of the other domain, a hit is none.
        ("als", 0, "book", [1, 0]),
    ]
    lists = spark.createDataFrame(
        rows, "model string, user_index long, domain string, item_indices array<int>"
    )
    counts = spark.createDataFrame([(0, 3), (1, 2)], "user_index long, interaction_count long")
    config = EvaluateConfig(rankers=("hybrid", "als"), ks=(1,), bootstrap_replicates=20)
    found = evaluate_lists(
        lists, targets, counts, COUNTS, 6, None, config, 1, "test", domains=("book", "film")
    )
    recall = {
        (row[c.MODEL], row[c.SEGMENT]): (row[c.VALUE], row[c.USERS])
        for row in found.metrics
        if row[c.METRIC] == "recall" and row[c.SEGMENT] in {"all", "domain: book", "domain: film"}
    }
    assert recall == {
        ("hybrid", "all"): (pytest.approx(2 / 3), 3),
        ("hybrid", "domain: book"): (1.0, 1),
        ("hybrid", "domain: film"): (0.5, 2),
        ("als", "all"): (0.0, 3),
        ("als", "domain: book"): (0.0, 1),
        ("als", "domain: film"): (0.0, 2),
    }
    differences = {
        row[c.SEGMENT]: (row["difference"], row[c.USERS], row["p_value"])
        for row in found.comparisons
        if (row[c.MODEL], row[c.METRIC]) == ("hybrid", "recall")
    }
    # The mean is over lists. The test is over users: the first is better by 2, the second by 0.
    assert differences == {
        "all": (pytest.approx(2 / 3), 2, pytest.approx(0.5)),
        "domain: book": (1.0, 1, 1.0),
        "domain: film": (0.5, 2, pytest.approx(0.5)),
    }
    by_user = {
        row[c.USER_INDEX]: row[c.VALUE]
        for row in ndcg_by_user(lists.where("model = 'hybrid'"), targets, 1).collect()
    }
    assert by_user == {0: 1.0, 1: 0.0}
