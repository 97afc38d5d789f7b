"""What the choice of weights needs of validation."""

from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from jobs import prepare_interactions, train_hybrid
from m6rec.config.run import parse_config
from m6rec.errors import DataError
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import POPULARITY


def test_users_of_one_item_each_hold_out_nothing_and_the_message_says_so(
    spark: SparkSession, tmp_path: Path
) -> None:
    file = tmp_path / "events.parquet"
    pd.DataFrame({"user_id": list("abcdef"), "item_id": list("xyzxyz")}).to_parquet(file)
    config = parse_config(
        {
            "lake": str(tmp_path / "lake"),
            "interactions": {"source": {"path": str(file), "format": "parquet"}},
            "hybrid": {"members": [POPULARITY]},
            "evaluate": {"rankers": ["hybrid", POPULARITY]},
        },
        "test",
    )
    lakehouse = Lakehouse(spark, config.lake, "run")
    prepare_interactions.JOB.run(lakehouse.for_one_job(), config)
    with pytest.raises(DataError, match="no user has a held-out item in fold validation"):
        train_hybrid.JOB.run(lakehouse.for_one_job(), config)
