"""Jobs on a real standalone cluster of one master and two workers."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.standalone_cluster import StandaloneCluster, standalone_cluster
from tests.jobs.test_spark_submit import submit, write_config


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneCluster]:
    with standalone_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def submit_to(
    cluster: StandaloneCluster, *arguments: str, cwd: Path
) -> subprocess.CompletedProcess[str]:
    repository = Path(__file__).parent.parent.parent
    properties = cwd / "cluster.conf"
    text = (repository / "conf" / "spark-cluster.conf").read_text()
    # Room for two executors on a small machine, and few partitions for small tables.
    text = text.replace("4g", "1g").replace("3g", "1g")
    text += "spark.sql.shuffle.partitions 2\nspark.databricks.delta.snapshotPartitions 1\n"
    properties.write_text(text)
    variables = {"MASTER": cluster.master, "PROPERTIES": str(properties)}
    variables |= {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    return submit(*arguments, cwd=cwd, **variables)


@pytest.mark.slow
def test_a_job_runs_on_a_cluster_with_the_package_shipped_to_it(
    cluster: StandaloneCluster, tmp_path: Path
) -> None:
    config = str(write_config(tmp_path))
    options = ["--config", config, "--output", "out", "--run-id", "r1"]
    options += ["--set", f"interactions.source.path={tmp_path / 'events.csv'}"]
    result = submit_to(cluster, "prepare_interactions", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "prepare_interactions: finished in" in result.stdout
    assert (tmp_path / "out" / "lake" / "splits" / "_delta_log").is_dir()
    # Both workers had an executor of the application.
    assert all(list((cluster.folder / f"worker-{n}").glob("app-*")) for n in range(2))
