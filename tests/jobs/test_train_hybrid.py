"""What the choice of weights needs of validation."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from jobs import prepare_interactions, train_hybrid
from jobs.train_hybrid import member_for_new_users
from m6rec.config.run import parse_config
from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.ranking.blending import BINS, Candidates, ChosenWeights
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


NAMES = ("ridge", "content", "towers_svd", "towers_als", POPULARITY)
# Of one user, whose first candidate is held out. The pair on ALS is right, that on SVD is not.
CANDIDATES = Candidates(
    indptr=np.array([0, 2]),
    scores=np.array([[1, 0], [1, 0], [0, 1], [1, 0], [0, 0]], np.float32),
    relevant=np.array([True, False]),
    relevant_counts=np.array([1]),
    item_bins=np.array([3, 3]),
    user_bins=np.array([3]),
    owners=np.array([0]),
)


CONFIG = parse_config({"interactions": {"source": {"table": "events"}}}, "test")


def weights_of(given: Mapping[str, float]) -> Float64:
    return np.array([given.get(name, 0.0) for name in NAMES])


def found_weights(given: Mapping[str, float]) -> ChosenWeights:
    ones = np.ones((len(NAMES), BINS))
    return ChosenWeights(weights_of(given), ones, ones, 0.0, 0)


@pytest.mark.parametrize(
    ("weights", "domains", "expected"),
    [
        ({"ridge": 1.0}, {}, "towers_als"),
        ({"ridge": 1.0, "content": 0.1}, {}, None),
        ({"ridge": 1.0}, {"toys": {"towers_als": 0.5}}, "towers_svd"),
        ({"ridge": 1.0}, {"toys": {"towers_als": 0.5, "towers_svd": 0.5}}, "content"),
    ],
)
def test_towers_rank_for_who_has_attributes_alone_unless_a_member_with_a_weight_does(
    weights: Mapping[str, float], domains: Mapping[str, Mapping[str, float]], expected: str | None
) -> None:
    of_domains = {name: weights_of(given) for name, given in domains.items()}
    found = found_weights(weights)
    place = member_for_new_users(CANDIDATES, found, of_domains, NAMES, CONFIG)
    assert (None if place is None else NAMES[place]) == expected


def test_what_validation_says_of_users_without_interactions_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(train_hybrid, "_FEW", 1)
    of_new_users = replace(CANDIDATES, user_bins=np.array([0]))
    found = found_weights({"ridge": 1.0})
    assert member_for_new_users(of_new_users, found, {}, NAMES, CONFIG) is None
    assert member_for_new_users(CANDIDATES, found, {}, NAMES, CONFIG) is not None
