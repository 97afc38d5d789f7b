"""The pipeline on the least that an owner may have: pairs of ids, a test table, nothing else."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from jobs.pipeline import run_pipeline
from m6rec import columns as c
from m6rec.config.run import parse_config
from m6rec.rankers import RANKERS


def write_pairs(folder: Path) -> None:
    """Users with two tastes; the test table has a user and an item that training never saw."""
    rng = np.random.default_rng(3)
    pairs = [
        (f"customer {user}", f"sku/{2 * item + user % 2}")
        for user in range(60)
        for item in rng.choice(20, size=8, replace=False)
    ]
    table = pd.DataFrame(pairs, columns=["who", "what"])
    held_out = table.groupby("who").head(2)
    table.drop(held_out.index).to_parquet(folder / "train.parquet", index=False)
    unseen = pd.DataFrame([("stranger", "sku/1"), ("customer 1", "sku/new")], columns=table.columns)
    pd.concat([held_out, unseen]).to_parquet(folder / "test.parquet", index=False)
    pd.DataFrame({"sold out": ["sku/1"]}).to_parquet(folder / "sold_out.parquet", index=False)
    refused = pd.DataFrame([("customer 0", "sku/18")], columns=["person", "thing"])
    refused.to_parquet(folder / "refused.parquet", index=False)


def test_pairs_and_a_test_table_are_enough(spark: SparkSession, tmp_path: Path) -> None:
    """In folders of any name."""
    tmp_path = tmp_path / "my \u00e9t\u00e9 [1]" / "2024-05-01T02:00"
    tmp_path.mkdir(parents=True)
    write_pairs(tmp_path)
    config = parse_config(
        {
            "lake": str(tmp_path / "lake"),
            "interactions": {
                "source": {"path": str(tmp_path / "train.parquet"), "format": "parquet"},
                "columns": {"user": "who", "item": "what"},
            },
            "split": {
                "strategy": "provided",
                "test": {"path": str(tmp_path / "test.parquet"), "format": "parquet"},
            },
            "factors": {"svd": {"rank": 8}, "als": {"rank": 8}, "mllib_als": {"rank": 8}},
            "towers": {"hidden": 16, "epochs": 1, "negatives": 16, "inputs": ["svd"]},
            "settings": {"seconds": 0},
            "ablation": {"tower_parts": []},
            "evaluate": {"bootstrap_replicates": 50},
            "recommend": {
                "top_n": 5,
                "rules": {
                    "excluded_items": {
                        "path": str(tmp_path / "sold_out.parquet"),
                        "format": "parquet",
                        "item": "sold out",
                    },
                    "excluded_pairs": {
                        "path": str(tmp_path / "refused.parquet"),
                        "format": "parquet",
                        "user": "person",
                        "item": "thing",
                    },
                },
            },
        },
        "test",
    )
    lakehouse = run_pipeline(spark, config, "pairs", tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "metrics.json").read_text())
    without = {ranker.name for ranker in RANKERS if ranker.needs}
    assert {row["model"] for row in rows} == set(config.evaluate.rankers) - without
    test_users = {row["users"] for row in rows if (row["fold"], row["segment"]) == ("test", "all")}
    assert test_users == {61}
    rows_of_lists = lakehouse.read("recommendations").collect()
    listed = {(row[c.USER_ID], row[c.ITEM_ID]) for row in rows_of_lists}
    assert len([item for user, item in listed if user == "stranger"]) == 5
    assert "sku/1" not in {item for _, item in listed}
    assert ("customer 0", "sku/18") not in listed
    assert any(item == "sku/18" for user, item in listed if user is not None)
