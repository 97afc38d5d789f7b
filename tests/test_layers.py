"""The import rule: kernels know no Spark, stages know no jobs, towers no stages."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "lib" / "m6rec"
SPARK = ("pyspark", "delta")
FORBIDDEN = {
    "kernels": (*SPARK, "m6rec.stages", "m6rec.lakehouse", "m6rec.lineage", "jobs"),
    "towers": ("m6rec.stages", "m6rec.lakehouse", "m6rec.lineage", "jobs"),
    "stages": ("m6rec.lineage", "m6rec.command_line", "jobs"),
    ".": ("jobs",),
}


def modules(layer: str) -> list[Path]:
    folder = PACKAGE / layer
    return sorted(folder.glob("*.py") if layer == "." else folder.rglob("*.py"))


def imported(source: str, package: str) -> Iterator[str]:
    """Every module that the source imports, at any depth; relative ones made absolute."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: -node.level + 1 or None] if node.level else []
            base = ".".join([*parts, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def breaches(layer: str) -> list[str]:
    found = []
    for file in modules(layer):
        package = ".".join(file.relative_to(PACKAGE.parent).parent.parts)
        for module in imported(file.read_text(), package):
            if any(module == bad or module.startswith(f"{bad}.") for bad in FORBIDDEN[layer]):
                found.append(f"{file.relative_to(REPOSITORY)} imports {module}")
    return found


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_a_layer_imports_nothing_from_the_layers_above_it(layer: str) -> None:
    assert modules(layer)
    assert breaches(layer) == []


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import pyspark.sql as sql", "pyspark.sql"),
        ("from m6rec import stages", "m6rec.stages"),
        ("def f():\n    from ..stages.matrix import rows", "m6rec.stages.matrix"),
        ("from .. import stages", "m6rec.stages"),
    ],
)
def test_every_form_of_import_is_seen(source: str, module: str) -> None:
    assert module in set(imported(source, "m6rec.kernels"))
