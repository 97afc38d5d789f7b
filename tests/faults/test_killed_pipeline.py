"""A pipeline that is killed half way ends, started again, as if it had not been killed.

It is another process with another lake than the run that it is compared with, so equal lists also
show that a seed gives the same recommendations.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml
from pyspark.sql import SparkSession

from m6rec.lakehouse import Lakehouse
from m6rec.lineage import published_run
from tests.synthetic_shop import Shop, published_lists

REPOSITORY = Path(__file__).parent.parent.parent
KILL_AFTER = "train_factors: finished"


def start_pipeline(config: Path, output: Path, properties: Path) -> subprocess.Popen[str]:
    command = [str(REPOSITORY / "spark-submit.sh"), "pipeline", "--config", str(config)]
    return subprocess.Popen(
        [*command, "--output", str(output), "--run-id", "killed"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **os.environ,
            "M6REC_VENV": sys.prefix,
            "MASTER": "local[2]",
            "PROPERTIES": str(properties),
        },
        # A group of its own, so that the JVM and its workers die with the script.
        start_new_session=True,
    )


def test_killed_and_started_again_it_gives_the_lists_of_a_run_that_was_not(
    spark: SparkSession, shop: Shop, lakehouse: Lakehouse, properties_file: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "out" / "lake"
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(shop.config(lake)))

    process = start_pipeline(config, tmp_path / "out", properties_file)
    assert process.stdout is not None
    before = []
    for line in process.stdout:
        before.append(line)
        if KILL_AFTER in line:
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.wait()
    assert process.returncode == -signal.SIGKILL, "".join(before)

    killed = Lakehouse(spark, str(lake), "killed")
    assert published_run(killed) is None

    process = start_pipeline(config, tmp_path / "out", properties_file)
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    assert "train_factors: skipped (finished)" in printed
    assert published_run(killed) == "killed"
    assert published_lists(killed) == published_lists(lakehouse)
