"""The command for Kubernetes, printed and not run, has only options that Spark knows."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from m6rec.spark.session import read_properties
from tests.cluster.hadoop_cluster import SPARK
from tests.shell_environment import shell_environment

REPOSITORY = Path(__file__).parents[2]
FILES = ("spark-cluster.conf", "spark-s3.conf", "spark-kubernetes.conf")


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words of the command that the script would run."""
    folder = tmp_path_factory.mktemp("kubernetes")
    config = folder / "my config.yaml"
    config.write_text("interactions: {source: {path: s3a://bucket/events, format: parquet}}\n")
    archive = folder / "environment.tar.gz"
    archive.touch()
    done = subprocess.run(
        [str(REPOSITORY / "spark-submit.sh"), "pipeline", "--config", str(config)],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env=shell_environment(
            MASTER="k8s://https://127.0.0.1:6443",
            DEPLOY_MODE="cluster",
            DRY_RUN="1",
            ARCHIVES=str(archive),
            FILES="s3a://bucket/sentences.yaml",
            M6REC_CACHE=str(folder / "cache"),
            PROPERTIES=",".join(str(REPOSITORY / "conf" / name) for name in FILES),
        ),
    )
    return shlex.split(done.stdout)


def option(printed: list[str], name: str) -> str:
    return printed[printed.index(name) + 1]


def properties(printed: list[str]) -> dict[str, str]:
    given = [printed[place + 1] for place, word in enumerate(printed) if word == "--conf"]
    own = dict(one.split("=", 1) for one in given)
    return read_properties(option(printed, "--properties-file")) | own


def test_package_configuration_and_environment_are_sent(printed: list[str]) -> None:
    assert (option(printed, "--master"), option(printed, "--deploy-mode")) == (
        "k8s://https://127.0.0.1:6443",
        "cluster",
    )
    assert Path(option(printed, "--py-files")).match("m6rec-package-*.zip")
    assert option(printed, "--archives").endswith("environment.tar.gz#environment")
    sentences, config = option(printed, "--files").split(",")
    assert sentences == "s3a://bucket/sentences.yaml"
    assert Path(config).name == "my config.yaml"
    # The driver finds it in its own folder.
    assert printed[-3:] == [str(REPOSITORY / "jobs/pipeline.py"), "--config", "my config.yaml"]
    known = properties(printed)
    assert known["spark.pyspark.driver.python"] == "./environment/bin/python"


def test_of_several_properties_files_a_later_one_wins(printed: list[str]) -> None:
    packages = properties(printed)["spark.jars.packages"]
    assert "delta-spark" in packages
    assert "hadoop-aws" in packages


def test_every_option_is_one_that_spark_submit_documents(printed: list[str]) -> None:
    told = subprocess.run(
        [str(SPARK / "bin" / "spark-submit"), "--help"],
        capture_output=True,
        text=True,
        check=False,
        env=shell_environment(PYSPARK_PYTHON=sys.executable),
    )
    script = printed.index(str(REPOSITORY / "jobs/pipeline.py"))
    used = {word for word in printed[:script] if word.startswith("--")}
    assert used
    assert [name for name in used if not re.search(rf"^ +{name}[ ,]", told.stderr, re.M)] == []


def test_every_property_of_kubernetes_is_one_that_spark_knows(
    spark: SparkSession, printed: list[str]
) -> None:
    jvm: Any = spark._jvm
    # Its entries are known once the class is loaded.
    config = getattr(getattr(jvm.org.apache.spark.deploy.k8s, "Config$"), "MODULE$")
    prefixes = (
        config.KUBERNETES_DRIVER_ENV_PREFIX(),
        config.KUBERNETES_DRIVER_SECRET_KEY_REF_PREFIX(),
        config.KUBERNETES_EXECUTOR_SECRET_KEY_REF_PREFIX(),
    )
    entries = jvm.org.apache.spark.internal.config.ConfigEntry
    names = [name for name in properties(printed) if name.startswith("spark.kubernetes.")]
    unknown = [
        name for name in names if not name.startswith(prefixes) and entries.findEntry(name) is None
    ]
    assert (len(names) > 5, unknown) == (True, [])
    assert entries.findEntry("spark.kubernetes.no.such.option") is None
