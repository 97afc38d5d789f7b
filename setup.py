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


setup(
    version=version,
    package_dir={"": "lib"},
    packages=find_packages("lib"),
    package_data={"m6rec": ["py.typed", "report/*.html", "config/sentences/*.yaml"]},
    install_requires=requirements("run.in"),
    extras_require={
        "video": requirements("video.in"),
        "develop": requirements("develop.in"),
        "benchmark": requirements("benchmark.in"),
    },
)
