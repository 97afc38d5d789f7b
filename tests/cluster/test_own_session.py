"""A program that has a session of its own, as docs/clusters.md shows it, gives it to the jobs."""

import shlex
from pathlib import Path

from m6rec.spark.runtimes import delta_package
from tests.docs.test_readme import code_blocks
from tests.process_runs import CLUSTER_PROPERTIES
from tests.shell_environment import run_python

_PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"
_PACKAGE = "io.delta:delta-spark_2.13:4.0.1"
# Without these, both would do the same in minutes.
_QUICKLY = CLUSTER_PROPERTIES | {
    "spark.master": "local[2]",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.codegen.wholeStage": "false",
}
_WITHOUT_DELTA = """
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
"""
_PREPARE = """
from jobs.prepare_interactions import JOB
from m6rec.command_line import open_lakehouse
from m6rec.config.run import parse_config
from m6rec.errors import ClusterError
from m6rec.runs import run_job

source = {"path": "interactions.csv", "format": "csv"}
config = parse_config({"interactions": {"source": source}, "lake": "lake"}, "program")
try:
    lakehouse = open_lakehouse(spark, config, "own")
    own = {
        "spark.sql.session.timeZone": "Europe/Berlin",
        "spark.sql.sources.partitionColumnTypeInference.enabled": "true",
        "spark.sql.caseSensitive": "false",
    }
    for name, value in own.items():
        spark.conf.set(name, value)
    run_job(lakehouse, config, JOB)
    assert {name: spark.conf.get(name) for name in own} == own
    print("pairs:", lakehouse.read("interactions").count())
except ClusterError as error:
    print("refused:", error)
"""


def run_program(folder: Path, session: str) -> str:
    """What a program prints that has such a session and prepares 60 interactions."""
    rows = (f"u{user},i{(user + step) % 9}" for user in range(12) for step in range(5))
    (folder / "interactions.csv").write_text("user_id,item_id\n" + "\n".join(rows) + "\n")
    program = folder / "program.py"
    program.write_text(session + _PREPARE)
    options = [part for setting in _QUICKLY.items() for part in ("--conf", "=".join(setting))]
    submit = shlex.join([*options, "pyspark-shell"])
    done = run_python(program.name, cwd=folder, PYSPARK_SUBMIT_ARGS=submit)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_session_with_the_documented_properties_is_enough(tmp_path: Path) -> None:
    [session] = code_blocks(_PAGE, "python")
    assert _PACKAGE in session
    assert "pairs: 60" in run_program(tmp_path, session.replace(_PACKAGE, delta_package()))


def test_a_session_without_delta_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    said = run_program(tmp_path, _WITHOUT_DELTA)
    assert "refused: this session has no Delta: spark.sql.extensions is not set" in said
    assert not (tmp_path / "lake").exists()
