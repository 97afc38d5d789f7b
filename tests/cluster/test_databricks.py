"""The bundle is one that Databricks' own package accepts, and its configuration is valid."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.bundles.jobs import Job, PythonWheelTask

from m6rec.config.run import parse_config

REPOSITORY = Path(__file__).parents[2]
BUNDLE = yaml.safe_load((REPOSITORY / "databricks.yml").read_text())
FILES = sorted(file for pattern in BUNDLE["include"] for file in REPOSITORY.glob(pattern))
OF_THE_PLATFORM = ("bundle.", "workspace.")


def jobs_of_bundle() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in FILES:
        found |= yaml.safe_load(file.read_text())["resources"]["jobs"]
    return found


@pytest.mark.parametrize("name", jobs_of_bundle())
def test_a_job_is_one_by_the_schema_of_databricks(name: str) -> None:
    described = jobs_of_bundle()[name]
    job = Job.from_dict(described)
    [task] = job.tasks
    assert isinstance(task.python_wheel_task, PythonWheelTask)
    [cluster] = job.job_clusters
    assert (task.job_cluster_key, cluster.job_cluster_key) == ("main", "main")
    # Matrix programs and files need a SparkContext, and a barrier stage all its slots at once.
    new = described["job_clusters"][0]["new_cluster"]
    assert new["data_security_mode"] == "SINGLE_USER"
    assert new["spark_conf"]["spark.dynamicAllocation.enabled"] == "false"
    assert "autoscale" not in new


def test_a_key_that_databricks_does_not_know_is_refused() -> None:
    wrong = next(iter(jobs_of_bundle().values())) | {"max_concurent_runs": 1}
    with pytest.raises(ValueError, match="max_concurent_runs"):
        Job.from_dict(wrong)


def test_each_task_starts_a_job_by_the_wheels_own_command() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    for described in jobs_of_bundle().values():
        [task] = described["tasks"]
        wheel = task["python_wheel_task"]
        assert f'{wheel["entry_point"]} = "m6rec.startup.entry:main"' in project
        assert (REPOSITORY / "jobs" / f"{wheel['parameters'][0]}.py").is_file()


def test_variables_are_declared_and_used() -> None:
    texts = [(REPOSITORY / "databricks.yml").read_text(), *(file.read_text() for file in FILES)]
    used = {name for text in texts for name in re.findall(r"\$\{([\w.]+)\}", text)}
    own = {name for name in used if not name.startswith(OF_THE_PLATFORM)}
    assert own == {f"var.{name}" for name in BUNDLE["variables"]}
    assert BUNDLE["targets"].keys() == {"dev", "prod"}
    assert BUNDLE["targets"]["prod"]["run_as"] == {"service_principal_name": "${var.run_as}"}


def test_the_bundles_configuration_is_valid() -> None:
    parsed = parse_config(yaml.safe_load((REPOSITORY / "conf/databricks.yaml").read_text()), "file")
    assert (parsed.lake, parsed.artifacts) == (
        BUNDLE["variables"]["lake"]["default"],
        BUNDLE["variables"]["artifacts"]["default"],
    )
