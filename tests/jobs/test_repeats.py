"""Users who buy again get their usual item first, and validation says so."""

from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from jobs import evaluate, prepare_interactions, train_hybrid
from jobs.pipeline import for_its_size
from jobs.recommend import rank_for_evaluation
from m6rec import columns as c
from m6rec.config.run import Config, parse_config
from m6rec.fits.fit import fits_of
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import HYBRID, POPULARITY, REPEATS

USERS, WEEKS = 12, 8
RANKERS = (HYBRID, REPEATS, POPULARITY)


def usual_item(user: int) -> str:
    return f"usual {user % 4}"


def write_orders(file: Path) -> None:
    """Each week a user orders the usual item, and on the next day one that no other week has."""
    monday = pd.Timestamp("2025-01-06", tz="UTC")
    orders = [
        (f"user {user}", item, monday + pd.Timedelta(days=7 * week + day))
        for user in range(USERS)
        for week in range(WEEKS)
        for day, item in enumerate((usual_item(user), f"other {(user + week) % 9}"))
    ]
    frame = pd.DataFrame(orders, columns=[c.USER_ID, c.ITEM_ID, "at"])
    frame.to_parquet(file, index=False, coerce_timestamps="us", allow_truncated_timestamps=True)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("repeats")
    write_orders(folder / "orders.parquet")
    return parse_config(
        {
            "lake": str(folder / "lake"),
            "interactions": {
                "source": {"path": str(folder / "orders.parquet"), "format": "parquet"},
                "columns": {"time": "at"},
                "duplicates": "sum",
                "weighting": "log",
            },
            "hybrid": {"members": [REPEATS, POPULARITY]},
            "evaluate": {"rankers": RANKERS, "ks": [1], "bootstrap_replicates": 20},
            "recommend": {"rules": {"mask_seen": False}},
        },
        "test",
    )


@pytest.fixture(scope="module")
def orders(spark: SparkSession, config: Config) -> Lakehouse:
    """The tables of the jobs that decide, without the models that these members do not need."""
    lakehouse = Lakehouse(spark, config.lake, "orders")
    with for_its_size(lakehouse, config) as tables:
        for job in (prepare_interactions.JOB, train_hybrid.JOB):
            job.run(tables.for_one_job(), config)
        for fit in fits_of(tables.for_one_job(), config):
            rank_for_evaluation(fit, RANKERS)
        evaluate.JOB.run(tables.for_one_job(), config)
    return lakehouse


def test_the_item_that_a_user_orders_every_week_is_on_top(orders: Lakehouse) -> None:
    items = orders.read("item_index").select(c.ITEM_INDEX, c.ITEM_ID)
    users = orders.read("user_index").select(c.USER_INDEX, c.USER_ID)
    lists = orders.read("lists", fit=c.FINAL, model=HYBRID)
    first = lists.withColumn(c.ITEM_INDEX, lists[c.ITEM_INDICES][0].cast("long"))
    rows = first.join(items, c.ITEM_INDEX).join(users, c.USER_INDEX).collect()
    expected = {f"user {user}": usual_item(user) for user in range(USERS)}
    assert {row[c.USER_ID]: row[c.ITEM_ID] for row in rows} == expected


def test_validation_and_test_count_repeats(orders: Lakehouse) -> None:
    """The order before the last weeks is one of the usual item, and every user's test has one."""
    rows = orders.read("metrics").where("metric = 'hit_rate' and segment = 'all'").collect()
    found = {(row[c.MODEL], row[c.FOLD]): (row[c.VALUE], row[c.USERS]) for row in rows}
    for fold in (c.VALIDATION, c.TEST):
        assert found[HYBRID, fold] == found[REPEATS, fold] == (1.0, USERS)
        assert found[POPULARITY, fold][0] < 1.0
