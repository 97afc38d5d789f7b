"""The same pipeline on a real standalone cluster of one master and two workers.

Stated tolerances. Factors are compared up to rotation and sign, by the score matrix V diag(f) P^T
that they stand for: relative difference in Frobenius norm below 1e-3 for SVD and 1e-2 for ALS,
whose conjugate gradients stop early. Metrics: NDCG@10 within .03 on this shop of 90 users.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.fits.fit import Fit
from m6rec.kernels.arrays.rows import Float32
from m6rec.kernels.factors.projection import project
from m6rec.lakehouse import Lakehouse
from m6rec.spark.arrow_rows import ROW_COLUMNS, rows_from_batches
from m6rec.spark.runtimes import arrow_table
from tests.process_runs import ClusterRun


@pytest.fixture(scope="module")
def on_cluster(spark: SparkSession, cluster_run: ClusterRun) -> Lakehouse:
    code, printed = cluster_run.result
    assert code == 0, printed
    # Both workers had an executor of the application.
    assert all(list(worker.glob("app-*")) for worker in cluster_run.workers)
    return Lakehouse(spark, str(cluster_run.output / "lake"), "cluster")


def score_matrix(lakehouse: Lakehouse, config: Config, method: str) -> Float32:
    fit = Fit(lakehouse, config, c.FINAL)
    model = fit.factor_model(method)
    table = arrow_table(fit.matrix.select(*ROW_COLUMNS).orderBy(c.USER_INDEX))
    rows = rows_from_batches(table.to_batches())
    return project(model, rows) @ (model.factors * model.scales[:, None]).T


@pytest.mark.parametrize(("method", "tolerance"), [("svd", 1e-3), ("als", 1e-2)])
def test_factors_are_the_same_up_to_rotation(
    on_cluster: Lakehouse, lakehouse: Lakehouse, config: Config, method: str, tolerance: float
) -> None:
    local = score_matrix(lakehouse, config, method)
    remote = score_matrix(on_cluster, config, method)
    assert np.linalg.norm(local - remote) < tolerance * np.linalg.norm(local)


def test_metrics_are_the_same_within_noise(
    on_cluster: Lakehouse, cluster_run: ClusterRun, lakehouse: Lakehouse, output: Path
) -> None:
    local, remote = (
        {
            row["model"]: row["value"]
            for row in json.loads((folder / "metrics.json").read_text())
            if (row["fold"], row["segment"], row["metric"], row["k"]) == ("test", "all", "ndcg", 10)
        }
        for folder in (output, cluster_run.output)
    )
    assert remote.keys() == local.keys()
    for model, value in local.items():
        assert remote[model] == pytest.approx(value, abs=0.03), model
