"""Packaging of M6-Rec: what pyproject.toml leaves to be found in other files."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (here / "lib/m6rec/__init__.py").read_text()).group(1)


def requirements(name: str) -> list[str]:
    """The requirement lines of a file, without comments and inclusions."""
    lines = (line.strip() for line in (here / "requirements" / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-r"))]


# A cluster's runtime brings Spark, and with it the versions of what Spark and the models need: the
# wheel leaves them to it, and its extra `runtime` has those that a machine without Spark installs.
ESSENTIAL = [line for line in requirements("run.in") if not re.search("==|<", line)]

setup(
    version=version,
    package_dir={"": "lib", "jobs": "jobs", "jobs.conf": "conf"},
    packages=[*find_packages("lib"), "jobs", "jobs.conf", "jobs.conf.examples"],
    package_data={
        "m6rec": ["py.typed", "report/*.html", "config/sentences/*.yaml"],
        # The configurations of jobs that have one of their own.
        "jobs.conf": ["*.yaml"],
        "jobs.conf.examples": ["*.yaml"],
    },
    install_requires=ESSENTIAL,
    extras_require={
        "runtime": [line for line in requirements("run.in") if line not in ESSENTIAL],
        "video": requirements("video.in"),
        "develop": requirements("develop.in") + requirements("tests.in"),
        "benchmark": requirements("benchmark.in"),
    },
)
