"""From the contexts of events to the codes of pairs and rows."""

import datetime

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs import recommend
from m6rec.kernels.arrays.contexts import ContextVocabulary
from m6rec.kernels.arrays.domains import Domain
from m6rec.stages.pairs.contexts import (
    codes_of_rows,
    first_pairs,
    latest_of_pairs,
    values_told_apart,
    with_codes,
    with_contexts,
)
from m6rec.stages.pairs.matrix import user_item_matrix

COLUMNS = ("device", "channel")
EVENTS = "user_index long, item_index long, event_time timestamp, context map<string,string>"


def at(day: int) -> datetime.datetime:
    return datetime.datetime(2026, 1, day, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def pairs(spark: SparkSession) -> DataFrame:
    """The pairs of some events; the pair of user 1 with item 9 has none."""
    events = [
        (0, 5, at(1), {"device": "desk", "channel": "ad"}),
        (0, 5, at(2), {"device": "phone", "channel": None}),
        (0, 3, at(3), {"device": "phone"}),
        (1, 3, at(4), {"device": "desk", "channel": "mail"}),
        # At one time the larger counts, whatever the order of rows is.
        (1, 3, at(4), {"device": "desk", "channel": "ad"}),
        (2, 3, at(5), {"device": "tablet"}),
    ]
    keys = [(0, 5, at(2)), (0, 3, at(3)), (1, 3, at(4)), (1, 9, at(3)), (2, 3, at(5))]
    known = spark.createDataFrame(keys, "user_index long, item_index long, event_time timestamp")
    return with_contexts(known, spark.createDataFrame(events, EVENTS), COLUMNS)


def test_a_pair_has_the_context_of_its_last_event(pairs: DataFrame) -> None:
    found = {(row[0], row[1]): row["context_values"] for row in pairs.collect()}
    assert found == {
        (0, 5): ["phone", None],
        (0, 3): ["phone", None],
        (1, 3): ["desk", "mail"],
        (1, 9): None,
        (2, 3): ["tablet", None],
    }


def test_the_most_frequent_values_are_told_apart(pairs: DataFrame) -> None:
    assert values_told_apart(pairs, COLUMNS, 2) == {
        "device": ("phone", "desk"),
        "channel": ("mail",),
    }


def test_codes_lie_in_the_order_of_the_matrix_and_0_is_not_known(pairs: DataFrame) -> None:
    vocabulary = ContextVocabulary(columns={"device": ("phone", "desk"), "channel": ("mail",)})
    phone, desk, other, mail = 1, 2, 3, 4
    coded = with_codes(pairs, vocabulary)
    rows = {row["user_index"]: row["contexts"] for row in codes_of_rows(coded).collect()}
    assert rows == {0: [phone, 0, phone, 0], 1: [desk, mail, 0, 0], 2: [other, 0]}
    first = first_pairs(coded).orderBy("user_index").select("item_index", "contexts").collect()
    assert [tuple(row) for row in first] == [(5, [phone, 0]), (9, [0, 0]), (3, [other, 0])]


def test_of_a_pair_in_several_folds_the_latest_row_counts_as_in_the_matrix(
    spark: SparkSession,
) -> None:
    rows = [
        (0, 7, at(1), True, "train"),
        (0, 7, at(4), True, "validation"),
        (0, 8, at(2), True, "train"),
        (0, 8, at(5), False, "validation"),
        (0, 9, at(3), True, "train"),
    ]
    schema = "user_index long, item_index long, event_time timestamp, positive boolean, fold string"
    splits = spark.createDataFrame(rows, schema).withColumn("weight", F.lit(1.0))
    latest = latest_of_pairs(splits)
    assert latest.columns == splits.columns
    pairs = sorted((row["item_index"], row["fold"]) for row in latest.where("positive").collect())
    assert pairs == [(7, "validation"), (9, "train")]
    [matrix] = user_item_matrix(splits, fits=("final",)).collect()
    assert matrix["item_indices"] == [item for item, _ in pairs]


def test_without_columns_pairs_have_no_codes(pairs: DataFrame) -> None:
    bare = pairs.withColumn("context_values", F.array().cast("array<string>"))
    [row] = with_codes(bare, ContextVocabulary(clock=True)).select("contexts").distinct().collect()
    assert row["contexts"] == []


def test_once_is_said_in_which_domains_contexts_change_no_list(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recommend._say_that_contexts_are_alike("hybrid", [])
    assert capsys.readouterr().out == ""
    recommend._say_that_contexts_are_alike("hybrid", [None])
    assert "gives the towers that know contexts no weight, so" in capsys.readouterr().out
    domains = [Domain(name, np.zeros(1, np.int32), 1) for name in ("film", "shop")]
    recommend._say_that_contexts_are_alike("hybrid", domains)
    [line] = capsys.readouterr().out.splitlines()
    assert "no weight in film, shop, so that" in line
