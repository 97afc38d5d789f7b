"""The metadata of the package: pyproject.toml and setup.py say one thing together."""

import os
import shutil
import subprocess
import sys
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

from m6rec import __version__

REPOSITORY = Path(__file__).parent.parent
NEEDED = (
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
    "requirements",
    "lib",
    "jobs",
    "conf",
)
PREPARE = "from setuptools.build_meta import *; print(prepare_metadata_for_build_wheel('.'))"


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Message:
    """What a wheel would say of itself, made in a copy of the repository."""
    copy = tmp_path_factory.mktemp("package")
    for name in NEEDED:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, copy / name)
        else:
            shutil.copy(REPOSITORY / name, copy / name)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-W", "error::UserWarning", "-c", PREPARE]
    result = subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    folder = copy / result.stdout.splitlines()[-1]
    return message_from_string((folder / "METADATA").read_text())


def test_the_version_is_that_of_the_package(metadata: Message) -> None:
    assert (metadata["Name"], metadata["Version"]) == ("m6rec", __version__)


def test_the_licence_and_the_python_that_is_needed_are_said(metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata["Requires-Python"].split(",")) == {">=3.11", "<3.12"}
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])


def test_the_dependencies_are_those_of_the_requirements(metadata: Message) -> None:
    given = metadata.get_all("Requires-Dist", [])
    needed = [line for line in given if "extra ==" not in line]
    lines = (REPOSITORY / "requirements" / "run.in").read_text().splitlines()
    of_runtime = [line for line in given if 'extra == "runtime"' in line]
    names = sum(bool(line) and not line.startswith("#") for line in lines)
    assert len(needed) + len(of_runtime) == names
    assert 'pyspark==4.0.5; extra == "runtime"' in of_runtime
    # A cluster's runtime brings Spark and what goes with it in versions of its own.
    assert not any("=" in line.replace(">=2", "") for line in needed)
    extras = {"runtime", "video", "develop", "benchmark"}
    assert set(metadata.get_all("Provides-Extra", [])) == extras
