"""The same pipeline on a real standalone cluster of one master and two workers.

Stated tolerances. Factors are compared up to rotation and sign, by the score matrix V diag(f) P^T
that they stand for: relative difference in Frobenius norm below 1e-3 for SVD and 1e-2 for ALS,
whose conjugate gradients stop early. Metrics: NDCG@10 within .03 on this shop of 90 users.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from pyspark.sql import SparkSession

from m6rec import columns as c
from m6rec.fits import item_count, read_factor_model
from m6rec.kernels.projection import project
from m6rec.kernels.rows import Float32
from m6rec.lakehouse import Lakehouse
from m6rec.stages.arrow_rows import ROW_COLUMNS, rows_from_batches
from m6rec.stages.item_counts import interaction_counts
from tests.jobs.standalone_cluster import standalone_cluster
from tests.quick_spark import QUICK_TO_START
from tests.synthetic_shop import Shop

REPOSITORY = Path(__file__).parent.parent.parent
PROPERTIES = QUICK_TO_START | {
    "spark.sql.shuffle.partitions": "4",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.executor.memory": "1g",
    "spark.driver.memory": "1g",
}


@pytest.fixture(scope="module")
def on_cluster(
    spark: SparkSession, shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Lakehouse, Path]:
    folder = tmp_path_factory.mktemp("cluster")
    output = folder / "out"
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(shop.config(output / "lake")))
    properties = folder / "spark.conf"
    cluster_lines = (REPOSITORY / "conf" / "spark-cluster.conf").read_text().splitlines()
    kept = [line for line in cluster_lines if line.split(" ")[0] not in PROPERTIES]
    kept += [f"{key} {value}" for key, value in PROPERTIES.items()]
    properties.write_text("\n".join(kept) + "\n")
    with standalone_cluster(folder) as cluster:
        command = [str(REPOSITORY / "spark-submit.sh"), "pipeline", "--config", str(config)]
        result = subprocess.run(
            [*command, "--output", str(output), "--run-id", "cluster"],
            env={
                **os.environ,
                "M6REC_VENV": sys.prefix,
                "MASTER": cluster.master,
                "PROPERTIES": str(properties),
                "SPARK_LOCAL_IP": "127.0.0.1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 0, result.stdout + result.stderr
    # Both workers had an executor of the application.
    assert all(list((folder / f"worker-{number}").glob("app-*")) for number in range(2))
    return Lakehouse(spark, str(output / "lake"), "cluster"), output


def score_matrix(lakehouse: Lakehouse, method: str) -> Float32:
    n_items = item_count(lakehouse)
    matrix = lakehouse.read("user_item_matrix", fit=c.FINAL)
    counts = interaction_counts(matrix, n_items)
    model = read_factor_model(lakehouse, c.FINAL, method, counts)
    table = matrix.select(*ROW_COLUMNS).orderBy(c.USER_INDEX).toArrow()
    rows = rows_from_batches(table.to_batches())
    return project(model, rows) @ (model.factors * model.scales[:, None]).T


@pytest.mark.parametrize(("method", "tolerance"), [("svd", 1e-3), ("als", 1e-2)])
def test_factors_are_the_same_up_to_rotation(
    on_cluster: tuple[Lakehouse, Path], lakehouse: Lakehouse, method: str, tolerance: float
) -> None:
    local = score_matrix(lakehouse, method)
    remote = score_matrix(on_cluster[0], method)
    assert np.linalg.norm(local - remote) < tolerance * np.linalg.norm(local)


def test_metrics_are_the_same_within_noise(
    on_cluster: tuple[Lakehouse, Path], output: Path, lakehouse: Lakehouse
) -> None:
    local, remote = (
        {
            row["model"]: row["value"]
            for row in json.loads((folder / "metrics.json").read_text())
            if (row["fold"], row["segment"], row["metric"], row["k"]) == ("test", "all", "ndcg", 10)
        }
        for folder in (output, on_cluster[1])
    )
    assert remote.keys() == local.keys()
    for model, value in local.items():
        assert remote[model] == pytest.approx(value, abs=0.03), model
