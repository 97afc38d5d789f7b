"""Lists that are chosen for diversity, by the user's mix and within a quota, in the whole run."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from jobs import evaluate, recommend
from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.errors import DataError
from m6rec.fits.fit import Fit
from m6rec.fits.rules import items_outside_lists
from m6rec.lakehouse import Lakehouse
from m6rec.publication.guards import measure_guards
from tests.finished_runs import config_of
from tests.synthetic_shop import Shop

FEW = {"evaluate.rankers": ["ridge"], "recommend.ranker": "ridge", "recommend.contexts": {}}
OFF = {f"guards.{name}": "off" for name in ("drift", "overlap", "validation_ndcg", "freshness")}


def run_again(lakehouse: Lakehouse, config: Config) -> Lakehouse:
    recommend.run(lakehouse, config)
    evaluate.run(lakehouse, config)
    return lakehouse


def values_of(lakehouse: Lakehouse, metric: str) -> float:
    [row] = lakehouse.read("metrics", segment="all", metric=metric, fold=c.TEST, k=10).collect()
    return float(row[c.VALUE])


def published(lakehouse: Lakehouse) -> dict[str, list[str]]:
    """The items of each user's list, in order."""
    rows = lakehouse.read("recommendations").orderBy(c.USER_ID, c.RANK)
    found: dict[str, list[str]] = {}
    for row in rows.select(c.USER_ID, c.ITEM_ID).collect():
        found.setdefault(row[0], []).append(row[1])
    return found


def ids_of(lakehouse: Lakehouse, side: str) -> dict[int, str]:
    rows = lakehouse.read(f"{side}_index").select(f"{side}_index", f"{side}_id").collect()
    return {row[0]: row[1] for row in rows}


def test_rules_that_leave_no_item_stop_the_run(spark: SparkSession, tmp_path: Path) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path / "lake"), "run")
    ids = spark.createDataFrame([("a", 0), ("b", 1)], "item_id string, item_index long")
    lakehouse.append_new("item_index", ids, ("item_id",))
    nothing = "string(null) title", "string(null) domain"
    lakehouse.write("catalogue", ids.selectExpr("*", *nothing))

    def outside(rule: str, *items: str) -> list[bool]:
        table = tmp_path / f"{rule}.csv"
        table.write_text("\n".join(("item_id", *items)))
        rules = {rule: {"path": str(table), "format": "csv"}}
        config = config_of(lakehouse.location, recommend={"rules": rules})
        return list(items_outside_lists(Fit(lakehouse, config, c.FINAL)))

    assert outside("excluded_items", "a") == [True, False]
    with pytest.raises(DataError, match=r"none of the 2 items .* excluded_items \(.*\.csv\)"):
        outside("excluded_items", "a", "b")
    with pytest.raises(DataError, match=r"allowed_items \(.* start one anew"):
        outside("allowed_items", "A")


@pytest.mark.slow
def test_measured_and_published_lists_are_chosen_alike(
    copied: Lakehouse, config: Config, shop: Shop
) -> None:
    measured_only = {
        "recommend.diversity.column": "genres",
        "recommend.calibration": {"column": "genres", "strength": 0.0},
    }
    copied = copied.with_tables_in_memory(through_driver=True)
    before = run_again(copied, config.replaced(FEW | measured_only))
    plain = {name: values_of(before, name) for name in ("calibration", "intra_list_similarity")}
    lists_before = published(before)

    chosen = {
        "recommend.diversity": {"column": "genres", "strength": 0.3},
        "recommend.calibration": {"column": "genres", "strength": 0.5},
        "recommend.rules.at_most": {"column": "price", "count": 2},
    }
    asked = config.replaced(FEW | OFF | chosen)
    after = run_again(copied, asked)
    for name, value in plain.items():
        assert values_of(after, name) < value
    lists = published(after)
    prices = pd.read_parquet(shop.items).set_index("product")["price"]
    most = [max(Counter(prices[listed]).values()) for listed in lists.values()]
    most_before = [max(Counter(prices[listed]).values()) for listed in lists_before.values()]
    assert max(most) == 2 < max(most_before)

    # The test's users have the same lists where they are measured.
    users, items = ids_of(after, "user"), ids_of(after, "item")
    rows = after.read("lists", fit=c.FINAL, model="ridge").collect()
    measured = {
        users[row[c.USER_INDEX]]: [items[item] for item in row[c.ITEM_INDICES][:10]] for row in rows
    }
    assert len(measured) > 0
    assert measured == {user: lists[user] for user in measured}

    guards = {result.record.name: result for result in measure_guards(after, asked)}
    assert guards["forbidden_items"].measure.value == 0.0
    tighter = asked.replaced({"recommend.rules.at_most.count": 1})
    guards = {result.record.name: result for result in measure_guards(after, tighter)}
    assert guards["forbidden_items"].measure.value == sum(
        len(listed) - prices[listed].nunique() for listed in lists.values()
    )
