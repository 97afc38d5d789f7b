"""What the documents name is there: files, jobs, modules; and the README stays short."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from m6rec.config.run import Config
from m6rec.job_records import JOBS

REPOSITORY = Path(__file__).parent.parent.parent
README = REPOSITORY / "README.md"
DOCUMENTS = (README, REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md")))
MOST_LINES = 150
NOT_JOBS = {"setup", "pack", "--help"}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", flags=re.MULTILINE)


def links(text: str) -> Iterator[str]:
    """The targets of the links outside code blocks that stay within the repository."""
    for target in _LINK.findall(_FENCE.sub("", text)):
        if "://" not in target:
            yield target


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to headings."""
    headings = _HEADING.findall(_FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code_blocks(document: Path, language: str) -> list[str]:
    """The blocks of code of a document that are in a language."""
    return [code for name, code in _FENCE.findall(document.read_text()) if name == language]


PYTHON_BLOCKS = code_blocks(README, "python")
YAML_BLOCKS = [
    pytest.param(code, id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, code in enumerate(code_blocks(document, "yaml"))
]


def over(base: Any, given: Any) -> Any:
    """A configuration with the keys of another put over it, within sections too."""
    if not (isinstance(base, dict) and isinstance(given, dict)):
        return given
    return base | {key: over(base.get(key), value) for key, value in given.items()}


@pytest.mark.parametrize("code", YAML_BLOCKS)
def test_configuration_of_a_document_is_accepted(code: str) -> None:
    # What the snippets leave to the reader: tables, and the column of ids.
    base = {
        "interactions": {"source": {"path": "events"}},
        "features": {"items": {"source": {"path": "items"}, "id": "sku"}},
    }
    Config.model_validate(over(base, yaml.safe_load(code)))


def test_the_readme_stays_short() -> None:
    assert len(README.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for target in links(document.read_text()):
        name, _, anchor = target.partition("#")
        file = (document.parent / name) if name else document
        assert file.exists(), f"{document.name} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file.read_text()), f"{document.name} links to {target}"


def test_the_readme_shows_python() -> None:
    assert len(PYTHON_BLOCKS) == 2


@pytest.mark.parametrize("code", PYTHON_BLOCKS)
def test_python_of_the_readme_imports_what_is_there(code: str) -> None:
    compile(code, README.name, "exec")
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            for alias in node.names:
                exec(f"from {node.module} import {alias.name}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_job_that_a_document_runs_is_a_job(document: Path) -> None:
    named = set(re.findall(r"\./spark-submit\.sh ([\w-]+)", document.read_text()))
    assert named <= {*(job.name for job in JOBS), *NOT_JOBS}


def test_the_readme_runs_the_demo_the_pipeline_and_the_way_back() -> None:
    named = set(re.findall(r"\./spark-submit\.sh ([\w-]+)", README.read_text()))
    assert {"demo", "pipeline", "publish", "pack"} <= named


def test_every_target_of_make_in_the_readme_is_one() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    named = set(re.findall(r"\bmake ([a-z]+)(?:`|\s+#)", README.read_text()))
    assert {"test", "quality", "benchmark"} == named
    assert named <= set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
